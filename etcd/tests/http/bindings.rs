//! Every path of the gateway leads somewhere.

use crate::client::Connection;
use crate::running::Running;

/// The 51 paths of etcd 3.7.
const PATHS: [&str; 51] = [
    "/v3/kv/range",
    "/v3/kv/put",
    "/v3/kv/deleterange",
    "/v3/kv/txn",
    "/v3/kv/compaction",
    "/v3/watch",
    "/v3/lease/grant",
    "/v3/lease/revoke",
    "/v3/kv/lease/revoke",
    "/v3/lease/keepalive",
    "/v3/lease/timetolive",
    "/v3/kv/lease/timetolive",
    "/v3/lease/leases",
    "/v3/kv/lease/leases",
    "/v3/cluster/member/add",
    "/v3/cluster/member/remove",
    "/v3/cluster/member/update",
    "/v3/cluster/member/list",
    "/v3/cluster/member/promote",
    "/v3/maintenance/alarm",
    "/v3/maintenance/status",
    "/v3/maintenance/defragment",
    "/v3/maintenance/hash",
    "/v3/maintenance/hashkv",
    "/v3/maintenance/snapshot",
    "/v3/maintenance/transfer-leadership",
    "/v3/maintenance/downgrade",
    "/v3/auth/enable",
    "/v3/auth/disable",
    "/v3/auth/status",
    "/v3/auth/authenticate",
    "/v3/auth/user/add",
    "/v3/auth/user/get",
    "/v3/auth/user/list",
    "/v3/auth/user/delete",
    "/v3/auth/user/changepw",
    "/v3/auth/user/grant",
    "/v3/auth/user/revoke",
    "/v3/auth/role/add",
    "/v3/auth/role/get",
    "/v3/auth/role/list",
    "/v3/auth/role/delete",
    "/v3/auth/role/grant",
    "/v3/auth/role/revoke",
    "/v3/lock/lock",
    "/v3/lock/unlock",
    "/v3/election/campaign",
    "/v3/election/proclaim",
    "/v3/election/leader",
    "/v3/election/observe",
    "/v3/election/resign",
];

#[test]
fn every_binding_reaches_its_method() {
    let running = Running::start();
    let address = running.address();
    for path in PATHS {
        // A body that is no JSON is refused by whoever takes requests for the path.
        let mut connection = Connection::open(&address);
        connection.send_head(&address, "POST", path, &[("content-length", "1"), ("connection", "close")]);
        connection.send(b"x");
        let answer = connection.answer();
        let invalid = r#"{"code":3,"message":"invalid character 'x' looking for beginning of value"}"#;
        assert!([400, 501].contains(&answer.status), "{path}: {answer:?}");
        if answer.status == 400 {
            assert!(answer.body.contains(invalid), "{path}: {answer:?}");
        }
    }
}
