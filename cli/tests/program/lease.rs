//! `lease`.

use crate::support::{Place, wait_for};

/// Grants a lease and gives its id.
fn grant(place: &Place, ttl: &str) -> String {
    let granted = place.ok(["lease", "grant", ttl]);
    let id = granted.split(' ').nth(1).expect("an id").to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL({ttl}s)\n"));
    assert_eq!(id.len(), 16);
    id
}

#[test]
fn leases_read_as_with_etcdctl() {
    for place in Place::both() {
        let id = grant(&place, "100");
        assert_eq!(place.ok(["put", "k", "v", "--lease", &id]), "OK\n");
        let left = place.ok(["lease", "timetolive", &id, "--keys"]);
        assert!(left.starts_with(&format!("lease {id} granted with TTL(100s), remaining(")), "{left}");
        assert!(left.ends_with("s), attached keys([k])\n"), "{left}");
        assert_eq!(place.ok(["lease", "list"]), format!("found 1 leases\n{id}\n"));
        let renewed = place.ok(["lease", "keep-alive", "--once", &id]);
        assert_eq!(renewed, format!("lease {id} keepalived with TTL(100)\n"));
        assert_eq!(place.ok(["lease", "revoke", &id]), format!("lease {id} revoked\n"));
        assert_eq!(place.ok(["get", "k"]), "");

        assert_eq!(place.ok(["lease", "timetolive", "123"]), "lease 0000000000000123 already expired\n");
        place.run(["lease", "revoke", &id]).fails(1, "requested lease not found");
        place.run(["lease", "keep-alive", "--once", "1234"]).fails(1, "requested lease not found");
        place.run(["put", "k", "v", "--lease", "77"]).fails(1, "requested lease not found");
        assert_eq!(place.ok(["lease", "list"]), "found 0 leases\n");
    }
}

#[test]
fn json_reads_as_with_etcdctl() {
    for place in Place::both() {
        let granted = place.run(["lease", "grant", "50", "--id", "1f", "-w", "json"]).json();
        assert_eq!(
            (&granted["ID"], &granted["TTL"], &granted["Error"]),
            (&31.into(), &50.into(), &"".into())
        );
        assert!(granted["cluster_id"].is_u64());
        place.ok(["put", "kl", "v", "--lease", "1f"]);
        assert_eq!(place.run(["get", "kl", "-w", "json"]).json()["kvs"][0]["lease"], 31);
        let left = place.run(["lease", "timetolive", "1f", "--keys", "-w", "json"]).json();
        assert_eq!(
            (&left["id"], &left["granted-ttl"], &left["keys"][0]),
            (&31.into(), &50.into(), &"a2w=".into())
        );
        assert!(left["ttl"].as_i64().expect("a number") > 0);
        let gone = place.run(["lease", "timetolive", "77", "-w", "json"]).json();
        assert_eq!((&gone["ttl"], &gone["keys"]), (&(-1).into(), &serde_json::Value::Null));
        let renewed = place.run(["lease", "keep-alive", "--once", "1f", "-w", "json"]).json();
        assert_eq!((&renewed["ID"], &renewed["TTL"]), (&31.into(), &50.into()));
        let list = place.run(["lease", "list", "-w", "json"]).json();
        assert_eq!(list["leases"], serde_json::json!([{"id": 31}]));
        assert!(place.run(["lease", "revoke", "1f", "-w", "json"]).json()["header"]["revision"].is_i64());
        place.run(["lease", "grant", "50", "--id", "zz"]).fails(2, "hexadecimal");
        place.run(["lease", "grant", "0"]).fails(2, "at least 1");
        place.run(["lease", "grant", "9000000001"]).fails(1, "too large lease TTL");
    }
}

#[test]
fn a_lease_ends_unless_it_is_kept_alive() {
    let place = Place::daemon();
    let short = grant(&place, "2");
    let kept = grant(&place, "2");
    let mut keeper = place
        .command()
        .args(["lease", "keep-alive", &kept])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("runs");
    place.ok(["put", "short", "1", "--lease", &short]);
    place.ok(["put", "kept", "1", "--lease", &kept]);
    wait_for(|| place.ok(["get", "short"]).is_empty().then_some(()));
    assert_eq!(place.ok(["get", "kept"]), "kept\n1\n");
    place.ok(["lease", "revoke", &kept]);
    let status = wait_for(|| keeper.try_wait().expect("waitable"));
    assert_eq!(status.code(), Some(1));
}

#[test]
fn leases_survive_a_restart() {
    let place = Place::file();
    let id = grant(&place, "1000");
    place.ok(["put", "k", "v", "--lease", &id]);
    assert!(place.ok(["lease", "timetolive", &id, "--keys"]).ends_with("attached keys([k])\n"));
}
