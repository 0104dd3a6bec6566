//! The state machine from outside: stories of its semantics, a model, and its purity.

#[cfg(test)]
#[path = "state/harness.rs"]
mod harness;

#[cfg(test)]
#[path = "state/stories.rs"]
mod stories;
