//! Whole stores: what goes in and out of them, and what is done with their directories.

use crate::new_cluster::NewClusterFlags;
use crate::seal::NewKeyFlags;
use clap::{Args, Subcommand};
use coffer::{Backend, byte_count};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(crate) struct ExportOptions {
    /// The file; - for standard output
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// As of this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    pub(crate) rev: i64,
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) prefix: OsString,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImportOptions {
    /// The file; - for standard input
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
    /// Write the number of each acknowledged line to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) acked: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImportEtcdOptions {
    /// What `etcdctl snapshot save` wrote, a copy of member/snap/db, or the data directory of a stopped etcd
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) file: PathBuf,
    /// The directory of the new store: new or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// How the new store is kept: segment or sqlite
    #[arg(long, env = "COFFER_BACKEND", value_name = "BACKEND", default_value_t)]
    pub(crate) backend: Backend,
    /// Do not verify the checksum at the end of the file
    #[arg(long)]
    pub(crate) skip_hash_check: bool,
    /// Import although authentication is switched on in the file, which the new store will not have
    #[arg(long)]
    pub(crate) without_auth: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ConvertOptions {
    /// The directory of a store that nobody has open
    #[arg(value_name = "SRC")]
    pub(crate) from: PathBuf,
    /// The directory of the new store: new or empty
    #[arg(value_name = "DST")]
    pub(crate) to: PathBuf,
    /// What the new store is kept in: segment or sqlite [default: as SRC]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<Backend>,
    #[command(flatten)]
    pub(crate) new_key: NewKeyFlags,
    /// The new store is not sealed
    #[arg(long)]
    pub(crate) new_unsealed: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RecoverOptions {
    /// There will be a new cluster: needed, because what is missing here is lost
    #[arg(long)]
    pub(crate) force_new_cluster: bool,
    /// Directories of members that survived, which nobody has open: the one that goes farthest is taken
    #[arg(value_name = "DIR", required = true)]
    pub(crate) from: Vec<PathBuf>,
    /// The directory of the new store: new or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// What the new store is kept in: segment or sqlite [default: as what it is made from]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<Backend>,
    #[command(flatten)]
    pub(crate) new_cluster: NewClusterFlags,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyOptions {
    /// The directory of the store
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What it is to be kept in: segment or sqlite [default: what is there]
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<Backend>,
    /// Show progress on standard error, even if that is no terminal
    #[arg(long)]
    pub(crate) progress: bool,
    /// Bytes that are read in a second [default: as the daemon has it, 8MiB; of a closed store as many as can be]
    #[arg(long, value_name = "BYTES", value_parser = byte_count::parse)]
    pub(crate) rate: Option<u64>,
    /// End the verification that a daemon is at
    #[arg(long, conflicts_with_all = ["rate", "progress", "backend"])]
    pub(crate) cancel: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save all of a store, at one revision, sealed as it is
    #[command(after_help = SNAPSHOT_SAVE_HELP)]
    Save {
        /// The new file
        file: PathBuf,
    },
    /// Read all of a snapshot and show what is in it
    Status {
        /// What `snapshot save` wrote
        file: PathBuf,
    },
    /// Make a new store from a snapshot
    #[command(after_help = SNAPSHOT_RESTORE_HELP)]
    Restore(Box<SnapshotRestoreOptions>),
}

const SNAPSHOT_SAVE_HELP: &str = "\
The file opens with the keys of the store, as they are now, and needs nothing else. It holds keys, values, history since \
the last compaction, and leases. What etcdctl saves from the same daemon is in the clear.";

const SNAPSHOT_RESTORE_HELP: &str = "\
The new store is the only member of a new cluster, with new random ids. With --initial-cluster each member restores the \
same file with the same options, its own --name apart, and all get the ids that follow from the file, the URLs and the \
token; daemons with --listen-peer-urls serve them. The flags --seal-… open the snapshot and seal the new store; --new-… \
names another key for the store. A snapshot of etcd is taken as well, as `coffer import-etcd` does.";

#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotRestoreOptions {
    /// What `snapshot save`, or `etcdctl snapshot save`, wrote
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The directory of the new store: new or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// How the new store is kept: segment or sqlite
    #[arg(long, env = "COFFER_BACKEND", value_name = "BACKEND", default_value_t)]
    pub(crate) backend: Backend,
    /// How far the revision is raised above that of the snapshot, so that no client meets one twice
    #[arg(long, value_name = "N", default_value_t)]
    pub(crate) bump_revision: u64,
    /// What lies before the revision of the new store counts as compacted: watchers from before learn that they missed it
    #[arg(long)]
    pub(crate) mark_compacted: bool,
    /// Do not verify the checksum at the end of a file of etcd
    #[arg(long)]
    pub(crate) skip_hash_check: bool,
    #[command(flatten)]
    pub(crate) new_key: NewKeyFlags,
    /// The new store is not sealed
    #[arg(long)]
    pub(crate) new_unsealed: bool,
    #[command(flatten)]
    pub(crate) cluster: NewClusterFlags,
}
