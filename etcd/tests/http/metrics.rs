//! `/metrics`.

use crate::client::{get, post};
use crate::running::Running;
use coffer_etcd::server::ServerConfig;
use std::collections::BTreeMap;

/// What the official alerts and dashboards use, and what operators use beside it: name and type as in etcd 3.7.1.
const NAMES: &[(&str, &str)] = &[
    ("etcd_server_has_leader", "gauge"),
    ("etcd_server_leader_changes_seen_total", "counter"),
    ("etcd_server_proposals_failed_total", "counter"),
    ("etcd_server_proposals_pending", "gauge"),
    ("etcd_server_proposals_committed_total", "gauge"),
    ("etcd_server_proposals_applied_total", "gauge"),
    ("etcd_server_quota_backend_bytes", "gauge"),
    ("etcd_debugging_server_alarms", "gauge"),
    ("etcd_mvcc_db_total_size_in_bytes", "gauge"),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"),
    ("etcd_disk_wal_fsync_duration_seconds", "histogram"),
    ("etcd_disk_backend_commit_duration_seconds", "histogram"),
    ("etcd_network_peer_sent_bytes_total", "counter"),
    ("etcd_network_peer_received_bytes_total", "counter"),
    ("etcd_network_peer_sent_failures_total", "counter"),
    ("etcd_network_peer_round_trip_time_seconds", "histogram"),
    ("etcd_network_client_grpc_sent_bytes_total", "counter"),
    ("etcd_network_client_grpc_received_bytes_total", "counter"),
    ("grpc_server_started_total", "counter"),
    ("grpc_server_handled_total", "counter"),
    ("grpc_server_handling_seconds", "histogram"),
    ("process_resident_memory_bytes", "gauge"),
    ("etcd_debugging_mvcc_slow_watcher_total", "gauge"),
    ("etcd_debugging_mvcc_pending_events_total", "gauge"),
    ("etcd_debugging_mvcc_watcher_total", "gauge"),
    ("etcd_debugging_mvcc_watch_stream_total", "gauge"),
    ("etcd_debugging_mvcc_keys_total", "gauge"),
    ("etcd_debugging_mvcc_db_compaction_keys_total", "counter"),
    ("etcd_debugging_mvcc_db_compaction_last", "gauge"),
    ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "histogram"),
    ("etcd_server_slow_apply_total", "counter"),
    ("etcd_server_slow_read_indexes_total", "counter"),
    ("etcd_server_heartbeat_send_failures_total", "counter"),
    ("etcd_disk_defrag_inflight", "gauge"),
    ("etcd_server_client_requests_total", "counter"),
    ("etcd_server_health_success", "counter"),
    ("etcd_server_health_failures", "counter"),
    ("etcd_server_is_leader", "gauge"),
    ("etcd_server_is_learner", "gauge"),
    ("etcd_server_id", "gauge"),
    ("etcd_server_version", "gauge"),
    ("etcd_cluster_version", "gauge"),
    ("etcd_mvcc_put_total", "counter"),
    ("etcd_mvcc_delete_total", "counter"),
    ("etcd_mvcc_range_total", "counter"),
    ("etcd_mvcc_txn_total", "counter"),
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("os_fd_used", "gauge"),
    ("os_fd_limit", "gauge"),
];

/// The samples of a page, after a look at every line of it.
struct Page {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn scrape(address: &str) -> Self {
        let answer = get(address, "/metrics");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert!(answer.body.ends_with('\n'));
        let (mut types, mut samples) = (BTreeMap::new(), BTreeMap::new());
        let mut family = String::new();
        for line in answer.body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap().to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, family, "a type follows its help");
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let base = name.split('{').next().unwrap();
                let suffix = base.strip_prefix(&family[..]).unwrap_or_else(|| panic!("{line} in {family}"));
                let histogram = types[&family] == "histogram";
                let suffixes: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{line}");
                let twice = samples.insert(name.to_owned(), value.parse().unwrap()).is_some();
                assert!(!twice, "{name} twice");
            }
        }
        Self { types, samples }
    }

    fn value(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("{name} is missing"))
    }
}

#[test]
fn every_name_that_dashboards_use_is_there_with_its_type() {
    let running = Running::with(ServerConfig { extensive_metrics: true, ..Default::default() });
    let page = Page::scrape(&running.address());
    for (name, kind) in NAMES {
        assert_eq!(page.types.get(*name).map(String::as_str), Some(*kind), "{name}");
    }
    for bucket in ["0.001", "0.512", "8.192", "+Inf"] {
        page.value(&format!("etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"{bucket}\"}}"));
    }
}

#[test]
fn values_are_those_of_the_node() {
    let running = Running::start();
    let address = running.address();
    let before = Page::scrape(&address);
    post(&address, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmFy"}"#);
    post(&address, "/v3/kv/put", r#"{"key":"Zm9x","value":"YmFy"}"#);
    post(&address, "/v3/kv/deleterange", r#"{"key":"Zm9x"}"#);
    post(&address, "/v3/kv/range", r#"{"key":"Zm9v"}"#);
    post(&address, "/v3/kv/range", r#"{"key":""}"#);
    post(&address, "/v3/kv/compaction", r#"{"revision":4,"physical":true}"#);
    get(&address, "/health");
    let page = Page::scrape(&address);
    for (name, value) in [
        ("etcd_server_has_leader", 1.0),
        ("etcd_server_is_leader", 1.0),
        ("etcd_server_is_learner", 0.0),
        ("etcd_server_leader_changes_seen_total", 1.0),
        ("etcd_server_id{server_id=\"1\"}", 1.0),
        ("etcd_server_version{server_version=\"3.7.1\"}", 1.0),
        ("etcd_cluster_version{cluster_version=\"3.7\"}", 1.0),
        ("etcd_mvcc_put_total", 2.0),
        ("etcd_mvcc_delete_total", 1.0),
        // One of the two asked for, and one of the health check.
        ("etcd_mvcc_range_total", 2.0),
        ("etcd_debugging_mvcc_keys_total", 1.0),
        ("etcd_debugging_mvcc_current_revision", 4.0),
        ("etcd_debugging_mvcc_compact_revision", 4.0),
        ("etcd_debugging_mvcc_total_put_size_in_bytes", 12.0),
        ("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count", 1.0),
        ("etcd_server_health_success", 1.0),
        ("etcd_server_client_requests_total{type=\"unary\",client_api_version=\"unknown\"}", 6.0),
    ] {
        assert_eq!(page.value(name), value, "{name}");
    }
    let call = |metric: &str, code: &str, method: &str| {
        let labels = format!("grpc_method=\"{method}\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"");
        page.value(&format!("{metric}{{{code}{labels}}}"))
    };
    assert_eq!(call("grpc_server_started_total", "", "Put"), 2.0);
    assert_eq!(call("grpc_server_handled_total", "grpc_code=\"OK\",", "Put"), 2.0);
    assert_eq!(call("grpc_server_started_total", "", "Range"), 2.0);
    assert_eq!(call("grpc_server_handled_total", "grpc_code=\"OK\",", "Range"), 1.0);
    assert_eq!(call("grpc_server_handled_total", "grpc_code=\"InvalidArgument\",", "Range"), 1.0);
    for grown in [
        "etcd_server_proposals_committed_total",
        "etcd_server_proposals_applied_total",
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_disk_backend_commit_duration_seconds_count",
        "etcd_network_client_grpc_sent_bytes_total",
        "etcd_network_client_grpc_received_bytes_total",
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "etcd_debugging_mvcc_db_compaction_last",
    ] {
        assert!(page.value(grown) > before.value(grown), "{grown}");
    }
    let quota = page.value("etcd_server_quota_backend_bytes");
    assert!(page.value("etcd_mvcc_db_total_size_in_bytes") < quota, "no alert without a reason");
}

#[test]
fn raised_alarms_are_told() {
    let running = Running::start();
    let address = running.address();
    let set = |action: &str| {
        let body = format!(r#"{{"action":"{action}","memberID":"171","alarm":"NOSPACE"}}"#);
        assert_eq!(post(&address, "/v3/maintenance/alarm", &body).status, 200);
    };
    let name = r#"etcd_debugging_server_alarms{server_id="ab",alarm_type="NOSPACE"}"#;
    assert!(!Page::scrape(&address).samples.contains_key(name));
    set("ACTIVATE");
    assert_eq!(Page::scrape(&address).value(name), 1.0);
    set("DEACTIVATE");
    assert!(!Page::scrape(&address).samples.contains_key(name));
}

#[test]
fn durations_of_calls_are_measured_only_if_wanted() {
    let running = Running::start();
    let page = Page::scrape(&running.address());
    assert!(!page.types.contains_key("grpc_server_handling_seconds"));
    let running = Running::with(ServerConfig { extensive_metrics: true, ..Default::default() });
    post(&running.address(), "/v3/kv/range", r#"{"key":"Zm9v"}"#);
    let page = Page::scrape(&running.address());
    let labels = "grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
    assert_eq!(page.value(&format!("grpc_server_handling_seconds_count{{{labels}}}")), 1.0);
    assert_eq!(page.value(&format!("grpc_server_handling_seconds_bucket{{{labels},le=\"+Inf\"}}")), 1.0);
    assert!(page.value(&format!("grpc_server_handling_seconds_sum{{{labels}}}")) > 0.0);
}
