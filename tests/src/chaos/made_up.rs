//! Histories of a store that never was: concurrent clients of one register map, some told lies, for another checker to judge as well.
//!
//! `tests/porcupine` does that: what the [`checker`](super::checker) lets pass must be linearizable.

use super::checker::{Kind, check};
use super::history::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use std::collections::BTreeMap;

const CLIENTS: usize = 4;
const OPERATIONS: usize = 24;

/// A history and what the checker says of it.
#[derive(Debug, Serialize)]
pub struct Judged {
    /// Whether it found nothing.
    pub sound: bool,
    /// Whether somebody was told a lie.
    pub has_lie: bool,
    /// What clients did.
    pub operations: Vec<Operation>,
}

/// The history of a seed. Every other one has a lie in it.
pub fn judged(seed: u64) -> Judged {
    let mut random = StdRng::seed_from_u64(seed);
    let mut history = sound(&mut random);
    let has_lie = seed % 2 == 1 && lie(&mut random, &mut history);
    // The watcher is told of everything at the end: it proves nothing about when.
    let late = history.operations.iter().map(|operation| operation.end).max().unwrap_or(0) + 1;
    let notices = history.watched.iter_mut().flat_map(|watched| &mut watched.notices);
    notices.for_each(|(at, _)| *at = late);
    let violations = check(&history).violations;
    // Of the watcher and of members at rest another checker knows nothing.
    let sound = violations.iter().all(|violation| violation.kind == Kind::WatchGap);
    Judged { sound, has_lie, operations: history.operations }
}

/// Clients side by side, each operation at some moment between its call and its end.
fn sound(random: &mut StdRng) -> History {
    let mut pairs: BTreeMap<String, Pair> = BTreeMap::new();
    let mut revision = 1;
    let mut free_at = [0; CLIENTS];
    let mut notices = vec![(0, Notice::Created { revision })];
    let mut operations = Vec::new();
    let mut moment: Micros = 0;
    for number in 0..OPERATIONS {
        let client = random.random_range(0..CLIENTS);
        // Moments ascend: they are the order in which the store does things.
        moment = moment.max(free_at[client]) + random.random_range(2..10);
        let call = random.random_range(free_at[client]..moment);
        let end = moment + random.random_range(1..40);
        free_at[client] = end + 1;
        let key = format!("k{}", random.random_range(0..2));
        let before = pairs.get(&key).cloned();
        let value = format!("v{number}");
        let write = |created, version| Pair {
            key: key.clone(),
            value: value.clone(),
            created,
            modified: revision + 1,
            version,
            lease: 0,
        };
        let written = match &before {
            Some(before) => write(before.created, before.version + 1),
            None => write(revision + 1, 1),
        };
        let expected = match random.random_bool(0.6) {
            true => before.as_ref().map_or(0, |before| before.modified),
            false => random.random_range(0..5),
        };
        let holds = before.as_ref().map_or(0, |before| before.modified) == expected;
        let put = Step::Put { key: key.clone(), value: value.clone() };
        let get = Step::Get { key: key.clone() };
        let found: Vec<Pair> = before.iter().cloned().collect();
        let (action, answer, after) = match random.random_range(0..10) {
            0..4 => {
                let action = Action::Put { key: key.clone(), value, lease: 0 };
                (action, Answer::Put { before: before.clone() }, Some(Some(written)))
            }
            4..7 => {
                let action = Action::Read { keys: Keys::one(&key), serializable: false, revision: 0 };
                (action, Answer::Read { pairs: found }, None)
            }
            7..9 => {
                let action = Action::Txn {
                    when: vec![(key.clone(), expected)],
                    then: vec![put],
                    otherwise: vec![get],
                };
                let step = match holds {
                    true => StepAnswer::Put { before: before.clone() },
                    false => StepAnswer::Get { pairs: found },
                };
                (action, Answer::Txn { succeeded: holds, steps: vec![step] }, holds.then_some(Some(written)))
            }
            _ => {
                let action = Action::Delete { keys: Keys::one(&key) };
                let answer = Answer::Delete { deleted: found.len() as i64, before: found.clone() };
                (action, answer, (!found.is_empty()).then_some(None))
            }
        };
        if let Some(after) = after {
            revision += 1;
            let deleted = after.is_none();
            let gone = Pair { key: key.clone(), modified: revision, ..Pair::default() };
            let pair = after.clone().unwrap_or(gone);
            match after {
                Some(after) => pairs.insert(key, after),
                None => pairs.remove(&key),
            };
            notices.push((end, Notice::Changes { changes: vec![Change { deleted, pair, before }] }));
        }
        let outcome = match random.random_bool(0.1) {
            true => Outcome::Unknown("timeout".into()),
            false => Outcome::Ok { revision, term: 1, answer },
        };
        let client = u32::try_from(client).unwrap_or(0);
        operations.push(Operation { client, call, end, action, outcome });
    }
    let watched = Watched { keys: Keys::all(), from: 1, wants_before: true, notices, ..Watched::default() };
    History { operations, watched: vec![watched], ..History::default() }
}

/// Tells one client something else than what happened.
fn lie(random: &mut StdRng, history: &mut History) -> bool {
    let answered: Vec<usize> =
        (0..history.operations.len()).filter(|at| history.operations[*at].answer().is_some()).collect();
    if answered.len() < 4 {
        return false;
    }
    let one = answered[random.random_range(0..answered.len())];
    let other = answered[random.random_range(0..answered.len())];
    match random.random_range(0..3) {
        // What somebody else was told, or what was true at another time.
        0 => {
            let outcome = history.operations[other].outcome.clone();
            let same = std::mem::discriminant(&history.operations[one].action)
                == std::mem::discriminant(&history.operations[other].action);
            let changes = same && outcome != history.operations[one].outcome;
            if changes {
                history.operations[one].outcome = outcome;
            }
            changes
        }
        1 => {
            let Outcome::Ok { revision, .. } = &mut history.operations[one].outcome else { return false };
            *revision += if random.random_bool(0.5) { 1 } else { -1 };
            true
        }
        // It was asked and answered later than it happened.
        _ => {
            let operation = &mut history.operations[one];
            let (call, end) = (operation.end + 200, operation.end + 210);
            (operation.call, operation.end) = (call, end);
            operation.client = 99;
            true
        }
    }
}
