//! `import-etcd`, and the way back by a snapshot in etcd's format.

use crate::real_etcd::{self, Etcd};
use crate::support::{key_file, program, run, wait_for};
use bytes::Bytes;
use coffer::request::*;
use coffer::{KeyRange, LeaseId, Options, Seal, Uri, block_on};
use coffer_core::node::Node;
use coffer_etcd::bbolt::{Measure, Writer};
use coffer_etcd::snapshot;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// A snapshot that etcd wrote, and the HashKV that etcd showed then.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../etcd/testdata/etcd-3.7.1.snapshot.db");
const FIXTURE_HASH: u64 = 586631693;

fn import(file: impl AsRef<Path>, dir: &Path, more: &[&str]) -> crate::support::Ran {
    let (file, dir) = (file.as_ref().as_os_str(), dir.as_os_str());
    run(["import-etcd".as_ref(), file, "--data-dir".as_ref(), dir]
        .into_iter()
        .chain(more.iter().map(|argument| argument.as_ref())))
}

fn store(dir: &Path, args: &[&str]) -> serde_json::Value {
    let uri = format!("file://{}", dir.display());
    run(["--store", &uri, "-w", "json"].into_iter().chain(args.iter().copied())).json()
}

/// HashKV, the revision that was hashed, and the compact revision.
fn hash(dir: &Path) -> (u64, u64, u64) {
    let answer = &store(dir, &["hashkv"])[0]["HashKV"];
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    (number("hash"), number("hash_revision"), number("compact_revision"))
}

fn pairs(dir: &Path) -> serde_json::Value {
    store(dir, &["get", "", "--prefix"])["kvs"].clone()
}

/// What is in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_snapshot_becomes_a_store() {
    let home = TempDir::new().expect("a directory");
    let dir = home.path().join("store");
    let told = import(FIXTURE, &dir, &[]).ok();
    let expected = format!(
        "checksum of the file: verified\nrevision 19, compacted at 9\n6 keys, 15 records, 1 leases\n\
         HashKV of the file:  {FIXTURE_HASH}\nHashKV of the store: {FIXTURE_HASH}\nimported into {}\n",
        dir.display()
    );
    assert_eq!(told, expected);
    assert_eq!(names(home.path()), ["store"]);
    assert_eq!(hash(&dir), (FIXTURE_HASH, 19, 9));
    assert_eq!(pairs(&dir).as_array().map(Vec::len), Some(6));
    assert_eq!(store(&dir, &["lease", "list"])["leases"].as_array().map(Vec::len), Some(1));
    import(FIXTURE, &dir, &[]).fails(1, "is not empty: name a new directory");
    // An empty directory may be there already.
    let empty = home.path().join("empty");
    fs::create_dir(&empty).expect("created");
    let report = import(FIXTURE, &empty, &["-w", "json"]).json();
    assert_eq!((&report["hash_of_store"], &report["records"]), (&FIXTURE_HASH.into(), &15.into()));
    assert_eq!(hash(&empty).0, FIXTURE_HASH);
}

#[test]
fn what_fails_leaves_nothing() {
    let home = TempDir::new().expect("a directory");
    let (dir, file) = (home.path().join("store"), home.path().join("snapshot"));
    let good = fs::read(FIXTURE).expect("the fixture");
    let mut damaged = good.clone();
    damaged[4095] ^= 1;
    fs::write(&file, &damaged).expect("written");
    import(&file, &dir, &[]).fails(5, "is damaged at offset 40960");
    import(&file, &dir, &["--skip-hash-check"]).ok();
    fs::remove_dir_all(&dir).expect("removed");
    // Damage within the keys, past the checksum.
    for page in 2..good.len() / 4096 {
        damaged[page * 4096 + 8..page * 4096 + 10].fill(0xff);
    }
    fs::write(&file, &damaged).expect("written");
    import(&file, &dir, &["--skip-hash-check"]).fails(5, "is damaged at offset");
    fs::write(&file, b"something else").expect("written");
    import(&file, &dir, &[]).fails(5, "whole pages");
    import(home.path().join("nothing"), &dir, &[]).fails(1, "No such file");
    import(&file, Path::new("/"), &[]).fails(5, "whole pages");
    assert_eq!(names(home.path()), ["snapshot"]);
}

#[test]
fn an_interrupted_import_is_begun_again_and_nothing_else_is_touched() {
    let home = TempDir::new().expect("a directory");
    let (dir, partial) = (home.path().join("store"), home.path().join("store.partial"));
    fs::create_dir(&partial).expect("created");
    fs::write(partial.join("RESTORE"), "").expect("written");
    store(&partial.join("store"), &["put", "left", "over"]);
    import(FIXTURE, &dir, &[]).ok();
    assert_eq!((names(home.path()), hash(&dir).0), (vec!["store".to_owned()], FIXTURE_HASH));

    // Somebody's store, and somebody's letter.
    fs::remove_dir_all(&dir).expect("removed");
    store(&partial, &["put", "a", "b"]);
    let before = hash(&partial);
    import(FIXTURE, &dir, &[]).fails(1, "is in the way");
    assert_eq!((names(home.path()), hash(&partial)), (vec!["store.partial".into()], before));
    fs::remove_dir_all(&partial).expect("removed");
    fs::create_dir(&partial).expect("created");
    fs::write(partial.join("letter"), "dear").expect("written");
    import(FIXTURE, &dir, &[]).fails(1, "is in the way");
    assert_eq!((names(home.path()), names(&partial)), (vec!["store.partial".into()], vec!["letter".into()]));
}

type Rows = Vec<(Bytes, Bytes)>;

/// A file with these buckets.
fn write_file(path: &Path, buckets: &[(&'static str, Rows)]) {
    let mut measure = Measure::new();
    for (name, rows) in buckets {
        measure.bucket(name.len());
        rows.iter().for_each(|(key, value)| measure.row(key.len(), value.len()));
    }
    let mut writer = Writer::new(measure.finish());
    for (name, rows) in buckets {
        writer.bucket(Bytes::from_static(name.as_bytes()));
        rows.iter().for_each(|(key, value)| writer.row(key.clone(), value.clone()).expect("as measured"));
    }
    fs::write(path, writer.finish().expect("as measured")).expect("written");
}

/// The row that puts `key` at a revision, for the first time.
fn row(revision: u16, key: &[u8; 8], value: &[u8]) -> (Bytes, Bytes) {
    let at = [&i64::from(revision).to_be_bytes()[..], b"_", &[0; 8]].concat();
    let (main, length) = (varint(revision.into()), varint(value.len()));
    let pair = [&[0x0a, 8], &key[..], &[0x10], &main, &[0x18], &main, &[0x20, 1, 0x2a], &length, value];
    (at.into(), pair.concat().into())
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A pair whose version takes one byte more than etcd writes: read alike, and yet not the row that etcd would have.
#[test]
fn a_store_that_is_not_proven_equal_is_refused() {
    let home = TempDir::new().expect("a directory");
    let (dir, file) = (home.path().join("store"), home.path().join("db"));
    let (at, pair) = row(2, b"some key", b"value");
    let version = pair.windows(2).position(|bytes| bytes == [0x20, 1]).expect("a version") + 1;
    let padded = [&pair[..version], &[0x81, 0], &pair[version + 1..]].concat();
    write_file(&file, &[("key", vec![(at, padded.into())])]);
    import(&file, &dir, &[]).fails(5, "HashKV of the file is");
    assert_eq!(names(home.path()), ["db"]);
}

#[test]
fn authentication_is_not_lost_silently() {
    let home = TempDir::new().expect("a directory");
    let (dir, file) = (home.path().join("store"), home.path().join("db"));
    let users = vec![("root", ""), ("user", "")];
    let named = |rows: Vec<(&'static str, &'static str)>| -> Rows {
        rows.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
    };
    let write = |enabled| {
        write_file(
            &file,
            &[
                ("auth", named(vec![("authEnabled", enabled)])),
                ("authRoles", named(vec![("root", "")])),
                ("authUsers", named(users.clone())),
                ("key", vec![row(2, b"some key", b"value")]),
            ],
        );
    };
    write("\u{1}");
    import(&file, &dir, &[]).fails(1, "authentication is switched on");
    assert_eq!(names(home.path()), ["db"]);
    for (enabled, more, state) in [("\u{1}", &["--without-auth"][..], "on"), ("\0", &[], "off")] {
        write(enabled);
        let ran = import(&file, &dir, more);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let expected = format!(
            "Warning: NOT CARRIED OVER: 2 users and 1 roles. Authentication was {state} in etcd; in the new store \
             everybody who reaches it can do everything.\n"
        );
        assert_eq!(ran.stderr, expected);
        assert!(String::from_utf8_lossy(&ran.stdout).starts_with("checksum of the file: absent\n"));
        assert_eq!(store(&dir, &["get", "some key"])["count"], 1);
        fs::remove_dir_all(&dir).expect("removed");
    }
}

#[test]
fn a_killed_import_leaves_no_store_and_can_be_repeated() {
    let home = TempDir::new().expect("a directory");
    let (dir, file) = (home.path().join("store"), home.path().join("db"));
    let keys: Rows =
        (2..60_000u16).map(|number| row(number, &u64::from(number).to_be_bytes(), &[b'v'; 900])).collect();
    write_file(&file, &[("key", keys)]);
    let partial = home.path().join("store.partial");
    loop {
        let mut child = program()
            .arg("import-etcd")
            .arg(&file)
            .arg("--data-dir")
            .arg(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        wait_for(|| (partial.exists() || dir.exists()).then_some(()));
        child.kill().expect("not waited for yet");
        child.wait().expect("waitable");
        if !dir.exists() {
            break;
        }
        // It was quicker than this test looked.
        fs::remove_dir_all(&dir).expect("removed");
    }
    assert!(partial.exists(), "it was killed before it began");
    import(&file, &dir, &[]).ok();
    assert_eq!(names(home.path()), ["db", "store"]);
    assert_eq!(store(&dir, &["get", "", "--prefix", "--count-only"])["count"], 59_998);
}

/// Everything that a store of etcd's can hold, by etcdctl.
fn fill(etcd: &Etcd) {
    let lease = etcd.run(&["lease", "grant", "90000"], b"");
    let lease = lease.split(' ').nth(1).expect("an id").to_owned();
    etcd.run(&["put", "gone", "soon"], b"");
    etcd.run(&["del", "gone"], b"");
    for round in 0..15 {
        let puts: String =
            (0..100).map(|key| format!("put key-{key:03} \"{round} {}\"\n", "x".repeat(key * 3))).collect();
        etcd.run(&["txn"], format!("\n{puts}\n\n").as_bytes());
    }
    etcd.run(&["put", "leased", "x", "--lease", &lease], b"");
    etcd.run(&["put", "large"], &vec![b'l'; 1_400_000]);
    etcd.run(&["del", "key-01", "--prefix"], b"");
    etcd.run(&["compaction", "11"], b"");
    etcd.run(&["put", "key-012", "again"], b"");
    etcd.run(&["put", "empty", ""], b"");
    // Not every member has finished its compaction when the request returns; what readers see is the same.
    etcd.run(&["put", "last", "--", "-"], b"");
}

#[test]
fn a_snapshot_of_a_real_etcd_becomes_the_same_store() {
    if !real_etcd::is_there() {
        return;
    }
    let home = TempDir::new().expect("a directory");
    let path = |name: &str| home.path().join(name);
    let etcd = Etcd::start(&path("etcd"));
    fill(&etcd);
    let (expected, all) = (etcd.hash(), etcd.pairs());
    let leases = etcd.json(&["lease", "list", "-w", "json"])["leases"].clone();
    let snapshot = path("snapshot.db");
    etcd.run(&["snapshot", "save", snapshot.to_str().expect("UTF-8")], b"");

    import(&snapshot, &path("store"), &[]).ok();
    assert_eq!(hash(&path("store")), expected);
    assert_eq!(pairs(&path("store")), all);
    assert_eq!(
        store(&path("store"), &["lease", "list"])["leases"].as_array().map(Vec::len),
        leases.as_array().map(Vec::len)
    );
    import(path("etcd"), &path("early"), &[]).fails(1, "is in use by etcd: stop it first");

    // Every key is gone, and then the history as well.
    etcd.run(&["del", "", "--prefix"], b"");
    let emptied = etcd.hash();
    etcd.stop();
    import(path("etcd"), &path("emptied"), &[]).ok();
    assert_eq!(hash(&path("emptied")), emptied);
    let etcd = Etcd::start(&path("etcd"));
    etcd.run(&["compaction", &emptied.1.to_string(), "--physical"], b"");
    let compacted = etcd.hash();
    etcd.stop();
    let report = import(path("etcd"), &path("compacted"), &["-w", "json"]).json();
    assert_eq!((&report["keys"], &report["revision"]), (&0.into(), &emptied.1.into()));
    assert_eq!(hash(&path("compacted")), compacted);
}

fn put(node: &Node, key: &str, value: Vec<u8>, lease: i64) {
    let request = PutRequest {
        key: key.to_owned().into(),
        value: value.into(),
        lease: LeaseId(lease),
        ..PutRequest::default()
    };
    block_on(node.put(request)).expect("a put");
}

/// A store with everything that one can hold, and its snapshot in etcd's format.
fn export(dir: &Path, file: &Path, compacts: bool) -> u64 {
    let uri: Uri = format!("file://{}", dir.display()).parse().expect("a URI");
    let node =
        block_on(Options::default().seal(Seal::KeyFile(key_file().into())).open_node(&uri)).expect("a store");
    for id in [77, -3] {
        block_on(node.lease_grant(LeaseGrantRequest { ttl_s: 90_000, id: LeaseId(id) })).expect("a lease");
    }
    for number in 0..3000u64 {
        let lease = [0, 0, 77, -3][number as usize % 4];
        put(&node, &format!("key-{:03}", number % 700), vec![b'v'; number as usize % 1500], lease);
    }
    put(&node, "large", vec![b'l'; 1_500_000], 0);
    let range = KeyRange::prefix("key-1");
    block_on(node.delete_range(DeleteRangeRequest { range, prev_kv: false })).expect("deleted");
    if compacts {
        block_on(node.compact(CompactRequest { revision: 2500, physical: false })).expect("compacted");
    }
    put(&node, "key-100", b"again".to_vec(), 0);
    let hash = block_on(node.hash_kv(0)).expect("a hash").hash;
    let bytes = block_on(async {
        let mut stream = snapshot::stream(&node).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await? {
            bytes.extend_from_slice(&chunk.blob);
        }
        Ok::<_, coffer::Error>(bytes)
    });
    fs::write(file, bytes.expect("a snapshot")).expect("written");
    node.shutdown();
    hash.into()
}

#[test]
fn a_real_etcd_runs_on_our_snapshot() {
    if !real_etcd::is_there() {
        return;
    }
    for compacts in [false, true] {
        let home = TempDir::new().expect("a directory");
        let path = |name: &str| -> PathBuf { home.path().join(name) };
        let (dir, file) = (path("store"), path("snapshot.db"));
        let expected = export(&dir, &file, compacts);
        let before = hash(&dir);
        assert_eq!(before.0, expected);

        let status =
            real_etcd::ok(real_etcd::snapshot_tool().args(["snapshot", "status", "-w", "json"]).arg(&file));
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        assert_eq!(status["revision"].as_u64(), Some(before.1));
        real_etcd::ok(
            real_etcd::snapshot_tool()
                .args(["snapshot", "restore"])
                .arg(&file)
                .arg("--data-dir")
                .arg(path("etcd"))
                .args(["--initial-cluster", &format!("default={}", real_etcd::RESTORED_PEER)])
                .args(["--initial-advertise-peer-urls", real_etcd::RESTORED_PEER]),
        );
        let etcd = Etcd::start(&path("etcd"));
        assert_eq!(etcd.hash(), before);
        assert_eq!(etcd.pairs(), pairs(&dir));
        let left = etcd.json(&["lease", "timetolive", "4d", "--keys", "-w", "json"]);
        assert_eq!(left["granted-ttl"], 90_000);
        let attached = store(&dir, &["lease", "timetolive", "4d", "--keys"])["keys"].as_array().map(Vec::len);
        assert_eq!(left["keys"].as_array().map(Vec::len), attached);
        // It goes on from here, after a restart as well, and comes back.
        etcd.run(&["put", "key-1", "from etcd"], b"");
        etcd.stop();
        let etcd = Etcd::start(&path("etcd"));
        assert_eq!(etcd.hash().1, before.1 + 1);
        let (all, known) = (etcd.pairs(), etcd.hash());
        etcd.stop();
        import(path("etcd"), &path("back"), &[]).ok();
        assert_eq!((pairs(&path("back")), hash(&path("back"))), (all, known));
    }
}
