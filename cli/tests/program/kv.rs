//! `get`, `put` and `del`.

use crate::support::{Place, run, run_with};

#[test]
fn puts_gets_and_deletes_read_as_with_etcdctl() {
    for place in Place::both() {
        assert_eq!(place.ok(["put", "a", "1"]), "OK\n");
        assert_eq!(place.ok(["put", "a", "2", "--prev-kv"]), "OK\na\n1\n");
        assert_eq!(place.ok(["put", "b", "3"]), "OK\n");
        assert_eq!(place.ok(["get", "a"]), "a\n2\n");
        assert_eq!(place.ok(["get", "a", "c"]), "a\n2\nb\n3\n");
        assert_eq!(place.ok(["get", "", "--prefix", "--keys-only"]), "a\n\nb\n\n");
        assert_eq!(place.ok(["get", "a", "--print-value-only"]), "2\n");
        assert_eq!(place.ok(["get", "nokey"]), "");
        assert_eq!(place.ok(["get", "a", "--hex"]), "\\x61\n\\x32\n");
        assert_eq!(place.ok(["del", "zz"]), "0\n");
        assert_eq!(place.ok(["del", "b", "--prev-kv"]), "1\nb\n3\n");
        assert_eq!(place.ok(["get", "b"]), "");
        assert_eq!(place.ok(["get", "b", "--rev", "4"]), "b\n3\n");
    }
}

#[test]
fn json_reads_as_with_etcdctl() {
    for place in Place::both() {
        place.ok(["put", "a", "1"]);
        place.ok(["put", "a", "2"]);
        let got = place.run(["get", "a", "-w", "json"]).json();
        assert_eq!(got["header"]["revision"], 3);
        assert!(got["header"]["cluster_id"].is_u64() && got["header"]["member_id"].is_u64());
        assert!(got["header"]["raft_term"].is_u64());
        assert_eq!(
            got["kvs"],
            serde_json::json!([
                {"key": "YQ==", "create_revision": 2, "mod_revision": 3, "version": 2, "value": "Mg=="}
            ])
        );
        assert_eq!((&got["count"], &got["more"]), (&1.into(), &serde_json::Value::Null));

        let none = place.run(["get", "nokey", "-w", "json"]).json();
        assert_eq!(none.as_object().expect("an object").keys().collect::<Vec<_>>(), ["header"]);
        let put = place.run(["put", "a", "9", "--prev-kv", "-w", "json"]).json();
        assert_eq!(put["prev_kv"]["value"], "Mg==");
        let keys = place.run(["get", "a", "--keys-only", "-w", "json"]).json();
        assert_eq!(keys["kvs"][0].get("value"), None);
        let del = place.run(["del", "a", "--prev-kv", "-w", "json"]).json();
        assert_eq!((&del["deleted"], &del["prev_kvs"][0]["value"]), (&1.into(), &"OQ==".into()));
    }
}

#[test]
fn ranges_are_selected_sorted_and_cut() {
    for place in Place::both() {
        // Revisions 2 to 6; `d` is written twice.
        for (key, value) in [("b", "4"), ("a", "3"), ("c", "1"), ("d", "9"), ("d", "2")] {
            place.ok(["put", key, value]);
        }
        let keys = |output: String| output.lines().step_by(2).map(str::to_owned).collect::<Vec<_>>().concat();
        for (expected, args) in [
            ("abcd", &["--prefix"][..]),
            ("ab", &["--prefix", "--limit", "2"]),
            ("dcba", &["--prefix", "--order", "DESCEND"]),
            ("dc", &["--prefix", "--order", "descend", "--limit", "2"]),
            ("cdab", &["--prefix", "--sort-by", "VALUE"]),
            ("bacd", &["--prefix", "--sort-by", "CREATE"]),
            ("dcab", &["--prefix", "--sort-by", "MODIFY", "--order", "DESCEND"]),
            ("d", &["--prefix", "--sort-by", "version", "--order", "DESCEND", "--limit", "1"]),
            ("ab", &["--prefix", "--rev", "3"]),
            ("cd", &["--prefix", "--min-mod-rev", "4"]),
            ("ab", &["--prefix", "--max-mod-rev", "3"]),
            ("cd", &["--prefix", "--min-create-rev", "4"]),
            ("abc", &["--prefix", "--max-create-rev", "4"]),
            ("abcd", &["--from-key"]),
            ("abcd", &["--prefix", "--consistency", "s"]),
        ] {
            let mut command = place.command();
            let output = command.args(["get", ""]).args(args).output().expect("runs");
            assert_eq!(keys(String::from_utf8(output.stdout).expect("UTF-8")), expected, "{args:?}");
        }
        assert_eq!(keys(place.ok(["get", "b", "--from-key"])), "bcd");
        assert_eq!(keys(place.ok(["get", "b", "d"])), "bc");
        // etcdctl shows the count in one of its formats only.
        assert_eq!(place.ok(["get", "", "--prefix", "--count-only"]), "4\n");
        assert_eq!(place.run(["get", "", "--prefix", "--limit", "1", "-w", "json"]).json()["more"], true);
        assert_eq!(place.run(["get", "", "--prefix", "--limit", "1", "-w", "json"]).json()["count"], 4);
        let table = place.ok(["get", "d", "-w", "table"]);
        assert!(table.contains("| KEY |") && table.contains("| d   | 2     | 5"), "{table}");
        assert_eq!(place.ok(["del", "a", "c", "--range"]), "2\n");
        assert_eq!(place.ok(["del", "d", "--from-key"]), "1\n");
        assert_eq!(place.ok(["del", "", "--prefix"]), "1\n");
    }
}

#[test]
fn long_ranges_come_in_pages() {
    let place = Place::daemon();
    let lines: String = (0..3000).map(|i| format!("{{\"key\":\"k{i:05}\",\"value\":\"v{i}\"}}\n")).collect();
    assert_eq!(place.run_with(["import"], lines.as_bytes()).ok(), "imported 3000 keys\n");
    let expected: String = (0..3000).map(|i| format!("k{i:05}\nv{i}\n")).collect();
    assert_eq!(place.ok(["get", "k", "--prefix"]), expected);
    assert_eq!(place.ok(["get", "k", "--prefix", "--limit", "2999"]).lines().count(), 2 * 2999);
    assert_eq!(place.ok(["get", "k", "--prefix", "--keys-only"]).lines().count(), 2 * 3000);
}

#[test]
fn values_come_from_the_command_line_a_file_or_standard_input() {
    for place in Place::both() {
        assert_eq!(place.run_with(["put", "stdin"], b"from\nstdin\n").ok(), "OK\n");
        assert_eq!(place.ok(["get", "stdin", "--print-value-only"]), "from\nstdin\n\n");

        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("value");
        std::fs::write(&file, b"\x00\xff").expect("written");
        assert_eq!(place.ok(["put", "file", "--file", file.to_str().expect("UTF-8")]), "OK\n");
        assert_eq!(place.ok(["get", "file", "--hex"]), "\\x66\\x69\\x6c\\x65\n\\x00\\xff\n");
        assert_eq!(place.run(["get", "file"]).stdout, b"file\n\x00\xff\n");

        assert_eq!(place.ok(["put", "number", "-5"]), "OK\n");
        assert_eq!(place.ok(["put", "--", "dashed", "--prefix"]), "OK\n");
        assert_eq!(place.ok(["get", "dashed"]), "dashed\n--prefix\n");
        assert_eq!(place.ok(["put", "empty", ""]), "OK\n");
        assert_eq!(place.ok(["get", "empty"]), "empty\n\n");
        place.run(["put", "x", "--file", "/nonexistent/file"]).fails(1, "cannot read /nonexistent/file");
    }
}

#[test]
fn a_put_can_keep_the_value_or_the_lease() {
    for place in Place::both() {
        place.ok(["put", "k", "v"]);
        assert_eq!(place.ok(["put", "k", "--ignore-value"]), "OK\n");
        assert_eq!(place.ok(["get", "k"]), "k\nv\n");
        assert_eq!(place.ok(["put", "k", "w", "--ignore-lease"]), "OK\n");
        assert_eq!(place.run(["get", "k", "-w", "json"]).json()["kvs"][0]["version"], 3);
        place.run(["put", "missing", "--ignore-value"]).fails(1, "key not found");
        place.run(["put", "k", "v", "--ignore-value"]).fails(2, "cannot be used with");
    }
}

#[test]
fn a_store_in_memory_lives_for_one_command() {
    assert_eq!(run(["--store", "mem:", "put", "a", "1"]).ok(), "OK\n");
    assert_eq!(run(["--store", "mem:", "get", "a"]).ok(), "");
    let lines = b"{\"key\":\"a\",\"value\":\"1\"}\n";
    assert_eq!(run_with(["--store", "mem:", "import"], lines).ok(), "imported 1 keys\n");
    let txn = b"\nput a 1\nget a\n\n\n";
    assert_eq!(run_with(["--store", "mem:", "txn"], txn).ok(), "SUCCESS\n\nOK\n\na\n1\n");
}
