//! Members that talk over real sockets.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use coffer_core::consensus::messages::{Vote, VoteRequest, VoteResponse};
use coffer_core::consensus::peers::LaneKind;
use coffer_core::consensus::snapshots::{Snapshot, SnapshotReader, SnapshotWriter, Staged, Staging};
use coffer_core::consensus::{Consensus, ConsensusConfig, Founding, Machine, MemberChange};
use coffer_core::storage::{EntryKind, LogEntry, LogId, MemoryDisk, StorageError};
use coffer_rpc::peer::{Identity, PeerConfig, PeerNetwork, Protocols};
use coffer_runtime::block_on;
use coffer_runtime::net::{Address, Listener};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const CLUSTER: u64 = 0xc0ffe;

/// Remembers payloads, each once, as the node does by request ids.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Held>>);

#[derive(Clone, Default, PartialEq)]
struct Held {
    applied: Option<LogId>,
    membership: Option<(LogId, Bytes)>,
    payloads: Vec<Bytes>,
    is_broken: bool,
}

impl Machine for Journal {
    fn applied(&self) -> Option<LogId> {
        self.0.lock().applied
    }

    fn membership(&self) -> Option<(LogId, Bytes)> {
        self.0.lock().membership.clone()
    }

    fn apply(&mut self, entries: &[LogEntry]) -> Result<(), StorageError> {
        let mut held = self.0.lock();
        if held.is_broken {
            return Err(StorageError::Poisoned { reason: "a test broke it".to_owned() });
        }
        for entry in entries {
            held.applied = Some(entry.id);
            match entry.kind {
                EntryKind::Blank => {}
                EntryKind::Normal if held.payloads.contains(&entry.payload) => {}
                EntryKind::Normal => held.payloads.push(entry.payload.clone()),
                EntryKind::Membership => held.membership = Some((entry.id, entry.payload.clone())),
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let held = self.0.lock().clone();
        let (Some(last), Some(membership)) = (held.applied, held.membership.clone()) else { return Ok(None) };
        Ok(Some(Snapshot { last, membership, content: Box::new(Reading(held, 0)) }))
    }

    fn staging(&self) -> Arc<dyn Staging> {
        Arc::new(Stage)
    }

    fn install(&mut self, staged: Staged) -> Result<(), StorageError> {
        *self.0.lock() = *staged.downcast::<Held>().expect("what this staging made");
        Ok(())
    }
}

/// One payload a chunk; before them a chunk with where the content ends and the membership.
struct Reading(Held, usize);

impl SnapshotReader for Reading {
    fn next(&mut self, _bytes_max: usize) -> Result<Option<Bytes>, StorageError> {
        self.1 += 1;
        if self.1 == 1 {
            let (last, (at, membership)) = (self.0.applied.unwrap(), self.0.membership.clone().unwrap());
            let numbers = [last.term, last.index, at.term, at.index].map(u64::to_le_bytes);
            return Ok(Some([&numbers.concat()[..], &membership[..]].concat().into()));
        }
        Ok(self.0.payloads.get(self.1 - 2).cloned())
    }
}

struct Stage;

impl Staging for Stage {
    fn begin(&self) -> Result<Box<dyn SnapshotWriter>, StorageError> {
        Ok(Box::new(Writing(Held::default())))
    }
}

struct Writing(Held);

impl SnapshotWriter for Writing {
    fn write(&mut self, chunk: Bytes) -> Result<(), StorageError> {
        if self.0.applied.is_some() {
            self.0.payloads.push(chunk);
            return Ok(());
        }
        let number = |n: usize| u64::from_le_bytes(chunk[8 * n..8 + 8 * n].try_into().unwrap());
        self.0.applied = Some(LogId { term: number(0), index: number(1) });
        self.0.membership = Some((LogId { term: number(2), index: number(3) }, chunk.slice(32..)));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Staged, StorageError> {
        Ok(Box::new(self.0))
    }
}

struct Member {
    network: PeerNetwork,
    consensus: Arc<Consensus>,
    disk: MemoryDisk,
    journal: Journal,
}

impl Member {
    fn start(id: Identity, listener: Option<Listener>, founding: Founding) -> Self {
        Self::start_on(MemoryDisk::new(), Journal::default(), id, listener, founding)
    }

    /// Starts one with what it had.
    fn start_on(
        disk: MemoryDisk,
        journal: Journal,
        id: Identity,
        listener: Option<Listener>,
        founding: Founding,
    ) -> Self {
        Self::start_as(config(id), disk, journal, listener, founding)
    }

    /// Starts one as `config` says.
    fn start_as(
        config: PeerConfig,
        disk: MemoryDisk,
        journal: Journal,
        listener: Option<Listener>,
        founding: Founding,
    ) -> Self {
        let id = config.identity;
        let network = PeerNetwork::start(config).unwrap();
        let (log, _) = disk.open().unwrap();
        let config = ConsensusConfig {
            node_id: id.member,
            heartbeat_interval: Duration::from_millis(50),
            election_timeout: Duration::from_millis(1000),
            founding,
            ..ConsensusConfig::default()
        };
        let machine = Box::new(journal.clone());
        let consensus =
            Arc::new(Consensus::start_among(config, Box::new(log), machine, network.peers()).unwrap());
        network.serve(consensus.clone(), listener.into_iter().collect());
        Self { network, consensus, disk, journal }
    }

    fn stop(&self) {
        self.consensus.shutdown();
        self.network.shutdown();
    }
}

fn config(id: Identity) -> PeerConfig {
    PeerConfig::new(
        id,
        Arc::new(|text: &Bytes| vec![Address::Tcp(String::from_utf8(text.to_vec()).unwrap())]),
    )
}

fn identity(member: u64) -> Identity {
    Identity { cluster: CLUSTER, member, boot: 1000 + member }
}

fn listen() -> (Listener, Bytes) {
    let listener = Listener::bind(&Address::Tcp("127.0.0.1:0".into())).unwrap();
    let Address::Tcp(address) = listener.local_address().unwrap() else { unreachable!("it is TCP") };
    (listener, Bytes::from(address))
}

/// A cluster of members 1 to `count`.
fn found(count: u64) -> BTreeMap<u64, Member> {
    let listeners: Vec<(u64, (Listener, Bytes))> = (1..=count).map(|id| (id, listen())).collect();
    let founders: BTreeMap<u64, Bytes> =
        listeners.iter().map(|(id, (_, address))| (*id, address.clone())).collect();
    let start = |(id, (listener, _))| {
        (id, Member::start(identity(id), Some(listener), Founding::With(founders.clone())))
    };
    listeners.into_iter().map(start).collect()
}

fn propose(consensus: &Consensus, payload: impl Into<Bytes>) {
    let (sender, outcome) = mpsc::channel();
    consensus.propose(payload.into(), Box::new(move |result| drop(sender.send(result))));
    outcome.recv_timeout(PATIENCE).unwrap().unwrap();
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn leader(members: &BTreeMap<u64, Member>) -> u64 {
    let leads = || members.iter().find(|(_, member)| member.consensus.status().is_leader);
    eventually("there is a leader", || leads().is_some());
    *leads().unwrap().0
}

#[test]
fn three_members_agree_over_sockets() {
    let members = found(3);
    let mut expected = Vec::new();
    for n in 0..60u64 {
        // Some of them larger than a window of the lane.
        let payload = Bytes::from(vec![n as u8; if n == 30 { 12 << 20 } else { 100 * n as usize + 1 }]);
        propose(&members[&(n % 3 + 1)].consensus, payload.clone());
        expected.push(payload);
    }
    for member in members.values() {
        block_on(member.consensus.read_barrier()).unwrap();
        assert!(member.journal.0.lock().payloads == expected);
    }
    members.values().for_each(Member::stop);
}

#[test]
fn a_dead_member_delays_nobody_and_a_late_one_gets_a_snapshot() {
    let mut members = found(3);
    let first = leader(&members);
    let dead = (1..=3).find(|id| *id != first).unwrap();
    members.remove(&dead).unwrap().stop();
    for n in 0..50 {
        propose(&members[&first].consensus, format!("{n}"));
    }
    let consensus = &members[&first].consensus;
    consensus.purge(consensus.status().applied.unwrap());
    eventually("the log is purged", || consensus.status().purged.is_some());
    let (listener, address) = listen();
    let late = Member::start(identity(9), Some(listener), Founding::Join);
    block_on(consensus.change(MemberChange::AddLearner { member: 9, description: address })).unwrap();
    eventually("it has everything", || late.journal.0.lock().payloads.len() == 50);
    block_on(consensus.change(MemberChange::Promote { member: 9 })).unwrap();
    block_on(consensus.change(MemberChange::Remove { member: dead })).unwrap();
    propose(&late.consensus, "by the late one");
    late.stop();
    members.values().for_each(Member::stop);
}

/// Raft keeps its lanes to a member while it leads: where they lead must follow the membership.
#[test]
fn a_member_that_moves_is_found_by_the_leader_that_there_is() {
    let mut members = found(3);
    let first = leader(&members);
    let moves = (1..=3).find(|id| *id != first).unwrap();
    propose(&members[&first].consensus, "before");
    let founding = || members[&moves].journal.0.lock().membership.is_some();
    eventually("it knows the members", founding);
    let term = members[&first].consensus.status().term;
    let gone = members.remove(&moves).unwrap();
    gone.stop();
    let (listener, address) = listen();
    let describe = MemberChange::Describe { member: moves, description: address };
    block_on(members[&first].consensus.change(describe)).unwrap();
    let Member { disk, journal, .. } = gone;
    let back = Identity { boot: 7, ..identity(moves) };
    let back = Member::start_on(disk, journal, back, Some(listener), Founding::Join);
    members.insert(moves, back);
    propose(&members[&first].consensus, "after");
    eventually("it has everything", || members[&moves].journal.0.lock().payloads.len() == 2);
    let status = members[&first].consensus.status();
    assert!(status.is_leader && status.term == term, "nobody else has led");

    // A living one that is told to come in at another door: the lanes that are open end as well.
    let (listener, address) = listen();
    members[&moves].network.serve(members[&moves].consensus.clone(), vec![listener]);
    let describe = MemberChange::Describe { member: moves, description: address };
    block_on(members[&first].consensus.change(describe)).unwrap();
    propose(&members[&first].consensus, "another door");
    eventually("it has that, too", || members[&moves].journal.0.lock().payloads.len() == 3);
    members.values().for_each(Member::stop);
}

/// Nobody has told the others' networks that it was removed: they know it from the log, as after a restart of all.
#[test]
fn a_member_that_was_removed_while_it_was_down_is_told_so() {
    let mut members = found(3);
    let first = leader(&members);
    let away = (1..=3).find(|id| *id != first).unwrap();
    propose(&members[&first].consensus, "x");
    let founding = || members[&away].journal.0.lock().membership.is_some();
    eventually("it knows the members", founding);
    let gone = members.remove(&away).unwrap();
    gone.stop();
    block_on(members[&first].consensus.change(MemberChange::Remove { member: away })).unwrap();
    let Member { disk, journal, .. } = gone;
    let back = Identity { boot: 7, ..identity(away) };
    let back = Member::start_on(disk, journal, back, Some(listen().0), Founding::Join);
    eventually("it hears of it", || back.network.was_removed());
    assert!(members.values().all(|member| !member.network.was_removed()));
    back.stop();
    members.values().for_each(Member::stop);
}

/// Asks member 1 for its vote, as member 2.
fn ask_for_vote(network: &PeerNetwork, founder: &Bytes) -> Result<VoteResponse, String> {
    let mut lane = network.peers().lane(1, founder, LaneKind::Heartbeats);
    let vote = Vote { term: 1, candidate: 2, committed: false };
    let request = VoteRequest { vote, last: None, pre_vote: true, transfer: false };
    block_on(lane.vote(request, Duration::from_secs(20))).map_err(|error| error.to_string())
}

#[test]
fn strangers_get_no_answer() {
    let members = found(1);
    propose(&members[&1].consensus, "x");
    let founder = members[&1].consensus.membership().members[&1].clone();
    let vote = |network: &PeerNetwork| ask_for_vote(network, &founder);
    let network = |id: Identity| PeerNetwork::start(config(id)).unwrap();
    let of = |oldest, newest| {
        let protocols = Protocols { oldest, newest };
        PeerNetwork::start(PeerConfig { protocols, ..config(identity(2)) }).unwrap()
    };
    let newer = of(2, 3);
    let refused = vote(&newer).unwrap_err();
    assert!(
        refused.contains(
            "it speaks protocols 2 to 3, and member 1 speaks 1 to 1: upgrade the member that refuses"
        ),
        "{refused}"
    );
    newer.shutdown();
    let upgraded = of(1, 2);
    assert!(vote(&upgraded).is_ok(), "it speaks the old version too");
    upgraded.shutdown();
    let other_cluster = network(Identity { cluster: CLUSTER + 1, ..identity(2) });
    assert!(vote(&other_cluster).unwrap_err().contains("is not cluster c0ffe"), "another cluster");
    let sound = network(identity(2));
    assert!(!vote(&sound).unwrap().granted);
    let twin = network(Identity { boot: 7, ..identity(2) });
    assert!(vote(&twin).unwrap_err().contains("another process with the id of member 2 is alive"));
    sound.shutdown();
    eventually("its successor is let in", || vote(&twin).is_ok());
    members[&1].network.removed(vec![2]);
    eventually("its connection ends", || vote(&twin).is_err());
    assert!(vote(&twin).unwrap_err().contains("member 2 was removed"));
    members.values().for_each(Member::stop);
}

/// With the last entry that there is, so that nothing that comes after it tells.
#[test]
fn a_leader_whose_machine_fails_leads_no_more() {
    let members = found(3);
    let first = leader(&members);
    propose(&members[&first].consensus, "x");
    members[&first].journal.0.lock().is_broken = true;
    let (sender, outcome) = mpsc::channel();
    let done = Box::new(move |result| drop(sender.send(result)));
    members[&first].consensus.propose(Bytes::from("y"), done);
    assert!(outcome.recv_timeout(PATIENCE).unwrap().is_err());
    let others = || members.iter().filter(|(id, _)| **id != first).map(|(_, member)| member);
    eventually("another one leads", || others().any(|member| member.consensus.status().is_leader));
    members.values().for_each(Member::stop);
}

#[test]
fn connections_that_say_nothing_are_few_and_keep_nobody_out() {
    let members = found(1);
    propose(&members[&1].consensus, "x");
    let founder = members[&1].consensus.membership().members[&1].clone();
    let address = String::from_utf8(founder.to_vec()).unwrap();
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let network = PeerNetwork::start(config(identity(2))).unwrap();
    assert!(ask_for_vote(&network, &founder).is_ok(), "a member is let in past them");
    let is_closed = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut stream: &TcpStream = stream;
        matches!(stream.read(&mut [0]), Ok(0))
    };
    eventually("those beyond the limit are closed, the oldest", || silent[..300 - 256].iter().all(is_closed));
    eventually("all of them have had their time", || silent.iter().all(is_closed));
    network.shutdown();
    members.values().for_each(Member::stop);
}

/// What a member of another cluster says first.
fn foreign_hello() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Bytes::from(listener.local_addr().unwrap().to_string());
    let network = PeerNetwork::start(config(Identity { cluster: CLUSTER + 1, ..identity(2) })).unwrap();
    let mut hello = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(ask_for_vote(&network, &address).is_err()));
        let (mut stream, _) = listener.accept().unwrap();
        // Until it gives up: nobody answers.
        stream.read_to_end(&mut hello).unwrap();
        drop(listener);
    });
    network.shutdown();
    hello
}

#[test]
fn connections_that_were_refused_count_like_those_that_say_nothing() {
    let hello = foreign_hello();
    let (listener, address) = listen();
    let founding = Founding::With(BTreeMap::from([(1, address.clone())]));
    let config = PeerConfig { connect_timeout: PATIENCE * 2, ..config(identity(1)) };
    let member = Member::start_as(config, MemoryDisk::new(), Journal::default(), Some(listener), founding);
    propose(&member.consensus, "x");
    let address = String::from_utf8(address.to_vec()).unwrap();
    let refused = (0..300).map(|_| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(&hello).unwrap();
        assert_ne!(stream.read(&mut [0; 4096]).unwrap(), 0, "it is told why");
        stream.set_nonblocking(true).unwrap();
        stream
    });
    let refused: Vec<TcpStream> = refused.collect();
    let is_open = |mut stream: &TcpStream| match stream.read(&mut [0; 4096]) {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    eventually("those beyond the limit are closed", || {
        refused.iter().filter(|it| is_open(it)).count() <= 256
    });
    member.stop();
}

#[test]
fn a_member_that_stops_closes_its_connections() {
    let members = found(1);
    propose(&members[&1].consensus, "x");
    let founder = members[&1].consensus.membership().members[&1].clone();
    let idle_timeout = Duration::from_secs(3600);
    let network = PeerNetwork::start(PeerConfig { idle_timeout, ..config(identity(2)) }).unwrap();
    assert!(ask_for_vote(&network, &founder).is_ok());
    members[&1].stop();
    let is_refused = |error: &String| error.contains("refused");
    eventually("nobody listens", || ask_for_vote(&network, &founder).is_err_and(|error| is_refused(&error)));
    network.shutdown();
}

/// The newest version of the protocol that two members have in common is used on each connection, so that members can be
/// upgraded one after the other while the others serve.
#[test]
fn a_cluster_is_upgraded_member_by_member() {
    let mut members = found(3);
    let mut expected = Vec::new();
    let mut put = |members: &BTreeMap<u64, Member>, step: &str| {
        for (id, member) in members {
            let payload = Bytes::from(format!("{step} through {id}"));
            propose(&member.consensus, payload.clone());
            expected.push(payload);
        }
        for member in members.values() {
            block_on(member.consensus.read_barrier()).unwrap();
            assert_eq!(member.journal.0.lock().payloads, expected, "{step}");
        }
    };
    put(&members, "version 1");
    let versions = [Protocols { oldest: 1, newest: 2 }, Protocols { oldest: 2, newest: 2 }];
    for (step, protocols) in versions.into_iter().enumerate() {
        for upgraded in 1..=3u64 {
            let old = members.remove(&upgraded).unwrap();
            old.stop();
            put(&members, &format!("step {step}, without {upgraded}"));
            // Elsewhere: somebody else may have taken its port.
            let (listener, address) = listen();
            let describe = MemberChange::Describe { member: upgraded, description: address };
            let other = members.values().next().unwrap();
            block_on(other.consensus.change(describe)).unwrap();
            let id = Identity { boot: 2000 + 10 * step as u64 + upgraded, ..identity(upgraded) };
            let config = PeerConfig { protocols, ..config(id) };
            let member = Member::start_as(config, old.disk, old.journal, Some(listener), Founding::Join);
            members.insert(upgraded, member);
            put(&members, &format!("step {step}, with {upgraded}"));
        }
    }
    let founder = members[&1].consensus.membership().members[&1].clone();
    let old = PeerNetwork::start(PeerConfig {
        protocols: Protocols { oldest: 1, newest: 1 },
        ..config(identity(2))
    });
    let old = old.unwrap();
    let refused = ask_for_vote(&old, &founder).unwrap_err();
    let reason = "it speaks protocols 1 to 1, and member 1 speaks 2 to 2: upgrade the member that is refused";
    assert!(refused.contains(reason), "{refused}");
    old.shutdown();
    members.values().for_each(Member::stop);
}
