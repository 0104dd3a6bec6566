//! `/metrics`: etcd's names, read from the node, the counts of calls and the system at each scrape.
//!
//! What has no meaning here is left out: see "HTTP and JSON" in `docs/etcd-compatibility.md`.

mod calls;
mod process;
mod text;

use super::{Answer, text as answer_text};
use crate::front::Front;
use crate::{ETCD_CLUSTER_VERSION, ETCD_VERSION};
use ::http::StatusCode;
use coffer_core::node::NodeMetrics;
use text::Page;

/// The page.
pub(super) fn answer(front: &Front) -> Answer {
    let node = front.node.metrics();
    let mut page = Page::default();
    server(&mut page, front, &node);
    consensus(&mut page, &node);
    disk(&mut page, &node);
    store(&mut page, &node);
    watch(&mut page, &node);
    leases(&mut page, &node);
    peers(&mut page);
    health(&mut page, front);
    calls::write(&mut page, &front.calls);
    process::write(&mut page);
    own(&mut page, &node);
    answer_text(StatusCode::OK, text::CONTENT_TYPE, page.finish())
}

fn server(page: &mut Page, front: &Front, node: &NodeMetrics) {
    let versions = [
        ("etcd_server_version", "server_version", ETCD_VERSION),
        ("etcd_cluster_version", "cluster_version", &ETCD_CLUSTER_VERSION[..3]),
    ];
    for (name, label, version) in versions {
        let help = "Which version is running. 1 for the label with the current version.";
        page.gauges(name, help).sample(&[(label, version)], 1);
    }
    page.gauges(
        "etcd_server_id",
        "Server or member ID in hexadecimal format. 1 for the label with the current ID.",
    )
    .sample(&[("server_id", &format!("{:x}", node.member_id))], 1);
    page.gauge("etcd_server_has_leader", "Whether or not a leader exists.", u8::from(node.has_leader));
    page.gauge("etcd_server_is_leader", "Whether or not this member is a leader.", u8::from(node.is_leader));
    page.gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner.",
        u8::from(node.is_learner),
    );
    let mut alarms = page.gauges(
        "etcd_debugging_server_alarms",
        "Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label with type of this alarm",
    );
    for alarm in front.node.alarms() {
        let (server, kind) = (format!("{:x}", alarm.member), alarm.kind.to_string());
        alarms.sample(&[("server_id", &server), ("alarm_type", &kind)], 1);
    }
    page.gauge(
        "etcd_server_quota_backend_bytes",
        "Current backend storage quota size in bytes. The largest number if there is none.",
        quota_bytes(front),
    );
}

/// The quota; where there is none, more than any store holds, so that what is in use is no part of it worth an alert.
fn quota_bytes(front: &Front) -> u64 {
    match front.node.quota_bytes() {
        0 => i64::MAX as u64,
        bytes => bytes,
    }
}

fn consensus(page: &mut Page, node: &NodeMetrics) {
    page.counter(
        "etcd_server_leader_changes_seen_total",
        "The number of leader changes seen.",
        node.leader_changes,
    );
    page.gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        node.committed_index,
    );
    page.gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        node.applied_index,
    );
    page.gauge(
        "etcd_server_proposals_pending",
        "The current number of pending proposals to commit.",
        node.proposals_pending,
    );
    page.counter(
        "etcd_server_proposals_failed_total",
        "The total number of failed proposals seen.",
        node.proposals_failed,
    );
    page.counter(
        "etcd_server_slow_apply_total",
        "The total number of slow apply requests (likely overloaded from slow disk).",
        node.slow_applies,
    );
    page.counter(
        "etcd_server_slow_read_indexes_total",
        "The total number of read indexes that took longer than half a second.",
        node.barriers_slow,
    );
    page.counter(
        "etcd_server_read_indexes_failed_total",
        "The total number of failed read indexes seen.",
        node.barriers_failed,
    );
    page.counter(
        "etcd_server_heartbeat_send_failures_total",
        "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
        0,
    );
}

fn disk(page: &mut Page, node: &NodeMetrics) {
    page.histogram(
        "etcd_disk_wal_fsync_duration_seconds",
        "The latency distributions of a write and fsync of the log.",
        &node.log_sync,
    );
    page.histogram(
        "etcd_disk_backend_commit_duration_seconds",
        "The latency distributions of a flush of the records.",
        &node.flush,
    );
    page.gauge(
        "etcd_disk_defrag_inflight",
        "Whether or not defrag is active on the member. Always 0: space is given back without one.",
        0,
    );
    page.gauge(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
        node.disk_bytes,
    );
    page.gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
        node.live_bytes,
    );
}

fn store(page: &mut Page, node: &NodeMetrics) {
    for (name, help, value) in [
        ("etcd_mvcc_range_total", "Total number of ranges seen by this member.", node.ranges),
        ("etcd_mvcc_put_total", "Total number of puts seen by this member.", node.puts),
        ("etcd_mvcc_delete_total", "Total number of deletes seen by this member.", node.deletes),
        ("etcd_mvcc_txn_total", "Total number of txns seen by this member.", node.txns),
    ] {
        page.counter(name, help, value);
    }
    page.gauge(
        "etcd_debugging_mvcc_total_put_size_in_bytes",
        "The total size of put kv pairs seen by this member.",
        node.put_bytes,
    );
    page.gauge("etcd_debugging_mvcc_keys_total", "Total number of keys.", node.keys);
    page.gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.", node.revision);
    page.gauge(
        "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.",
        // etcd's word for never.
        if node.compact_revision == 0 { -1 } else { node.compact_revision },
    );
    page.counter(
        "etcd_debugging_mvcc_db_compaction_keys_total",
        "Total number of db keys compacted.",
        node.records_compacted,
    );
    page.gauge(
        "etcd_debugging_mvcc_db_compaction_last",
        "The unix time of the last db compaction. Resets to 0 on start.",
        node.last_compaction_s,
    );
    page.histograms(
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "Bucketed histogram of db compaction total duration.",
    )
    .histogram(&[], &node.compaction, 1000.0);
}

fn watch(page: &mut Page, node: &NodeMetrics) {
    let watch = node.watch;
    for (name, help, value) in [
        ("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams.", watch.streams),
        ("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", watch.watchers),
        ("etcd_debugging_mvcc_slow_watcher_total", "Total number of unsynced slow watchers.", watch.lagging),
        (
            "etcd_debugging_mvcc_pending_events_total",
            "Total number of pending events to be sent.",
            watch.pending_events,
        ),
    ] {
        page.gauge(name, help, value);
    }
    page.counter(
        "etcd_debugging_mvcc_events_total",
        "Total number of events sent by this member.",
        watch.events_delivered,
    );
}

fn leases(page: &mut Page, node: &NodeMetrics) {
    for (name, help, value) in [
        ("etcd_debugging_lease_granted_total", "The total number of granted leases.", node.leases_granted),
        ("etcd_debugging_lease_revoked_total", "The total number of revoked leases.", node.leases_revoked),
        (
            "etcd_debugging_lease_renewed_total",
            "The number of renewed leases seen by the leader.",
            node.leases_renewed,
        ),
        (
            "etcd_debugging_server_lease_expired_total",
            "The total number of expired leases.",
            node.leases_expired,
        ),
    ] {
        page.counter(name, help, value);
    }
}

/// A member without peers has nothing to tell of them; the names are there for those who look for them.
fn peers(page: &mut Page) {
    page.counters("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.");
    page.counters("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.");
    page.counters("etcd_network_peer_sent_failures_total", "The total number of send failures from peers.");
    page.histograms("etcd_network_peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers");
}

fn health(page: &mut Page, front: &Front) {
    let [healthy, unhealthy] = front.health.whole();
    page.counter("etcd_server_health_success", "The total number of successful health checks", healthy);
    page.counter("etcd_server_health_failures", "The total number of failed health checks", unhealthy);
    let checks = front.health.checks();
    let mut family = page.gauges("etcd_server_healthcheck", "The result of each kind of healthcheck.");
    for check in &checks {
        family.sample(&[("type", check.probe), ("name", check.name)], u8::from(check.last_passed));
    }
    let mut family =
        page.counters("etcd_server_healthchecks_total", "The total number of each kind of healthcheck.");
    for check in &checks {
        for (status, count) in [("success", check.passed), ("error", check.failed)] {
            if count > 0 {
                family.sample(&[("type", check.probe), ("name", check.name), ("status", status)], count);
            }
        }
    }
}

/// What etcd has no name for.
fn own(page: &mut Page, node: &NodeMetrics) {
    page.gauges("coffer_build_info", "The release of Coffer that is running.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.histogram(
        "coffer_apply_duration_seconds",
        "The latency distributions of applying a batch of log entries.",
        &node.apply,
    );
    page.gauge(
        "coffer_sealed",
        "Whether what is stored is encrypted: 1, or 0 for a store that whoever has its files can read.",
        u8::from(node.is_sealed),
    );
    page.gauge("coffer_log_bytes", "Bytes of the log on the disk.", node.log_bytes);
    page.gauge(
        "coffer_unflushed_bytes",
        "Bytes of records that wait in memory for the next flush.",
        node.unflushed_bytes,
    );
    page.gauge("coffer_leases", "Number of leases.", node.leases);
    let scrub = node.scrub;
    for (name, help, value) in [
        ("coffer_scrubs_total", "Scrubs that looked at everything.", scrub.done),
        ("coffer_scrub_bytes_total", "Bytes that scrubs read and judged.", scrub.checked_bytes),
        ("coffer_scrub_damage_total", "Damage that scrubs found.", scrub.damage),
        (
            "coffer_scrub_weakened_total",
            "Damaged copies that scrubs found, of which another one is whole.",
            scrub.weakened,
        ),
    ] {
        page.counter(name, help, value);
    }
    page.gauge(
        "coffer_scrub_last_timestamp_seconds",
        "The unix time at the end of the last scrub that looked at everything. Resets to 0 on start.",
        scrub.last_s,
    );
}
