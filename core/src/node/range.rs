//! Executes range requests over the index and the records: the same for plain reads and for ranges inside a txn.
//!
//! The walk takes the index lock for a few hundred keys at a time, at a pinned revision; values are read after it.

use super::values::ValueStore;
use crate::error::Error;
use crate::record::{KeyValue, Record};
use crate::request::{Header, RangeRequest, RangeResponse, SortOrder, SortTarget};
use crate::state::{IndexEntry, RangeOutcome, StateReader};
use std::cell::Cell;
use std::cmp::Ordering;

/// What a pair takes beside its key and its value: about the same in memory and in an encoded answer.
const PAIR_OVERHEAD_BYTES: usize = 48;

/// About how much a pair takes.
pub(super) fn pair_bytes(kv: &KeyValue) -> usize {
    PAIR_OVERHEAD_BYTES + kv.key.len() + kv.value.len()
}

/// Reads a range as of the newest revision, or of the one that the request names. Stops with `more` behind the pair
/// that reaches `bytes_max`, unless the pairs are sorted by value: then all are read.
///
/// # Errors
/// [`Error::Compacted`], [`Error::FutureRevision`]; a local fault.
pub(super) fn read(
    reader: &StateReader,
    values: &ValueStore,
    request: RangeRequest,
    bytes_max: usize,
    header: impl FnOnce(i64) -> Header,
) -> Result<RangeResponse, Error> {
    let pin = reader.pin_at(request.revision)?;
    // Of the newest revision the header says exactly what was read: whoever lists, and then watches from the header's
    // revision on, must not miss what was published in between.
    let newest = if request.revision > 0 { reader.revision() } else { pin.revision() };
    finish(values, reader.range(request, pin.revision())?, bytes_max, header(newest))
}

/// Reads the values of what was found, and sorts, filters and cuts as the request and, as in [`read`], `bytes_max`
/// ask.
///
/// # Errors
/// A local fault.
pub(super) fn finish(
    values: &ValueStore,
    outcome: RangeOutcome,
    bytes_max: usize,
    header: Header,
) -> Result<RangeResponse, Error> {
    let RangeOutcome { request, mut found, count } = outcome;
    if request.count_only {
        return Ok(RangeResponse { header, kvs: Vec::new(), more: false, count });
    }
    let limit = usize::try_from(request.limit).ok().filter(|&limit| limit > 0).unwrap_or(usize::MAX);
    if request.has_filters() {
        found.retain(|entry| passes(&request, entry));
    }
    let by_value = request.sort_target == SortTarget::Value;
    if !by_value {
        sort_entries(&request, &mut found);
    }
    let total = found.len();
    if !by_value {
        found.truncate(limit);
    }
    let bytes_max = if by_value { usize::MAX } else { bytes_max };
    let mut kvs = if request.answers_from_index() {
        key_values(found, bytes_max)
    } else {
        load(values, found, bytes_max)?
    };
    if by_value {
        sort_values(&request, &mut kvs);
        kvs.truncate(limit);
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = bytes::Bytes::new());
        }
    }
    let more = total > kvs.len();
    Ok(RangeResponse { header, kvs, more, count })
}

fn passes(request: &RangeRequest, entry: &IndexEntry) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(entry.revision.main, request.min_mod_revision, request.max_mod_revision)
        && within(entry.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Sorts by anything that the index knows. Keys come in ascending order, none twice.
fn sort_entries(request: &RangeRequest, found: &mut [IndexEntry]) {
    let compare: fn(&IndexEntry, &IndexEntry) -> Ordering = match request.sort_target {
        SortTarget::Key if request.sort_order == SortOrder::Descend => return found.reverse(),
        SortTarget::Key => return,
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.revision.main.cmp(&b.revision.main),
        SortTarget::Value => return,
    };
    match request.sort_order {
        SortOrder::None | SortOrder::Ascend => found.sort_by(compare),
        SortOrder::Descend => found.sort_by(|a, b| compare(b, a)),
    }
}

fn sort_values(request: &RangeRequest, kvs: &mut [KeyValue]) {
    match request.sort_order {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
        SortOrder::Descend => kvs.sort_by(|a, b| b.value.cmp(&a.value)),
    }
}

/// Counts what was taken, to stop behind the pair that reaches a bound.
struct Meter {
    bytes: Cell<usize>,
    bytes_max: usize,
}

impl Meter {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Cell::new(0), bytes_max }
    }

    fn has_room(&self) -> bool {
        self.bytes.get() < self.bytes_max
    }

    fn add(&self, kv: &KeyValue) {
        self.bytes.set(self.bytes.get().saturating_add(pair_bytes(kv)));
    }
}

/// Answers from the index alone. As in etcd 3.7 such an answer has no lease.
fn key_values(found: Vec<IndexEntry>, bytes_max: usize) -> Vec<KeyValue> {
    let meter = Meter::new(bytes_max);
    let pairs = found.into_iter().map(|entry| KeyValue {
        key: entry.key,
        create_revision: entry.create_revision,
        mod_revision: entry.revision.main,
        version: entry.version,
        ..KeyValue::default()
    });
    pairs.take_while(|_| meter.has_room()).inspect(|kv| meter.add(kv)).collect()
}

fn load(values: &ValueStore, found: Vec<IndexEntry>, bytes_max: usize) -> Result<Vec<KeyValue>, Error> {
    let meter = Meter::new(bytes_max);
    let mut kvs = Vec::with_capacity(found.len());
    let revisions = found.iter().map(|entry| entry.revision).take_while(|_| meter.has_room());
    values.read_many(revisions, |record: &Record| {
        let kv = record.key_value();
        meter.add(&kv);
        kvs.push(kv);
    })?;
    Ok(kvs)
}
