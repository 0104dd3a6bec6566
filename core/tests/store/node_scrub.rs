//! Scrubs of a whole node over the in-memory backend: what they find, how they are slowed down and ended, and what the
//! node does about damage.

use coffer_core::node::{Node, NodeConfig, ScrubState, ScrubStatus};
use coffer_core::request::*;
use coffer_core::storage::MemoryDisk;
use coffer_core::{Error, KeyRange};
use coffer_runtime::block_on;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// A node with 200 keys, all of them flushed.
fn node(disk: &MemoryDisk, config: NodeConfig) -> Node {
    let (log, records) = disk.open().expect("the disk opens");
    let node = Node::open(config, Box::new(log), Arc::new(records)).expect("a node opens");
    block_on(async {
        for number in 0..200 {
            let (key, value) = (format!("k/{number:03}").into(), vec![b'v'; 500].into());
            node.put(PutRequest { key, value, ..PutRequest::default() }).await.expect("a put succeeds");
        }
        let revision = node.header().revision;
        // Which flushes.
        node.compact(CompactRequest { revision, physical: true }).await.expect("a compaction succeeds");
    });
    node
}

/// Waits until something is there.
#[track_caller]
fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not happen in time");
        thread::park_timeout(Duration::from_millis(2));
    }
}

#[track_caller]
fn ended(node: &Node) -> ScrubStatus {
    wait_for(|| Some(node.scrub_status()).filter(|status| status.state != ScrubState::Running))
}

#[test]
fn a_sound_node_is_scrubbed_while_it_is_written() {
    let node = node(&MemoryDisk::new(), NodeConfig::default());
    assert_eq!(node.scrub_status().state, ScrubState::Never);
    let begun = node.scrub(Some(1 << 20)).expect("it begins");
    assert_eq!((begun.number, begun.state, begun.rate_bytes), (1, ScrubState::Running, 1 << 20));
    let joined = node.scrub(Some(1)).expect("it is joined");
    assert_eq!((joined.number, joined.rate_bytes), (1, 1 << 20), "one scrub at a time");
    block_on(async {
        for number in 0..50 {
            let (key, value) = (format!("new/{number}").into(), vec![b'w'; 100].into());
            node.put(PutRequest { key, value, ..PutRequest::default() }).await.expect("a put succeeds");
        }
    });
    let status = ended(&node);
    assert_eq!((status.state, status.findings.count()), (ScrubState::Done, 0), "{status:?}");
    assert!(status.records >= 200 && status.findings.checked_bytes() > 200 * 500, "{status:?}");
    let counts = node.metrics().scrub;
    assert_eq!((counts.done, counts.damage), (1, 0));
    assert!(counts.checked_bytes >= status.findings.checked_bytes() && counts.last_s > 0);
    assert_eq!(node.scrub(None).expect("another one").number, 2);
    assert_eq!(ended(&node).state, ScrubState::Done);
    assert!(node.failed().is_none());
}

#[test]
fn a_scrub_is_slowed_down_and_ended() {
    let node = node(&MemoryDisk::new(), NodeConfig::default());
    // At a byte in a second it would take days.
    node.scrub(Some(1)).expect("it begins");
    wait_for(|| Some(node.scrub_status()).filter(|status| status.findings.checked_bytes() > 0));
    assert_eq!(node.scrub_status().state, ScrubState::Running);
    node.cancel_scrub();
    let status = ended(&node);
    assert_eq!((status.state, status.findings.count()), (ScrubState::Canceled, 0));
    assert_eq!(node.metrics().scrub.done, 0);
    // A node that is closed does not wait for its scrub.
    node.scrub(Some(1)).expect("it begins");
    wait_for(|| Some(node.scrub_status()).filter(|status| status.findings.checked_bytes() > 0));
    node.shutdown();
    assert!(matches!(node.scrub(None), Err(Error::Stopped)));
}

#[test]
fn damage_is_reported_and_then_stops_the_node() {
    let disk = MemoryDisk::new();
    let node = node(&disk, NodeConfig::default());
    let place = (0..).map(|seed| disk.damage(seed).expect("something is stored"));
    let place = place.take(1000).find(|place| place.starts_with("record ")).expect("a record is damaged");
    node.scrub(None).expect("it begins");
    let status = ended(&node);
    // Entries that are not purged yet may have been hit on the way to a record.
    let hit_record = format!("{:?}", status.findings).contains("mem:records");
    assert!(status.state == ScrubState::Done && hit_record, "{place}: {status:?}");
    assert!(status.records >= 100, "the others were looked at: {status:?}");
    assert_eq!(node.metrics().scrub.damage, status.findings.damage());
    let reason = wait_for(|| node.failed());
    assert!(matches!(&reason, Error::Corrupt(text) if text.contains("mem:")), "{reason}");
    let refused = block_on(node.range(RangeRequest::new(KeyRange::all())));
    assert!(matches!(refused, Err(Error::Corrupt(_))), "{refused:?}");
    assert!(matches!(node.scrub(None), Err(Error::Corrupt(_))));
}

#[test]
fn a_node_scrubs_by_itself_if_it_is_to() {
    let config = NodeConfig { scrub_interval: Duration::from_millis(20), ..NodeConfig::default() };
    let node = node(&MemoryDisk::new(), config);
    wait_for(|| (node.metrics().scrub.done >= 3).then_some(()));
    assert!(node.failed().is_none());
}
