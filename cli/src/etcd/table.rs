//! Every flag of etcd 3.4 to 3.7, and what becomes of it.
//!
//! The texts are shown by `--help` and repeated in `docs/etcd-compatibility.md`, which a test compares with this table.

use super::flags::{Flag, Group, Kind, Releases, Treatment};
use Group::*;
use Kind::*;
use Treatment::*;

/// All flags by heading.
pub(crate) static TABLE: [&[Flag]; 11] = [
    &MEMBER,
    &CLUSTERING,
    &SECURITY,
    &AUTH,
    &MONITORING,
    &LOGGING,
    &TRACING,
    &FEATURES,
    &UNSAFE,
    &GONE,
    &IGNORED,
];

const fn flag(
    group: Group,
    first: u8,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    treatment: Treatment,
    text: &'static str,
) -> Flag {
    Flag { name, group, kind, default, releases: Releases { first, last: 7 }, treatment, text }
}

/// A flag that 3.7 no longer has.
const fn gone(
    (first, last): (u8, u8),
    name: &'static str,
    kind: Kind,
    default: &'static str,
    treatment: Treatment,
    text: &'static str,
) -> Flag {
    Flag { name, group: Gone, kind, default, releases: Releases { first, last }, treatment, text }
}

/// Why certificates and `https://` are refused.
pub(crate) const TLS: &str =
    "TLS is not there yet: run it behind a proxy that ends TLS, or on a protected network";
const DISCOVERY: &str = "members are not found by discovery: name this one with --initial-cluster";
const NO_DISCOVERY: &str = "belongs to discovery, which is not there";
const BBOLT: &str = "tunes etcd's storage engine, bbolt; there is none";
const ALWAYS: &str = "always on";
const NO_TRACING: &str = "traces are not exported";
const FIXED: &str = "concerns how members work together, which cannot be adjusted yet";
const V2: &str = "the v2 API is not there";
const V2_PROXY: &str = "belongs to the v2 proxy, which is not there";
const NO_AUTH: &str = "authentication is not there yet";

#[rustfmt::skip]
static MEMBER: [Flag; 31] = [
    flag(Member, 4, "name", Text, "default", Used, "name of this member, for people"),
    flag(Member, 4, "data-dir", Text, "", Used, "directory of the store; empty for ${name}.etcd"),
    flag(Member, 4, "wal-dir", Text, "", Idle, "the log stays within --data-dir"),
    flag(Member, 4, "snapshot-count", Uint64, "10000", Idle, "the log is purged by its size"),
    flag(Member, 4, "heartbeat-interval", Uint64, "100", Used, "milliseconds between heartbeats"),
    flag(Member, 4, "election-timeout", Uint64, "1000", Used,
        "milliseconds that a member waits for a leader; the shortest lease is one and a half times this"),
    flag(Member, 4, "initial-election-tick-advance", Bool, "true", Idle, "nobody waits longer than it must"),
    flag(Member, 4, "listen-peer-urls", Urls, "http://localhost:2380", Used,
        "where other members come; nothing listens there unless it is given or --initial-cluster names several"),
    flag(Member, 4, "listen-client-urls", Urls, "http://localhost:2379", Used,
        "where clients are served; port 0 takes a free one"),
    flag(Member, 5, "listen-client-http-urls", Urls, "", Used,
        "where HTTP is served; --listen-client-urls then serve gRPC only"),
    flag(Member, 4, "max-wals", Uint64, "5", Idle, "log files are recycled as soon as they are purged"),
    flag(Member, 6, "memory-mlock", Bool, "false", Idle, BBOLT),
    flag(Member, 4, "quota-backend-bytes", Int64, "0", Used,
        "how much the store may hold, in bytes; 0 for 2 GiB, negative for no limit"),
    flag(Member, 5, "backend-bbolt-freelist-type", Text, "map", Idle, BBOLT),
    flag(Member, 4, "backend-batch-interval", Duration, "0s", Idle, BBOLT),
    flag(Member, 4, "backend-batch-limit", Int64, "0", Idle, BBOLT),
    flag(Member, 4, "max-txn-ops", Uint64, "128", Used, "most operations in one list of a transaction"),
    flag(Member, 4, "max-request-bytes", Uint64, "1572864", Used, "largest request in bytes"),
    flag(Member, 4, "max-concurrent-streams", Uint32, "4294967295", Used,
        "most streams of one connection at a time; at most 20000"),
    flag(Member, 4, "grpc-keepalive-min-time", Duration, "5s", Idle,
        "clients may ping as often as they like"),
    flag(Member, 4, "grpc-keepalive-interval", Duration, "2h0m0s", Used,
        "how often an idle client is pinged; 0 for never"),
    flag(Member, 4, "grpc-keepalive-timeout", Duration, "20s", Used,
        "how long a pinged client may take before it is disconnected"),
    flag(Member, 5, "socket-reuse-port", Bool, "false", Idle, "a port has one owner"),
    flag(Member, 5, "socket-reuse-address", Bool, "false", Idle, ALWAYS),
    flag(Member, 4, "enable-grpc-gateway", Bool, "true", Used, "serve the JSON gateway"),
    flag(Member, 5, "raft-read-timeout", Duration, "5s", Idle, FIXED),
    flag(Member, 5, "raft-write-timeout", Duration, "5s", Idle, FIXED),
    flag(Member, 6, "feature-gates", Gates, "", Idle, "names are checked; what they switch is etcd's own inside"),
    flag(Member, 4, "config-file", Text, "", Used,
        "a YAML or JSON file; other flags and all variables are then ignored"),
    flag(Member, 4, "version", Bool, "false", Used, "show the version and exit"),
    flag(Member, 4, "max-snapshots", Uint64, "5", Idle, "snapshots are not kept as files"),
];

#[rustfmt::skip]
static CLUSTERING: [Flag; 26] = [
    flag(Clustering, 4, "initial-advertise-peer-urls", Urls, "http://localhost:2380", Used,
        "where other members reach this one, and what the list of members shows"),
    flag(Clustering, 4, "initial-cluster", Text, "", Used,
        "the members at the beginning, name=url,…; the same for each of them"),
    flag(Clustering, 4, "initial-cluster-state", Choice(&["new", "existing"]), "new", Used,
        "existing: a new store asks the other members who it is"),
    flag(Clustering, 4, "initial-cluster-token", Text, "etcd-cluster", Used,
        "makes the ids, with the peer URLs, where --initial-cluster names several members; else they are random"),
    flag(Clustering, 4, "advertise-client-urls", Urls, "http://localhost:2379", Used,
        "client URLs that the list of members shows"),
    flag(Clustering, 6, "discovery-token", Text, "", Refused, DISCOVERY),
    flag(Clustering, 6, "discovery-endpoints", List, "", Refused, DISCOVERY),
    flag(Clustering, 6, "discovery-dial-timeout", Duration, "2s", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-request-timeout", Duration, "5s", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-keepalive-time", Duration, "2s", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-keepalive-timeout", Duration, "6s", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-insecure-transport", Bool, "true", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-insecure-skip-tls-verify", Bool, "false", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-cert", Text, "", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-key", Text, "", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-cacert", Text, "", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-user", Text, "", Idle, NO_DISCOVERY),
    flag(Clustering, 6, "discovery-password", Text, "", Idle, NO_DISCOVERY),
    flag(Clustering, 4, "discovery-fallback", Choice(&["exit", "proxy"]), "exit", Idle, NO_DISCOVERY),
    flag(Clustering, 4, "discovery-srv", Text, "", Refused, DISCOVERY),
    flag(Clustering, 4, "discovery-srv-name", Text, "", Idle, NO_DISCOVERY),
    flag(Clustering, 4, "strict-reconfig-check", Bool, "true", Idle, ALWAYS),
    flag(Clustering, 4, "pre-vote", Bool, "true", Idle, ALWAYS),
    flag(Clustering, 4, "auto-compaction-retention", Text, "0", Used,
        "how much history is kept: hours, a duration, or revisions; 0 for all of it"),
    flag(Clustering, 4, "auto-compaction-mode", Text, "periodic", Used,
        "periodic keeps history by time, revision by number"),
    flag(Clustering, 5, "v2-deprecation",
        Choice(&["not-yet", "write-only", "write-only-skip-check", "write-only-drop-data", "gone"]),
        "write-only", Idle, V2),
];

#[rustfmt::skip]
static SECURITY: [Flag; 27] = [
    flag(Security, 4, "cert-file", Text, "", Refused, TLS),
    flag(Security, 4, "key-file", Text, "", Refused, TLS),
    flag(Security, 4, "client-cert-auth", Bool, "false", Refused, TLS),
    flag(Security, 5, "client-cert-file", Text, "", Refused, TLS),
    flag(Security, 5, "client-key-file", Text, "", Refused, TLS),
    flag(Security, 4, "client-crl-file", Text, "", Refused, TLS),
    flag(Security, 4, "client-cert-allowed-hostname", List, "", Refused, TLS),
    flag(Security, 4, "trusted-ca-file", Text, "", Refused, TLS),
    flag(Security, 4, "auto-tls", Bool, "false", Refused, TLS),
    flag(Security, 4, "peer-cert-file", Text, "", Refused, TLS),
    flag(Security, 4, "peer-key-file", Text, "", Refused, TLS),
    flag(Security, 4, "peer-client-cert-auth", Bool, "false", Refused, TLS),
    flag(Security, 5, "peer-client-cert-file", Text, "", Refused, TLS),
    flag(Security, 5, "peer-client-key-file", Text, "", Refused, TLS),
    flag(Security, 4, "peer-trusted-ca-file", Text, "", Refused, TLS),
    flag(Security, 4, "peer-cert-allowed-cn", List, "", Refused, TLS),
    flag(Security, 4, "peer-cert-allowed-hostname", List, "", Refused, TLS),
    flag(Security, 4, "peer-auto-tls", Bool, "false", Refused, TLS),
    flag(Security, 5, "self-signed-cert-validity", Uint64, "1", Idle, "TLS is not there yet"),
    flag(Security, 4, "peer-crl-file", Text, "", Refused, TLS),
    flag(Security, 4, "cipher-suites", List, "", Idle, "TLS is not there yet"),
    flag(Security, 4, "cors", List, "*", Used, "origins whose pages may use HTTP; * for every one"),
    flag(Security, 4, "host-whitelist", List, "*", Used, "host names by which HTTP may be asked; * for every one"),
    flag(Security, 5, "tls-min-version", Text, "TLS1.2", Idle, "TLS is not there yet"),
    flag(Security, 5, "tls-max-version", Text, "", Idle, "TLS is not there yet"),
    flag(Security, 6, "peer-skip-client-san-verification", Bool, "false", Idle, "TLS is not there yet"),
    flag(Security, 6, "max-learners", Int64, "1", Used, "how many learners there may be at once"),
];

#[rustfmt::skip]
static AUTH: [Flag; 3] = [
    flag(Auth, 4, "auth-token", Text, "simple", Idle, NO_AUTH),
    flag(Auth, 4, "bcrypt-cost", Uint64, "10", Idle, NO_AUTH),
    flag(Auth, 4, "auth-token-ttl", Uint64, "300", Idle, NO_AUTH),
];

#[rustfmt::skip]
static MONITORING: [Flag; 3] = [
    flag(Monitoring, 4, "enable-pprof", Bool, "false", Idle, "there is no Go runtime to profile"),
    flag(Monitoring, 4, "metrics", Text, "basic", Used, "basic, or extensive for the latencies of each RPC"),
    flag(Monitoring, 4, "listen-metrics-urls", Urls, "", Used, "where metrics and health are served as well"),
];

#[rustfmt::skip]
static LOGGING: [Flag; 7] = [
    flag(Logging, 4, "logger", Text, "zap", Idle, "lines always have zap's shape"),
    flag(Logging, 4, "log-outputs", List, "default", Used,
        "default, stderr, stdout, systemd/journal, or files, separated by commas"),
    flag(Logging, 4, "log-level", Text, "info", Used, "debug, info, warn, error, panic or fatal"),
    flag(Logging, 6, "log-format", Text, "json", Used, "json or console"),
    flag(Logging, 5, "enable-log-rotation", Bool, "false", Idle, "files only grow: rotate them by copying and truncating"),
    flag(Logging, 5, "log-rotation-config-json", Text,
        r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#,
        Idle, "files are not rotated"),
    flag(Logging, 6, "warning-unary-request-duration", Duration, "300ms", Idle, "slow requests are not logged"),
];

#[rustfmt::skip]
static TRACING: [Flag; 5] = [
    flag(Tracing, 6, "enable-distributed-tracing", Bool, "false", Idle, NO_TRACING),
    flag(Tracing, 6, "distributed-tracing-address", Text, "localhost:4317", Idle, NO_TRACING),
    flag(Tracing, 6, "distributed-tracing-service-name", Text, "etcd", Idle, NO_TRACING),
    flag(Tracing, 6, "distributed-tracing-instance-id", Text, "", Idle, NO_TRACING),
    flag(Tracing, 6, "distributed-tracing-sampling-rate", Int64, "0", Idle, NO_TRACING),
];

#[rustfmt::skip]
static FEATURES: [Flag; 9] = [
    flag(Features, 6, "corrupt-check-time", Duration, "0s", Idle, FIXED),
    flag(Features, 6, "compact-hash-check-time", Duration, "1m0s", Idle, FIXED),
    flag(Features, 6, "compaction-batch-limit", Int64, "1000", Idle, "compaction works in slices of its own size"),
    flag(Features, 6, "compaction-sleep-interval", Duration, "0s", Idle, "compaction runs beside requests and rests between its slices"),
    flag(Features, 6, "watch-progress-notify-interval", Duration, "10m0s", Used,
        "how often an idle watch that asked for it is told of progress; at least 100ms"),
    flag(Features, 6, "warning-apply-duration", Duration, "100ms", Idle, "applying a request reads no disk"),
    flag(Features, 6, "bootstrap-defrag-threshold-megabytes", Uint64, "0", Idle, "there is nothing to defragment"),
    flag(Features, 6, "downgrade-check-time", Duration, "5s", Idle, FIXED),
    flag(Features, 6, "snapshot-catchup-entries", Uint64, "5000", Idle, FIXED),
];

#[rustfmt::skip]
static UNSAFE: [Flag; 2] = [
    flag(Unsafe, 4, "force-new-cluster", Bool, "false", Refused,
        "that takes a command of its own, for a stopped member: coffer recover --force-new-cluster DIR --data-dir NEW"),
    flag(Unsafe, 4, "unsafe-no-fsync", Bool, "false", Refused,
        "an acknowledgement means that the data is on the disk; there is no way to weaken that"),
];

#[rustfmt::skip]
static GONE: [Flag; 37] = [
    gone((4, 4), "debug", Bool, "false", Used, "log at level debug"),
    gone((4, 4), "log-package-levels", Text, "", Idle, "there is one level for everything"),
    gone((4, 4), "log-output", List, "default", OlderName("log-outputs"), ""),
    gone((4, 5), "enable-v2", Bool, "false", Idle, V2),
    gone((4, 5), "experimental-enable-v2v3", Text, "", Idle, V2),
    gone((4, 5), "proxy", Choice(&["off", "readonly", "on"]), "off", Refused, "the v2 proxy is not there"),
    gone((4, 5), "proxy-failure-wait", Uint64, "5000", Idle, V2_PROXY),
    gone((4, 5), "proxy-refresh-interval", Uint64, "30000", Idle, V2_PROXY),
    gone((4, 5), "proxy-dial-timeout", Uint64, "1000", Idle, V2_PROXY),
    gone((4, 5), "proxy-write-timeout", Uint64, "5000", Idle, V2_PROXY),
    gone((4, 5), "proxy-read-timeout", Uint64, "0", Idle, V2_PROXY),
    gone((4, 6), "discovery", Text, "", Refused, DISCOVERY),
    gone((4, 6), "discovery-proxy", Text, "", Idle, NO_DISCOVERY),
    gone((4, 4), "experimental-backend-bbolt-freelist-type", Text, "map", OlderName("backend-bbolt-freelist-type"), ""),
    gone((5, 6), "experimental-bootstrap-defrag-threshold-megabytes", Uint64, "0",
        OlderName("bootstrap-defrag-threshold-megabytes"), ""),
    gone((5, 6), "experimental-compact-hash-check-enabled", Bool, "false", Idle, FIXED),
    gone((5, 6), "experimental-compact-hash-check-time", Duration, "1m0s", OlderName("compact-hash-check-time"), ""),
    gone((4, 6), "experimental-compaction-batch-limit", Int64, "1000", OlderName("compaction-batch-limit"), ""),
    gone((5, 6), "experimental-compaction-sleep-interval", Duration, "0s", OlderName("compaction-sleep-interval"), ""),
    gone((4, 6), "experimental-corrupt-check-time", Duration, "0s", OlderName("corrupt-check-time"), ""),
    gone((5, 6), "experimental-distributed-tracing-address", Text, "localhost:4317",
        OlderName("distributed-tracing-address"), ""),
    gone((5, 6), "experimental-distributed-tracing-instance-id", Text, "", OlderName("distributed-tracing-instance-id"), ""),
    gone((5, 6), "experimental-distributed-tracing-sampling-rate", Int64, "0",
        OlderName("distributed-tracing-sampling-rate"), ""),
    gone((5, 6), "experimental-distributed-tracing-service-name", Text, "etcd",
        OlderName("distributed-tracing-service-name"), ""),
    gone((5, 6), "experimental-downgrade-check-time", Duration, "5s", OlderName("downgrade-check-time"), ""),
    gone((5, 6), "experimental-enable-distributed-tracing", Bool, "false", OlderName("enable-distributed-tracing"), ""),
    gone((4, 6), "experimental-enable-lease-checkpoint", Bool, "false", Idle, ALWAYS),
    gone((5, 6), "experimental-enable-lease-checkpoint-persist", Bool, "false", Idle, ALWAYS),
    gone((4, 6), "experimental-initial-corrupt-check", Bool, "false", Idle, "what is read is always checked"),
    gone((5, 6), "experimental-memory-mlock", Bool, "false", OlderName("memory-mlock"), ""),
    gone((4, 6), "experimental-peer-skip-client-san-verification", Bool, "false",
        OlderName("peer-skip-client-san-verification"), ""),
    gone((5, 6), "experimental-snapshot-catchup-entries", Uint64, "5000", OlderName("snapshot-catchup-entries"), ""),
    gone((5, 6), "experimental-stop-grpc-service-on-defrag", Bool, "false", Idle, "there is nothing to defragment"),
    gone((5, 6), "experimental-txn-mode-write-with-shared-buffer", Bool, "true", Idle, BBOLT),
    gone((4, 6), "experimental-warning-apply-duration", Duration, "100ms", OlderName("warning-apply-duration"), ""),
    gone((6, 6), "experimental-warning-unary-request-duration", Duration, "300ms",
        OlderName("warning-unary-request-duration"), ""),
    gone((4, 6), "experimental-watch-progress-notify-interval", Duration, "10m0s",
        OlderName("watch-progress-notify-interval"), ""),
];

const LONG_GONE: &str = "of releases before 3.0; etcd accepts and ignores it";
const COVERAGE: &str = "of etcd's own tests; etcd accepts and ignores it";

#[rustfmt::skip]
static IGNORED: [Flag; 15] = [
    flag(Ignored, 4, "cluster-active-size", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "cluster-remove-delay", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "cluster-sync-interval", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "config", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "force", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "max-result-buffer", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "max-retry-attempts", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "peer-heartbeat-interval", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "peer-election-timeout", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "retry-interval", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "snapshot", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "v", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "vv", Anything, "", Idle, LONG_GONE),
    flag(Ignored, 4, "test.coverprofile", Anything, "", Idle, COVERAGE),
    flag(Ignored, 4, "test.outputdir", Anything, "", Idle, COVERAGE),
];
