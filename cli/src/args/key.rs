//! The keys of sealed stores.

use crate::seal::NewKeyFlags;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Draw a key and write it to a new file that only you may read
    Generate {
        /// The file
        file: PathBuf,
    },
    /// Show which keys open a store, and which ones its data is sealed with
    Status {
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Add a key that opens a store
    Add {
        #[command(flatten)]
        place: KeyPlace,
        #[command(flatten)]
        key: NewKeyFlags,
        /// What the slot is for, for people
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        label: String,
    },
    /// Take away a key: it opens the store no longer
    Remove {
        #[command(flatten)]
        place: KeyPlace,
        /// The slot, as `coffer key status` shows it
        slot: u32,
    },
    /// Replace a key that opens a store: one small file is written
    RotateKek {
        #[command(flatten)]
        place: KeyPlace,
        #[command(flatten)]
        key: NewKeyFlags,
        /// The slot [default: the one that the given key opens, or the only one]
        #[arg(long, value_name = "SLOT")]
        slot: Option<u32>,
    },
    /// Make a new key for the data
    RotateData {
        #[command(flatten)]
        place: KeyPlace,
        /// Also seal everything anew that older keys sealed, destroy them, and wait for it
        #[arg(long)]
        rewrite: bool,
    },
    /// Say whether a key opens a store, and which slot; nothing is changed
    Verify {
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// The store whose keys are meant: this directory, or that of --store.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyPlace {
    /// The directory of the store, which a daemon may have open
    #[arg(long, env = "COFFER_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}
