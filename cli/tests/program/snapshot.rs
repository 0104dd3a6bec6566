//! `snapshot`: files that hold all of a store, saved from a daemon and from a closed store, and stores made from them.

use crate::home::{Home, bare, content, get, put, text};
use crate::support::{Daemon, Ran, bare_program, output_of, wait_for};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

const CANARY: &str = "canary-in-a-snapshot";

fn ran(args: &[&str]) -> Ran {
    output_of(bare_program().args(args), b"")
}

/// HashKV, revision and compact revision of what these flags name.
fn hash(store: &[&str]) -> Value {
    let answer = ran(&[store, &["hashkv", "-w", "json"]].concat()).json();
    answer[0]["HashKV"]["hash"].clone()
}

/// A store with some history: puts, deletions, a lease, and a compaction.
fn fill(store: &[&str]) {
    for round in 0..3 {
        for key in 0..20 {
            put(store, &format!("key/{key}"), &format!("{CANARY} {round}"));
        }
    }
    ran(&[store, &["del", "key/7"]].concat()).ok();
    ran(&[store, &["compact", "25"]].concat()).ok();
    let granted = ran(&[store, &["lease", "grant", "3600", "-w", "json"]].concat()).json();
    let lease = format!("{:x}", granted["ID"].as_i64().expect("an id"));
    ran(&[store, &["put", "--lease", &lease, "leased", CANARY]].concat()).ok();
}

fn serve(home: &Home, name: &str, seal: &[&str]) -> Daemon {
    let mut command = bare_program();
    command.args([
        "serve",
        "--listen-client-urls",
        "coffer://127.0.0.1:0",
        "--log-level",
        "error",
        "--data-dir",
    ]);
    Daemon::start_with(command.arg(home.path(name)).args(seal))
}

#[test]
fn what_a_daemon_of_either_backend_saved_is_restored_into_either_backend() {
    let home = Home::new();
    let key = home.key("key", 7);
    let seals = [&["--unsealed"][..], &["--seal-key-file", &key]];
    for (seal, from) in seals.into_iter().flat_map(|seal| ["segment", "sqlite"].map(|from| (seal, from))) {
        let name = &format!("{from}-{}", if seal.len() > 1 { "sealed" } else { "clear" });
        let daemon = serve(&home, name, &[seal, &["--backend", from]].concat());
        let asked = ["--endpoints", &daemon.endpoint];
        fill(&asked);
        let file = text(&home.path(&format!("{name}.snapshot")));
        let saved = ran(&[&asked[..], &["snapshot", "save", &file, "-w", "json"]].concat()).json();
        assert_eq!(saved["revision"], 63);
        let expected = hash(&asked);
        put(&asked, "key/0", "written after it");
        daemon.stop(Signal::TERM);
        assert_eq!(
            fs::read(&file).expect("readable").windows(CANARY.len()).any(|at| at == CANARY.as_bytes()),
            seal.len() == 1
        );

        let status = ran(&[seal, &["snapshot", "status", &file, "-w", "json"]].concat()).json();
        assert_eq!(
            (&status["revision"], &status["compact_revision"], &status["leases"]),
            (&63.into(), &25.into(), &1.into())
        );
        assert_eq!(status["sealed"], seal.len() > 1);
        for backend in ["segment", "sqlite"] {
            let to = format!("{name}-{backend}");
            let restored = ran(&[
                seal,
                &[
                    "snapshot",
                    "restore",
                    &file,
                    "--backend",
                    backend,
                    "--data-dir",
                    &text(&home.path(&to)),
                    "-w",
                    "json",
                ],
            ]
            .concat())
            .json();
            assert_eq!((&restored["hash"], &restored["revision"]), (&expected, &63.into()), "{to}");
            let daemon = serve(&home, &to, seal);
            let asked = ["--endpoints", &daemon.endpoint];
            let shown = ran(&[&asked[..], &["status", "-w", "json"]].concat()).ok();
            assert!(shown.contains(&format!("\"{backend}\"")), "{shown}");
            assert_eq!(hash(&asked), expected, "{to}");
            assert_eq!(get(&asked, "key/0"), format!("{CANARY} 2\n"));
            assert_eq!(get(&asked, "key/7"), "");
            assert!(
                ran(&[&asked[..], &["lease", "list"]].concat()).ok().starts_with("found 1 lease"),
                "{to}"
            );
            put(&asked, "key/0", "it goes on");
        }
    }
}

#[test]
fn a_closed_store_is_saved_and_its_file_opens_with_its_keys_alone() {
    let home = Home::new();
    let (key, other) = (home.key("key", 7), home.key("other", 8));
    let uri = home.uri("store");
    let store = ["--store", &uri, "--seal-key-file", &key];
    put(&store, "a", CANARY);
    let file = text(&home.path("file"));
    assert_eq!(
        ran(&[&store[..], &["snapshot", "save", &file]].concat()).ok(),
        format!("Snapshot saved at {file}\n")
    );
    ran(&[&store[..], &["snapshot", "save", &file]].concat()).fails(1, "exists");
    let dir = text(&home.path("new"));
    let before = content(home.dir.path());
    ran(&["snapshot", "status", &file]).fails(1, "--seal-key-file");
    ran(&["--seal-key-file", &other, "snapshot", "restore", &file, "--data-dir", &dir]).fails(1, "other");
    ran(&["--unsealed", "snapshot", "restore", &file, "--data-dir", &dir]).fails(1, "is sealed");
    assert_eq!(content(home.dir.path()), before, "nothing was made");
    // The new store may have another key, or none.
    let opened = ["--seal-key-file", &key, "snapshot", "restore", &file, "--data-dir", &dir];
    ran(&[&opened[..], &["--new-key-file", &other]].concat()).ok();
    assert_eq!(get(&["--store", &home.uri("new"), "--seal-key-file", &other], "a"), format!("{CANARY}\n"));
    bare(["--store", &home.uri("new"), "--seal-key-file", &key, "get", "a"]).fails(1, "key");
    let clear = text(&home.path("clear"));
    ran(&["--seal-key-file", &key, "snapshot", "restore", &file, "--data-dir", &clear, "--new-unsealed"])
        .ok();
    assert_eq!(get(&["--store", &home.uri("clear"), "--unsealed"], "a"), format!("{CANARY}\n"));
    ran(&[&opened[..], &["--new-unsealed"]].concat()).fails(1, "not empty");
    // A store in memory has no keys to seal a file with.
    bare(["--store", "mem:", "snapshot", "save", &text(&home.path("memory"))]).fails(1, "export");
    assert!(!home.path("memory").exists());
}

#[test]
fn damage_makes_no_store() {
    let home = Home::new();
    let uri = home.uri("store");
    for number in 0..30 {
        put(&["--store", &uri, "--unsealed"], &format!("key/{number}"), CANARY);
    }
    let file = text(&home.path("file"));
    ran(&["--store", &uri, "--unsealed", "snapshot", "save", &file]).ok();
    let whole = fs::read(&file).expect("readable");
    let mut flipped = whole.clone();
    flipped[700] ^= 4;
    for rotten in [&whole[..whole.len() - 1], &whole[..600], &flipped, &[&whole[..], b"x"].concat()] {
        fs::write(&file, rotten).expect("written");
        ran(&["snapshot", "status", &file]).fails(5, "damaged");
        ran(&["snapshot", "restore", &file, "--data-dir", &text(&home.path("new")), "--new-unsealed"])
            .fails(5, "damaged");
        assert!(!home.path("new").exists() && !home.path("new.partial").exists());
    }
    fs::write(&file, b"no snapshot at all").expect("written");
    ran(&["snapshot", "status", &file]).fails(1, "no snapshot");
}

#[test]
fn a_restored_store_may_be_told_from_the_one_that_went_on() {
    let home = Home::new();
    let uri = home.uri("store");
    let store = ["--store", &uri, "--unsealed"];
    fill(&store);
    let file = text(&home.path("file"));
    ran(&[&store[..], &["snapshot", "save", &file]].concat()).ok();
    let dir = text(&home.path("new"));
    let restore =
        ["snapshot", "restore", &file, "--data-dir", &dir, "--new-unsealed", "--bump-revision", "1000"];
    ran(&restore).fails(2, "--mark-compacted");
    ran(&[&restore[..], &["--mark-compacted"]].concat()).ok();
    let new = ["--store", &home.uri("new"), "--unsealed"];
    assert_eq!(get(&new, "key/0"), format!("{CANARY} 2\n"));
    ran(&[&new[..], &["get", "key/0", "--rev", "63"]].concat()).fails(1, "compacted");
    put(&new, "a", "1");
    let found = ran(&[&new[..], &["get", "a", "-w", "json"]].concat()).json();
    assert_eq!(found["kvs"][0]["mod_revision"], 1064);
}

#[test]
fn what_etcd_saved_is_restored_into_either_backend_as_well() {
    let home = Home::new();
    for etcd in ["3.4.23", "3.7.1"] {
        let file = format!("{}/../etcd/testdata/etcd-{etcd}.snapshot.db", env!("CARGO_MANIFEST_DIR"));
        let hashes = ["segment", "sqlite"].map(|backend| {
            let name = format!("{etcd}-{backend}");
            let dir = text(&home.path(&name));
            let restore =
                ["--unsealed", "snapshot", "restore", &file, "--data-dir", &dir, "--backend", backend];
            ran(&restore).ok();
            hash(&["--store", &home.uri(&name), "--unsealed"])
        });
        assert!(hashes[0].is_number() && hashes[0] == hashes[1], "{hashes:?}");
    }
}

#[test]
fn members_of_a_new_cluster_agree_on_who_they_are() {
    let home = Home::new();
    let uri = home.uri("store");
    let store = ["--store", &uri, "--unsealed"];
    put(&store, "a", CANARY);
    let own = text(&home.path("file"));
    ran(&[&store[..], &["snapshot", "save", &own]].concat()).ok();
    let etcd = concat!(env!("CARGO_MANIFEST_DIR"), "/../etcd/testdata/etcd-3.7.1.snapshot.db");
    let all = "m1=http://10.0.0.1:2380,m2=http://10.0.0.2:2380,m3=coffers://10.0.0.3:7421";
    let restore = |file: &str, dir: &str, more: &[&str]| {
        let dir = text(&home.path(dir));
        let restore = ["--unsealed", "snapshot", "restore", file, "--data-dir", &dir, "-w", "json"];
        ran(&[&restore[..], more].concat())
    };
    let mut clusters = Vec::new();
    for (kind, file) in [("own", own.as_str()), ("etcd", etcd)] {
        for token in ["one", "two"] {
            let ids = ["m1", "m2", "m3"].map(|name| {
                let dir = format!("{kind}-{token}-{name}");
                let flags = ["--name", name, "--initial-cluster", all, "--initial-cluster-token", token];
                let ran = restore(file, &dir, &flags);
                assert!(ran.stderr.contains("one of 3 members"), "{}", ran.stderr);
                assert_eq!(ran.code, 0);
                let report: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
                // There is no way to the others yet: it must not go on as if it were alone.
                bare(["--store", &home.uri(&dir), "--unsealed", "get", "a"]).fails(1, "one of 3 members");
                (report["cluster_id"].to_string(), report["member_id"].to_string())
            });
            assert!(ids.iter().all(|(cluster, _)| *cluster == ids[0].0), "{ids:?}");
            assert!(ids[0].1 != ids[1].1 && ids[1].1 != ids[2].1 && ids[2].1 != ids[0].1, "{ids:?}");
            clusters.push(ids[0].0.clone());
        }
    }
    clusters.sort();
    clusters.dedup();
    assert_eq!(clusters.len(), 4, "another file or token makes another cluster");
    let before = content(home.dir.path());
    for (flags, reason) in [
        (&["--name", "m4", "--initial-cluster", all][..], "couldn't find local name \"m4\""),
        (
            &[
                "--name",
                "m1",
                "--initial-cluster",
                all,
                "--initial-advertise-peer-urls",
                "http://10.0.0.9:2380",
            ],
            "--initial-cluster has m1=http://10.0.0.1:2380 but missing from --initial-advertise-peer-urls",
        ),
        (&["--initial-cluster", "default=10.0.0.1"], "URL scheme must be"),
        (&["--initial-cluster-token", "one"], "--initial-cluster <"),
    ] {
        for file in [own.as_str(), etcd] {
            restore(file, "refused", flags).fails(2, reason);
        }
    }
    assert_eq!(content(home.dir.path()), before, "nothing was made");
}

/// A cluster of one is served, and etcd's clients see the name and URLs that it was restored with.
#[test]
fn a_restored_member_is_shown_by_its_name_and_urls() {
    let home = Home::new();
    let uri = home.uri("store");
    put(&["--store", &uri, "--unsealed"], "a", CANARY);
    let file = text(&home.path("file"));
    ran(&["--store", &uri, "--unsealed", "snapshot", "save", &file]).ok();
    let url = "http://10.0.0.1:2380";
    let cluster = ["--name", "m1", "--initial-cluster", "m1=http://10.0.0.1:2380"];
    let alone = ["--name", "m1", "--initial-advertise-peer-urls", url];
    let mut ids = Vec::new();
    for (dir, flags) in [("first", cluster), ("second", cluster), ("third", alone), ("fourth", alone)] {
        let path = text(&home.path(dir));
        let restore = ["--unsealed", "snapshot", "restore", &file, "--data-dir", &path, "-w", "json"];
        let report = ran(&[&restore[..], &flags].concat()).json();
        let mut command = bare_program();
        command.args([
            "serve",
            "--unsealed",
            "--log-level",
            "error",
            "--listen-client-urls",
            "http://127.0.0.1:0",
        ]);
        let daemon = Daemon::start_with(command.arg("--data-dir").arg(&path));
        let (member, cluster) = (text_of(&report["member_id"]), text_of(&report["cluster_id"]));
        assert!(daemon.ready.contains(&format!("member={member} cluster={cluster} ")), "{}", daemon.ready);
        let answer = post(&daemon.endpoint, "/v3/cluster/member/list");
        assert_eq!(
            (&answer["members"][0]["name"], &answer["members"][0]["peerURLs"][0]),
            (&"m1".into(), &url.into())
        );
        ids.push((member, cluster));
        daemon.stop(Signal::TERM);
    }
    assert_eq!(ids[0], ids[1], "they follow from what was given");
    assert!(ids[1] != ids[2] && ids[2] != ids[3], "drawn anew where no cluster is named: {ids:?}");
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// What etcd's gateway at `endpoint` answers to an empty request.
fn post(endpoint: &str, path: &str) -> Value {
    let address = endpoint.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    // Of one chunk or of none.
    let (begin, end) = (body.find('{').expect("JSON"), body.rfind('}').expect("JSON"));
    serde_json::from_str(&body[begin..=end]).expect("JSON")
}

/// Killed at any time, a restore leaves a whole store or none, and the next attempt is not in its way.
#[test]
fn killed_midway_nothing_half_made_stays() {
    let home = Home::new();
    let uri = home.uri("store");
    let store = ["--store", &uri, "--unsealed"];
    let lines: String = (0..3000)
        .map(|number| format!("{{\"key\":\"key/{number}\",\"value\":\"{}\"}}\n", "v".repeat(2000)))
        .collect();
    output_of(bare_program().args(store).args(["import", "-"]), lines.as_bytes()).ok();
    let file = text(&home.path("file"));
    ran(&[&store[..], &["snapshot", "save", &file]].concat()).ok();
    let expected = hash(&store);
    let dir = home.path("new");
    let restore = || {
        let mut command = bare_program();
        command.args(["snapshot", "restore", &file, "--new-unsealed", "--data-dir"]).arg(&dir);
        command
    };
    let mut cut = 0;
    for size in [0, 100_000, 1_000_000, 3_000_000] {
        let quiet = |mut command: std::process::Command| {
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts")
        };
        let mut child = quiet(restore());
        let partial = home.path("new.partial");
        let bytes = || -> u64 {
            let sizes = fs::read_dir(partial.join("store")).into_iter().flatten().flatten();
            sizes.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
        };
        wait_for(|| (bytes() >= size || child.try_wait().expect("a child").is_some()).then_some(()));
        child.kill().expect("killed or over");
        child.wait().expect("a child");
        match dir.exists() {
            true => assert_eq!(hash(&["--store", &home.uri("new"), "--unsealed"]), expected),
            false => cut += 1,
        }
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("removed");
        }
    }
    assert!(cut > 0, "every attempt was over before it was killed");
    output_of(&mut restore(), b"").ok();
    assert_eq!(hash(&["--store", &home.uri("new"), "--unsealed"]), expected);
    assert!(!home.path("new.partial").exists());
}
