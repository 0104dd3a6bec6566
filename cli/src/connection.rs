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
    let (uri, options) = match &global.store {
        Some(store) => {
            let uri = store.parse().map_err(Failure::usage)?;
            let options = seal_options(global, &uri)?.create(needs == Needs::Any);
            (uri, options)
        }
        None => (Uri::Remote(endpoints(global)?), Options::default()),
    };
    let client = options.timeout(global.command_timeout).open_uri(&uri).await?;
    Ok(client)
}

/// Options with the key of the store at `uri`, if the URI does not name it itself.
pub(crate) fn seal_options(global: &Global, uri: &Uri) -> Result<Options, Failure> {
    match uri {
        Uri::File { seal: Some(_), .. } if global.seal.is_given() => Err(Failure::usage(
            "--store says what seals the store, and the flags do as well: a store is opened with one key",
        )),
        Uri::File { dir, seal: None, .. } => global.seal.options(Some(dir)),
        _ => Ok(Options::default()),
    }
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
    if global.seal.is_given() {
        return Err(Failure::usage(
            "a key opens a store in this process (--store); who asks a daemon needs none",
        ));
    }
    if global.endpoints.starts_with("file:") || global.endpoints.starts_with("mem:") {
        return Err(Failure::usage("--endpoints names daemons; --store opens a store in this process"));
    }
    Endpoint::parse_list(&global.endpoints).map_err(Failure::usage)
}
