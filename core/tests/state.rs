//! The state machine from outside: stories of its semantics, a model, its formats, and its purity.

#[cfg(test)]
#[path = "state/harness.rs"]
mod harness;

#[cfg(test)]
#[path = "state/stories.rs"]
mod stories;

#[cfg(test)]
#[path = "state/checks.rs"]
mod checks;

#[cfg(test)]
#[path = "state/hashes.rs"]
mod hashes;

#[cfg(test)]
#[path = "state/readers.rs"]
mod readers;

#[cfg(test)]
#[path = "state/purity.rs"]
mod purity;

#[cfg(test)]
#[path = "state/commands.rs"]
mod commands;
#[cfg(test)]
#[path = "state/naive.rs"]
mod naive;

#[cfg(test)]
#[path = "state/model.rs"]
mod model;

#[cfg(test)]
#[path = "state/formats.rs"]
mod formats;
