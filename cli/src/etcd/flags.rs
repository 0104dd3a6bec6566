//! What etcd's flags are, and what becomes of each here.
//!
//! [`TABLE`] has every flag of etcd 3.4 to 3.7. Command line, environment, configuration file, help
//! and documentation all follow it.

use super::go;
use super::table::TABLE;
use std::fmt;
use std::sync::LazyLock;

/// One of etcd's flags.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) kind: Kind,
    /// As it would be written on a command line.
    pub(crate) default: &'static str,
    pub(crate) releases: Releases,
    pub(crate) treatment: Treatment,
    /// What it is for; for a flag that is not used, why.
    pub(crate) text: &'static str,
}

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// May stand without a value.
    Bool,
    Uint32,
    Uint64,
    Int64,
    Duration,
    /// URLs to listen on or to advertise, separated by commas.
    Urls,
    /// Texts separated by commas.
    List,
    /// One of these.
    Choice(&'static [&'static str]),
    /// `Name=true,…`.
    Gates,
    /// Anything or nothing: etcd itself only warns of it.
    Anything,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// It does what it does in etcd.
    Used,
    /// It is an older name of this flag.
    OlderName(&'static str),
    /// It is accepted; it concerns something that is not here, and setting it is told in the log.
    Idle,
    /// It asks for what can not be given: only its default and an empty value are accepted.
    Refused,
}

/// The releases of etcd that have a flag, as the number after `3.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Releases {
    pub(crate) first: u8,
    pub(crate) last: u8,
}

/// The headings of etcd's help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Member,
    Clustering,
    Security,
    Auth,
    Monitoring,
    Logging,
    Tracing,
    Features,
    Unsafe,
    /// Flags that etcd 3.7 no longer has.
    Gone,
    /// Flags that no supported etcd looks at.
    Ignored,
}

impl Group {
    pub(crate) const ALL: [Group; 11] = [
        Group::Member,
        Group::Clustering,
        Group::Security,
        Group::Auth,
        Group::Monitoring,
        Group::Logging,
        Group::Tracing,
        Group::Features,
        Group::Unsafe,
        Group::Gone,
        Group::Ignored,
    ];
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Member => "Member",
            Self::Clustering => "Clustering",
            Self::Security => "Security",
            Self::Auth => "Auth",
            Self::Monitoring => "Profiling and Monitoring",
            Self::Logging => "Logging",
            Self::Tracing => "Distributed tracing",
            Self::Features => "Features",
            Self::Unsafe => "Unsafe feature",
            Self::Gone => "Of earlier releases",
            Self::Ignored => "Ignored by etcd itself",
        })
    }
}

impl fmt::Display for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "3.{}", self.first),
            false => write!(f, "3.{} to 3.{}", self.first, self.last),
        }
    }
}

/// The value of a flag, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    Number(i128),
    /// Nanoseconds.
    Duration(i64),
    List(Vec<String>),
}

impl Kind {
    /// Reads a value. The error is the one that etcd ends its message with.
    pub(crate) fn read(self, text: &str) -> Result<Value, String> {
        let number = |min, max| go::number(text, min, max).map(Value::Number).map_err(String::from);
        match self {
            Self::Text | Self::Anything => Ok(Value::Text(text.into())),
            Self::Bool => Ok(Value::Bool(go::boolean(text)?)),
            Self::Uint32 => number(0, i128::from(u32::MAX)),
            Self::Uint64 => number(0, i128::from(u64::MAX)),
            Self::Int64 => number(i128::from(i64::MIN), i128::from(i64::MAX)),
            Self::Duration => Ok(Value::Duration(go::duration(text)?)),
            Self::Urls => super::urls::read(text).map(Value::List),
            Self::List => Ok(Value::List(list(text))),
            Self::Choice(valid) if valid.contains(&text) => Ok(Value::Text(text.into())),
            Self::Choice(_) => Err("invalid value".into()),
            Self::Gates => super::gates::read(text).map(|()| Value::Text(text.into())),
        }
    }

    /// Whether it may stand without a value, as Go calls a boolean flag.
    pub(crate) fn needs_no_value(self) -> bool {
        matches!(self, Self::Bool | Self::Anything)
    }
}

/// Items separated by commas, without those that are empty.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(String::from).collect()
}

impl Flag {
    /// Its value where none is given.
    pub(crate) fn default_value(&self) -> Value {
        self.kind.read(self.default).unwrap_or_else(|_| Value::Text(self.default.into()))
    }

    /// Whether `text` asks for something else than what is there anyway.
    pub(crate) fn asks(&self, text: &str) -> bool {
        !text.is_empty() && self.kind.read(text).ok() != Some(self.default_value())
    }

    /// The flag that it stands for.
    pub(crate) fn target(&'static self) -> &'static Flag {
        match self.treatment {
            Treatment::OlderName(name) => find(name).unwrap_or(self),
            _ => self,
        }
    }

    /// The variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace(['-', '.'], "_"))
    }
}

/// The flag of this name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}

/// Every flag, in the order of the help.
pub(crate) fn all() -> impl Iterator<Item = &'static Flag> {
    static ALL: LazyLock<Vec<&'static Flag>> =
        LazyLock::new(|| TABLE.iter().flat_map(|flags| flags.iter()).collect());
    ALL.iter().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// Name, kind and releases of each flag that etcd 3.4 to 3.7 registers, taken from its source.
    const OF_ETCD: &str = include_str!("testdata/flags.txt");

    fn kind_name(kind: Kind) -> &'static str {
        match kind {
            Kind::Text => "text",
            Kind::Bool => "bool",
            Kind::Uint32 => "uint32",
            Kind::Uint64 => "uint64",
            Kind::Int64 => "int64",
            Kind::Duration => "duration",
            Kind::Urls => "urls",
            Kind::List => "list",
            Kind::Choice(_) => "choice",
            Kind::Gates => "gates",
            Kind::Anything => "anything",
        }
    }

    #[test]
    fn every_flag_of_etcd_is_in_the_table_and_no_other() {
        let known: BTreeMap<_, _> =
            all().map(|f| (f.name, (kind_name(f.kind), (f.releases.first, f.releases.last)))).collect();
        let mut expected = BTreeMap::new();
        for line in OF_ETCD.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [name, kind, first, last] = fields[..] else { panic!("{line}") };
            let release = |text: &str| text.strip_prefix("3.").and_then(|n| n.parse().ok()).expect(line);
            expected.insert(name, (kind, (release(first), release(last))));
        }
        for (name, what) in &expected {
            assert_eq!(known.get(name), Some(what), "{name}");
        }
        let extra: Vec<_> = known.keys().filter(|name| !expected.contains_key(*name)).collect();
        assert!(extra.is_empty(), "not flags of etcd: {extra:?}");
        assert_eq!(all().count(), known.len(), "a flag is in the table twice");
    }

    #[test]
    fn defaults_can_be_read_and_older_names_lead_to_flags_of_the_same_kind() {
        for flag in all() {
            assert!(flag.default.is_empty() || flag.kind.read(flag.default).is_ok(), "{}", flag.name);
            assert!(!flag.asks(flag.default) && !flag.asks(""), "{}", flag.name);
            if let Treatment::OlderName(name) = flag.treatment {
                let target = find(name).unwrap_or_else(|| panic!("{} leads to {name}", flag.name));
                assert_eq!(target.kind, flag.kind, "{}", flag.name);
                assert!(!matches!(target.treatment, Treatment::OlderName(_)), "{}", flag.name);
            }
        }
    }

    #[test]
    fn what_etcd_no_longer_has_is_among_the_gone() {
        for flag in all() {
            assert_eq!(flag.releases.last < 7, flag.group == Group::Gone, "{}", flag.name);
            assert!(
                !flag.text.is_empty() || matches!(flag.treatment, Treatment::OlderName(_)),
                "{}",
                flag.name
            );
        }
        let groups: BTreeSet<_> = all().map(|flag| flag.group.to_string()).collect();
        assert_eq!(groups.len(), Group::ALL.len());
    }

    #[test]
    fn values_are_read_by_kind() {
        let read = |name, text| find(name).expect(name).kind.read(text);
        assert_eq!(read("pre-vote", "F"), Ok(Value::Bool(false)));
        assert_eq!(read("max-concurrent-streams", "4294967296"), Err("value out of range".into()));
        assert_eq!(read("quota-backend-bytes", "-1"), Ok(Value::Number(-1)));
        assert_eq!(read("grpc-keepalive-min-time", "5"), Err("parse error".into()));
        assert_eq!(read("log-outputs", "a, b,,"), Ok(Value::List(vec!["a".into(), "b".into()])));
        assert_eq!(read("initial-cluster-state", "old"), Err("invalid value".into()));
        assert_eq!(
            read("listen-client-urls", "http://a"),
            Err("URL address does not have the form \"host:port\": http://a".into())
        );
    }

    #[test]
    fn variables_are_named_as_etcd_names_them() {
        assert_eq!(
            find("initial-advertise-peer-urls").expect("known").variable(),
            "ETCD_INITIAL_ADVERTISE_PEER_URLS"
        );
    }
}
