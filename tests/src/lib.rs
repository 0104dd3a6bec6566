//! What the tests of the whole share, and what runs them for hours.
//!
//! - [`subjects`]: every kind of store, in one list.
//! - [`node_cuts`]: a whole node under power cuts.
//! - [`power`]: a file system of the kernel that loses what was not synced.
//! - [`torture`]: pieces of long runs: power cuts and flipped bits, counted.
//! - [`long_run`]: which piece comes next until it is enough.
//! - [`chaos`]: clusters of real daemons under faults.
//! - [`report`]: one line for each piece, and their sums.

pub mod chaos;
pub mod long_run;
pub mod node_cuts;
pub mod power;
pub mod report;
pub mod subjects;
pub mod torture;
