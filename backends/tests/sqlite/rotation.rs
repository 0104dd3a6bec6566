//! Exchanging data keys while a store is in use, and power cuts on the way.

use crate::keys::sealed;
use crate::stored::{SimPlace, append, compact, content, flush, key_ids, keyring, rewrite};
use coffer_backends::io::{Fault, SimDisk};
use coffer_backends::seal::KeyState;
use coffer_core::record::Record;
use coffer_core::storage::{LogId, StorageError};
use std::ops::ControlFlow;

fn filled() -> SimPlace {
    let place = SimPlace::new(SimDisk::new(1));
    let mut store = place.open(sealed()).expect("it opens");
    (0..20).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 2..30).expect("flush");
    flush(&store, 30..60).expect("flush");
    drop(store);
    place
}

#[test]
fn new_rows_get_the_new_key_and_the_old_one_goes_when_nothing_needs_it() {
    let place = filled();
    let mut store = place.open(sealed()).expect("it opens");
    let keys = keyring(&store);
    assert_eq!(key_ids(&store), [1]);
    assert!(!store.records.wants_rewrite());
    assert_eq!(keys.rotate().expect("rotate"), 2);
    let status = keys.status();
    let states: Vec<_> = status.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::DecryptOnly, KeyState::Active]);
    assert!(status.keys[0].in_use && status.keys[0].sealed_bytes > 0);

    append(&mut store, 20).expect("write");
    assert!(keys.status().keys[1].sealed_bytes > 700, "the next group has the new key");
    flush(&store, 60..70).expect("flush");
    let outdated = keys.status().outdated_bytes;
    assert!(outdated > 0 && outdated < store.records.stats().disk_bytes, "{outdated}");
    assert_eq!(key_ids(&store), [1, 2], "the first records need the first key");

    keys.request_rewrite().expect("request");
    assert!(store.records.wants_rewrite());
    let (mut left, mut steps) = (u64::MAX, 0);
    loop {
        let progress = store.log.rewrite(1).expect("rewrite");
        assert!(progress.left_bytes <= left && progress.copied_bytes < 2000, "small steps");
        (left, steps) = (progress.left_bytes, steps + 1);
        if !progress.more {
            break;
        }
    }
    assert!(left == 0 && steps > 20, "{steps} steps, {left} bytes are left");
    left = u64::MAX;
    loop {
        let progress = store.records.rewrite(1).expect("rewrite");
        assert!(progress.left_bytes <= left, "it never gets more");
        left = progress.left_bytes;
        if !progress.more {
            break;
        }
    }
    assert_eq!((left, keys.status().outdated_bytes), (0, 0));
    assert_eq!(key_ids(&store), [2], "nothing needs the first key");
    assert!(!store.records.wants_rewrite());
    let everything = ((0..=20).collect(), (2..70).collect());
    assert_eq!(content(&store), everything);
    drop(store);
    place.disk.crash(1);
    let store = place.open(sealed()).expect("it opens with the new key alone");
    assert_eq!((key_ids(&store), content(&store)), (vec![2], everything));
}

#[test]
fn a_purge_and_compaction_carry_over_as_well() {
    let place = filled();
    let mut store = place.open(sealed()).expect("it opens");
    keyring(&store).rotate().expect("rotate");
    compact(&store, 2..60).expect("compact");
    append(&mut store, 20).expect("write");
    store.log.purge(LogId { term: 1, index: 19 }).expect("purge");
    // The rows go with the groups that follow.
    (21..25).for_each(|index| append(&mut store, index).expect("write"));
    flush(&store, 60..61).expect("flush");
    assert_eq!(key_ids(&store), [2]);
    assert_eq!(content(&store), ((20..25).collect(), vec![60]));
}

#[test]
fn readers_keep_what_they_read() {
    let place = filled();
    let mut store = place.open(sealed()).expect("it opens");
    keyring(&store).rotate().expect("rotate");
    keyring(&store).request_rewrite().expect("request");
    let mut seen = 0;
    let records = store.records.clone();
    let visit = &mut |_: &Record| {
        if seen == 0 {
            rewrite(&mut store).expect("rewrite");
            assert!(key_ids(&store).contains(&1), "a reader needs the first key");
            assert!(store.records.wants_rewrite());
        }
        seen += 1;
        ControlFlow::Continue(())
    };
    records.scan(0, i64::MAX, visit).expect("the reader goes on");
    assert_eq!(seen, 58);
    rewrite(&mut store).expect("rewrite");
    assert_eq!(key_ids(&store), [2]);
}

#[test]
fn a_reader_of_the_log_meets_the_new_rows() {
    let place = filled();
    let mut store = place.open(sealed()).expect("it opens");
    keyring(&store).rotate().expect("rotate");
    let reader = store.log.reader();
    let mut seen = Vec::new();
    let visit = &mut |entry: coffer_core::storage::LogEntry| {
        if seen.is_empty() {
            rewrite(&mut store).expect("rewrite");
        }
        seen.push(entry.id.index);
        ControlFlow::Continue(())
    };
    reader.read(0..u64::MAX, u64::MAX, visit).expect("the reader goes on");
    assert!(seen.iter().copied().eq(0..20), "{seen:?}");
}

#[test]
fn a_cut_at_every_step_loses_nothing_and_is_made_up_for() {
    let filled = filled();
    let exchange = |place: &SimPlace, acked: &mut usize, rotated: &mut bool| -> Result<(), StorageError> {
        let mut store = place.open(sealed())?;
        keyring(&store).rotate()?;
        keyring(&store).request_rewrite()?;
        *rotated = true;
        append(&mut store, 20)?;
        *acked = 21;
        rewrite(&mut store)?;
        flush(&store, 60..70)?;
        drop(store);
        Ok(())
    };
    let before = filled.disk.counters().operations;
    let mut cuts = 0;
    for at in (1..).step_by(3) {
        let place = SimPlace::new(filled.disk.fork());
        place.disk.arm(before + at, Fault::Crash);
        let (mut acked, mut rotated) = (20, false);
        let result = exchange(&place, &mut acked, &mut rotated);
        let fired = place.disk.fired();
        place.disk.crash(at.wrapping_mul(0x9e37_79b9));
        let mut store = place.open(sealed()).unwrap_or_else(|error| panic!("cut at operation {at}: {error}"));
        let wanted = store.records.wants_rewrite();
        let ids = key_ids(&store);
        assert!(!rotated || wanted || ids.len() == 1, "cut at {at}: {ids:?} is forgotten");
        let (indexes, revisions) = content(&store);
        assert!(indexes.len() >= acked && indexes.iter().copied().eq(0..indexes.len() as u64), "{at}");
        assert!(revisions.iter().copied().eq(2..60) || revisions.iter().copied().eq(2..70), "{at}");
        // Whatever was left is made up for; and once more, with the power gone again afterwards.
        rewrite(&mut store).expect("rewrite");
        assert!(!store.records.wants_rewrite() || !wanted, "cut at {at}: it does not end");
        if wanted {
            assert_eq!(key_ids(&store).len(), 1, "cut at {at}");
        }
        drop(store);
        place.disk.crash(at);
        assert_eq!(content(&place.open(sealed()).expect("it opens")), (indexes, revisions), "cut at {at}");
        cuts += usize::from(fired);
        if !fired {
            result.expect("nothing was cut");
            break;
        }
    }
    assert!(cuts > 60, "only {cuts} steps");
}

#[test]
fn keys_that_could_not_be_stored_are_not_used() {
    for at in 1..=6 {
        for fault in [Fault::Eio, Fault::NoSpace] {
            let place = filled();
            let mut store = place.open(sealed()).expect("it opens");
            let keys = keyring(&store);
            place.disk.arm(place.disk.counters().operations + at, fault);
            let rotated = keys.rotate();
            let fired = place.disk.fired();
            place.disk.disarm();
            if !fired {
                continue;
            }
            rotated.expect_err("the disk refused");
            assert_eq!(key_ids(&store), [1], "the keys are those of before");
            append(&mut store, 20).expect("write");
            flush(&store, 60..70).expect("flush");
            drop(store);
            let store = place.open(sealed()).expect("it opens");
            assert_eq!(content(&store), ((0..=20).collect(), (2..70).collect()));
            keyring(&store).rotate().expect("now it works");
        }
    }
}
