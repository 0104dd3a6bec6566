//! Watches: requests, and events in etcd's encoding.

use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb;
use bytes::BufMut;
use coffer_core::KeyRange;
use coffer_core::watch::{WatchEvent, WatchRequest};
use pb::watch_create_request::FilterType;

/// The number of the field `events` of a `WatchResponse`.
const EVENTS_FIELD: u32 = 11;

impl From<pb::WatchCreateRequest> for WatchRequest {
    fn from(request: pb::WatchCreateRequest) -> Self {
        // As in etcd, unknown filters count as absent.
        let filters = |filter: FilterType| request.filters.contains(&(filter as i32));
        let (no_put, no_delete) = (filters(FilterType::Noput), filters(FilterType::Nodelete));
        Self {
            range: KeyRange::from_wire(request.key, request.range_end),
            start_revision: request.start_revision,
            progress_notify: request.progress_notify,
            no_put,
            no_delete,
            prev_kv: request.prev_kv,
            watch_id: request.watch_id,
            fragment: request.fragment,
        }
    }
}

impl From<&WatchEvent> for mvccpb::Event {
    fn from(event: &WatchEvent) -> Self {
        let record = &event.event.record;
        let kind = match record.tombstone {
            true => mvccpb::event::EventType::Delete,
            false => mvccpb::event::EventType::Put,
        };
        Self {
            r#type: kind.into(),
            kv: Some(record.key_value().into()),
            prev_kv: event.prev_kv.clone().map(Into::into),
        }
    }
}

/// Appends `events` as the events of a `WatchResponse`.
pub(crate) fn encode_events(events: &[WatchEvent], buffer: &mut impl BufMut) {
    for event in events {
        prost::encoding::message::encode(EVENTS_FIELD, &mvccpb::Event::from(event), buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer_core::state::Event;
    use coffer_core::{KeyValue, LeaseId, Record, Revision};
    use prost::Message;
    use std::sync::Arc;

    #[test]
    fn events_are_encoded_as_those_of_a_response() {
        let put = Record {
            revision: Revision { main: 7, sub: 1 },
            key: "key".into(),
            value: "value".into(),
            create_revision: 3,
            version: 2,
            lease: LeaseId(9),
            tombstone: false,
        };
        let prev = KeyValue { key: "key".into(), value: "old".into(), mod_revision: 3, ..Default::default() };
        let delete = Record::deletion(Revision::first(8), "gone".into());
        let events = [(put, Some(prev)), (delete, None)].map(|(record, prev_kv)| WatchEvent {
            event: Event { record: Arc::new(record), prev: None },
            prev_kv,
        });
        let mut encoded = Vec::new();
        encode_events(&events, &mut encoded);
        let response = pb::WatchResponse::decode(&encoded[..]).unwrap();
        let expected =
            pb::WatchResponse { events: events.iter().map(Into::into).collect(), ..Default::default() };
        assert_eq!(response, expected);
        assert_eq!(encoded, expected.encode_to_vec());
        let kinds: Vec<_> = response.events.iter().map(|event| event.r#type()).collect();
        assert_eq!(kinds, [mvccpb::event::EventType::Put, mvccpb::event::EventType::Delete]);
        assert_eq!(response.events[1].kv.as_ref().unwrap().mod_revision, 8);
    }
}
