//! Executes range requests over the index and the records: the same for plain reads and for ranges inside a txn.
//!
//! The walk takes the index lock for a few hundred keys at a time, at a pinned revision; values are read after it. In
//! between the other calls of the thread have their turn.

use super::turns::Turns;
use super::values::ValueStore;
use crate::error::Error;
use crate::record::{KeyValue, Record};
use crate::request::{Header, RangeRequest, RangeResponse, SortOrder, SortTarget};
use crate::revision::Revision;
use crate::state::{Finding, IndexEntry, RangeOutcome, RangeView, StateReader};
use std::cell::Cell;
use std::cmp::Ordering;
use std::iter::Peekable;

/// What a pair takes beside its key and its value: about the same in memory and in an encoded answer.
const PAIR_OVERHEAD_BYTES: usize = 48;
/// Keys that one step of the index looks at.
const STEP_KEYS: usize = 512;
/// Records and bytes that are read in one go.
const LOAD_RECORDS: usize = 256;
const LOAD_BYTES: usize = 1 << 20;
/// What comparing two values weighs beside looking at a key.
const VALUE_WEIGHT: usize = 64;

/// About how much a pair takes.
pub(super) fn pair_bytes(kv: &KeyValue) -> usize {
    PAIR_OVERHEAD_BYTES + kv.key.len() + kv.value.len()
}

/// A range that was read, perhaps not all of it.
pub(super) struct Read {
    pub(super) response: RangeResponse,
    /// About how much its pairs take.
    pub(super) bytes: usize,
    /// Whether it ends before the range does because of what it takes.
    pub(super) is_cut: bool,
}

/// Reads a range as of the newest revision, or of the one that the request names. Stops with `more` behind the pair
/// that reaches `bytes_max`.
///
/// # Errors
/// [`Error::Compacted`], [`Error::FutureRevision`]; [`Error::AnswerTooLarge`] as [`finish`]; a local fault.
pub(super) async fn read(
    reader: &StateReader,
    values: &ValueStore,
    request: RangeRequest,
    bytes_max: usize,
    header: impl FnOnce(i64) -> Header,
) -> Result<Read, Error> {
    let pin = reader.pin_at(request.revision)?;
    // Of the newest revision the header says exactly what was read: whoever lists, and then watches from the header's
    // revision on, must not miss what was published in between.
    let newest = if request.revision > 0 { reader.revision() } else { pin.revision() };
    let header = header(newest);
    let mut turns = Turns::new();
    let finding = reader.find(RangeView::settled(request, pin.revision()));
    let outcome = find(finding, values, &mut turns, |_| Ok(())).await?;
    finish(values, outcome, bytes_max, header, &mut turns).await
}

/// Finds what a range shows; `check` sees after each step how many keys there are so far.
///
/// # Errors
/// What `check` says; a local fault.
pub(super) async fn find(
    mut finding: Finding,
    values: &ValueStore,
    turns: &mut Turns,
    check: impl Fn(usize) -> Result<(), Error>,
) -> Result<RangeOutcome, Error> {
    while !finding.step(values)? {
        check(finding.found())?;
        turns.worked(STEP_KEYS).await;
    }
    check(finding.found())?;
    finding.finish()
}

/// Reads the values of what was found, and sorts, filters and cuts as the request and, as in [`read`], `bytes_max`
/// ask.
///
/// # Errors
/// [`Error::AnswerTooLarge`] where the pairs are sorted by value, all of which have to be looked at, and those that are
/// asked for exceed `bytes_max`; a local fault.
pub(super) async fn finish(
    values: &ValueStore,
    outcome: RangeOutcome,
    bytes_max: usize,
    header: Header,
    turns: &mut Turns,
) -> Result<Read, Error> {
    let RangeOutcome { request, mut found, count } = outcome;
    let limit = usize::try_from(request.limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX);
    if request.has_filters() {
        found.retain(|entry| passes(&request, entry));
    }
    let by_value = request.sort_target == SortTarget::Value;
    if !by_value {
        sort_entries(&request, &mut found, turns).await;
    }
    let total = found.len();
    if !by_value {
        found.truncate(limit);
    }
    let wanted = found.len().min(limit);
    let (mut kvs, bytes) = if by_value {
        load_by_value(values, &request, found, limit, bytes_max, turns).await?
    } else if request.answers_from_index() {
        key_values(found, bytes_max, turns).await
    } else {
        load(values, found.into_iter().map(|entry| entry.revision), bytes_max, turns).await?
    };
    if by_value && request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = bytes::Bytes::new());
    }
    let (more, is_cut) = (total > kvs.len(), wanted > kvs.len());
    let response = RangeResponse { header, kvs, more: more && !request.count_only, count };
    Ok(Read { response, bytes, is_cut })
}

fn passes(request: &RangeRequest, entry: &IndexEntry) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(entry.revision.main, request.min_mod_revision, request.max_mod_revision)
        && within(entry.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Sorts by anything that the index knows. Keys come in ascending order, none twice.
async fn sort_entries(request: &RangeRequest, found: &mut Vec<IndexEntry>, turns: &mut Turns) {
    let compare: fn(&IndexEntry, &IndexEntry) -> Ordering = match request.sort_target {
        SortTarget::Key if request.sort_order == SortOrder::Descend => return found.reverse(),
        SortTarget::Key => return,
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.revision.main.cmp(&b.revision.main),
        SortTarget::Value => return,
    };
    match request.sort_order {
        SortOrder::None | SortOrder::Ascend => turns.sort(found, 1, compare).await,
        SortOrder::Descend => turns.sort(found, 1, |a, b| compare(b, a)).await,
    }
}

async fn sort_values(request: &RangeRequest, kvs: &mut Vec<KeyValue>, turns: &mut Turns) {
    match request.sort_order {
        SortOrder::None | SortOrder::Ascend => {
            turns.sort(kvs, VALUE_WEIGHT, |a, b| a.value.cmp(&b.value)).await
        }
        SortOrder::Descend => turns.sort(kvs, VALUE_WEIGHT, |a, b| b.value.cmp(&a.value)).await,
    }
}

/// Answers from the index alone. As in etcd 3.7 such an answer has no lease.
async fn key_values(found: Vec<IndexEntry>, bytes_max: usize, turns: &mut Turns) -> (Vec<KeyValue>, usize) {
    let (mut kvs, mut bytes) = (Vec::new(), 0);
    for entry in found {
        if bytes >= bytes_max {
            break;
        }
        let kv = KeyValue {
            key: entry.key,
            create_revision: entry.create_revision,
            mod_revision: entry.revision.main,
            version: entry.version,
            ..KeyValue::default()
        };
        bytes += pair_bytes(&kv);
        kvs.push(kv);
        turns.worked(1).await;
    }
    (kvs, bytes)
}

/// Reads records in the order of `revisions`, to behind the one that reaches `bytes_max`. With what they take.
///
/// # Errors
/// A local fault.
pub(super) async fn load(
    values: &ValueStore,
    revisions: impl Iterator<Item = Revision>,
    bytes_max: usize,
    turns: &mut Turns,
) -> Result<(Vec<KeyValue>, usize), Error> {
    let mut revisions = revisions.peekable();
    let (mut kvs, mut bytes) = (Vec::new(), 0);
    while bytes < bytes_max && revisions.peek().is_some() {
        let loaded = load_some(values, &mut revisions, bytes_max - bytes, &mut kvs)?;
        bytes += loaded.bytes;
        turns.read(loaded.records, loaded.bytes).await;
    }
    Ok((kvs, bytes))
}

/// Reads all records, but keeps no more than the `limit` first of them by value, and a few.
async fn load_by_value(
    values: &ValueStore,
    request: &RangeRequest,
    found: Vec<IndexEntry>,
    limit: usize,
    bytes_max: usize,
    turns: &mut Turns,
) -> Result<(Vec<KeyValue>, usize), Error> {
    let mut revisions = found.into_iter().map(|entry| entry.revision).peekable();
    let (mut kvs, mut bytes) = (Vec::new(), 0);
    while revisions.peek().is_some() {
        if bytes >= bytes_max {
            return Err(Error::AnswerTooLarge);
        }
        let loaded = load_some(values, &mut revisions, bytes_max - bytes, &mut kvs)?;
        bytes += loaded.bytes;
        turns.read(loaded.records, loaded.bytes).await;
        let is_full = kvs.len() / 2 > limit || bytes >= bytes_max && kvs.len() > limit;
        if is_full || revisions.peek().is_none() {
            sort_values(request, &mut kvs, turns).await;
            kvs.truncate(limit);
            bytes = kvs.iter().map(pair_bytes).sum();
        }
    }
    Ok((kvs, bytes))
}

struct Loaded {
    records: usize,
    bytes: usize,
}

/// Reads some of the records, to behind the one that reaches `bytes_max`.
fn load_some(
    values: &ValueStore,
    revisions: &mut Peekable<impl Iterator<Item = Revision>>,
    bytes_max: usize,
    kvs: &mut Vec<KeyValue>,
) -> Result<Loaded, Error> {
    let bytes_max = bytes_max.min(LOAD_BYTES);
    let (records, bytes) = (Cell::new(0), Cell::new(0));
    let has_room = || records.get() < LOAD_RECORDS && bytes.get() < bytes_max;
    let some = std::iter::from_fn(|| revisions.next_if(|_| has_room()));
    values.read_many(some, |record: &Record| {
        let kv = record.key_value();
        records.set(records.get() + 1);
        bytes.set(bytes.get() + pair_bytes(&kv));
        kvs.push(kv);
    })?;
    Ok(Loaded { records: records.get(), bytes: bytes.get() })
}
