use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const S: Duration = Duration::from_secs(1);

fn leading() -> (LeaseClock, Instant) {
    let (mut clock, now) = (LeaseClock::new(), Instant::now());
    clock.promote([], now, Duration::ZERO);
    (clock, now)
}

fn id(id: i64) -> LeaseId {
    LeaseId(id)
}

#[test]
fn a_lease_is_due_at_its_ttl_and_only_once() {
    let (mut clock, now) = leading();
    clock.grant(id(1), 10, now);
    assert_eq!(clock.next_deadline(), Some(now + 10 * S));
    assert!(clock.due(now + 10 * S - Duration::from_nanos(1), 9).is_empty());
    assert_eq!(clock.due(now + 10 * S, 9), [id(1)]);
    assert!(clock.due(now + 20 * S, 9).is_empty());
    assert_eq!(clock.next_deadline(), None);
    assert_eq!(clock.remaining(id(1), now + 11 * S), Some(Duration::ZERO));
    clock.remove(id(1));
    assert!(clock.is_empty() && !clock.is_expiring(id(1)));
}

#[test]
fn a_renewal_waits_for_the_outcome_of_an_expiry() {
    let (mut clock, now) = leading();
    clock.grant(id(1), 10, now);
    assert_eq!(clock.renew(id(1), now + 5 * S), Some(10));
    assert_eq!(clock.remaining(id(1), now + 6 * S), Some(9 * S));
    assert!(clock.due(now + 14 * S, 9).is_empty());
    assert_eq!(clock.due(now + 15 * S, 9), [id(1)]);
    assert!(clock.is_expiring(id(1)));
    assert_eq!(clock.renew(id(1), now + 15 * S), None);
    clock.expiry_failed([id(1), id(2)]);
    assert!(!clock.is_expiring(id(1)));
    assert_eq!(clock.renew(id(1), now + 16 * S), Some(10));
    assert_eq!(clock.renew(id(2), now), None);
}

#[test]
fn a_failed_expiry_is_due_again() {
    let (mut clock, now) = leading();
    clock.grant(id(1), 10, now);
    assert_eq!(clock.due(now + 11 * S, 9), [id(1)]);
    clock.expiry_failed([id(1)]);
    clock.expiry_failed([id(1)]);
    assert_eq!(clock.due(now + 11 * S, 9), [id(1)]);
    assert!(clock.due(now + 11 * S, 9).is_empty());
}

#[test]
fn due_leases_come_in_bounded_pieces_the_oldest_first() {
    let (mut clock, now) = leading();
    for n in (1..=1000).rev() {
        clock.grant(id(n), n, now);
    }
    let mut all = Vec::new();
    loop {
        let some = clock.due(now + 900 * S, 128);
        assert!(some.len() <= 128);
        if some.is_empty() {
            break;
        }
        all.extend(some);
    }
    assert_eq!(all, Vec::from_iter((1..=900).map(id)));
}

#[test]
fn a_new_leader_counts_from_its_own_start() {
    let mut clock = LeaseClock::new();
    let now = Instant::now();
    clock.grant(id(9), 10, now);
    assert!(clock.is_empty() && !clock.is_leading(), "followers do not count");
    let checkpointed = LeaseTerm { id: id(1), ttl_s: 1000, remaining_s: 40 };
    let plain = LeaseTerm { id: id(2), ttl_s: 50, remaining_s: 0 };
    clock.promote([checkpointed, plain], now, S);
    assert_eq!(clock.remaining(id(1), now), Some(41 * S));
    assert_eq!(clock.remaining(id(2), now), Some(51 * S));
    assert!(clock.needs_checkpoint_clear(id(1)) && !clock.needs_checkpoint_clear(id(2)));
    clock.checkpointed(id(1), 0);
    assert!(!clock.needs_checkpoint_clear(id(1)));
    assert_eq!(clock.renew(id(1), now), Some(1000));
    assert_eq!(clock.due(now + 60 * S, 9), [id(2)]);
    clock.demote();
    assert!(clock.is_empty() && clock.next_deadline().is_none() && !clock.is_expiring(id(2)));
}

#[test]
fn long_leases_are_checkpointed_unless_they_are_renewed() {
    let (mut clock, now) = leading();
    clock.grant(id(1), 1000, now);
    clock.grant(id(2), 300, now);
    clock.grant(id(3), 1000, now);
    assert_eq!(clock.next_deadline(), Some(now + 300 * S));
    clock.renew(id(3), now + 100 * S);
    assert_eq!(clock.checkpoints_due(now + 299 * S, 9), []);
    let at = now + 300 * S + Duration::from_millis(500);
    assert_eq!(clock.checkpoints_due(at, 9), [(id(1), 700)], "700 s, rounded up");
    assert_eq!(clock.checkpoints_due(at, 9), []);
    clock.checkpointed(id(1), 700);
    assert!(clock.needs_checkpoint_clear(id(1)));
    assert_eq!(clock.checkpoints_due(now + 400 * S, 9), [(id(3), 700)]);
    assert_eq!(clock.checkpoints_due(at + 300 * S, 9), [(id(1), 400)]);
    clock.remove(id(1));
    assert_eq!(clock.checkpoints_due(at + 600 * S, 9), [(id(3), 200)]);
}

#[test]
fn checkpoints_are_paced() {
    let (mut clock, now) = leading();
    for n in 1..=1000 {
        clock.grant(id(n), 1000, now);
    }
    let mut named = std::collections::HashSet::new();
    for _ in 0..10 {
        let some = clock.checkpoints_due(now + 301 * S, 100);
        assert_eq!(some.len(), 100);
        named.extend(some.into_iter().map(|(id, _)| id));
    }
    assert_eq!(named.len(), 1000);
    assert!(clock.checkpoints_due(now + 301 * S, 100).is_empty());
}

#[test]
fn a_renewal_waits_for_a_checkpoint_that_is_on_its_way() {
    let (mut clock, now) = leading();
    clock.grant(id(1), 1000, now);
    let due = clock.checkpoints_due(now + 900 * S, 9);
    assert_eq!(due, [(id(1), 100)]);
    // Renewed now, the lease would be promised 1000 s, and the next leader would find the 100 s.
    assert_eq!(clock.renew(id(1), now + 900 * S), None);
    clock.checkpointed(id(1), 100);
    clock.checkpoint_over(due, true);
    assert!(clock.needs_checkpoint_clear(id(1)));
    clock.checkpointed(id(1), 0);
    assert_eq!(clock.renew(id(1), now + 900 * S), Some(1000));
}

#[test]
fn a_checkpoint_with_an_unknown_outcome_counts_as_stored() {
    let (mut clock, now) = leading();
    clock.grant(id(1), 1000, now);
    let due = clock.checkpoints_due(now + 900 * S, 9);
    clock.checkpoint_over(due, false);
    assert!(clock.needs_checkpoint_clear(id(1)));
}

#[test]
fn the_longest_ttl_does_not_overflow() {
    let (mut clock, now) = leading();
    clock.grant(id(1), 9_000_000_000, now);
    clock.grant(id(2), i64::MAX, now);
    assert_eq!(clock.remaining(id(1), now), Some(Duration::from_secs(9_000_000_000)));
    assert!(clock.due(now + 1_000_000 * S, 9).is_empty());
}

#[test]
fn a_hundred_thousand_leases_are_cheap() {
    let (mut clock, now) = leading();
    for n in 1..=100_000 {
        clock.grant(id(n), 60, now);
        clock.renew(id(n), now + S);
    }
    let (mut ended, mut rounds) = (0, 0);
    while ended < 100_000 {
        let some = clock.due(now + 61 * S, 256);
        some.iter().for_each(|&id| clock.remove(id));
        ended += some.len();
        rounds += 1;
    }
    assert_eq!(rounds, 391);
    assert!(clock.is_empty() && clock.next_deadline().is_none());
}

#[derive(Clone, Debug)]
enum Op {
    Grant(i64, i64),
    Remove(i64),
    Renew(i64),
    Wait(u64),
    Due(usize),
    Fail(i64),
    Checkpoints,
    Checkpointed(i64, i64),
    Promote,
    Demote,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0i64..8, 1i64..900).prop_map(|(id, ttl)| Op::Grant(id, ttl)),
        1 => (0i64..8).prop_map(Op::Remove),
        3 => (0i64..8).prop_map(Op::Renew),
        6 => (0u64..400).prop_map(Op::Wait),
        4 => (0usize..4).prop_map(Op::Due),
        2 => (0i64..8).prop_map(Op::Fail),
        2 => Just(Op::Checkpoints),
        1 => (0i64..8, 0i64..500).prop_map(|(id, s)| Op::Checkpointed(id, s)),
        1 => Just(Op::Promote),
        1 => Just(Op::Demote),
    ]
}

/// A lease in the model: TTL, checkpoint, second at which it ends, whether it is expiring.
#[derive(Clone, Copy, Debug)]
struct Model {
    ttl: i64,
    checkpoint: i64,
    ends: u64,
    expiring: bool,
}

proptest! {
    #[test]
    fn counts_as_a_map_of_deadlines_does(ops in prop::collection::vec(op(), 1..120)) {
        let (mut clock, start) = leading();
        let mut model: BTreeMap<LeaseId, Model> = BTreeMap::new();
        let (mut at, mut leads) = (0u64, true);
        for op in ops {
            let now = start + at as u32 * S;
            match op {
                Op::Grant(n, ttl) => {
                    clock.grant(id(n), ttl, now);
                    let lease = Model { ttl, checkpoint: 0, ends: at + ttl as u64, expiring: false };
                    model.insert(id(n), lease);
                }
                Op::Remove(n) => {
                    clock.remove(id(n));
                    model.remove(&id(n));
                }
                Op::Renew(n) => {
                    let lease = model.get_mut(&id(n)).filter(|lease| leads && !lease.expiring);
                    prop_assert_eq!(clock.renew(id(n), now), lease.as_ref().map(|lease| lease.ttl));
                    if let Some(lease) = lease {
                        lease.ends = at + lease.ttl as u64;
                    }
                }
                Op::Wait(s) => at += s,
                Op::Due(max) => {
                    let mut expected: Vec<_> = model
                        .iter()
                        .filter(|(_, lease)| leads && !lease.expiring && lease.ends <= at)
                        .map(|(id, lease)| (lease.ends, *id))
                        .collect();
                    expected.sort();
                    expected.truncate(max);
                    let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
                    prop_assert_eq!(clock.due(now, max), expected.clone());
                    for id in expected {
                        model.get_mut(&id).unwrap().expiring = true;
                    }
                }
                Op::Fail(n) => {
                    clock.expiry_failed([id(n)]);
                    model.entry(id(n)).and_modify(|lease| lease.expiring = false);
                }
                Op::Checkpoints => {
                    for (id, remaining) in clock.checkpoints_due(now, usize::MAX) {
                        let lease = model[&id];
                        prop_assert!(lease.ttl > 300 && !lease.expiring && lease.ends > at);
                        prop_assert_eq!(remaining as u64, lease.ends - at);
                        prop_assert_eq!(clock.renew(id, now), None);
                        clock.checkpointed(id, remaining);
                        clock.checkpoint_over([(id, remaining)], true);
                        model.get_mut(&id).unwrap().checkpoint = remaining;
                    }
                }
                Op::Checkpointed(n, remaining) => {
                    clock.checkpointed(id(n), remaining);
                    model.entry(id(n)).and_modify(|lease| lease.checkpoint = remaining);
                }
                Op::Promote => {
                    let terms: Vec<_> = model
                        .iter()
                        .map(|(&id, lease)| LeaseTerm {
                            id,
                            ttl_s: lease.ttl,
                            remaining_s: lease.checkpoint,
                        })
                        .collect();
                    clock.promote(terms, now, 2 * S);
                    leads = true;
                    for lease in model.values_mut() {
                        let left = if lease.checkpoint > 0 { lease.checkpoint } else { lease.ttl };
                        (lease.ends, lease.expiring) = (at + left as u64 + 2, false);
                    }
                }
                Op::Demote => {
                    clock.demote();
                    leads = false;
                    model.values_mut().for_each(|lease| lease.expiring = false);
                }
            }
            let now = start + at as u32 * S;
            for (&id, lease) in &model {
                prop_assert_eq!(clock.is_expiring(id), leads && lease.expiring);
                prop_assert_eq!(clock.needs_checkpoint_clear(id), leads && lease.checkpoint > 0);
                let left = leads.then(|| Duration::from_secs(lease.ends.saturating_sub(at)));
                prop_assert_eq!(clock.remaining(id, now), left);
            }
            prop_assert_eq!(clock.len(), if leads { model.len() } else { 0 });
        }
    }
}
