//! Executes range requests over the index and the records: the same for plain reads and for ranges inside a txn.
//!
//! The walk takes the index lock for a few hundred keys at a time, at a pinned revision; values are read after it.

use super::values::ValueStore;
use crate::error::Error;
use crate::record::{KeyValue, Record};
use crate::request::{Header, RangeRequest, RangeResponse, SortOrder, SortTarget};
use crate::state::{IndexEntry, RangeOutcome, StateReader};
use std::cmp::Ordering;

/// Reads a range as of the newest revision, or of the one that the request names.
///
/// # Errors
/// [`Error::Compacted`], [`Error::FutureRevision`]; a local fault.
pub(super) fn read(
    reader: &StateReader,
    values: &ValueStore,
    request: RangeRequest,
    header: impl FnOnce(i64) -> Header,
) -> Result<RangeResponse, Error> {
    let pin = reader.pin_at(request.revision)?;
    // Of the newest revision the header says exactly what was read: whoever lists, and then watches from the header's
    // revision on, must not miss what was published in between.
    let newest = if request.revision > 0 { reader.revision() } else { pin.revision() };
    finish(values, reader.range(request, pin.revision())?, header(newest))
}

/// Reads the values of what was found, and sorts, filters and cuts as the request asks.
///
/// # Errors
/// A local fault.
pub(super) fn finish(
    values: &ValueStore,
    outcome: RangeOutcome,
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
    let mut kvs = if request.answers_from_index() { key_values(found) } else { load(values, found)? };
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

/// Answers from the index alone. As in etcd 3.7 such an answer has no lease.
fn key_values(found: Vec<IndexEntry>) -> Vec<KeyValue> {
    found
        .into_iter()
        .map(|entry| KeyValue {
            key: entry.key,
            create_revision: entry.create_revision,
            mod_revision: entry.revision.main,
            version: entry.version,
            ..KeyValue::default()
        })
        .collect()
}

fn load(values: &ValueStore, found: Vec<IndexEntry>) -> Result<Vec<KeyValue>, Error> {
    let mut kvs = Vec::with_capacity(found.len());
    values.read_many(found.iter().map(|entry| entry.revision), |record: &Record| {
        kvs.push(record.key_value())
    })?;
    Ok(kvs)
}
