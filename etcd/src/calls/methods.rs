//! The methods of etcd's API.

use std::sync::LazyLock;

/// A method.
#[derive(Debug)]
pub(crate) struct Method {
    /// With its package.
    pub(crate) service: &'static str,
    /// Without the service.
    pub(crate) name: &'static str,
    /// `unary`, `server_stream` or `bidi_stream`.
    pub(crate) kind: &'static str,
}

impl Method {
    /// Whether it is more than one request and one answer.
    pub(crate) fn is_stream(&self) -> bool {
        self.kind != "unary"
    }

    /// Whether its client sends a stream of requests.
    pub(crate) fn takes_stream(&self) -> bool {
        self.kind == "bidi_stream"
    }
}

macro_rules! methods {
    ($($service:literal { $($method:ident $kind:ident),* $(,)? })*) => {
        /// Every method.
        pub(crate) const METHODS: &[Method] = &[
            $($(Method { service: $service, name: stringify!($method), kind: stringify!($kind) }),*),*
        ];
    };
}

methods! {
    "etcdserverpb.KV" {
        Range unary, RangeStream server_stream, Put unary, DeleteRange unary, Txn unary, Compact unary,
    }
    "etcdserverpb.Watch" { Watch bidi_stream }
    "etcdserverpb.Lease" {
        LeaseGrant unary, LeaseRevoke unary, LeaseKeepAlive bidi_stream, LeaseTimeToLive unary, LeaseLeases unary,
    }
    "etcdserverpb.Cluster" {
        MemberAdd unary, MemberRemove unary, MemberUpdate unary, MemberList unary, MemberPromote unary,
    }
    "etcdserverpb.Maintenance" {
        Alarm unary, Status unary, Defragment unary, Hash unary, HashKV unary, Snapshot server_stream,
        MoveLeader unary, Downgrade unary,
    }
    "etcdserverpb.Auth" {
        AuthEnable unary, AuthDisable unary, AuthStatus unary, Authenticate unary,
        UserAdd unary, UserGet unary, UserList unary, UserDelete unary, UserChangePassword unary,
        UserGrantRole unary, UserRevokeRole unary,
        RoleAdd unary, RoleGet unary, RoleList unary, RoleDelete unary,
        RoleGrantPermission unary, RoleRevokePermission unary,
    }
    "v3lockpb.Lock" { Lock unary, Unlock unary }
    "v3electionpb.Election" {
        Campaign unary, Proclaim unary, Leader unary, Observe server_stream, Resign unary,
    }
    "grpc.health.v1.Health" { Check unary, Watch server_stream }
}

/// The place of the method that is called at `path`.
pub(super) fn find(path: &str) -> Option<usize> {
    static PATHS: LazyLock<Vec<(String, usize)>> = LazyLock::new(|| {
        let path = |method: &Method| format!("/{}/{}", method.service, method.name);
        let mut paths: Vec<_> = METHODS.iter().enumerate().map(|(at, method)| (path(method), at)).collect();
        paths.sort();
        paths
    });
    let at = PATHS.binary_search_by(|(known, _)| known.as_str().cmp(path)).ok()?;
    Some(PATHS[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_at_its_own_place() {
        assert_eq!(METHODS.len(), 49 + 2, "49 of etcd and 2 of the health service");
        for (at, method) in METHODS.iter().enumerate() {
            assert_eq!(find(&format!("/{}/{}", method.service, method.name)), Some(at));
        }
        assert_eq!(find("/etcdserverpb.KV/"), None);
    }
}
