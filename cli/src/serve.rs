//! `serve`: the daemon.
//!
//! Order of the start: configuration, signals, store, listeners, the ready line. Order of the end: no new connections,
//! requests under way are answered, the store is closed.

mod config;
mod settings;

pub(crate) use config::ServeOptions;

use crate::failure::{Exit, Failure};
use coffer::{Error, ErrorGroup, Options, Uri};
use coffer_core::node::Node;
use coffer_rpc::server::{Server, ServerConfig};
use coffer_runtime::{Signal, SignalStream};
use futures_util::StreamExt;
use futures_util::future::{self, Either};
use sd_notify::NotifyState;
use settings::Settings;
use std::fmt;
use std::io::{self, Write};
use std::pin::pin;

/// Runs the daemon until a signal or a fault ends it.
pub(crate) fn run(options: ServeOptions) -> Result<(), Failure> {
    let settings = Settings::load(options)?;
    log_to_stderr(&settings);
    coffer::block_on(serve(&settings))
}

async fn serve(settings: &Settings) -> Result<(), Failure> {
    let signals = coffer_runtime::signal()
        .map_err(|error| Failure::new(Exit::Failed, format_args!("cannot receive signals: {error}")))?;
    let node = Options::default()
        .heartbeat_interval(settings.heartbeat_interval)
        .election_timeout(settings.election_timeout)
        .request_bytes_max(settings.max_request_bytes)
        .txn_ops_max(settings.max_txn_ops)
        .watch_progress_interval(settings.watch_progress_notify_interval)
        .open_node(&Uri::File(settings.data_dir.clone()))
        .await?;
    let ended = match listen(settings, &node) {
        Ok(server) => {
            let ended = until_the_end(&node, &server, signals).await;
            server.shutdown();
            ended
        }
        Err(failure) => Err(failure),
    };
    node.shutdown();
    ended
}

fn listen(settings: &Settings, node: &Node) -> Result<Server, Failure> {
    let urls: Vec<_> = settings.listen_client_urls.iter().map(ToString::to_string).collect();
    let advertise_urls = settings.advertise_client_urls.iter().map(ToString::to_string).collect();
    let config = ServerConfig { advertise_urls, ..ServerConfig::default() };
    Server::start(node.clone(), &urls, config)
        .map_err(|error| Failure::new(Exit::Failed, error).note("--listen-client-urls names another place"))
}

/// Tells that the daemon is ready, and waits for what ends it.
async fn until_the_end(node: &Node, server: &Server, signals: SignalStream) -> Result<(), Failure> {
    let header = node.header();
    let urls = server.local_urls();
    writeln!(
        io::stdout(),
        "ready member={:x} cluster={:x} listen={}",
        header.member_id,
        header.cluster_id,
        List(urls)
    )?;
    tracing::info!(revision = header.revision, listen = %List(urls), "ready");
    tell_systemd(&[NotifyState::Ready, NotifyState::Status(&format!("serving {}", List(urls)))]);

    match future::select(pin!(told_to_stop(signals)), pin!(node.stopped())).await {
        Either::Left((signal, _)) => {
            tracing::info!(signal, "draining");
            tell_systemd(&[NotifyState::Stopping]);
            Ok(())
        }
        Either::Right((reason, _)) => {
            tell_systemd(&[NotifyState::Stopping, NotifyState::Status(&reason.to_string())]);
            Err(fault(reason))
        }
    }
}

/// A fault of this node: exit code 5 for damage, 1 else.
fn fault(reason: Error) -> Failure {
    let failure = Failure::from(reason.clone());
    match reason.group() {
        ErrorGroup::StopNode => {
            failure.note("nothing acknowledged is lost; see to the disk, then start it again")
        }
        _ => failure,
    }
}

/// Waits for a signal that ends the daemon, and names it.
async fn told_to_stop(mut signals: SignalStream) -> &'static str {
    while let Some(signal) = signals.next().await {
        match signal {
            Signal::Terminate => return "SIGTERM",
            Signal::Interrupt => return "SIGINT",
            Signal::Hangup => tracing::info!("SIGHUP: there is nothing to reload"),
        }
    }
    // The system delivers no signals any more; a fault or SIGKILL is what is left.
    future::pending().await
}

/// Without systemd this does nothing.
fn tell_systemd(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be notified");
    }
}

fn log_to_stderr(settings: &Settings) {
    use std::io::IsTerminal;
    tracing_subscriber::fmt()
        .with_env_filter(settings.log_level.filter())
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}

/// Items separated by commas.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}
