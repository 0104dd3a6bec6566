//! The segment backend from outside: the conformance suite on two kinds of disk, its log, its files, and consensus on it.

mod conformance;
mod conformance_files;
mod consensus;
mod creation;
mod format;
mod golden;
mod keys;
mod log;
mod open;
mod rotation;
mod sealed;
