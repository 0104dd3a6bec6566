//! Random commands over few keys, few leases and few revisions, so that they meet each other.

use super::harness::*;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::Command;
use coffer_core::{KeyRange, LeaseId};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let lease = || (1i64..4).prop_map(LeaseId);
    let term = || select(vec![TERM, TERM, TERM, TERM - 1]);
    prop_oneof![
        8 => put_request().prop_map(Command::Put),
        3 => delete_request().prop_map(Command::DeleteRange),
        6 => txn_request(2).prop_map(Command::Txn),
        2 => (-1i64..40).prop_map(|revision| Command::Compact { revision }),
        2 => (lease(), 1i64..100).prop_map(|(id, ttl_s)| Command::LeaseGrant { id, ttl_s }),
        1 => lease().prop_map(|id| Command::LeaseRevoke { id }),
        1 => (term(), vec(lease(), 0..3)).prop_map(|(term, leases)| Command::LeaseExpire { term, leases }),
        1 => (term(), vec((lease(), -1i64..120), 0..3))
            .prop_map(|(term, remaining)| Command::LeaseCheckpoint { term, remaining }),
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "b", "c", "d", "e"])
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        3 => name().prop_map(key),
        2 => (name(), name()).prop_map(|(start, end)| between(start, end)),
        1 => name().prop_map(KeyRange::from),
        1 => Just(KeyRange::all()),
    ]
}

fn put_request() -> impl Strategy<Value = PutRequest> {
    (name(), 0u8..3, select(vec![0i64, 0, 0, 1, 2, 3]), any::<[bool; 3]>(), any::<u8>()).prop_map(
        |(name, value, lease, [prev_kv, ignore_value, ignore_lease], rare)| {
            let ignore_value = ignore_value && rare < 80;
            let ignore_lease = ignore_lease && (40..120).contains(&rare);
            PutRequest {
                key: Bytes::from_static(name.as_bytes()),
                value: if ignore_value { Bytes::new() } else { vec![value; value as usize].into() },
                lease: if ignore_lease { LeaseId::NONE } else { LeaseId(lease) },
                prev_kv,
                ignore_value,
                ignore_lease,
            }
        },
    )
}

fn delete_request() -> impl Strategy<Value = DeleteRangeRequest> {
    (range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRangeRequest { range, prev_kv })
}

fn range_request() -> impl Strategy<Value = RangeRequest> {
    let order = select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = select(vec![SortTarget::Key, SortTarget::Key, SortTarget::Mod, SortTarget::Value]);
    let revision = prop_oneof![4 => Just(0i64), 1 => 0i64..20];
    (range(), 0i64..4, revision, order, target, any::<[bool; 3]>(), select(vec![0i64, 0, 0, 5])).prop_map(
        |(range, limit, revision, sort_order, sort_target, [serializable, keys_only, few], filter)| {
            RangeRequest {
                limit,
                revision,
                sort_order,
                sort_target,
                serializable,
                keys_only,
                count_only: few && limit == 0,
                min_mod_revision: filter,
                max_create_revision: -filter,
                ..RangeRequest::new(range)
            }
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0i64..4).prop_map(CompareTarget::Version),
        (0i64..12).prop_map(CompareTarget::Create),
        (0i64..12).prop_map(CompareTarget::Mod),
        (0u8..3).prop_map(|value| CompareTarget::Value(vec![value; value as usize].into())),
        (0i64..3).prop_map(|id| CompareTarget::Lease(LeaseId(id))),
    ];
    let result = select(vec![
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
    ]);
    (range(), result, target).prop_map(|(range, result, target)| Compare { range, result, target })
}

fn txn_request(depth: u32) -> BoxedStrategy<TxnRequest> {
    let op = || {
        let leaf = prop_oneof![
            2 => put_request().prop_map(TxnOp::Put),
            1 => delete_request().prop_map(TxnOp::DeleteRange),
            2 => range_request().prop_map(TxnOp::Range),
        ];
        match depth {
            0 => leaf.boxed(),
            _ => prop_oneof![3 => leaf, 1 => txn_request(depth - 1).prop_map(TxnOp::Txn)].boxed(),
        }
    };
    (vec(compare(), 0..3), vec(op(), 0..4), vec(op(), 0..3))
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
        .boxed()
}
