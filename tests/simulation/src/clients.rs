//! Clients: a few that work on the same keys, some that hold leases, one that compacts.

use crate::machine::Random;
use crate::recorder::Recorder;
use crate::world::World;
use coffer_tests::chaos::history::*;
use coffer_tests::chaos::load::large_value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Keys that everybody works on.
const HOT_KEYS: u64 = 4;
/// Newest revisions that a compaction leaves.
const KEPT_REVISIONS: i64 = 25;

fn milliseconds(random: &mut Random, range: std::ops::Range<u64>) -> Duration {
    Duration::from_micros(random.within(range.start * 1000..range.end * 1000))
}

/// A client that works on hot keys until it is told to end.
pub async fn work(world: Arc<World>, number: u32, mut random: Random) {
    let recorder = &world.recorder;
    let pinned = (!number.is_multiple_of(3)).then_some(u64::from(number));
    let deadline = Duration::from_millis(*random.choose(&[500, 1200, 4000]));
    // What it saw last of each key: what it compares with.
    let mut seen: Vec<(String, i64)> = Vec::new();
    while !recorder.is_stopped() {
        coffer_runtime::sleep(milliseconds(&mut random, 20..200)).await;
        let Some(life) = world.any(&mut random, pinned) else { continue };
        let action = choose(&mut random, recorder, &seen);
        let outcome = recorder.perform(number, &life, action, deadline).await;
        remember(&mut seen, &outcome);
    }
}

fn choose(random: &mut Random, recorder: &Recorder, seen: &[(String, i64)]) -> Action {
    let key = format!("k{}", random.below(HOT_KEYS));
    let value = match random.below(12) {
        0 => large_value(&recorder.fresh_value(), random.within(100..3000) as usize),
        _ => recorder.fresh_value(),
    };
    let read = |keys, serializable, revision| Action::Read { keys, serializable, revision };
    match random.below(100) {
        0..32 => Action::Put { key, value, lease: 0 },
        32..52 => read(Keys::one(&key), false, 0),
        52..58 => read(Keys::one(&key), true, 0),
        58..63 => read(Keys::prefixed("k"), random.chance(300), 0),
        63..68 => {
            let back = random.below(60) as i64;
            let revision = (recorder.newest.load(Ordering::SeqCst) - back).max(1);
            read(Keys::prefixed("k"), random.chance(500), revision)
        }
        68..86 => {
            let expected = if seen.is_empty() { (key, 0) } else { random.choose(seen).clone() };
            let key = expected.0.clone();
            let then = vec![Step::Put { key: key.clone(), value }];
            Action::Txn { when: vec![expected], then, otherwise: vec![Step::Get { key }] }
        }
        86..91 => {
            let other = format!("x{}", random.below(2));
            let gets = [&key, &other].map(|key| Step::Get { key: key.clone() });
            let puts = [&key, &other].map(|key| Step::Put {
                key: key.clone(),
                value: format!("{}-{key}", recorder.fresh_value()),
            });
            Action::Txn {
                when: Vec::new(),
                then: puts.into_iter().chain(gets).collect(),
                otherwise: Vec::new(),
            }
        }
        91..94 => {
            let when = if seen.is_empty() { Vec::new() } else { vec![random.choose(seen).clone()] };
            Action::Txn { when, then: vec![Step::Delete { key }], otherwise: Vec::new() }
        }
        94..99 => Action::Delete { keys: Keys::one(&key) },
        _ => Action::Delete { keys: Keys::prefixed("x") },
    }
}

fn remember(seen: &mut Vec<(String, i64)>, outcome: &Outcome) {
    let Outcome::Ok { revision, answer, .. } = outcome else { return };
    let mut learn = |key: &str, modified: i64| {
        seen.retain(|(known, _)| known != key);
        seen.push((key.to_owned(), modified));
    };
    match answer {
        Answer::Read { pairs } => pairs.iter().for_each(|pair| learn(&pair.key, pair.modified)),
        Answer::Put { before: Some(pair) } => learn(&pair.key, *revision),
        _ => {}
    }
}

/// Grants leases, lets them live for a while, and leaves most of them to their end.
pub async fn lease(world: Arc<World>, number: u32, mut random: Random) {
    let recorder = &world.recorder;
    let deadline = Duration::from_millis(1500);
    let pinned = number.is_multiple_of(2).then_some(u64::from(number));
    let mut count = 0;
    while !recorder.is_stopped() {
        coffer_runtime::sleep(milliseconds(&mut random, 100..900)).await;
        let Some(life) = world.any(&mut random, pinned) else { continue };
        count += 1;
        let id = i64::from(number) * 1_000_000 + count;
        let granted = recorder.perform(number, &life, Action::Grant { lease: id, ttl_s: 2 }, deadline).await;
        if !matches!(granted, Outcome::Ok { .. }) {
            continue;
        }
        for part in 0..random.within(1..3) {
            let Some(life) = world.any(&mut random, pinned) else { continue };
            let put =
                Action::Put { key: format!("lease/{id}/{part}"), value: recorder.fresh_value(), lease: id };
            recorder.perform(number, &life, put, deadline).await;
        }
        for _ in 0..random.below(5) {
            coffer_runtime::sleep(milliseconds(&mut random, 200..1500)).await;
            let Some(life) = world.any(&mut random, pinned) else { continue };
            recorder.perform(number, &life, Action::KeepAlive { lease: id }, deadline).await;
        }
        if random.chance(150)
            && let Some(life) = world.any(&mut random, pinned)
        {
            recorder.perform(number, &life, Action::Revoke { lease: id }, deadline).await;
        }
    }
}

/// Compacts now and then, behind everything that a watch still needs.
pub async fn compact(world: Arc<World>, number: u32, mut random: Random) {
    let pause = *random.choose(&[700, 2500, 9000]);
    while !world.recorder.is_stopped() {
        coffer_runtime::sleep(Duration::from_millis(pause)).await;
        compact_once(&world, number, &mut random).await;
    }
}

/// Compacts once, if there is anything to compact.
pub async fn compact_once(world: &Arc<World>, number: u32, random: &mut Random) {
    let recorder = &world.recorder;
    let newest = recorder.newest.load(Ordering::SeqCst);
    let revision = recorder.needed.load(Ordering::SeqCst).min(newest - KEPT_REVISIONS);
    if revision > 1
        && let Some(life) = world.any(random, None)
    {
        recorder.perform(number, &life, Action::Compact { revision }, Duration::from_secs(2)).await;
    }
}
