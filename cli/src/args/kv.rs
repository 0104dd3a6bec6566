//! Keys: reading, writing and watching them, and how far back they can be read.

use super::lease::lease_id;
use clap::{Args, ValueEnum};
use coffer::LeaseId;
use coffer::request::{SortOrder, SortTarget};
use std::ffi::OsString;
use std::path::PathBuf;

/// How far a range reaches from its first key; without any of these it is that key alone.
#[derive(Clone, Debug, Args)]
pub(crate) struct Extent {
    /// The end of the range, not included
    pub(crate) range_end: Option<OsString>,
    /// Every key that begins with KEY
    #[arg(long, conflicts_with = "range_end")]
    pub(crate) prefix: bool,
    /// Every key from KEY on
    #[arg(long, conflicts_with_all = ["range_end", "prefix"])]
    pub(crate) from_key: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct GetOptions {
    /// The key, or the first key of a range
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) extent: Extent,
    /// At most this many keys
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) limit: i64,
    /// As of this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) rev: i64,
    /// Direction of the sort
    #[arg(long, value_name = "ORDER", ignore_case = true)]
    pub(crate) order: Option<Order>,
    /// What to sort by
    #[arg(long, value_name = "TARGET", ignore_case = true)]
    pub(crate) sort_by: Option<SortBy>,
    /// Only keys
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Only how many
    #[arg(long)]
    pub(crate) count_only: bool,
    /// Only values, in simple output
    #[arg(long)]
    pub(crate) print_value_only: bool,
    /// l: linearizable; s: serializable, one member's own and perhaps old state
    #[arg(long, value_name = "l|s", default_value = "l")]
    pub(crate) consistency: Consistency,
    /// Only keys created at or after this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) min_create_rev: i64,
    /// Only keys created at or before this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) max_create_rev: i64,
    /// Only keys last written at or after this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) min_mod_rev: i64,
    /// Only keys last written at or before this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) max_mod_rev: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    #[value(name = "ASCEND")]
    Ascend,
    #[value(name = "DESCEND")]
    Descend,
}

impl From<Order> for SortOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Ascend => Self::Ascend,
            Order::Descend => Self::Descend,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    #[value(name = "CREATE")]
    Create,
    #[value(name = "KEY")]
    Key,
    #[value(name = "MODIFY")]
    Modify,
    #[value(name = "VALUE")]
    Value,
    #[value(name = "VERSION")]
    Version,
}

impl From<SortBy> for SortTarget {
    fn from(target: SortBy) -> Self {
        match target {
            SortBy::Create => Self::Create,
            SortBy::Key => Self::Key,
            SortBy::Modify => Self::Mod,
            SortBy::Value => Self::Value,
            SortBy::Version => Self::Version,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Consistency {
    #[value(name = "l")]
    Linearizable,
    #[value(name = "s")]
    Serializable,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct PutOptions {
    /// The key
    pub(crate) key: OsString,
    /// The value; without it and without --file it is read from standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<OsString>,
    /// Read the value from this file
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    pub(crate) file: Option<PathBuf>,
    /// Delete the key when this lease ends (hexadecimal)
    #[arg(long, value_name = "LEASE", default_value = "0", hide_default_value = true, value_parser = lease_id)]
    pub(crate) lease: LeaseId,
    /// Also show the pair before
    #[arg(long)]
    pub(crate) prev_kv: bool,
    /// Keep the value that is there
    #[arg(long, conflicts_with_all = ["value", "file"])]
    pub(crate) ignore_value: bool,
    /// Keep the lease that is there
    #[arg(long, conflicts_with = "lease")]
    pub(crate) ignore_lease: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DelOptions {
    /// The key, or the first key of a range
    pub(crate) key: OsString,
    #[command(flatten)]
    pub(crate) extent: Extent,
    /// State that a range is meant: RANGE_END must be given
    #[arg(long, requires = "range_end")]
    pub(crate) range: bool,
    /// Also show the pairs that were deleted
    #[arg(long)]
    pub(crate) prev_kv: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TxnOptions {
    /// Ask for each part
    #[arg(short, long)]
    pub(crate) interactive: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WatchOptions {
    /// The key, or the first key of a range
    #[arg(required_unless_present = "interactive")]
    pub(crate) key: Option<OsString>,
    #[command(flatten)]
    pub(crate) extent: Extent,
    /// Begin with the changes of this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) rev: i64,
    /// Also show the pair before each change
    #[arg(long)]
    pub(crate) prev_kv: bool,
    /// Show progress while nothing happens
    #[arg(long)]
    pub(crate) progress_notify: bool,
    /// Read watches from standard input
    #[arg(short, long, conflicts_with_all = ["key", "range_end", "prefix", "from_key", "rev", "prev_kv", "command"])]
    pub(crate) interactive: bool,
    /// Run this command for each event
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompactOptions {
    /// The oldest revision that stays readable
    pub(crate) revision: i64,
    /// Wait until the space is reclaimed
    #[arg(long)]
    pub(crate) physical: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct HashkvOptions {
    /// Hash the content up to this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) rev: i64,
}
