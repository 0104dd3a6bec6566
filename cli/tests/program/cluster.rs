//! Three daemons on loopback that found a cluster together: everything through each of them, and on after a `kill -9`.

use crate::support::cluster::{Cluster, NAMES, Writer, id_now};
use crate::support::{Daemon, output_of, program, run, wait_for};
use rustix::process::Signal;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;

fn exercise(backends: [&'static str; 3]) {
    let mut cluster = Cluster::start(backends);
    let leader = cluster.leader();
    for (writer, name) in NAMES[..3].iter().enumerate() {
        let key = format!("by/{name}");
        cluster.put(writer, &key, "1");
        for reader in 0..3 {
            assert_eq!(cluster.get(reader, &key), "1\n", "{reader} reads what {writer} wrote");
        }
    }
    // The leader dies without a word; the others go on, and whoever is asked finds the next leader by itself.
    cluster.kill(leader);
    let rest: Vec<usize> = cluster.running().collect();
    // On a busy machine an election may take longer than the member looks for a leader.
    wait_for(|| (cluster.run(rest[0], &["put", "after", "the kill"]).code == 0).then_some(()));
    assert_eq!(cluster.get(rest[1], "after"), "the kill\n");
    cluster.members[leader] = Some(cluster.member(leader));
    assert_eq!(cluster.get(leader, "after"), "the kill\n");
    cluster.put(leader, "back", "again");
    cluster.settle();
    // Without a quorum nothing is written, and nothing is made up for a reader that wants the newest.
    let alone = cluster.running().next().expect("they run");
    (0..3).filter(|number| *number != alone).for_each(|number| cluster.kill(number));
    let refused = cluster.run(alone, &["get", "after"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    let stale = cluster.run(alone, &["get", "after", "--consistency", "s", "--print-value-only"]);
    assert_eq!(stale.ok(), "the kill\n");
    // All of them again, and everything is there.
    for number in 0..3 {
        if cluster.members[number].is_none() {
            cluster.members[number] = Some(cluster.member(number));
        }
    }
    for number in 0..3 {
        for (key, value) in [("by/a", "1\n"), ("by/b", "1\n"), ("by/c", "1\n"), ("back", "again\n")] {
            assert_eq!(cluster.get(number, key), value);
        }
    }
    cluster.put(1, "last", "x");
    cluster.settle();
    for number in 0..3 {
        let member = cluster.members[number].take().expect("it runs");
        assert_eq!(member.stop(Signal::TERM).0, Some(0));
        assert!(Path::new(&cluster.dir_of(number)).exists());
    }
}

#[test]
fn three_members_survive_the_loss_of_their_leader() {
    exercise(["segment"; 3]);
}

#[test]
fn members_may_keep_their_stores_differently() {
    exercise(["segment", "sqlite", "segment"]);
}

/// As an upgrade does it: whoever writes meanwhile loses nothing, whichever member is away.
#[test]
fn members_are_restarted_one_after_another_while_a_client_writes() {
    let mut cluster = Cluster::start(["segment", "sqlite", "segment"]);
    cluster.leader();
    let writer = Writer::start(cluster.endpoints());
    let last = cluster.leader();
    for number in (0..3).filter(|number| *number != last).chain([last]) {
        writer.goes_on();
        assert_eq!(cluster.members[number].take().expect("it runs").stop(Signal::TERM).0, Some(0));
        writer.goes_on();
        cluster.members[number] = Some(cluster.member(number));
        writer.asks(cluster.endpoints());
        cluster.leader();
    }
    writer.goes_on();
    let count = writer.end();
    (0..3).for_each(|number| cluster.check_counted(number, count));
    cluster.settle();
}

#[test]
fn a_member_alone_grows_to_three_and_outlives_its_first() {
    let mut cluster = Cluster::new(["segment"; 3]);
    cluster.members[0] = Some(Daemon::start_with(&mut cluster.command(0, &[0], "new")));
    cluster.put(0, "first", "x");
    for (number, name) in NAMES[..3].iter().enumerate().skip(1) {
        let known: Vec<usize> = (0..=number).collect();
        let early = output_of(&mut cluster.command(number, &known, "existing"), b"");
        assert!(early.code != 0 && early.stderr.contains("add it first"), "{early:?}");
        if number == 1 {
            let body = json!({ "peerURLs": [cluster.peer_url(number)] });
            let added = cluster.ask(0, "/v3/cluster/member/add", &body);
            assert_eq!(added["member"]["peerURLs"][0], cluster.peer_url(number), "{added}");
        } else {
            let told =
                cluster.run(0, &["member", "add", name, "--peer-urls", &cluster.peer_url(number)]).ok();
            assert!(told.contains("--initial-cluster-state existing"), "{told}");
        }
        // One that does not run yet keeps nobody from writing.
        cluster.put(0, &format!("before/{number}"), "x");
        let mut command = cluster.command(number, &known, "existing");
        if number == 2 {
            // It is asked at its end what it said.
            command.stderr(Stdio::piped());
        }
        cluster.members[number] = Some(Daemon::start_with(&mut command));
        let voters: Vec<_> = known.iter().map(|number| (NAMES[*number].to_owned(), false)).collect();
        wait_for(|| (cluster.list(0) == voters).then_some(()));
        cluster.put(number, &format!("through/{number}"), "x");
    }
    cluster.settle();
    let listed = cluster.run(2, &["member", "list", "-w", "json"]).json();
    let id_of = |number: usize| id_now(&listed, number);
    assert_eq!(cluster.leader(), 0);
    assert_eq!(
        cluster.run(0, &["member", "move-leader", &id_of(1)]).ok(),
        format!("member {} leads now\n", id_of(1))
    );
    assert_eq!(cluster.leader(), 1);
    cluster.kill(0);
    cluster.put(1, "after", "x");
    for key in ["first", "before/1", "before/2", "through/1", "through/2", "after"] {
        assert_eq!(cluster.get(2, key), "x\n");
    }
    // A member whose store is lost may not vote again as if nothing had happened.
    fs::remove_dir_all(cluster.dir_of(0)).expect("removed");
    for state in ["new", "existing"] {
        let refused = output_of(&mut cluster.command(0, &[0, 1, 2], state), b"");
        assert!(refused.code != 0 && refused.stderr.contains("add it anew"), "{state}: {refused:?}");
    }
    // By one command it comes back as another.
    let replaced = cluster.run(2, &["member", "replace", &id_of(0)]).ok();
    assert!(replaced.starts_with(&format!("member {} replaced by ", id_of(0))), "{replaced}");
    cluster.members[0] = Some(cluster.member(0));
    let voters: Vec<_> = NAMES[..3].iter().map(|name| ((*name).to_owned(), false)).collect();
    // A learner does not serve that.
    wait_for(|| (cluster.list(2) == voters).then_some(()));
    assert_eq!(cluster.get(0, "after"), "x\n");
    cluster.put(0, "replaced", "x");
    cluster.settle();
    let listed = cluster.run(2, &["member", "list", "-w", "json"]).json();
    let members = listed["members"].as_array().expect("members").iter();
    let ids: Vec<_> = members.map(|member| format!("{:x}", member["ID"].as_u64().expect("an id"))).collect();
    assert!(!ids.contains(&id_of(0)) && replaced.contains(&id_now(&listed, 0)), "{replaced}: {listed}");
    cluster.kill(0);
    // Removed while it is dead; and one that lives stops by itself, and says why.
    cluster.run(2, &["member", "remove", &id_now(&listed, 0)]).ok();
    assert_eq!(cluster.list(1).len(), 2);
    cluster.put(2, "last", "x");
    cluster.run(1, &["member", "remove", &id_of(2)]).ok();
    let mut removed = cluster.members[2].take().expect("it runs");
    assert_eq!(removed.wait(), Some(1));
    let said = removed.stderr();
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("Error: ") && last.contains("this member was removed from the cluster"),
        "{said}"
    );
    cluster.put(1, "alone", "x");
    assert_eq!(cluster.list(1), [("b".to_owned(), false)]);
}

#[test]
fn a_cluster_without_a_quorum_is_made_anew_from_what_is_left() {
    let mut cluster = Cluster::start(["segment", "sqlite", "segment"]);
    cluster.leader();
    for number in 0..3 {
        cluster.put(number, &format!("through/{number}"), "x");
    }
    cluster.settle();
    let id = cluster.run(0, &["member", "list", "-w", "json"]).json()["header"]["cluster_id"].clone();
    // The first goes on no farther than here, and the others do.
    cluster.kill(0);
    wait_for(|| (cluster.run(1, &["put", "later", "x"]).code == 0).then_some(()));
    cluster.kill(1);
    cluster.kill(2);
    let made = |number: usize, from: &[usize]| {
        let to = cluster.dir.path().join(format!("new-{number}"));
        let mut command = program();
        command.arg("recover").args(from.iter().map(|number| cluster.dir_of(*number)));
        command.args([OsStr::new("--data-dir"), to.as_os_str()]);
        let unsure = output_of(&mut command, b"");
        assert!(unsure.code == 2 && unsure.stderr.contains("--force-new-cluster"), "{unsure:?}");
        (to, output_of(command.arg("--force-new-cluster"), b"").ok())
    };
    let (alone, told) = made(0, &[0]);
    assert!(told.contains("LOST is what was acknowledged after entry"), "{told}");
    let (all, told) = made(1, &[0, 1, 2]);
    assert!(
        told.contains("nothing that was acknowledged is lost") && told.contains("passed over: "),
        "{told}"
    );
    for (dir, later) in [(alone, ""), (all, "x\n")] {
        let mut command = program();
        command.args(["serve", "--listen-client-urls", "coffer://127.0.0.1:0", "--data-dir"]).arg(dir);
        let daemon = Daemon::start_with(&mut command);
        let ask = |args: &[&str]| run(["--endpoints", &daemon.endpoint].iter().chain(args));
        for number in 0..3 {
            let key = format!("through/{number}");
            assert_eq!(ask(&["get", &key, "--print-value-only"]).ok(), "x\n");
        }
        assert_eq!(ask(&["get", "later", "--print-value-only"]).ok(), later);
        assert_eq!(ask(&["put", "new", "x"]).ok(), "OK\n");
        let listed = ask(&["member", "list", "-w", "json"]).json();
        assert_ne!(listed["header"]["cluster_id"], id);
        assert_eq!(listed["members"].as_array().map(Vec::len), Some(1), "{listed}");
        assert_eq!(daemon.stop(Signal::TERM).0, Some(0));
    }
}
