//! Makes a store from what another one held: an import, before any node has opened the store.
//!
//! # Data path
//! [`restore`] installs records and state as one snapshot into a fresh store, and leaves the log as a member leaves it
//! that founded its cluster alone and flushed everything. [`audit`] reads back what is stored, without a node: no lease
//! begins to count, nothing is written.
//!
//! # Crash behaviour
//! Records and state come to be all at once, at the end. Whoever restores a store keeps it in a place where nobody
//! looks for one until [`audit`] was content.

use super::hash_content;
use super::opening::load_state;
use super::values::ValueStore;
use crate::consensus::founding_membership;
use crate::error::Error;
use crate::member::{Member, MemberInfo};
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use crate::state::key_index::{follows, is_one_missing};
use crate::state::{LeaseInfo, founding_checkpoint};
use crate::storage::{DirectoryEntry, HardState, Log, LogId, LogOp, Records, SnapshotSource, StorageError};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The entry that founds the store. It lies in no log: it counts as purged.
const FOUNDING: LogId = LogId { term: 1, index: 0 };

/// What a store will hold beside its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The newest revision; at least 1, and not below any record or the compact revision.
    pub revision: i64,
    /// The oldest readable revision; 0 if the history was never compacted.
    pub compact_revision: i64,
    /// Leases, ascending by id.
    pub leases: Vec<(LeaseId, LeaseInfo)>,
}

/// What a restored store says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// HashKV at the newest revision.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// The oldest readable revision; 0 if the history was never compacted.
    pub compact_revision: i64,
    /// Live keys.
    pub keys: u64,
    /// Leases.
    pub leases: u64,
}

/// Fills a fresh store with what `source` yields, in ascending revision order, as the member `member_id` of a new cluster
/// of these `members`: ascending by id, each with a vote; none if there is no other and nothing more is known of this one.
/// Where there are several, each is restored from the same content: they begin with the same state and an empty log, as
/// if the first of them had founded the cluster with all of them. Memory is bounded by what the record store needs for
/// one of its files.
///
/// # Errors
/// [`Error::InvalidArgument`] if the content cannot be one of a store, and names what is wrong; the source's error; a
/// fault of the medium. The store is then of no use.
pub fn restore(
    member_id: u64,
    members: &[Member],
    log: &mut dyn Log,
    records: &dyn Records,
    restored: &Restored,
    source: &mut dyn SnapshotSource,
) -> Result<(), Error> {
    check_fresh(log, records)?;
    check_state(restored)?;
    let alone = [Member { id: member_id, info: MemberInfo::default() }];
    let members = if members.is_empty() { &alone[..] } else { members };
    check_members(member_id, members)?;
    // Of a cluster that the first member founded in this term. It leads no more.
    let founder = HardState { term: FOUNDING.term, voted_for: Some(members[0].id), vote_committed: true };
    log.write(&[LogOp::SaveHardState(founder)], None)?;
    let checkpoint = founding_checkpoint(
        FOUNDING,
        founding_membership(members),
        (restored.revision, restored.compact_revision),
        &restored.leases,
    );
    let mut checked = Checked { source, restored, last: None, refused: None };
    let installed = records.install(&checkpoint, &mut checked);
    if let Some(reason) = checked.refused {
        return Err(Error::InvalidArgument(reason));
    }
    installed?;
    check_histories(records, restored)?;
    check_leases(records, restored)?;
    log.purge(FOUNDING)?;
    // A purge is durable with the next write.
    Ok(log.write(&[LogOp::SaveHardState(founder)], None)?)
}

/// Reads back all that a store holds: loads its state as a node would, and hashes its content.
///
/// # Errors
/// [`Error::Corrupt`] if it cannot be loaded; a fault of the medium.
pub fn audit(records: Arc<dyn Records>) -> Result<Audit, Error> {
    let state = load_state(records.as_ref())?;
    let reader = state.reader();
    let values = ValueStore::new(records, 0);
    let (hash, compact_revision, revision) = hash_content(&reader, &values, 0, &mut || true)?;
    let (keys, leases) = (reader.keys_live(), reader.lease_count() as u64);
    Ok(Audit { hash, revision, compact_revision, keys, leases })
}

fn check_fresh(log: &dyn Log, records: &dyn Records) -> Result<(), Error> {
    let state = log.state();
    let is_fresh =
        state.last.is_none() && state.hard_state == HardState::default() && records.checkpoint().is_none();
    if is_fresh { Ok(()) } else { Err(Error::Open("the store that is to be filled is not new".into())) }
}

fn check_members(member_id: u64, members: &[Member]) -> Result<(), Error> {
    if !members.is_sorted_by(|a, b| a.id < b.id) || members.iter().any(|member| member.id == 0) {
        return refuse("the ids of the members do not ascend from above 0".into());
    }
    match members.iter().any(|member| member.id == member_id) {
        true => Ok(()),
        false => refuse(format!("member {member_id:x} is not among the members")),
    }
}

fn check_state(restored: &Restored) -> Result<(), Error> {
    let (revision, compact_revision) = (restored.revision, restored.compact_revision);
    if revision > COUNT_MAX {
        return refuse(format!("revision {revision} leaves no room for more of them"));
    }
    if revision < Revision::FRESH || !(0..=revision).contains(&compact_revision) {
        return refuse(format!("a store at revision {revision} cannot be compacted at {compact_revision}"));
    }
    let mut last = None;
    for (id, lease) in &restored.leases {
        if id.is_none() || last >= Some(*id) {
            return refuse(format!("the leases do not ascend at {id}"));
        }
        if lease.ttl_s < 1 || !(0..=lease.ttl_s).contains(&lease.remaining_s) {
            return refuse(format!(
                "lease {id} has {} s left of a TTL of {} s",
                lease.remaining_s, lease.ttl_s
            ));
        }
        last = Some(*id);
    }
    Ok(())
}

/// What is missing from the history of a key must have been compacted: a store drops what lies before it.
fn check_histories(records: &dyn Records, restored: &Restored) -> Result<(), Error> {
    let compact_revision = restored.compact_revision;
    let mut last: Option<(Vec<u8>, DirectoryEntry)> = None;
    let mut refused = None;
    records.directory(&mut |key, entry| {
        let before = last.as_ref().filter(|(of, _)| of == key).map(|(_, before)| {
            let put = (!before.tombstone).then_some((before.create_revision, before.version));
            (before.revision.main, follows(put, entry))
        });
        if is_one_missing(before, entry, compact_revision) {
            refused = Some(entry.revision);
            return ControlFlow::Break(());
        }
        match &mut last {
            Some((of, before)) if of == key => *before = entry.clone(),
            last => *last = Some((key.to_vec(), entry.clone())),
        }
        ControlFlow::Continue(())
    })?;
    match refused {
        None => Ok(()),
        Some(revision) => refuse(format!(
            "the history of a key is not whole: what came right before revision {revision} is missing, though nothing \
             after revision {compact_revision} was compacted"
        )),
    }
}

/// Live keys must hang on leases that are there, or the store would not open.
fn check_leases(records: &dyn Records, restored: &Restored) -> Result<(), Error> {
    let known: HashSet<LeaseId> = restored.leases.iter().map(|(id, _)| *id).collect();
    let mut dangling = Dangling::default();
    let mut last: Option<(Vec<u8>, LeaseId)> = None;
    records.directory(&mut |key, entry| {
        match &mut last {
            Some((of, lease)) if of == key => *lease = entry.lease,
            last => {
                dangling.note(last.take(), &known);
                *last = Some((key.to_vec(), entry.lease));
            }
        }
        ControlFlow::Continue(())
    })?;
    dangling.note(last, &known);
    match dangling.first {
        None => Ok(()),
        Some(lease) => refuse(format!(
            "{} live keys hang on leases that are not there, such as {lease}: put them again without a lease, or \
             delete them",
            dangling.keys
        )),
    }
}

#[derive(Default)]
struct Dangling {
    keys: u64,
    first: Option<LeaseId>,
}

impl Dangling {
    /// Takes note of the lease that a key's newest record names; a tombstone names none.
    fn note(&mut self, key: Option<(Vec<u8>, LeaseId)>, known: &HashSet<LeaseId>) {
        let Some((_, lease)) = key else { return };
        if !lease.is_none() && !known.contains(&lease) {
            self.keys += 1;
            self.first.get_or_insert(lease);
        }
    }
}

/// Passes records on, and breaks at the first that no store would hold.
struct Checked<'a> {
    source: &'a mut dyn SnapshotSource,
    restored: &'a Restored,
    last: Option<Revision>,
    refused: Option<String>,
}

/// Whether `record` can follow `last` in a store whose newest revision is `newest`; else what is wrong.
pub(super) fn check_record(record: &Record, last: Option<Revision>, newest: i64) -> Result<(), String> {
    let revision = record.revision;
    if last >= Some(revision) {
        return Err(format!("the revisions do not ascend at {revision}"));
    }
    if revision.main < 1 || revision.main > newest {
        return Err(format!("revision {revision} is not within 1 and {newest}"));
    }
    if record.key.is_empty() {
        return Err(format!("the key of revision {revision} is empty"));
    }
    let is_plain = record.value.is_empty() && record.lease.is_none();
    let fits = match record.tombstone {
        true => is_plain && record.create_revision == 0 && record.version == 0,
        false => {
            (1..=COUNT_MAX).contains(&record.version) && (1..=revision.main).contains(&record.create_revision)
        }
    };
    if !fits {
        return Err(format!(
            "revision {revision} has version {} and was created at {}",
            record.version, record.create_revision
        ));
    }
    Ok(())
}

impl SnapshotSource for Checked<'_> {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        let Some(record) = self.source.next()? else { return Ok(None) };
        if let Err(reason) = check_record(&record, self.last, self.restored.revision) {
            self.refused = Some(reason.clone());
            return Err(StorageError::Format { path: "restore".into(), reason });
        }
        self.last = Some(record.revision);
        Ok(Some(record))
    }
}

/// Largest revision or version that a store may begin with: what follows must not overflow.
const COUNT_MAX: i64 = i64::MAX / 2;

fn refuse<T>(reason: String) -> Result<T, Error> {
    Err(Error::InvalidArgument(reason))
}
