//! Events in etcd's encoding, kept while more than one stream has to send them.

use crate::convert::encode_events;
use bytes::{Bytes, BytesMut};
use coffer_core::watch::WatchEvent;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Encodings that are kept at a time.
const COUNT_MAX: usize = 64;
/// Bytes of events in them.
const BYTES_MAX: usize = 8 << 20;

/// The encodings of events that are being sent. One for the whole server.
///
/// Streams that share events hold the same `Arc` of them, so its address tells them apart: it is not used again while
/// it is held here. An encoding is dropped by the last stream that wanted it, or when newer ones need its room.
#[derive(Debug, Default)]
pub(crate) struct Encodings {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
}

struct Entry {
    events: Arc<[WatchEvent]>,
    bytes: usize,
    encoded: Arc<OnceLock<Bytes>>,
}

// What was encoded never reaches logs.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Encodings {
    /// The encoding of `events`, as the events of a `WatchResponse`; `None` if nobody else wants them.
    pub(super) fn shared(&self, events: &Arc<[WatchEvent]>) -> Option<Bytes> {
        if Arc::strong_count(events) == 1 {
            return None;
        }
        let encoded = self.kept.lock().entry(events);
        // Outside of the lock: who wants the same waits, who wants another does not.
        Some(encoded.get_or_init(|| encode(events)).clone())
    }
}

impl Kept {
    fn entry(&mut self, events: &Arc<[WatchEvent]>) -> Arc<OnceLock<Bytes>> {
        let at = self.entries.iter().position(|entry| Arc::ptr_eq(&entry.events, events));
        if let Some(at) = at {
            // The caller's hold and ours are the only ones: nobody else will ask.
            if Arc::strong_count(events) == 2
                && let Some(entry) = self.entries.remove(at)
            {
                self.bytes -= entry.bytes;
                return entry.encoded;
            }
            return self.entries[at].encoded.clone();
        }
        let bytes = events.iter().map(payload_bytes).sum();
        while (self.entries.len() >= COUNT_MAX || self.bytes + bytes > BYTES_MAX)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
        let encoded = Arc::default();
        self.bytes += bytes;
        self.entries.push_back(Entry { events: events.clone(), bytes, encoded: Arc::clone(&encoded) });
        encoded
    }
}

fn encode(events: &[WatchEvent]) -> Bytes {
    let mut buffer = BytesMut::new();
    encode_events(events, &mut buffer);
    buffer.freeze()
}

fn payload_bytes(event: &WatchEvent) -> usize {
    let prev = event.prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    event.event.record.payload_bytes() + prev
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_core::state::Event;
    use coffer_core::{Record, Revision};

    fn events(main: i64, bytes: usize) -> Arc<[WatchEvent]> {
        let mut record = Record::deletion(Revision::first(main), Bytes::from(vec![b'k'; bytes]));
        record.value = Bytes::new();
        Arc::new([WatchEvent { event: Event { record: Arc::new(record), prev: None }, prev_kv: None }])
    }

    #[test]
    fn what_several_streams_send_is_encoded_once_and_then_forgotten() {
        let encodings = Encodings::default();
        let (first, second) = (events(2, 10), events(3, 10));
        let holders = [first.clone(), first.clone()];
        let encoded: Vec<Bytes> = holders.iter().map(|events| encodings.shared(events).unwrap()).collect();
        assert_eq!(encoded[0].as_ptr(), encoded[1].as_ptr(), "the second is the first's");
        assert_eq!(encodings.kept.lock().entries.len(), 1);
        drop(holders);
        assert_eq!(encodings.shared(&first).unwrap().as_ptr(), encoded[0].as_ptr());
        assert_eq!(encodings.kept.lock().entries.len(), 0, "nobody else holds the events");
        assert_eq!(encodings.shared(&second), None, "what is not shared is not kept");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let encodings = Encodings::default();
        let many: Vec<_> = (0..COUNT_MAX as i64 + 9).map(|n| events(n + 2, 10)).collect();
        let held = many.clone();
        for events in &many {
            encodings.shared(events).unwrap();
        }
        assert_eq!(encodings.kept.lock().entries.len(), COUNT_MAX);
        let large: Vec<_> = (0..4).map(|n| events(n + 2, BYTES_MAX / 2)).collect();
        let also_held = large.clone();
        for events in &large {
            encodings.shared(events).unwrap();
        }
        let kept = encodings.kept.lock();
        assert_eq!((kept.entries.len(), kept.bytes), (2, BYTES_MAX));
        drop((held, also_held));
    }
}
