//! bbolt's file format: what etcd keeps its store in, and what its snapshots are.
//!
//! # Data path
//! [`Database`] reads a file: pages are read where they lie, as they are needed. [`Measure`] lays out a file whose rows
//! are known by their sizes, and [`Writer`] then makes its bytes from front to back.
//!
//! # Format
//! Little-endian; pages of one size, told in the meta pages (here 4096), numbered from the start of the file.
//!
//! ```text
//! page    := id:u64 flags:u16 count:u16 overflow:u32 …      `overflow` more pages belong to it
//! meta    := magic:u32=ed0cdaed version:u32=2 page_bytes:u32 flags:u32 root:u64 sequence:u64 freelist:u64 pages:u64
//!            txid:u64 checksum:u64                          pages 0 and 1; FNV-1a over what stands before
//! branch  := (pos:u32 key_bytes:u32 page:u64)* key*         the first key below each child
//! leaf    := (flags:u32 pos:u32 key_bytes:u32 value_bytes:u32)* (key value)*
//! bucket  := root:u64 sequence:u64 page?                    a leaf's value with flag 1; root 0: the page follows inline
//! ```
//!
//! `pos` counts from the beginning of its own element. The meta page with the higher `txid` whose checksum is right is
//! the one in force.
//!
//! # Invariants
//! - Whatever a file holds, reading it ends, with rows or with an error that names the file and the offset: each count,
//!   length and reference is checked before it is used, a tree has at most 64 levels, and no walk visits more pages than
//!   the file has.
//! - Memory while reading is bounded by the pages on the way to one leaf, and while writing by a page for each level of
//!   a tree and one row.
//! - What is written holds no free pages, and each page once.

mod file;
mod layout;
mod meta;
mod page;
mod reader;
mod rows;
mod writer;

pub use file::BoltFile;
pub use layout::{Measure, Plan};
pub use reader::{Bucket, Database};
pub use rows::Rows;
pub use writer::{Differs, Writer};
