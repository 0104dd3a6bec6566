//! Wrong input and places that can not be opened: a clear error, the right exit code, nothing lost.

use crate::support::{Daemon, Place, run, run_with};
use std::fs;

#[test]
fn wrong_command_lines_are_usage_errors() {
    for args in [
        &["frobnicate"][..],
        &["get"],
        &["get", "a", "--no-such-flag"],
        &["get", "a", "--order", "sideways"],
        &["get", "a", "--sort-by", "COLOUR"],
        &["get", "a", "b", "--prefix"],
        &["get", "a", "--prefix", "--from-key"],
        &["get", "a", "--consistency", "x"],
        &["get", "a", "--limit", "some"],
        &["del", "a", "b", "--prefix"],
        &["del", "a", "--range"],
        &["put", "a", "v", "--lease", "zz"],
        &["put", "a", "v", "--file", "f"],
        &["compact"],
        &["compact", "now"],
        &["lease", "grant"],
        &["-w", "xml", "get", "a"],
        &["--command-timeout", "soon", "get", "a"],
        &["--endpoints", "http://127.0.0.1:1", "get", "a"],
        &["--endpoints", "file:///x", "get", "a"],
        &["--endpoints", "", "get", "a"],
        &["--store", "nonsense:///x", "get", "a"],
        &["--store", "file://relative", "get", "a"],
        &["--store", "mem:", "-w", "table", "put", "a", "b"],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn members_get_no_urls_that_nobody_reaches() {
    let nobody = ["--endpoints", "coffer://127.0.0.1:1", "--command-timeout", "2s", "member"];
    for (url, reason) in [
        ("https://a:1", "TLS between members is not there yet"),
        ("http://a:1,coffers://a:1", "TLS between members is not there yet"),
        ("unix:///run/a", "must begin with coffer:// or http://"),
        ("a:1", "must begin with coffer:// or http://"),
        ("http://a:1,", "must begin with coffer:// or http://"),
        ("http://a", "does not have the form \"host:port\""),
        ("http://a:1/path", "must not contain a path"),
    ] {
        for change in [["add", "d"], ["update", "1"]] {
            run(nobody.iter().chain(&change).chain(&["--peer-urls", url])).fails(2, reason);
        }
    }
    // What is sound gets as far as the server.
    run(nobody.iter().chain(&["add", "d", "--peer-urls", "http://a:1, coffer://[::1]:2"]))
        .fails(3, "is `coffer serve` running there?");
}

#[test]
fn bad_keys_and_values_are_refused() {
    for place in Place::both() {
        place.run(["put", "", "v"]).fails(1, "key is not provided");
        place.run(["get", ""]).fails(1, "key is not provided");
        place.run(["del", ""]).fails(1, "key is not provided");
        place.run_with(["put", "big"], &vec![b'x'; 1536 * 1024]).fails(1, "request is too large");
        assert_eq!(place.run_with(["put", "fits"], &vec![b'x'; 1024 * 1024]).ok(), "OK\n");
        let long = "k".repeat(100 * 1024);
        place.run(["put", &long, "v"]).fails(1, "key is too large");
        assert_eq!(place.revision(), 2);
    }
}

#[test]
fn nobody_there_is_unavailable() {
    run(["--endpoints", "coffer://127.0.0.1:1", "--command-timeout", "2s", "get", "a"])
        .fails(3, "is `coffer serve` running there?");
    run(["--endpoints", "unix:///nonexistent.sock", "--command-timeout", "2s", "put", "a", "b"])
        .fails(3, "unavailable");
    let line = b"{\"key\":\"a\",\"value\":\"1\"}\n";
    let ran = run_with(["--endpoints", "coffer://127.0.0.1:1", "--command-timeout", "2s", "import"], line);
    assert!(ran.stderr.contains("is `coffer serve` running there?"), "{}", ran.stderr);
    ran.fails(3, "no line was acknowledged");
}

#[test]
fn a_store_in_use_names_its_owner() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::start(dir.path());
    let uri = format!("file://{}", dir.path().display());
    let ran = run(["--store", &uri, "get", "a"]);
    assert!(ran.stderr.contains(&format!("is in use by process {}", daemon.pid())), "{}", ran.stderr);
    ran.fails(1, "--endpoints");
    let ran = run(["serve", "--data-dir", dir.path().to_str().expect("UTF-8"), "--log-level", "error"]);
    ran.fails(1, "is in use by process");
}

#[test]
fn a_misspelt_store_is_not_created_by_reading() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("missing");
    let uri = format!("file://{}", path.display());
    for command in
        [&["get", "a"][..], &["export"], &["status"], &["watch", "a"], &["compact", "2"], &["hashkv"]]
    {
        let ran = run(["--store", &uri].iter().chain(command));
        ran.fails(1, "name the directory of a store");
        assert!(!path.exists());
    }
    assert_eq!(run(["--store", &uri, "put", "a", "1"]).ok(), "OK\n");
    assert_eq!(run(["--store", &uri, "get", "a"]).ok(), "a\n1\n");
}

#[test]
fn a_directory_that_is_no_store_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("holiday.jpg"), b"not a store").expect("written");
    let uri = format!("file://{}", dir.path().display());
    let ran = run(["--store", &uri, "put", "a", "1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let names: Vec<_> =
        fs::read_dir(dir.path()).expect("readable").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, ["holiday.jpg"]);

    // Where a directory cannot be made at all.
    let file = dir.path().join("holiday.jpg/store");
    let ran = run(["--store", &format!("file://{}", file.display()), "put", "a", "1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let ran = run(["serve", "--log-level", "error", "--data-dir", file.to_str().expect("UTF-8")]);
    ran.fails(1, "holiday.jpg");
}

#[test]
fn damage_is_told_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let uri = format!("file://{}", dir.path().display());
    run(["--store", &uri, "put", "a", "1"]).ok();
    for entry in fs::read_dir(dir.path()).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.file_name().expect("a name").to_string_lossy().starts_with("manifest") {
            let mut bytes = fs::read(&path).expect("readable");
            bytes[40..60].fill(0x55);
            fs::write(&path, bytes).expect("written");
        }
    }
    let ran = run(["--store", &uri, "get", "a"]);
    assert!(ran.stderr.contains("at offset"), "{}", ran.stderr);
    ran.fails(5, "manifest");
    run(["serve", "--log-level", "error", "--data-dir", dir.path().to_str().expect("UTF-8")])
        .fails(5, "manifest");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::file();
    let lines: String = (0..20_000).map(|i| format!("{{\"key\":\"k{i}\",\"value\":\"v\"}}\n")).collect();
    place.run_with(["import"], lines.as_bytes()).ok();
    for command in ["export", "get"] {
        let mut child = place
            .command()
            .args(if command == "get" { &["get", "", "--prefix"][..] } else { &["export"] })
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{command}");
    }
}

#[test]
fn bad_lines_are_named() {
    for place in Place::both() {
        let lines = b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\"}\n{\"key\":\"c\",\"value\":\"3\"}\n";
        place.run_with(["import"], lines).fails(
            2,
            "line 3: `value` is missing, and so is `value_base64`; line 1 was the last acknowledged",
        );
        assert_eq!(place.ok(["get", "", "--prefix"]), "a\n1\n");
        place.run_with(["import"], b"nonsense\n").fails(2, "line 1: it is no JSON");
        place.run_with(["import"], b"nonsense\n").fails(2, "no line was acknowledged");
    }
    run(["--store", "mem:", "import", "/nonexistent"]).fails(1, "cannot open /nonexistent");
    run_with(["--store", "mem:", "import", "--acked", "/nonexistent/acked"], b"")
        .fails(1, "cannot create /nonexistent/acked");
}
