//! The settings of `coffer serve`, complete and checked.

use super::compaction::AutoCompaction;
use super::config::{LogLevel, Partial, ServeOptions};
use super::plan::{Listen, Plan, Surface};
use super::rotation::Rotation;
use crate::etcd::urls;
use crate::failure::Failure;
use crate::new_cluster::{self, NewClusterFlags};
use crate::seal::SealFlags;
use coffer::{DEFAULT_PORT, Endpoint, MemberInfo, Options, Peering, byte_count, duration};
use std::path::PathBuf;
use std::time::Duration;

/// The settings of `coffer serve`.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) plan: Plan,
    pub(crate) log_level: LogLevel,
}

impl Settings {
    /// Collects the settings from all sources and checks them.
    pub(crate) fn load(options: ServeOptions, seal: &SealFlags) -> Result<Self, Failure> {
        let file = match &options.config {
            Some(path) => Partial::read(path)?,
            None => Partial::default(),
        };
        let in_file = file.seal.clone();
        let mut settings = Self::complete(options.flags.or(file)).map_err(Failure::usage)?;
        if let Some(seal) = seal.resolve(Some(in_file), Some(&settings.plan.data_dir))? {
            settings.plan.options = settings.plan.options.seal(seal);
        }
        Ok(settings)
    }

    pub(crate) fn complete(given: Partial) -> Result<Self, String> {
        let name = given.name.unwrap_or_else(|| "default".into());
        let data_dir = absolute(given.data_dir.unwrap_or_else(|| format!("{name}.coffer").into()))?;
        let listen = match given.listen_client_urls {
            Some(urls) => listen_urls(&urls)?,
            None => vec![Listen {
                surface: Surface::CapnProto,
                url: Endpoint::Tcp { host: "127.0.0.1".into(), port: DEFAULT_PORT }.to_string(),
            }],
        };
        let advertised = match given.advertise_client_urls {
            Some(urls) => advertised_urls(&urls)?,
            None => Vec::new(),
        };
        let own_client_urls = advertised.clone();
        let peering = Peers {
            name: &name,
            listen: given.listen_peer_urls,
            advertise: given.initial_advertise_peer_urls,
            cluster: given.initial_cluster,
            state: given.initial_cluster_state,
            token: given.initial_cluster_token,
        };
        let peering = peering.complete()?;
        let has_peers = peering.is_some();
        let own_peer_urls = peering.as_ref().map(Peering::own_urls).unwrap_or_default();
        let limits = Limits {
            heartbeat_interval: Duration::from_millis(given.heartbeat_interval.unwrap_or(100)),
            election_timeout: Duration::from_millis(given.election_timeout.unwrap_or(1000)),
            max_txn_ops: given.max_txn_ops.unwrap_or(128),
            max_request_bytes: given.max_request_bytes.unwrap_or(1536 * 1024),
            watch_progress_interval: match given.watch_progress_notify_interval {
                Some(text) => duration::parse(&text)
                    .map_err(|reason| format!("watch-progress-notify-interval: {reason}"))?,
                None => Duration::from_secs(600),
            },
        };
        limits.check()?;
        let auto_compaction = AutoCompaction::read(
            given.auto_compaction_mode.as_deref().unwrap_or("periodic"),
            given.auto_compaction_retention.as_deref().unwrap_or("0"),
        )?;
        let interval = given.scrub_interval.as_deref().unwrap_or(SCRUB_INTERVAL);
        let interval = duration::parse(interval).map_err(|reason| format!("scrub-interval: {reason}"))?;
        let mut options = limits.options().scrub_interval(interval);
        if let Some(rate) = &given.scrub_rate {
            let rate = byte_count::parse(rate).map_err(|reason| format!("scrub-rate: {reason}"))?;
            options = options.scrub_rate_bytes(rate);
        }
        let rotation =
            Rotation::read(given.seal_rotate_after.as_deref(), given.seal_rotate_bytes.as_deref())?;
        let plan = Plan {
            data_dir,
            options: match given.backend {
                Some(backend) => options.backend(backend),
                None => options,
            },
            listen,
            own: MemberInfo {
                name: name.clone(),
                peer_urls: own_peer_urls,
                client_urls: own_client_urls,
                wants_vote: false,
            },
            peering,
            rpc: coffer_rpc::server::ServerConfig {
                advertise_urls: advertised.clone(),
                ..Default::default()
            },
            etcd: coffer_etcd::server::ServerConfig {
                member_name: name,
                has_peers,
                // etcd's clients know no other scheme, and a socket file speaks Cap'n Proto here.
                advertise_client_urls: advertised.into_iter().filter(|url| url.starts_with("http")).collect(),
                ..Default::default()
            },
            auto_compaction,
            rotation,
        };
        Ok(Self { plan, log_level: given.log_level.unwrap_or_default() })
    }
}

/// What was said of other members.
struct Peers<'a> {
    name: &'a str,
    listen: Option<Vec<String>>,
    advertise: Option<String>,
    cluster: Option<String>,
    state: Option<String>,
    token: Option<String>,
}

impl Peers<'_> {
    /// How the member finds the others; `None` if nothing was said of any.
    fn complete(self) -> Result<Option<Peering>, String> {
        let Self { name, listen, advertise, cluster, state, token } = self;
        let joins = joins(state.as_deref().unwrap_or("new"))?;
        if listen.is_none() && advertise.is_none() && cluster.is_none() {
            return Ok(None);
        }
        let listen_urls = listen.unwrap_or_else(|| vec![DEFAULT_PEER_URL.into()]);
        let listen_urls: Vec<String> = trimmed(&listen_urls).map(str::to_owned).collect();
        for url in &listen_urls {
            check_peer_url(url).map_err(|error| format!("listen-peer-urls: {error}"))?;
        }
        let flags = NewClusterFlags::of(name, cluster, token, advertise);
        let cluster = flags.resolve().and_then(|wanted| wanted.cluster(new_cluster::NOTHING));
        let cluster =
            cluster.map_err(|failure| failure.to_string())?.ok_or("there is no cluster to found")?;
        for url in cluster.members().iter().flat_map(|member| &member.info.peer_urls) {
            check_peer_url(url).map_err(|error| format!("initial-cluster: {error}"))?;
        }
        Ok(Some(Peering { listen_urls, cluster, joins }))
    }
}

/// Where other members are served unless somebody says otherwise.
const DEFAULT_PEER_URL: &str = "coffer://127.0.0.1:7421";

/// Whether `--initial-cluster-state` says that the cluster is there already.
fn joins(state: &str) -> Result<bool, String> {
    match state {
        "new" => Ok(false),
        "existing" => Ok(true),
        other => Err(format!("initial-cluster-state `{other}` is neither new nor existing")),
    }
}

/// Refuses a URL that members cannot use yet.
pub(crate) fn check_peer_url(url: &str) -> Result<(), String> {
    match url.split_once("://") {
        Some(("coffer" | "http", _)) => urls::read_peers(url).map(drop),
        Some(("coffers" | "https", _)) => {
            Err(format!("`{url}`: TLS between members is not there yet; use http:// or coffer://"))
        }
        _ => Err(format!("`{url}` must begin with coffer:// or http://")),
    }
}

/// How often everything is verified unless somebody says otherwise.
const SCRUB_INTERVAL: &str = "168h";

/// Limits and intervals that both programs have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) heartbeat_interval: Duration,
    pub(crate) election_timeout: Duration,
    pub(crate) max_txn_ops: usize,
    pub(crate) max_request_bytes: usize,
    pub(crate) watch_progress_interval: Duration,
}

impl Limits {
    /// How a store with these limits is opened.
    pub(crate) fn options(&self) -> Options {
        Options::default()
            .heartbeat_interval(self.heartbeat_interval)
            .election_timeout(self.election_timeout)
            .request_bytes_max(self.max_request_bytes)
            .txn_ops_max(self.max_txn_ops)
            .watch_progress_interval(self.watch_progress_interval)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.options().check()
    }
}

/// The directory, whatever the working directory becomes.
pub(crate) fn absolute(dir: PathBuf) -> Result<PathBuf, String> {
    if dir.as_os_str().is_empty() {
        return Err("data-dir is empty".into());
    }
    std::path::absolute(&dir).map_err(|error| format!("data-dir {}: {error}", dir.display()))
}

fn listen_urls(urls: &[String]) -> Result<Vec<Listen>, String> {
    let setting = "listen-client-urls";
    let mut listen = Vec::new();
    for url in trimmed(urls) {
        let (surface, url) = match url.split_once(':') {
            Some(("coffer" | "unix", _)) => {
                let endpoint: Endpoint = url.parse().map_err(|error| format!("{setting}: {error}"))?;
                (Surface::CapnProto, endpoint.to_string())
            }
            Some(("http", _)) => {
                urls::read(url).map_err(|error| format!("{setting}: {error}"))?;
                (Surface::Etcd, url.to_owned())
            }
            Some(("https" | "coffers", _)) => return Err(format!("{setting}: `{url}`: {TLS}")),
            _ => {
                return Err(format!("{setting}: `{url}` must begin with coffer://, unix:// or http://"));
            }
        };
        let there = Listen { surface, url };
        if listen.contains(&there) && !there.url.ends_with(":0") {
            return Err(format!("{setting}: `{}` is given twice", there.url));
        }
        listen.push(there);
    }
    match listen.is_empty() {
        true => Err(format!("{setting} names no URL")),
        false => Ok(listen),
    }
}

/// Why a URL with TLS can not be listened on.
const TLS: &str = "TLS is not there yet; listen on coffer:// or http:// behind a proxy that ends TLS";

/// What clients are told may lie before a proxy, so that every scheme is good.
fn advertised_urls(urls: &[String]) -> Result<Vec<String>, String> {
    let setting = "advertise-client-urls";
    let mut advertised = Vec::new();
    for url in trimmed(urls) {
        advertised.push(match url.split_once(':') {
            Some(("coffer" | "unix", _)) => {
                let endpoint: Endpoint = url.parse().map_err(|error| format!("{setting}: {error}"))?;
                endpoint.to_string()
            }
            Some(("http" | "https", _)) => {
                urls::read(url).map_err(|error| format!("{setting}: {error}"))?;
                url.to_owned()
            }
            Some(("coffers", _)) => url.to_owned(),
            _ => {
                return Err(format!("{setting}: `{url}` must begin with coffer://, unix:// or http://"));
            }
        });
    }
    match advertised.is_empty() {
        true => Err(format!("{setting} names no URL")),
        false => Ok(advertised),
    }
}

fn trimmed(urls: &[String]) -> impl Iterator<Item = &str> {
    urls.iter().map(|url| url.trim()).filter(|url| !url.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_etcd() {
        let plan = Settings::complete(Partial::default()).unwrap().plan;
        assert!(plan.data_dir.is_absolute() && plan.data_dir.ends_with("default.coffer"));
        let expected = Listen { surface: Surface::CapnProto, url: "coffer://127.0.0.1:7420".into() };
        assert_eq!(plan.listen, [expected]);
        assert_eq!(plan.auto_compaction, None);
    }

    #[test]
    fn the_scheme_of_a_url_selects_what_is_served() {
        let urls = ["coffer://a", "http://127.0.0.1:0", "unix:///s", "http://127.0.0.1:0"].map(String::from);
        let given = Partial { listen_client_urls: Some(urls.to_vec()), ..Partial::default() };
        let listen = Settings::complete(given).unwrap().plan.listen;
        let listen: Vec<_> = listen.iter().map(|listen| (listen.surface, listen.url.as_str())).collect();
        let expected = [
            (Surface::CapnProto, "coffer://a:7420"),
            (Surface::Etcd, "http://127.0.0.1:0"),
            (Surface::CapnProto, "unix:///s"),
            (Surface::Etcd, "http://127.0.0.1:0"),
        ];
        assert_eq!(listen, expected);
    }

    #[test]
    fn clients_of_etcd_are_told_of_what_they_can_use() {
        let urls = ["coffer://a:1", "https://b:2", "unix:///s", "http://c:3"].map(String::from);
        let given = Partial { advertise_client_urls: Some(urls.to_vec()), ..Partial::default() };
        let plan = Settings::complete(given).unwrap().plan;
        assert_eq!(plan.rpc.advertise_urls, urls);
        assert_eq!(plan.etcd.advertise_client_urls, ["https://b:2", "http://c:3"]);
    }

    #[test]
    fn a_store_has_peers_if_something_is_said_of_them() {
        assert_eq!(Settings::complete(Partial::default()).unwrap().plan.peering, None);
        let three = "a=http://h:1,b=coffer://h:2,c=http://h:3";
        let given = |name: &str| Partial {
            name: Some(name.into()),
            initial_cluster: Some(three.into()),
            listen_peer_urls: Some(vec!["http://127.0.0.1:0".into()]),
            ..Partial::default()
        };
        let peering = |name: &str| Settings::complete(given(name)).unwrap().plan.peering.unwrap();
        let (a, b) = (peering("a"), peering("b"));
        assert_eq!(a.listen_urls, ["http://127.0.0.1:0"]);
        assert_eq!((a.cluster.members().len(), a.cluster.members()), (3, b.cluster.members()));
        assert_ne!(a.cluster, b.cluster, "who it is tells them apart");
        let alone = Partial { listen_peer_urls: given("a").listen_peer_urls, ..Partial::default() };
        assert_eq!(Settings::complete(alone).unwrap().plan.peering.unwrap().cluster.members().len(), 1);
    }

    #[test]
    fn what_can_not_work_is_refused() {
        let none = Partial::default;
        let listen = |url: &str| Partial { listen_client_urls: Some(vec![url.into()]), ..none() };
        for (given, reason) in [
            (Partial { heartbeat_interval: Some(0), ..none() }, "at least 1 ms"),
            (
                Partial { heartbeat_interval: Some(300), ..none() },
                "at least 5 times heartbeat-interval, 1500 ms",
            ),
            (Partial { election_timeout: Some(60_000), ..none() }, "at most 50000 ms"),
            (Partial { max_txn_ops: Some(0), ..none() }, "max-txn-ops"),
            (Partial { max_request_bytes: Some(7), ..none() }, "max-request-bytes is 7"),
            (
                Partial { watch_progress_notify_interval: Some("often".into()), ..none() },
                "`often` is no duration",
            ),
            (Partial { watch_progress_notify_interval: Some("1ms".into()), ..none() }, "at least 100ms"),
            (Partial { data_dir: Some("".into()), ..none() }, "data-dir is empty"),
            (Partial { scrub_interval: Some("often".into()), ..none() }, "scrub-interval: `often` is no"),
            (Partial { scrub_rate: Some("8 bits".into()), ..none() }, "scrub-rate: `8 bits` is no"),
            (Partial { auto_compaction_mode: Some("now".into()), ..none() }, "unknown auto-compaction-mode"),
            (listen("ftp://a:1"), "must begin with coffer://, unix:// or http://"),
            (listen("http://a"), "does not have the form \"host:port\""),
            (listen("https://a:1"), "TLS is not there yet"),
            (listen("coffers://a:1"), "TLS is not there yet"),
            (listen("coffer://a:x"), "no port number"),
            (listen(""), "names no URL"),
            (
                Partial { initial_cluster: Some("a=http://h:1".into()), ..none() },
                "couldn't find local name \"default\"",
            ),
            (
                Partial { initial_cluster: Some("default=https://h:1".into()), ..none() },
                "TLS between members is not there yet",
            ),
            (
                Partial { listen_peer_urls: Some(vec!["unix:///x".into()]), ..none() },
                "must begin with coffer:// or http://",
            ),
            (Partial { initial_cluster_state: Some("old".into()), ..none() }, "neither new nor existing"),
            (
                Partial {
                    listen_client_urls: Some(vec!["coffer://a:1".into(), "coffer://a:1".into()]),
                    ..none()
                },
                "given twice",
            ),
            (
                Partial { advertise_client_urls: Some(vec!["a:1".into()]), ..none() },
                "advertise-client-urls: `a:1` must begin with",
            ),
        ] {
            let error = Settings::complete(given).expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }
}
