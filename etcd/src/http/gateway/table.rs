//! Which path is which method.

use super::json::{to_json, to_message};
use crate::proto::etcdserverpb::*;
use crate::proto::{v3electionpb, v3lockpb};
use bytes::Bytes;
use tonic::Status;

/// What a method takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One message, one message.
    Unary,
    /// One message, many messages.
    ServerStream,
    /// Many messages, many messages.
    Bidirectional,
}

/// A method and how its messages are written.
#[derive(Clone, Copy)]
pub(super) struct Binding {
    /// The path of the call in gRPC.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    /// From JSON to the request.
    pub(super) to_message: fn(&[u8]) -> Result<Vec<u8>, Status>,
    /// From the response to JSON.
    pub(super) to_json: fn(Bytes) -> Result<Vec<u8>, Status>,
}

macro_rules! bindings {
    ($($path:literal => $shape:ident $call:literal ($request:ty) $response:ty;)*) => {
        /// The method of a path.
        pub(super) fn find(path: &str) -> Option<Binding> {
            Some(match path {
                $($path => Binding {
                    path: $call,
                    shape: Shape::$shape,
                    to_message: to_message::<$request>,
                    to_json: to_json::<$response>,
                },)*
                _ => return None,
            })
        }

        #[cfg(test)]
        const PATHS: &[&str] = &[$($path),*];
    };
}

bindings! {
    "/v3/kv/range" => Unary "/etcdserverpb.KV/Range" (RangeRequest) RangeResponse;
    "/v3/kv/put" => Unary "/etcdserverpb.KV/Put" (PutRequest) PutResponse;
    "/v3/kv/deleterange" => Unary "/etcdserverpb.KV/DeleteRange" (DeleteRangeRequest) DeleteRangeResponse;
    "/v3/kv/txn" => Unary "/etcdserverpb.KV/Txn" (TxnRequest) TxnResponse;
    "/v3/kv/compaction" => Unary "/etcdserverpb.KV/Compact" (CompactionRequest) CompactionResponse;

    "/v3/watch" => Bidirectional "/etcdserverpb.Watch/Watch" (WatchRequest) WatchResponse;

    "/v3/lease/grant" => Unary "/etcdserverpb.Lease/LeaseGrant" (LeaseGrantRequest) LeaseGrantResponse;
    "/v3/lease/revoke" => Unary "/etcdserverpb.Lease/LeaseRevoke" (LeaseRevokeRequest) LeaseRevokeResponse;
    "/v3/kv/lease/revoke" => Unary "/etcdserverpb.Lease/LeaseRevoke" (LeaseRevokeRequest) LeaseRevokeResponse;
    "/v3/lease/keepalive" => Bidirectional "/etcdserverpb.Lease/LeaseKeepAlive"
        (LeaseKeepAliveRequest) LeaseKeepAliveResponse;
    "/v3/lease/timetolive" => Unary "/etcdserverpb.Lease/LeaseTimeToLive"
        (LeaseTimeToLiveRequest) LeaseTimeToLiveResponse;
    "/v3/kv/lease/timetolive" => Unary "/etcdserverpb.Lease/LeaseTimeToLive"
        (LeaseTimeToLiveRequest) LeaseTimeToLiveResponse;
    "/v3/lease/leases" => Unary "/etcdserverpb.Lease/LeaseLeases" (LeaseLeasesRequest) LeaseLeasesResponse;
    "/v3/kv/lease/leases" => Unary "/etcdserverpb.Lease/LeaseLeases" (LeaseLeasesRequest) LeaseLeasesResponse;

    "/v3/cluster/member/add" => Unary "/etcdserverpb.Cluster/MemberAdd" (MemberAddRequest) MemberAddResponse;
    "/v3/cluster/member/remove" => Unary "/etcdserverpb.Cluster/MemberRemove"
        (MemberRemoveRequest) MemberRemoveResponse;
    "/v3/cluster/member/update" => Unary "/etcdserverpb.Cluster/MemberUpdate"
        (MemberUpdateRequest) MemberUpdateResponse;
    "/v3/cluster/member/list" => Unary "/etcdserverpb.Cluster/MemberList" (MemberListRequest) MemberListResponse;
    "/v3/cluster/member/promote" => Unary "/etcdserverpb.Cluster/MemberPromote"
        (MemberPromoteRequest) MemberPromoteResponse;

    "/v3/maintenance/alarm" => Unary "/etcdserverpb.Maintenance/Alarm" (AlarmRequest) AlarmResponse;
    "/v3/maintenance/status" => Unary "/etcdserverpb.Maintenance/Status" (StatusRequest) StatusResponse;
    "/v3/maintenance/defragment" => Unary "/etcdserverpb.Maintenance/Defragment"
        (DefragmentRequest) DefragmentResponse;
    "/v3/maintenance/hash" => Unary "/etcdserverpb.Maintenance/Hash" (HashRequest) HashResponse;
    "/v3/maintenance/hashkv" => Unary "/etcdserverpb.Maintenance/HashKV" (HashKvRequest) HashKvResponse;
    "/v3/maintenance/snapshot" => ServerStream "/etcdserverpb.Maintenance/Snapshot"
        (SnapshotRequest) SnapshotResponse;
    "/v3/maintenance/transfer-leadership" => Unary "/etcdserverpb.Maintenance/MoveLeader"
        (MoveLeaderRequest) MoveLeaderResponse;
    "/v3/maintenance/downgrade" => Unary "/etcdserverpb.Maintenance/Downgrade" (DowngradeRequest) DowngradeResponse;

    "/v3/auth/enable" => Unary "/etcdserverpb.Auth/AuthEnable" (AuthEnableRequest) AuthEnableResponse;
    "/v3/auth/disable" => Unary "/etcdserverpb.Auth/AuthDisable" (AuthDisableRequest) AuthDisableResponse;
    "/v3/auth/status" => Unary "/etcdserverpb.Auth/AuthStatus" (AuthStatusRequest) AuthStatusResponse;
    "/v3/auth/authenticate" => Unary "/etcdserverpb.Auth/Authenticate" (AuthenticateRequest) AuthenticateResponse;
    "/v3/auth/user/add" => Unary "/etcdserverpb.Auth/UserAdd" (AuthUserAddRequest) AuthUserAddResponse;
    "/v3/auth/user/get" => Unary "/etcdserverpb.Auth/UserGet" (AuthUserGetRequest) AuthUserGetResponse;
    "/v3/auth/user/list" => Unary "/etcdserverpb.Auth/UserList" (AuthUserListRequest) AuthUserListResponse;
    "/v3/auth/user/delete" => Unary "/etcdserverpb.Auth/UserDelete" (AuthUserDeleteRequest) AuthUserDeleteResponse;
    "/v3/auth/user/changepw" => Unary "/etcdserverpb.Auth/UserChangePassword"
        (AuthUserChangePasswordRequest) AuthUserChangePasswordResponse;
    "/v3/auth/user/grant" => Unary "/etcdserverpb.Auth/UserGrantRole"
        (AuthUserGrantRoleRequest) AuthUserGrantRoleResponse;
    "/v3/auth/user/revoke" => Unary "/etcdserverpb.Auth/UserRevokeRole"
        (AuthUserRevokeRoleRequest) AuthUserRevokeRoleResponse;
    "/v3/auth/role/add" => Unary "/etcdserverpb.Auth/RoleAdd" (AuthRoleAddRequest) AuthRoleAddResponse;
    "/v3/auth/role/get" => Unary "/etcdserverpb.Auth/RoleGet" (AuthRoleGetRequest) AuthRoleGetResponse;
    "/v3/auth/role/list" => Unary "/etcdserverpb.Auth/RoleList" (AuthRoleListRequest) AuthRoleListResponse;
    "/v3/auth/role/delete" => Unary "/etcdserverpb.Auth/RoleDelete" (AuthRoleDeleteRequest) AuthRoleDeleteResponse;
    "/v3/auth/role/grant" => Unary "/etcdserverpb.Auth/RoleGrantPermission"
        (AuthRoleGrantPermissionRequest) AuthRoleGrantPermissionResponse;
    "/v3/auth/role/revoke" => Unary "/etcdserverpb.Auth/RoleRevokePermission"
        (AuthRoleRevokePermissionRequest) AuthRoleRevokePermissionResponse;

    "/v3/lock/lock" => Unary "/v3lockpb.Lock/Lock" (v3lockpb::LockRequest) v3lockpb::LockResponse;
    "/v3/lock/unlock" => Unary "/v3lockpb.Lock/Unlock" (v3lockpb::UnlockRequest) v3lockpb::UnlockResponse;

    "/v3/election/campaign" => Unary "/v3electionpb.Election/Campaign"
        (v3electionpb::CampaignRequest) v3electionpb::CampaignResponse;
    "/v3/election/proclaim" => Unary "/v3electionpb.Election/Proclaim"
        (v3electionpb::ProclaimRequest) v3electionpb::ProclaimResponse;
    "/v3/election/leader" => Unary "/v3electionpb.Election/Leader"
        (v3electionpb::LeaderRequest) v3electionpb::LeaderResponse;
    "/v3/election/observe" => ServerStream "/v3electionpb.Election/Observe"
        (v3electionpb::LeaderRequest) v3electionpb::LeaderResponse;
    "/v3/election/resign" => Unary "/v3electionpb.Election/Resign"
        (v3electionpb::ResignRequest) v3electionpb::ResignResponse;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::METHODS;

    #[test]
    fn every_method_but_range_stream_is_bound() {
        assert_eq!(PATHS.len(), 51);
        let bound = |service: &str, name: &str| {
            PATHS.iter().any(|path| find(path).unwrap().path == format!("/{service}/{name}"))
        };
        for method in METHODS.iter().filter(|method| method.service != "grpc.health.v1.Health") {
            assert_eq!(bound(method.service, method.name), method.name != "RangeStream", "{}", method.name);
        }
    }

    #[test]
    fn a_binding_has_the_shape_of_its_method() {
        for binding in PATHS.iter().map(|path| find(path).unwrap()) {
            let method =
                METHODS.iter().find(|it| binding.path == format!("/{}/{}", it.service, it.name)).unwrap();
            let kind = match binding.shape {
                Shape::Unary => "unary",
                Shape::ServerStream => "server_stream",
                Shape::Bidirectional => "bidi_stream",
            };
            assert_eq!(kind, method.kind, "{}", binding.path);
        }
    }
}
