//! The store from outside, in one program so that it is built once: state machine, consensus and whole nodes, over the
//! in-memory backend.

mod cluster;
mod consensus;
mod key_index;
mod node_faults;
mod node_limits;
mod node_metrics;
mod node_restore;
mod node_scale;
mod node_scrub;
#[cfg(test)]
mod state;
