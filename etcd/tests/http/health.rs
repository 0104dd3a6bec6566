//! Health.

use crate::client::{get, post};
use crate::running::Running;

const TEXT: &str = "text/plain; charset=utf-8";

#[test]
fn a_healthy_member_says_so_in_every_way() {
    let running = Running::start();
    let address = running.address();
    let healthy = (200, TEXT, r#"{"health":"true","reason":""}"#);
    for path in ["/health", "/health?exclude=NOSPACE&serializable=true", "/health?exclude="] {
        assert_eq!(get(&address, path).parts(), healthy, "{path}");
    }
    let all =
        "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";
    for (path, expected) in [
        ("/livez", "ok\n"),
        ("/livez?verbose", "[+]serializable_read ok\nok\n"),
        ("/livez/serializable_read", "ok\n"),
        ("/livez/serializable_read?verbose", "[+]serializable_read ok\nok\n"),
        ("/readyz", "ok\n"),
        ("/readyz?verbose", all),
        (
            "/readyz?verbose&exclude=non_learner&exclude=linearizable_read&exclude=data_corruption",
            "[+]serializable_read ok\nok\n",
        ),
        ("/readyz?exclude=no_such_check", "ok\n"),
        ("/readyz/data_corruption", "ok\n"),
        ("/readyz/serializable_read", "ok\n"),
        ("/readyz/linearizable_read?verbose", "[+]linearizable_read ok\nok\n"),
        ("/readyz/non_learner", "ok\n"),
    ] {
        let answer = get(&address, path);
        assert_eq!(answer.parts(), (200, TEXT, expected), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for path in ["/readyz/nothing", "/livez/linearizable_read", "/healthy", "/livez/"] {
        assert_eq!(get(&address, path).parts(), (404, TEXT, "404 page not found\n"), "{path}");
    }
    for path in ["/health", "/livez", "/readyz", "/readyz/non_learner"] {
        let answer = post(&address, path, "");
        assert_eq!(answer.parts(), (405, TEXT, "Method Not Allowed\n"), "{path}");
        assert_eq!(answer.header("allow"), Some("GET"));
    }
}

#[test]
fn a_stopped_node_is_not_healthy() {
    let running = Running::start();
    let address = running.address();
    running.node.shutdown();
    let answer = get(&address, "/health?serializable=true");
    let told = r#"{"health":"false","reason":"RANGE ERROR:etcdserver: server stopped"}"#;
    assert_eq!(answer.parts(), (503, TEXT, &format!("{told}\n")[..]));
    let answer = get(&address, "/livez");
    let told = "[-]serializable_read failed: etcdserver: server stopped\n\n";
    assert_eq!(answer.parts(), (503, TEXT, told));
    let answer = get(&address, "/readyz?exclude=serializable_read&exclude=non_learner");
    let told = "[+]data_corruption ok\n[-]linearizable_read failed: etcdserver: server stopped\n\n";
    assert_eq!(answer.parts(), (503, TEXT, told));
    let metrics = get(&address, "/metrics").body;
    for line in [
        "etcd_server_health_failures 1\n",
        "etcd_server_healthcheck{type=\"livez\",name=\"serializable_read\"} 0\n",
        "etcd_server_healthchecks_total{type=\"livez\",name=\"serializable_read\",status=\"error\"} 1\n",
        "etcd_server_healthcheck{type=\"readyz\",name=\"data_corruption\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
}
