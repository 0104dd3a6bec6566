//! Where settings come from: flags, else the environment, else the file of `--config`.

use crate::failure::Failure;
use crate::seal::SealKeys;
use clap::{Args, ValueEnum};
use coffer::Backend;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The daemon's flags. Each has a variable `COFFER_…` and a key of the same name in the file of `--config`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    next_help_heading = "Daemon",
    after_help = "A flag goes before the environment (COFFER_DATA_DIR, …), the environment before the file of \
                  --config (TOML, keys named like the flags)."
)]
pub(crate) struct ServeOptions {
    /// A TOML file with settings
    #[arg(long, env = "COFFER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: Partial,
}

/// Some of the settings: what one source says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Partial {
    /// Name of this member, for people [default: default]
    #[arg(long, env = "COFFER_NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Directory of the store [default: NAME.coffer]
    #[arg(long, env = "COFFER_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How a new store is kept: segment (flat files) or sqlite; an existing one must be of it [default: what is there,
    /// and segment for a new store]
    #[arg(long, env = "COFFER_BACKEND", value_name = "BACKEND")]
    #[serde(deserialize_with = "backend")]
    pub(crate) backend: Option<Backend>,
    /// Where clients are served, separated by commas: coffer://host:port or unix:///path for Coffer's own protocol,
    /// http://host:port for etcd's API; port 0 takes a free one [default: coffer://127.0.0.1:7420]
    #[arg(long, env = "COFFER_LISTEN_CLIENT_URLS", value_name = "URL,…", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) listen_client_urls: Option<Vec<String>>,
    /// Where clients are told to come, separated by commas [default: where it listens]
    #[arg(long, env = "COFFER_ADVERTISE_CLIENT_URLS", value_name = "URL,…", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) advertise_client_urls: Option<Vec<String>>,
    /// Where other members are served, separated by commas: coffer://host:port or http://host:port
    /// [default: coffer://127.0.0.1:7421 if one of the flags of a cluster is given, else nowhere]
    #[arg(long, env = "COFFER_LISTEN_PEER_URLS", value_name = "URL,…", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) listen_peer_urls: Option<Vec<String>>,
    /// Where other members reach this one, separated by commas [default: what --initial-cluster says]
    #[arg(long, env = "COFFER_INITIAL_ADVERTISE_PEER_URLS", value_name = "URL,…")]
    pub(crate) initial_advertise_peer_urls: Option<String>,
    /// All members of a new cluster, a URL each; whoever has more is named again. The same for all of them, and counts only
    /// for a new store [default: this one alone]
    #[arg(long, env = "COFFER_INITIAL_CLUSTER", value_name = "NAME=URL,…")]
    pub(crate) initial_cluster: Option<String>,
    /// Whether the cluster is founded now: new or existing [default: new]
    #[arg(long, env = "COFFER_INITIAL_CLUSTER_STATE", value_name = "STATE")]
    pub(crate) initial_cluster_state: Option<String>,
    /// What tells this cluster from another one at the same URLs [default: etcd-cluster]
    #[arg(long, env = "COFFER_INITIAL_CLUSTER_TOKEN", value_name = "TOKEN")]
    pub(crate) initial_cluster_token: Option<String>,
    /// Milliseconds between heartbeats [default: 100]
    #[arg(long, env = "COFFER_HEARTBEAT_INTERVAL", value_name = "MS")]
    pub(crate) heartbeat_interval: Option<u64>,
    /// Milliseconds that a member waits for a leader [default: 1000]
    #[arg(long, env = "COFFER_ELECTION_TIMEOUT", value_name = "MS")]
    pub(crate) election_timeout: Option<u64>,
    /// Most operations in one list of a transaction [default: 128]
    #[arg(long, env = "COFFER_MAX_TXN_OPS", value_name = "N")]
    pub(crate) max_txn_ops: Option<usize>,
    /// Largest request in bytes [default: 1572864]
    #[arg(long, env = "COFFER_MAX_REQUEST_BYTES", value_name = "BYTES")]
    pub(crate) max_request_bytes: Option<usize>,
    /// How often an idle watch that asked for it is told of progress [default: 10m]
    #[arg(long, env = "COFFER_WATCH_PROGRESS_NOTIFY_INTERVAL", value_name = "DURATION")]
    pub(crate) watch_progress_notify_interval: Option<String>,
    /// How history is kept: by time (periodic) or by number (revision) [default: periodic]
    #[arg(long, env = "COFFER_AUTO_COMPACTION_MODE", value_name = "MODE")]
    pub(crate) auto_compaction_mode: Option<String>,
    /// How much history is kept: hours, a duration like 30m, or in mode revision how many revisions; 0 for all of it
    /// [default: 0]
    #[arg(long, env = "COFFER_AUTO_COMPACTION_RETENTION", value_name = "LENGTH")]
    pub(crate) auto_compaction_retention: Option<String>,
    /// How often everything that is stored is verified in the background; 0 for never [default: 168h, a week]
    #[arg(long, env = "COFFER_SCRUB_INTERVAL", value_name = "DURATION")]
    pub(crate) scrub_interval: Option<String>,
    /// Bytes that such a verification reads in a second [default: 8MiB]
    #[arg(long, env = "COFFER_SCRUB_RATE", value_name = "BYTES")]
    pub(crate) scrub_rate: Option<String>,
    /// The data key of a sealed store is replaced after this time; 0 for never [default: 90d]
    #[arg(long, env = "COFFER_SEAL_ROTATE_AFTER", value_name = "DURATION")]
    pub(crate) seal_rotate_after: Option<String>,
    /// … and once it has sealed that much; 0 for never [default: 1TiB]
    #[arg(long, env = "COFFER_SEAL_ROTATE_BYTES", value_name = "SIZE")]
    pub(crate) seal_rotate_bytes: Option<String>,
    /// What is logged to standard error [default: info]
    #[arg(long, env = "COFFER_LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
    /// Which key opens the store. As flags they are those of every command.
    #[arg(skip)]
    #[serde(flatten)]
    pub(crate) seal: SealKeys,
}

/// The keys of a file: the fields of [`Partial`].
const KEYS: [&str; 27] = [
    "name",
    "data-dir",
    "backend",
    "listen-client-urls",
    "advertise-client-urls",
    "listen-peer-urls",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "heartbeat-interval",
    "election-timeout",
    "max-txn-ops",
    "max-request-bytes",
    "watch-progress-notify-interval",
    "auto-compaction-mode",
    "auto-compaction-retention",
    "scrub-interval",
    "scrub-rate",
    "seal-rotate-after",
    "seal-rotate-bytes",
    "log-level",
    SealKeys::NAMES[0],
    SealKeys::NAMES[1],
    SealKeys::NAMES[2],
    SealKeys::NAMES[3],
    SealKeys::NAMES[4],
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The filter for it. What the libraries below us tell is one level less important than what we tell. That a change of
    /// members was not possible yet is an answer, which is tried again, and no error of the daemon's.
    pub(crate) fn filter(self) -> &'static str {
        match self {
            Self::Error => "error,openraft::raft::api::management=off",
            Self::Warn => "warn,openraft=error,openraft::raft::api::management=off",
            // That a member is away is told by its connection, and not again with each heartbeat that it misses.
            Self::Info => {
                "info,openraft=warn,openraft::core::heartbeat=error,openraft::raft::api::management=off"
            }
            Self::Debug => "debug,openraft=info,async_io=info,polling=info",
            Self::Trace => "trace",
        }
    }
}

impl Partial {
    /// What this says, and `fallback` where it says nothing.
    pub(crate) fn or(self, fallback: Self) -> Self {
        Self {
            name: self.name.or(fallback.name),
            data_dir: self.data_dir.or(fallback.data_dir),
            backend: self.backend.or(fallback.backend),
            listen_client_urls: self.listen_client_urls.or(fallback.listen_client_urls),
            advertise_client_urls: self.advertise_client_urls.or(fallback.advertise_client_urls),
            listen_peer_urls: self.listen_peer_urls.or(fallback.listen_peer_urls),
            initial_advertise_peer_urls: self
                .initial_advertise_peer_urls
                .or(fallback.initial_advertise_peer_urls),
            initial_cluster: self.initial_cluster.or(fallback.initial_cluster),
            initial_cluster_state: self.initial_cluster_state.or(fallback.initial_cluster_state),
            initial_cluster_token: self.initial_cluster_token.or(fallback.initial_cluster_token),
            heartbeat_interval: self.heartbeat_interval.or(fallback.heartbeat_interval),
            election_timeout: self.election_timeout.or(fallback.election_timeout),
            max_txn_ops: self.max_txn_ops.or(fallback.max_txn_ops),
            max_request_bytes: self.max_request_bytes.or(fallback.max_request_bytes),
            watch_progress_notify_interval: self
                .watch_progress_notify_interval
                .or(fallback.watch_progress_notify_interval),
            auto_compaction_mode: self.auto_compaction_mode.or(fallback.auto_compaction_mode),
            auto_compaction_retention: self.auto_compaction_retention.or(fallback.auto_compaction_retention),
            scrub_interval: self.scrub_interval.or(fallback.scrub_interval),
            scrub_rate: self.scrub_rate.or(fallback.scrub_rate),
            seal_rotate_after: self.seal_rotate_after.or(fallback.seal_rotate_after),
            seal_rotate_bytes: self.seal_rotate_bytes.or(fallback.seal_rotate_bytes),
            log_level: self.log_level.or(fallback.log_level),
            // Only a file has them here.
            seal: fallback.seal,
        }
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::usage(format_args!("cannot read --config {}: {error}", path.display()))
        })?;
        Self::parse(&text).map_err(|reason| Failure::usage(format_args!("{}: {reason}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        for key in table.keys() {
            if !KEYS.contains(&key.as_str()) {
                return Err(unknown_key(key));
            }
        }
        // Parsed again from the text, so that an error shows the line.
        toml::from_str(text).map_err(|error| error.to_string())
    }
}

fn unknown_key(key: &str) -> String {
    let nearest = KEYS.into_iter().min_by_key(|known| distance(key, known)).unwrap_or_default();
    match distance(key, nearest) <= 2 + key.len() / 4 {
        true => format!("the key `{key}` is unknown; did you mean `{nearest}`?"),
        false => format!("the key `{key}` is unknown; there are {}", KEYS.join(", ")),
    }
}

/// How many characters must be changed, added or removed to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn backend<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Backend>, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A list, or one string with commas.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a list of strings")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(Some(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        OneOrMany::Many(list) => list,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sets_what_it_names() {
        let file = Partial::parse(
            "data-dir = '/var/lib/coffer'\nbackend = 'sqlite'\nlisten-client-urls = 'coffer://a:1, unix:///b'\nmax-txn-ops = 7\nlog-level = 'debug'",
        );
        let expected = Partial {
            data_dir: Some("/var/lib/coffer".into()),
            backend: Some(Backend::Sqlite),
            listen_client_urls: Some(vec!["coffer://a:1".into(), "unix:///b".into()]),
            max_txn_ops: Some(7),
            log_level: Some(LogLevel::Debug),
            ..Partial::default()
        };
        assert_eq!(file, Ok(expected));
        assert_eq!(Partial::parse(""), Ok(Partial::default()));
    }

    #[test]
    fn flags_go_before_the_file() {
        let flags = Partial { name: Some("flag".into()), ..Partial::default() };
        let file = Partial { name: Some("file".into()), max_txn_ops: Some(3), ..Partial::default() };
        let both = flags.or(file);
        assert_eq!((both.name.as_deref(), both.max_txn_ops), (Some("flag"), Some(3)));
    }

    #[test]
    fn an_unknown_key_gets_the_nearest_name() {
        for (text, expected) in [
            ("datadir = 'x'", "did you mean `data-dir`?"),
            ("data_dir = 'x'", "did you mean `data-dir`?"),
            ("listen-client-url = 'x'", "did you mean `listen-client-urls`?"),
            ("quux = 1", "there are name, data-dir"),
            ("max-txn-ops = 'many'", "line 1"),
            ("backend = 'tape'", "there is no backend"),
            ("log-level = 'loud'", "unknown variant `loud`"),
            ("listen-client-urls = 7", "expected a string or a list"),
            ("= 7", "line 1"),
        ] {
            let error = Partial::parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_keys_are_the_flags() {
        use crate::seal::SealFlags;
        use clap::Args;
        let command = Partial::augment_args(clap::Command::new("serve"));
        let flags: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        assert_eq!(flags, KEYS[..KEYS.len() - SealKeys::NAMES.len()]);
        let command = SealFlags::augment_args(clap::Command::new("serve"));
        let flags = command.get_arguments().filter_map(|argument| argument.get_long());
        // Nobody is there to be asked by a file.
        assert!(flags.filter(|flag| *flag != "seal-passphrase").eq(SealKeys::NAMES));
    }
}
