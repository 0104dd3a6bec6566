//! Deleted keys stay deleted, however little of their history is left.

use super::case::SuiteConfig;
use super::rig::Rig;
use super::world::Step;
use super::{Make, generate, must};
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use bytes::Bytes;
use rand::RngExt;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// After puts and deletions of the same keys were flushed apart, dropped and partly reclaimed, the directory never
/// shows a dropped put as its key's newest record: the tombstone above it goes last.
pub fn deleted_keys_never_return(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        let keys: Vec<Bytes> = (0..40).map(|number| format!("key/{number:02}").into()).collect();
        let mut main = 1;
        let mut next = || {
            main += 1;
            Revision::first(main)
        };
        // Many live records beside the dead puts keep their segment above any threshold of reclaiming.
        let mut puts: Vec<Record> = keys
            .iter()
            .map(|key| generate::put(next(), key.clone(), generate::bytes(rng, 30), 1, LeaseId::NONE))
            .collect();
        let dead_puts: Vec<Revision> = puts.iter().map(|record| record.revision).collect();
        puts.extend((0..400).map(|number| {
            let key = format!("live/{number}");
            generate::put(next(), key.into(), generate::bytes(rng, 200), 1, LeaseId::NONE)
        }));
        rig.flush(puts);
        let tombstones: Vec<Record> = keys.iter().map(|key| Record::deletion(next(), key.clone())).collect();
        let dead_tombstones = tombstones.iter().map(|record| record.revision);
        let dead: Vec<Revision> = dead_puts.iter().copied().chain(dead_tombstones).collect();
        rig.flush(tombstones);
        rig.flush_some(10);
        rig.take(Step::Drop(dead));
        rig.reclaim_all();
        for _ in 0..2 {
            let mut newest = BTreeMap::new();
            let walk = rig.records().directory(&mut |key, entry| {
                newest.insert(key.to_vec(), entry.tombstone);
                ControlFlow::Continue(())
            });
            must("directory", walk);
            for key in &keys {
                assert_ne!(newest.get(&key[..]), Some(&false), "a deleted key came back");
            }
            rig.crash();
        }
    });
}

/// Marks of revisions that are not stored (a restart may repeat them) take nothing with them, however many they are:
/// what lives beside them stays, though nearly everything seems dead.
pub fn marks_of_nothing_cost_nothing(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        let mut main = 1;
        let records: Vec<Record> = (0..600)
            .map(|number| {
                main += rng.random_range(1..4);
                let key = format!("key/{number:03}").into();
                generate::put(Revision::first(main), key, generate::bytes(rng, 300), 1, LeaseId::NONE)
            })
            .collect();
        let live: Vec<Record> = records.iter().filter(|_| rng.random_ratio(1, 3)).cloned().collect();
        let is_live = |revision: Revision| live.iter().any(|record| record.revision == revision);
        let mut marks: Vec<Revision> = (1..=main)
            .flat_map(|main| (0..3).map(move |sub| Revision { main, sub }))
            .filter(|revision| !is_live(*revision))
            .collect();
        rig.flush(records.clone());
        rig.take(Step::Drop(
            records.iter().map(|record| record.revision).filter(|at| !is_live(*at)).collect(),
        ));
        for _ in 0..2 {
            rig.records().drop_revisions(&marks);
            marks.reverse();
            rig.reclaim_all();
            for record in &live {
                let block = must("read", rig.records().read(record.revision));
                let found = block.as_ref().and_then(|block| block.get(record.revision));
                assert_eq!(found, Some(record), "a live record went with what was marked beside it");
            }
            rig.crash();
        }
    });
}
