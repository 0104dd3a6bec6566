//! The state machine from outside: stories of its semantics, a model, its formats, and its purity.

mod harness;

mod alarms;
mod checks;
mod hashes;
mod limits;
mod readers;
mod stories;

mod purity;

mod commands;
mod naive;

mod model;

mod formats;
