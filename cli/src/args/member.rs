//! The members of a cluster.

use super::kv::Consistency;
use crate::serve::settings::check_peer_url;
use clap::Subcommand;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show the members
    List {
        /// l: linearizable; s: serializable, as one member knows them
        #[arg(long, value_name = "l|s", default_value = "l")]
        consistency: Consistency,
    },
    /// Add a member, before it is started
    Add {
        /// What it will be called
        name: String,
        /// Where other members will reach it, separated by commas
        #[arg(long, value_name = "URL,…", value_delimiter = ',', value_parser = peer_url, required = true)]
        peer_urls: Vec<String>,
        /// It gets the log, and no vote
        #[arg(long)]
        learner: bool,
    },
    /// Give a learner a vote
    Promote {
        /// The member (hexadecimal)
        #[arg(value_parser = member_id)]
        id: u64,
    },
    /// Remove a member; it stops by itself, and can not come back under its id
    Remove {
        /// The member (hexadecimal)
        #[arg(value_parser = member_id)]
        id: u64,
    },
    /// Change where other members reach a member
    Update {
        /// The member (hexadecimal)
        #[arg(value_parser = member_id)]
        id: u64,
        /// Where they reach it from now on, separated by commas
        #[arg(long, value_name = "URL,…", value_delimiter = ',', value_parser = peer_url, required = true)]
        peer_urls: Vec<String>,
    },
    /// Put a new member in the place of one whose store was lost or damaged
    Replace {
        /// The member that goes (hexadecimal)
        #[arg(value_parser = member_id)]
        id: u64,
    },
    /// Hand the lead over to another member; ask the one that leads
    MoveLeader {
        /// The member (hexadecimal)
        #[arg(value_parser = member_id)]
        id: u64,
    },
}

fn member_id(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map_err(|_| "a member's id is a hexadecimal number, as `coffer member list` shows it".into())
}

/// Reads a URL at which members reach each other, checked as `coffer serve` checks it.
fn peer_url(text: &str) -> Result<String, String> {
    let url = text.trim();
    check_peer_url(url).map(|()| url.to_owned())
}
