//! The program under the name `etcd`: its flags, environment, files, texts and log, over the same daemon.
//!
//! # Data path
//! [`command_line`], [`environment`] or [`config_file`] -> [`given`] -> [`settings`] -> [`serve`](crate::serve).
//! What each flag is, and what becomes of it, is one [`table`].
//!
//! # What scripts depend on
//! Exit code 0 after SIGTERM and SIGINT, 1 for what fails, 2 for flags that are wrong or ask for what is not there; the
//! log line `ready to serve client requests`; the first line of `--version`.

pub(crate) mod cluster;
mod command_line;
mod config_file;
mod environment;
mod flags;
mod gates;
mod given;
pub(crate) mod go;
mod help;
mod log;
mod settings;
mod table;
pub(crate) mod urls;

use crate::failure::Failure;
use crate::seal::SealFlags;
use crate::serve::daemon::{self, Ready};
use command_line::{Asked, Wrong};
use environment::Environment;
use given::{Given, Note};
use log::LogSettings;
use settings::{Refusal, Settings};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// The arguments of etcd, if it is etcd that was called: by the name of the program, or as its first argument.
pub(crate) fn called(arguments: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next()?;
    if Path::new(&program).file_name()? == "etcd" {
        return Some(arguments.collect());
    }
    (arguments.next()? == "etcd").then(|| arguments.collect())
}

/// Runs as etcd, with the arguments after its name.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    if let Some(command @ ("gateway" | "grpc-proxy")) = arguments.first().and_then(|first| first.to_str()) {
        complain(&format!(
            "etcd {command} is not there: clients can name several endpoints themselves; for more, run etcd's own \
             {command} before this server"
        ));
        return ExitCode::from(USAGE);
    }
    let (seal, arguments) = match SealFlags::take_from(arguments) {
        Ok(taken) => taken,
        Err(failure) => {
            complain(&failure.to_string());
            return ExitCode::from(USAGE);
        }
    };
    let given = match command_line::read(arguments) {
        Ok(Asked::Flags(given)) => given,
        Ok(Asked::Help) => return show(&help::help()),
        Err(Wrong::Flag(error)) => {
            complain(&error);
            complain(help::USAGE.trim_end());
            return ExitCode::from(USAGE);
        }
        Err(Wrong::Argument(error)) => return refuse(Refusal::Wrong(error)),
    };
    if given.boolean("version") {
        return show(&help::version());
    }
    match run(given, &seal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended::Refused(refusal)) => refuse(refusal),
        Err(Ended::Failed(failure)) => {
            tracing::error!(error = %failure, "etcd failed");
            ExitCode::from(FAILED)
        }
    }
}

/// Why it did not run to its end.
enum Ended {
    Refused(Refusal),
    Failed(Failure),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn run(command_line: Given, seal: &SealFlags) -> Result<(), Ended> {
    let environment = Environment::new(std::env::vars_os());
    let mut given = complete(command_line, environment).map_err(Refusal::Wrong)?;
    settings::log(&given)?.start().map_err(Refusal::Wrong)?;
    let settings = Settings::new(&mut given);
    for note in &given.notes {
        note.log();
    }
    let mut settings = settings?;
    settings.seal(seal).map_err(|failure| Refusal::NotThere(failure.to_string()))?;
    tracing::info!(
        name = %settings.name,
        data_dir = %settings.plan.data_dir.display(),
        etcd_version = coffer_etcd::ETCD_VERSION,
        coffer_version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    if !settings.listen_peer_urls.is_empty() && settings.plan.peering.is_none() {
        let urls = settings.listen_peer_urls.join(",");
        tracing::info!(listen_peer_urls = %urls, "a member alone listens to no peers: these URLs are not bound");
    }
    daemon::run(&settings.plan, |ready| announce(&settings.name, ready)).map_err(Ended::Failed)
}

/// What was given altogether: a file alone, or the command line and then the environment.
fn complete(mut command_line: Given, environment: Environment) -> Result<Given, String> {
    let path = match command_line.text("config-file") {
        path if path.is_empty() => environment.config_file(),
        path => Some(path),
    };
    let Some(path) = path else {
        environment.apply(&mut command_line)?;
        return Ok(command_line);
    };
    let mut given = config_file::read(&path)?;
    let flags = command_line.named().into_iter().filter(|flag| *flag != "config-file").collect();
    given.notes.insert(0, Note::FileInstead { path, flags });
    Ok(given)
}

/// Says that clients are answered, in the words that scripts wait for.
fn announce(name: &str, ready: &Ready<'_>) -> Result<(), Failure> {
    let (member, cluster) = (ready.header.member_id, ready.header.cluster_id);
    tracing::info!(
        local_member_id = %format_args!("{member:x}"),
        cluster_id = %format_args!("{cluster:x}"),
        name,
        revision = ready.header.revision,
        "serving"
    );
    for url in ready.metrics_urls {
        tracing::info!(address = %url, "serving metrics");
    }
    let traffic = if ready.http_urls.is_empty() { "grpc+http" } else { "grpc" };
    let clients = ready.urls.iter().map(|url| (url, traffic));
    for (url, traffic) in clients.chain(ready.http_urls.iter().map(|url| (url, "http"))) {
        tracing::info!("ready to serve client requests");
        let address = url.split_once("://").map_or(url.as_str(), |(_, address)| address);
        tracing::info!(traffic, address, "serving client traffic insecurely; this is strongly discouraged!");
    }
    Ok(())
}

fn refuse(refusal: Refusal) -> ExitCode {
    match refusal {
        Refusal::NotThere(error) => {
            complain(&format!("etcd: {error}"));
            ExitCode::from(USAGE)
        }
        Refusal::Wrong(error) => {
            // If the log was begun already, that one is used.
            let _ = LogSettings::default().start();
            tracing::error!(%error, "failed to verify flags");
            ExitCode::from(FAILED)
        }
    }
}

fn show(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

fn complain(text: &str) {
    // Nothing is left to try if stderr is gone.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called_as(arguments: &[&str]) -> Option<Vec<OsString>> {
        called(arguments.iter().map(OsString::from))
    }

    #[test]
    fn it_is_called_by_its_name_or_as_a_command() {
        let rest = Some(vec![OsString::from("--name"), OsString::from("a")]);
        assert_eq!(called_as(&["/usr/local/bin/etcd", "--name", "a"]), rest);
        assert_eq!(called_as(&["etcd", "--name", "a"]), rest);
        assert_eq!(called_as(&["coffer", "etcd", "--name", "a"]), rest);
        assert_eq!(called_as(&["etcd"]), Some(vec![]));
        for arguments in
            [&["coffer"][..], &["coffer", "serve", "etcd"], &["etcdctl", "get"], &["/etcd/coffer"], &[]]
        {
            assert_eq!(called_as(arguments), None, "{arguments:?}");
        }
    }

    #[test]
    fn a_file_goes_before_everything_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("etcd.yml");
        std::fs::write(&path, "name: file\n").expect("written");
        let path = path.to_str().expect("UTF-8").to_owned();
        let line = ["--name", "flag", "--config-file", &path].map(OsString::from);
        let Ok(Asked::Flags(flags)) = command_line::read(line) else { panic!("flags") };
        let variables = [("ETCD_NAME".into(), "variable".into())];
        let given = complete(flags, Environment::new(variables)).expect("a good file");
        assert_eq!(given.text("name"), "file");
        assert_eq!(given.notes, [Note::FileInstead { path: path.clone(), flags: vec!["name"] }]);
        // The environment may name it as well.
        let variables = [("ETCD_CONFIG_FILE".into(), path.into())];
        let given = complete(Given::default(), Environment::new(variables)).expect("a good file");
        assert_eq!(given.text("name"), "file");
    }
}
