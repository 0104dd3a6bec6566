//! The snapshot file: all that a store held at one revision, in one file that its own keys open.
//!
//! # Layout
//! | bytes | content |
//! |---|---|
//! | 512 | header ([`crate::format::header`]): magic `COFFERSN`, kind 7, a random file id, data-key id 0; field: length of the slots (4 bytes) |
//! | n | of a sealed store: its key slots, byte by byte as its file `slots` had them; otherwise nothing |
//! | | pieces ([`crate::format::piece`]), one after the other, with the sequence 0, 1, 2, … |
//!
//! | piece kind | text |
//! |---|---|
//! | 2 head, first | cluster id, member id (8 bytes each); revision, compact revision (signed); term, index of the last log entry, seconds since 1970 (numbers) |
//! | 3 leases | a number of leases, then of each: id, TTL, seconds left (signed) |
//! | 4 records | as in a box ([`crate::units`]) |
//! | 5 end, last | leases, records and pieces before it (numbers) |
//!
//! The root key itself seals the file, as it does the keyring: with a salt of the file's own, the file has a key of its own.
//! Who has a key that opened the store when the snapshot was made opens the snapshot, and needs nothing else.
//!
//! # Invariants
//! - Nothing is believed that was not sealed: a file that was cut, put together from two, or changed is refused, and the
//!   error names the offset.
//! - Leases come before records; ids and revisions ascend. Memory is bounded by a piece, which holds about 1 MiB or one
//!   larger record.

mod reader;
mod writer;

pub use reader::{SnapshotReader, is_snapshot};
pub(crate) use writer::Writer;

const HEAD_PIECE: u8 = 2;
const LEASES_PIECE: u8 = 3;
const RECORDS_PIECE: u8 = 4;
const END_PIECE: u8 = 5;
