//! The SQLite backend from outside: the conformance suite on two kinds of disk, opening whole and in part, a full disk,
//! the log, and what a sealed store keeps and refuses.

mod conformance;
mod conformance_files;
mod format;
mod full;
#[path = "../segment/golden.rs"]
mod golden;
#[path = "../segment/keys.rs"]
mod keys;
mod log;
mod open;
mod restart;
mod rotation;
mod sealed;
mod stored;
mod verify;
mod vfs;
