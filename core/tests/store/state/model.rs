//! Random commands, compactions, prunings and restarts: the state machine against the naive one, and against a twin
//! that prunes at other moments.

use super::commands;
use super::harness::*;
use super::naive::*;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::key_index::Loader;
use coffer_core::state::*;
use coffer_core::storage::DirectoryEntry;
use coffer_core::{KeyRange, LeaseId};
use proptest::prelude::*;

/// One step of a test.
#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Command>),
    /// Prunes one slice of this many keys.
    Prune(usize),
    /// Writes a checkpoint and continues from it.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(commands::command(), 1..4).prop_map(Step::Apply),
        2 => (1usize..5).prop_map(Step::Prune),
        1 => Just(Step::Restart),
    ]
}

/// Drops what pruning finds, from the index and from the records.
fn prune_slice(store: &Store, keys_max: usize) {
    let mut dead = Vec::new();
    store.reader().prune(b"", keys_max, i64::MAX, &mut dead);
    store.values.0.lock().unwrap().retain(|revision, _| !dead.contains(revision));
}

/// A state restored from the checkpoint and the records' directory.
fn restart(store: &mut Store) {
    let Some(checkpoint) = store.state.checkpoint() else { return };
    let mut loader = Loader::new(checkpoint.compact_revision);
    let mut directory: Vec<_> = store.values.0.lock().unwrap().values().cloned().collect();
    directory.sort_by(|a, b| (&a.key, a.revision).cmp(&(&b.key, b.revision)));
    for record in directory {
        let entry = DirectoryEntry {
            revision: record.revision,
            create_revision: record.create_revision,
            version: record.version,
            lease: record.lease,
            tombstone: record.tombstone,
            value_bytes: record.value.len() as u32,
        };
        loader.push(&record.key, &entry).unwrap();
    }
    let (index, dead) = loader.finish();
    store.values.0.lock().unwrap().retain(|revision, _| !dead.contains(revision));
    store.state = State::restore(&checkpoint, index).unwrap();
    assert_eq!(store.state.checkpoint(), Some(checkpoint));
}

fn changes(applied: &Applied) -> Vec<Change> {
    let change = |event: &Event| {
        let record = &event.record;
        let pair = (!record.tombstone).then(|| Pair {
            value: record.value.clone(),
            create: record.create_revision,
            revision: record.revision,
            version: record.version,
            lease: record.lease,
        });
        (record.key.clone(), record.revision, pair, event.prev)
    };
    applied.events.iter().map(change).collect()
}

/// Everything readable is what the naive one says.
fn compare(store: &Store, naive: &Naive) -> Result<(), TestCaseError> {
    let reader = store.reader();
    prop_assert_eq!(reader.revision(), naive.revision());
    prop_assert_eq!(reader.compact_revision(), naive.compact_revision);
    prop_assert_eq!(reader.keys_live(), naive.newest().len() as u64);
    for (at, content) in naive.contents.range(naive.compact_revision.max(1)..) {
        for range in [KeyRange::all(), between("b", "d"), KeyRange::from("c"), key("a")] {
            let request = RangeRequest::new(range.clone());
            let expected = find(content, &request);
            prop_assert_eq!(reader.count(&range, *at), Ok(expected.count));
            prop_assert_eq!(reader.range(request, *at), Ok(expected));
        }
        for (key, pair) in content {
            let version = reader.get(key, *at).unwrap();
            let record = store.values.0.lock().unwrap()[&version.revision].clone();
            prop_assert_eq!(&record.value, &pair.value);
            prop_assert_eq!(record.lease, pair.lease);
        }
    }
    let leases: Vec<LeaseId> = naive.leases.keys().copied().collect();
    prop_assert_eq!(reader.leases(), leases);
    for (id, info) in &naive.leases {
        prop_assert_eq!(reader.lease(*id), Some(*info));
        prop_assert_eq!(reader.lease_keys(*id), naive.lease_keys(*id));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_naive_machine(steps in proptest::collection::vec(step(), 1..40)) {
        let mut store = Store::default();
        let mut naive = Naive::new();
        for step in steps {
            match step {
                Step::Apply(commands) => {
                    naive.changes.clear();
                    let pin = store.reader().pin();
                    let answers = store.apply_all(commands.clone());
                    for (command, answer) in commands.iter().zip(answers) {
                        let mut ranges = Vec::new();
                        let result = answer.result.map(|outcome| store.find_all(outcome, &mut ranges));
                        prop_assert_eq!(&result, &naive.apply(command), "{:?}", command);
                        prop_assert_eq!(ranges, naive.ranges.take(), "{:?}", command);
                        prop_assert_eq!(answer.revision, naive.revision());
                    }
                    prop_assert_eq!(changes(&store.applied), std::mem::take(&mut naive.changes));
                    drop(pin);
                }
                Step::Prune(keys_max) => prune_slice(&store, keys_max),
                Step::Restart => restart(&mut store),
            }
            compare(&store, &naive)?;
        }
    }

    #[test]
    fn pruning_and_restarting_change_no_answer(
        batches in proptest::collection::vec((proptest::collection::vec(commands::command(), 1..4), 0usize..4), 1..40),
    ) {
        let mut plain = Store::default();
        let mut other = Store::default();
        for (commands, nuisance) in batches {
            match nuisance {
                0 => restart(&mut other),
                1 => prune_slice(&other, 2),
                2 => prune_slice(&other, 1),
                _ => {}
            }
            let results = |answers: Vec<Answer>| -> Vec<_> {
                answers.into_iter().map(|answer| (answer.id, answer.revision, answer.result)).collect()
            };
            prop_assert_eq!(results(plain.apply_all(commands.clone())), results(other.apply_all(commands)));
            prop_assert_eq!(&plain.applied.events, &other.applied.events);
            prop_assert_eq!(&plain.applied.leases, &other.applied.leases);
            prop_assert_eq!(plain.applied.compacted, other.applied.compacted);
            prop_assert_eq!(plain.state.checkpoint(), other.state.checkpoint());
        }
    }

    #[test]
    fn batches_round_trip(commands in proptest::collection::vec(commands::command(), 0..8)) {
        let proposals = Store::default().proposals(commands);
        let bytes = encode_batch(&proposals);
        prop_assert_eq!(decode_batch(bytes.clone()), Ok(proposals.clone()));
        for proposal in &proposals {
            let alone = encode_batch(std::slice::from_ref(proposal));
            prop_assert!(encoded_bytes(&proposal.command) < alone.len());
        }
        // Cut short, or with a byte more, it is refused; damaged, it is read as something else or refused.
        for length in 0..bytes.len() {
            prop_assert!(decode_batch(bytes.slice(..length)).is_err());
        }
        prop_assert!(decode_batch([&bytes[..], &[0]].concat().into()).is_err());
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x41;
            let _ = decode_batch(damaged.into());
        }
    }

    #[test]
    fn any_bytes_are_a_batch_or_refused(bytes: Vec<u8>) {
        let _ = decode_batch(bytes.clone().into());
        let _ = decode_batch([&[1u8, 1, 3, 0, 0, 0][..], &bytes].concat().into());
    }

    #[test]
    fn any_bytes_are_a_checkpoint_or_refused(bytes: Vec<u8>) {
        let blob = |state: Bytes| coffer_core::storage::Checkpoint {
            applied: Default::default(),
            revision: 1,
            compact_revision: 0,
            state,
        };
        let index = || Loader::new(0).finish().0;
        let _ = State::restore(&blob(bytes.clone().into()), index());
        let _ = State::restore(&blob([&[1u8][..], &bytes].concat().into()), index());
    }
}
