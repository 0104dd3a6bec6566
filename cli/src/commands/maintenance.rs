//! `compact`, `status` and `hashkv`.

use crate::args::Global;
use crate::args::kv::{CompactOptions, HashkvOptions};
use crate::connection;
use crate::failure::Failure;
use crate::output::json::{HashKvOfEndpointJson, HeaderOnlyJson, StatusOfEndpointJson};
use crate::output::{Format, Output, human_bytes};
use coffer::Client;
use coffer::request::{CompactRequest, HashKvResponse, StatusResponse};

pub(crate) async fn compact(
    client: &Client,
    options: CompactOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = CompactRequest { revision: options.revision, physical: options.physical };
    let response = client.compact_request(request).await.map_err(Failure::of_change)?;
    match output.format {
        Format::Json => output.json(&HeaderOnlyJson::from(&response))?,
        Format::Simple | Format::Table => {
            output.line(format_args!("compacted revision {}", options.revision))?;
        }
    }
    Ok(())
}

pub(crate) async fn status(global: &Global, output: &mut Output) -> Result<(), Failure> {
    let (statuses, failed) = ask_each(global, async |client| client.status().await).await?;
    match output.format {
        Format::Json => {
            let statuses: Vec<_> = statuses.iter().map(|(e, s)| StatusOfEndpointJson::new(e, s)).collect();
            output.json(&statuses)?;
        }
        Format::Table => {
            let header = [
                "ENDPOINT",
                "ID",
                "VERSION",
                "DB SIZE",
                "BACKEND",
                "SEALED",
                "IS LEADER",
                "IS LEARNER",
                "RAFT TERM",
                "RAFT INDEX",
                "RAFT APPLIED INDEX",
                "REVISION",
                "KEYS",
                "ERRORS",
            ];
            output.table(header, statuses.iter().map(|(endpoint, status)| table_row(endpoint, status)))?;
        }
        Format::Simple => {
            for (endpoint, status) in &statuses {
                output.line(simple_row(endpoint, status))?;
            }
        }
    }
    output.flush()?;
    failed.map_or(Ok(()), Err)
}

/// etcdctl's list: endpoint, id, version, size, is leader, is learner, term, index, applied index, errors. That a store is
/// not sealed stands among the errors.
fn simple_row(endpoint: &str, status: &StatusResponse) -> String {
    let unsealed = (sealed(status) == UNSEALED).then(|| UNSEALED.to_owned());
    let errors: Vec<_> = unsealed.into_iter().chain(status.errors.iter().cloned()).collect();
    format!(
        "{endpoint}, {:x}, {}, {}, {}, {}, {}, {}, {}, {}",
        status.header.member_id,
        status.version,
        human_bytes(status.db_size_bytes),
        is_leader(status),
        status.is_learner,
        status.raft_term,
        status.raft_index,
        status.raft_applied_index,
        errors.join("; ")
    )
}

fn table_row(endpoint: &str, status: &StatusResponse) -> [String; 14] {
    [
        endpoint.to_owned(),
        format!("{:x}", status.header.member_id),
        status.version.clone(),
        human_bytes(status.db_size_bytes),
        status.backend.clone(),
        sealed(status).to_owned(),
        is_leader(status).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.header.revision.to_string(),
        status.keys.to_string(),
        status.errors.join("; "),
    ]
}

/// What is shown of a store that everybody can read who can read its files.
const UNSEALED: &str = "UNSEALED";

fn sealed(status: &StatusResponse) -> &'static str {
    match (status.sealed, status.backend.as_str()) {
        (true, _) => "yes",
        // There is nothing at rest.
        (false, "memory") => "-",
        (false, _) => UNSEALED,
    }
}

fn is_leader(status: &StatusResponse) -> bool {
    status.leader != 0 && status.leader == status.header.member_id
}

pub(crate) async fn hash_kv(
    global: &Global,
    options: HashkvOptions,
    output: &mut Output,
) -> Result<(), Failure> {
    let (hashes, failed): (Vec<(String, HashKvResponse)>, _) =
        ask_each(global, async |client| client.hash_kv(options.rev).await).await?;
    match output.format {
        Format::Json => {
            let hashes: Vec<_> = hashes.iter().map(|(e, h)| HashKvOfEndpointJson::new(e, h)).collect();
            output.json(&hashes)?;
        }
        Format::Table => {
            let rows =
                hashes.iter().map(|(e, h)| [e.clone(), h.hash.to_string(), h.hash_revision.to_string()]);
            output.table(["ENDPOINT", "HASH", "HASH REVISION"], rows)?;
        }
        Format::Simple => {
            for (endpoint, hash) in &hashes {
                output.line(format_args!("{endpoint}, {}", hash.hash))?;
            }
        }
    }
    output.flush()?;
    failed.map_or(Ok(()), Err)
}

/// Asks every endpoint. Gives the answers, and the first failure if there was one.
async fn ask_each<T>(
    global: &Global,
    ask: impl AsyncFn(&Client) -> Result<T, coffer::Error>,
) -> Result<(Vec<(String, T)>, Option<Failure>), Failure> {
    let mut answers = Vec::new();
    let mut failed = None;
    for (endpoint, client) in connection::open_each(global).await? {
        let answer = match client {
            Ok(client) => {
                let answer = ask(&client).await;
                client.close().await;
                answer
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) => answers.push((endpoint, answer)),
            Err(error) => {
                failed.get_or_insert_with(|| Failure::from(error).context(endpoint));
            }
        }
    }
    Ok((answers, failed))
}
