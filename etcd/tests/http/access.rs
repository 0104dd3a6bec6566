//! Hosts and origins.

use crate::client::{get, request};
use crate::running::Running;
use coffer_etcd::server::ServerConfig;

fn restricted() -> Running {
    Running::with(ServerConfig {
        cors: vec!["http://a.example:80".into(), "http://b.example:80".into()],
        host_whitelist: vec!["127.0.0.1".into(), "good.example".into()],
        ..Default::default()
    })
}

#[test]
fn an_unknown_host_is_refused() {
    let running = restricted();
    let address = running.address();
    let expected = "\netcd received your request, but the Host header was unrecognized.\n\n\
        To fix this, choose one of the following options:\n\
        - Enable TLS, then any HTTPS request will be allowed.\n\
        - Add the hostname you want to use to the whitelist in settings.\n  \
        - e.g. etcd --host-whitelist \"evil.example\"\n\n\
        This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n\n";
    for path in ["/health", "/v3/kv/range", "/metrics"] {
        let answer = request(&address, "GET", path, &[("host", "evil.example")], b"");
        assert_eq!(answer.parts(), (421, "text/plain; charset=utf-8", expected), "{path}");
    }
    let answer = request(&address, "GET", "/version", &[("host", "good.example:99")], b"");
    let version = r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#;
    assert_eq!(answer.parts(), (200, "application/json", version));
    assert_eq!(get(&address, "/health").status, 200);
    let post = request(&address, "POST", "/version", &[], b"");
    assert_eq!(
        (post.status, post.header("allow"), &post.body[..]),
        (405, Some("GET"), "Method Not Allowed\n")
    );
}

#[test]
fn only_listed_origins_may_read() {
    let running = restricted();
    let address = running.address();
    let allowed = |origin| {
        let answer = request(&address, "GET", "/health", &[("origin", origin)], b"");
        assert_eq!(answer.status, 200);
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(allowed("http://a.example:80").as_deref(), Some("http://a.example:80"));
    assert_eq!(allowed("http://c.example:80"), None);
    let origin = [("origin", "http://b.example:80")];
    let preflight = request(&address, "OPTIONS", "/v3/kv/range", &origin, b"");
    assert_eq!((preflight.status, &preflight.body[..]), (200, ""));
    for (name, value) in [
        ("access-control-allow-origin", "http://b.example:80"),
        ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
        ("access-control-allow-headers", "accept, content-type, authorization"),
    ] {
        assert_eq!(preflight.header(name), Some(value));
    }
    let none = request(&address, "OPTIONS", "/v3/kv/range", &[], b"");
    assert_eq!((none.status, none.header("access-control-allow-origin")), (200, None));
}

#[test]
fn everyone_may_by_default_as_in_etcd() {
    let running = Running::start();
    let answer = request(&running.address(), "GET", "/health", &[("host", "any.example")], b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
}
