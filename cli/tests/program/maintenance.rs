//! `compact`, `status`, `hashkv` and `completion`.

use crate::support::{Place, run};

#[test]
fn compaction_drops_history() {
    for place in Place::both() {
        for value in ["1", "2", "3"] {
            place.ok(["put", "a", value]);
        }
        assert_eq!(place.ok(["compaction", "3"]), "compacted revision 3\n");
        place.run(["compact", "3"]).fails(1, "required revision has been compacted");
        place.run(["compact", "4000"]).fails(1, "required revision is a future revision");
        place.run(["get", "a", "--rev", "2"]).fails(1, "the oldest revision that can be read is 3");
        place.run(["get", "a", "--rev", "2000"]).fails(1, "future revision");
        assert_eq!(place.ok(["get", "a", "--rev", "3"]), "a\n2\n");
        assert_eq!(place.ok(["compact", "4", "--physical"]), "compacted revision 4\n");
        assert_eq!(place.ok(["get", "a"]), "a\n3\n");
    }
}

#[test]
fn status_shows_each_endpoint() {
    for place in Place::both() {
        place.ok(["put", "a", "1"]);
        let line = place.ok(["status"]);
        let fields: Vec<_> = line.trim_end_matches('\n').split(", ").collect();
        assert_eq!(fields.len(), 10, "{line}");
        assert!(u64::from_str_radix(fields[1], 16).is_ok(), "{line}");
        assert_eq!((fields[2], fields[4], fields[5]), (env!("CARGO_PKG_VERSION"), "true", "false"));
        let status = place.run(["status", "-w", "json"]).json();
        let status = &status[0]["Status"];
        assert_eq!((&status["keys"], &status["header"]["revision"]), (&1.into(), &2.into()));
        assert_eq!(status["leader"], status["header"]["member_id"]);
        assert_eq!(status["backend"], "segment");
        let table = place.ok(["status", "-w", "table"]);
        assert!(table.contains("| ENDPOINT") && table.contains("RAFT APPLIED INDEX"), "{table}");
    }
}

#[test]
fn one_dead_endpoint_does_not_hide_the_others() {
    let place = Place::daemon();
    let endpoint = &place.daemon.as_ref().expect("it runs").endpoint;
    let ran = run([
        "--command-timeout",
        "2s",
        "--endpoints",
        &format!("coffer://127.0.0.1:1,{endpoint}"),
        "status",
    ]);
    assert!(ran.stdout.starts_with(endpoint.as_bytes()));
    ran.fails(3, "coffer://127.0.0.1:1: unavailable");
}

#[test]
fn equal_content_has_equal_hashes() {
    let hash = |place: &Place| {
        place.ok(["put", "a", "1"]);
        place.ok(["put", "b", "2"]);
        place.ok(["del", "a"]);
        let line = place.ok(["hashkv"]);
        let json = place.run(["hashkv", "--rev", "3", "-w", "json"]).json();
        assert_eq!(json[0]["HashKV"]["hash_revision"], 3);
        (line.trim_end().rsplit(", ").next().expect("a hash").to_owned(), json[0]["HashKV"]["hash"].clone())
    };
    let [file, daemon] = Place::both();
    assert_eq!(hash(&file), hash(&daemon));
}

#[test]
fn completions_are_written() {
    for (shell, text) in
        [("bash", "complete -F _coffer"), ("zsh", "#compdef coffer"), ("fish", "complete -c coffer")]
    {
        assert!(run(["completion", shell]).ok().contains(text));
    }
    run(["completion", "tcsh"]).fails(2, "invalid value 'tcsh'");
}
