//! Events as they are delivered: looked up, cut and counted once, shared by every watcher that wants them.

use super::{History, WatchEvent, WatchKind, WatchResponse};
use crate::error::Error;
use crate::record::KeyValue;
use crate::state::Event;
use std::sync::Arc;

/// What an event costs in memory besides keys and values.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// What a response costs in memory besides its events.
const RESPONSE_OVERHEAD_BYTES: usize = 96;

/// Bytes that an event and its record hold.
pub(super) fn event_bytes(event: &Event) -> usize {
    EVENT_OVERHEAD_BYTES + event.record.payload_bytes()
}

fn watch_event_bytes(event: &WatchEvent) -> usize {
    let prev = event.prev_kv.as_ref().map_or(0, |kv| EVENT_OVERHEAD_BYTES + kv.key.len() + kv.value.len());
    event_bytes(&event.event) + prev
}

/// A response and what it counts for in a stream's queue.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) response: WatchResponse,
    pub(super) bytes: usize,
    /// Events times watchers.
    pub(super) events: usize,
}

impl Queued {
    /// A response without events.
    pub(super) fn control(watch_ids: Vec<i64>, revision: i64, kind: WatchKind) -> Self {
        let bytes = RESPONSE_OVERHEAD_BYTES + watch_ids.len() * size_of::<i64>();
        Self { response: WatchResponse { watch_ids, revision, kind }, bytes, events: 0 }
    }
}

/// The pair before `event`, unless the event created the key.
///
/// # Errors
/// The history can not be read.
pub(super) fn prev_kv(history: &dyn History, event: &Event) -> Result<Option<KeyValue>, Error> {
    let record = &event.record;
    let creates = !record.tombstone && record.create_revision == record.revision.main;
    match event.prev {
        Some(prev) if !creates => Ok(history.record(prev)?.map(|record| record.key_value())),
        _ => Ok(None),
    }
}

/// Non-empty events for all watchers of one spec at one position.
#[derive(Debug)]
pub(super) struct Delivery {
    /// One piece, or several if fragments are allowed and the events are many.
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    events: Arc<[WatchEvent]>,
    bytes: usize,
}

impl Delivery {
    /// Shares `events`, in one piece unless `fragment_bytes` tells near what size to cut.
    pub(super) fn new(events: Vec<WatchEvent>, fragment_bytes: Option<usize>) -> Self {
        let total: usize = events.iter().map(watch_event_bytes).sum();
        match fragment_bytes {
            Some(limit) if total >= limit => Self { pieces: cut(events, limit) },
            _ => Self { pieces: vec![Piece { events: events.into(), bytes: total }] },
        }
    }

    /// The responses that carry the delivery to the watchers `watch_ids` of one stream.
    pub(super) fn responses<'a>(
        &'a self,
        watch_ids: &'a [i64],
        revision: i64,
    ) -> impl Iterator<Item = Queued> + 'a {
        let last = self.pieces.len() - 1;
        self.pieces.iter().enumerate().map(move |(n, piece)| Queued {
            response: WatchResponse {
                watch_ids: watch_ids.to_vec(),
                revision,
                kind: WatchKind::Events { events: piece.events.clone(), fragment: n < last },
            },
            bytes: RESPONSE_OVERHEAD_BYTES + size_of_val(watch_ids) + piece.bytes,
            events: piece.events.len() * watch_ids.len(),
        })
    }
}

/// Pieces of less than `limit` bytes, or of one event.
fn cut(events: Vec<WatchEvent>, limit: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut piece, mut bytes) = (Vec::new(), 0);
    for event in events {
        let more = watch_event_bytes(&event);
        if !piece.is_empty() && bytes + more >= limit {
            pieces.push(Piece { events: std::mem::take(&mut piece).into(), bytes });
            bytes = 0;
        }
        bytes += more;
        piece.push(event);
    }
    pieces.push(Piece { events: piece.into(), bytes });
    pieces
}
