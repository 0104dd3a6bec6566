//! What every call passes before it reaches its service.
//!
//! A learner serves only what needs no vote and no agreement: its status, a snapshot of its content, and ranges that
//! ask for local content. Of a range that is known only once it was read: [`range`] is asked then.

use super::long::HAS_LEADER;
use crate::convert::status;
use coffer_core::Error;
use coffer_core::node::Node;
use http::HeaderMap;
use tonic::{Code, Status};

/// What a learner serves.
const OF_LEARNERS: [&str; 3] =
    ["/etcdserverpb.KV/Range", "/etcdserverpb.Maintenance/Status", "/etcdserverpb.Maintenance/Snapshot"];

/// Whether the call of `path` with these headers is served.
pub(super) fn call(node: &Node, path: &str, headers: &HeaderMap) -> Result<(), Status> {
    check(path, headers, node.is_learner(), || node.leader())
}

/// Whether a range is served.
pub(super) fn range(node: &Node, serializable: bool) -> Result<(), Status> {
    match serializable || !node.is_learner() {
        true => Ok(()),
        false => Err(not_for_learners()),
    }
}

fn check(
    path: &str,
    headers: &HeaderMap,
    is_learner: bool,
    leader: impl FnOnce() -> Option<u64>,
) -> Result<(), Status> {
    if is_learner && !OF_LEARNERS.contains(&path) {
        return Err(not_for_learners());
    }
    let version = headers.get("client-api-version");
    if version.is_some_and(|version| std::str::from_utf8(version.as_bytes()).is_err()) {
        return Err(Status::invalid_argument("etcdserver: invalid client api version"));
    }
    let needs_leader = headers.get(HAS_LEADER).is_some_and(|value| value == "true");
    if needs_leader && leader().is_none() {
        return Err(status(Error::NoLeader));
    }
    Ok(())
}

fn not_for_learners() -> Status {
    Status::new(Code::FailedPrecondition, "etcdserver: rpc not supported for learner")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(name: &'static str, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn a_call_that_needs_a_leader_fails_without_one() {
        let check = |headers: &HeaderMap, leader| check("/etcdserverpb.KV/Put", headers, false, || leader);
        let needs = headers("hasleader", b"true");
        let error = check(&needs, None).unwrap_err();
        assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: no leader"));
        assert!(check(&needs, Some(1)).is_ok());
        for other in [headers("hasleader", b"false"), HeaderMap::new()] {
            assert!(check(&other, None).is_ok());
        }
    }

    #[test]
    fn a_learner_serves_what_needs_no_vote() {
        let check = |path| check(path, &HeaderMap::new(), true, || Some(2));
        for path in OF_LEARNERS {
            assert!(check(path).is_ok());
        }
        for path in
            ["/etcdserverpb.KV/Put", "/etcdserverpb.KV/RangeStream", "/etcdserverpb.Cluster/MemberList"]
        {
            let error = check(path).unwrap_err();
            assert_eq!(
                (error.code(), error.message()),
                (Code::FailedPrecondition, "etcdserver: rpc not supported for learner")
            );
        }
    }

    #[test]
    fn the_clients_version_is_text() {
        let check = |value: &[u8]| check("/x/y", &headers("client-api-version", value), false, || None);
        assert!(check(b"3.6").is_ok());
        assert!(check("3.6\u{e9}".as_bytes()).is_ok());
        let error = check(b"\xff\xfe").unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (Code::InvalidArgument, "etcdserver: invalid client api version")
        );
    }
}
