//! `key`: the keys of a store that a daemon has open, and of a closed one, changed by the real program. And `dev`.

use crate::home::{Home, bare, canaries, content, get, put, seen, serve, text};
use crate::support::{Daemon, Ran, bare_program, output_of, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

/// A store with one key in `home`, and the key.
fn sealed(home: &Home, name: &str) -> (String, String) {
    sealed_on(home, name, "segment")
}

fn sealed_on(home: &Home, name: &str, backend: &str) -> (String, String) {
    let key = home.key("key", 7);
    put(&["--store", &format!("{}?backend={backend}", home.uri(name)), "--seal-key-file", &key], "a", "1");
    (text(&home.path(name)), key)
}

fn key(args: &[&str]) -> Ran {
    output_of(bare_program().arg("key").args(args), b"")
}

/// What `key status` shows, asked with these flags.
fn status(flags: &[&str]) -> Value {
    output_of(bare_program().args(["key", "status", "-w", "json"]).args(flags), b"").json()
}

fn kinds(status: &Value) -> Vec<&str> {
    let slots = status["slots"].as_array().expect("a list");
    slots.iter().map(|slot| slot["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn a_generated_key_is_its_owners_and_replaces_nothing() {
    let home = Home::new();
    let file = text(&home.path("key"));
    assert!(key(&["generate", &file]).ok().contains("keep a copy"));
    let mode = fs::metadata(&file).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&file).expect("readable");
    key(&["generate", &file]).fails(1, &file);
    assert_eq!(fs::read(&file).expect("readable"), before);
    put(&["--store", &home.uri("store"), "--seal-key-file", &file], "a", "1");
    assert_eq!(get(&["--store", &home.uri("store"), "--seal-key-file", &file], "a"), "1\n");
}

#[test]
fn keys_of_a_closed_store_are_added_and_removed() {
    let home = Home::new();
    let (dir, first) = sealed(&home, "store");
    let second = home.key("second", 8);
    let words = home.secret("words", "open sesame\n");
    let (uri, place) = (home.uri("store"), ["--data-dir", &dir, "--seal-key-file", &first]);
    let with = |more: &[&str]| key(&[&more[..1], &place[..], &more[1..]].concat());
    // Anybody who can read the directory sees which kinds of keys there are, and no more.
    let seen = status(&["--data-dir", &dir]);
    assert_eq!(kinds(&seen), ["key-file"]);
    assert!(seen["data"].is_null());
    with(&["remove", "1"]).fails(1, "the only one");
    assert_eq!(with(&["add", "--new-key-file", &second, "--label", "the safe"]).ok(), "slot 2 was added\n");
    assert_eq!(with(&["add", "--new-passphrase-file", &words]).ok(), "slot 3 was added\n");
    let seen = status(&place);
    assert_eq!(kinds(&seen), ["key-file", "key-file", "passphrase"]);
    assert_eq!(
        (&seen["slots"][1]["label"], &seen["data"]["keys"][0]["active"]),
        (&"the safe".into(), &true.into())
    );
    for flags in
        [["--seal-key-file", &first], ["--seal-key-file", &second], ["--seal-passphrase-file", &words]]
    {
        assert_eq!(get(&["--store", &uri, flags[0], flags[1]], "a"), "1\n");
    }
    assert!(with(&["remove", "1"]).ok().starts_with("slot 1 was removed"));
    bare(["--store", &uri, "--seal-key-file", &first, "get", "a"]).fails(1, "it is not this store's key");
    let verify = |flag: &str, file: &str| key(&["verify", "--data-dir", &dir, flag, file]);
    assert!(verify("--seal-passphrase-file", &words).ok().starts_with("it opens slot 3;"));
    assert!(verify("--seal-key-file", &second).ok().starts_with("it opens slot 2;"));
    verify("--seal-key-file", &first).fails(1, "it is not this store's key");
    key(&["remove", "--data-dir", &dir, "2"]).fails(1, "its key is needed");
}

/// Only the file of the slots changes when a key does.
#[test]
fn replacing_a_key_writes_one_small_file() {
    let home = Home::new();
    let (dir, first) = sealed(&home, "store");
    let second = home.key("second", 8);
    let before = content(&home.path("store"));
    let rotated =
        key(&["rotate-kek", "--data-dir", &dir, "--seal-key-file", &first, "--new-key-file", &second]);
    assert!(rotated.ok().starts_with("slot 1 has the new key"));
    let changed: Vec<PathBuf> = content(&home.path("store"))
        .into_iter()
        .filter(|file| !before.contains(file))
        .map(|(path, bytes)| {
            assert!(bytes.len() < 4096, "{} has {} bytes", path.display(), bytes.len());
            path
        })
        .collect();
    assert_eq!(changed, [home.path("store/slots")]);
    assert_eq!(content(&home.path("store")).len(), before.len());
    bare(["--store", &home.uri("store"), "--seal-key-file", &first, "get", "a"])
        .fails(1, "not this store's key");
    assert_eq!(get(&["--store", &home.uri("store"), "--seal-key-file", &second], "a"), "1\n");
}

/// Everything that changes keys, under a daemon: by who may use its socket, without the key.
#[test]
fn keys_are_changed_under_a_daemon_at_work() {
    for backend in ["segment", "sqlite"] {
        are_changed_under_a_daemon(backend);
    }
}

fn are_changed_under_a_daemon(backend: &str) {
    let home = Home::new();
    let (dir, first) = sealed_on(&home, "store", backend);
    let second = home.key("second", 8);
    let daemon = serve(&home, "store", ["--seal-key-file", &first]);
    let endpoint = daemon.endpoint.clone();
    let socket = home.path("store/admin.sock");
    assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o600);
    let place = ["--data-dir", dir.as_str()];
    assert_eq!(key(&["add", place[0], place[1], "--new-key-file", &second]).ok(), "slot 2 was added\n");
    key(&["rotate-kek", place[0], place[1], "--new-key-file", &second]).fails(1, "say which one is meant");
    let third = home.key("third", 9);
    key(&["rotate-kek", place[0], place[1], "--slot", "1", "--new-key-file", &third]).ok();
    key(&["add", place[0], place[1], "--new-key-file", "/no/such/key"]).fails(1, "/no/such/key");
    key(&["add", place[0], place[1]]).fails(2, "name the new key");
    key(&["remove", place[0], place[1], "7"]).fails(1, "there is no slot 7");
    let lines = canaries();
    let import = || {
        let ran = output_of(bare_program().args(["--endpoints", &endpoint, "import"]), lines.as_bytes());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    };
    import();
    assert_eq!(
        key(&["rotate-data", place[0], place[1]]).ok(),
        "data key 2 seals what is written from now on\n"
    );
    let after = status(&place);
    assert_eq!(after["data"]["keys"][1], status(&place)["data"]["keys"][1]);
    assert_eq!(after["data"]["keys"].as_array().map(Vec::len), Some(2));
    import();
    let rewritten = key(&["rotate-data", place[0], place[1], "--rewrite"]).ok();
    assert_eq!(rewritten, "data key 3 seals everything; the older ones were destroyed\n");
    let keys = &status(&place)["data"]["keys"];
    assert_eq!((keys.as_array().map(Vec::len), &keys[0]["id"]), (Some(1), &3.into()));
    assert_eq!(seen(&home.path("store")), Vec::<PathBuf>::new());
    import();
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    assert!(!socket.exists(), "the socket goes with the daemon");
    let log = fs::read_to_string(home.path("log")).expect("a log");
    assert!(
        log.contains("a key that opens the store was added") && log.contains("a new data key was made"),
        "{log}"
    );
    // What was given while it ran opens it now, and what was replaced does not.
    bare(["--store", &home.uri("store"), "--seal-key-file", &first, "get", "a"])
        .fails(1, "not this store's key");
    for key in [&second, &third] {
        let store = ["--store", &home.uri("store"), "--seal-key-file", key];
        assert_eq!(get(&store, "a"), "1\n");
        let all = store.iter().chain(&["get", "canary", "--prefix", "--count-only"]);
        assert_eq!(output_of(bare_program().args(all), b"").ok(), "2000\n");
    }
    assert_eq!(seen(&home.path("store")), Vec::<PathBuf>::new());
}

/// A daemon that is killed while it writes everything anew goes on with it when it is started again.
#[test]
fn a_rewriting_outlives_the_daemon() {
    let home = Home::new();
    let (dir, first) = sealed(&home, "store");
    let mut daemon = serve(&home, "store", ["--seal-key-file", &first]);
    let lines = canaries();
    let ran = output_of(bare_program().args(["--endpoints", &daemon.endpoint, "import"]), lines.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut rotation = bare_program();
    let rotation = rotation.args(["key", "rotate-data", "--rewrite", "--data-dir", &dir]);
    let mut rotation = rotation.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    // As soon as it has begun, or even before: then nothing has happened.
    wait_for(|| {
        (status(&["--data-dir", &dir])["data"]["keys"].as_array()?.len() > 1)
            .then_some(())
            .or_else(|| rotation.try_wait().expect("waitable").map(drop))
    });
    daemon.signal(Signal::KILL);
    daemon.wait();
    wait_for(|| rotation.try_wait().expect("waitable"));
    // The socket that it left does not keep the next one from listening.
    let daemon = serve(&home, "store", ["--seal-key-file", &first]);
    wait_for(|| {
        let now = status(&["--data-dir", &dir]);
        (now["data"]["keys"].as_array()?.len() == 1 && now["data"]["rewriting"] == false).then_some(())
    });
    let count = bare(["--endpoints", &daemon.endpoint, "get", "canary", "--prefix", "--count-only"]).ok();
    assert_eq!(count, "2000\n");
    assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
}

#[test]
fn data_keys_of_a_closed_store_are_replaced() {
    let home = Home::new();
    let (dir, first) = sealed(&home, "store");
    let place = ["--data-dir", &dir, "--seal-key-file", &first];
    let rotated = key(&[&["rotate-data"], &place[..]].concat());
    assert_eq!(rotated.ok(), "data key 2 seals what is written from now on\n");
    let uri = home.uri("store");
    let rotated = key(&["rotate-data", "--rewrite", "--store", &uri, "--seal-key-file", &first]);
    assert_eq!(rotated.ok(), "data key 3 seals everything; the older ones were destroyed\n");
    let keys = status(&place);
    assert_eq!(keys["data"]["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(get(&["--store", &uri, "--seal-key-file", &first], "a"), "1\n");
}

#[test]
fn a_store_in_the_clear_has_no_keys() {
    let home = Home::new();
    put(&["--store", &home.uri("store"), "--unsealed"], "a", "1");
    let dir = text(&home.path("store"));
    for command in ["status", "rotate-data"] {
        key(&[command, "--data-dir", &dir]).fails(1, "holds no sealed store");
    }
    key(&["status"]).fails(2, "name the store");
    key(&["status", "--store", "mem:"]).fails(2, "name a directory");
    key(&["status", "--data-dir", &text(&home.path("missing"))]).fails(1, "missing");
}

#[test]
fn a_store_to_try_things_on_is_sealed_and_gone_when_it_ends() {
    let home = Home::new();
    let mut command = bare_program();
    let listen = "coffer://127.0.0.1:0,http://127.0.0.1:0";
    command.args(["dev", "--listen-client-urls", listen]).env("TMPDIR", home.dir.path());
    let daemon = Daemon::start_with(&mut command);
    let endpoint = daemon.endpoint.clone();
    assert_eq!(bare(["--endpoints", &endpoint, "put", "greeting", "hello"]).ok(), "OK\n");
    let status = bare(["--endpoints", &endpoint, "status", "-w", "json"]).json();
    assert_eq!(status[0]["Status"]["sealed"], true);
    let names = |dir: PathBuf| -> Vec<PathBuf> {
        fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path()).collect()
    };
    let made = names(home.dir.path().into());
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(names(made[0].clone()), [made[0].join("store")], "the key is on no disk");
    let (code, said) = daemon.stop(Signal::INT);
    assert_eq!(code, Some(0));
    assert!(said.contains(&format!("export COFFER_ENDPOINTS={endpoint}\n")), "{said}");
    assert!(said.contains("export ETCDCTL_ENDPOINTS=127.0.0.1:"), "{said}");
    assert_eq!(names(home.dir.path().into()), Vec::<PathBuf>::new());
}
