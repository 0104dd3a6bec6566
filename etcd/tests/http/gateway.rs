//! The JSON gateway.

use crate::client::{get, post, request};
use crate::running::Running;

const JSON: &str = "application/json";

#[test]
fn what_is_put_is_read() {
    let running = Running::start();
    let address = running.address();
    let answer = post(&address, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#);
    let header = r#""header":{"cluster_id":"1","member_id":"1","revision":"2","raft_term":"1"}"#;
    assert_eq!(answer.parts(), (200, JSON, &format!("{{{header}}}")[..]));
    assert_eq!(answer.header("grpc-metadata-content-type"), Some("application/grpc"));
    let kvs =
        r#""kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}]"#;
    let found = format!(r#"{{{header},{kvs},"count":"1"}}"#);
    for (path, body) in [
        ("/v3/kv/range", r#"{"key":"Zm9v"}"#),
        ("/v3beta/kv/range", r#"{"key":"Zm9v"}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v"} trailing"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","limit":5.0,"rangeEnd":"AA=="}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","sort_order":"DESCEND","sort_target":3}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","nope":[{}],"limit":"5","revision":2}"#),
        ("/v3/kv/range", r#"{"key":"Zm9v","range_end":null}"#),
    ] {
        assert_eq!(post(&address, path, body).parts(), (200, JSON, &found[..]), "{path} {body}");
    }
    let none = format!("{{{header}}}");
    for body in [r#"{"key":"Zm8"}"#, r#"{"key":"-_8="}"#, r#"{"key":"Zm9v","revision":1}"#] {
        assert_eq!(post(&address, "/v3/kv/range", body).parts(), (200, JSON, &none[..]), "{body}");
    }
}

#[test]
fn a_txn_has_every_form_of_operation() {
    let running = Running::start();
    let address = running.address();
    post(&address, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#);
    let txn = r#"{"compare":[{"result":"EQUAL","target":"CREATE","key":"Zm9v","create_revision":"0"}],
        "success":[{"request_put":{"key":"Zm9v","value":"YmFy"}}],
        "failure":[{"requestRange":{"key":"Zm9v"}},{"request_delete_range":{"key":"AA==","prev_kv":true}}]}"#;
    let expected = concat!(
        r#"{"header":{"cluster_id":"1","member_id":"1","revision":"2","raft_term":"1"},"responses":["#,
        r#"{"response_range":{"header":{"revision":"2"},"kvs":[{"key":"Zm9v","create_revision":"2","#,
        r#""mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"}},"#,
        r#"{"response_delete_range":{"header":{"revision":"2"}}}]}"#
    );
    assert_eq!(post(&address, "/v3/kv/txn", txn).parts(), (200, JSON, expected));
}

#[test]
fn errors_have_the_status_of_their_code() {
    let running = Running::start();
    let address = running.address();
    for (path, body, status, expected) in [
        ("/v3/kv/range", "{}", 400, r#"{"code":3,"message":"etcdserver: key is not provided"}"#),
        ("/v3/kv/range", "", 400, r#"{"code":3,"message":"etcdserver: key is not provided"}"#),
        ("/v3/kv/range", r#"{"key":null}"#, 400, r#"{"code":3,"message":"etcdserver: key is not provided"}"#),
        (
            "/v3/kv/range",
            r#"{"key":"Zm9v","revision":"99"}"#,
            400,
            r#"{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}"#,
        ),
        (
            "/v3/kv/compaction",
            r#"{"revision":99}"#,
            400,
            r#"{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}"#,
        ),
        ("/v3/kv/range", "{", 400, r#"{"code":3,"message":"unexpected EOF"}"#),
        (
            "/v3/kv/range",
            "[]",
            400,
            r#"{"code":3,"message":"proto: syntax error (line 1:1): unexpected token ["}"#,
        ),
        (
            "/v3/kv/range",
            "x",
            400,
            r#"{"code":3,"message":"invalid character 'x' looking for beginning of value"}"#,
        ),
        ("/v3/none", "{}", 404, r#"{"code":5,"message":"Not Found"}"#),
        ("/v3/kv/range/", r#"{"key":"Zm9v"}"#, 404, r#"{"code":5,"message":"Not Found"}"#),
        ("/v3/kv/rangestream", "{}", 404, r#"{"code":5,"message":"Not Found"}"#),
    ] {
        assert_eq!(post(&address, path, body).parts(), (status, JSON, expected), "{path} {body}");
    }
    for body in [
        r#"{"key":"Zm9v","limit":"x"}"#,
        r#"{"key":"Zm9v","limit":1.5}"#,
        r#"{"key":"***"}"#,
        r#"{"key":"Zm9v","serializable":"true"}"#,
        r#"{"key":"Zm9v","key":"Zm9w"}"#,
        r#"{"key":"Zm9v","sort_order":17}"#,
    ] {
        let answer = post(&address, "/v3/kv/range", body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.starts_with(r#"{"code":3,"message":"#), "{}", answer.body);
    }
}

#[test]
fn other_methods_and_paths_are_refused_as_etcd_does() {
    let running = Running::start();
    let address = running.address();
    let not_allowed = (501, JSON, r#"{"code":12,"message":"Method Not Allowed"}"#);
    assert_eq!(get(&address, "/v3/kv/range").parts(), not_allowed);
    assert_eq!(request(&address, "PUT", "/v3/kv/range", &[], b"{}").parts(), not_allowed);
    let not_found = (404, JSON, r#"{"code":5,"message":"Not Found"}"#);
    assert_eq!(request(&address, "DELETE", "/v3/none", &[], b"{}").parts(), not_found);
    let no_page = (404, "text/plain; charset=utf-8", "404 page not found\n");
    assert_eq!(post(&address, "/v3alpha/kv/range", "{}").parts(), no_page);
    // As curl asks for version 2 of HTTP: whoever does not speak it that way goes on with version 1.
    let upgrade = [("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA")];
    assert_eq!(request(&address, "POST", "/v3/kv/range", &upgrade, br#"{"key":"Zm9v"}"#).status, 200);
    let upgrade = [("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let answer = request(&address, "GET", "/v3/watch", &upgrade, b"");
    assert_eq!(answer.status, 501);
    assert!(answer.body.contains("WebSocket"), "{}", answer.body);
}

#[test]
fn a_deadline_is_kept() {
    let running = Running::start();
    let address = running.address();
    let timeout =
        |value| request(&address, "POST", "/v3/kv/range", &[("grpc-timeout", value)], br#"{"key":"Zm9v"}"#);
    let invalid = r#"{"code":3,"message":"invalid grpc-timeout: 1x"}"#;
    assert_eq!(timeout("1x").parts(), (400, JSON, invalid));
    assert_eq!(timeout("30S").status, 200);
}

#[test]
fn the_gateway_can_be_turned_off() {
    let running = Running::with(coffer_etcd::server::ServerConfig { gateway: false, ..Default::default() });
    let answer = post(&running.address(), "/v3/kv/range", r#"{"key":"Zm9v"}"#);
    assert_eq!(answer.parts(), (404, "text/plain; charset=utf-8", "404 page not found\n"));
}
