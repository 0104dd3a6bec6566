//! Answers as etcdctl writes them in JSON: its names, base64 for bytes, what is empty left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use coffer::request::{
    CompactResponse, DeleteRangeResponse, HashKvResponse, Header, LeaseGrantResponse, LeaseKeepAliveResponse,
    LeaseListResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse, MembersResponse, PutResponse,
    RangeResponse, StatusResponse, TxnOpResponse, TxnResponse,
};
use coffer::{Event, EventKind, KeyValue, Member, Update};
use serde::Serialize;

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn base64(bytes: &Bytes) -> String {
    STANDARD.encode(bytes)
}

#[derive(Serialize)]
pub(crate) struct HeaderJson {
    #[serde(skip_serializing_if = "is_zero")]
    cluster_id: u64,
    #[serde(skip_serializing_if = "is_zero")]
    member_id: u64,
    #[serde(skip_serializing_if = "is_zero")]
    revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    raft_term: u64,
}

impl From<&Header> for HeaderJson {
    fn from(header: &Header) -> Self {
        let &Header { cluster_id, member_id, revision, raft_term } = header;
        Self { cluster_id, member_id, revision, raft_term }
    }
}

#[derive(Serialize)]
struct KeyValueJson {
    #[serde(skip_serializing_if = "is_zero")]
    key: String,
    #[serde(skip_serializing_if = "is_zero")]
    create_revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    mod_revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    version: i64,
    #[serde(skip_serializing_if = "is_zero")]
    value: String,
    #[serde(skip_serializing_if = "is_zero")]
    lease: i64,
}

impl From<&KeyValue> for KeyValueJson {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: base64(&kv.key),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            value: base64(&kv.value),
            lease: kv.lease.0,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RangeJson {
    header: HeaderJson,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kvs: Vec<KeyValueJson>,
    #[serde(skip_serializing_if = "is_zero")]
    more: bool,
    #[serde(skip_serializing_if = "is_zero")]
    count: i64,
}

impl From<&RangeResponse> for RangeJson {
    fn from(response: &RangeResponse) -> Self {
        Self {
            header: (&response.header).into(),
            kvs: response.kvs.iter().map(KeyValueJson::from).collect(),
            more: response.more,
            count: response.count,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct PutJson {
    header: HeaderJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<KeyValueJson>,
}

impl From<&PutResponse> for PutJson {
    fn from(response: &PutResponse) -> Self {
        Self { header: (&response.header).into(), prev_kv: response.prev_kv.as_ref().map(KeyValueJson::from) }
    }
}

#[derive(Serialize)]
pub(crate) struct DeleteJson {
    header: HeaderJson,
    #[serde(skip_serializing_if = "is_zero")]
    deleted: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prev_kvs: Vec<KeyValueJson>,
}

impl From<&DeleteRangeResponse> for DeleteJson {
    fn from(response: &DeleteRangeResponse) -> Self {
        Self {
            header: (&response.header).into(),
            deleted: response.deleted,
            prev_kvs: response.prev_kvs.iter().map(KeyValueJson::from).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct TxnJson {
    header: HeaderJson,
    #[serde(skip_serializing_if = "is_zero")]
    succeeded: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    responses: Vec<TxnOpJson>,
}

#[derive(Serialize)]
struct TxnOpJson {
    #[serde(rename = "Response")]
    response: TxnOpKind,
}

#[derive(Serialize)]
enum TxnOpKind {
    #[serde(rename = "response_range")]
    Range(RangeJson),
    #[serde(rename = "response_put")]
    Put(PutJson),
    #[serde(rename = "response_delete_range")]
    DeleteRange(DeleteJson),
    #[serde(rename = "response_txn")]
    Txn(TxnJson),
}

impl From<&TxnResponse> for TxnJson {
    fn from(response: &TxnResponse) -> Self {
        let kind = |response: &TxnOpResponse| match response {
            TxnOpResponse::Range(response) => TxnOpKind::Range(response.into()),
            TxnOpResponse::Put(response) => TxnOpKind::Put(response.into()),
            TxnOpResponse::DeleteRange(response) => TxnOpKind::DeleteRange(response.into()),
            TxnOpResponse::Txn(response) => TxnOpKind::Txn(response.into()),
        };
        Self {
            header: (&response.header).into(),
            succeeded: response.succeeded,
            responses: response.responses.iter().map(|r| TxnOpJson { response: kind(r) }).collect(),
        }
    }
}

/// An answer that says nothing but who gave it.
#[derive(Serialize)]
pub(crate) struct HeaderOnlyJson {
    header: HeaderJson,
}

impl From<&CompactResponse> for HeaderOnlyJson {
    fn from(response: &CompactResponse) -> Self {
        Self { header: (&response.header).into() }
    }
}

impl From<&LeaseRevokeResponse> for HeaderOnlyJson {
    fn from(response: &LeaseRevokeResponse) -> Self {
        Self { header: (&response.header).into() }
    }
}

#[derive(Serialize)]
pub(crate) struct LeaseGrantJson {
    #[serde(flatten)]
    header: HeaderJson,
    #[serde(rename = "ID")]
    id: i64,
    #[serde(rename = "TTL")]
    ttl: i64,
    #[serde(rename = "Error")]
    error: &'static str,
}

impl From<&LeaseGrantResponse> for LeaseGrantJson {
    fn from(response: &LeaseGrantResponse) -> Self {
        Self { header: (&response.header).into(), id: response.id.0, ttl: response.ttl_s, error: "" }
    }
}

#[derive(Serialize)]
pub(crate) struct LeaseKeepAliveJson {
    #[serde(flatten)]
    header: HeaderJson,
    #[serde(rename = "ID")]
    id: i64,
    #[serde(rename = "TTL")]
    ttl: i64,
}

impl From<&LeaseKeepAliveResponse> for LeaseKeepAliveJson {
    fn from(response: &LeaseKeepAliveResponse) -> Self {
        Self { header: (&response.header).into(), id: response.id.0, ttl: response.ttl_s }
    }
}

#[derive(Serialize)]
pub(crate) struct LeaseTimeToLiveJson {
    #[serde(flatten)]
    header: HeaderJson,
    id: i64,
    ttl: i64,
    #[serde(rename = "granted-ttl")]
    granted_ttl: i64,
    /// `null` without keys, as etcdctl writes it.
    keys: Option<Vec<String>>,
}

impl From<&LeaseTimeToLiveResponse> for LeaseTimeToLiveJson {
    fn from(response: &LeaseTimeToLiveResponse) -> Self {
        let keys: Vec<_> = response.keys.iter().map(base64).collect();
        Self {
            header: (&response.header).into(),
            id: response.id.0,
            ttl: response.ttl_s,
            granted_ttl: response.granted_ttl_s,
            keys: (!keys.is_empty()).then_some(keys),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct LeaseListJson {
    #[serde(flatten)]
    header: HeaderJson,
    leases: Vec<LeaseJson>,
}

#[derive(Serialize)]
struct LeaseJson {
    id: i64,
}

impl From<&LeaseListResponse> for LeaseListJson {
    fn from(response: &LeaseListResponse) -> Self {
        Self {
            header: (&response.header).into(),
            leases: response.leases.iter().map(|lease| LeaseJson { id: lease.0 }).collect(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct MembersJson {
    header: HeaderJson,
    members: Vec<MemberJson>,
    /// Ours.
    leader: u64,
    #[serde(skip_serializing_if = "is_zero")]
    added: u64,
}

#[derive(Serialize)]
struct MemberJson {
    #[serde(rename = "ID")]
    id: u64,
    name: String,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "is_zero")]
    is_learner: bool,
}

impl From<&MembersResponse> for MembersJson {
    fn from(response: &MembersResponse) -> Self {
        let member = |(member, votes): &(Member, bool)| MemberJson {
            id: member.id,
            name: member.info.name.clone(),
            peer_urls: member.info.peer_urls.clone(),
            client_urls: member.info.client_urls.clone(),
            is_learner: !votes,
        };
        Self {
            header: (&response.header).into(),
            members: response.members.iter().map(member).collect(),
            leader: response.leader,
            added: response.added,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct HashKvOfEndpointJson {
    #[serde(rename = "Endpoint")]
    endpoint: String,
    #[serde(rename = "HashKV")]
    hash_kv: HashKvJson,
}

#[derive(Serialize)]
struct HashKvJson {
    header: HeaderJson,
    #[serde(skip_serializing_if = "is_zero")]
    hash: u32,
    #[serde(skip_serializing_if = "is_zero")]
    compact_revision: i64,
    #[serde(skip_serializing_if = "is_zero")]
    hash_revision: i64,
}

impl HashKvOfEndpointJson {
    pub(crate) fn new(endpoint: &str, response: &HashKvResponse) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            hash_kv: HashKvJson {
                header: (&response.header).into(),
                hash: response.hash,
                compact_revision: response.compact_revision,
                hash_revision: response.hash_revision,
            },
        }
    }
}

#[derive(Serialize)]
pub(crate) struct StatusOfEndpointJson {
    #[serde(rename = "Endpoint")]
    endpoint: String,
    #[serde(rename = "Status")]
    status: StatusJson,
}

/// The fields of etcd, then ours.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusJson {
    header: HeaderJson,
    version: String,
    db_size: u64,
    leader: u64,
    raft_index: u64,
    raft_term: u64,
    raft_applied_index: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
    db_size_in_use: u64,
    #[serde(skip_serializing_if = "is_zero")]
    is_learner: bool,
    compact_revision: i64,
    keys: u64,
    leases: u64,
    watchers: u64,
    backend: String,
    sealed: bool,
}

impl StatusOfEndpointJson {
    pub(crate) fn new(endpoint: &str, response: &StatusResponse) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            status: StatusJson {
                header: (&response.header).into(),
                version: response.version.clone(),
                db_size: response.db_size_bytes,
                leader: response.leader,
                raft_index: response.raft_index,
                raft_term: response.raft_term,
                raft_applied_index: response.raft_applied_index,
                errors: response.errors.clone(),
                db_size_in_use: response.db_size_in_use_bytes,
                is_learner: response.is_learner,
                compact_revision: response.compact_revision,
                keys: response.keys,
                leases: response.leases,
                watchers: response.watchers,
                backend: response.backend.clone(),
                sealed: response.sealed,
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct WatchJson {
    header: HeaderJson,
    events: Vec<EventJson>,
    compact_revision: i64,
    canceled: bool,
    created: bool,
}

#[derive(Serialize)]
struct EventJson {
    #[serde(rename = "type", skip_serializing_if = "is_zero")]
    kind: i32,
    kv: KeyValueJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<KeyValueJson>,
}

impl From<&Event> for EventJson {
    fn from(event: &Event) -> Self {
        let kind = match event.kind {
            EventKind::Put => 0,
            EventKind::Delete => 1,
        };
        Self { kind, kv: (&event.kv).into(), prev_kv: event.prev_kv.as_ref().map(KeyValueJson::from) }
    }
}

impl WatchJson {
    /// `header` says who answers; its revision is replaced by the update's.
    pub(crate) fn update(header: &Header, update: &Update) -> Self {
        Self {
            header: (&Header { revision: update.revision, ..*header }).into(),
            events: update.events.iter().map(EventJson::from).collect(),
            compact_revision: 0,
            canceled: false,
            created: false,
        }
    }

    pub(crate) fn canceled(header: &Header, compact_revision: i64) -> Self {
        Self {
            header: (&Header { revision: 0, ..*header }).into(),
            events: Vec::new(),
            compact_revision,
            canceled: true,
            created: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coffer::LeaseId;

    fn kv() -> KeyValue {
        KeyValue {
            key: Bytes::from_static(b"a"),
            value: Bytes::from_static(b"2"),
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            lease: LeaseId::NONE,
        }
    }

    const HEADER: Header = Header { cluster_id: 7, member_id: 8, revision: 4, raft_term: 2 };

    /// The expected texts were written by etcdctl.
    #[test]
    fn answers_read_as_those_of_etcdctl() {
        let range = RangeResponse { header: HEADER, kvs: vec![kv()], more: false, count: 1 };
        assert_eq!(
            serde_json::to_string(&RangeJson::from(&range)).unwrap(),
            r#"{"header":{"cluster_id":7,"member_id":8,"revision":4,"raft_term":2},"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":3,"version":2,"value":"Mg=="}],"count":1}"#
        );
        let keys =
            LeaseTimeToLiveResponse { header: HEADER, id: LeaseId(119), ttl_s: -1, ..Default::default() };
        assert_eq!(
            serde_json::to_string(&LeaseTimeToLiveJson::from(&keys)).unwrap(),
            r#"{"cluster_id":7,"member_id":8,"revision":4,"raft_term":2,"id":119,"ttl":-1,"granted-ttl":0,"keys":null}"#
        );
        let deleted = Event {
            kind: EventKind::Delete,
            kv: KeyValue { key: kv().key, mod_revision: 9, ..Default::default() },
            prev_kv: None,
        };
        let update = Update { revision: 9, events: vec![deleted], fragment: false };
        assert_eq!(
            serde_json::to_string(&WatchJson::update(&HEADER, &update)).unwrap(),
            r#"{"Header":{"cluster_id":7,"member_id":8,"revision":9,"raft_term":2},"Events":[{"type":1,"kv":{"key":"YQ==","mod_revision":9}}],"CompactRevision":0,"Canceled":false,"Created":false}"#
        );
        let inner = Header { revision: 2, ..Header::default() };
        let txn = TxnResponse {
            header: HEADER,
            succeeded: true,
            responses: vec![TxnOpResponse::Put(PutResponse { header: inner, prev_kv: None })],
        };
        assert_eq!(
            serde_json::to_string(&TxnJson::from(&txn)).unwrap(),
            r#"{"header":{"cluster_id":7,"member_id":8,"revision":4,"raft_term":2},"succeeded":true,"responses":[{"Response":{"response_put":{"header":{"revision":2}}}}]}"#
        );
    }
}
