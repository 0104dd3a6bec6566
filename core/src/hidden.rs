//! Keys and values never reach logs: what `Debug` shows in their place.

use std::fmt;

/// Bytes of a user: how many there are, and never which.
pub(crate) struct Hidden<'a>(pub(crate) &'a [u8]);

impl fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::request::*;
    use crate::state::{Command, Event, IndexEntry, Outcome, Proposal, RangeOutcome, RangeView, RequestId};
    use crate::storage::{Checkpoint, EntryKind, Flush, LogEntry, LogId, LogOp, RecordBlock};
    use crate::watch::{EventBatch, WatchEvent, WatchKind, WatchRequest, WatchResponse};
    use crate::{KeyRange, KeyValue, LeaseId, Record, Revision};
    use bytes::Bytes;
    use std::fmt::Debug;
    use std::sync::Arc;

    const CANARY: &str = "canary-2f1e7c0b9d";

    /// Neither as text nor as a list of numbers.
    fn shows_nothing(what: &dyn Debug) {
        let numbers =
            CANARY.as_bytes()[..4].iter().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        for text in [format!("{what:?}"), format!("{what:#?}").replace(['\n', ' '], "").replace(',', ", ")] {
            assert!(!text.contains(CANARY) && !text.contains(&numbers), "{text}");
        }
    }

    fn canary() -> Bytes {
        Bytes::from_static(CANARY.as_bytes())
    }

    fn ranges() -> [KeyRange; 5] {
        [
            KeyRange::single(canary()),
            KeyRange::prefix(canary()),
            KeyRange::from(canary()),
            KeyRange::between(canary(), "z"),
            KeyRange::between("a", canary()),
        ]
    }

    fn put() -> PutRequest {
        PutRequest { key: canary(), value: canary(), ..PutRequest::default() }
    }

    fn record() -> Record {
        Record {
            revision: Revision::first(3),
            key: canary(),
            value: canary(),
            create_revision: 3,
            version: 1,
            lease: LeaseId::NONE,
            tombstone: false,
        }
    }

    fn kv() -> KeyValue {
        KeyValue { key: canary(), value: canary(), ..KeyValue::default() }
    }

    #[test]
    fn what_is_asked_for_is_not_shown() {
        for range in ranges() {
            shows_nothing(&range);
            shows_nothing(&RangeRequest::new(range.clone()));
            shows_nothing(&WatchRequest::new(range.clone()));
            let delete = DeleteRangeRequest { range: range.clone(), prev_kv: true };
            let compare =
                Compare { range, result: CompareResult::Equal, target: CompareTarget::Value(canary()) };
            let inner = TxnRequest { success: vec![TxnOp::Put(put())], ..TxnRequest::default() };
            let txn = TxnRequest {
                compare: vec![compare],
                success: vec![TxnOp::Txn(inner), TxnOp::DeleteRange(delete.clone())],
                failure: vec![TxnOp::Put(put())],
            };
            shows_nothing(&txn);
            for command in [Command::Put(put()), Command::DeleteRange(delete), Command::Txn(txn)] {
                shows_nothing(&Proposal { id: RequestId { member: 1, boot: 1, sequence: 1 }, command });
            }
        }
    }

    #[test]
    fn what_is_answered_and_stored_is_not_shown() {
        let response = RangeResponse { kvs: vec![kv()], ..RangeResponse::default() };
        shows_nothing(&response);
        shows_nothing(&PutResponse { prev_kv: Some(kv()), ..PutResponse::default() });
        shows_nothing(&DeleteRangeResponse { prev_kvs: vec![kv()], ..DeleteRangeResponse::default() });
        shows_nothing(&TxnOpResponse::Range(response));
        shows_nothing(&LeaseTimeToLiveResponse {
            keys: vec![canary()],
            ..LeaseTimeToLiveResponse::default()
        });
        let entry =
            IndexEntry { key: canary(), revision: Revision::first(3), create_revision: 3, version: 1 };
        let [range, ..] = ranges();
        shows_nothing(&RangeOutcome {
            request: RangeRequest::new(range.clone()),
            found: vec![entry],
            count: 1,
        });
        shows_nothing(&Outcome::Range(RangeView { request: RangeRequest::new(range), at: 3, own_steps: 0 }));
        let event = Event { record: Arc::new(record()), prev: None };
        shows_nothing(&EventBatch { revision: 3, events: vec![event.clone()] });
        let events = Arc::from(vec![WatchEvent { event, prev_kv: Some(kv()) }]);
        shows_nothing(&WatchResponse {
            watch_ids: vec![1],
            revision: 3,
            kind: WatchKind::Events { events, fragment: false },
        });
        shows_nothing(&RecordBlock { records: vec![record()], memory_bytes: 1 });
        let applied = LogId { term: 1, index: 1 };
        let checkpoint = Checkpoint { applied, revision: 3, compact_revision: 0, state: Bytes::new() };
        shows_nothing(&Flush { records: &[Arc::new(record())], checkpoint: &checkpoint });
        let entry = LogEntry { id: LogId { term: 1, index: 1 }, kind: EntryKind::Normal, payload: canary() };
        shows_nothing(&LogOp::Append(vec![entry]));
    }

    #[test]
    fn its_size_is_shown() {
        assert!(format!("{:?}", put()).contains("17 bytes"));
    }
}
