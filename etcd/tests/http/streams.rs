//! Streams of the JSON gateway: requests one after the other, answers one per line.

use crate::client::{Connection, get, post};
use crate::running::Running;

const JSON: &str = "application/json";

/// Begins a POST whose body stays open.
fn open(address: &str, path: &str) -> Connection {
    let mut connection = Connection::open(address);
    connection.send_head(address, "POST", path, &[("transfer-encoding", "chunked")]);
    connection
}

fn header(revision: i64) -> String {
    format!(r#""header":{{"cluster_id":"1","member_id":"1","revision":"{revision}","raft_term":"1"}}"#)
}

#[test]
fn a_watch_goes_on_after_its_requests() {
    let running = Running::start();
    let address = running.address();
    post(&address, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#);
    let requests =
        r#"{"create_request":{"key":"Zm9v","start_revision":"2"}}{"create_request":{"key":"Zm9w"}}"#;
    let mut connection = Connection::open(&address);
    let length = requests.len().to_string();
    connection.send_head(&address, "POST", "/v3/watch", &[("content-length", &length)]);
    connection.send(requests.as_bytes());
    let head = connection.head();
    assert_eq!(head.parts(), (200, JSON, ""));
    let mut lines = [connection.text(), connection.text(), connection.text()];
    lines.sort();
    let header = header(2);
    let kv = r#"{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}"#;
    assert_eq!(
        lines,
        [
            format!("{{\"result\":{{{header},\"created\":true}}}}\n"),
            format!("{{\"result\":{{{header},\"events\":[{{\"kv\":{kv}}}]}}}}\n"),
            format!("{{\"result\":{{{header},\"watch_id\":\"1\",\"created\":true}}}}\n"),
        ]
    );
    post(&address, "/v3/kv/deleterange", r#"{"key":"Zm9v"}"#);
    let event = r#"{"type":"DELETE","kv":{"key":"Zm9v","mod_revision":"3"}}"#;
    let header = self::header(3);
    assert_eq!(connection.text(), format!("{{\"result\":{{{header},\"events\":[{event}]}}}}\n"));
    running.server.shutdown();
    let end = connection.text();
    assert!(end.starts_with(r#"{"error":{"code":14,"message":"etcdserver: server stopped"}}"#), "{end}");
    assert!(connection.chunk().is_none());
}

#[test]
fn requests_may_come_while_answers_go() {
    let running = Running::start();
    let address = running.address();
    let mut connection = open(&address, "/v3/watch");
    connection.send_chunk(br#"{"create_request":{"key":"YQ==","watch_"#);
    connection.send_chunk(br#"id":7}} "#);
    assert_eq!(connection.head().status, 200);
    assert!(connection.text().contains(r#""watch_id":"7","created":true"#));
    connection.send_chunk(br#"{"progress_request":{}}"#);
    assert_eq!(connection.text(), format!("{{\"result\":{{{},\"watch_id\":\"-1\"}}}}\n", header(1)));
    connection.send_chunk(br#"{"cancel_request":{"watch_id":"7"}}"#);
    assert!(connection.text().contains(r#""watch_id":"7","canceled":true"#));
}

#[test]
fn a_keepalive_ends_with_its_requests() {
    let running = Running::start();
    let address = running.address();
    let granted = post(&address, "/v3/lease/grant", r#"{"TTL":60,"ID":7}"#);
    assert_eq!(granted.body, format!(r#"{{{},"ID":"7","TTL":"60"}}"#, header(1)));
    let kept = post(&address, "/v3/lease/keepalive", r#"{"ID":7}{"ID":"8"}"#);
    let line = |rest: &str| format!("{{\"result\":{{{},{rest}}}}}\n", header(1));
    let expected = line(r#""ID":"7","TTL":"60""#) + &line(r#""ID":"8""#);
    assert_eq!(kept.parts(), (200, JSON, &expected[..]));
    for path in ["/v3/kv/lease/revoke", "/v3/lease/revoke"] {
        let revoked = post(&address, path, r#"{"ID":"7"}"#);
        let gone = (404, JSON, r#"{"code":5,"message":"etcdserver: requested lease not found"}"#);
        match path {
            "/v3/lease/revoke" => assert_eq!(revoked.parts(), gone),
            _ => assert_eq!(revoked.status, 200),
        }
    }
    let rest = post(&address, "/v3/kv/lease/timetolive", r#"{"ID":"7"}"#);
    assert_eq!(rest.body, format!(r#"{{{},"ID":"7","TTL":"-1"}}"#, header(1)));
}

#[test]
fn a_broken_stream_is_told_so() {
    let running = Running::start();
    let address = running.address();
    for (path, body, message) in [
        ("/v3/watch", r#"{"cre"#, "unexpected EOF"),
        ("/v3/watch", "[]", "invalid character '[' looking for beginning of value"),
        ("/v3/watch", r#"{"create_request":3}"#, "invalid type"),
        ("/v3/lease/keepalive", r#"{"ID":{}}"#, "did not match"),
        ("/v3/lease/keepalive", "x", "invalid character 'x' looking for beginning of value"),
    ] {
        let answer = post(&address, path, body);
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.body);
        assert!(
            answer.body.starts_with(r#"{"error":{"code":3,"message":"#),
            "{path} {body}: {}",
            answer.body
        );
        assert!(
            answer.body.contains(message) && answer.body.ends_with("}}\n"),
            "{path} {body}: {}",
            answer.body
        );
    }
    let mut connection = open(&address, "/v3/watch");
    connection.send_chunk(br#"{"create_request":{"key":"YQ=="}}"#);
    assert_eq!(connection.head().status, 200);
    assert!(connection.text().contains("created"));
    connection.send_chunk(b"}");
    assert!(connection.text().starts_with(r#"{"error":{"code":3,"#), "what was begun ends with a line");
}

#[test]
fn a_request_of_a_stream_is_bounded() {
    let running = Running::start();
    let address = running.address();
    let mut connection = open(&address, "/v3/watch");
    connection.send_chunk(br#"{"create_request":{"key":""#);
    for _ in 0..33 {
        connection.send_chunk(&[b'A'; 64 << 10]);
    }
    let answer = connection.answer();
    assert_eq!(answer.status, 429);
    assert!(answer.body.contains("grpc: received message larger than max"), "{}", answer.body);
}

#[test]
fn a_client_that_leaves_ends_its_watchers() {
    let running = Running::start();
    let address = running.address();
    let streams = || {
        let metrics = get(&address, "/metrics").body;
        let line = metrics.lines().find(|line| line.starts_with("etcd_debugging_mvcc_watch_stream_total "));
        line.unwrap().rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let request = br#"{"create_request":{"key":"YQ=="}}"#;
    for body_stays_open in [true, false] {
        let mut connection = if body_stays_open {
            let mut connection = open(&address, "/v3/watch");
            connection.send_chunk(request);
            connection
        } else {
            let mut connection = Connection::open(&address);
            let length = request.len().to_string();
            connection.send_head(&address, "POST", "/v3/watch", &[("content-length", &length)]);
            connection.send(request);
            connection
        };
        assert_eq!(connection.head().status, 200);
        assert!(connection.text().contains("created"));
        assert_eq!(streams(), 1);
        drop(connection);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while streams() > 0 {
            assert!(std::time::Instant::now() < deadline, "the watch stream is still there");
        }
    }
}
