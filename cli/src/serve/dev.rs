//! `coffer dev`: a sealed store to try things on, gone when it ends.
//!
//! The store and its key are made in a temporary directory. The key's file is removed once the store is open, so that what
//! a `kill -9` leaves behind can be read by nobody.

use super::config::Partial;
use super::daemon::{self, Ready};
use super::settings::Settings;
use super::{LogLevel, announce, log_to_stderr};
use crate::failure::{Exit, Failure};
use clap::Args;
use coffer::{Backend, DEFAULT_PORT, Seal};
use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;

/// The port of etcd's clients.
const ETCD_PORT: u16 = 2379;

/// What can be chosen.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevOptions {
    /// Where clients are served, separated by commas [default: coffer://127.0.0.1:7420,http://127.0.0.1:2379, each on a
    /// free port instead if that one is taken]
    #[arg(long, value_name = "URL,…", value_delimiter = ',')]
    listen_client_urls: Option<Vec<String>>,
    /// How the store is kept: segment or sqlite
    #[arg(long, value_name = "BACKEND", default_value_t)]
    backend: Backend,
    /// What is logged to standard error
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: LogLevel,
}

/// Runs it until a signal or a fault ends it.
pub(crate) fn run(options: DevOptions) -> Result<(), Failure> {
    let home = tempfile::Builder::new().prefix("coffer-dev-").tempdir();
    let home =
        home.map_err(|error| Failure::file("make a directory in", "the temporary directory", &error))?;
    let (key, store) = (home.path().join("key"), home.path().join("store"));
    let seal = Seal::generate_key_file(&key)?;
    let partial = Partial {
        name: Some("dev".into()),
        data_dir: Some(store),
        backend: Some(options.backend),
        listen_client_urls: Some(options.listen_client_urls.unwrap_or_else(|| {
            vec![
                format!("coffer://127.0.0.1:{}", if_free(DEFAULT_PORT)),
                format!("http://127.0.0.1:{}", if_free(ETCD_PORT)),
            ]
        })),
        ..Partial::default()
    };
    let mut plan = Settings::complete(partial).map_err(Failure::usage)?.plan;
    plan.options = plan.options.seal(seal);
    log_to_stderr(options.log_level);
    let ended = daemon::run(&plan, |ready| {
        fs::remove_file(&key).map_err(|error| Failure::file("remove", key.display(), &error))?;
        announce(ready)?;
        Ok(write!(io::stdout(), "{}", introduction(home.path(), ready))?)
    });
    let path = home.path().to_owned();
    home.close().map_err(|error| {
        Failure::new(Exit::Failed, format_args!("cannot remove {}: {error}", path.display()))
    })?;
    ended
}

/// The port, or one that the system chooses if somebody has it.
fn if_free(port: u16) -> u16 {
    TcpListener::bind(("127.0.0.1", port)).map_or(0, |_| port)
}

/// What to do next.
fn introduction(home: &Path, ready: &Ready<'_>) -> String {
    let mut text = format!(
        "\nA sealed store in {}; it is gone when this ends (Ctrl-C).\nIn another terminal:\n",
        home.display()
    );
    let is_ours = |url: &&String| url.starts_with("coffer:") || url.starts_with("unix:");
    if let Some(url) = ready.urls.iter().find(is_ours) {
        text.push_str(&format!(
            "\n  export COFFER_ENDPOINTS={url}\n  coffer put greeting hello\n  coffer get greeting\n  coffer status -w table\n"
        ));
    }
    if let Some(address) = ready.urls.iter().find_map(|url| url.strip_prefix("http://")) {
        text.push_str(&format!(
            "\n  export ETCDCTL_ENDPOINTS={address}     # etcd's clients\n  etcdctl put greeting hello\n"
        ));
    }
    text
}
