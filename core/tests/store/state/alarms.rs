//! Alarms: what they refuse, and that they are as durable as the rest.

use super::harness::*;
use coffer_core::request::*;
use coffer_core::state::key_index::KeyIndex;
use coffer_core::state::*;
use coffer_core::storage::LogId;
use coffer_core::{Error, KeyRange, LeaseId};

fn alarm(member: u64, kind: AlarmKind) -> Alarm {
    Alarm { member, kind }
}

fn set(store: &mut Store, alarm: Alarm, raised: bool) -> Option<Alarm> {
    match store.apply(Command::Alarm { alarm, raised }) {
        Ok(Outcome::Alarm { alarm }) => alarm,
        other => panic!("{other:?}"),
    }
}

fn nested(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
    TxnOp::Txn(TxnRequest { compare: vec![], success, failure })
}

/// A store with a key, a lease with a key, and some history.
fn filled() -> Store {
    let mut store = Store::default();
    store.grant(7, 60).unwrap();
    store.grant(8, 60).unwrap();
    store.put_leased("leased", 7).unwrap();
    store.put("a", "1");
    store.put("a", "2");
    store
}

#[test]
fn alarms_are_raised_once_and_cleared_once() {
    let mut store = Store::default();
    let full = alarm(5, AlarmKind::NoSpace);
    assert_eq!(set(&mut store, full, false), None);
    assert_eq!(set(&mut store, full, true), Some(full));
    assert_eq!(set(&mut store, full, true), Some(full));
    let others = [alarm(1, AlarmKind::NoSpace), alarm(5, AlarmKind::Corrupt)];
    for other in others {
        set(&mut store, other, true);
    }
    assert_eq!(store.reader().alarms(), [others[0], full, others[1]]);
    assert_eq!(set(&mut store, full, false), Some(full));
    assert_eq!(store.reader().alarms(), others);
    assert_eq!(store.revision(), 1, "no revision is taken");
}

/// The payload of a membership entry, all of them voters.
fn membership(ids: &[u8]) -> bytes::Bytes {
    let count = u8::try_from(ids.len()).unwrap();
    let members = ids.iter().flat_map(|id| [*id, 0]);
    [1, 1, count].into_iter().chain(ids.iter().copied()).chain([count]).chain(members).collect()
}

#[test]
fn what_a_member_raised_for_itself_leaves_with_it() {
    let mut store = Store::default();
    let mut index = 1000;
    let mut change = |store: &mut Store, ids: &[u8]| {
        index += 1;
        store.state.apply_membership(LogId { term: TERM, index }, membership(ids));
    };
    let quota = |store: &mut Store, member| store.apply(Command::Quota { member, full: true }).unwrap();
    change(&mut store, &[1, 2, 3]);
    for member in [1, 2] {
        quota(&mut store, member);
    }
    store.apply(Command::Differs { member: 3 }).unwrap();
    store.apply(Command::Differs { member: 0 }).unwrap();
    let by_operator = alarm(2, AlarmKind::Corrupt);
    set(&mut store, by_operator, true);
    let of_nobody = alarm(0, AlarmKind::Corrupt);
    let stays = alarm(1, AlarmKind::NoSpace);
    assert_eq!(store.reader().alarms().len(), 5);
    change(&mut store, &[1]);
    assert_eq!(store.reader().alarms(), [of_nobody, stays, by_operator]);
    // What they say after that counts for nothing, also after a restart.
    for _ in 0..2 {
        for command in [Command::Quota { member: 2, full: true }, Command::Differs { member: 3 }] {
            assert_eq!(store.apply(command), Ok(Outcome::Alarm { alarm: None }));
        }
        assert_eq!(store.reader().alarms(), [of_nobody, stays, by_operator]);
        store.state = State::restore(&store.state.checkpoint().unwrap(), KeyIndex::new()).unwrap();
    }
    change(&mut store, &[1, 2]);
    quota(&mut store, 2);
    assert!(store.reader().is_raised_by_quota(2), "one that came back");
}

#[test]
fn a_quota_clears_what_it_has_raised_and_nothing_else() {
    let mut store = Store::default();
    let full = alarm(5, AlarmKind::NoSpace);
    let quota = |store: &mut Store, full| match store.apply(Command::Quota { member: 5, full }) {
        Ok(Outcome::Alarm { alarm }) => alarm,
        other => panic!("{other:?}"),
    };
    assert_eq!(quota(&mut store, false), None);
    for _ in 0..2 {
        assert_eq!(quota(&mut store, true), Some(full));
    }
    assert!(store.reader().is_raised_by_quota(5) && !store.reader().is_raised_by_quota(6));
    assert_eq!(quota(&mut store, false), Some(full));
    assert_eq!(store.reader().alarms(), []);

    // Raised by an operator, before the quota or after it: it stays until an operator clears it.
    for by_quota_first in [false, true] {
        if by_quota_first {
            quota(&mut store, true);
        }
        set(&mut store, full, true);
        quota(&mut store, true);
        assert!(!store.reader().is_raised_by_quota(5));
        assert_eq!(quota(&mut store, false), Some(full), "it is raised still");
        assert_eq!(store.reader().alarms(), [full]);
        let checkpoint = store.state.checkpoint().unwrap();
        let restored = State::restore(&checkpoint, KeyIndex::new()).unwrap();
        assert!(!restored.reader().is_raised_by_quota(5));
        assert_eq!(set(&mut store, full, false), Some(full));
    }

    quota(&mut store, true);
    let checkpoint = store.state.checkpoint().unwrap();
    let restored = State::restore(&checkpoint, KeyIndex::new()).unwrap();
    assert!(restored.reader().is_raised_by_quota(5));
    assert_eq!(set(&mut store, full, false), Some(full), "an operator may clear that as well");
    assert_eq!(store.reader().alarms(), []);
}

#[test]
fn without_space_nothing_grows_and_everything_else_goes_on() {
    let mut store = filled();
    let before = store.revision();
    set(&mut store, alarm(1, AlarmKind::NoSpace), true);
    let never = Compare { range: key("a"), result: CompareResult::Less, target: CompareTarget::Version(0) };
    let growing = [
        Command::Put(put("a", "")),
        Command::Put(PutRequest { ignore_value: true, ..put("unknown", "") }),
        Command::Txn(always(vec![erase(key("a")), write("b", "")])),
        Command::Txn(TxnRequest { compare: vec![never], ..always(vec![write("b", "")]) }),
        Command::Txn(TxnRequest { failure: vec![write("b", "")], ..TxnRequest::default() }),
        Command::Txn(always(vec![nested(vec![], vec![nested(vec![write("b", "")], vec![])])])),
        Command::LeaseGrant { id: LeaseId(9), ttl_s: 5 },
        Command::LeaseGrant { id: LeaseId(7), ttl_s: 5 },
    ];
    for command in growing {
        assert_eq!(store.reader().admit(&command), Err(Error::NoSpace));
        assert_eq!(store.apply(command), Err(Error::NoSpace));
    }
    assert_eq!(store.revision(), before);
    let freeing = [
        Command::Txn(always(vec![read(key("a")), nested(vec![erase(key("a"))], vec![])])),
        Command::Compact { revision: before },
        Command::LeaseCheckpoint { term: TERM, remaining: vec![(LeaseId(8), 3)] },
        Command::LeaseExpire { term: TERM, leases: vec![LeaseId(7)] },
        Command::LeaseRevoke { id: LeaseId(8) },
        Command::DeleteRange(DeleteRangeRequest { range: KeyRange::all(), prev_kv: false }),
    ];
    for command in freeing {
        assert_eq!(store.reader().admit(&command), Ok(()));
        store.apply(command.clone()).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }
    assert!(store.content(store.revision()).is_empty());
    set(&mut store, alarm(1, AlarmKind::NoSpace), false);
    store.put("a", "3");
}

#[test]
fn a_corrupt_cluster_changes_nothing() {
    let mut store = filled();
    let before = (store.revision(), store.content(store.revision()));
    set(&mut store, alarm(2, AlarmKind::Corrupt), true);
    set(&mut store, alarm(2, AlarmKind::NoSpace), true);
    let changing = [
        Command::Put(put("a", "")),
        Command::DeleteRange(DeleteRangeRequest { range: key("a"), prev_kv: false }),
        Command::Txn(always(vec![erase(key("a"))])),
        Command::Compact { revision: before.0 },
        Command::LeaseGrant { id: LeaseId(9), ttl_s: 5 },
        Command::LeaseRevoke { id: LeaseId(7) },
        Command::LeaseExpire { term: TERM, leases: vec![LeaseId(7)] },
    ];
    for command in changing {
        assert!(matches!(store.apply(command.clone()), Err(Error::Corrupt(_))), "{command:?}");
        assert!(store.applied.leases.is_empty() && store.applied.compacted.is_none());
    }
    assert_eq!((store.revision(), store.content(store.revision())), before);
    assert!(store.reader().lease(LeaseId(7)).is_some());
    set(&mut store, alarm(2, AlarmKind::Corrupt), false);
    assert_eq!(store.apply(Command::Put(put("a", ""))), Err(Error::NoSpace), "the other one still stands");
}

#[test]
fn a_member_that_differs_is_named_and_the_others_go_on() {
    let mut store = filled();
    let raised = |store: &mut Store, member| match store.apply(Command::Differs { member }) {
        Ok(Outcome::Alarm { alarm }) => alarm,
        other => panic!("{other:?}"),
    };
    let third = alarm(3, AlarmKind::Corrupt);
    assert_eq!(raised(&mut store, 3), Some(third));
    assert_eq!(raised(&mut store, 3), Some(third), "once is enough");
    assert!(store.reader().differs(3) && !store.reader().differs(2));
    store.put("a", "goes on");
    // What an operator raises beside it stops everybody, as does one that nobody is named in.
    set(&mut store, third, true);
    assert!(!store.reader().differs(3));
    assert!(matches!(store.apply(Command::Put(put("a", ""))), Err(Error::Corrupt(_))));
    set(&mut store, third, false);
    store.put("a", "goes on");
    assert_eq!(raised(&mut store, 0), Some(alarm(0, AlarmKind::Corrupt)));
    assert!(matches!(store.apply(Command::Put(put("a", ""))), Err(Error::Corrupt(_))));
    set(&mut store, alarm(0, AlarmKind::Corrupt), false);
    store.put("a", "goes on");
}

/// One that did something else once is told apart from then on.
#[test]
fn equal_logs_give_equal_chains_and_others_never_again() {
    let (mut one, mut other, mut odd) = (Store::default(), Store::default(), Store::default());
    for number in 0..50 {
        let value = format!("{number}");
        one.put("k", &value);
        other.put("k", &value);
        odd.put("k", if number == 20 { "odd" } else { &value });
        assert_eq!(one.state.chain(), other.state.chain());
        assert_eq!(one.state.chain() != odd.state.chain(), number >= 20, "at {number}");
    }
    one.grant(7, 60).unwrap();
    assert_ne!(one.state.chain(), other.state.chain());
}

#[test]
fn a_checkpoint_keeps_alarms() {
    let mut store = Store::default();
    for raised in [alarm(9, AlarmKind::Corrupt), alarm(9, AlarmKind::NoSpace), alarm(2, AlarmKind::NoSpace)] {
        set(&mut store, raised, true);
    }
    store.apply(Command::Differs { member: 4 }).unwrap();
    let checkpoint = store.state.checkpoint().unwrap();
    let restored = State::restore(&checkpoint, KeyIndex::new()).unwrap();
    assert_eq!(restored.reader().alarms(), store.reader().alarms());
    assert_eq!(restored.reader().alarms().len(), 4);
    assert!(restored.reader().differs(4) && !restored.reader().differs(9));
    assert_eq!(restored.chain(), store.state.chain());
    assert_eq!(restored.checkpoint(), Some(checkpoint));
}

#[test]
fn there_are_only_so_many_alarms() {
    let mut store = Store::default();
    let raise = |member| Command::Alarm { alarm: alarm(member, AlarmKind::NoSpace), raised: true };
    assert!(store.apply_all((0..4096).map(raise).collect()).iter().all(|answer| answer.result.is_ok()));
    assert!(matches!(store.apply(raise(4096)), Err(Error::InvalidArgument(_))));
    assert!(store.apply(raise(17)).is_ok(), "it is raised already");
    assert_eq!(store.reader().alarms().len(), 4096);
    let checkpoint = store.state.checkpoint().unwrap();
    State::restore(&checkpoint, KeyIndex::new()).unwrap();
}

#[test]
fn costs_are_those_of_the_costlier_branch() {
    let pair = |value: usize| 256 + 1 + value;
    let put_of = |value: usize| write("k", &"v".repeat(value));
    let cost = |txn| cost_bytes(&Command::Txn(txn));
    assert_eq!(cost_bytes(&Command::Put(put("k", "value"))), pair(5));
    assert_eq!(cost(always(vec![put_of(1), put_of(2), read(key("k"))])), pair(1) + pair(2));
    let branches = TxnRequest { failure: vec![put_of(900)], ..always(vec![put_of(1), put_of(2)]) };
    assert_eq!(cost(branches), pair(900));
    assert_eq!(cost(always(vec![nested(vec![put_of(3)], vec![put_of(4)]), put_of(5)])), pair(4) + pair(5));
    assert_eq!(cost(always(vec![erase(key("k")), read(key("k"))])), 0);
    assert_eq!(cost_bytes(&Command::LeaseGrant { id: LeaseId(1), ttl_s: 1 }), 64);
    assert_eq!(cost_bytes(&Command::Compact { revision: 1 }), 0);
}
