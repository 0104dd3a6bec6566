//! The short way of the most frequent request: one key, as it is now, of a node that need not ask anyone.
//!
//! It pins nothing, builds no request and allocates nothing, so that it costs little more than the look-ups.
//!
//! # Invariants
//! - It answers as [`Node::range`] does, or not at all: whatever is out of the ordinary goes the long way.
//! - What was looked up at a revision was whole unless a compaction has passed that revision since. So that is asked
//!   afterwards, in place of a pin before.

use super::{Inner, Node};
use crate::record::KeyValue;
use crate::request::Header;

impl Node {
    /// One key as of the newest revision; `None` if that takes waiting, or would be refused or fail: ask
    /// [`range`](Self::range) then.
    pub fn get_at_once(&self, key: &[u8]) -> Option<(Header, Option<KeyValue>)> {
        let Inner { reader, values, consensus, counters, .. } = &*self.inner;
        if key.is_empty() || self.inner.check().is_err() || !consensus.reads_at_once() {
            return None;
        }
        let at = reader.revision();
        let found = match reader.get(key, at) {
            Some(version) => Some(values.find(version.revision).ok()??),
            None => None,
        };
        if reader.compact_revision() > at {
            return None;
        }
        counters.ranges.add(1);
        Some((self.header_at(at), found.map(|record| record.key_value())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{open, put};
    use crate::key_range::KeyRange;
    use crate::request::{CompactRequest, DeleteRangeRequest, RangeRequest};
    use crate::storage::MemoryDisk;
    use coffer_runtime::park_on;

    #[test]
    fn answers_as_a_range_does() {
        let node = open(&MemoryDisk::default(), 1);
        let same = |key: &str| {
            let range = RangeRequest::new(KeyRange::single(key.to_owned()));
            let long = park_on(node.range(range)).expect("a read succeeds");
            let (header, kv) = node.get_at_once(key.as_bytes()).expect("the node is alone");
            assert_eq!((header, kv), (long.header, long.kvs.into_iter().next()), "{key}");
        };
        same("a");
        put(&node, "a", "1");
        put(&node, "b", "1");
        put(&node, "a", "2");
        same("a");
        same("b");
        same("ab");
        let all = DeleteRangeRequest { range: KeyRange::single("a"), prev_kv: false };
        park_on(node.delete_range(all)).expect("a deletion succeeds");
        same("a");
        let revision = node.header().revision;
        park_on(node.compact(CompactRequest { revision, physical: true })).expect("a compaction succeeds");
        same("a");
        same("b");
    }

    #[test]
    fn leaves_to_the_long_way_what_is_refused() {
        let node = open(&MemoryDisk::default(), 1);
        assert_eq!(node.get_at_once(b""), None);
        node.shutdown();
        assert_eq!(node.get_at_once(b"a"), None);
    }

    #[test]
    fn never_misses_a_key_while_others_compact() {
        let node = open(&MemoryDisk::default(), 1);
        put(&node, "k", "0");
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..300 {
                    let revision = put(&node, "k", &number.to_string());
                    let request = CompactRequest { revision, physical: number % 10 == 0 };
                    park_on(node.compact(request)).expect("a compaction succeeds");
                }
            });
            let mut last = 0;
            while !writer.is_finished() {
                if let Some((header, kv)) = node.get_at_once(b"k") {
                    let kv = kv.expect("the key is never deleted");
                    assert!(kv.mod_revision <= header.revision && kv.mod_revision >= last);
                    last = kv.mod_revision;
                }
            }
        });
    }
}
