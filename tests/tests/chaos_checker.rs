//! The checker of chaos runs: sound histories pass, also with everything that is allowed in doubt, and every kind of broken
//! promise that is planted in one is found.

use coffer_tests::chaos::checker::{Kind, check};
use coffer_tests::chaos::history::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// A store as it should be, its clients, and its watchers.
#[derive(Clone)]
struct Sound {
    history: History,
    pairs: BTreeMap<String, Pair>,
    revision: i64,
    now: Micros,
    changes: Vec<(Micros, Vec<Change>)>,
}

const SECOND: Micros = 1_000_000;

impl Sound {
    fn new() -> Self {
        let setting = Setting { seed: 0, election_ms: 1000 };
        let history = History { setting, ..History::default() };
        Self { history, pairs: BTreeMap::new(), revision: 1, now: 0, changes: Vec::new() }
    }

    fn ask(&mut self, action: Action, answer: impl FnOnce(&mut Self) -> Answer) -> usize {
        let call = self.now;
        self.now += 10;
        let answer = answer(self);
        self.now += 10;
        let outcome = Outcome::Ok { revision: self.revision, term: 1, answer };
        self.history.operations.push(Operation { client: 0, call, end: self.now, action, outcome });
        self.now += 10;
        self.history.operations.len() - 1
    }

    fn happen(&mut self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.revision += 1;
            self.changes.push((self.now + 5, changes));
        }
    }

    fn write(&mut self, key: &str, value: &str, lease: i64) -> (Change, Option<Pair>) {
        let before = self.pairs.get(key).cloned();
        let pair = Pair {
            key: key.into(),
            value: value.into(),
            created: before.as_ref().map_or(self.revision + 1, |before| before.created),
            modified: self.revision + 1,
            version: before.as_ref().map_or(0, |before| before.version) + 1,
            lease,
        };
        self.pairs.insert(key.into(), pair.clone());
        (Change { deleted: false, pair, before: before.clone() }, before)
    }

    fn erase(&mut self, keys: &Keys) -> (Vec<Change>, Vec<Pair>) {
        let before: Vec<Pair> =
            self.pairs.values().filter(|pair| keys.contains(&pair.key)).cloned().collect();
        let gone = |pair: &Pair| Change {
            deleted: true,
            pair: Pair { key: pair.key.clone(), modified: self.revision + 1, ..Pair::default() },
            before: Some(pair.clone()),
        };
        let changes = before.iter().map(gone).collect();
        self.pairs.retain(|key, _| !keys.contains(key));
        (changes, before)
    }

    fn put(&mut self, key: &str, value: &str) -> usize {
        self.put_leased(key, value, 0)
    }

    fn put_leased(&mut self, key: &str, value: &str, lease: i64) -> usize {
        self.ask(Action::Put { key: key.into(), value: value.into(), lease }, |store| {
            let (change, before) = store.write(key, value, lease);
            store.happen(vec![change]);
            Answer::Put { before }
        })
    }

    fn delete(&mut self, keys: Keys) -> usize {
        self.ask(Action::Delete { keys: keys.clone() }, |store| {
            let (changes, before) = store.erase(&keys);
            store.happen(changes);
            Answer::Delete { deleted: before.len() as i64, before }
        })
    }

    fn cas(&mut self, key: &str, expected: i64, value: &str) -> usize {
        let then = vec![Step::Put { key: key.into(), value: value.into() }];
        let otherwise = vec![Step::Get { key: key.into() }];
        let when = vec![(key.to_owned(), expected)];
        self.ask(Action::Txn { when, then, otherwise }, |store| {
            let there = store.pairs.get(key).cloned();
            let succeeded = there.as_ref().map_or(0, |pair| pair.modified) == expected;
            let step = if succeeded {
                let (change, before) = store.write(key, value, 0);
                store.happen(vec![change]);
                StepAnswer::Put { before }
            } else {
                StepAnswer::Get { pairs: there.into_iter().collect() }
            };
            Answer::Txn { succeeded, steps: vec![step] }
        })
    }

    fn put_two(&mut self, one: &str, two: &str, value: &str) -> usize {
        let puts = [one, two].map(|key| Step::Put { key: key.into(), value: format!("{value}-{key}") });
        self.ask(Action::Txn { when: vec![], then: puts.into(), otherwise: vec![] }, |store| {
            let written = [one, two].map(|key| store.write(key, &format!("{value}-{key}"), 0));
            let (changes, steps) =
                written.into_iter().map(|(change, before)| (change, StepAnswer::Put { before })).unzip();
            store.happen(changes);
            Answer::Txn { succeeded: true, steps }
        })
    }

    fn read(&mut self, keys: Keys, serializable: bool) -> usize {
        self.ask(Action::Read { keys: keys.clone(), serializable, revision: 0 }, |store| {
            let pairs = store.pairs.values().filter(|pair| keys.contains(&pair.key)).cloned().collect();
            Answer::Read { pairs }
        })
    }

    fn grant(&mut self, lease: i64, ttl_s: i64) -> usize {
        self.ask(Action::Grant { lease, ttl_s }, |_| Answer::Lease { ttl_s })
    }

    fn keep_alive(&mut self, lease: i64, ttl_s: i64) -> usize {
        self.ask(Action::KeepAlive { lease }, |_| Answer::Lease { ttl_s })
    }

    fn expire(&mut self, prefix: &str) {
        let (changes, _) = self.erase(&Keys::prefixed(prefix));
        self.happen(changes);
        self.now += 10;
    }

    /// The operation's client never learns what came of it.
    fn forget(&mut self, number: usize) {
        self.history.operations[number].outcome = Outcome::Unknown("timeout".into());
    }

    /// Watchers of everything and of some of it, and members at rest.
    fn end(mut self) -> History {
        let begin = |from| (0, Notice::Created { revision: from });
        for (watcher, keys, before) in
            [(0, Keys::all(), true), (1, Keys::one("k1"), false), (2, Keys::prefixed("k"), true)]
        {
            let told = self.changes.iter().filter_map(|(at, changes)| {
                let mut changes: Vec<Change> =
                    changes.iter().filter(|change| keys.contains(&change.pair.key)).cloned().collect();
                if !before {
                    changes.iter_mut().for_each(|change| change.before = None);
                }
                (!changes.is_empty()).then_some((*at, Notice::Changes { changes }))
            });
            let mut notices: Vec<_> = std::iter::once(begin(1)).chain(told).collect();
            notices.push((self.now, Notice::Progress { revision: self.revision }));
            let watched = Watched {
                watcher,
                keys: keys.clone(),
                from: 1,
                wants_before: before,
                to_the_end: true,
                notices,
            };
            self.history.watched.push(watched);
        }
        for member in ["m0", "m1", "m2"] {
            self.history.at_rest.push(AtRest {
                member: member.into(),
                revision: self.revision,
                hash: 7,
                compacted: 0,
                pairs: self.pairs.values().cloned().collect(),
            });
        }
        self.history
    }
}

/// A bit of everything; the last number tells apart what is written.
fn story() -> Sound {
    let mut store = Sound::new();
    let mut random = StdRng::seed_from_u64(4);
    for number in 0..200 {
        let key = format!("k{}", random.random_range(0..4));
        let value = format!("v{number}");
        match random.random_range(0..10) {
            0..4 => store.put(&key, &value),
            4 => store.delete(Keys::one(&key)),
            5 => {
                let there = store.pairs.get(&key).map_or(0, |pair| pair.modified);
                store.cas(&key, there, &value)
            }
            6 => store.cas(&key, 1, &value),
            7 => store.put_two("k1", "k2", &value),
            8 => store.read(Keys::prefixed("k"), random.random_bool(0.5)),
            _ => store.read(Keys::one(&key), false),
        };
    }
    store
}

fn kinds(history: &History) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = check(history).violations.iter().map(|violation| violation.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[track_caller]
fn is_sound(history: &History) {
    let found = check(history).violations;
    assert!(found.is_empty(), "{} violations, first {}", found.len(), found[0]);
}

#[track_caller]
fn has(history: &History, kind: Kind) {
    let kinds = kinds(history);
    assert!(kinds.contains(&kind), "{kind:?} is not among {kinds:?}");
}

fn notices(history: &mut History, watcher: usize) -> &mut Vec<(Micros, Notice)> {
    &mut history.watched[watcher].notices
}

/// The place of the notice in the middle of what a watcher was told.
fn middle(history: &History, watcher: usize) -> usize {
    history.watched[watcher].notices.len() / 2
}

#[test]
fn a_sound_history_passes_and_everything_in_it_is_compared() {
    let history = story().end();
    is_sound(&history);
    let verdict = check(&history);
    assert_eq!(verdict.revisions as i64, history.at_rest[0].revision - 1);
    assert!(verdict.reads > 40 && verdict.changes > 200, "{verdict:?}");
}

#[test]
fn histories_are_kept_as_they_are() {
    let history = story().end();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("history.jsonl");
    history.save(&path).expect("saved");
    assert_eq!(History::load(&path).expect("loaded"), history);
}

#[test]
fn unknown_writes_may_have_happened_or_not() {
    let mut store = story();
    let put = store.put("k1", "perhaps");
    let delete = store.delete(Keys::one("k1"));
    let range = store.delete(Keys::prefixed("k"));
    let again = store.put("k3", "also perhaps");
    for number in [put, delete, range, again] {
        store.forget(number);
    }
    let action = Action::Put { key: "k1".into(), value: "never".into(), lease: 0 };
    let (call, end, outcome) = (store.now, store.now + 5, Outcome::Unknown("timeout".into()));
    store.history.operations.push(Operation { client: 0, call, end, action, outcome });
    is_sound(&store.end());
}

#[test]
fn an_unknown_write_may_happen_long_after_its_deadline() {
    let mut store = Sound::new();
    let action = Action::Put { key: "k1".into(), value: "late".into(), lease: 0 };
    let outcome = Outcome::Unknown("timeout".into());
    store.history.operations.push(Operation { client: 1, call: 0, end: 5, action, outcome });
    store.now = 100;
    store.put("k1", "before");
    let (change, _) = store.write("k1", "late", 0);
    store.happen(vec![change]);
    is_sound(&store.end());
}

/// Whoever asked first may have been the later one, where the other can not.
#[test]
fn each_of_several_deletions_in_doubt_explains_what_it_can() {
    let mut store = Sound::new();
    store.put("k1", "one");
    let keys = Keys::one("k1");
    let only_without_k2 = Action::Txn {
        when: vec![("k2".into(), 0)],
        then: vec![Step::Delete { key: "k1".into() }],
        otherwise: Vec::new(),
    };
    for action in [Action::Delete { keys: keys.clone() }, only_without_k2] {
        let (call, end, outcome) = (store.now, store.now + 5, Outcome::Unknown("timeout".into()));
        store.history.operations.push(Operation { client: 1, call, end, action, outcome });
        store.now += 10;
    }
    let delete = |store: &mut Sound| {
        let (changes, _) = store.erase(&keys);
        store.happen(changes);
        store.now += 10;
    };
    delete(&mut store);
    store.put("k2", "here");
    store.put("k1", "two");
    delete(&mut store);
    // A third one is one too many.
    let mut more = store.clone();
    is_sound(&store.end());
    more.put("k1", "three");
    delete(&mut more);
    has(&more.end(), Kind::Unexplained);
}

#[test]
fn a_lost_write_is_found() {
    let mut store = story();
    let lost = store.put("k1", "lost");
    let mut history = store.end();
    // Nobody was ever told of it, and the members do not hold it.
    let revision = history.operations[lost].answer().expect("acknowledged").0;
    for watched in &mut history.watched {
        watched.notices.retain(|(_, notice)| match notice {
            Notice::Changes { changes } => changes.iter().all(|change| change.pair.modified != revision),
            _ => true,
        });
    }
    has(&history, Kind::LostWrite);
    // Another took its place.
    let mut store = story();
    let lost = store.put("k1", "lost");
    let Action::Put { value, .. } = &mut store.history.operations[lost].action else { unreachable!() };
    *value = "something else".into();
    has(&store.end(), Kind::LostWrite);
}

#[test]
fn two_writes_at_one_revision_are_found() {
    let mut store = story();
    let number = store.put("k1", "twice");
    let twin = store.history.operations[number].clone();
    store.history.operations.push(twin);
    has(&store.end(), Kind::LostWrite);
}

#[test]
fn a_doubled_write_is_found() {
    for forgotten in [true, false] {
        let mut store = story();
        let number = store.put("k1", "once");
        if forgotten {
            store.forget(number);
        }
        store.put("k1", "between");
        let (change, _) = store.write("k1", "once", 0);
        store.happen(vec![change]);
        has(&store.end(), Kind::DoubledWrite);
    }
}

#[test]
fn a_doubled_deletion_is_found() {
    let mut store = story();
    store.put("k1", "one");
    let number = store.delete(Keys::one("k1"));
    store.forget(number);
    store.put("k1", "two");
    store.expire("k1");
    has(&store.end(), Kind::Unexplained);
}

#[test]
fn a_write_that_failed_and_happened_is_found() {
    let mut store = story();
    let number = store.put("k1", "refused");
    store.history.operations[number].outcome = Outcome::Failed("no leader".into());
    has(&store.end(), Kind::FailedWriteHappened);
    let mut store = story();
    store.put("k1", "there");
    let number = store.delete(Keys::one("k1"));
    store.history.operations[number].outcome = Outcome::Failed("no leader".into());
    has(&store.end(), Kind::FailedWriteHappened);
}

#[test]
fn a_change_that_nobody_asked_for_is_found() {
    let mut store = story();
    let (change, _) = store.write("k1", "from nowhere", 0);
    store.happen(vec![change]);
    has(&store.end(), Kind::Unexplained);
}

#[test]
fn a_stale_read_is_found() {
    let mut store = story();
    store.put("k1", "old");
    let old = store.read(Keys::one("k1"), false);
    store.put("k1", "new");
    let mut late = store.history.operations[old].clone();
    (late.call, late.end) = (store.now, store.now + 10);
    store.now += 20;
    store.history.operations.push(late.clone());
    let mut history = store.end();
    has(&history, Kind::Stale);
    // It is allowed where old is good enough.
    let Action::Read { serializable, .. } = &mut late.action else { unreachable!() };
    *serializable = true;
    *history.operations.last_mut().expect("just pushed") = late;
    is_sound(&history);
}

#[test]
fn a_read_that_is_staler_than_what_a_watcher_saw_is_found() {
    let mut store = story();
    store.put("k1", "old");
    let old = store.read(Keys::one("k1"), false);
    let new = store.put("k1", "new");
    // Its client does not know of it; a watcher does.
    store.forget(new);
    let mut late = store.history.operations[old].clone();
    (late.call, late.end) = (store.now, store.now + 10);
    store.now += 20;
    store.history.operations.push(late);
    has(&store.end(), Kind::Stale);
}

#[test]
fn a_failed_compare_against_an_old_state_is_found() {
    let mut store = story();
    store.put("k1", "old");
    let old = store.cas("k1", 1, "never");
    store.put("k1", "new");
    let mut late = store.history.operations[old].clone();
    (late.call, late.end) = (store.now, store.now + 10);
    store.now += 20;
    store.history.operations.push(late);
    has(&store.end(), Kind::Stale);
}

#[test]
fn a_write_before_what_was_seen_is_found() {
    let mut store = story();
    let early = store.put("k1", "early");
    store.put("k1", "later");
    // It was asked for only after the later one was answered.
    let operation = &mut store.history.operations[early];
    (operation.call, operation.end) = (store.now, store.now + 10);
    store.now += 20;
    has(&store.end(), Kind::Stale);
}

#[test]
fn an_answer_from_the_future_is_found() {
    let mut store = story();
    let read = store.read(Keys::one("k1"), true);
    store.put("k1", "new");
    let pair = store.pairs["k1"].clone();
    let revision = store.revision;
    store.history.operations[read].outcome =
        Outcome::Ok { revision, term: 1, answer: Answer::Read { pairs: vec![pair] } };
    has(&store.end(), Kind::Future);
}

#[test]
fn a_revision_before_the_first_is_found() {
    let mut store = Sound::new();
    let read = store.read(Keys::one("k1"), false);
    let Outcome::Ok { revision, .. } = &mut store.history.operations[read].outcome else { unreachable!() };
    *revision = 0;
    has(&store.end(), Kind::WrongRead);
}

#[test]
fn a_wrong_read_is_found() {
    let mut store = story();
    store.put("k1", "right");
    let read = store.read(Keys::prefixed("k"), true);
    let Outcome::Ok { answer: Answer::Read { pairs }, .. } = &mut store.history.operations[read].outcome
    else {
        unreachable!()
    };
    pairs.pop();
    has(&store.end(), Kind::WrongRead);
}

#[test]
fn a_wrong_answer_to_a_write_is_found() {
    let mut store = story();
    store.put("k1", "one");
    let number = store.put("k1", "two");
    let Outcome::Ok { answer, .. } = &mut store.history.operations[number].outcome else { unreachable!() };
    *answer = Answer::Put { before: None };
    has(&store.end(), Kind::WrongAnswer);
    // A compare that held, and was said not to.
    let mut store = story();
    store.put("k1", "there");
    let there = store.pairs["k1"].clone();
    let number = store.cas("k1", there.modified, "next");
    store.history.operations[number].outcome = Outcome::Ok {
        revision: there.modified,
        term: 1,
        answer: Answer::Txn { succeeded: false, steps: vec![StepAnswer::Get { pairs: vec![there] }] },
    };
    assert!(!kinds(&store.end()).is_empty());
}

#[test]
fn a_gap_in_revisions_is_found() {
    let mut store = story();
    store.revision += 1;
    store.put("k1", "after the gap");
    has(&store.end(), Kind::BrokenHistory);
}

#[test]
fn a_wrong_version_is_found() {
    let mut store = story();
    store.pairs.entry("k1".into()).or_default().version += 1;
    store.put("k1", "one too many");
    has(&store.end(), Kind::BrokenHistory);
}

#[test]
fn a_gap_in_a_watch_is_found() {
    for watcher in 0..3 {
        let mut history = story().end();
        let at = middle(&history, watcher);
        notices(&mut history, watcher).remove(at);
        assert!(!kinds(&history).is_empty(), "watcher {watcher}");
        if watcher > 0 {
            has(&history, Kind::WatchGap);
        }
    }
}

#[test]
fn the_last_changes_have_to_come() {
    let mut history = story().end();
    notices(&mut history, 2).truncate(20);
    has(&history, Kind::WatchGap);
    history.watched[2].to_the_end = false;
    is_sound(&history);
}

#[test]
fn a_repeated_change_is_found() {
    let mut history = story().end();
    let at = middle(&history, 2);
    let twice = notices(&mut history, 2)[at].clone();
    notices(&mut history, 2).insert(at, twice);
    has(&history, Kind::WatchDuplicate);
}

#[test]
fn a_watch_that_goes_back_is_found() {
    let mut history = story().end();
    let at = middle(&history, 2);
    let earlier = notices(&mut history, 2)[at - 4].clone();
    notices(&mut history, 2).insert(at, earlier);
    has(&history, Kind::WatchOrder);
    let mut history = story().end();
    notices(&mut history, 1).swap(5, 6);
    assert!(!kinds(&history).is_empty());
}

#[test]
fn a_split_revision_is_found() {
    let mut store = story();
    store.put_two("k1", "k2", "both");
    let mut history = store.end();
    let at = notices(&mut history, 2).len() - 2;
    let (time, Notice::Changes { mut changes }) = notices(&mut history, 2)[at].clone() else {
        unreachable!()
    };
    let rest = changes.split_off(1);
    notices(&mut history, 2)[at] = (time, Notice::Changes { changes });
    notices(&mut history, 2).insert(at + 1, (time, Notice::Changes { changes: rest }));
    has(&history, Kind::WatchSplit);
}

#[test]
fn a_change_that_is_told_wrong_is_found() {
    let mut store = story();
    store.put("k2", "right");
    let mut history = store.end();
    let at = notices(&mut history, 2).len() - 2;
    let (_, Notice::Changes { changes }) = &mut notices(&mut history, 2)[at] else { unreachable!() };
    changes[0].pair.value = "wrong".into();
    has(&history, Kind::WatchWrong);
}

#[test]
fn a_wrong_pair_before_is_found() {
    let mut store = story();
    store.put("k2", "one");
    store.put("k2", "two");
    for planted in [None, Some(Pair { key: "k2".into(), value: "never".into(), ..Pair::default() })] {
        let mut history = Sound { history: store.history.clone(), ..copy(&store) }.end();
        let at = notices(&mut history, 2).len() - 2;
        let (_, Notice::Changes { changes }) = &mut notices(&mut history, 2)[at] else { unreachable!() };
        changes[0].before = planted;
        has(&history, Kind::WatchBefore);
    }
}

fn copy(store: &Sound) -> Sound {
    Sound {
        history: History::default(),
        pairs: store.pairs.clone(),
        revision: store.revision,
        now: store.now,
        changes: store.changes.clone(),
    }
}

#[test]
fn what_was_compacted_need_not_be_told() {
    let mut store = story();
    store.put("k2", "one");
    store.put("k2", "two");
    let revision = store.revision;
    let mut history = store.end();
    let at = notices(&mut history, 2).len() - 2;
    let (told, Notice::Changes { changes }) = &mut notices(&mut history, 2)[at] else { unreachable!() };
    changes[0].before = None;
    let call = *told - 1;
    let (action, outcome) = (Action::Compact { revision }, Outcome::Unknown("timeout".into()));
    history.operations.push(Operation { client: 0, call, end: call + 1, action, outcome });
    is_sound(&history);
    history.watched[2].notices.truncate(at);
    history.watched[2].notices.push((call + 1, Notice::Compacted { revision }));
    is_sound(&history);
    history.operations.pop();
    has(&history, Kind::WatchWrong);
}

#[test]
fn progress_ahead_of_changes_is_found() {
    let mut store = story();
    store.put("k2", "new");
    let revision = store.revision;
    let mut history = store.end();
    let at = notices(&mut history, 2).len() - 2;
    let told = notices(&mut history, 2)[at].0;
    notices(&mut history, 2).insert(at, (told, Notice::Progress { revision: revision - 1 }));
    is_sound(&history);
    notices(&mut history, 2)[at] = (told, Notice::Progress { revision });
    has(&history, Kind::WatchProgress);
}

/// A lease of two seconds with a key, renewed once, that ends so long after the renewal.
fn leased(after: Micros) -> Sound {
    let mut store = story();
    store.grant(5, 2);
    store.put_leased("lease/5/0", "there", 5);
    store.now += SECOND;
    store.keep_alive(5, 2);
    store.now += after;
    store.expire("lease/5/");
    store
}

#[test]
fn a_lease_that_ends_in_time_passes() {
    let history = leased(3 * SECOND).end();
    is_sound(&history);
    assert_eq!(check(&history).leases, 1);
}

#[test]
fn a_lease_that_ends_early_is_found() {
    let history = leased(SECOND * 19 / 10).end();
    has(&history, Kind::LeaseEarly);
    // Unless somebody ended it.
    let mut store = leased(SECOND * 19 / 10);
    let (call, end) = (store.now - SECOND / 2, store.now);
    let (action, outcome) = (Action::Revoke { lease: 5 }, Outcome::Unknown("timeout".into()));
    store.history.operations.push(Operation { client: 0, call, end, action, outcome });
    is_sound(&store.end());
}

#[test]
fn a_lease_that_ends_late_is_found() {
    let mut history = leased(8 * SECOND).end();
    has(&history, Kind::LeaseLate);
    // Unless there was trouble.
    let trouble = Disturbance { what: "kill".into(), from: 2 * SECOND, until: 5 * SECOND };
    history.disturbances.push(trouble);
    is_sound(&history);
}

#[test]
fn a_lease_that_never_ends_is_found() {
    let mut store = story();
    store.grant(5, 2);
    store.put_leased("lease/5/0", "there", 5);
    store.now += 30 * SECOND;
    store.put("k1", "last");
    has(&store.end(), Kind::LeaseLate);
}

#[test]
fn a_lease_that_is_renewed_after_its_end_is_found() {
    let mut store = leased(3 * SECOND);
    store.now += SECOND;
    let number = store.keep_alive(5, 0);
    is_sound(&Sound { history: store.history.clone(), ..copy(&store) }.end());
    let Outcome::Ok { answer, .. } = &mut store.history.operations[number].outcome else { unreachable!() };
    *answer = Answer::Lease { ttl_s: 2 };
    has(&store.end(), Kind::LeaseRevived);
}

#[test]
fn half_of_a_lease_is_found() {
    let mut store = story();
    store.grant(5, 2);
    store.put_leased("lease/5/0", "one", 5);
    store.put_leased("lease/5/1", "other", 5);
    store.now += 3 * SECOND;
    store.expire("lease/5/0");
    has(&store.end(), Kind::Unexplained);
}

#[test]
fn members_that_differ_are_found() {
    let change: [fn(&mut AtRest); 5] = [
        |member| member.hash += 1,
        |member| member.revision -= 1,
        |member| member.compacted += 1,
        |member| drop(member.pairs.pop()),
        |member| member.pairs[0].value = "other".into(),
    ];
    for change in change {
        let mut history = story().end();
        change(&mut history.at_rest[1]);
        has(&history, Kind::Divergence);
    }
}
