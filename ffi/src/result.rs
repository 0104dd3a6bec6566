//! What calls answer.

use crate::answer;
use crate::bytes::coffer_bytes;
use crate::guard::guard_silently;
use crate::input::{Sized32, sized};
use crate::status::{COFFER_OK, coffer_status};
use std::ffi::c_char;
use std::ptr;

/// A key and its value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_kv {
    /// The key.
    pub key: coffer_bytes,
    /// The value. Empty if it was not asked for.
    pub value: coffer_bytes,
    /// The revision at which the key was created; 0 of one that was deleted.
    pub create_revision: i64,
    /// The revision at which it was last written.
    pub mod_revision: i64,
    /// How often it was written since it was created; 0 of one that was deleted.
    pub version: i64,
    /// The lease that it ends with; 0 for none.
    pub lease: i64,
}

/// The key was written.
pub const COFFER_EVENT_PUT: u32 = 0;
/// The key was deleted, or its lease ended.
pub const COFFER_EVENT_DELETE: u32 = 1;

/// One change of one key.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_event {
    /// COFFER_EVENT_PUT or COFFER_EVENT_DELETE.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The pair as it is now; of a deleted one only the key and `mod_revision`.
    pub kv: coffer_kv,
    /// The pair before, if it was asked for, existed and is still readable; else NULL.
    pub previous: *const coffer_kv,
}

/// The member has no vote.
pub const COFFER_MEMBER_LEARNER: u32 = 1;
/// The member leads.
pub const COFFER_MEMBER_LEADER: u32 = 2;

/// A member of a cluster.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_member {
    /// Its id.
    pub id: u64,
    /// COFFER_MEMBER_* or-ed.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// Its name.
    pub name: *const c_char,
    /// Where other members reach it, separated by commas.
    pub peer_urls: *const c_char,
    /// Where clients reach it, separated by commas.
    pub client_urls: *const c_char,
}

/// The store is sealed.
pub const COFFER_STORE_SEALED: u32 = 1;
/// The member that answers has no vote.
pub const COFFER_STORE_LEARNER: u32 = 2;
/// The store has no room: an alarm says so.
pub const COFFER_STORE_NO_SPACE: u32 = 4;
/// Members differ: an alarm says so.
pub const COFFER_STORE_CORRUPT: u32 = 8;

/// How the member that answers sees its store.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_store_info {
    /// COFFER_STORE_* or-ed.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The version of the program or library that has the store open.
    pub version: *const c_char,
    /// "segment", "sqlite" or "memory".
    pub backend: *const c_char,
    /// What does not work, a line each; empty if all does.
    pub errors: *const c_char,
    /// Bytes that the store takes.
    pub size_bytes: u64,
    /// Bytes of it that are in use.
    pub in_use_bytes: u64,
    /// Its quota; 0 for none.
    pub quota_bytes: u64,
    /// The member that leads; 0 if none is known.
    pub leader: u64,
    /// Index of the newest log entry.
    pub raft_index: u64,
    /// Index of the newest applied log entry.
    pub raft_applied_index: u64,
    /// The oldest revision that can be read is the one above it.
    pub compact_revision: i64,
    /// Keys that exist.
    pub keys: u64,
    /// Leases that exist.
    pub leases: u64,
    /// Watches that are open.
    pub watchers: u64,
}

/// The snapshot is sealed.
pub const COFFER_SNAPSHOT_SEALED: u32 = 1;

/// What a snapshot file holds, or what was made of it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_snapshot_info {
    /// COFFER_SNAPSHOT_* or-ed.
    pub flags: u32,
    /// Of a restored store its hash, as coffer_hash_kv() tells it; else 0.
    pub hash: u32,
    /// The cluster that it was taken of, or that was founded.
    pub cluster_id: u64,
    /// The member that took it, or that was founded.
    pub member_id: u64,
    /// The revision that it holds all of.
    pub revision: i64,
    /// The oldest revision in it.
    pub compact_revision: i64,
    /// When it was taken, in seconds since 1970; 0 of a restored store.
    pub created_s: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many records it holds; 0 of one that was saved just now.
    pub records: u64,
    /// How many keys a restored store has; else 0.
    pub keys: u64,
    /// How many leases it holds; 0 of one that was saved just now.
    pub leases: u64,
}

/// A key that opens a store.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_key_slot {
    /// Its id, never used twice in a store.
    pub id: u32,
    /// Zero.
    pub reserved: u32,
    /// "passphrase", "key-file", "command" or "kms".
    pub kind: *const c_char,
    /// What its owner calls it.
    pub label: *const c_char,
    /// When it was made or last rewrapped, in seconds since 1970.
    pub created_s: u64,
}

/// New data is sealed with this key.
pub const COFFER_DATA_KEY_ACTIVE: u32 = 1;
/// Something needs this key now.
pub const COFFER_DATA_KEY_IN_USE: u32 = 2;

/// A key that data is sealed with.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_data_key {
    /// Its id.
    pub id: u32,
    /// COFFER_DATA_KEY_* or-ed.
    pub flags: u32,
    /// When it was made, in seconds since 1970.
    pub created_s: u64,
    /// Bytes that were sealed with it.
    pub sealed_bytes: u64,
}

/// The keys of a store. None of it is secret.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_keys_info {
    /// 1 while data of older keys is being carried over to the active one.
    pub rewriting: u32,
    /// The slot or the data key that the call made or changed; 0 of a mere look.
    pub changed_id: u32,
    /// Bytes of records that older data keys sealed.
    pub outdated_bytes: u64,
    /// What opens the store, ascending by id.
    pub slots: *const coffer_key_slot,
    /// How many slots there are.
    pub slot_count: usize,
    /// What its data is sealed with, oldest first.
    pub data_keys: *const coffer_data_key,
    /// How many data keys there are.
    pub data_key_count: usize,
}

/// There is more than the limit let through.
pub const COFFER_RESULT_MORE: u32 = 1;
/// All conditions of the transaction held.
pub const COFFER_RESULT_SUCCEEDED: u32 = 2;
/// More events of the same revision follow with the next result.
pub const COFFER_RESULT_FRAGMENT: u32 = 4;
/// No change, but the news that everything up to `revision` was delivered.
pub const COFFER_RESULT_PROGRESS: u32 = 8;
/// The watch has begun: what happens from now on is delivered.
pub const COFFER_RESULT_STARTED: u32 = 16;

/// The answer of a call. The caller's struct: begin with coffer_result_init(), free what it holds with coffer_result_free(),
/// after which it can be used again. A call refuses one that still holds an answer (COFFER_INVALID_ARGUMENT).
///
/// Everything that it points to lives until coffer_result_free(). Which fields are set, the function says; all others are
/// zero. `cluster_id` to `revision` are set by every call that the store answers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_result {
    /// sizeof(coffer_result), set by the caller.
    pub size: u32,
    /// COFFER_RESULT_* or-ed.
    pub flags: u32,
    /// What coffer_result_free() frees; 0 if that is nothing. Opaque.
    pub owner: u64,
    /// The cluster that answers.
    pub cluster_id: u64,
    /// The member that answers.
    pub member_id: u64,
    /// Its term.
    pub raft_term: u64,
    /// The store's revision at the answer; of a watch the one up to which everything was delivered, this result included.
    pub revision: i64,
    /// Keys in the range (also those that a limit left out), or keys that were deleted.
    pub count: i64,
    /// Pairs that were read, or pairs before the change.
    pub kvs: *const coffer_kv,
    /// How many pairs there are.
    pub kv_count: usize,
    /// Changes that a watch saw.
    pub events: *const coffer_event,
    /// How many changes there are.
    pub event_count: usize,
    /// Answers to the operations of a transaction, in order. They belong to this result and are not freed.
    pub parts: *const coffer_result,
    /// How many answers there are.
    pub part_count: usize,
    /// The lease.
    pub lease: i64,
    /// What it has left in seconds; 0 or less if there is no such lease.
    pub ttl_s: i64,
    /// What it was granted with.
    pub granted_ttl_s: i64,
    /// All leases.
    pub leases: *const i64,
    /// How many leases there are.
    pub lease_count: usize,
    /// The oldest revision that can still be read is the one above it.
    pub compact_revision: i64,
    /// A hash over the content.
    pub hash: u32,
    /// Zero.
    pub reserved: u32,
    /// How the store is.
    pub store: *const coffer_store_info,
    /// Members of the cluster.
    pub members: *const coffer_member,
    /// How many members there are.
    pub member_count: usize,
    /// A snapshot.
    pub snapshot: *const coffer_snapshot_info,
    /// Keys of the store.
    pub keys: *const coffer_keys_info,
}

/// Frees what a result holds and wipes it: every pointer in it, and copied from it, is dead. Sets it to
/// what coffer_result_init() makes, so that it can be used and freed again. NULL does nothing. A copy of a freed one gives
/// COFFER_BAD_HANDLE.
///
/// Threads: any, but no two at once with the same result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_result_free(result: *mut coffer_result) -> coffer_status {
    guard_silently(|| {
        if result.is_null() {
            return Ok(COFFER_OK);
        }
        // SAFETY: by contract a struct that begins with its size.
        let owner = unsafe { sized(result) }?.owner;
        // SAFETY: it was read just now, as a whole, and the caller lets it be written.
        unsafe { result.write_unaligned(coffer_result::EMPTY) };
        answer::free(owner)?;
        Ok(COFFER_OK)
    })
}

// SAFETY: repr(C), begins with a u32, holds integers and raw pointers only.
unsafe impl Sized32 for coffer_result {}

impl coffer_result {
    /// One that holds nothing.
    pub(crate) const EMPTY: Self = Self {
        size: size_of::<Self>() as u32,
        flags: 0,
        owner: 0,
        cluster_id: 0,
        member_id: 0,
        raft_term: 0,
        revision: 0,
        count: 0,
        kvs: ptr::null(),
        kv_count: 0,
        events: ptr::null(),
        event_count: 0,
        parts: ptr::null(),
        part_count: 0,
        lease: 0,
        ttl_s: 0,
        granted_ttl_s: 0,
        leases: ptr::null(),
        lease_count: 0,
        compact_revision: 0,
        hash: 0,
        reserved: 0,
        store: ptr::null(),
        members: ptr::null(),
        member_count: 0,
        snapshot: ptr::null(),
        keys: ptr::null(),
    };
}
