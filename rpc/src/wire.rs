//! The mapping between the wire schema and core's types, both ways: the server decodes requests and encodes
//! responses, the client the reverse.
//!
//! Keys and values are copied exactly once in each direction. Sizes are computed before a message is built, so that
//! it is built in one allocation ([`size`]).
//!
//! # Invariants
//! - Decoding never panics and allocates in proportion to the input.
//! - Whatever decodes, encodes to a message that decodes to the same.

pub(crate) mod error;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod maintenance;
pub(crate) mod peer;
pub(crate) mod size;
pub(crate) mod txn;
pub(crate) mod watch;

use crate::schema::types_capnp::{header, key_value};
use bytes::Bytes;
use coffer_core::request::Header;
use coffer_core::{Error, KeyValue, LeaseId};

/// A request that is not a valid message, as the error that its sender gets.
pub(crate) fn malformed(error: impl Into<capnp::Error>) -> Error {
    Error::InvalidArgument(format!("malformed request: {}", error.into()))
}

/// How many elements a list of `items` has on the wire. Frames are limited far below what would not fit.
pub(crate) fn list_len(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

pub(crate) fn put_header(header: &Header, mut to: header::Builder<'_>) {
    to.set_cluster_id(header.cluster_id);
    to.set_member_id(header.member_id);
    to.set_revision(header.revision);
    to.set_raft_term(header.raft_term);
}

pub(crate) fn get_header(from: header::Reader<'_>) -> Header {
    Header {
        cluster_id: from.get_cluster_id(),
        member_id: from.get_member_id(),
        revision: from.get_revision(),
        raft_term: from.get_raft_term(),
    }
}

pub(crate) fn put_key_value(kv: &KeyValue, mut to: key_value::Builder<'_>) {
    to.set_key(&kv.key);
    to.set_value(&kv.value);
    to.set_create_revision(kv.create_revision);
    to.set_mod_revision(kv.mod_revision);
    to.set_version(kv.version);
    to.set_lease(kv.lease.0);
}

pub(crate) fn get_key_value(from: key_value::Reader<'_>) -> capnp::Result<KeyValue> {
    let (key, value) = copy_pair(from.get_key()?, from.get_value()?);
    Ok(KeyValue {
        key,
        value,
        create_revision: from.get_create_revision(),
        mod_revision: from.get_mod_revision(),
        version: from.get_version(),
        lease: LeaseId(from.get_lease()),
    })
}

pub(crate) fn put_key_values(kvs: &[KeyValue], mut to: capnp::struct_list::Builder<'_, key_value::Owned>) {
    for (index, kv) in (0..).zip(kvs) {
        put_key_value(kv, to.reborrow().get(index));
    }
}

pub(crate) fn get_key_values(
    from: capnp::struct_list::Reader<'_, key_value::Owned>,
) -> capnp::Result<Vec<KeyValue>> {
    from.iter().map(get_key_value).collect()
}

/// A key and its value in one allocation: they live and die together.
pub(crate) fn copy_pair(key: &[u8], value: &[u8]) -> (Bytes, Bytes) {
    if value.is_empty() {
        return (Bytes::copy_from_slice(key), Bytes::new());
    }
    let mut both = Vec::with_capacity(key.len() + value.len());
    both.extend_from_slice(key);
    both.extend_from_slice(value);
    let mut key_bytes = Bytes::from(both);
    let value = key_bytes.split_off(key.len());
    (key_bytes, value)
}
