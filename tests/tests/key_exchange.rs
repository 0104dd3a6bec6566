//! A node at work while its data keys are exchanged: everything is carried over in the background, also what an earlier
//! life left, and every value stays, whenever the process is killed.

use coffer_backends::seal::Keyring;
use coffer_core::KeyRange;
use coffer_core::node::{Node, NodeConfig};
use coffer_core::request::{PutRequest, RangeRequest};
use coffer_runtime::block_on;
use coffer_tests::subjects::{Machine, Stored, Subject, segment};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const KEYS: usize = 300;
const DEADLINE: Duration = Duration::from_secs(60);

/// The kinds of store whose keys are exchanged here.
fn sealed_subjects() -> [Subject; 1] {
    [segment::SEALED]
}

fn start(stored: Stored) -> (Node, Arc<Keyring>) {
    let config = NodeConfig {
        cluster_id: stored.cluster_id,
        member_id: stored.member_id,
        boot: stored.boot,
        flush_bytes: 24 << 10,
        ..NodeConfig::default()
    };
    let node = Node::open(config, stored.log, stored.records).expect("the node opens");
    (node, stored.keyring.expect("a sealed store has a keyring"))
}

fn exchange(node: &Node, keyring: &Keyring) {
    keyring.rotate().expect("rotate");
    keyring.request_rewrite().expect("request");
    node.rewrite();
}

fn put(node: &Node, round: usize, key: usize) {
    let request = PutRequest {
        key: format!("key {key}").into(),
        value: format!("{round} {}", "v".repeat(200)).into(),
        ..PutRequest::default()
    };
    block_on(node.put(request)).expect("a put");
}

/// Every key has the value of its round.
fn check(node: &Node, round_of: impl Fn(usize) -> usize) {
    for key in 0..KEYS {
        let request = RangeRequest::new(KeyRange::single(format!("key {key}")));
        let found = block_on(node.range(request)).expect("a range");
        let round = format!("{} ", round_of(key));
        assert!(found.kvs[0].value.starts_with(round.as_bytes()), "key {key}");
    }
}

/// Waits until one data key is left, and returns its id.
fn wait_for_one_key(keyring: &Keyring) -> u32 {
    let deadline = Instant::now() + DEADLINE;
    while keyring.status().keys.len() > 1 || keyring.is_rewriting() {
        assert!(Instant::now() < deadline, "still there: {:?}", keyring.status());
        thread::yield_now();
    }
    keyring.status().keys[0].id
}

#[test]
fn keys_are_exchanged_under_a_node_at_work() {
    for subject in sealed_subjects() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = || start((subject.open)(&directory.path().join("store")).expect("the store opens"));
        let (node, keyring) = open();
        (0..KEYS).for_each(|key| put(&node, 0, key));
        exchange(&node, &keyring);
        (0..KEYS).for_each(|key| put(&node, 1, key));
        assert_eq!(wait_for_one_key(&keyring), 2, "{}", subject.name());
        check(&node, |_| 1);
        // An exchange that nobody carried on with before the end.
        keyring.rotate().expect("rotate");
        keyring.request_rewrite().expect("request");
        node.shutdown();
        drop(node);
        let (node, keyring) = open();
        assert_eq!(wait_for_one_key(&keyring), 3, "{}", subject.name());
        check(&node, |_| 1);
        node.shutdown();
    }
}

#[test]
fn a_killed_node_goes_on_with_an_exchange() {
    for subject in sealed_subjects() {
        let mut machine = (subject.simulated)();
        let (node, keyring) = start(machine.open_stored().expect("the store opens"));
        (0..KEYS).for_each(|key| put(&node, 0, key));
        exchange(&node, &keyring);
        // What the disk holds when the process is killed after the puts up to this key.
        let mut killed: Vec<(usize, Box<dyn Machine>)> = vec![(0, machine.kill(0))];
        for key in 0..KEYS {
            put(&node, 1, key);
            if key % 12 == 0 {
                killed.push((key + 1, machine.kill(key as u64)));
            }
        }
        node.shutdown();
        drop(node);
        let mut in_the_middle = 0;
        for (done, mut machine) in killed {
            let (node, keyring) = start(machine.open_stored().expect("a killed store opens"));
            in_the_middle += usize::from(keyring.status().keys.len() > 1);
            check(&node, |key| usize::from(key < done));
            assert_eq!(wait_for_one_key(&keyring), 2, "{}", subject.name());
            check(&node, |key| usize::from(key < done));
            node.shutdown();
        }
        assert!(in_the_middle > 0, "{}: every exchange was over", subject.name());
    }
}
