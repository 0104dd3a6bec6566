//! Opens what a command works on: daemons, or a store in this process.

use crate::args::Global;
use crate::failure::Failure;
use coffer::{Client, Endpoint, Error, Options, Uri};

/// What a command needs of the store that it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// One that exists: an empty one would only hide a misspelt path.
    Existing,
    /// Any; a new one is created in the process if need be.
    Any,
}

/// Opens the store that the global options name.
pub(crate) async fn open(global: &Global, needs: Needs) -> Result<Client, Failure> {
    let options = Options::default().timeout(global.command_timeout).create(needs == Needs::Any);
    let uri = match &global.store {
        Some(store) => store.parse().map_err(Failure::usage)?,
        None => Uri::Remote(endpoints(global)?),
    };
    let client = options.open_uri(&uri).await?;
    Ok(client)
}

/// Every place that the global options name, each for itself: its name, and what can not be opened as an error.
pub(crate) async fn open_each(global: &Global) -> Result<Vec<(String, Result<Client, Error>)>, Failure> {
    if let Some(store) = &global.store {
        return Ok(vec![(store.clone(), Ok(open(global, Needs::Existing).await?))]);
    }
    let options = Options::default().timeout(global.command_timeout);
    let mut clients = Vec::new();
    for endpoint in endpoints(global)? {
        let name = endpoint.to_string();
        clients.push((name, options.open_uri(&Uri::Remote(vec![endpoint])).await));
    }
    Ok(clients)
}

fn endpoints(global: &Global) -> Result<Vec<Endpoint>, Failure> {
    if global.endpoints.starts_with("file:") || global.endpoints.starts_with("mem:") {
        return Err(Failure::usage("--endpoints names daemons; --store opens a store in this process"));
    }
    Endpoint::parse_list(&global.endpoints).map_err(Failure::usage)
}
