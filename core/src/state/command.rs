//! How a batch of proposals is laid out in a log entry.
//!
//! # Format, version 1
//! Primitives are those of [`crate::codec`]. `*` repeats, `[ ]` is present under the condition named beside it.
//!
//! ```text
//! batch     := version:u8 = 1   count:u64   proposal*
//! proposal  := kind:u8          1 put, 2 delete range, 3 txn, 4 compact, 5 lease grant, 6 lease revoke,
//!                               7 lease expire, 8 lease checkpoint, 9 alarm, 10 quota, 11 differs;
//!                               + 0x80: same member and boot as before
//!              [member:u64 boot:u64]   without 0x80
//!              sequence:u64   body
//! put       := flags:u8 (1 prev_kv, 2 ignore_value, 4 ignore_lease)  key:bytes  value:bytes  lease:i64
//! delete    := flags:u8 (1 prev_kv)  range
//! txn       := count compare*   count op* (success)   count op* (failure)
//! compare   := target:u8 (0 version, 1 create, 2 mod, 3 value, 4 lease)
//!              result:u8 (0 equal, 1 greater, 2 less, 3 not equal)  range  operand:i64 | bytes (value)
//! op        := kind:u8 (0 range, 1 put, 2 delete, 3 txn)  body
//! read      := flags:u8 (1 serializable, 2 keys_only, 4 count_only, 8 filtered)  order:u8  target:u8  range
//!              limit:i64  revision:i64  [min_mod max_mod min_create max_create : i64]  with flag 8
//! range     := form:u8 (0 single, 1 before, 2 open)  start:bytes  [end:bytes]  with form 1
//! compact   := revision:i64
//! grant     := id:i64  ttl_s:i64
//! revoke    := id:i64
//! expire    := term:u64  count  id:i64 *
//! checkpoint:= term:u64  count  (id:i64 remaining_s:i64)*
//! alarm     := flags:u8 (1 raised)  kind:u8 (1 no space, 2 corrupt)  member:u64
//! quota     := flags:u8 (1 full)  member:u64
//! differs   := member:u64
//! ```
//!
//! # Invariants
//! - Encoding is a function of the proposals: equal proposals give equal bytes.
//! - Decoding any bytes ends in proposals or [`Malformed`]: no panic, no allocation out of proportion to the input,
//!   no recursion deeper than [`TXN_DEPTH_MAX`]. Keys and values share the input's buffer.

use super::{Command, Proposal, RequestId, alarms};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::key_range::KeyRange;
use crate::request::{
    Alarm, Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, SortOrder,
    SortTarget, TxnOp, TxnRequest,
};
use crate::revision::LeaseId;
use bytes::Bytes;
use std::ops::Bound;

/// How deep txns may nest. Above what etcd's rule on operations allows at its default of 128.
pub const TXN_DEPTH_MAX: usize = 160;

const FORMAT_VERSION: u8 = 1;
const SAME_LIFE: u8 = 0x80;

/// Encodes proposals for one log entry.
pub fn encode_batch(proposals: &[Proposal]) -> Bytes {
    let mut size = Size(0);
    write_batch(&mut size, proposals);
    let mut encoder = Encoder::with_capacity(size.0);
    write_batch(&mut encoder, proposals);
    encoder.finish()
}

/// Reads what [`encode_batch`] wrote.
///
/// # Errors
/// `batch` is something else.
pub fn decode_batch(batch: Bytes) -> Result<Vec<Proposal>, Malformed> {
    let mut input = Decoder::new(batch);
    if input.u8()? != FORMAT_VERSION {
        return Err(Malformed("batch of an unknown format version"));
    }
    // The shortest proposal: kind, sequence and a one-byte body.
    let count = input.count(3)?;
    let mut proposals = Vec::with_capacity(count.min(ROOM_MAX));
    let mut life = None;
    for _ in 0..count {
        let proposal = read_proposal(&mut input, life)?;
        life = Some((proposal.id.member, proposal.id.boot));
        proposals.push(proposal);
    }
    input.finish()?;
    Ok(proposals)
}

/// Bytes that `command` takes in a log entry, its identity not counted.
pub fn encoded_bytes(command: &Command) -> usize {
    let mut size = Size(0);
    write_command(&mut size, command);
    size.0
}

/// A list grows beyond this only by what was really read.
const ROOM_MAX: usize = 1024;

/// Where an encoding goes.
trait Sink {
    fn u8(&mut self, value: u8);
    fn u64(&mut self, value: u64);
    fn i64(&mut self, value: i64);
    fn bytes(&mut self, value: &[u8]);
}

impl Sink for Encoder {
    fn u8(&mut self, value: u8) {
        Encoder::u8(self, value);
    }
    fn u64(&mut self, value: u64) {
        Encoder::u64(self, value);
    }
    fn i64(&mut self, value: i64) {
        Encoder::i64(self, value);
    }
    fn bytes(&mut self, value: &[u8]) {
        Encoder::bytes(self, value);
    }
}

/// Counts the bytes that an [`Encoder`] would write.
struct Size(usize);

impl Sink for Size {
    fn u8(&mut self, _value: u8) {
        self.0 += 1;
    }
    fn u64(&mut self, value: u64) {
        self.0 += (64 - (value | 1).leading_zeros() as usize).div_ceil(7);
    }
    fn i64(&mut self, value: i64) {
        self.u64(((value << 1) ^ (value >> 63)) as u64);
    }
    fn bytes(&mut self, value: &[u8]) {
        self.u64(value.len() as u64);
        self.0 += value.len();
    }
}

fn write_batch(out: &mut impl Sink, proposals: &[Proposal]) {
    out.u8(FORMAT_VERSION);
    out.u64(proposals.len() as u64);
    let mut life = None;
    for Proposal { id, command } in proposals {
        if life.replace((id.member, id.boot)) == Some((id.member, id.boot)) {
            out.u8(kind_of(command) | SAME_LIFE);
        } else {
            out.u8(kind_of(command));
            out.u64(id.member);
            out.u64(id.boot);
        }
        out.u64(id.sequence);
        write_command(out, command);
    }
}

fn read_proposal(input: &mut Decoder, life: Option<(u64, u64)>) -> Result<Proposal, Malformed> {
    let kind = input.u8()?;
    let (member, boot) = if kind & SAME_LIFE == 0 {
        (input.u64()?, input.u64()?)
    } else {
        life.ok_or(Malformed("first proposal without a member"))?
    };
    let sequence = input.u64()?;
    let command = read_command(input, kind & !SAME_LIFE)?;
    Ok(Proposal { id: RequestId { member, boot, sequence }, command })
}

fn kind_of(command: &Command) -> u8 {
    match command {
        Command::Put(_) => 1,
        Command::DeleteRange(_) => 2,
        Command::Txn(_) => 3,
        Command::Compact { .. } => 4,
        Command::LeaseGrant { .. } => 5,
        Command::LeaseRevoke { .. } => 6,
        Command::LeaseExpire { .. } => 7,
        Command::LeaseCheckpoint { .. } => 8,
        Command::Alarm { .. } => 9,
        Command::Quota { .. } => 10,
        Command::Differs { .. } => 11,
    }
}

fn write_command(out: &mut impl Sink, command: &Command) {
    match command {
        Command::Put(put) => write_put(out, put),
        Command::DeleteRange(delete) => write_delete(out, delete),
        Command::Txn(txn) => write_txn(out, txn),
        Command::Compact { revision } => out.i64(*revision),
        Command::LeaseGrant { id, ttl_s } => {
            out.i64(id.0);
            out.i64(*ttl_s);
        }
        Command::LeaseRevoke { id } => out.i64(id.0),
        Command::LeaseExpire { term, leases } => {
            out.u64(*term);
            out.u64(leases.len() as u64);
            leases.iter().for_each(|id| out.i64(id.0));
        }
        Command::LeaseCheckpoint { term, remaining } => {
            out.u64(*term);
            out.u64(remaining.len() as u64);
            for (id, remaining_s) in remaining {
                out.i64(id.0);
                out.i64(*remaining_s);
            }
        }
        Command::Alarm { alarm, raised } => {
            out.u8(flags([*raised, false, false, false]));
            out.u8(alarms::number(alarm.kind));
            out.u64(alarm.member);
        }
        Command::Quota { member, full } => {
            out.u8(flags([*full, false, false, false]));
            out.u64(*member);
        }
        Command::Differs { member } => out.u64(*member),
    }
}

fn read_command(input: &mut Decoder, kind: u8) -> Result<Command, Malformed> {
    Ok(match kind {
        1 => Command::Put(read_put(input)?),
        2 => Command::DeleteRange(read_delete(input)?),
        3 => Command::Txn(read_txn(input, 1)?),
        4 => Command::Compact { revision: input.i64()? },
        5 => Command::LeaseGrant { id: LeaseId(input.i64()?), ttl_s: input.i64()? },
        6 => Command::LeaseRevoke { id: LeaseId(input.i64()?) },
        7 => Command::LeaseExpire {
            term: input.u64()?,
            leases: read_list(input, 1, |input| Ok(LeaseId(input.i64()?)))?,
        },
        8 => Command::LeaseCheckpoint {
            term: input.u64()?,
            remaining: read_list(input, 2, |input| Ok((LeaseId(input.i64()?), input.i64()?)))?,
        },
        9 => {
            let [raised] = read_flags(input)?;
            let kind = alarms::kind(input.u8()?)?;
            Command::Alarm { alarm: Alarm { member: input.u64()?, kind }, raised }
        }
        10 => {
            let [full] = read_flags(input)?;
            Command::Quota { member: input.u64()?, full }
        }
        11 => Command::Differs { member: input.u64()? },
        _ => return Err(Malformed("unknown command")),
    })
}

fn write_put(out: &mut impl Sink, put: &PutRequest) {
    out.u8(flags([put.prev_kv, put.ignore_value, put.ignore_lease, false]));
    out.bytes(&put.key);
    out.bytes(&put.value);
    out.i64(put.lease.0);
}

fn read_put(input: &mut Decoder) -> Result<PutRequest, Malformed> {
    let [prev_kv, ignore_value, ignore_lease] = read_flags(input)?;
    let (key, value, lease) = (input.bytes()?, input.bytes()?, LeaseId(input.i64()?));
    Ok(PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease })
}

fn write_delete(out: &mut impl Sink, delete: &DeleteRangeRequest) {
    out.u8(flags([delete.prev_kv, false, false, false]));
    write_key_range(out, &delete.range);
}

fn read_delete(input: &mut Decoder) -> Result<DeleteRangeRequest, Malformed> {
    let [prev_kv] = read_flags(input)?;
    Ok(DeleteRangeRequest { range: read_key_range(input)?, prev_kv })
}

fn write_txn(out: &mut impl Sink, txn: &TxnRequest) {
    out.u64(txn.compare.len() as u64);
    txn.compare.iter().for_each(|compare| write_compare(out, compare));
    for ops in [&txn.success, &txn.failure] {
        out.u64(ops.len() as u64);
        ops.iter().for_each(|op| write_op(out, op));
    }
}

fn read_txn(input: &mut Decoder, depth: usize) -> Result<TxnRequest, Malformed> {
    if depth > TXN_DEPTH_MAX {
        return Err(Malformed("txn nested too deep"));
    }
    Ok(TxnRequest {
        compare: read_list(input, 5, read_compare)?,
        success: read_list(input, 4, |input| read_op(input, depth))?,
        failure: read_list(input, 4, |input| read_op(input, depth))?,
    })
}

fn write_compare(out: &mut impl Sink, compare: &Compare) {
    let result = match compare.result {
        CompareResult::Equal => 0,
        CompareResult::Greater => 1,
        CompareResult::Less => 2,
        CompareResult::NotEqual => 3,
    };
    let (target, operand) = match &compare.target {
        CompareTarget::Version(version) => (0, *version),
        CompareTarget::Create(revision) => (1, *revision),
        CompareTarget::Mod(revision) => (2, *revision),
        CompareTarget::Value(_) => (3, 0),
        CompareTarget::Lease(lease) => (4, lease.0),
    };
    out.u8(target);
    out.u8(result);
    write_key_range(out, &compare.range);
    match &compare.target {
        CompareTarget::Value(value) => out.bytes(value),
        _ => out.i64(operand),
    }
}

fn read_compare(input: &mut Decoder) -> Result<Compare, Malformed> {
    let target = input.u8()?;
    let result = match input.u8()? {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        _ => return Err(Malformed("unknown compare result")),
    };
    let range = read_key_range(input)?;
    let target = match target {
        0 => CompareTarget::Version(input.i64()?),
        1 => CompareTarget::Create(input.i64()?),
        2 => CompareTarget::Mod(input.i64()?),
        3 => CompareTarget::Value(input.bytes()?),
        4 => CompareTarget::Lease(LeaseId(input.i64()?)),
        _ => return Err(Malformed("unknown compare target")),
    };
    Ok(Compare { range, result, target })
}

fn write_op(out: &mut impl Sink, op: &TxnOp) {
    match op {
        TxnOp::Range(range) => {
            out.u8(0);
            write_range(out, range);
        }
        TxnOp::Put(put) => {
            out.u8(1);
            write_put(out, put);
        }
        TxnOp::DeleteRange(delete) => {
            out.u8(2);
            write_delete(out, delete);
        }
        TxnOp::Txn(txn) => {
            out.u8(3);
            write_txn(out, txn);
        }
    }
}

fn read_op(input: &mut Decoder, depth: usize) -> Result<TxnOp, Malformed> {
    Ok(match input.u8()? {
        0 => TxnOp::Range(read_range(input)?),
        1 => TxnOp::Put(read_put(input)?),
        2 => TxnOp::DeleteRange(read_delete(input)?),
        3 => TxnOp::Txn(read_txn(input, depth + 1)?),
        _ => return Err(Malformed("unknown txn operation")),
    })
}

fn write_range(out: &mut impl Sink, range: &RangeRequest) {
    let filters = [
        range.min_mod_revision,
        range.max_mod_revision,
        range.min_create_revision,
        range.max_create_revision,
    ];
    let filtered = filters != [0; 4];
    out.u8(flags([range.serializable, range.keys_only, range.count_only, filtered]));
    out.u8(match range.sort_order {
        SortOrder::None => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    });
    out.u8(match range.sort_target {
        SortTarget::Key => 0,
        SortTarget::Version => 1,
        SortTarget::Create => 2,
        SortTarget::Mod => 3,
        SortTarget::Value => 4,
    });
    write_key_range(out, &range.range);
    out.i64(range.limit);
    out.i64(range.revision);
    if filtered {
        filters.into_iter().for_each(|filter| out.i64(filter));
    }
}

fn read_range(input: &mut Decoder) -> Result<RangeRequest, Malformed> {
    let [serializable, keys_only, count_only, filtered] = read_flags(input)?;
    let unknown_sort = Malformed("unknown sort");
    let sort_order = super::check::sort_order(input.u8()?.into()).map_err(|_| unknown_sort)?;
    let sort_target = super::check::sort_target(input.u8()?.into()).map_err(|_| unknown_sort)?;
    let range = read_key_range(input)?;
    let (limit, revision) = (input.i64()?, input.i64()?);
    let mut request = RangeRequest {
        limit,
        revision,
        sort_order,
        sort_target,
        serializable,
        keys_only,
        count_only,
        ..RangeRequest::new(range)
    };
    if filtered {
        request.min_mod_revision = input.i64()?;
        request.max_mod_revision = input.i64()?;
        request.min_create_revision = input.i64()?;
        request.max_create_revision = input.i64()?;
    }
    Ok(request)
}

fn write_key_range(out: &mut impl Sink, range: &KeyRange) {
    let (form, end) = match range.end_bound() {
        Bound::Included(_) => (0, None),
        Bound::Excluded(end) => (1, Some(end)),
        Bound::Unbounded => (2, None),
    };
    out.u8(form);
    out.bytes(range.start());
    if let Some(end) = end {
        out.bytes(end);
    }
}

fn read_key_range(input: &mut Decoder) -> Result<KeyRange, Malformed> {
    let form = input.u8()?;
    let start = input.bytes()?;
    match form {
        0 => Ok(KeyRange::single(start)),
        1 => Ok(KeyRange::between(start, input.bytes()?)),
        2 => Ok(KeyRange::from(start)),
        _ => Err(Malformed("unknown form of a key range")),
    }
}

fn flags(bits: [bool; 4]) -> u8 {
    bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))
}

fn read_flags<const N: usize>(input: &mut Decoder) -> Result<[bool; N], Malformed> {
    let byte = input.u8()?;
    if byte >> N != 0 {
        return Err(Malformed("unknown flag"));
    }
    Ok(std::array::from_fn(|bit| byte >> bit & 1 == 1))
}

/// Reads a count and that many items, each of at least `item_bytes_min` bytes.
fn read_list<T>(
    input: &mut Decoder,
    item_bytes_min: usize,
    mut read: impl FnMut(&mut Decoder) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = input.count(item_bytes_min)?;
    let mut items = Vec::with_capacity(count.min(ROOM_MAX));
    for _ in 0..count {
        items.push(read(input)?);
    }
    Ok(items)
}
