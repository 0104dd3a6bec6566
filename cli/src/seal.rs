//! What opens a sealed store, or that nothing seals it, as flags, environment and configuration file say it.
//!
//! The flags go before the environment, the environment before the file, each as a whole: where one of them says
//! anything, the next ones are not asked. Each may name one key.

use crate::failure::{Exit, Failure};
use clap::Args;
use coffer::{Backend, Options, Seal};
use serde::Deserialize;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The variable with a passphrase in it.
const PASSPHRASE_VARIABLE: &str = "COFFER_SEAL_PASSPHRASE";

/// The key of the store that is opened. Each flag but the prompt has a variable `COFFER_…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Key of the store")]
pub(crate) struct SealFlags {
    /// The store is sealed with the key in FILE (`coffer key generate FILE`) [env: COFFER_SEAL_KEY_FILE=]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) seal_key_file: Option<PathBuf>,
    /// … with the passphrase in FILE [env: COFFER_SEAL_PASSPHRASE_FILE=]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) seal_passphrase_file: Option<PathBuf>,
    /// … with a passphrase that is asked for on the terminal
    #[arg(long, global = true)]
    pub(crate) seal_passphrase: bool,
    /// … with a key that a program wraps: "program argument …" [env: COFFER_SEAL_COMMAND=]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(crate) seal_command: Option<String>,
    /// … with a key of the Kubernetes KMS v2 plugin at this socket [env: COFFER_SEAL_KMS_SOCKET=]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) seal_kms_socket: Option<String>,
    /// The store is not sealed: whoever can read its files can read everything in it [env: COFFER_UNSEALED=]
    #[arg(long, global = true)]
    pub(crate) unsealed: bool,
}

/// The same in a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct SealKeys {
    pub(crate) seal_key_file: Option<PathBuf>,
    pub(crate) seal_passphrase_file: Option<PathBuf>,
    pub(crate) seal_command: Option<String>,
    pub(crate) seal_kms_socket: Option<String>,
    pub(crate) unsealed: bool,
}

impl SealKeys {
    /// Their names.
    pub(crate) const NAMES: [&str; 5] =
        ["seal-key-file", "seal-passphrase-file", "seal-command", "seal-kms-socket", "unsealed"];
}

impl From<SealKeys> for SealFlags {
    fn from(keys: SealKeys) -> Self {
        let SealKeys { seal_key_file, seal_passphrase_file, seal_command, seal_kms_socket, unsealed } = keys;
        Self {
            seal_key_file,
            seal_passphrase_file,
            seal_passphrase: false,
            seal_command,
            seal_kms_socket,
            unsealed,
        }
    }
}

/// A key for a store that is made, or for a slot that is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "New key")]
pub(crate) struct NewKeyFlags {
    /// The new key is the one in FILE (`coffer key generate FILE`)
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// … the passphrase in FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,
    /// … a passphrase that is asked for on the terminal
    #[arg(long)]
    pub(crate) new_passphrase: bool,
    /// … one that a program wraps: "program argument …"
    #[arg(long, value_name = "COMMAND")]
    pub(crate) new_command: Option<String>,
    /// … one of the Kubernetes KMS v2 plugin at this socket
    #[arg(long, value_name = "PATH")]
    pub(crate) new_kms_socket: Option<String>,
}

/// What one of several flags says.
enum Said {
    Seal(Seal),
    Prompt,
}

/// Picks the one that is given.
fn one(given: [(&'static str, Option<Said>); 6]) -> Result<Option<Said>, Failure> {
    let mut given = given.into_iter().filter_map(|(name, said)| Some((name, said?)));
    let Some((name, said)) = given.next() else { return Ok(None) };
    match given.next() {
        None => Ok(Some(said)),
        Some((other, _)) => Err(Failure::usage(format_args!(
            "{name} and {other} are given: a store is opened with one key, or unsealed"
        ))),
    }
}

fn seal<T>(value: Option<T>, make: impl FnOnce(T) -> Seal) -> Option<Said> {
    value.map(|value| Said::Seal(make(value)))
}

impl SealFlags {
    /// Whether any is given.
    pub(crate) fn is_given(&self) -> bool {
        *self != Self::default()
    }

    /// What these, else the environment, else `file` say of the store in `dir`. May ask on the terminal.
    pub(crate) fn resolve(
        &self,
        file: Option<SealKeys>,
        dir: Option<&Path>,
    ) -> Result<Option<Seal>, Failure> {
        let said = match self.said()? {
            Some(said) => Some(said),
            None => match from_environment()? {
                Some(said) => Some(said),
                None => file.map_or(Ok(None), |file| Self::from(file).said())?,
            },
        };
        match said {
            None => Ok(None),
            Some(Said::Seal(seal)) => Ok(Some(seal)),
            // A mistake in the passphrase of a new store would be found out when it is too late.
            Some(Said::Prompt) => {
                let is_new = dir.is_none_or(|dir| matches!(Backend::of(dir), Ok(None)));
                prompt("Passphrase of the store", is_new).map(Some)
            }
        }
    }

    /// Options with what [`resolve`](Self::resolve) says, for a command: what is to be warned of is said at once.
    pub(crate) fn options(&self, dir: Option<&Path>) -> Result<Options, Failure> {
        let Some(seal) = self.resolve(None, dir)? else { return Ok(Options::default()) };
        if let Seal::PassphraseVariable(name) = &seal {
            warn(format_args!(
                "the passphrase is in the environment ({name}), where other programs may see it; a file is safer"
            ));
        }
        Ok(Options::default().seal(seal))
    }

    /// Takes these flags out of a command line that is otherwise somebody else's, as Go writes flags.
    pub(crate) fn take_from(arguments: Vec<OsString>) -> Result<(Self, Vec<OsString>), Failure> {
        let (mut flags, mut others) = (Self::default(), Vec::new());
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            let flag = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).unwrap_or_default();
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (flag, None),
            };
            let is_ours = name.starts_with("seal-") || name == "unsealed";
            if !is_ours {
                others.push(argument);
                continue;
            }
            let name = name.to_owned();
            flags.set(&name, value, &mut arguments)?;
        }
        Ok((flags, others))
    }

    fn set(
        &mut self,
        name: &str,
        value: Option<OsString>,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), Failure> {
        let refused = |what: &str| Failure::usage(format_args!("--{name} {what}"));
        match (name, &value) {
            ("unsealed", None) => self.unsealed = true,
            ("seal-passphrase", None) => self.seal_passphrase = true,
            ("unsealed" | "seal-passphrase", Some(_)) => return Err(refused("takes no value")),
            _ => {
                let value = value.or_else(|| rest.next()).ok_or_else(|| refused("needs an argument"))?;
                let text = |value: OsString| {
                    value.into_string().map_err(|_| refused("has a value that is not UTF-8"))
                };
                match name {
                    "seal-key-file" => self.seal_key_file = Some(value.into()),
                    "seal-passphrase-file" => self.seal_passphrase_file = Some(value.into()),
                    "seal-command" => self.seal_command = Some(text(value)?),
                    "seal-kms-socket" => self.seal_kms_socket = Some(text(value)?),
                    _ => return Err(refused("is not known")),
                }
            }
        }
        Ok(())
    }

    fn said(&self) -> Result<Option<Said>, Failure> {
        one([
            ("--seal-key-file", seal(self.seal_key_file.clone(), Seal::KeyFile)),
            ("--seal-passphrase-file", seal(self.seal_passphrase_file.clone(), Seal::PassphraseFile)),
            ("--seal-passphrase", self.seal_passphrase.then_some(Said::Prompt)),
            ("--seal-command", seal(self.seal_command.clone(), Seal::Command)),
            ("--seal-kms-socket", seal(self.seal_kms_socket.clone(), Seal::KmsSocket)),
            ("--unsealed", self.unsealed.then_some(Said::Seal(Seal::Unsealed))),
        ])
    }
}

impl NewKeyFlags {
    /// The new key. May ask on the terminal.
    pub(crate) fn resolve(&self) -> Result<Option<Seal>, Failure> {
        let said = one([
            ("--new-key-file", seal(self.new_key_file.clone(), Seal::KeyFile)),
            ("--new-passphrase-file", seal(self.new_passphrase_file.clone(), Seal::PassphraseFile)),
            ("--new-passphrase", self.new_passphrase.then_some(Said::Prompt)),
            ("--new-command", seal(self.new_command.clone(), Seal::Command)),
            ("--new-kms-socket", seal(self.new_kms_socket.clone(), Seal::KmsSocket)),
            ("", None),
        ])?;
        match said {
            None => Ok(None),
            Some(Said::Seal(seal)) => Ok(Some(seal)),
            Some(Said::Prompt) => prompt("New passphrase", true).map(Some),
        }
    }
}

fn from_environment() -> Result<Option<Said>, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let text = |name: &'static str| {
        let value = variable(name).map(OsString::into_string).transpose();
        value.map_err(|_| Failure::usage(format_args!("{name} is not UTF-8")))
    };
    let unsealed = match text("COFFER_UNSEALED")?.as_deref() {
        None | Some("0" | "false" | "no") => None,
        Some("1" | "true" | "yes") => Some(Said::Seal(Seal::Unsealed)),
        Some(other) => {
            return Err(Failure::usage(format_args!("COFFER_UNSEALED is {other:?}: true or false")));
        }
    };
    one([
        ("COFFER_SEAL_KEY_FILE", seal(variable("COFFER_SEAL_KEY_FILE").map(PathBuf::from), Seal::KeyFile)),
        (
            "COFFER_SEAL_PASSPHRASE_FILE",
            seal(variable("COFFER_SEAL_PASSPHRASE_FILE").map(PathBuf::from), Seal::PassphraseFile),
        ),
        (
            PASSPHRASE_VARIABLE,
            seal(variable(PASSPHRASE_VARIABLE), |_| Seal::PassphraseVariable(PASSPHRASE_VARIABLE.into())),
        ),
        ("COFFER_SEAL_COMMAND", seal(text("COFFER_SEAL_COMMAND")?, Seal::Command)),
        ("COFFER_SEAL_KMS_SOCKET", seal(text("COFFER_SEAL_KMS_SOCKET")?, Seal::KmsSocket)),
        ("COFFER_UNSEALED", unsealed),
    ])
}

/// Asks on the terminal, whatever standard input is.
fn prompt(what: &str, twice: bool) -> Result<Seal, Failure> {
    let ask = |text: String| {
        let asked = rpassword::prompt_password(text).map(|typed| Zeroizing::new(typed.into_bytes()));
        asked.map_err(|error| {
            Failure::new(
                Exit::Usage,
                format_args!("a passphrase can only be asked for on a terminal ({error}): give it in a file"),
            )
        })
    };
    // Whatever is typed is wiped, right or wrong.
    let mut passphrase = ask(format!("{what}: "))?;
    if twice && ask(format!("{what}, again: "))? != passphrase {
        return Err(Failure::usage("the two passphrases are not the same"));
    }
    Ok(Seal::Passphrase(std::mem::take(&mut *passphrase).into()))
}

fn warn(text: impl std::fmt::Display) {
    // Nothing is left to try if stderr is gone.
    let _ = writeln!(io::stderr(), "Warning: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(line: &str) -> Result<(SealFlags, Vec<OsString>), Failure> {
        SealFlags::take_from(line.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn flags_are_taken_out_of_the_line_of_another_program() {
        let (flags, others) =
            take("--name a -seal-key-file=/k --data-dir /d --seal-command wrap --unsealed").expect("flags");
        assert_eq!(others, ["--name", "a", "--data-dir", "/d"].map(OsString::from));
        assert_eq!(flags.seal_key_file, Some("/k".into()));
        assert_eq!(flags.seal_command, Some("wrap".into()));
        assert!(flags.unsealed);
        for (line, reason) in [
            ("--seal-key-file", "needs an argument"),
            ("--unsealed=maybe", "takes no value"),
            ("--seal-kye-file x", "is not known"),
        ] {
            let refused = take(line).expect_err(line);
            assert!(refused.to_string().contains(reason), "{refused}");
        }
    }

    #[test]
    fn more_than_one_key_is_refused() {
        let (flags, _) = take("--seal-key-file /k --unsealed").expect("flags");
        let refused = flags.resolve(None, None).expect_err("two");
        assert!(refused.to_string().contains("--seal-key-file and --unsealed are given"), "{refused}");
    }

    #[test]
    fn flags_go_before_the_file() {
        let (flags, _) = take("--seal-key-file /k").expect("flags");
        let file = SealKeys { unsealed: true, ..SealKeys::default() };
        let resolve = |flags: &SealFlags| flags.resolve(Some(file.clone()), None).expect("one key");
        assert_eq!(resolve(&flags), Some(Seal::KeyFile("/k".into())));
        assert_eq!(resolve(&SealFlags::default()), Some(Seal::Unsealed));
    }
}
