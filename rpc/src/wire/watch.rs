//! Watch requests, and what watchers are told.

use super::kv::{get_range, put_range};
use super::{copy_pair, get_key_value, list_len, malformed, put_key_value};
use crate::schema::types_capnp::key_value;
use crate::schema::watch_capnp::{watch_create_request, watch_event, watch_response};
use crate::wire;
use coffer_core::state::Event;
use coffer_core::watch::{WatchEvent, WatchKind, WatchRequest, WatchResponse};
use coffer_core::{Error, LeaseId, Record, Revision};
use std::sync::Arc;

pub(crate) fn put_request(request: &WatchRequest, mut to: watch_create_request::Builder<'_>) {
    to.set_start_revision(request.start_revision);
    to.set_progress_notify(request.progress_notify);
    to.set_no_put(request.no_put);
    to.set_no_delete(request.no_delete);
    to.set_prev_kv(request.prev_kv);
    to.set_watch_id(request.watch_id);
    to.set_fragment(request.fragment);
    put_range(&request.range, to.init_range());
}

pub(crate) fn get_request(from: watch_create_request::Reader<'_>) -> Result<WatchRequest, Error> {
    Ok(WatchRequest {
        range: from.get_range().and_then(get_range).map_err(malformed)?,
        start_revision: from.get_start_revision(),
        progress_notify: from.get_progress_notify(),
        no_put: from.get_no_put(),
        no_delete: from.get_no_delete(),
        prev_kv: from.get_prev_kv(),
        watch_id: from.get_watch_id(),
        fragment: from.get_fragment(),
    })
}

pub(crate) fn put_response(response: &WatchResponse, mut to: watch_response::Builder<'_>) {
    to.set_revision(response.revision);
    let mut ids = to.reborrow().init_watch_ids(list_len(response.watch_ids.len()));
    for (index, id) in (0..).zip(&response.watch_ids) {
        ids.set(index, *id);
    }
    match &response.kind {
        WatchKind::Created => to.set_created(()),
        WatchKind::Events { events, fragment } => {
            let mut to = to.init_events();
            to.set_fragment(*fragment);
            let mut list = to.init_list(list_len(events.len()));
            for (index, event) in (0..).zip(events.iter()) {
                put_event(event, list.reborrow().get(index));
            }
        }
        WatchKind::Progress => to.set_progress(()),
        WatchKind::Canceled { reason, compact_revision } => {
            let mut to = to.init_canceled();
            to.set_compact_revision(*compact_revision);
            wire::error::put(reason, to.init_error());
        }
    }
}

pub(crate) fn get_response(from: watch_response::Reader<'_>) -> capnp::Result<WatchResponse> {
    let kind = match from.which()? {
        watch_response::Created(()) => WatchKind::Created,
        watch_response::Events(events) => WatchKind::Events {
            events: events.get_list()?.iter().map(get_event).collect::<capnp::Result<_>>()?,
            fragment: events.get_fragment(),
        },
        watch_response::Progress(()) => WatchKind::Progress,
        watch_response::Canceled(canceled) => WatchKind::Canceled {
            reason: wire::error::get(canceled.get_error()?)?.unwrap_or(Error::Canceled),
            compact_revision: canceled.get_compact_revision(),
        },
    };
    Ok(WatchResponse {
        watch_ids: from.get_watch_ids()?.iter().collect(),
        revision: from.get_revision(),
        kind,
    })
}

fn put_event(event: &WatchEvent, mut to: watch_event::Builder<'_>) {
    let record = &event.event.record;
    to.set_type(if record.tombstone { watch_event::Type::Delete } else { watch_event::Type::Put });
    put_record(record, to.reborrow().init_kv());
    if let Some(kv) = &event.prev_kv {
        put_key_value(kv, to.init_prev_kv());
    }
}

fn put_record(record: &Record, mut to: key_value::Builder<'_>) {
    to.set_key(&record.key);
    to.set_value(&record.value);
    to.set_create_revision(record.create_revision);
    to.set_mod_revision(record.revision.main);
    to.set_version(record.version);
    to.set_lease(record.lease.0);
}

/// `sub` of the revision does not travel: it is 0 here.
fn get_event(from: watch_event::Reader<'_>) -> capnp::Result<WatchEvent> {
    let kv = from.get_kv()?;
    let (key, value) = copy_pair(kv.get_key()?, kv.get_value()?);
    let record = Record {
        revision: Revision::first(kv.get_mod_revision()),
        key,
        value,
        create_revision: kv.get_create_revision(),
        version: kv.get_version(),
        lease: LeaseId(kv.get_lease()),
        tombstone: from.get_type()? == watch_event::Type::Delete,
    };
    let prev_kv = if from.has_prev_kv() { Some(get_key_value(from.get_prev_kv()?)?) } else { None };
    Ok(WatchEvent { event: Event { record: Arc::new(record), prev: None }, prev_kv })
}
