//! `--config-file`: YAML, and so JSON as well. Its keys are the flags' names, a few of them nested.
//!
//! Values are brought into the form that they would have on a command line, so that there is one way to read them.

use super::flags::{self, Flag, Kind};
use super::given::{Given, Note, Source};
use serde_json::{Map, Value};
use std::fs;
use std::io::ErrorKind;

/// Reads a file. The error says what is wrong, in one line.
pub(crate) fn read(path: &str) -> Result<Given, String> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("open {path}: no such file or directory"),
        _ => format!("open {path}: {error}"),
    })?;
    parse(&text).map_err(|error| format!("{path}: {error}"))
}

fn parse(text: &str) -> Result<Given, String> {
    let file: Option<Map<String, Value>> =
        serde_saphyr::from_str(text).map_err(|error| first_line(&error.to_string()))?;
    let mut given = Given::of_a_file();
    for (key, value) in file.unwrap_or_default() {
        match nested(&key) {
            Some(flag_of) => nest(&mut given, &key, value, flag_of)?,
            None => set(&mut given, &key, flags::find(&key).filter(|flag| is_key(flag)), &value)?,
        }
    }
    Ok(given)
}

/// The flag that a key within `section` stands for.
fn nested(section: &str) -> Option<fn(&str) -> String> {
    match section {
        "client-transport-security" => Some(|key| match key {
            "allowed-hostname" => "client-cert-allowed-hostname".into(),
            "allowed-cn" => "client-cert-allowed-cn".into(),
            _ => key.to_owned(),
        }),
        "peer-transport-security" => Some(|key| match key {
            "allowed-hostname" | "allowed-cn" => format!("peer-cert-{key}"),
            _ => format!("peer-{key}"),
        }),
        "discovery-config" => Some(|key| format!("discovery-{key}")),
        "socket-options" => Some(|key| format!("socket-{key}")),
        _ => None,
    }
}

/// What stands in a file: not what asks for a file or the version, nor what etcd ignores.
fn is_key(flag: &Flag) -> bool {
    flag.kind != Kind::Anything && !["config-file", "version"].contains(&flag.name)
}

fn nest(given: &mut Given, section: &str, value: Value, flag_of: fn(&str) -> String) -> Result<(), String> {
    let entries = match value {
        Value::Null => return Ok(()),
        Value::Object(entries) => entries,
        _ => return Err(format!("invalid {section}")),
    };
    for (key, value) in entries {
        let flag = flags::find(&flag_of(&key)).filter(|flag| is_key(flag));
        set(given, &format!("{section}.{key}"), flag, &value)?;
    }
    Ok(())
}

fn set(given: &mut Given, key: &str, flag: Option<&'static Flag>, value: &Value) -> Result<(), String> {
    let Some(flag) = flag else {
        given.notes.push(Note::UnknownKey(key.to_owned()));
        return Ok(());
    };
    match text(flag.kind, value).map_err(|error| format!("{key}: {error}"))? {
        Some(text) => given
            .set(flag, &text, Source::File)
            .map_err(|error| format!("invalid value {} for {key}: {error}", super::go::quoted(&text))),
        None => Ok(()),
    }
}

/// The value as it would stand on a command line. A key without a value, or with an empty text, is as good as none.
fn text(kind: Kind, value: &Value) -> Result<Option<String>, String> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) if kind == Kind::Bool => match text.to_ascii_lowercase().as_str() {
            // YAML 1.1, which etcd reads, has more words for it than 1.2.
            "yes" | "y" | "on" => "true".into(),
            "no" | "n" | "off" => "false".into(),
            _ => text.clone(),
        },
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if kind == Kind::Duration => match number.as_i64() {
            Some(nanos) => format!("{nanos}ns"),
            None => return Err(format!("{number} is no whole number of nanoseconds")),
        },
        Value::Number(number) => number.to_string(),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| text_of_item(kind, item)).collect();
            items?.join(",")
        }
        Value::Object(_) => return Err("it takes no keys of its own".into()),
    }))
}

fn text_of_item(kind: Kind, item: &Value) -> Result<String, String> {
    match item {
        Value::Array(_) => Err("a list in a list".into()),
        _ if !matches!(kind, Kind::List | Kind::Urls) => Err("it takes no list".into()),
        _ => text(kind, item).map(Option::unwrap_or_default),
    }
}

fn first_line(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("malformed").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The keys of the sample that etcd 3.4 and 3.5 come with, set as they are there.
    const SAMPLE: &str = "\
# comment
name: 'default'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://localhost:2379
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
  allowed-cn:
  allowed-hostname:
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: \"1\"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
";

    #[test]
    fn the_sample_of_etcd_asks_for_nothing_that_is_refused() {
        let given = parse(SAMPLE).expect("a good file");
        assert_eq!((given.refused(), &given.notes), (vec![], &vec![]));
        assert_eq!((given.text("name"), given.text("log-level")), ("default".into(), "debug".into()));
        assert_eq!(given.list("log-outputs"), ["stderr"]);
        assert_eq!(given.text("auto-compaction-retention"), "1");
        assert!(!given.is_set("data-dir") && given.boolean("enable-pprof"));
    }

    #[test]
    fn durations_are_nanoseconds_or_texts() {
        for (text, seconds) in [("5000000000", 5), ("5s", 5), ("'1m'", 60), ("0", 0)] {
            let given = parse(&format!("watch-progress-notify-interval: {text}")).expect(text);
            assert_eq!(
                given.duration("watch-progress-notify-interval"),
                Duration::from_secs(seconds),
                "{text}"
            );
        }
    }

    #[test]
    fn json_is_yaml() {
        let given = parse(
            r#"{"name": "j", "listen-client-urls": "http://127.0.0.1:1,http://127.0.0.1:2", "max-txn-ops": 7,
                "pre-vote": true, "quota-backend-bytes": 8589934592, "auto-compaction-retention": 3}"#,
        )
        .expect("a good file");
        assert_eq!(given.list("listen-client-urls").len(), 2);
        assert_eq!(
            (given.number("max-txn-ops", 0), given.number("quota-backend-bytes", 0i64)),
            (7, 8_589_934_592)
        );
        assert_eq!(given.text("auto-compaction-retention"), "3");
    }

    #[test]
    fn nested_keys_stand_for_flags() {
        let given = parse(
            "client-transport-security:\n  cert-file: /c\n  client-cert-auth: yes\n  allowed-hostname: [a]\n\
             peer-transport-security:\n  key-file: /k\n  allowed-cn: [a, b]\n  client-cert-auth: true\n\
             socket-options:\n  reuse-port: true\ndiscovery-config:\n  token: t\n",
        )
        .expect("a good file");
        let mut refused: Vec<_> = given.refused().into_iter().map(|(flag, _)| flag).collect();
        refused.sort_unstable();
        assert_eq!(
            refused,
            [
                "cert-file",
                "client-cert-allowed-hostname",
                "client-cert-auth",
                "discovery-token",
                "peer-cert-allowed-cn",
                "peer-client-cert-auth",
                "peer-key-file",
            ]
        );
        assert!(given.boolean("socket-reuse-port"));
    }

    #[test]
    fn unknown_keys_are_told() {
        let given =
            parse("nmae: x\nversion: true\npeer-transport-security:\n  certfile: x\n").expect("a good file");
        let unknown = |key: &str| Note::UnknownKey(key.into());
        assert_eq!(
            given.notes,
            [unknown("nmae"), unknown("peer-transport-security.certfile"), unknown("version")]
        );
    }

    #[test]
    fn what_is_malformed_is_refused_in_one_line() {
        for (text, reason) in [
            ("name: [", ""),
            ("- name", ""),
            ("just text", ""),
            ("max-txn-ops: many", "invalid value \"many\" for max-txn-ops: parse error"),
            ("heartbeat-interval: 1.5", "invalid value \"1.5\" for heartbeat-interval: parse error"),
            ("warning-unary-request-duration: 1.5", "no whole number of nanoseconds"),
            ("name: {a: b}", "name: it takes no keys of its own"),
            ("name: [a, b]", "name: it takes no list"),
            ("peer-transport-security: 7", "invalid peer-transport-security"),
            ("listen-client-urls: localhost:2379", "URL scheme must be http"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(reason) && error.lines().count() == 1, "{text}: {error}");
        }
        assert_eq!(
            read("/nonexistent.yml").err(),
            Some("open /nonexistent.yml: no such file or directory".into())
        );
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        for text in ["", "# only a comment\n", "{}"] {
            assert!(parse(text).expect(text).named().is_empty(), "{text}");
        }
    }

    /// Aliases that grow without bound are refused, not expanded.
    #[test]
    fn a_file_that_grows_without_bound_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let alias = format!("*a{},", i - 1).repeat(9);
            text.push_str(&format!("a{i}: &a{i} [{}]\n", alias.trim_end_matches(',')));
        }
        assert!(parse(&text).is_err());
    }
}
