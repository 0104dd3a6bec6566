//! The SQLite backend from outside: the conformance suite on two kinds of disk, and opening.

mod conformance;
mod conformance_files;
mod open;
mod vfs;
