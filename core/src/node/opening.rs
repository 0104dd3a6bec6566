//! What is checked and loaded before a node starts: that log, records and process life belong together.

use super::NodeConfig;
use crate::consensus::members_of;
use crate::error::Error;
use crate::member::Member;
use crate::state::{State, decode_batch, key_index};
use crate::storage::{EntryKind, Log, LogId, LogState, Records};
use std::ops::ControlFlow;

/// Checks that the log goes on where the records end. Where a snapshot was installed and the log's purge was lost, it
/// is purged again.
pub(super) fn join_log_and_records(log: &mut dyn Log, records: &dyn Records) -> Result<(), Error> {
    let applied = records.checkpoint().map(|checkpoint| checkpoint.applied);
    let state = log.state();
    if let Some(wrong) = gap_between(&state, applied) {
        return Err(Error::Corrupt(wrong));
    }
    match applied {
        Some(applied) if !state.covers(Some(applied)) => Ok(log.purge(applied)?),
        _ => Ok(()),
    }
}

/// Why a log with this state cannot go on where the records end, if it cannot. Records that are ahead of it are right: a
/// snapshot was installed.
pub(super) fn gap_between(state: &LogState, applied: Option<LogId>) -> Option<String> {
    if state.covers(applied) {
        return None;
    }
    match applied {
        // Whoever installs a snapshot has saved its leader's term in the log before.
        Some(applied) if state.hard_state.term < applied.term => Some(format!(
            "the records end at {applied:?}, but the log has only seen term {}: it was lost, and with it may be \
             what was acknowledged",
            state.hard_state.term
        )),
        Some(applied) if state.purged.is_none_or(|purged| purged < applied) => None,
        _ => Some(format!(
            "the log begins after {:?}, but the records end at {applied:?}: what lies between is missing",
            state.purged
        )),
    }
}

/// The state as the records' checkpoint has it, with the index rebuilt from the key directory.
pub(super) fn load_state(records: &dyn Records) -> Result<State, Error> {
    let Some(checkpoint) = records.checkpoint() else { return Ok(State::new()) };
    let mut loader = key_index::Loader::new(checkpoint.compact_revision);
    let mut malformed = None;
    records.directory(&mut |key, entry| match loader.push(key, entry) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            malformed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    if let Some(error) = malformed {
        return Err(Error::Corrupt(format!("key directory: {error}")));
    }
    let (index, dead) = loader.finish();
    records.drop_revisions(&dead);
    State::restore(&checkpoint, index).map_err(|error| Error::Corrupt(format!("checkpoint: {error}")))
}

/// Checks that this member decides alone. Without a way to the others one of several would wait for a leader for ever.
pub(super) fn check_members(config: &NodeConfig, state: &State) -> Result<(), Error> {
    let members = members(state)?;
    let others = |(member, votes): &&(Member, bool)| *votes && member.id != config.member_id;
    let others: Vec<String> = members.iter().filter(others).map(|(member, _)| described(member)).collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(Error::Open(format!(
            "the store is that of one of {} members of a cluster, beside {}: it cannot be opened alone, only be served \
             together with the others",
            members.len(),
            others.join(", ")
        ))),
    }
}

/// The members that the state knows of, ascending by id, each with whether it has a vote.
pub(super) fn members(state: &State) -> Result<Vec<(Member, bool)>, Error> {
    let Some((_, membership)) = state.membership() else { return Ok(Vec::new()) };
    members_of(membership).map_err(|malformed| Error::Corrupt(format!("the membership: {malformed}")))
}

fn described(member: &Member) -> String {
    match member.info.name.as_str() {
        "" => format!("{:x}", member.id),
        name => format!("{name} ({:x})", member.id),
    }
}

/// Checks that no proposal of an earlier life of this member can be taken for one of this life: they would be answered
/// for ours, and ours be taken for repetitions.
pub(super) fn check_boot(config: &NodeConfig, state: &State, log: &dyn Log) -> Result<(), Error> {
    let newest = newest_boot_in_log(config.member_id, state, log)?.max(state.newest_boot(config.member_id));
    match newest {
        Some(newest) if newest >= config.boot => Err(Error::Open(format!(
            "boot number {} of member {:x} must be above {newest}, which the store has seen: was the data directory \
             put back from a copy, or another's?",
            config.boot, config.member_id
        ))),
        _ => Ok(()),
    }
}

/// The newest boot of `member` among the entries that are not applied yet. Boots ascend in the log, so that the last
/// entry of the member says it; an entry is one member's.
fn newest_boot_in_log(member: u64, state: &State, log: &dyn Log) -> Result<Option<u64>, Error> {
    let first = state.applied().map_or(0, |applied| applied.index + 1);
    let end = log.state().last.map_or(0, |last| last.index + 1);
    let reader = log.reader();
    for index in (first..end).rev() {
        let mut found = None;
        reader.read(index..index + 1, u64::MAX, &mut |entry| {
            found = Some(entry);
            ControlFlow::Break(())
        })?;
        let Some(entry) = found.filter(|entry| entry.kind == EntryKind::Normal) else { continue };
        let proposals = decode_batch(entry.payload)
            .map_err(|malformed| Error::Corrupt(format!("log entry {index}: {malformed}")))?;
        let boot =
            proposals.iter().filter(|proposal| proposal.id.member == member).map(|it| it.id.boot).max();
        if boot.is_some() {
            return Ok(boot);
        }
    }
    Ok(None)
}
