//! Clusters of real daemons under faults, and what their clients were promised.
//!
//! # Data path
//! [`plan`] draws from a seed what a run is: members, backend, faults. [`run`] starts a [`cluster`] of daemons whose every
//! connection goes through [`network`], lets [`load`] and [`watchers`] write down a [`history`] while [`faults`] strike, waits
//! for the cluster to come to rest, and gives the history to the [`checker`]. [`failover`] measures,
//! [`scenarios`] tells stories that went wrong elsewhere.
//!
//! # Invariants
//! - The checker knows nothing of the cluster: what it says follows from the history alone, so that a kept history can be
//!   judged again.
//! - A request whose fate its client does not know may have happened at any time after it was sent, once, or never. One that
//!   failed for sure never happened.
//! - Whatever this machine cannot do is said loudly and not counted.

pub mod checker;
pub mod cluster;
pub mod failover;
pub mod faults;
pub mod history;
pub mod load;
pub mod made_up;
pub mod member;
pub mod network;
pub mod plan;
pub mod run;
pub mod scenarios;
pub mod sockets;
pub mod watchers;
