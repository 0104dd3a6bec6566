//! Tests of the records alone.

use super::case::SuiteConfig;
use super::logs::SetOnDrop;
use super::model::{RecordsModel, SeenRecords, directory_of, scan_all};
use super::rig::Rig;
use super::world::{FromSlice, Step};
use super::{Make, generate, must};
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use crate::storage::{Checkpoint, Findings, Flush};
use bytes::Bytes;
use rand::RngExt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Empty values, values of 1.5 MiB, keys with NUL bytes and keys that begin other keys, revisions of 10^12 and
/// thousands of changes at one revision come back as they were.
pub fn awkward_records_are_kept(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        let large = generate::bytes(rng, 3 << 19);
        let keys: [&[u8]; 7] = [b"\0", b"\0\0", b"k", b"k\0", b"k\0\0k", b"kk", b"\xff\xff\xff"];
        let mut records = Vec::new();
        for (main, key) in (2..).zip(keys) {
            for (sub, value) in (0..).zip([Bytes::new(), Bytes::from_static(b"\0"), large.clone()]) {
                records.push(generate::put(
                    Revision { main, sub },
                    Bytes::from_static(key),
                    value,
                    1,
                    LeaseId(i64::MAX),
                ));
            }
        }
        rig.flush(records);
        let long_key = generate::bytes(rng, 16 << 10);
        let many = (0..5_000).map(|sub| {
            let key = if sub % 1_000 == 0 { long_key.clone() } else { format!("many/{sub}").into() };
            Record::deletion(Revision { main: 100, sub }, key)
        });
        rig.flush(many.collect());
        let far = [1_000_000_000_000, i64::MAX - 1].map(|main| {
            generate::put(
                Revision { main, sub: u32::MAX },
                Bytes::from_static(b"far"),
                Bytes::new(),
                main,
                LeaseId(-1),
            )
        });
        rig.flush(far.to_vec());
        rig.look();
        rig.crash();
        rig.look();
    });
}

/// A scan visits exactly the records of its range, and stops where its visitor says.
pub fn scans_cover_exactly_their_range(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..6 {
            rig.flush_some(60);
        }
        let last = rig.revision();
        for _ in 0..80 {
            let (from, to) = (rng.random_range(-1..=last + 2), rng.random_range(-1..=last + 2));
            let seen = must("scan", scan_all(&**rig.records(), from, to));
            let live = rig.world.records.live.values();
            let expected = live.filter(|record| from <= record.revision.main && record.revision.main <= to);
            assert!(
                seen.iter().eq(expected.map(|record| &**record)),
                "a scan of {from}..={to} shows something else"
            );
            let (stop, mut visits) = (rng.random_range(1..20), 0);
            let result = rig.records().scan(from, to, &mut |_| {
                visits += 1;
                if visits < stop { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            must("scan", result);
            assert_eq!(visits, seen.len().min(stop), "visits of a scan that breaks after {stop}");
        }
        let absent = [Revision::first(0), Revision { main: 2, sub: 1_000 }, Revision::first(last + 1)];
        for revision in absent {
            assert!(must("read", rig.records().read(revision)).is_none(), "{revision} was never stored");
        }
    });
}

/// A directory walk stops where its visitor says.
pub fn directory_walks_stop(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(16, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..4 {
            rig.flush_some(50);
        }
        let whole = must("walk", directory_of(&**rig.records()));
        for _ in 0..20 {
            let stop = rng.random_range(1..=whole.len());
            let mut seen = Vec::new();
            let result = rig.records().directory(&mut |key, entry| {
                seen.push((Bytes::copy_from_slice(key), entry.clone()));
                if seen.len() < stop { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            must("walk", result);
            assert!(seen == whole[..stop], "a walk that stops after {stop} shows something else");
        }
    });
}

/// Many small flushes are one store, and reclaiming joins what is small.
pub fn small_flushes_are_joined(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        for flush in 0..300 {
            rig.flush_some(if flush % 7 == 0 { 0 } else { 1 });
        }
        rig.look();
        rig.reclaim_all();
        rig.look();
        let units = rig.records().stats().units;
        assert!(units < 100, "{units} units hold 300 small flushes");
        rig.crash();
        rig.look();
    });
}

/// Dropping records and reclaiming until there is no more to do gives the space back and loses nothing live.
pub fn reclaim_gives_space_back(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(16, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..30 {
            let after = rig.revision();
            let records = (1..=40).map(|n| {
                let (key, value) = (generate::key(rng), generate::bytes(rng, 2_000));
                generate::put(Revision::first(after + n), key, value, after + n, LeaseId::NONE)
            });
            rig.flush(records.collect());
        }
        let before = rig.records().stats();
        assert!(before.live_bytes <= before.disk_bytes, "{before:?}");
        let (kept, last) = (rng.random_range(0..40), rig.revision());
        let dead = rig.world.records.live.keys().copied().filter(|at| at.main % 40 != kept && at.main < last);
        let dead: Vec<_> = dead.collect();
        for chunk in dead.chunks(300) {
            rig.take(Step::Drop(chunk.to_vec()));
            if rng.random_bool(0.5) {
                rig.take(Step::Reclaim { copy_bytes_max: 10_000 });
                rig.look();
            }
        }
        rig.take(Step::Drop(dead));
        rig.reclaim_all();
        rig.look();
        let after = rig.records().stats();
        assert!(after.live_bytes <= after.disk_bytes, "{after:?}");
        assert!(
            2 * after.disk_bytes < before.disk_bytes,
            "of 40 records one lives, yet {before:?} became {after:?}"
        );
        rig.crash();
        rig.look();
        rig.flush_some(20);
        rig.reopen();
        rig.look();
    });
}

/// Readers on other threads see every live record while others are flushed, dropped and reclaimed.
pub fn records_are_read_while_they_are_reclaimed(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(16, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..8 {
            rig.flush_some(60);
        }
        let keeps = |revision: &Revision| revision.main % 5 == 0;
        let kept: Vec<Arc<Record>> =
            rig.world.records.live.values().filter(|record| keeps(&record.revision)).cloned().collect();
        let last = rig.revision();
        let store = rig.records().clone();
        let done = AtomicBool::new(false);
        let seed: u64 = rng.random();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut at = seed as usize;
                while !done.load(Ordering::Acquire) {
                    at = at.wrapping_mul(31).wrapping_add(7);
                    let record = &kept[at % kept.len()];
                    let block = must("read", store.read(record.revision));
                    let found = block.as_ref().and_then(|block| block.get(record.revision));
                    assert_eq!(found, Some(&**record), "a live record is not served");
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let seen = must("scan", scan_all(&*store, 0, last));
                    let seen = seen.iter().filter(|record| keeps(&record.revision));
                    assert!(seen.eq(kept.iter().map(|record| &**record)), "a scan misses live records");
                    let mut findings = Findings::default();
                    must("verify", store.verify(&mut findings));
                    assert_eq!(findings.count(), 0, "verify finds {:?}", findings.listed());
                }
            });
            let _done = SetOnDrop(&done);
            for _ in 0..30 {
                rig.flush_some(20);
                let dead = rig.world.records.live.keys().filter(|at| !keeps(at));
                let dead = dead.copied().filter(|_| rng.random_bool(0.2)).collect();
                rig.take(Step::Drop(dead));
                rig.take(Step::Reclaim { copy_bytes_max: rng.random_range(0..200_000) });
            }
        });
        rig.look();
    });
}

/// The non-revisioned state comes back byte for byte, whatever its size.
pub fn checkpoints_of_any_size_are_kept(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        for length in [0, 1, 4_095, 4_096, 70_000, 5 << 20, 3] {
            let applied = rig.append(1);
            let state = generate::bytes(rng, length);
            let checkpoint = Checkpoint { applied, revision: 1, compact_revision: 0, state };
            rig.take(Step::Flush(Vec::new(), checkpoint));
            rig.crash();
            rig.reopen();
        }
    });
}

/// What a walk does not hold: a lock. A visitor may wait for a flush, a reclaim and an installation; it then goes on
/// in the content that it began in.
pub fn walks_stop_no_writer(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(u64::MAX, |rng| {
        let mut rig = Rig::new(make, rng);
        for _ in 0..5 {
            rig.flush_some(100);
        }
        let before = must("look", SeenRecords::of(&**rig.records())).records;
        let last = rig.revision();
        let flushed: Vec<_> = generate::records(rng, last, 20).into_iter().map(Arc::new).collect();
        let applied = rig.append(1);
        let flush_checkpoint = generate::checkpoint(rng, applied, last + 100);
        let (records, checkpoint) = rig.snapshot(0, 30);
        let store = rig.records();
        let change_everything = || {
            must("flush", store.flush(Flush { records: &flushed, checkpoint: &flush_checkpoint }));
            must("reclaim", store.reclaim(1 << 20));
            must("install", store.install(&checkpoint, &mut FromSlice::new(&records)));
        };
        let mut seen = Vec::new();
        let result = store.scan(0, last, &mut |record| {
            if seen.is_empty() {
                // On another thread, because a lock may be one that its own thread can take twice.
                thread::scope(|scope| scope.spawn(change_everything).join())
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            seen.push(record.clone());
            ControlFlow::Continue(())
        });
        must("scan", result);
        assert!(
            seen == before,
            "a scan shows {} records of another time than its {}",
            seen.len(),
            before.len()
        );
        let after = must("look", SeenRecords::of(&**store));
        assert_eq!(after.difference(&RecordsModel::installed(&records, &checkpoint)), None);
    });
}
