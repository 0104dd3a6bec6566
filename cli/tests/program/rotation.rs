//! Data keys that a daemon replaces by itself.

use crate::home::{CANARY_KEY, Home, bare, canaries, content, get, put, seen, serve, text};
use crate::support::{bare_program, output_of, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The data keys, the oldest first, of a store that a daemon has open.
fn data_keys(dir: &str) -> Vec<Value> {
    let status =
        output_of(bare_program().args(["key", "status", "-w", "json", "--data-dir", dir]), b"").json();
    status["data"]["keys"].as_array().expect("a list").clone()
}

fn active(dir: &str) -> u64 {
    let keys = data_keys(dir);
    let active: Vec<_> = keys.iter().filter(|key| key["active"] == true).collect();
    assert_eq!(active.len(), 1, "{keys:?}");
    active[0]["id"].as_u64().expect("a number")
}

fn import(endpoint: &str) {
    let ran = output_of(bare_program().args(["--endpoints", endpoint, "import"]), canaries().as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn a_data_key_that_has_sealed_enough_is_replaced() {
    for backend in ["segment", "sqlite"] {
        let home = Home::new();
        let (key, dir) = (home.key("key", 7), text(&home.path("store")));
        let flags = ["--backend", backend, "--seal-key-file", &key, "--seal-rotate-bytes", "200KiB"];
        // Killed and started again, whatever it is at: nothing is lost, and it goes on.
        let mut last = 1;
        for round in 0..4 {
            let mut daemon = serve(&home, "store", flags);
            import(&daemon.endpoint);
            wait_for(|| (active(&dir) > last).then_some(()));
            last = active(&dir);
            put(&["--endpoints", &daemon.endpoint], &format!("round/{round}"), "done");
            daemon.signal(Signal::KILL);
            daemon.wait();
        }
        let daemon = serve(&home, "store", ["--seal-key-file", &key]);
        // The one before may have replaced another until it was killed.
        let first = active(&dir);
        assert!(first >= last, "{first} after {last}");
        let asked = ["--endpoints", daemon.endpoint.as_str()];
        assert_eq!(bare([asked[0], asked[1], "get", CANARY_KEY, "--prefix", "--count-only"]).ok(), "2000\n");
        for round in 0..4 {
            assert_eq!(get(&asked, &format!("round/{round}")), "done\n", "{backend}");
        }
        assert_eq!(active(&dir), first, "by default it takes more than that");
        // Older keys go as they go after a rotation by hand.
        let rewritten =
            output_of(bare_program().args(["key", "rotate-data", "--rewrite", "--data-dir", &dir]), b"");
        assert!(rewritten.ok().contains("the older ones were destroyed"));
        assert_eq!(data_keys(&dir).len(), 1);
        assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
        assert_eq!(seen(&home.path("store")), Vec::<PathBuf>::new());
        let log = fs::read_to_string(home.path("log")).expect("a log");
        assert!(log.contains("the last one had served its time"), "{log}");
    }
}

#[test]
fn a_data_key_that_has_served_long_enough_is_replaced_if_it_was_used() {
    let home = Home::new();
    let (key, dir) = (home.key("key", 7), text(&home.path("store")));
    let config = home.path("coffer.toml");
    fs::write(
        &config,
        format!("seal-key-file = {key:?}\nseal-rotate-after = '1s'\nseal-rotate-bytes = '0'\n"),
    )
    .expect("written");
    let daemon = serve(&home, "store", ["--config", &text(&config)]);
    put(&["--endpoints", &daemon.endpoint], "a", "1");
    wait_for(|| {
        put(&["--endpoints", &daemon.endpoint], "a", "2");
        (active(&dir) > 2).then_some(())
    });
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
}

#[test]
fn what_is_no_age_and_no_size_is_refused() {
    let home = Home::new();
    let (key, dir) = (home.key("key", 7), text(&home.path("store")));
    for (flag, value, variable) in [
        ("--seal-rotate-after", "soon", "COFFER_SEAL_ROTATE_AFTER"),
        ("--seal-rotate-bytes", "much", "COFFER_SEAL_ROTATE_BYTES"),
    ] {
        let serve = ["serve", "--seal-key-file", &key, "--data-dir", &dir];
        output_of(bare_program().args(serve).args([flag, value]), b"").fails(2, &flag[2..]);
        output_of(bare_program().args(serve).env(variable, value), b"").fails(2, &flag[2..]);
    }
    assert_eq!(content(home.dir.path()).len(), 1, "the key alone");
}
