//! The command line, read as Go's `flag` package reads it: `-flag`, `--flag`, `--flag=value`, `--flag value`, booleans
//! without a value, and an end at the first argument that is no flag, or at `--`.

use super::flags;
use super::given::{Given, Source};
use super::go::quoted;
use std::ffi::OsString;

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Flags(Given),
}

/// Why a command line is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// A flag: the text is Go's.
    Flag(String),
    /// Something that is no flag: the text is etcd's.
    Argument(String),
}

/// Reads the arguments after the program's name.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Wrong> {
    let mut given = Given::default();
    let mut arguments = arguments.into_iter().map(text);
    while let Some(argument) = arguments.next() {
        let argument = argument?;
        if argument == "--" {
            return arguments.next().map_or(Ok(Asked::Flags(given)), |rest| stray(&rest?));
        }
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
            return stray(&argument);
        };
        // A lone dash is no flag.
        if argument == "-" {
            return stray(&argument);
        }
        if flag.is_empty() || flag.starts_with(['-', '=']) {
            return Err(Wrong::Flag(format!("bad flag syntax: {argument}")));
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let Some(flag) = flags::find(name) else {
            return match name {
                "help" | "h" => Ok(Asked::Help),
                _ => Err(Wrong::Flag(format!("flag provided but not defined: -{name}"))),
            };
        };
        let value = match value {
            Some(value) => value,
            None if flag.kind.needs_no_value() => "true".into(),
            None => match arguments.next() {
                Some(value) => value?,
                None => return Err(Wrong::Flag(format!("flag needs an argument: -{name}"))),
            },
        };
        given.set(flag, &value, Source::CommandLine).map_err(|error| {
            let (value, boolean) = (quoted(&value), flag.kind == flags::Kind::Bool);
            Wrong::Flag(match boolean {
                true => format!("invalid boolean value {value} for -{name}: {error}"),
                false => format!("invalid value {value} for flag -{name}: {error}"),
            })
        })?;
    }
    Ok(Asked::Flags(given))
}

fn text(argument: OsString) -> Result<String, Wrong> {
    argument
        .into_string()
        .map_err(|argument| Wrong::Flag(format!("argument is not UTF-8: {}", argument.to_string_lossy())))
}

fn stray(argument: &str) -> Result<Asked, Wrong> {
    Err(Wrong::Argument(format!("{} is not a valid flag", quoted(argument))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read_all(line: &str) -> Result<Asked, Wrong> {
        read(line.split_whitespace().map(OsString::from))
    }

    fn given(line: &str) -> Given {
        match read_all(line) {
            Ok(Asked::Flags(given)) => given,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_way_of_go_to_write_a_flag_is_understood() {
        let given = given(
            "-name a --data-dir=/x --max-txn-ops 7 -election-timeout=2000 --pre-vote --enable-pprof=false \
             --force-new-cluster --initial-cluster-token=a=b --grpc-keepalive-min-time 1m",
        );
        assert_eq!((given.text("name"), given.text("data-dir")), ("a".into(), "/x".into()));
        assert_eq!((given.number("max-txn-ops", 0), given.number("election-timeout", 0)), (7, 2000));
        assert!(given.boolean("pre-vote") && !given.boolean("enable-pprof"));
        assert!(given.boolean("force-new-cluster"));
        assert_eq!(given.text("initial-cluster-token"), "a=b");
        assert_eq!(given.duration("grpc-keepalive-min-time"), Duration::from_secs(60));
    }

    #[test]
    fn a_boolean_takes_no_following_value() {
        assert_eq!(
            read_all("--pre-vote false").err(),
            Some(Wrong::Argument("\"false\" is not a valid flag".into()))
        );
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        assert_eq!(given("--name a --name b").text("name"), "b");
        assert_eq!(
            given("--listen-client-urls http://127.0.0.1:1 --listen-client-urls=http://127.0.0.1:2")
                .list("listen-client-urls"),
            ["http://127.0.0.1:2"]
        );
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (line, error) in [
            ("--no-such", "flag provided but not defined: -no-such"),
            ("---name", "bad flag syntax: ---name"),
            ("-=x", "bad flag syntax: -=x"),
            ("--name", "flag needs an argument: -name"),
            ("--max-txn-ops abc", "invalid value \"abc\" for flag -max-txn-ops: parse error"),
            ("--pre-vote=maybe", "invalid boolean value \"maybe\" for -pre-vote: parse error"),
            (
                "--initial-cluster-state old",
                "invalid value \"old\" for flag -initial-cluster-state: invalid value",
            ),
            (
                "--listen-client-urls localhost:1",
                "invalid value \"localhost:1\" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: localhost:1",
            ),
        ] {
            assert_eq!(read_all(line).err(), Some(Wrong::Flag(error.into())), "{line}");
        }
        for line in ["serve", "--name a b", "-", "-- x", "--name a - "] {
            assert!(matches!(read_all(line), Err(Wrong::Argument(_))), "{line}");
        }
        assert!(matches!(read_all("--"), Ok(Asked::Flags(_))));
    }

    #[test]
    fn help_has_two_names_and_four_spellings() {
        for line in ["-h", "--h", "-help", "--name a --help"] {
            assert!(matches!(read_all(line), Ok(Asked::Help)), "{line}");
        }
    }

    #[test]
    fn flags_that_etcd_ignores_stand_with_or_without_a_value() {
        assert!(given("--vv --snapshot=x --name a").is_set("snapshot"));
    }
}
