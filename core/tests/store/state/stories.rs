//! One story for each rule of the data model.

use super::harness::*;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::*;
use coffer_core::{Error, KeyRange, LeaseId, Revision};

fn rev(main: i64, sub: u32) -> Revision {
    Revision { main, sub }
}

/// Events as text: key, main.sub, prev; deletions with a minus.
fn events(store: &Store) -> Vec<String> {
    let show = |event: &Event| {
        let record = &event.record;
        let sign = if record.tombstone { "-" } else { "+" };
        let prev = event.prev.map(|prev| format!(" was {prev}")).unwrap_or_default();
        format!("{sign}{} {}{prev}", String::from_utf8_lossy(&record.key), record.revision)
    };
    store.applied.events.iter().map(show).collect()
}

#[test]
fn a_fresh_store_is_at_one_and_each_change_takes_the_next_revision() {
    let mut store = Store::default();
    assert_eq!(store.revision(), 1);
    assert_eq!(store.put("a", "1"), 2);
    assert_eq!(events(&store), ["+a 2.0"]);
    assert_eq!(store.put("a", "2"), 3);
    assert_eq!(events(&store), ["+a 3.0 was 2.0"]);
    assert_eq!(store.delete(key("a")), 1);
    assert_eq!(events(&store), ["-a 4.0 was 3.0"]);
    assert_eq!(store.delete(key("a")), 0);
    assert_eq!((store.revision(), store.applied.answers[0].revision), (4, 4));
    assert!(events(&store).is_empty());
}

#[test]
fn version_counts_from_creation_and_begins_anew_after_a_deletion() {
    let mut store = Store::default();
    for value in ["1", "2"] {
        store.put("a", value);
    }
    let version = |store: &Store, at| {
        store.reader().get(b"a", at).map(|v| (v.create_revision, v.revision.main, v.version))
    };
    assert_eq!(version(&store, 3), Some((2, 3, 2)));
    store.delete(key("a"));
    store.put("a", "3");
    assert_eq!(version(&store, 2), Some((2, 2, 1)));
    assert_eq!(version(&store, 4), None);
    assert_eq!(version(&store, 5), Some((5, 5, 1)));
}

#[test]
fn a_tombstone_is_bare() {
    let mut store = Store::default();
    store.grant(9, 10).unwrap();
    store.put_leased("a", 9).unwrap();
    store.delete(key("a"));
    let record = &store.applied.events[0].record;
    assert_eq!(**record, coffer_core::Record::deletion(rev(3, 0), Bytes::from_static(b"a")));
}

#[test]
fn put_answers_with_the_record_before_when_asked() {
    let mut store = Store::default();
    let ask = || Command::Put(PutRequest { prev_kv: true, ..put("a", "x") });
    assert_eq!(store.apply(ask()), Ok(Outcome::Put { prev: None }));
    assert_eq!(store.apply(ask()), Ok(Outcome::Put { prev: Some(rev(2, 0)) }));
    assert_eq!(store.apply(Command::Put(put("a", "y"))), Ok(Outcome::Put { prev: None }));
}

#[test]
fn ignore_value_keeps_the_value_and_needs_the_key() {
    let mut store = Store::default();
    let keep = || Command::Put(PutRequest { ignore_value: true, ..put("a", "") });
    assert_eq!(store.apply(keep()), Err(Error::KeyNotFound));
    assert_eq!(store.revision(), 1);
    store.put("a", "kept");
    store.apply(keep()).unwrap();
    assert_eq!(store.content(3), [("a".into(), "kept".into())]);
    assert_eq!(store.reader().get(b"a", 3).unwrap().version, 2);
}

#[test]
fn put_attaches_moves_and_detaches_leases() {
    let mut store = Store::default();
    assert_eq!(store.put_leased("a", 1), Err(Error::LeaseNotFound));
    store.grant(1, 10).unwrap();
    store.grant(2, 10).unwrap();
    let keys = |store: &Store, id| store.reader().lease_keys(LeaseId(id));
    store.put_leased("a", 1).unwrap();
    assert_eq!(keys(&store, 1), ["a"]);
    store.put_leased("a", 2).unwrap();
    assert_eq!((keys(&store, 1), keys(&store, 2)), (vec![], vec![Bytes::from("a")]));
    store.apply(Command::Put(PutRequest { ignore_lease: true, ..put("a", "x") })).unwrap();
    assert_eq!(keys(&store, 2), ["a"]);
    assert_eq!(store.applied.events[0].record.lease, LeaseId(2));
    store.put("a", "y");
    assert!(keys(&store, 2).is_empty());
    let ignore_absent = PutRequest { ignore_lease: true, ..put("b", "x") };
    assert_eq!(store.apply(Command::Put(ignore_absent)), Err(Error::KeyNotFound));
}

#[test]
fn the_lease_of_a_put_is_checked_before_its_key() {
    let mut store = Store::default();
    let both = PutRequest { ignore_value: true, lease: LeaseId(7), ..put("a", "") };
    assert_eq!(store.apply(Command::Put(both.clone())), Err(Error::LeaseNotFound));
    assert_eq!(store.txn(always(vec![TxnOp::Put(both)])), Err(Error::LeaseNotFound));
}

#[test]
fn a_range_is_deleted_at_one_revision_in_key_order() {
    let mut store = Store::default();
    for name in ["c", "a", "b", "d"] {
        store.put(name, "v");
    }
    let request = DeleteRangeRequest { range: between("a", "d"), prev_kv: true };
    let outcome = store.apply(Command::DeleteRange(request)).unwrap();
    assert_eq!(outcome, Outcome::DeleteRange { deleted: 3, prev: vec![rev(3, 0), rev(4, 0), rev(2, 0)] });
    assert_eq!(events(&store), ["-a 6.0 was 3.0", "-b 6.1 was 4.0", "-c 6.2 was 2.0"]);
    assert_eq!(store.content(6), [("d".into(), "v".into())]);
    assert_eq!(store.content(5).len(), 4);
}

#[test]
fn a_huge_range_is_deleted_in_many_steps_at_one_revision() {
    let mut store = Store::default();
    let names: Vec<String> = (0..2000).map(|n| format!("k{n:05}")).collect();
    for batch in names.chunks(100) {
        store.apply_all(batch.iter().map(|name| Command::Put(put(name, "v"))).collect());
    }
    let before = store.revision();
    assert_eq!(store.delete(KeyRange::prefix("k")), 2000);
    assert_eq!(store.revision(), before + 1);
    assert_eq!(store.applied.events.last().unwrap().record.revision, rev(before + 1, 1999));
    let reader = store.reader();
    assert_eq!(reader.count(&KeyRange::all(), before + 1), Ok(0));
    assert_eq!(reader.count(&KeyRange::all(), before), Ok(2000));
    assert_eq!(reader.count(&KeyRange::all(), before - 1000), Ok(1000));
}

#[test]
fn compares_relate_the_stored_to_the_given() {
    use CompareResult::*;
    use CompareTarget::*;
    let mut store = Store::default();
    store.grant(7, 10).unwrap();
    store.put("a", "1");
    store.put("a", "2");
    store.put_leased("b", 7).unwrap();
    let mut holds = |name: &str, result, target: CompareTarget| store.holds(key(name), result, target);
    assert!(holds("a", Equal, Version(2)) && !holds("a", NotEqual, Version(2)));
    assert!(holds("a", Equal, Create(2)) && holds("a", Less, Create(3)) && !holds("a", Greater, Create(2)));
    assert!(holds("a", Equal, Mod(3)) && holds("a", Greater, Mod(2)));
    assert!(holds("a", Equal, Value("2".into())) && holds("a", Greater, Value("10".into())));
    assert!(holds("b", Equal, Lease(LeaseId(7))) && holds("a", Equal, Lease(LeaseId(0))));
    assert_eq!(store.revision(), 4, "compares change nothing");
}

#[test]
fn an_absent_key_compares_as_zero_but_its_value_never() {
    use CompareResult::*;
    use CompareTarget::*;
    let mut store = Store::default();
    for target in [Version(0), Create(0), Mod(0), Lease(LeaseId(0))] {
        assert!(store.holds(key("x"), Equal, target.clone()), "{target:?}");
        assert!(!store.holds(key("x"), NotEqual, target));
    }
    assert!(store.holds(key("x"), Less, Mod(1)) && store.holds(key("x"), Greater, Version(-1)));
    for result in [Equal, Greater, Less, NotEqual] {
        assert!(!store.holds(key("x"), result, Value(Bytes::new())), "{result:?}");
        assert!(!store.holds(KeyRange::prefix("x"), result, Value("v".into())), "{result:?}");
    }
}

#[test]
fn a_range_compare_must_hold_for_all_keys() {
    use CompareResult::*;
    use CompareTarget::*;
    let mut store = Store::default();
    store.grant(7, 10).unwrap();
    for name in ["p1", "p2", "p3"] {
        store.put_leased(name, 7).unwrap();
    }
    let all = || KeyRange::prefix("p");
    assert!(store.holds(all(), Equal, Version(1)));
    assert!(store.holds(all(), Equal, Value("v".into())));
    assert!(store.holds(all(), Equal, Lease(LeaseId(7))));
    assert!(!store.holds(all(), Greater, Mod(2)));
    assert!(
        store.holds(KeyRange::prefix("q"), Equal, Version(0)),
        "an empty range compares as an absent key"
    );
    store.put("p2", "other");
    assert!(!store.holds(all(), Equal, Value("v".into())));
    assert!(!store.holds(all(), Equal, Lease(LeaseId(7))));
}

#[test]
fn a_txn_takes_one_revision_and_its_reads_see_its_writes() {
    let mut store = Store::default();
    store.put("a", "1");
    let ops =
        vec![read(key("b")), write("b", "2"), read(KeyRange::all()), erase(key("a")), read(KeyRange::all())];
    let (succeeded, responses) = store.txn(always(ops)).unwrap();
    assert!(succeeded);
    assert!(store.found(&responses[0]).is_empty());
    assert_eq!(store.found(&responses[2]), [("a".into(), 2), ("b".into(), 3)]);
    assert_eq!(responses[3], Outcome::DeleteRange { deleted: 1, prev: vec![rev(2, 0)] });
    assert_eq!(store.found(&responses[4]), [("b".into(), 3)]);
    assert_eq!(store.revision(), 3);
    assert_eq!(events(&store), ["+b 3.0", "-a 3.1 was 2.0"]);
}

#[test]
fn a_txn_that_writes_nothing_takes_no_revision() {
    let mut store = Store::default();
    store.put("a", "1");
    store.txn(always(vec![read(key("a")), erase(key("zz"))])).unwrap();
    assert_eq!((store.revision(), store.applied.answers[0].revision), (2, 2));
}

#[test]
fn a_read_in_a_txn_may_ask_for_an_old_revision() {
    let mut store = Store::default();
    store.put("a", "1");
    store.put("a", "2");
    let at = |revision| TxnOp::Range(RangeRequest { revision, ..RangeRequest::new(key("a")) });
    let (_, responses) = store.txn(always(vec![write("b", "x"), at(2), at(3), at(0)])).unwrap();
    let mains: Vec<i64> = responses[1..].iter().map(|response| store.found(response)[0].1).collect();
    assert_eq!(mains, [2, 3, 3]);
    assert_eq!(store.txn(always(vec![write("b", "x"), at(5)])), Err(Error::FutureRevision));
    store.compact(3).unwrap();
    let refused = Err(Error::Compacted { compact_revision: 3 });
    assert_eq!(store.txn(always(vec![write("b", "x"), at(2)])), refused);
    assert_eq!(store.revision(), 4, "a failing txn writes nothing");
}

#[test]
fn nested_compares_see_the_state_before_the_txn() {
    let mut store = Store::default();
    let nested = TxnRequest {
        compare: vec![Compare {
            range: key("a"),
            result: CompareResult::Equal,
            target: CompareTarget::Version(0),
        }],
        success: vec![write("absent", "1")],
        failure: vec![write("present", "1")],
    };
    let (_, responses) = store.txn(always(vec![write("a", "1"), TxnOp::Txn(nested)])).unwrap();
    assert!(matches!(responses[1], Outcome::Txn { succeeded: true, .. }));
    assert_eq!(events(&store), ["+a 2.0", "+absent 2.1"]);
}

#[test]
fn branches_are_chosen_per_txn_at_every_depth() {
    let mut store = Store::default();
    let never = |success, failure| TxnRequest {
        compare: vec![Compare {
            range: key("x"),
            result: CompareResult::Greater,
            target: CompareTarget::Version(0),
        }],
        success,
        failure,
    };
    let inner = never(vec![write("wrong", "")], vec![write("c", "3")]);
    let middle = always(vec![write("b", "2"), TxnOp::Txn(inner), write("d", "4")]);
    let outer =
        never(vec![TxnOp::Txn(always(vec![]))], vec![write("a", "1"), TxnOp::Txn(middle), write("e", "5")]);
    let (succeeded, _) = store.txn(outer).unwrap();
    assert!(!succeeded);
    assert_eq!(events(&store), ["+a 2.0", "+b 2.1", "+c 2.2", "+d 2.3", "+e 2.4"]);
}

#[test]
fn a_txn_fails_before_its_first_write() {
    let mut store = Store::default();
    let bad: [(TxnOp, Error); 3] = [
        (TxnOp::Put(PutRequest { lease: LeaseId(5), ..put("b", "x") }), Error::LeaseNotFound),
        (TxnOp::Put(PutRequest { ignore_value: true, ..put("b", "") }), Error::KeyNotFound),
        (TxnOp::Put(PutRequest { ignore_lease: true, ..put("b", "x") }), Error::KeyNotFound),
    ];
    for (op, error) in bad {
        let nested = TxnOp::Txn(always(vec![op.clone()]));
        assert_eq!(store.txn(always(vec![write("a", "1"), op.clone()])), Err(error.clone()));
        assert_eq!(store.txn(always(vec![write("a", "1"), nested])), Err(error));
        let only_the_other_branch = TxnRequest { failure: vec![op], ..always(vec![]) };
        assert!(store.txn(only_the_other_branch).unwrap().0);
    }
    assert_eq!(store.revision(), 1);
    assert!(store.values.0.lock().unwrap().is_empty());
}

#[test]
fn an_event_names_the_record_that_was_live_before_its_transaction() {
    let mut store = Store::default();
    store.put("k", "1");
    // One nested txn puts what a later one deletes: etcd's rule lets that pass.
    let ops = vec![TxnOp::Txn(always(vec![write("k", "2")])), TxnOp::Txn(always(vec![erase(key("k"))]))];
    let (_, responses) = store.txn(always(ops)).unwrap();
    assert_eq!(events(&store), ["+k 3.0 was 2.0", "-k 3.1 was 2.0"]);
    let Outcome::Txn { responses, .. } = &responses[1] else { panic!() };
    assert_eq!(responses[0], Outcome::DeleteRange { deleted: 1, prev: vec![rev(3, 0)] });
    assert!(store.content(3).is_empty());
}

#[test]
fn limits_and_counts_inside_a_txn() {
    let mut store = Store::default();
    for name in ["a", "b", "c", "d"] {
        store.put(name, "v");
    }
    let limited = RangeRequest { limit: 2, ..RangeRequest::new(KeyRange::all()) };
    let counted = RangeRequest { count_only: true, ..RangeRequest::new(between("b", "d")) };
    let sorted =
        RangeRequest { limit: 1, sort_order: SortOrder::Descend, ..RangeRequest::new(KeyRange::all()) };
    let ops = [limited, counted, sorted].map(TxnOp::Range).into();
    let (_, responses) = store.txn(always(ops)).unwrap();
    let shape = |outcome: &Outcome| {
        let range = store.find(outcome);
        (range.found.len(), range.count)
    };
    assert_eq!(responses.iter().map(shape).collect::<Vec<_>>(), [(3, 4), (0, 2), (4, 4)]);
}

#[test]
fn compaction_moves_forward_and_never_beyond_the_present() {
    let mut store = Store::default();
    for value in ["1", "2", "3"] {
        store.put("a", value);
    }
    assert_eq!(store.compact(5), Err(Error::FutureRevision));
    assert_eq!(store.compact(3), Ok(Outcome::Compact));
    assert_eq!((store.applied.compacted, store.reader().compact_revision()), (Some(3), 3));
    for revision in [3, 2, 0, -1] {
        assert_eq!(store.compact(revision), Err(Error::Compacted { compact_revision: 3 }));
    }
    assert_eq!(store.applied.compacted, None);
    assert_eq!(store.compact(4), Ok(Outcome::Compact), "the present can be compacted");
    assert_eq!(store.revision(), 4, "a compaction takes no revision");
    assert_eq!(store.reader().count(&KeyRange::all(), 3), Err(Error::Compacted { compact_revision: 4 }));
    assert_eq!(store.reader().count(&KeyRange::all(), 4), Ok(1));
}

#[test]
fn a_pin_keeps_its_revision_readable() {
    let mut store = Store::default();
    store.put("a", "1");
    let pin = store.reader().pin();
    let history = store.reader().pin_history();
    store.put("a", "2");
    store.compact(3).unwrap();
    assert!(store.prune(10).is_empty());
    assert_eq!(store.reader().oldest_pin(), Some(0));
    drop(history);
    assert!(store.prune(10).is_empty());
    assert_eq!(store.reader().range(RangeRequest::new(key("a")), 2).unwrap().found[0].revision, rev(2, 0));
    let refused = Error::Compacted { compact_revision: 3 };
    assert_eq!(store.reader().pin_at(2).unwrap_err(), refused);
    assert_eq!(store.reader().pin_at(4).unwrap_err(), Error::FutureRevision);
    assert_eq!(store.reader().pin_at(0).unwrap().revision(), 3);
    drop(pin);
    assert_eq!(store.reader().range(RangeRequest::new(key("a")), 2).unwrap_err(), refused);
    assert_eq!(store.prune(10), [rev(2, 0)]);
    assert_eq!(store.reader().oldest_pin(), None);
}

#[test]
fn leases_are_granted_once() {
    let mut store = Store::default();
    assert_eq!(store.grant(5, 60), Ok(Outcome::LeaseGrant { id: LeaseId(5), ttl_s: 60 }));
    assert_eq!(store.applied.leases, [LeaseChange::Granted { id: LeaseId(5), ttl_s: 60 }]);
    assert_eq!(store.grant(5, 60), Err(Error::LeaseExists));
    assert!(store.applied.leases.is_empty());
    assert_eq!(store.grant(0, 60), Err(Error::LeaseNotFound));
    assert_eq!(store.grant(6, 9_000_000_001), Err(Error::LeaseTtlTooLarge));
    assert_eq!(store.grant(-6, 60), Ok(Outcome::LeaseGrant { id: LeaseId(-6), ttl_s: 60 }));
    assert_eq!(store.reader().leases(), [LeaseId(-6), LeaseId(5)]);
    assert_eq!(store.reader().lease(LeaseId(5)), Some(LeaseInfo { ttl_s: 60, remaining_s: 0 }));
    assert_eq!(store.revision(), 1);
}

#[test]
fn revoking_deletes_the_keys_at_one_revision() {
    let mut store = Store::default();
    let revoke = |id| Command::LeaseRevoke { id: LeaseId(id) };
    store.grant(5, 60).unwrap();
    for name in ["b", "a", "c"] {
        store.put_leased(name, 5).unwrap();
    }
    store.put("b", "detached");
    assert_eq!(store.apply(revoke(5)), Ok(Outcome::LeaseRevoke));
    assert_eq!(events(&store), ["-a 6.0 was 3.0", "-c 6.1 was 4.0"]);
    assert_eq!(store.applied.leases, [LeaseChange::Removed { id: LeaseId(5) }]);
    assert_eq!(store.applied.answers[0].revision, 6);
    assert_eq!(store.apply(revoke(5)), Err(Error::LeaseNotFound));
    store.grant(6, 60).unwrap();
    assert_eq!(store.apply(revoke(6)), Ok(Outcome::LeaseRevoke));
    assert_eq!(store.revision(), 6, "a lease without keys takes no revision");
}

#[test]
fn a_lease_with_many_keys_goes_at_one_revision() {
    let mut store = Store::default();
    store.grant(5, 60).unwrap();
    for n in 0..1300 {
        store.put_leased(&format!("k{n:04}"), 5).unwrap();
    }
    assert_eq!(store.reader().lease_keys(LeaseId(5)).len(), 1300);
    store.apply(Command::LeaseRevoke { id: LeaseId(5) }).unwrap();
    assert_eq!(store.revision(), 1302);
    assert_eq!((store.applied.events.len(), store.reader().keys_live()), (1300, 0));
}

#[test]
fn expiry_counts_only_in_the_term_that_proposed_it() {
    let mut store = Store::default();
    for id in [1, 2] {
        store.grant(id, 60).unwrap();
        store.put_leased(&format!("k{id}"), id).unwrap();
    }
    let expire = |term| Command::LeaseExpire { term, leases: vec![LeaseId(1), LeaseId(9), LeaseId(2)] };
    assert_eq!(store.apply(expire(TERM - 1)), Ok(Outcome::LeaseExpire));
    assert_eq!((store.revision(), store.applied.leases.len()), (3, 0));
    assert_eq!(store.apply(expire(TERM)), Ok(Outcome::LeaseExpire));
    assert_eq!(events(&store), ["-k1 4.0 was 2.0", "-k2 5.0 was 3.0"]);
    assert_eq!(store.reader().lease_count(), 0);
}

#[test]
fn checkpoints_keep_the_remainder_and_zero_clears_it() {
    let mut store = Store::default();
    store.grant(1, 60).unwrap();
    let checkpoint = |term, remaining_s| Command::LeaseCheckpoint {
        term,
        remaining: vec![(LeaseId(1), remaining_s), (LeaseId(2), 5)],
    };
    let remaining = |store: &Store| store.reader().lease(LeaseId(1)).unwrap().remaining_s;
    assert_eq!(store.apply(checkpoint(TERM, 33)), Ok(Outcome::LeaseCheckpoint));
    assert_eq!(store.applied.leases, [LeaseChange::Checkpointed { id: LeaseId(1), remaining_s: 33 }]);
    assert_eq!(store.apply(checkpoint(TERM + 1, 11)), Ok(Outcome::LeaseCheckpoint));
    assert_eq!(remaining(&store), 33);
    store.apply(checkpoint(TERM, 0)).unwrap();
    assert_eq!(remaining(&store), 0);
}

#[test]
fn a_request_id_is_applied_once() {
    let mut store = Store::default();
    let proposal = |boot, sequence, value| Proposal {
        id: RequestId { member: 9, boot, sequence },
        command: Command::Put(put("a", value)),
    };
    let answers = store.apply_proposals(&[proposal(2, 1, "x"), proposal(2, 1, "y"), proposal(1, 9, "z")]);
    assert!(answers[0].result.is_ok());
    assert_eq!(answers[1].result, Err(Error::OutcomeUnknown));
    assert_eq!(answers[2].result, Err(Error::OutcomeUnknown));
    assert_eq!(store.content(2), [("a".into(), "x".into())]);
    assert_eq!(store.applied.events.len(), 1);
}

#[test]
fn each_answer_carries_the_revision_of_its_own_moment() {
    let mut store = Store::default();
    let answers = store.apply_all(vec![
        Command::Put(put("a", "1")),
        Command::Compact { revision: 9 },
        Command::Put(put("b", "1")),
        Command::DeleteRange(DeleteRangeRequest { range: key("zz"), prev_kv: false }),
    ]);
    let revisions: Vec<i64> = answers.iter().map(|answer| answer.revision).collect();
    assert_eq!(revisions, [2, 2, 3, 3]);
}
