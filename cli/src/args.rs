//! The command line. Options bear etcdctl's names where the meaning is the same.

pub(crate) mod key;
pub(crate) mod kv;
pub(crate) mod lease;
pub(crate) mod member;
pub(crate) mod store;

use crate::commands::completion::CompletionOptions;
use crate::output::Format;
use crate::seal::SealFlags;
use crate::serve::ServeOptions;
use crate::serve::dev::DevOptions;
use clap::{Args, Parser, Subcommand};
use coffer::duration;
use key::KeyCommand;
use kv::{CompactOptions, DelOptions, GetOptions, HashkvOptions, PutOptions, TxnOptions, WatchOptions};
use lease::LeaseCommand;
use member::MemberCommand;
use std::ffi::OsString;
use std::time::Duration;
use store::{
    ConvertOptions, ExportOptions, ImportEtcdOptions, ImportOptions, RecoverOptions, SnapshotCommand,
    VerifyOptions,
};

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
