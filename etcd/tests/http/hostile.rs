//! Bodies that nobody should send.

use crate::client::{Connection, get, post};
use crate::running::Running;
use coffer_etcd::server::ServerConfig;
use std::time::{Duration, Instant};

/// What a message may have: etcd's largest request, and its room for what surrounds one.
const MESSAGE_BYTES_MAX: usize = (1536 + 512) << 10;

fn put(value_bytes: usize) -> String {
    // Each four characters of base64 are three bytes.
    format!(r#"{{"key":"Zm9v","value":"{}"}}"#, "AAAA".repeat(value_bytes / 3))
}

#[test]
fn large_bodies_are_refused_as_etcd_does_and_huge_ones_unread() {
    let running = Running::start();
    let address = running.address();
    assert_eq!(post(&address, "/v3/kv/put", &put(1 << 20)).status, 200);
    let too_large = r#"{"code":3,"message":"etcdserver: request is too large"}"#;
    assert_eq!(post(&address, "/v3/kv/put", &put(1_650_000)).parts(), (400, "application/json", too_large));
    let answer = post(&address, "/v3/kv/put", &put(2_250_000));
    let grpc = r#"{"code":8,"message":"grpc: received message larger than max (2250010 vs. 2097152)"}"#;
    assert_eq!(answer.parts(), (429, "application/json", grpc));

    let mut connection = Connection::open(&address);
    connection.send_head(&address, "POST", "/v3/kv/put", &[("content-length", "1000000000000")]);
    assert_eq!(connection.answer().status, 429, "before anything of the body was sent");

    let mut connection = Connection::open(&address);
    connection.send_head(&address, "POST", "/v3/kv/put", &[("transfer-encoding", "chunked")]);
    for _ in 0..2 * MESSAGE_BYTES_MAX / (64 << 10) + 1 {
        connection.send_chunk(&[b' '; 64 << 10]);
    }
    assert_eq!(connection.answer().status, 429, "as soon as it is too much");
}

#[test]
fn a_slow_body_is_not_waited_for() {
    let body_timeout = Duration::from_millis(200);
    let running = Running::with(ServerConfig { body_timeout, ..Default::default() });
    let address = running.address();
    let mut connection = Connection::open(&address);
    connection.send_head(&address, "POST", "/v3/kv/put", &[("content-length", "100")]);
    connection.send(b"{\"key\":");
    let answer = connection.answer();
    let told = r#"{"code":4,"message":"the body of the request took too long"}"#;
    assert_eq!(answer.parts(), (408, "application/json", told));
    assert!(connection.is_closed(), "what would come is not taken for a request");
    assert_eq!(get(&address, "/health").status, 200);
}

#[test]
fn bodies_that_never_end_have_their_share_of_memory() {
    // The limit is at least one of the largest bodies: 4 MiB.
    let config = ServerConfig { bodies_bytes_max: 0, connection_bodies_bytes_max: 0, ..Default::default() };
    let running = Running::with(config);
    let address = running.address();
    let refusal = r#"{"code":8,"message":"etcdserver: too many requests"}"#;
    let begin = |path| {
        let mut connection = Connection::open(&address);
        connection.send_head(&address, "POST", path, &[("transfer-encoding", "chunked")]);
        connection.send_chunk(format!(r#"{{"key":"{}"#, "AAAA".repeat(450_000)).as_bytes());
        connection
    };
    // Whichever comes last: two of them fit.
    let mut connections = [begin("/v3/kv/put"), begin("/v3/kv/range"), begin("/v3/kv/txn")];
    let refused = Connection::first_to_answer(&mut connections);
    assert_eq!(connections[refused].answer().parts(), (429, "application/json", refusal));
    let mut stream = begin("/v3/watch");
    assert_eq!(stream.answer().status, 429);
    drop((connections, stream));
    // The server learns that they have left as soon as it looks.
    let began = Instant::now();
    while post(&address, "/v3/kv/put", &put(1 << 20)).status != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "what they held never comes back");
    }
}

#[test]
fn a_stream_of_requests_may_pause_between_them_and_not_within() {
    let body_timeout = Duration::from_millis(200);
    let running = Running::with(ServerConfig { body_timeout, ..Default::default() });
    let address = running.address();
    let mut connection = Connection::open(&address);
    connection.send_head(&address, "POST", "/v3/watch", &[("transfer-encoding", "chunked")]);
    connection.send_chunk(br#"{"create_request":{"key":"Zm9v"}} "#);
    connection.head();
    assert!(connection.text().contains("created"));
    let mut slow = Connection::open(&address);
    slow.send_head(&address, "POST", "/v3/kv/put", &[("content-length", "100")]);
    assert_eq!(slow.answer().status, 408, "longer than a body may take");
    connection.send_chunk(br#"{"create_request":{"key":"Zm9v"}} {"create"#);
    assert!(connection.text().contains("created"));
    let told = r#"{"error":{"code":4,"message":"the body of the request took too long"}}"#;
    assert_eq!(connection.text().trim_end(), told);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_body_harms_nobody() {
    let running = Running::start();
    let address = running.address();
    for path in ["/v3/kv/put", "/v3/watch", "/v3/lease/keepalive", "/v3/maintenance/snapshot"] {
        let mut connection = Connection::open(&address);
        connection.send_head(&address, "POST", path, &[("content-length", "100")]);
        connection.send(b"{\"key\":");
    }
    assert_eq!(get(&address, "/health").status, 200);
}

#[test]
fn deep_nesting_is_refused() {
    let running = Running::start();
    let address = running.address();
    let open = r#"{"success":[{"request_txn":"#;
    for body in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        open.repeat(20_000),
        open.repeat(5_000) + "{}" + &"}]}".repeat(5_000),
    ] {
        let answer = post(&address, "/v3/kv/txn", &body);
        assert_eq!(answer.status, 400);
        assert!(answer.body.starts_with(r#"{"code":3,"#), "{}", answer.body);
    }
    let nested = open.repeat(40) + "{}" + &"}]}".repeat(40);
    let answer = post(&address, "/v3/kv/txn", &nested);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body.matches("succeeded").count(), 41);
}

#[test]
fn broken_json_is_refused_and_the_next_request_is_answered() {
    let running = Running::start();
    let address = running.address();
    let mut connection = Connection::open(&address);
    for body in
        ["{", "}", "{\"key\":", "{\"key\":\"\\ud800\"}", "{\"key\":\"\u{0}\"}", "\"", "nul", "{,}", "{]}"]
    {
        connection.send_head(
            &address,
            "POST",
            "/v3/kv/range",
            &[("content-length", &body.len().to_string())],
        );
        connection.send(body.as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.starts_with(r#"{"code":3,"#), "{body}: {}", answer.body);
    }
    let invalid_text = [b"{\"key\":\"\xff\"}".as_slice(), b"{\"\xc3\x28\":1}"];
    for body in invalid_text {
        connection.send_head(
            &address,
            "POST",
            "/v3/kv/range",
            &[("content-length", &body.len().to_string())],
        );
        connection.send(body);
        assert_eq!(connection.answer().status, 400);
    }
}
