//! The daemon, and `coffer serve`, one of the ways to start it; [`dev`] is another.
//!
//! # Data path
//! Settings, of whichever program, become a [`plan`]; [`daemon`] carries it out: the store, the [`surfaces`] over it,
//! signals, readiness, [`compaction`] by itself, and an orderly end.

pub(crate) mod compaction;
mod config;
pub(crate) mod daemon;
mod data_dir;
pub(crate) mod dev;
pub(crate) mod plan;
pub(crate) mod rotation;
pub(crate) mod settings;
mod surfaces;

pub(crate) use config::{LogLevel, ServeOptions};

use crate::args::Global;
use crate::failure::Failure;
use daemon::{List, Ready};
use settings::Settings;
use std::io::{self, Write};

/// Runs the daemon until a signal or a fault ends it.
pub(crate) fn run(global: &Global, options: ServeOptions) -> Result<(), Failure> {
    let settings = Settings::load(options, &global.seal)?;
    log_to_stderr(settings.log_level);
    daemon::run(&settings.plan, announce)
}

/// Prints the ready line.
fn announce(ready: &Ready<'_>) -> Result<(), Failure> {
    let header = &ready.header;
    let urls = List(ready.urls);
    writeln!(
        io::stdout(),
        "ready member={:x} cluster={:x} listen={urls}",
        header.member_id,
        header.cluster_id
    )?;
    tracing::info!(revision = header.revision, listen = %urls, "ready");
    Ok(())
}

fn log_to_stderr(level: LogLevel) {
    use std::io::IsTerminal;
    tracing_subscriber::fmt()
        .with_env_filter(level.filter())
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
