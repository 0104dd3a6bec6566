//! The SQLite backend from outside: the conformance suite on two kinds of disk, opening whole and in part, and the log.

mod conformance;
mod conformance_files;
mod log;
mod open;
mod restart;
mod vfs;
