//! The bytes of batches and checkpoints, frozen: a change of format must be seen, and must take a new version.

use super::harness::*;
use bytes::Bytes;
use coffer_core::codec::Malformed;
use coffer_core::request::*;
use coffer_core::state::key_index::KeyIndex;
use coffer_core::state::*;
use coffer_core::storage::{Checkpoint, LogId, StorageError};
use coffer_core::{KeyRange, LeaseId};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn batch() -> Vec<Proposal> {
    let txn = TxnRequest {
        compare: vec![
            Compare { range: key("k"), result: CompareResult::Greater, target: CompareTarget::Mod(300) },
            Compare {
                range: KeyRange::from("a"),
                result: CompareResult::NotEqual,
                target: CompareTarget::Value("v".into()),
            },
        ],
        success: vec![
            TxnOp::Range(RangeRequest {
                limit: 5,
                count_only: true,
                sort_order: SortOrder::Descend,
                sort_target: SortTarget::Value,
                max_mod_revision: 9,
                ..RangeRequest::new(between("a", "z"))
            }),
            TxnOp::Txn(always(vec![])),
        ],
        failure: vec![erase(KeyRange::from("q"))],
    };
    let commands = vec![
        Command::Put(PutRequest { lease: LeaseId(-2), ignore_lease: true, ..put("key", "value") }),
        Command::DeleteRange(DeleteRangeRequest { range: between("a", "b"), prev_kv: true }),
        Command::Txn(txn),
        Command::Compact { revision: 1000 },
        Command::LeaseGrant { id: LeaseId(7), ttl_s: 60 },
        Command::LeaseRevoke { id: LeaseId(7) },
        Command::LeaseExpire { term: 2, leases: vec![LeaseId(1), LeaseId(2)] },
        Command::LeaseCheckpoint { term: 2, remaining: vec![(LeaseId(1), 30)] },
        Command::Alarm { alarm: Alarm { member: 500, kind: AlarmKind::Corrupt }, raised: true },
        Command::Quota { member: 500, full: true },
        Command::Differs { member: 500 },
    ];
    let mut sequence = 0;
    let mut identify = |command| {
        sequence += 1;
        // The last ones come from another member.
        let (member, boot) = if sequence < 7 { (500, 3) } else { (501, 1) };
        Proposal { id: RequestId { member, boot, sequence }, command }
    };
    commands.into_iter().map(&mut identify).collect()
}

#[test]
fn a_batch_has_these_bytes() {
    let bytes = encode_batch(&batch());
    assert_eq!(hex(&bytes), BATCH);
    assert_eq!(decode_batch(bytes), Ok(batch()));
}

const BATCH: &str = "010b01f403030104036b65790576616c7565038202010101610162830302020100016bd8040303020161017602000c0204010161017a0a0000120000030000000102010201718404d00f85050e7886060e07f50301070202020488080201023c89090102f4038a0a01f4038b0bf403";

#[test]
fn a_checkpoint_has_these_bytes() {
    let mut store = Store::default();
    store.grant(7, 60).unwrap();
    store.grant(-1, 5).unwrap();
    store.apply(Command::LeaseCheckpoint { term: TERM, remaining: vec![(LeaseId(7), 30)] }).unwrap();
    store.state.apply_membership(LogId { term: 3, index: 900 }, Bytes::from_static(b"members"));
    let gap =
        Proposal { id: RequestId { member: 1, boot: 1, sequence: 9 }, command: Command::Put(put("a", "")) };
    store.apply_proposals(&[gap]);
    let full = Alarm { member: 300, kind: AlarmKind::NoSpace };
    store.apply(Command::Alarm { alarm: full, raised: true }).unwrap();
    store.apply(Command::Quota { member: 301, full: true }).unwrap();
    store.apply(Command::Differs { member: 302 }).unwrap();
    let checkpoint = store.state.checkpoint().unwrap();
    assert_eq!((checkpoint.revision, checkpoint.compact_revision), (2, 0));
    assert_eq!(hex(&checkpoint.state), CHECKPOINT);
    let restored = State::restore(&checkpoint, KeyIndex::new()).unwrap();
    assert_eq!(restored.membership(), Some((LogId { term: 3, index: 900 }, Bytes::from_static(b"members"))));
    assert_eq!(restored.applied(), store.state.applied());
    assert_eq!(restored.checkpoint(), Some(checkpoint));
}

/// As it was before a chain was kept.
#[test]
fn a_checkpoint_of_version_1_is_read() {
    let state = Bytes::from_static(&[1, 0, 0, 0, 1, 5, 2]);
    let applied = LogId { term: 3, index: 900 };
    let checkpoint = Checkpoint { applied, revision: 1, compact_revision: 0, state };
    let restored = State::restore(&checkpoint, KeyIndex::new()).unwrap();
    assert_eq!(restored.reader().alarms(), [Alarm { member: 5, kind: AlarmKind::Corrupt }]);
    assert_eq!(restored.chain(), Chain { start: 900, hash: 0 });
}

const CHECKPOINT: &str =
    "0202010a000e783c0101010c0101010101010203010101038407076d656d6265727303ac0201ad0203ae020400cdb8ccb90f";

#[test]
fn a_fresh_state_has_no_checkpoint() {
    let mut state = State::new();
    assert_eq!(state.checkpoint(), None);
    state.apply_blank(LogId { term: 1, index: 1 });
    assert_eq!(state.checkpoint().unwrap().applied, LogId { term: 1, index: 1 });
}

#[test]
fn keys_of_an_unknown_lease_do_not_restore() {
    let mut store = Store::default();
    store.put("a", "1");
    let checkpoint = store.state.checkpoint().unwrap();
    let mut index = KeyIndex::new();
    index.put(b"a", coffer_core::Revision::first(2), LeaseId(4));
    let refused = Malformed("a key is attached to a lease that is not there");
    assert_eq!(State::restore(&checkpoint, index).unwrap_err(), refused);
}

#[test]
fn a_batch_shares_its_buffer_with_what_was_decoded() {
    let proposals = Store::default().proposals(vec![Command::Put(put("key", &"v".repeat(300)))]);
    let bytes = encode_batch(&proposals);
    let Command::Put(decoded) = &decode_batch(bytes.clone()).unwrap()[0].command else { panic!() };
    let inside = |part: &Bytes| bytes.as_ptr_range().contains(&part.as_ptr());
    assert!(inside(&decoded.key) && inside(&decoded.value));
}

#[test]
fn what_is_no_batch_is_a_fault_and_no_outcome() {
    let mut store = Store::default();
    for bytes in [&b""[..], b"\x02\x00", b"\x01\x01\x63\x00\x00\x00\x00"] {
        let id = LogId { term: 1, index: 5 };
        let error = store.state.apply(id, Bytes::from_static(bytes), &*store.values).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    }
    assert_eq!(store.state.applied(), None);
}
