//! The state that has no revisions, as one blob.
//!
//! # Format, version 2
//! Primitives are those of [`crate::codec`].
//!
//! ```text
//! blob       := version:u8 = 2  leases  windows  membership  alarms  chain
//! leases     := count:u64  (id:i64 ttl_s:i64 remaining_s:i64)*        ascending by id; 0 remaining: no checkpoint
//! windows    := count:u64  (member:u64 boot:u64 newest:u64 run:u64*)* ascending by member; runs: numbers of
//!               sequences unseen, seen, unseen, … from max(0, newest - 65535) to newest
//! membership := 0:u8 | 1:u8 term:u64 index:u64 configuration:bytes
//! alarms     := count:u64  (member:u64 kind:u8)*       ascending by member; kind: 1 no space, 2 corrupt, 3 no space
//!               as the quota of the member has it, 4 corrupt as the comparison of members has it
//! chain      := start:u64  hash:u64                    not in version 1
//! ```
//!
//! The applied log id, the revision and the compact revision stand beside the blob in
//! [`Checkpoint`]. Which keys hang on a lease is told by the records.
//!
//! # Invariants
//! - Equal states give equal bytes, on every member.

use super::alarms::Alarms;
use super::chain::Chain;
use super::key_index::{At, KeyIndex};
use super::lessor::Lessor;
use super::reader::LeaseInfo;
use super::windows::Windows;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::key_range::KeyRange;
use crate::revision::LeaseId;
use crate::storage::{Checkpoint, LogId};
use bytes::Bytes;
use std::ops::ControlFlow;

const FORMAT_VERSION: u8 = 2;
const FORMAT_VERSION_UNCHAINED: u8 = 1;

/// What a blob holds.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) lessor: Lessor,
    pub(super) windows: Windows,
    pub(super) membership: Option<(LogId, Bytes)>,
    pub(super) alarms: Alarms,
    /// `None` in version 1.
    pub(super) chain: Option<Chain>,
}

pub(super) fn encode(
    lessor: &Lessor,
    windows: &Windows,
    membership: Option<&(LogId, Bytes)>,
    alarms: &Alarms,
    chain: Chain,
) -> Bytes {
    let mut out = Encoder::with_capacity(64 + lessor.len() * 14);
    out.u8(FORMAT_VERSION);
    lessor.encode(&mut out);
    windows.encode(&mut out);
    out.bool(membership.is_some());
    if let Some((id, configuration)) = membership {
        out.u64(id.term);
        out.u64(id.index);
        out.bytes(configuration);
    }
    alarms.encode(&mut out);
    chain.encode(&mut out);
    out.finish()
}

pub(super) fn decode(blob: &Bytes) -> Result<Parts, Malformed> {
    let mut input = Decoder::new(blob.clone());
    let version = input.u8()?;
    if ![FORMAT_VERSION, FORMAT_VERSION_UNCHAINED].contains(&version) {
        return Err(Malformed("checkpoint of an unknown format version"));
    }
    let lessor = Lessor::decode(&mut input)?;
    let windows = Windows::decode(&mut input)?;
    let membership = match input.bool()? {
        false => None,
        true => Some((
            LogId { term: input.u64()?, index: input.u64()? },
            // Copied: a slice would keep the whole blob in memory.
            Bytes::copy_from_slice(&input.bytes()?),
        )),
    };
    let alarms = Alarms::decode(&mut input)?;
    let chain = match version {
        FORMAT_VERSION => Some(Chain::decode(&mut input)?),
        _ => None,
    };
    input.finish()?;
    Ok(Parts { lessor, windows, membership, alarms, chain })
}

/// The checkpoint of a store that is made from what another one held: `applied` is the entry that founds it, with
/// this `membership`.
pub(crate) fn founding(
    applied: LogId,
    membership: Bytes,
    (revision, compact_revision): (i64, i64),
    leases: &[(LeaseId, LeaseInfo)],
) -> Checkpoint {
    let mut lessor = Lessor::default();
    for (id, lease) in leases {
        lessor.grant(*id, lease.ttl_s);
        lessor.checkpoint(*id, lease.remaining_s);
    }
    // Alarms told of the members of the other store.
    let (windows, chain) = (Windows::default(), Chain::behind(applied));
    let state = encode(&lessor, &windows, Some(&(applied, membership)), &Alarms::default(), chain);
    Checkpoint { applied, revision, compact_revision, state }
}

/// Attaches each live key to the lease that its newest version names.
pub(super) fn attach_keys(lessor: &mut Lessor, index: &KeyIndex) -> Result<(), Malformed> {
    let mut missing = false;
    index.walk(&KeyRange::all(), At::Newest, &mut |key, version| {
        if version.lease.is_none() || lessor.attach(version.lease, key) {
            ControlFlow::Continue(())
        } else {
            missing = true;
            ControlFlow::Break(())
        }
    });
    if missing { Err(Malformed("a key is attached to a lease that is not there")) } else { Ok(()) }
}
