//! `coffer`: the daemon and the commands, in one program.
//!
//! - [`args`]: what can be asked for. [`commands`]: what is done about it, one file per command.
//! - [`serve`]: the daemon: configuration, listeners, signals, readiness.
//! - [`etcd`]: the same daemon under the name `etcd`, with etcd's flags and habits.
//! - [`seal`]: which key opens a store. [`key_admin`]: how the keys of an open one are changed.
//! - [`output`]: how answers are shown; [`failure`]: how failures are, and what the program exits with.
//!
//! Answers go to stdout, everything else to stderr. A command that fails prints one line, `Error: …`, that says what
//! to do about it.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod connection;
mod etcd;
mod failure;
mod key_admin;
mod new_cluster;
mod output;
mod quote;
mod seal;
mod serve;

use args::{Arguments, Command};
use clap::Parser;
use new_cluster::Wanted;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(arguments) = etcd::called(std::env::args_os()) {
        return etcd::main(arguments);
    }
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Serve(options) => serve::run(&arguments.global, *options),
        Command::Dev(options) => serve::dev::run(options),
        Command::Etcd(options) => return etcd::main(options.arguments),
        Command::Completion(options) => commands::completion::run(options),
        Command::Convert(options) => commands::convert::run(&arguments.global, options),
        Command::Recover(options) => commands::recover::run(&arguments.global, options),
        Command::ImportEtcd(options) => {
            commands::import_etcd::run(&arguments.global, options, Wanted::Nobody)
        }
        Command::Verify(options) => commands::verify::run(&arguments.global, &options),
        Command::Snapshot(command) => commands::snapshot::run(&arguments.global, command),
        Command::Key(command) => commands::key::run(&arguments.global, command),
        Command::Client(command) => coffer::block_on(commands::run(arguments.global, command)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
