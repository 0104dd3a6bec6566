//! Members that are added, promoted, moved, removed and replaced through the command line, as an operator does it.

use crate::support::cluster::{Cluster, NAMES, Writer};
use crate::support::{Daemon, Ran, key_file, run_with, wait_for};
use bytes::Bytes;
use coffer::{Backend, LeaseId, NewCluster, Options, Restored, Seal};
use coffer_core::Record;
use coffer_core::revision::Revision;
use coffer_core::storage::{SnapshotSource, StorageError};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

/// Nobody stands for election because the machine is busy, or because a leader comes late: whoever leads was made to.
const PATIENT: [&str; 2] = ["--election-timeout", "20000"];

/// Where clients are told that they reach a member, wherever that is.
const ADVERTISED: [&str; 2] = ["--advertise-client-urls", "coffer://127.0.0.1:7420"];

/// Adds a member through `asked`, and gives what starts it: with what the command tells, and with nothing else of the cluster.
fn added(cluster: &Cluster, asked: usize, number: usize, flags: &[&str]) -> Command {
    let url = cluster.peer_url(number);
    let add = [&["member", "add", NAMES[number], "--peer-urls", &url], flags].concat();
    let told = change(cluster, asked, &add);
    let mut command = cluster.serve(number);
    command.args(told.lines().nth(1).unwrap_or_else(|| panic!("{told}")).split_whitespace());
    command
}

/// Changes the members through `asked`. One change at a time: of another one that is under way the command says that nothing
/// happened, and that it may later.
fn change(cluster: &Cluster, asked: usize, args: &[&str]) -> String {
    wait_for(|| Some(cluster.run(asked, args)).filter(|ran| ran.code != 3)).ok()
}

/// The line of a member in the list that `asked` gives: status, name, peer URL, whether it is a learner, whether it leads.
fn line_of(cluster: &Cluster, asked: usize, number: usize) -> [String; 5] {
    let listed = cluster.run(asked, &["member", "list"]).ok();
    let lines = listed.lines().map(|line| line.split(", ").collect::<Vec<_>>());
    let is_it = |line: &Vec<&str>| line.get(3) == Some(&cluster.peer_url(number).as_str());
    let line = lines.into_iter().find(is_it).unwrap_or_else(|| panic!("{listed}"));
    [line[1], line[2], line[3], line[5], line[6]].map(Into::into)
}

fn lead_of(status: &Value) -> (Value, Value) {
    (status["leader"].clone(), status["raftTerm"].clone())
}

#[test]
fn a_learner_is_promoted_and_a_member_that_moves_is_followed() {
    let mut cluster = Cluster::new(["segment", "sqlite", "segment"]);
    let mut command = cluster.command(0, &[0], "new");
    cluster.members[0] = Some(Daemon::start_with(command.args(PATIENT).args(ADVERTISED)));
    cluster.put(0, "first", "x");
    let mut command = added(&cluster, 0, 1, &["--learner"]);
    let url = cluster.peer_url(1);
    assert_eq!(line_of(&cluster, 0, 1), ["unstarted", "", &url, "true", "false"]);
    let id = {
        let listed = cluster.run(0, &["member", "list", "-w", "json"]).json();
        let members = listed["members"].as_array().expect("members").iter();
        let is_it = |member: &&Value| member["peerURLs"][0] == url.as_str();
        format!("{:x}", members.filter(is_it).find_map(|member| member["ID"].as_u64()).expect("an id"))
    };
    // It has nothing yet.
    let early = cluster.run(0, &["member", "promote", &id]);
    assert_ne!(early.code, 0, "{early:?}");
    cluster.members[1] = Some(Daemon::start_with(command.args(PATIENT)));
    wait_for(|| (line_of(&cluster, 0, 1) == ["started", "b", &url, "true", "false"]).then_some(()));
    // It has the log, and no vote however long it waits for one.
    wait_for(|| (cluster.get_here(1, "first") == "x\n").then_some(()));
    assert_eq!(cluster.status(1)["isLearner"], true);
    assert_eq!(change(&cluster, 0, &["member", "promote", &id]), format!("member {id} votes now\n"));
    assert_eq!(line_of(&cluster, 0, 1), ["started", "b", &url, "false", "false"]);
    wait_for(|| cluster.status(1)["isLearner"].is_null().then_some(()));
    // Whoever votes may lead.
    change(&cluster, 0, &["member", "move-leader", &id]);
    assert_eq!(cluster.leader(), 1);
    assert_eq!(line_of(&cluster, 0, 1), ["started", "b", &url, "false", "true"]);

    let mut command = added(&cluster, 1, 2, &[]);
    cluster.members[2] = Some(Daemon::start_with(command.args(PATIENT)));
    let url = cluster.peer_url(2);
    wait_for(|| (line_of(&cluster, 1, 2) == ["started", "c", &url, "false", "false"]).then_some(()));

    // A follower is away, and comes back somewhere else.
    let before = lead_of(&cluster.status(1));
    assert_eq!(cluster.members[0].take().expect("it runs").stop(Signal::TERM).0, Some(0));
    cluster.put(1, "away", "x");
    let (id, former) = (cluster.id_of(0, 1), cluster.peer_url(0));
    cluster.moves(0);
    let url = cluster.peer_url(0);
    assert_ne!(former, url);
    let told = change(&cluster, 1, &["member", "update", &id, "--peer-urls", &url]);
    assert_eq!(told, format!("member {id} updated\n"));
    assert_eq!(line_of(&cluster, 2, 0), ["started", "a", &url, "false", "false"]);
    cluster.put(2, "moved", "x");
    let mut command = cluster.command(0, &[0, 1, 2], "new");
    cluster.members[0] = Some(Daemon::start_with(command.args(PATIENT).args(ADVERTISED)));
    wait_for(|| (cluster.get_here(0, "moved") == "x\n").then_some(()));
    assert_eq!(cluster.get(0, "away"), "x\n");
    cluster.put(0, "back", "x");
    cluster.settle();
    for number in 0..3 {
        assert_eq!(lead_of(&cluster.status(number)), before, "nobody else leads, as {number} sees it");
    }
    assert_eq!(cluster.id_of(0, 0), id);
    // Its vote counts where it is now.
    assert_eq!(cluster.members[1].take().expect("it runs").stop(Signal::TERM).0, Some(0));
    cluster.put(2, "last", "x");
    assert_eq!(cluster.get(0, "last"), "x\n");
}

/// As one does that comes back on another host: clients find it elsewhere, too, which it tells the others by itself.
#[test]
fn a_member_that_moves_with_all_its_addresses_is_followed() {
    let mut cluster = Cluster::start(["segment"; 3]);
    let leader = cluster.leader();
    let moves = (0..3).find(|number| *number != leader).expect("there are three");
    for number in 0..3 {
        cluster.put(number, &format!("through/{number}"), "x");
        // It has told the others of itself.
        wait_for(|| cluster.run(leader, &["member", "list"]).ok().contains(cluster.at(number)).then_some(()));
    }
    assert_eq!(cluster.members[moves].take().expect("it runs").stop(Signal::TERM).0, Some(0));
    let id = cluster.id_of(moves, leader);
    cluster.moves(moves);
    let url = cluster.peer_url(moves);
    change(&cluster, leader, &["member", "update", &id, "--peer-urls", &url]);
    cluster.put(leader, "moved", "x");
    cluster.members[moves] = Some(cluster.member(moves));
    let catches_up = wait_for(|| {
        let listed = cluster.run(leader, &["member", "list"]).ok();
        let is_there = cluster.get_here(moves, "moved") == "x\n";
        (is_there || !listed.contains(&url)).then_some(listed)
    });
    assert!(catches_up.contains(&url), "what was told of {id} was taken back: {catches_up}");
    let at = cluster.at(moves).to_owned();
    wait_for(|| cluster.run(leader, &["member", "list"]).ok().contains(&at).then_some(()));
    assert_eq!(line_of(&cluster, leader, moves)[2], url);
    cluster.put(moves, "back", "x");
    cluster.settle();
}

/// One record, and nothing else.
struct One(Option<Record>);

impl SnapshotSource for One {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        Ok(self.0.take())
    }
}

/// Makes the store with which a member begins, which holds `k`: all members the same, if they are told the truth. What is
/// checked on the disk is right whatever they are told.
fn restore(cluster: &Cluster, number: usize, backend: Backend, value: &'static str) {
    let record = Record {
        revision: Revision::first(2),
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(value.as_bytes()),
        create_revision: 2,
        version: 1,
        lease: LeaseId::NONE,
        tombstone: false,
    };
    let members: BTreeMap<_, _> =
        (0..3).map(|number| (NAMES[number].to_owned(), vec![cluster.peer_url(number)])).collect();
    let view = NewCluster::together("test", &members, NAMES[number], b"a file").expect("a cluster");
    let content = Restored { revision: 2, compact_revision: 0, leases: Vec::new() };
    let options = Options::default().backend(backend).seal(Seal::KeyFile(key_file().to_owned()));
    let made = options.restore(&cluster.dir_of(number), Some(&view), &content, &mut One(Some(record)));
    made.and_then(|made| made.keep()).expect("a store");
}

fn alarms(cluster: &Cluster, number: usize) -> Value {
    cluster.ask(number, "/v3/maintenance/alarm", &json!({ "action": "GET" }))["alarms"].clone()
}

/// What follows from a value: where it is another, another thing happens.
fn decide(cluster: &Cluster, number: usize) -> Ran {
    let decision = b"val(\"k\") = \"truth\"\n\nput decided yes\n\nput decided no\n\n";
    run_with(["--endpoints", cluster.at(number), "--command-timeout", "20s", "txn"], decision)
}

#[test]
fn a_member_whose_state_differs_is_found_and_rebuilt_by_one_command() {
    const BACKENDS: [&str; 3] = ["segment", "sqlite", "segment"];
    const KEPT: [Backend; 3] = [Backend::Segment, Backend::Sqlite, Backend::Segment];
    const ODD: usize = 2;
    let mut cluster = Cluster::new(BACKENDS);
    (0..3).for_each(|number| restore(&cluster, number, KEPT[number], "truth"));
    (0..3).for_each(|number| cluster.members[number] = Some(cluster.member(number)));
    cluster.leader();
    for number in 0..3 {
        cluster.put(number, &format!("through/{number}"), "x");
        assert_eq!(cluster.get(number, "k"), "truth\n");
    }
    cluster.settle();
    // One value of one member is another on its disk, and nothing there says so. Its log went as well: it gets it again.
    (0..3).for_each(|number| cluster.kill(number));
    fs::remove_dir_all(cluster.dir_of(ODD)).expect("removed");
    restore(&cluster, ODD, KEPT[ODD], "Truth");
    for number in 0..3 {
        let mut command = cluster.command(number, &[0, 1, 2], "new");
        if number == ODD {
            // It is asked at its end what it said.
            command.stderr(Stdio::piped());
        }
        cluster.members[number] = Some(Daemon::start_with(&mut command));
    }
    assert_ne!(cluster.leader(), ODD);
    assert_eq!(cluster.get(ODD, "through/0"), "x\n");
    assert_eq!(["truth\n", "truth\n", "Truth\n"], [0, 1, 2].map(|number| cluster.get(number, "k")));
    assert!((0..3).all(|number| alarms(&cluster, number).is_null()), "nothing has followed from it");

    decide(&cluster, 0).ok();
    let id = cluster.id_of(ODD, 0);
    let decimal = u64::from_str_radix(&id, 16).expect("an id").to_string();
    let raised = json!([{ "memberID": decimal, "alarm": "CORRUPT" }]);
    for number in 0..3 {
        wait_for(|| (alarms(&cluster, number) == raised).then_some(()));
    }
    let reason = format!("the state of member {id} is not that of the others: replace the member");
    for args in [
        &["get", "decided"][..],
        &["get", "decided", "--consistency", "s"],
        &["put", "k", "x"],
        &["lease", "grant", "100"],
        &["watch", "k"],
    ] {
        wait_for(|| (cluster.run(ODD, args).code == 5).then_some(()));
        cluster.run(ODD, args).fails(5, &reason);
    }
    // The others go on, and say which one it is.
    for number in [0, 1] {
        assert_eq!(cluster.get(number, "decided"), "yes\n");
        cluster.put(number, "others", "go on");
        let errors = cluster.status(number)["errors"].to_string();
        assert!(errors.contains(&format!("CORRUPT of member {id}")), "{errors}");
    }

    let replaced = change(&cluster, 1, &["member", "replace", &id]);
    assert!(replaced.starts_with(&format!("member {id} replaced by ")), "{replaced}");
    let mut odd = cluster.members[ODD].take().expect("it runs");
    assert_eq!(odd.wait(), Some(1));
    let said = odd.stderr();
    assert!(
        said.contains("CORRUPT is raised") || said.contains("it serves nobody until it is replaced"),
        "{said}"
    );
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("Error: ") && last.contains("this member was removed from the cluster"),
        "{said}"
    );
    fs::remove_dir_all(cluster.dir_of(ODD)).expect("removed");
    cluster.members[ODD] = Some(cluster.member(ODD));
    let voters: Vec<_> = NAMES[..3].iter().map(|name| ((*name).to_owned(), false)).collect();
    wait_for(|| (cluster.list(0) == voters).then_some(()));
    let successor = cluster.id_of(ODD, 0);
    assert!(successor != id && replaced.contains(&successor), "{replaced}");
    decide(&cluster, ODD).ok();
    cluster.settle();
    for number in 0..3 {
        for (key, value) in
            [("k", "truth\n"), ("decided", "yes\n"), ("through/2", "x\n"), ("others", "go on\n")]
        {
            assert_eq!(cluster.get(number, key), value);
            assert_eq!(cluster.get_here(number, key), value);
        }
        assert!(alarms(&cluster, number).is_null());
        assert!(cluster.status(number)["errors"].is_null());
    }
}

/// Whoever writes meanwhile loses nothing.
#[test]
fn a_cluster_grows_to_five_and_shrinks_to_one_while_a_client_writes() {
    let mut cluster = Cluster::new(["segment", "segment", "sqlite", "segment", "sqlite"]);
    cluster.members[0] = Some(Daemon::start_with(&mut cluster.command(0, &[0], "new")));
    let writer = Writer::start(cluster.endpoints());
    for number in 1..5 {
        writer.goes_on();
        let mut command = added(&cluster, number - 1, number, &[]);
        cluster.members[number] = Some(Daemon::start_with(&mut command));
        let voters: Vec<_> = NAMES[..=number].iter().map(|name| ((*name).to_owned(), false)).collect();
        wait_for(|| (cluster.list(0) == voters).then_some(()));
        writer.asks(cluster.endpoints());
    }
    writer.goes_on();
    // The leader goes first, and whoever is left by the one before; each is asked of one that stays.
    let leader = cluster.leader();
    let stays = if leader == 4 { 3 } else { 4 };
    for number in [leader].into_iter().chain((0..5).filter(|number| ![leader, stays].contains(number))) {
        let id = cluster.id_of(number, stays);
        let mut goes = cluster.members[number].take().expect("it runs");
        writer.asks(cluster.endpoints());
        // The answer may be lost with a leader that goes.
        let ran =
            wait_for(|| Some(cluster.run(stays, &["member", "remove", &id])).filter(|ran| ran.code != 3));
        assert!([0, 4].contains(&ran.code), "{ran:?}");
        assert_eq!(goes.wait(), Some(1));
        writer.goes_on();
    }
    let count = writer.end();
    assert_eq!(cluster.list(stays), [(NAMES[stays].to_owned(), false)]);
    cluster.check_counted(stays, count);
    // It is alone for good, also after a restart.
    cluster.kill(stays);
    cluster.members[stays] = Some(cluster.member(stays));
    cluster.check_counted(stays, count);
    cluster.put(stays, "alone", "x");
}
