//! What is refused before it is proposed.

use super::harness::*;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::check::{self, Limits};
use coffer_core::state::{Command, TXN_DEPTH_MAX, decode_batch, encode_batch};
use coffer_core::{Error, KeyRange, LeaseId};

fn txn(request: &TxnRequest) -> Result<(), Error> {
    check::txn(request, &Limits::default())
}

fn nested(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
    TxnOp::Txn(TxnRequest { compare: vec![], success, failure })
}

#[test]
fn keys_are_given_and_not_too_long() {
    let limits = Limits { key_bytes_max: 3, ..Limits::default() };
    let put = |key| check::put(&put(key, "v"), &limits);
    assert_eq!(put(""), Err(Error::EmptyKey));
    assert_eq!(put("abc"), Ok(()));
    assert_eq!(put("abcd"), Err(Error::KeyTooLarge));
    assert_eq!(check::range(&RangeRequest::new(key(""))), Err(Error::EmptyKey));
    let delete = |range| check::delete_range(&DeleteRangeRequest { range, prev_kv: false });
    assert_eq!(delete(KeyRange::from(Bytes::new())), Err(Error::EmptyKey));
    assert_eq!(delete(KeyRange::from(&b"\0"[..])), Ok(()));
    for op in [read(key("")), write("", "v"), erase(key(""))] {
        assert_eq!(txn(&always(vec![nested(vec![], vec![op])])), Err(Error::EmptyKey));
    }
    let compare = Compare { range: key(""), result: CompareResult::Equal, target: CompareTarget::Version(0) };
    assert_eq!(txn(&TxnRequest { compare: vec![compare], ..TxnRequest::default() }), Err(Error::EmptyKey));
}

#[test]
fn what_is_ignored_is_not_given() {
    let limits = Limits::default();
    let value = PutRequest { ignore_value: true, ..put("k", "v") };
    let lease = PutRequest { ignore_lease: true, lease: LeaseId(1), ..put("k", "v") };
    assert_eq!(check::put(&value, &limits), Err(Error::ValueProvided));
    assert_eq!(check::put(&lease, &limits), Err(Error::LeaseProvided));
    assert_eq!(check::put(&PutRequest { ignore_value: true, ..put("k", "") }, &limits), Ok(()));
}

#[test]
fn operations_are_limited_and_shared_with_what_is_nested() {
    let puts = |count, tag: &str| (0..count).map(|n| write(&format!("{tag}{n}"), "")).collect::<Vec<_>>();
    assert_eq!(txn(&always(puts(128, "a"))), Ok(()));
    assert_eq!(txn(&always(puts(129, "a"))), Err(Error::TooManyOps));
    let with = |outer, inner| {
        let mut ops = puts(outer - 1, "a");
        ops.push(nested(puts(inner, "b"), puts(inner, "c")));
        txn(&always(ops))
    };
    assert_eq!(with(100, 28), Ok(()));
    assert_eq!(with(100, 29), Err(Error::TooManyOps));
}

#[test]
fn nesting_ends_where_the_operations_do() {
    let deep = |depth| (1..depth).fold(always(vec![]), |inner, _| always(vec![TxnOp::Txn(inner)]));
    assert_eq!(txn(&deep(129)), Ok(()));
    assert_eq!(txn(&deep(130)), Err(Error::TooManyOps));
    let wide = Limits { txn_ops_max: 10_000, ..Limits::default() };
    assert_eq!(check::txn(&deep(TXN_DEPTH_MAX + 1), &wide), Err(Error::TooManyOps));
    let deepest = deep(TXN_DEPTH_MAX);
    assert_eq!(check::txn(&deepest, &wide), Ok(()));
    let proposals = Store::default().proposals(vec![Command::Txn(deepest)]);
    assert_eq!(decode_batch(encode_batch(&proposals)), Ok(proposals));
}

#[test]
fn a_key_is_put_once_on_every_path() {
    let dup = Err(Error::DuplicateKey);
    let put = |key| write(key, "v");
    assert_eq!(txn(&always(vec![put("a"), put("a")])), dup);
    assert_eq!(txn(&always(vec![put("a"), put("b")])), Ok(()));
    let branches = TxnRequest { success: vec![put("a")], failure: vec![put("a")], compare: vec![] };
    assert_eq!(txn(&branches), Ok(()));
    assert_eq!(txn(&TxnRequest { failure: vec![put("a"), put("a")], ..always(vec![]) }), dup);
    let both = || nested(vec![put("a")], vec![put("a")]);
    assert_eq!(txn(&always(vec![both()])), Ok(()));
    assert_eq!(txn(&always(vec![both(), put("a")])), dup);
    assert_eq!(txn(&always(vec![put("a"), both()])), dup);
    assert_eq!(txn(&always(vec![both(), both()])), dup);
    let one_branch_each = vec![nested(vec![put("a")], vec![]), nested(vec![], vec![put("a")])];
    assert_eq!(txn(&always(one_branch_each)), dup);
    assert_eq!(txn(&always(vec![nested(vec![both()], vec![both()])])), Ok(()));
}

#[test]
fn what_is_deleted_is_not_put() {
    let dup = Err(Error::DuplicateKey);
    let put = |key| write(key, "v");
    for ops in [vec![put("b"), erase(between("a", "c"))], vec![erase(between("a", "c")), put("b")]] {
        assert_eq!(txn(&always(ops)), dup);
    }
    assert_eq!(txn(&always(vec![put("c"), erase(between("a", "c"))])), Ok(()));
    assert_eq!(txn(&always(vec![put("a"), erase(key("a"))])), dup);
    assert_eq!(txn(&always(vec![put("ab"), erase(key("a"))])), Ok(()));
    assert_eq!(txn(&always(vec![put("z"), erase(KeyRange::from("y"))])), dup);
    assert_eq!(txn(&always(vec![put("x"), erase(KeyRange::from("y"))])), Ok(()));
    assert_eq!(txn(&always(vec![put("b"), erase(between("c", "a"))])), Ok(()), "an empty range");
    assert_eq!(txn(&always(vec![erase(key("a")), erase(key("a"))])), Ok(()));
    // Between a list and what is nested, and between siblings: as etcd looks at them.
    let puts = |key| nested(vec![], vec![put(key)]);
    let erases = |key| nested(vec![erase(super::harness::key(key))], vec![]);
    assert_eq!(txn(&always(vec![erases("q"), put("q")])), dup);
    assert_eq!(txn(&always(vec![put("q"), erases("q")])), dup);
    assert_eq!(txn(&always(vec![puts("q"), erase(key("q"))])), dup);
    assert_eq!(txn(&always(vec![erases("q"), puts("q")])), dup);
    assert_eq!(txn(&always(vec![puts("q"), erases("q")])), Ok(()));
}

#[test]
fn overlapping_deletions_are_all_remembered() {
    let spans =
        [("d", "f"), ("a", "c"), ("b", "e"), ("a", "b"), ("k", "l"), ("j", "m"), ("h", "i"), ("g", "k")];
    let erases: Vec<TxnOp> = spans.iter().map(|(start, end)| erase(between(start, end))).collect();
    for byte in b'a'..=b'p' {
        let name = char::from(byte).to_string();
        let inside = spans.iter().any(|(start, end)| (*start..*end).contains(&&name[..]));
        let mut ops = erases.clone();
        ops.push(write(&name, "v"));
        assert_eq!(txn(&always(ops)).is_err(), inside, "{name}");
    }
}

#[test]
fn duplicates_are_found_in_reasonable_time() {
    // As many operations as fit in a request, in nested txns: a quadratic check would take minutes.
    let many = |make: &dyn Fn(usize) -> TxnOp| {
        let lists = (0..100).map(|list| nested((0..28).map(|n| make(list * 28 + n)).collect(), vec![]));
        lists.collect::<Vec<_>>()
    };
    let puts = many(&|n| write(&format!("{n:06}"), ""));
    let erases = many(&|n| erase(between(&format!("{n:06}"), &format!("{n:06}0"))));
    let request = always(vec![nested(puts, vec![]), nested(erases, vec![])]);
    let wide = Limits { txn_ops_max: 256, ..Limits::default() };
    assert_eq!(check::txn(&request, &wide), Ok(()));
}

#[test]
fn requests_and_ttls_have_a_size() {
    let limits = Limits { request_bytes_max: 100, ..Limits::default() };
    let command = |bytes: usize| Command::Put(put("k", &"v".repeat(bytes)));
    assert_eq!(check::command(&command(90), &limits), Ok(()));
    assert_eq!(check::command(&command(100), &limits), Err(Error::RequestTooLarge));
    let grant = |ttl_s| check::lease_grant(&LeaseGrantRequest { ttl_s, id: LeaseId::NONE });
    assert_eq!(grant(9_000_000_000), Ok(()));
    assert_eq!(grant(9_000_000_001), Err(Error::LeaseTtlTooLarge));
}

#[test]
fn sort_options_are_known() {
    assert_eq!(check::sort_order(2), Ok(SortOrder::Descend));
    assert_eq!(check::sort_order(3), Err(Error::InvalidSortOption));
    assert_eq!(check::sort_target(4), Ok(SortTarget::Value));
    assert_eq!(check::sort_target(-1), Err(Error::InvalidSortOption));
}

#[test]
fn read_only_and_serializable_are_told_at_every_depth() {
    let serializable = || TxnOp::Range(RangeRequest { serializable: true, ..RangeRequest::new(key("a")) });
    assert!(always(vec![read(key("a")), nested(vec![read(key("b"))], vec![])]).is_read_only());
    assert!(!always(vec![nested(vec![], vec![write("a", "")])]).is_read_only());
    assert!(!TxnRequest { failure: vec![erase(key("a"))], ..always(vec![]) }.is_read_only());
    assert!(always(vec![nested(vec![serializable()], vec![])]).is_serializable());
    assert!(!always(vec![serializable(), nested(vec![], vec![read(key("a"))])]).is_serializable());
}

#[test]
fn operations_are_counted_over_all_nesting() {
    let reads = |count| vec![read(key("a")); count];
    let nested = |failure| {
        let compare =
            Compare { range: key("a"), result: CompareResult::Equal, target: CompareTarget::Version(1) };
        TxnOp::Txn(TxnRequest { compare: vec![compare; 28], success: reads(64), failure: reads(failure) })
    };
    // Each path stays within what etcd allows.
    let with = |failure| {
        let mut ops = vec![nested(64); 63];
        ops.push(nested(failure));
        always(ops)
    };
    let rest = check::TXN_TOTAL_MAX - 64 - 63 * 156 - 28 - 64;
    assert!(rest < 64);
    assert_eq!(txn(&with(rest)), Ok(()));
    assert_eq!(txn(&with(rest + 1)), Err(Error::TooManyOps));
    // Where lists may be longer a plain txn may fill each of its three.
    let wide = Limits { txn_ops_max: 20_000, ..Limits::default() };
    let plain = |count| TxnRequest { success: reads(count), failure: reads(20_000), ..TxnRequest::default() };
    assert_eq!(check::txn(&plain(20_000), &wide), Ok(()));
}
