//! What an operator does, in the middle of everything.

use super::Strike;
use crate::chaos::cluster::RECOVERY;
use crate::chaos::history::{Action, Step};
use crate::chaos::load::{compact_once, large_value};
use crate::chaos::member::{End, Member};
use coffer_core::Error;
use coffer_core::request::{MemberRequest, MembersResponse};
use coffer_rpc::client::Client;
use rand::seq::IndexedRandom;
use rustix::process::Signal;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How these clients are called in histories.
const OPERATOR: u32 = 900;
/// How long one try of a change may take.
const TRY: Duration = Duration::from_secs(5);
/// Pause before another.
const AGAIN: Duration = Duration::from_millis(100);
/// What is written behind the back of a member that is down: more than logs keep.
const LARGE_VALUES: usize = 24;
const LARGE_BYTES: usize = 1 << 20;

impl Strike {
    /// A client of any member. Another fault may have all of them down for the moment.
    async fn client(&self) -> Result<Client, String> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            match self.cluster.client(&self.cluster.members(), TRY).await {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() >= deadline => return Err(error.to_string()),
                Err(_) => coffer_runtime::sleep(AGAIN).await,
            }
        }
    }

    /// Has the cluster change its members, again and again while others change it or nobody leads, until `is_done` says that
    /// it is so.
    async fn change(
        &self,
        request: &MemberRequest,
        is_done: impl Fn(&MembersResponse) -> bool,
    ) -> Result<MembersResponse, String> {
        let deadline = Instant::now() + RECOVERY;
        let mut last = String::from("nobody answers");
        while Instant::now() < deadline {
            if let Ok(client) = self.cluster.client(&self.cluster.members(), TRY).await {
                match client.member_change(request.clone()).await {
                    Ok(members) => return Ok(members),
                    Err(error) => last = error.to_string(),
                }
                // It may have happened, or somebody else did it.
                match client.member_list(true).await {
                    Ok(members) if is_done(&members) => return Ok(members),
                    Ok(_) => {}
                    Err(error) => last = format!("{last}; {error}"),
                }
            }
            coffer_runtime::sleep(AGAIN).await;
        }
        Err(format!("{request:?} is not done after {RECOVERY:?}: {last}"))
    }

    /// Adds a member and starts it.
    pub(in crate::chaos) async fn add(&self, learner: bool) -> Result<Rc<Member>, String> {
        let known = self.cluster.members();
        let member = self.cluster.new_member()?;
        let request = MemberRequest::Add { peer_urls: vec![member.peer_url()], learner };
        let is_there = |members: &MembersResponse| {
            members.members.iter().any(|(other, _)| other.info.peer_urls.contains(&member.peer_url()))
        };
        self.change(&request, is_there).await?;
        let entries: Vec<String> = known.iter().chain([&member]).map(|member| member.entry()).collect();
        member.add_arguments([
            "--initial-cluster-state",
            "existing",
            "--initial-cluster",
            &entries.join(","),
        ]);
        self.cluster.enlist(member.clone());
        // Another fault may end it on its way.
        while member.id() == 0 {
            self.cluster.run(&member).await?;
            coffer_runtime::sleep(AGAIN).await;
        }
        Ok(member)
    }

    /// Removes a member, which ends by itself.
    async fn remove(&self, member: &Member) -> Result<(), String> {
        let id = member.id();
        let is_gone = |members: &MembersResponse| members.members.iter().all(|(other, _)| other.id != id);
        self.cluster.forget(member);
        self.change(&MemberRequest::Remove { id }, is_gone).await?;
        // Another fault may have stopped it, or have cut it off: then nobody can tell it.
        member.signal(Signal::CONT);
        if member.ended(RECOVERY).await == End::GoesOn {
            return Err(format!("{} was removed and goes on:\n{}", member.name, member.last_words()));
        }
        Ok(())
    }

    /// Waits until a member votes.
    pub(in crate::chaos) async fn wait_vote(&self, member: &Member) -> Result<(), String> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            let members = self.cluster.roster().await;
            let votes = |members: &MembersResponse| {
                members.members.iter().any(|(other, votes)| other.id == member.id() && *votes)
            };
            match members {
                Ok(members) if votes(&members) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(members) if Instant::now() > deadline => {
                    return Err(format!("{} does not vote after {RECOVERY:?}: {members:?}", member.name));
                }
                _ => coffer_runtime::sleep(AGAIN).await,
            }
        }
    }
}

/// A member goes for good, and another comes in its place.
pub(super) async fn replace(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    let fresh = strike.add(false).await?;
    strike.wait_vote(&fresh).await?;
    strike.remove(&victim).await?;
    strike.cluster.network.succeed(victim.number, fresh.number);
    Ok(format!("{} by {}", victim.name, fresh.name))
}

/// A learner comes, gets its vote, and goes again.
pub(super) async fn learner(strike: &mut Strike) -> Result<String, String> {
    let fresh = strike.add(true).await?;
    let id = fresh.id();
    let votes =
        |members: &MembersResponse| members.members.iter().any(|(other, votes)| other.id == id && *votes);
    strike.change(&MemberRequest::Promote { id }, votes).await?;
    strike.last().await;
    strike.remove(&fresh).await?;
    Ok(fresh.name.clone())
}

/// The lead goes from hand to hand.
pub(super) async fn move_leader(strike: &mut Strike) -> Result<String, String> {
    let mut moves = Vec::new();
    for _ in 0..4 {
        if let Some(leader) = strike.cluster.leader().await {
            let others: Vec<_> =
                strike.cluster.members().into_iter().filter(|other| other.id() != leader.id()).collect();
            if let Some(to) = others.choose(&mut strike.random)
                && let Ok(client) = strike.cluster.client(&[leader], TRY).await
            {
                // It may lead no more, or the other may be behind: that is an answer.
                let moved = client.member_change(MemberRequest::MoveLeader { id: to.id() }).await;
                let moved = moved.map_or_else(|error: Error| error.to_string(), |_| "leads".into());
                moves.push(format!("{} {moved}", to.name));
            }
        }
        coffer_runtime::sleep(strike.hold / 4).await;
    }
    Ok(moves.join(", "))
}

/// Compactions in quick succession.
pub(super) async fn compact(strike: &mut Strike) -> Result<String, String> {
    let client = strike.client().await?;
    for _ in 0..10 {
        compact_once(&strike.recorder, OPERATOR, &client).await;
        coffer_runtime::sleep(strike.hold / 10).await;
    }
    Ok("ten times".into())
}

/// A member is down for longer than the others keep their logs: it needs a snapshot.
pub(super) async fn catch_up(strike: &mut Strike) -> Result<String, String> {
    let victim = strike.victim().await?;
    victim.kill().await;
    let client = strike.client().await?;
    let mut written = 0;
    for number in 0..LARGE_VALUES {
        let key = format!("large{}", number % 4);
        let value = large_value(&strike.recorder.fresh_value(), LARGE_BYTES);
        let put =
            Action::Txn { when: Vec::new(), then: vec![Step::Put { key, value }], otherwise: Vec::new() };
        let outcome = strike.recorder.perform(OPERATOR, &client, put).await;
        written += usize::from(matches!(outcome, crate::chaos::history::Outcome::Ok { .. }));
    }
    strike.last().await;
    strike.cluster.run(&victim).await?;
    Ok(format!("{}, behind {written} MiB", victim.name))
}
