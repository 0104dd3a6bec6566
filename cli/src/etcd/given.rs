//! What was given: the flags that were set, by whom, and what is to be said about it.

use super::flags::{self, Flag, Kind, Treatment, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a value came from. A later one goes before an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    File,
    Environment,
    CommandLine,
}

/// The flags that were set. What was not set has its default.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// By the name of the flag that is meant, so that an older name and its newer one are the same.
    settings: BTreeMap<&'static str, Setting>,
    /// What the log is to say, once there is one.
    pub(crate) notes: Vec<Note>,
    /// Whether it is what a configuration file says.
    pub(crate) from_file: bool,
}

#[derive(Debug)]
struct Setting {
    /// The flag that was named.
    named: &'static Flag,
    source: Source,
    text: String,
    value: Value,
}

/// Something to be said in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    UnknownVariable(String),
    VersionVariable,
    ShadowedVariable(String),
    UsedVariable(String),
    /// A file was read, so that these flags mean nothing.
    FileInstead {
        path: String,
        flags: Vec<&'static str>,
    },
    UnknownKey(String),
    Idle {
        flag: &'static str,
        why: &'static str,
    },
    OlderName {
        flag: &'static str,
        newer: &'static str,
    },
    /// Told by the settings.
    Warning(String),
}

impl Given {
    /// What a configuration file says, before anything is read.
    pub(crate) fn of_a_file() -> Self {
        Self { from_file: true, ..Self::default() }
    }

    /// Sets a flag. The error is what is wrong with the value.
    pub(crate) fn set(&mut self, flag: &'static Flag, text: &str, source: Source) -> Result<(), String> {
        let value = flag.kind.read(text)?;
        let meant = flag.target().name;
        // Of two names in one source the newer counts.
        let outranked = self.settings.get(meant).is_some_and(|there| {
            there.source > source
                || (there.source == source && there.named.name == meant && flag.name != meant)
        });
        if !outranked {
            self.settings.insert(meant, Setting { named: flag, source, text: text.into(), value });
        }
        Ok(())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.settings.contains_key(name)
    }

    /// The flags that were named, in no particular order.
    pub(crate) fn named(&self) -> Vec<&'static str> {
        self.settings.values().map(|setting| setting.named.name).collect()
    }

    /// The value of a flag.
    pub(crate) fn value(&self, name: &'static str) -> Value {
        #[cfg(test)]
        asked::note(name);
        match self.settings.get(name) {
            Some(setting) => setting.value.clone(),
            None => flags::find(name).expect("it is in the table").default_value(),
        }
    }

    pub(crate) fn text(&self, name: &'static str) -> String {
        match self.value(name) {
            Value::Text(text) => text,
            other => unreachable!("{name} is no text: {other:?}"),
        }
    }

    pub(crate) fn boolean(&self, name: &'static str) -> bool {
        match self.value(name) {
            Value::Bool(value) => value,
            other => unreachable!("{name} is no boolean: {other:?}"),
        }
    }

    pub(crate) fn list(&self, name: &'static str) -> Vec<String> {
        match self.value(name) {
            Value::List(list) => list,
            other => unreachable!("{name} is no list: {other:?}"),
        }
    }

    /// A number, brought into the range of the type that it is wanted as.
    pub(crate) fn number<N: TryFrom<i128>>(&self, name: &'static str, max: N) -> N {
        match self.value(name) {
            Value::Number(number) => number.try_into().unwrap_or(max),
            other => unreachable!("{name} is no number: {other:?}"),
        }
    }

    /// A duration; what is negative counts as none, as it does where etcd uses it.
    pub(crate) fn duration(&self, name: &'static str) -> Duration {
        match self.value(name) {
            Value::Duration(nanos) => Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)),
            other => unreachable!("{name} is no duration: {other:?}"),
        }
    }

    /// The flags that ask for what can not be given, with the reason.
    pub(crate) fn refused(&self) -> Vec<(&'static str, &'static str)> {
        self.asking(Treatment::Refused).map(|flag| (flag.name, flag.text)).collect()
    }

    /// Notes the flags that have no effect here.
    pub(crate) fn note_idle(&mut self) {
        let idle: Vec<_> = self
            .asking(Treatment::Idle)
            .map(|flag| Note::Idle { flag: flag.name, why: flag.target().text })
            .collect();
        let older = self.settings.values().filter_map(|setting| match setting.named.treatment {
            Treatment::OlderName(newer) => Some(Note::OlderName { flag: setting.named.name, newer }),
            _ => None,
        });
        let older: Vec<_> = older.collect();
        self.notes.extend(older.into_iter().chain(idle));
    }

    /// The flags with this treatment that were set to what they are not anyway.
    fn asking(&self, treatment: Treatment) -> impl Iterator<Item = &'static Flag> {
        let asks = move |setting: &&Setting| {
            let target = setting.named.target();
            target.treatment == treatment
                && (target.kind == Kind::Anything || setting.named.asks(&setting.text))
        };
        self.settings.values().filter(asks).map(|setting| setting.named)
    }
}

impl Note {
    /// Says it in the log, in etcd's words where it has some.
    pub(crate) fn log(&self) {
        match self {
            // The value is not shown, unlike in etcd: it may be a password for something else.
            Self::UnknownVariable(name) => {
                tracing::warn!(environment_variable = %name, "unrecognized environment variable");
            }
            Self::VersionVariable => {
                tracing::warn!(key = "ETCD_VERSION", "cannot set special environment variable");
            }
            Self::ShadowedVariable(name) => tracing::warn!(
                environment_variable = %name,
                "conflicting environment variable is shadowed by corresponding command-line flag"
            ),
            Self::UsedVariable(name) => {
                tracing::info!(variable_name = %name, "recognized and used environment variable");
            }
            Self::FileInstead { path, flags } if flags.is_empty() => {
                tracing::info!(%path, "{FILE_INSTEAD}");
            }
            Self::FileInstead { path, flags } => {
                tracing::warn!(%path, ignored = ?flags, "{FILE_INSTEAD}");
            }
            Self::UnknownKey(key) => tracing::warn!(%key, "the configuration file has an unknown key"),
            Self::Idle { flag, why } => tracing::warn!(flag, why, "flag has no effect here"),
            Self::OlderName { flag, newer } => tracing::warn!(flag, newer, "flag has a newer name"),
            Self::Warning(text) => tracing::warn!("{text}"),
        }
    }
}

const FILE_INSTEAD: &str = "loaded server configuration, other configuration command line flags and environment \
                            variables will be ignored if provided";

/// Which flags were asked for, so that a test sees whether those that are marked as used are.
#[cfg(test)]
pub(crate) mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static ASKED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(crate) fn note(name: &'static str) {
        ASKED.with_borrow_mut(|asked| asked.insert(name));
    }

    /// The flags that this thread asked for.
    pub(crate) fn take() -> BTreeSet<&'static str> {
        ASKED.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(given: &mut Given, name: &str, text: &str, source: Source) {
        given.set(flags::find(name).expect(name), text, source).expect("a value");
    }

    #[test]
    fn a_flag_goes_before_a_variable_and_a_newer_name_before_an_older() {
        let mut given = Given::default();
        set(&mut given, "name", "flag", Source::CommandLine);
        set(&mut given, "name", "variable", Source::Environment);
        assert_eq!(given.text("name"), "flag");
        let (old, new) = ("experimental-watch-progress-notify-interval", "watch-progress-notify-interval");
        set(&mut given, new, "5s", Source::CommandLine);
        set(&mut given, old, "7s", Source::CommandLine);
        assert_eq!(given.duration(new), Duration::from_secs(5));
        let mut given = Given::default();
        set(&mut given, old, "7s", Source::CommandLine);
        set(&mut given, new, "5s", Source::Environment);
        assert_eq!(given.duration(new), Duration::from_secs(7));
        // Of the same name the last counts.
        set(&mut given, old, "8s", Source::CommandLine);
        assert_eq!(given.duration(new), Duration::from_secs(8));
    }

    #[test]
    fn defaults_of_other_flags_are_not_refused() {
        let mut given = Given::default();
        for (name, text) in
            [("cert-file", ""), ("client-cert-auth", "false"), ("proxy", "off"), ("max-wals", "5")]
        {
            set(&mut given, name, text, Source::CommandLine);
        }
        given.note_idle();
        assert_eq!((given.refused(), &given.notes), (vec![], &vec![]));
        set(&mut given, "peer-auto-tls", "1", Source::CommandLine);
        set(&mut given, "max-wals", "7", Source::CommandLine);
        set(&mut given, "experimental-memory-mlock", "true", Source::CommandLine);
        given.note_idle();
        assert_eq!(given.refused()[0].0, "peer-auto-tls");
        let flags: Vec<_> = given
            .notes
            .iter()
            .map(|note| match note {
                Note::Idle { flag, .. } | Note::OlderName { flag, .. } => *flag,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(flags, ["experimental-memory-mlock", "max-wals", "experimental-memory-mlock"]);
    }
}
