//! `member list`, `add`, `promote`, `remove`, `update`, `replace` and `move-leader`.

use crate::args::kv::Consistency;
use crate::args::member::MemberCommand;
use crate::failure::Failure;
use crate::output::json::MembersJson;
use crate::output::{Format, Output};
use coffer::request::{MemberRequest, MembersResponse};
use coffer::{Client, Member};

pub(crate) async fn run(client: &Client, command: MemberCommand, output: &mut Output) -> Result<(), Failure> {
    let (request, done) = match command {
        MemberCommand::List { consistency } => {
            let members = client.member_list(consistency == Consistency::Linearizable).await?;
            return list(&members, output);
        }
        MemberCommand::Add { name, peer_urls, learner } => {
            return add(client, name, peer_urls, learner, output).await;
        }
        MemberCommand::Replace { id } => return replace(client, id, output).await,
        MemberCommand::Promote { id } => (MemberRequest::Promote { id }, format!("member {id:x} votes now")),
        MemberCommand::Remove { id } => (MemberRequest::Remove { id }, format!("member {id:x} removed")),
        MemberCommand::Update { id, peer_urls } => {
            (MemberRequest::Update { id, peer_urls }, format!("member {id:x} updated"))
        }
        MemberCommand::MoveLeader { id } => {
            (MemberRequest::MoveLeader { id }, format!("member {id:x} leads now"))
        }
    };
    let members = client.member_change(request).await.map_err(Failure::of_change)?;
    match output.format {
        Format::Json => output.json(&MembersJson::from(&members))?,
        Format::Simple | Format::Table => output.line(done)?,
    }
    Ok(())
}

fn list(members: &MembersResponse, output: &mut Output) -> Result<(), Failure> {
    let rows = members.members.iter().map(|member| row(member, members.leader));
    match output.format {
        Format::Json => output.json(&MembersJson::from(members))?,
        Format::Table => output
            .table(["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER", "IS LEADER"], rows)?,
        // As etcdctl has it, and whether it leads.
        Format::Simple => rows.into_iter().try_for_each(|row| output.line(row.join(", ")))?,
    }
    Ok(())
}

fn row((Member { id, info }, votes): &(Member, bool), leader: u64) -> [String; 7] {
    let status = if info.client_urls.is_empty() && info.name.is_empty() { "unstarted" } else { "started" };
    [
        format!("{id:x}"),
        status.into(),
        info.name.clone(),
        info.peer_urls.join(","),
        info.client_urls.join(","),
        (!votes).to_string(),
        (*id == leader).to_string(),
    ]
}

/// Adds a member, and says how it is started.
async fn add(
    client: &Client,
    name: String,
    peer_urls: Vec<String>,
    learner: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = MemberRequest::Add { peer_urls: peer_urls.clone(), learner };
    let members = client.member_change(request).await.map_err(Failure::of_change)?;
    if output.format == Format::Json {
        return Ok(output.json(&MembersJson::from(&members))?);
    }
    output.line(format_args!(
        "member {:x} added to cluster {:x}; start it with an empty data directory and",
        members.added, members.header.cluster_id
    ))?;
    let known = members.members.iter().filter(|(member, _)| member.id != members.added);
    let all = known
        .flat_map(|(member, _)| member.info.peer_urls.iter().map(|url| (member.info.name.as_str(), url)));
    let all: Vec<_> = all.chain(peer_urls.iter().map(|url| (name.as_str(), url))).collect();
    let all: Vec<_> = all.into_iter().map(|(name, url)| format!("{name}={url}")).collect();
    output.line(format_args!(
        "  --name {name} --initial-cluster-state existing --initial-cluster {} --listen-peer-urls {}",
        all.join(","),
        peer_urls.join(",")
    ))?;
    Ok(())
}

/// Replaces a member, and says how its successor is started.
async fn replace(client: &Client, id: u64, output: &mut Output) -> Result<(), Failure> {
    let members = client.member_change(MemberRequest::Replace { id }).await.map_err(Failure::of_change)?;
    if output.format == Format::Json {
        return Ok(output.json(&MembersJson::from(&members))?);
    }
    output.line(format_args!(
        "member {id:x} replaced by {:x}; start its daemon again with an empty data directory and the flags that it had",
        members.added
    ))?;
    Ok(())
}
