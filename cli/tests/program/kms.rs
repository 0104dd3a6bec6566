//! A store whose key a Kubernetes KMS v2 plugin has: the real program, and a real gRPC server on a socket.

#[path = "../../../kms/tests/client/plugin.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, reason = "also a part of other tests")]
mod plugin;

use crate::home::{Home, bare, content, get, put, seen, serve, text};
use crate::support::{Ran, bare_program, output_of};
use plugin::{Behaviour, Plugin};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tonic::Status;

fn key(args: &[&str]) -> Ran {
    output_of(bare_program().arg("key").args(args), b"")
}

/// The one slot that `key status` shows.
fn slot(dir: &str) -> Value {
    let status =
        output_of(bare_program().args(["key", "status", "-w", "json", "--data-dir", dir]), b"").json();
    assert_eq!(status["slots"].as_array().map(Vec::len), Some(1), "{status}");
    status["slots"][0].clone()
}

#[test]
fn a_plugin_has_the_key_of_a_store() {
    let home = Home::new();
    let socket = text(&home.path("kms.sock"));
    let plugin = Plugin::start(&home.path("kms.sock"), Behaviour::default());
    let flags = ["--seal-kms-socket", &socket];
    let dir = text(&home.path("store"));
    let daemon = serve(&home, "store", flags);
    let asked = ["--endpoints", &daemon.endpoint];
    put(&asked, crate::home::CANARY_KEY, crate::home::CANARY_VALUE);
    let made = slot(&dir);
    assert_eq!((&made["kind"], &made["key_id"]), (&"kms".into(), &"key-1".into()));
    let shown = key(&["status", "--data-dir", &dir]).ok();
    assert!(shown.contains("slot 1, kms with key-1"), "{shown}");
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    assert_eq!(seen(&home.path("store")), Vec::<PathBuf>::new());

    // Started again, and killed and started again: the plugin is asked each time.
    for signal in [Signal::KILL, Signal::TERM] {
        let before = plugin.calls().len();
        let daemon = serve(&home, "store", flags);
        let found = get(&["--endpoints", &daemon.endpoint], crate::home::CANARY_KEY);
        assert_eq!(found, format!("{}\n", crate::home::CANARY_VALUE));
        daemon.stop(signal);
        assert!(plugin.calls()[before..].iter().any(|(call, _)| *call == "decrypt"));
    }
    let uri = home.uri("store");
    let found =
        get(&["--store", &uri, "--seal-kms-socket", &format!("unix://{socket}")], crate::home::CANARY_KEY);
    assert_eq!(found, format!("{}\n", crate::home::CANARY_VALUE));
    bare(["--store", &uri, "get", "a"]).fails(1, "--seal-kms-socket");
}

#[test]
fn a_plugin_that_is_away_refuses_or_has_another_key_opens_and_changes_nothing() {
    let home = Home::new();
    let path = home.path("kms.sock");
    let socket = text(&path);
    let plugin = Plugin::start(&path, Behaviour::default());
    let uri = home.uri("store");
    let store = ["--store", &uri, "--seal-kms-socket", &socket];
    let refused = |reason: &str| {
        let before = content(&home.path("store"));
        output_of(bare_program().args(store).args(["put", "a", "2"]), b"").fails(1, reason);
        let serve = ["serve", "--log-level", "error", "--seal-kms-socket", &socket, "--data-dir"];
        output_of(bare_program().args(serve).arg(home.path("store")), b"").fails(1, reason);
        assert!(content(&home.path("store")) == before, "{reason}: it was left as it is");
    };
    // No store is made that nobody could open; the place for one may be.
    plugin.change(|behaviour| behaviour.refusal = Some(Status::unavailable("the vault is closed")));
    output_of(bare_program().args(store).args(["put", "a", "1"]), b"").fails(1, "the vault is closed");
    assert!(!home.path("store").exists() || content(&home.path("store")).is_empty());
    plugin.change(|behaviour| behaviour.refusal = None);
    put(&store, "a", "1");

    plugin.change(|behaviour| behaviour.refusal = Some(Status::not_found("there is no such key")));
    refused("there is no such key");
    drop(plugin);
    fs::remove_file(&path).unwrap_or_default();
    refused("kms.sock");
    // One of somebody else gives bytes, and they are no key of this store.
    let plugin = Plugin::start(&path, Behaviour { foreign: true, ..Behaviour::default() });
    refused("kms.sock");
    plugin.change(|behaviour| behaviour.foreign = false);
    assert_eq!(get(&store, "a"), "1\n");
    // What has no key in the plugin is not opened by it.
    let file = home.key("key", 7);
    put(&["--store", &home.uri("other"), "--seal-key-file", &file], "a", "1");
    bare(["--store", &home.uri("other"), "--seal-kms-socket", &socket, "get", "a"])
        .fails(1, "it has no slot of kind kms; it opens with: key-file");
}

#[test]
fn a_slot_is_rewrapped_with_the_next_key_of_the_plugin() {
    let home = Home::new();
    let socket = text(&home.path("kms.sock"));
    let plugin = Plugin::start(&home.path("kms.sock"), Behaviour::default());
    let (uri, dir) = (home.uri("store"), text(&home.path("store")));
    let store = ["--store", &uri, "--seal-kms-socket", &socket];
    put(&store, "a", "1");
    plugin.change(|behaviour| behaviour.key = 2);
    assert_eq!(get(&store, "a"), "1\n", "what it wrapped before it still unwraps");
    let place = ["--data-dir", &dir, "--seal-kms-socket", &socket];
    let verified = key(&[&["verify"], &place[..]].concat()).ok();
    assert!(verified.contains("key-2"), "{verified}");
    assert_eq!(slot(&dir)["key_id"], "key-1");
    // A plugin that refuses changes nothing.
    plugin.change(|behaviour| behaviour.refusal = Some(Status::unavailable("the vault is closed")));
    let rotate = [&["rotate-kek"], &place[..], &["--new-kms-socket", &socket]].concat();
    let before = content(&home.path("store"));
    key(&rotate).fails(1, "the vault is closed");
    assert!(content(&home.path("store")) == before);
    plugin.change(|behaviour| behaviour.refusal = None);
    assert!(key(&rotate).ok().starts_with("slot 1 has the new key"));
    assert_eq!(slot(&dir)["key_id"], "key-2");
    // Under a daemon as well.
    plugin.change(|behaviour| behaviour.key = 3);
    let daemon = serve(&home, "store", ["--seal-kms-socket", &socket]);
    assert!(key(&["rotate-kek", "--data-dir", &dir, "--new-kms-socket", &socket]).ok().starts_with("slot 1"));
    assert_eq!(slot(&dir)["key_id"], "key-3");
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    assert_eq!(get(&store, "a"), "1\n");
}
