//! The SQLite backend from outside: the conformance suite, its files, and opening.

mod conformance_files;
mod open;
