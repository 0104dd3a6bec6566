//! `lease grant`, `revoke`, `keep-alive`, `timetolive` and `list`.

use crate::args::lease::LeaseCommand;
use crate::failure::{Exit, Failure};
use crate::output::json::{
    HeaderOnlyJson, LeaseGrantJson, LeaseKeepAliveJson, LeaseListJson, LeaseTimeToLiveJson,
};
use crate::output::{Format, Output};
use coffer::request::{LeaseGrantRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse};
use coffer::{Client, Error, LeaseId};
use std::time::{Duration, Instant};

pub(crate) async fn run(client: &Client, command: LeaseCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        LeaseCommand::Grant { ttl, id } => grant(client, ttl, id, output).await,
        LeaseCommand::Revoke { lease } => revoke(client, lease, output).await,
        LeaseCommand::KeepAlive { lease, once } => keep_alive(client, lease, once, output).await,
        LeaseCommand::Timetolive { lease, keys } => time_to_live(client, lease, keys, output).await,
        LeaseCommand::List => list(client, output).await,
    }
}

async fn grant(client: &Client, ttl_s: i64, id: LeaseId, output: &mut Output) -> Result<(), Failure> {
    if ttl_s <= 0 {
        return Err(Failure::usage(format_args!("the TTL is {ttl_s} seconds; it must be at least 1")));
    }
    let response =
        client.lease_grant_request(LeaseGrantRequest { ttl_s, id }).await.map_err(Failure::of_change)?;
    match output.format {
        Format::Json => output.json(&LeaseGrantJson::from(&response))?,
        Format::Simple | Format::Table => {
            output.line(format_args!("lease {} granted with TTL({}s)", response.id, response.ttl_s))?;
        }
    }
    Ok(())
}

async fn revoke(client: &Client, lease: LeaseId, output: &mut Output) -> Result<(), Failure> {
    let response = client.lease_revoke(lease).await.map_err(Failure::of_change)?;
    match output.format {
        Format::Json => output.json(&HeaderOnlyJson::from(&response))?,
        Format::Simple | Format::Table => output.line(format_args!("lease {lease} revoked"))?,
    }
    Ok(())
}

/// Renews at a third of the TTL until the lease ends; with `once`, once.
async fn keep_alive(client: &Client, lease: LeaseId, once: bool, output: &mut Output) -> Result<(), Failure> {
    let mut ends: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        let pause = match client.lease_keep_alive(lease).await {
            Ok(response) if response.ttl_s <= 0 && once => return Err(Error::LeaseNotFound.into()),
            Ok(response) if response.ttl_s <= 0 => {
                output.line(format_args!("lease {lease} expired or revoked."))?;
                output.flush()?;
                return Err(Failure::new(Exit::Failed, format_args!("lease {lease} has ended")));
            }
            Ok(response) => {
                match output.format {
                    Format::Json => output.json(&LeaseKeepAliveJson::from(&response))?,
                    Format::Simple | Format::Table => {
                        output.line(format_args!("lease {lease} keepalived with TTL({})", response.ttl_s))?;
                    }
                }
                output.flush()?;
                let ttl = Duration::from_secs(response.ttl_s.unsigned_abs());
                ends = asked.checked_add(ttl);
                ttl / 3
            }
            // While the lease may still live a failure is worth another try.
            Err(error) if once || ends.is_none_or(|ends| ends <= Instant::now()) => return Err(error.into()),
            Err(_) => Duration::from_millis(500),
        };
        if once {
            return Ok(());
        }
        coffer_runtime::sleep(pause).await;
    }
}

async fn time_to_live(
    client: &Client,
    lease: LeaseId,
    keys: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let response = client.lease_time_to_live(LeaseTimeToLiveRequest { id: lease, keys }).await?;
    match output.format {
        Format::Json => output.json(&LeaseTimeToLiveJson::from(&response))?,
        Format::Table => {
            let keys: Vec<_> = response.keys.iter().map(|key| output.text(key)).collect();
            let row = [
                lease.to_string(),
                response.granted_ttl_s.to_string(),
                response.ttl_s.to_string(),
                keys.join("\n"),
            ];
            output.table(["LEASE", "GRANTED TTL", "REMAINING", "KEYS"], [row])?;
        }
        Format::Simple => {
            let line = simple_time_to_live(&response, keys, output);
            output.line(line)?;
        }
    }
    Ok(())
}

fn simple_time_to_live(response: &LeaseTimeToLiveResponse, keys: bool, output: &Output) -> String {
    let LeaseTimeToLiveResponse { id, ttl_s, granted_ttl_s, .. } = response;
    if *granted_ttl_s == 0 && *ttl_s == -1 {
        return format!("lease {id} already expired");
    }
    let mut line = format!("lease {id} granted with TTL({granted_ttl_s}s), remaining({ttl_s}s)");
    if keys {
        let keys: Vec<_> = response.keys.iter().map(|key| output.text(key)).collect();
        line.push_str(&format!(", attached keys([{}])", keys.join(" ")));
    }
    line
}

async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let response = client.lease_list().await?;
    match output.format {
        Format::Json => output.json(&LeaseListJson::from(&response))?,
        Format::Table => output.table(["LEASE"], response.leases.iter().map(|lease| [lease.to_string()]))?,
        Format::Simple => {
            output.line(format_args!("found {} leases", response.leases.len()))?;
            response.leases.iter().try_for_each(|lease| output.line(lease))?;
        }
    }
    Ok(())
}
