//! What is served on which URL.

use crate::client::{get, post, request};
use crate::running::{Running, address};
use coffer_etcd::server::ServerConfig;

#[test]
fn a_metrics_url_serves_metrics_and_health_only() {
    let running = Running::with(ServerConfig {
        listen_metrics_urls: vec!["http://127.0.0.1:0".into(); 2],
        host_whitelist: vec!["nobody.example".into()],
        ..Default::default()
    });
    assert_eq!(running.server.local_metrics_urls().len(), 2);
    for url in running.server.local_metrics_urls() {
        let address = address(url);
        assert!(get(&address, "/metrics").body.contains("etcd_server_has_leader 1\n"));
        assert_eq!(get(&address, "/health").status, 200);
        assert_eq!(get(&address, "/readyz/linearizable_read").body, "ok\n");
        for path in ["/version", "/", "/v3/kv/range"] {
            assert_eq!(get(&address, path).body, "404 page not found\n", "{path}");
        }
        let grpc = [("content-type", "application/grpc")];
        assert_eq!(request(&address, "POST", "/etcdserverpb.KV/Range", &grpc, b"").status, 404);
    }
}

#[test]
fn http_urls_take_plain_http_away_from_the_others() {
    let running = Running::with(ServerConfig {
        listen_http_urls: vec!["http://127.0.0.1:0".into()],
        ..Default::default()
    });
    let http = address(&running.server.local_http_urls()[0]);
    assert_eq!(get(&http, "/health").status, 200);
    assert_eq!(post(&http, "/v3/kv/put", r#"{"key":"YQ=="}"#).status, 200);
    let grpc = [("content-type", "application/grpc")];
    assert_eq!(request(&http, "POST", "/etcdserverpb.KV/Range", &grpc, b"").status, 404);
    for path in ["/health", "/metrics", "/version"] {
        let answer = get(&running.address(), path);
        assert_eq!((answer.status, &answer.body[..]), (415, "this URL serves gRPC only\n"), "{path}");
    }
}
