//! The command line. Options bear etcdctl's names where the meaning is the same.

use crate::commands::completion::CompletionOptions;
use crate::new_cluster::NewClusterFlags;
use crate::output::Format;
use crate::seal::{NewKeyFlags, SealFlags};
use crate::serve::ServeOptions;
use crate::serve::dev::DevOptions;
use crate::serve::settings::check_peer_url;
use clap::{Args, Parser, Subcommand, ValueEnum};
use coffer::request::{SortOrder, SortTarget};
use coffer::{Backend, LeaseId, byte_count, duration};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A revisioned, watchable key-value store: the daemon and its commands.
#[derive(Debug, Parser)]
#[command(
    name = "coffer",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 unavailable (nothing happened, try again), \
                  4 outcome unknown (it may have happened), 5 corrupt."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the store is and how answers are shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Store and output")]
pub(crate) struct Global {
    /// Daemons to talk to: coffer://host:port or unix:///path, separated by commas
    #[arg(
        long,
        global = true,
        env = "COFFER_ENDPOINTS",
        default_value = "coffer://127.0.0.1:7420",
        value_name = "URL,…"
    )]
    pub(crate) endpoints: String,
    /// Open a store in this process instead: file:///dir, file:///dir?backend=sqlite or mem:
    #[arg(long, global = true, env = "COFFER_STORE", value_name = "URI")]
    pub(crate) store: Option<String>,
    /// How long one request to a daemon may take
    #[arg(
        long,
        global = true,
        env = "COFFER_COMMAND_TIMEOUT",
        default_value = "5s",
        value_name = "DURATION",
        value_parser = duration::parse
    )]
    pub(crate) command_timeout: Duration,
    /// How answers are written
    #[arg(
        short = 'w',
        long,
        global = true,
        env = "COFFER_WRITE_OUT",
        default_value = "simple",
        value_name = "FORMAT"
    )]
    pub(crate) write_out: Format,
    /// Write keys and values as \xNN
    #[arg(long, global = true)]
    pub(crate) hex: bool,
    #[command(flatten)]
    pub(crate) seal: SealFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon
    Serve(Box<ServeOptions>),
    /// Run the daemon on a sealed store to try things on, which is gone when it ends
    Dev(DevOptions),
    /// Run the daemon as etcd, with its flags: also when the program is called etcd
    #[command(disable_help_flag = true)]
    Etcd(EtcdOptions),
    #[command(flatten)]
    Client(ClientCommand),
    /// Make a new store from a snapshot of etcd
    #[command(after_help = IMPORT_ETCD_HELP)]
    ImportEtcd(ImportEtcdOptions),
    /// Make a store of another backend, or with another key, from one that is closed
    #[command(after_help = CONVERT_HELP)]
    Convert(ConvertOptions),
    /// Make a new cluster from what is left of one that has lost its quorum for ever
    Recover(RecoverOptions),
    /// Check every byte of a store, of a closed one or slowly of one that a daemon has open; nothing is changed
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyOptions),
    /// Work with the keys of sealed stores
    #[command(subcommand)]
    Key(KeyCommand),
    /// Save all of a store in one file, and make stores from such files
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Write a completion script for a shell
    Completion(CompletionOptions),
}

/// What etcd is called with. It is not read here, because its flags are written as Go has them.
#[derive(Debug, Args)]
pub(crate) struct EtcdOptions {
    /// Flags of etcd; `coffer etcd --help` shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAG")]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Read a key or a range of keys
    Get(GetOptions),
    /// Write a key
    Put(PutOptions),
    /// Delete a key or a range of keys
    Del(DelOptions),
    /// Run a transaction read from standard input
    #[command(after_help = TXN_HELP)]
    Txn(TxnOptions),
    /// Show changes as they happen
    #[command(after_help = WATCH_HELP)]
    Watch(WatchOptions),
    /// Work with leases
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// Show and change who belongs to the cluster
    #[command(subcommand)]
    Member(MemberCommand),
    /// Drop the history before a revision
    #[command(visible_alias = "compaction")]
    Compact(CompactOptions),
    /// Show how each endpoint sees itself
    Status,
    /// Hash the content, to compare members and stores
    Hashkv(HashkvOptions),
    /// Read keys and values from JSON lines
    #[command(after_help = IMPORT_HELP)]
    Import(ImportOptions),
    /// Write keys and values as JSON lines, all of one revision
    #[command(after_help = EXPORT_HELP)]
    Export(ExportOptions),
}

const TXN_HELP: &str = "\
The input has three parts, each ended by an empty line: compares, success requests, failure requests.

  mod(\"key\") > \"0\"          also ver, create, val, lease; the operators are = != < >
  <empty line>
  put key \"overwrote key\"   also get and del, with the options that they have as commands
  <empty line>
  put key \"created key\"
  <empty line>";

const WATCH_HELP: &str = "\
After `--` a command can be given that runs for each event, with ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE,
ETCD_WATCH_KEY and ETCD_WATCH_VALUE in its environment, the latter three quoted as etcdctl does.

With --interactive each line of standard input is `watch [options] key [range_end] [-- command…]` or `progress`.";

const IMPORT_HELP: &str = "\
Each line is {\"key\":…,\"value\":…}; key_base64 and value_base64 hold bytes that are not UTF-8.
Many lines are under way at a time, but lines are acknowledged in their order. If the import fails it says which line
was the last acknowledged; what follows it may have been written as well.";

const IMPORT_ETCD_HELP: &str = "\
Keys, values, revisions, versions, history, leases and the compact revision are kept. Users, roles, members and alarms
are not. HashKV of the file and of the new store are compared before the store gets its place: if they differ, or if
anything else fails, nothing is left.";

const CONVERT_HELP: &str = "\
Everything is copied, records, leases and log, and compared, HashKV included, before the new store gets its place: if \
it differs, or anything else fails, nothing is left. SRC stays as it is. Both are the same member of the same cluster: \
run one of them only. The flags --seal-… open SRC; the new store has the same key unless --new-… says otherwise.";

const VERIFY_HELP: &str = "\
Headers, checksums, tags, chains, the key index against the records, and whether all of it fits together. It goes on past \
damage and names each file. Findings are `damage` (something is lost: exit code 5), `weakened` (one copy of two is \
damaged) and `torn` (what a crash left, harmless). HashKV can be compared with other members and stores.";

const EXPORT_HELP: &str = "\
Each line is {\"key\":…,\"value\":…}, or {\"key_base64\":…,\"value_base64\":…} where one of them is not UTF-8.
A file appears under its name only when it is whole.";

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

/// Reads a lease id as it is shown: hexadecimal.
pub(crate) fn lease_id(text: &str) -> Result<LeaseId, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match i64::from_str_radix(digits, 16) {
        Ok(id) if id >= 0 => Ok(LeaseId(id)),
        _ => Err("a lease id is a hexadecimal number, as `coffer lease list` shows it".into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
