//! Leases.

use clap::Subcommand;
use coffer::LeaseId;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Create a lease
    Grant {
        /// Time to live in seconds
        ttl: i64,
        /// The id to use (hexadecimal); without it the store chooses
        #[arg(long, value_name = "LEASE", default_value = "0", hide_default_value = true, value_parser = lease_id)]
        id: LeaseId,
    },
    /// End a lease and delete its keys
    Revoke {
        /// The lease (hexadecimal)
        #[arg(value_parser = lease_id)]
        lease: LeaseId,
    },
    /// Renew a lease until it is interrupted
    KeepAlive {
        /// The lease (hexadecimal)
        #[arg(value_parser = lease_id)]
        lease: LeaseId,
        /// Renew it once
        #[arg(long)]
        once: bool,
    },
    /// Show what is left of a lease
    Timetolive {
        /// The lease (hexadecimal)
        #[arg(value_parser = lease_id)]
        lease: LeaseId,
        /// Also show its keys
        #[arg(long)]
        keys: bool,
    },
    /// Show all leases
    List,
}

/// Reads a lease id as it is shown: hexadecimal.
pub(crate) fn lease_id(text: &str) -> Result<LeaseId, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match i64::from_str_radix(digits, 16) {
        Ok(id) if id >= 0 => Ok(LeaseId(id)),
        _ => Err("a lease id is a hexadecimal number, as `coffer lease list` shows it".into()),
    }
}
