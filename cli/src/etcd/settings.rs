//! What the flags mean for the daemon, checked as etcd checks them and with its texts.

use super::cluster;
use super::given::{Given, Note};
use super::go::quoted;
use super::log::{LogFormat, LogSettings};
use super::urls;
use crate::failure::Failure;
use crate::new_cluster::{self, NOTHING};
use crate::seal::SealFlags;
use crate::serve::LogLevel;
use crate::serve::compaction::AutoCompaction;
use crate::serve::plan::{Listen, Plan, Surface};
use crate::serve::rotation::Rotation;
use crate::serve::settings::{Limits, absolute};
use coffer::{MemberInfo, NewCluster, Peering, Seal};
use coffer_etcd::server::ServerConfig;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the program is to do under the name `etcd`.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    /// Where other members would come. Nothing listens there if there is none.
    pub(crate) listen_peer_urls: Vec<String>,
}

/// Why flags can not be followed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// They ask for what is not there.
    NotThere(String),
    /// They are wrong, as etcd would say.
    Wrong(String),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Wrong(text)
    }
}

/// Reads how to log.
pub(crate) fn log(given: &Given) -> Result<LogSettings, Refusal> {
    let level = match given.boolean("debug") {
        true => LogLevel::Debug,
        false => log_level(&given.text("log-level"))?,
    };
    let format = match given.text("log-format").as_str() {
        "json" | "" => LogFormat::Json,
        "console" => LogFormat::Console,
        other => return Err(format!("unknown log format: {other}, supported values json, console").into()),
    };
    let mut outputs = given.list("log-outputs");
    if outputs.is_empty() {
        outputs.push("default".into());
    }
    if outputs.len() > 1 && outputs.iter().any(|output| output == "default") {
        return Err(String::from("multi logoutput for \"default\" is not supported yet").into());
    }
    Ok(LogSettings { level, format, outputs })
}

fn log_level(text: &str) -> Result<LogLevel, Refusal> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Ok(LogLevel::Debug),
        "info" | "" => Ok(LogLevel::Info),
        "warn" => Ok(LogLevel::Warn),
        "error" | "dpanic" | "panic" | "fatal" => Ok(LogLevel::Error),
        _ => Err(Refusal::NotThere(format!(
            "--log-level {} is none of debug, info, warn, error, panic and fatal",
            quoted(text)
        ))),
    }
}

impl Settings {
    /// Checks everything and makes a plan. Adds to the notes what the log is to say.
    pub(crate) fn new(given: &mut Given) -> Result<Self, Refusal> {
        refuse_what_is_not_there(given)?;
        given.note_idle();
        let name = given.text("name");
        let listen_peer_urls = given.list("listen-peer-urls");
        for flag in LISTEN {
            given.list(flag).iter().try_for_each(|url| urls::check_bind(url))?;
        }
        let advertise_peer_urls = given.list("initial-advertise-peer-urls");
        for url in &advertise_peer_urls {
            urls::check_host(url)
                .map_err(|error| format!("--initial-advertise-peer-urls must be \"host:port\" ({error})"))?;
        }
        let advertise_client_urls = advertised(given)?;
        let limits = limits(given)?;
        let peering = peering(given, &name, &listen_peer_urls, &advertise_peer_urls)?;
        let auto_compaction = AutoCompaction::read(
            &given.text("auto-compaction-mode"),
            match given.text("auto-compaction-retention").as_str() {
                "" => "0",
                retention => retention,
            },
        )?;
        let data_dir = match given.text("data-dir").as_str() {
            "" => format!("{name}.etcd"),
            dir => dir.to_owned(),
        };
        let own = MemberInfo {
            name: name.clone(),
            peer_urls: advertise_peer_urls.clone(),
            client_urls: advertise_client_urls.clone(),
            wants_vote: false,
        };
        let surface = ServerConfig {
            has_peers: peering.is_some(),
            learners_max: given.number("max-learners", u64::MAX),
            ..surface(given, &name, &limits, advertise_client_urls, advertise_peer_urls)
        };
        let plan = Plan {
            data_dir: absolute(data_dir.into())?,
            options: limits.options().quota_bytes(quota_bytes(given)),
            listen: to_bind(given, "listen-client-urls")
                .into_iter()
                .map(|url| Listen { surface: Surface::Etcd, url })
                .collect(),
            peering,
            own,
            rpc: coffer_rpc::server::ServerConfig::default(),
            etcd: surface,
            auto_compaction,
            rotation: Rotation::default(),
        };
        Ok(Self { name, plan, listen_peer_urls })
    }

    /// Adds which key opens the store. Nothing that starts an etcd names one: then a new store is in the clear, as etcd's
    /// would be, and the log says so.
    pub(crate) fn seal(&mut self, flags: &SealFlags) -> Result<(), Failure> {
        let seal = flags.resolve(None, Some(&self.plan.data_dir))?;
        self.plan.options = self.plan.options.clone().seal(seal.unwrap_or(Seal::Unsealed));
        Ok(())
    }
}

/// The quota, or 0 for none.
fn quota_bytes(given: &Given) -> u64 {
    match given.number("quota-backend-bytes", i64::MAX) {
        0 => QUOTA_DEFAULT,
        asked => u64::try_from(asked).unwrap_or(0),
    }
}

/// etcd's: 2 GiB.
const QUOTA_DEFAULT: u64 = 2 << 30;

/// The flags that name where to listen.
const LISTEN: [&str; 4] =
    ["listen-peer-urls", "listen-client-urls", "listen-client-http-urls", "listen-metrics-urls"];

/// How etcd's API is served.
fn surface(
    given: &Given,
    name: &str,
    limits: &Limits,
    advertise_client_urls: Vec<String>,
    advertise_peer_urls: Vec<String>,
) -> ServerConfig {
    let interval = given.duration("grpc-keepalive-interval");
    ServerConfig {
        concurrent_streams_max: given.number("max-concurrent-streams", u32::MAX),
        keepalive_interval: (!interval.is_zero()).then_some(interval),
        keepalive_timeout: given.duration("grpc-keepalive-timeout"),
        request_timeout: Duration::from_secs(5) + limits.election_timeout * 2,
        member_name: name.to_owned(),
        advertise_client_urls,
        advertise_peer_urls,
        gateway: given.boolean("enable-grpc-gateway"),
        listen_http_urls: to_bind(given, "listen-client-http-urls"),
        listen_metrics_urls: to_bind(given, "listen-metrics-urls"),
        cors: given.list("cors"),
        host_whitelist: given.list("host-whitelist"),
        extensive_metrics: given.text("metrics") == "extensive",
        ..ServerConfig::default()
    }
}

fn to_bind(given: &Given, flag: &'static str) -> Vec<String> {
    given.list(flag).iter().map(|url| urls::to_bind(url)).collect()
}

/// Flags and URLs that ask for what is not there, all of them at once.
fn refuse_what_is_not_there(given: &Given) -> Result<(), Refusal> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    let mut add = |reason, what: String| match reasons.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, flags)) => flags.push(what),
        None => reasons.push((reason, vec![what])),
    };
    for (flag, reason) in given.refused() {
        add(reason, format!("--{flag}"));
    }
    for flag in LISTEN {
        for url in given.list(flag).iter().filter(|url| urls::is_encrypted(url)) {
            add(super::table::TLS, format!("--{flag} {url}"));
        }
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => {
            let reasons: Vec<_> = reasons
                .into_iter()
                .map(|(reason, flags)| format!("{}: {reason}", flags.join(", ")))
                .collect();
            Err(Refusal::NotThere(reasons.join("; ")))
        }
    }
}

/// What clients are told. Empty for where it listens.
fn advertised(given: &Given) -> Result<Vec<String>, String> {
    // A file that names one keeps etcd's default for the other; a command line must name both.
    if given.is_set("listen-client-urls") && !given.is_set("advertise-client-urls") && !given.from_file {
        return Err("--advertise-client-urls is required when --listen-client-urls is set explicitly".into());
    }
    let urls = given.list("advertise-client-urls");
    for url in &urls {
        urls::check_host(url).map_err(|error| {
            format!(
                "--advertise-client-urls must be in the format \"host:port\", \"unix:/path/to/socket\" or \
                 \"unixs:/path/to/socket\" ({error})"
            )
        })?;
    }
    // Nobody can come to port 0; what the system gave instead is known once it listens.
    Ok(if urls.iter().all(|url| url.ends_with(":0")) { Vec::new() } else { urls })
}

fn limits(given: &mut Given) -> Result<Limits, String> {
    let heartbeat: u64 = given.number("heartbeat-interval", u64::MAX);
    let election: u64 = given.number("election-timeout", u64::MAX);
    if heartbeat == 0 {
        return Err("--heartbeat-interval must be >0 (set to 0ms)".into());
    }
    if election == 0 {
        return Err("--election-timeout must be >0 (set to 0ms)".into());
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        ));
    }
    if election > 50_000 {
        return Err(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than 50000ms"
        ));
    }
    // etcd falls back as well where the interval is too short to be meant.
    let asked = given.duration("watch-progress-notify-interval");
    let watch_progress_interval = match asked {
        Duration::ZERO => Duration::from_secs(600),
        short if short < PROGRESS_MIN => {
            given.notes.push(Note::Warning(format!(
                "--watch-progress-notify-interval is raised to {} ms",
                PROGRESS_MIN.as_millis()
            )));
            PROGRESS_MIN
        }
        asked => asked,
    };
    let limits = Limits {
        heartbeat_interval: Duration::from_millis(heartbeat),
        election_timeout: Duration::from_millis(election),
        max_txn_ops: given.number("max-txn-ops", usize::MAX),
        max_request_bytes: given.number("max-request-bytes", usize::MAX),
        watch_progress_interval,
    };
    limits.check()?;
    Ok(limits)
}

const PROGRESS_MIN: Duration = Duration::from_millis(100);

/// How the member finds the others; `None` if nothing is said of any: then it stays alone.
fn peering(
    given: &mut Given,
    name: &str,
    listen_urls: &[String],
    advertise_peer_urls: &[String],
) -> Result<Option<Peering>, Refusal> {
    let (initial_cluster, token) = (given.text("initial-cluster"), given.text("initial-cluster-token"));
    let joins = given.text("initial-cluster-state") == "existing";
    let members =
        cluster::members(&initial_cluster).map_err(|error| format!("--initial-cluster: {error}"))?;
    let cluster = if members.len() > 1 {
        new_cluster::check(&initial_cluster, &members, name, Some(advertise_peer_urls))?;
        NewCluster::together(&token, &members, name, NOTHING.as_bytes())
    } else {
        if !initial_cluster.is_empty() {
            note_own_urls(given, &members, name, advertise_peer_urls)?;
        }
        if !given.is_set("listen-peer-urls") {
            return Ok(None);
        }
        // Alone now, and perhaps not for ever.
        NewCluster::alone(MemberInfo {
            name: name.to_owned(),
            peer_urls: advertise_peer_urls.to_vec(),
            ..MemberInfo::default()
        })
    };
    let cluster = cluster.map_err(|error| Refusal::Wrong(error.to_string()))?;
    let mut urls = cluster.members().iter().flat_map(|member| &member.info.peer_urls);
    if let Some(url) = urls.find(|url| !["http", "coffer"].contains(&scheme(url))) {
        return Err(Refusal::NotThere(format!("peers at {url}: {}", super::table::TLS)));
    }
    let listen_urls = listen_urls.iter().map(|url| urls::to_bind(url)).collect();
    Ok(Some(Peering { listen_urls, cluster, joins }))
}

/// etcd refuses what it can not resolve to the same addresses; with one member nothing depends on it.
fn note_own_urls(
    given: &mut Given,
    members: &BTreeMap<String, Vec<String>>,
    name: &str,
    advertise_peer_urls: &[String],
) -> Result<(), Refusal> {
    let named = cluster::own_peer_urls(members, name)?;
    if named != advertise_peer_urls {
        given.notes.push(Note::Warning(format!(
            "--initial-cluster has {name}={} but --initial-advertise-peer-urls has {}; the latter is shown in the \
             list of members",
            named.join(","),
            advertise_peer_urls.join(",")
        )));
    }
    Ok(())
}

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::command_line::{self, Asked};
    use crate::etcd::flags::{self, Treatment};
    use crate::etcd::given::asked;
    use std::ffi::OsString;

    fn given(line: &str) -> Given {
        match command_line::read(line.split_whitespace().map(OsString::from)) {
            Ok(Asked::Flags(given)) => given,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn settings(line: &str) -> Result<Settings, Refusal> {
        Settings::new(&mut given(line))
    }

    #[test]
    fn defaults_are_those_of_etcd() {
        let settings = settings("").expect("defaults");
        assert!(settings.plan.data_dir.is_absolute() && settings.plan.data_dir.ends_with("default.etcd"));
        assert_eq!(settings.plan.listen[0].url, "http://127.0.0.1:2379");
        assert_eq!(settings.plan.etcd.advertise_client_urls, ["http://localhost:2379"]);
        assert_eq!(settings.plan.etcd.advertise_peer_urls, ["http://localhost:2380"]);
        assert_eq!(settings.plan.etcd.request_timeout, Duration::from_secs(7));
        assert_eq!(settings.plan.auto_compaction, None);
    }

    #[test]
    fn the_flags_of_a_kubeadm_manifest_are_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let line = format!(
            "--advertise-client-urls=http://10.0.0.1:2379 --data-dir={} --initial-advertise-peer-urls=http://10.0.0.1:2380 \
             --initial-cluster=node=http://10.0.0.1:2380 --listen-client-urls=http://127.0.0.1:2379,http://10.0.0.1:2379 \
             --listen-peer-urls=http://10.0.0.1:2380 --listen-metrics-urls=http://127.0.0.1:2381 --name=node --snapshot-count=10000 \
             --experimental-initial-corrupt-check=true --experimental-watch-progress-notify-interval=5s \
             --feature-gates=InitialCorruptCheck=true --peer-client-cert-auth=false --auto-compaction-retention=8",
            dir.path().display()
        );
        let mut given = given(&line);
        let settings = Settings::new(&mut given).expect("a plan");
        assert_eq!(settings.name, "node");
        assert_eq!(settings.plan.etcd.listen_metrics_urls, ["http://127.0.0.1:2381"]);
        let urls: Vec<_> = settings.plan.listen.iter().map(|listen| listen.url.as_str()).collect();
        assert_eq!(urls, ["http://10.0.0.1:2379", "http://127.0.0.1:2379"]);
        let eight_hours = AutoCompaction::Periodic(Duration::from_secs(8 * 3600));
        assert_eq!(settings.plan.auto_compaction, Some(eight_hours));
        assert!(!given.notes.iter().any(|note| matches!(note, Note::Warning(_))), "{:?}", given.notes);
    }

    #[test]
    fn the_flags_of_a_static_cluster_are_followed() {
        let three = "a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380";
        let of = |name: &str, ip: &str| {
            let line = format!(
                "--name {name} --initial-cluster {three} --initial-cluster-token t --initial-advertise-peer-urls \
                 http://{ip}:2380 --listen-peer-urls http://0.0.0.0:2380"
            );
            settings(&line).expect("a plan").plan.peering.expect("peers")
        };
        let (a, b) = (of("a", "10.0.0.1"), of("b", "10.0.0.2"));
        assert_eq!(a.listen_urls, ["http://0.0.0.0:2380"]);
        assert_eq!((a.cluster.members().len(), a.cluster.members()), (3, b.cluster.members()));
        let wrong =
            format!("--name a --initial-cluster {three} --initial-advertise-peer-urls http://10.0.0.9:2380");
        let Err(Refusal::Wrong(text)) = settings(&wrong) else { panic!("it fits nobody") };
        assert!(text.contains("--initial-cluster has a=http://10.0.0.1:2380 but missing from"), "{text}");
        assert_eq!(settings("").expect("a plan").plan.peering, None);
        let alone = settings("--name a --listen-peer-urls http://0.0.0.0:2380").expect("a plan").plan.peering;
        assert_eq!(alone.expect("it may grow").cluster.members().len(), 1);
    }

    #[test]
    fn flags_about_tls_are_refused_together() {
        let refused = settings(
            "--cert-file=/c --key-file=/k --client-cert-auth --peer-cert-file=/p --listen-client-urls=https://127.0.0.1:1 \
             --advertise-client-urls=https://127.0.0.1:1",
        );
        let Err(Refusal::NotThere(text)) = refused else { panic!("{refused:?}") };
        for flag in [
            "--cert-file",
            "--key-file",
            "--client-cert-auth",
            "--peer-cert-file",
            "--listen-client-urls https://127.0.0.1:1",
        ] {
            assert!(text.contains(flag), "{text}");
        }
        assert_eq!(text.matches("TLS is not there yet").count(), 1, "{text}");
    }

    #[test]
    fn what_is_not_there_says_so() {
        for (line, reason) in [
            ("--unsafe-no-fsync", "an acknowledgement means that the data is on the disk"),
            ("--force-new-cluster", "--force-new-cluster: that takes a command of its own"),
            ("--proxy on", "the v2 proxy is not there"),
            ("--discovery-srv example.com", "members are not found by discovery"),
            ("--listen-peer-urls https://127.0.0.1:1", "TLS is not there yet"),
            (
                "--name a --initial-cluster a=https://a:1,b=http://b:1 --initial-advertise-peer-urls https://a:1",
                "TLS is not there yet",
            ),
        ] {
            match settings(line) {
                Err(Refusal::NotThere(text)) => assert!(text.contains(reason), "{line}: {text}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_refused_may_be_given_with_its_default() {
        for line in ["--force-new-cluster=false", "--unsafe-no-fsync=false", "--proxy off", "--cert-file="] {
            let mut given = given(line);
            assert!(Settings::new(&mut given).is_ok() && given.notes.is_empty(), "{line}: {:?}", given.notes);
        }
    }

    #[test]
    fn what_etcd_refuses_is_refused_in_its_words() {
        for (line, reason) in [
            ("--heartbeat-interval 0", "--heartbeat-interval must be >0 (set to 0ms)"),
            (
                "--heartbeat-interval 500",
                "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[500ms]",
            ),
            (
                "--election-timeout 60000",
                "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
            ),
            (
                "--listen-client-urls http://127.0.0.1:1",
                "--advertise-client-urls is required when --listen-client-urls is set explicitly",
            ),
            (
                "--listen-client-urls http://etcd.example:1 --advertise-client-urls http://a:1",
                "expected IP in URL for binding (http://etcd.example:1)",
            ),
            ("--auto-compaction-mode sometimes", "unknown auto-compaction-mode \"sometimes\""),
            (
                "--initial-cluster b=http://b:1",
                "couldn't find local name \"default\" in the initial cluster configuration",
            ),
        ] {
            assert_eq!(settings(line).err(), Some(Refusal::Wrong(reason.into())), "{line}");
        }
    }

    #[test]
    fn the_log_is_set_up_as_in_etcd() {
        let log_of = |line: &str| log(&given(line));
        assert_eq!(log_of(""), Ok(LogSettings::default()));
        let expected = LogSettings {
            level: LogLevel::Error,
            format: LogFormat::Console,
            outputs: vec!["stdout".into(), "/x".into()],
        };
        assert_eq!(log_of("--log-level fatal --log-format console --log-outputs stdout,/x"), Ok(expected));
        assert_eq!(log_of("--debug").map(|log| log.level), Ok(LogLevel::Debug));
        assert!(matches!(log_of("--log-level loud"), Err(Refusal::NotThere(_))));
        for line in ["--log-format xml", "--log-outputs default,stdout"] {
            assert!(matches!(log_of(line), Err(Refusal::Wrong(_))), "{line}");
        }
    }

    #[test]
    fn ports_that_the_system_chooses_are_advertised_as_chosen() {
        let settings =
            settings("--listen-client-urls http://127.0.0.1:0 --advertise-client-urls http://127.0.0.1:0");
        assert_eq!(settings.expect("a plan").plan.etcd.advertise_client_urls, Vec::<String>::new());
    }

    #[test]
    fn the_quota_is_that_of_etcd_unless_it_is_set() {
        for (line, bytes) in
            [("", 2 << 30), ("--quota-backend-bytes 8589934592", 8 << 30), ("--quota-backend-bytes=-1", 0)]
        {
            assert_eq!(quota_bytes(&given(line)), bytes, "{line}");
        }
    }

    /// What the table calls used is asked for somewhere, and nothing else is.
    #[test]
    fn flags_are_used_if_the_table_says_so() {
        asked::take();
        let mut given = given("--name m --initial-cluster m=http://localhost:2380");
        log(&given).expect("a log");
        Settings::new(&mut given).expect("a plan");
        let mut asked = asked::take();
        // Before there are settings.
        asked.extend(["version", "config-file"]);
        for flag in flags::all() {
            assert_eq!(asked.contains(flag.name), flag.treatment == Treatment::Used, "{}", flag.name);
        }
    }
}
