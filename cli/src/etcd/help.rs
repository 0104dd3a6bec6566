//! `--help`, `--version`, and the short usage that follows a wrong flag.

use super::flags::{self, Flag, Group, Kind, Treatment};
use coffer_etcd::ETCD_VERSION;
use std::fmt::Write;

/// What a wrong flag is followed by.
pub(crate) const USAGE: &str = "\
Usage:

  etcd [flags]
    Start an etcd server.

  etcd --version
    Show the version of etcd.

  etcd -h | --help
    Show the help information about etcd.

  etcd --config-file
    Path to the server configuration file. Other flags and environment variables are then ignored.
";

/// The first line is etcd's, because programs read it; the rest is not of an etcd and does not claim to be.
pub(crate) fn version() -> String {
    format!(
        "etcd Version: {ETCD_VERSION}\nCoffer Version: {}\nOS/Arch: {}/{}\n",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

/// What no etcd has.
const SEALING: &str = "
Sealing (Coffer's own):
  --seal-key-file, --seal-passphrase-file, --seal-passphrase, --seal-command, --seal-kms-socket
    The key of the store: everything in it is encrypted. Without one a new store is in the clear.
  --unsealed
    The store is in the clear.
";

/// Every flag, grouped as in etcd's help.
pub(crate) fn help() -> String {
    let mut help = String::from(USAGE);
    // Writing to a string can not fail.
    let _ = write!(help, "\nThis is Coffer {}, serving etcd's API.\n", env!("CARGO_PKG_VERSION"));
    for group in Group::ALL {
        let _ = write!(help, "\n{group}:\n");
        for flag in flags::all().filter(|flag| flag.group == group) {
            let releases = match group {
                Group::Gone => format!(" ({})", flag.releases),
                _ => String::new(),
            };
            let (name, default) = (flag.name, default(flag));
            let _ = write!(help, "  --{name}{default}{releases}\n    {}\n", effect(flag));
        }
    }
    help.push_str(SEALING);
    help
}

fn default(flag: &Flag) -> String {
    match flag.kind {
        Kind::Anything => String::new(),
        Kind::Uint64 | Kind::Uint32 | Kind::Int64 => format!(" {}", flag.default),
        _ => format!(" '{}'", flag.default),
    }
}

/// What a flag does, in one line.
pub(crate) fn effect(flag: &Flag) -> String {
    match flag.treatment {
        Treatment::Used => sentence(flag.text),
        Treatment::OlderName(newer) => format!("Older name of --{newer}."),
        Treatment::Idle => format!("No effect: {}.", flag.text),
        Treatment::Refused => format!("Refused: {}.", flag.text),
    }
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_version_is_that_of_etcd() {
        let version = version();
        assert!(version.starts_with("etcd Version: 3.7.1\nCoffer Version: "), "{version}");
        assert!(!version.contains("Go"), "{version}");
    }

    const DOCUMENT: &str = include_str!("../../../docs/etcd-compatibility.md");

    /// The tables of the document, one for each group.
    fn tables() -> String {
        let mut tables = String::new();
        for group in Group::ALL {
            tables.push_str(&format!(
                "\n### {group}\n\n| Flag | Default | Releases | Here |\n|---|---|---|---|\n"
            ));
            for flag in flags::all().filter(|flag| flag.group == group) {
                let default = match flag.default {
                    "" => String::new(),
                    default => format!("`{default}`"),
                };
                let (name, releases) = (flag.name, flag.releases);
                tables.push_str(&format!("| `--{name}` | {default} | {releases} | {} |\n", effect(flag)));
            }
        }
        tables
    }

    #[test]
    fn the_document_says_what_becomes_of_each_flag() {
        let tables = tables();
        assert!(DOCUMENT.contains(&tables), "docs/etcd-compatibility.md should have:\n{tables}");
        assert_eq!(DOCUMENT.matches("\n| `--").count(), flags::all().count());
    }

    #[test]
    fn every_flag_is_in_the_help_once() {
        let help = help();
        for flag in flags::all() {
            let line = format!("  --{}", flag.name);
            let count = help.lines().filter(|found| found.split(' ').take(3).eq(line.split(' '))).count();
            assert_eq!(count, 1, "{}", flag.name);
        }
        for group in Group::ALL {
            assert!(help.contains(&format!("\n{group}:\n")), "{group}");
        }
    }
}
