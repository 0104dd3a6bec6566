//! Metrics of calls.

use super::text::Page;
use crate::calls::{CODES, Calls, METHODS, Method};

/// Writes them. Every method is there from the start, with every code, as etcd has it.
pub(super) fn write(page: &mut Page, calls: &Calls) {
    let labels = |method: &Method| {
        [("grpc_method", method.name), ("grpc_service", method.service), ("grpc_type", method.kind)]
    };
    let mut family =
        page.counters("grpc_server_started_total", "Total number of RPCs started on the server.");
    for (at, method) in METHODS.iter().enumerate() {
        family.sample(&labels(method), calls.started(at));
    }
    let mut family = page.counters(
        "grpc_server_handled_total",
        "Total number of RPCs completed on the server, regardless of success or failure.",
    );
    for (at, method) in METHODS.iter().enumerate() {
        let [name, service, kind] = labels(method);
        for (number, code) in CODES.iter().enumerate() {
            family.sample(&[("grpc_code", code), name, service, kind], calls.handled(at, number));
        }
    }
    if calls.durations(0).is_some() {
        let help = "Histogram of response latency (seconds) of gRPC that had been application-level handled by the \
                    server.";
        let mut family = page.histograms("grpc_server_handling_seconds", help);
        for (at, method) in METHODS.iter().enumerate() {
            if let Some(durations) = calls.durations(at) {
                family.histogram(&labels(method), &durations, 1.0);
            }
        }
    }
    page.counter(
        "etcd_network_client_grpc_sent_bytes_total",
        "The total number of bytes sent to grpc clients.",
        calls.sent_bytes(),
    );
    page.counter(
        "etcd_network_client_grpc_received_bytes_total",
        "The total number of bytes received from grpc clients.",
        calls.received_bytes(),
    );
    let mut family = page.counters(
        "etcd_server_client_requests_total",
        "The total number of client requests per client version.",
    );
    for (version, counts) in calls.versions() {
        for (kind, count) in ["unary", "stream"].into_iter().zip(counts) {
            if count > 0 {
                family.sample(&[("type", kind), ("client_api_version", &version)], count);
            }
        }
    }
}
