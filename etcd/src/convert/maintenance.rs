//! Status, hashes and alarms.

use crate::proto::etcdserverpb as pb;
use coffer_core::Error;
use coffer_core::request::*;

/// All but the versions, which the core knows nothing of.
impl From<StatusResponse> for pb::StatusResponse {
    fn from(response: StatusResponse) -> Self {
        // Clients match on these two texts, the second with its blank at the end.
        let leaderless = (response.leader == 0).then(|| format!("etcdserver: {}", Error::NoLeader));
        let alarms =
            response.alarms.iter().map(|Alarm { member, kind }| format!("memberID:{member} alarm:{kind} "));
        Self {
            header: Some(response.header.into()),
            version: String::new(),
            db_size: signed(response.db_size_bytes),
            leader: response.leader,
            raft_index: response.raft_index,
            raft_term: response.raft_term,
            raft_applied_index: response.raft_applied_index,
            errors: leaderless.into_iter().chain(alarms).collect(),
            db_size_in_use: signed(response.db_size_in_use_bytes),
            is_learner: response.is_learner,
            storage_version: String::new(),
            db_size_quota: signed(response.quota_bytes),
            downgrade_info: Some(pb::DowngradeInfo { enabled: false, target_version: String::new() }),
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl From<HashKvResponse> for pb::HashKvResponse {
    fn from(response: HashKvResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            hash: response.hash,
            // What etcd says of a store that never was compacted.
            compact_revision: if response.compact_revision == 0 { -1 } else { response.compact_revision },
            hash_revision: response.hash_revision,
        }
    }
}

impl TryFrom<pb::AlarmRequest> for AlarmRequest {
    type Error = Error;

    fn try_from(request: pb::AlarmRequest) -> Result<Self, Error> {
        use pb::alarm_request::AlarmAction as Action;
        let action = match request.action.try_into() {
            Ok(Action::Get) => AlarmAction::Get,
            Ok(Action::Activate) => AlarmAction::Activate,
            Ok(Action::Deactivate) => AlarmAction::Deactivate,
            Err(_) => return Err(Error::InvalidArgument(format!("alarm action {}", request.action))),
        };
        let kind = match request.alarm.try_into() {
            Ok(pb::AlarmType::None) => None,
            Ok(pb::AlarmType::Nospace) => Some(AlarmKind::NoSpace),
            Ok(pb::AlarmType::Corrupt) => Some(AlarmKind::Corrupt),
            Err(_) => return Err(Error::InvalidArgument(format!("alarm type {}", request.alarm))),
        };
        Ok(Self { action, member: request.member_id, kind })
    }
}

impl From<AlarmResponse> for pb::AlarmResponse {
    fn from(response: AlarmResponse) -> Self {
        Self {
            header: Some(response.header.into()),
            alarms: response.alarms.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Alarm> for pb::AlarmMember {
    fn from(alarm: Alarm) -> Self {
        let kind = match alarm.kind {
            AlarmKind::NoSpace => pb::AlarmType::Nospace,
            AlarmKind::Corrupt => pb::AlarmType::Corrupt,
        };
        Self { member_id: alarm.member, alarm: kind.into() }
    }
}
