//! What each command does.

pub(crate) mod completion;
pub(crate) mod convert;
mod export;
mod import;
pub(crate) mod import_etcd;
pub(crate) mod key;
mod kv;
mod lease;
mod lines;
mod maintenance;
mod member;
mod progress;
pub(crate) mod recover;
pub(crate) mod snapshot;
mod stdin;
mod txn;
mod txn_grammar;
pub(crate) mod verify;
mod watch;

use crate::args::lease::LeaseCommand;
use crate::args::{ClientCommand, Global};
use crate::connection::{self, Needs};
use crate::failure::Failure;
use crate::output::Output;

/// Runs a command on the store that the global options name, and closes the store.
pub(crate) async fn run(global: Global, command: ClientCommand) -> Result<(), Failure> {
    let mut output = Output::new(global.write_out, global.hex);
    check(&command, &output)?;
    match command {
        ClientCommand::Status => return maintenance::status(&global, &mut output).await,
        ClientCommand::Hashkv(options) => return maintenance::hash_kv(&global, options, &mut output).await,
        _ => {}
    }
    let client = connection::open(&global, needs(&command)).await.map_err(|failure| match &command {
        ClientCommand::Import(_) => failure.note(import::NONE_ACKNOWLEDGED),
        _ => failure,
    })?;
    let done = async {
        match command {
            ClientCommand::Get(options) => kv::get(&client, options, &mut output).await,
            ClientCommand::Put(options) => kv::put(&client, options, &mut output).await,
            ClientCommand::Del(options) => kv::del(&client, options, &mut output).await,
            ClientCommand::Txn(options) => txn::run(&client, options, &mut output).await,
            ClientCommand::Watch(options) => watch::run(&client, options, &mut output).await,
            ClientCommand::Lease(command) => lease::run(&client, command, &mut output).await,
            ClientCommand::Member(command) => member::run(&client, command, &mut output).await,
            ClientCommand::Compact(options) => maintenance::compact(&client, options, &mut output).await,
            ClientCommand::Import(options) => import::run(&client, options, &mut output).await,
            ClientCommand::Export(options) => export::run(&client, options).await,
            ClientCommand::Status | ClientCommand::Hashkv(_) => Ok(()),
        }
    };
    let done = done.await;
    client.close().await;
    done.and_then(|()| Ok(output.flush()?))
}

/// Which commands make sense on a store that holds nothing yet.
fn needs(command: &ClientCommand) -> Needs {
    match command {
        ClientCommand::Put(_) | ClientCommand::Txn(_) | ClientCommand::Import(_) => Needs::Any,
        ClientCommand::Lease(LeaseCommand::Grant { .. }) => Needs::Any,
        _ => Needs::Existing,
    }
}

/// Refuses a format that the command does not have, before anything is done.
fn check(command: &ClientCommand, output: &Output) -> Result<(), Failure> {
    match command {
        ClientCommand::Put(_) => output.no_table("put"),
        ClientCommand::Del(_) => output.no_table("del"),
        ClientCommand::Txn(_) => output.no_table("txn"),
        ClientCommand::Watch(_) => output.no_table("watch"),
        ClientCommand::Compact(_) => output.no_table("compact"),
        ClientCommand::Import(_) => output.no_table("import"),
        ClientCommand::Export(_) => output.no_table("export"),
        ClientCommand::Lease(LeaseCommand::Grant { .. }) => output.no_table("lease grant"),
        ClientCommand::Lease(LeaseCommand::Revoke { .. }) => output.no_table("lease revoke"),
        ClientCommand::Lease(LeaseCommand::KeepAlive { .. }) => output.no_table("lease keep-alive"),
        _ => Ok(()),
    }
}
