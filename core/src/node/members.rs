//! Who belongs to the cluster, as those who operate it ask for and change it.
//!
//! # Invariants
//! - A change is checked against the newest membership that this member knows, and again by the leader.
//! - One that is added to vote begins as a learner. Whoever runs the leader gives it its vote once it has the log
//!   (`wants_vote` of its [`MemberInfo`]), so that a cluster does not wait for a member that has not started.

use super::Node;
use crate::consensus::{MemberChange, MemberError};
use crate::error::Error;
use crate::member::{Member, MemberInfo};
use crate::request::{MemberRequest, MembersResponse};
use crate::state::Command;
use std::time::{Duration, Instant};

/// Pause before another attempt to add a successor.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

impl Node {
    /// The members, as of now if `linearizable`, else as this one knows them.
    ///
    /// # Errors
    /// [`Error::NoLeader`]; what is stored of the members cannot be read.
    pub async fn member_list(&self, linearizable: bool) -> Result<MembersResponse, Error> {
        if linearizable {
            self.barrier().await?;
        }
        self.members_response(0)
    }

    /// Changes who belongs to the cluster, or who leads it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what makes no sense; [`Error::NoLeader`]; [`Error::Unavailable`] while another change
    /// is under way; unknown outcomes.
    pub async fn member_change(&self, request: MemberRequest) -> Result<MembersResponse, Error> {
        let (change, added) = match request {
            MemberRequest::MoveLeader { id } => {
                self.move_leader(id).await?;
                return self.members_response(0);
            }
            MemberRequest::Replace { id } => return self.replace_member(id).await,
            MemberRequest::Add { peer_urls, learner } => {
                self.check_peer_urls(&peer_urls, None)?;
                if self.info_of(self.header().member_id)?.peer_urls.is_empty() {
                    let reason = "others cannot reach this member: start it with --listen-peer-urls and \
                                  --initial-advertise-peer-urls";
                    return Err(Error::InvalidArgument(reason.into()));
                }
                let info =
                    MemberInfo { peer_urls: tidy(peer_urls), wants_vote: !learner, ..MemberInfo::default() };
                let member = Member::fresh_id()?;
                (MemberChange::AddLearner { member, description: info.encode() }, member)
            }
            MemberRequest::Promote { id } => (MemberChange::Promote { member: id }, 0),
            MemberRequest::Remove { id } => (MemberChange::Remove { member: id }, 0),
            MemberRequest::Update { id, peer_urls } => {
                let known = self.info_of(id)?;
                self.check_peer_urls(&peer_urls, Some(id))?;
                let info = MemberInfo { peer_urls: tidy(peer_urls), ..known };
                (MemberChange::Describe { member: id, description: info.encode() }, 0)
            }
        };
        self.change_members(change).await.map_err(refusal)?;
        self.members_response(added)
    }

    /// Puts a new member in the place of another. Each step holds by itself: a failure says what was done.
    async fn replace_member(&self, id: u64) -> Result<MembersResponse, Error> {
        let own = self.header().member_id;
        let known = self.info_of(id)?;
        if id == own {
            return Err(Error::InvalidArgument("a member does not replace itself: ask another one".into()));
        }
        if known.peer_urls.is_empty() {
            return Err(Error::InvalidArgument(
                "the member has no peer URL: remove it and add another".into(),
            ));
        }
        let wants_vote = known.wants_vote || self.membership().is_voter(id);
        self.change_members(MemberChange::Remove { member: id }).await.map_err(refusal)?;
        let info = MemberInfo { peer_urls: known.peer_urls, wants_vote, ..MemberInfo::default() };
        let added = Member::fresh_id()?;
        let add = || MemberChange::AddLearner { member: added, description: info.encode() };
        let deadline = Instant::now() + self.inner.config.patience;
        let outcome = loop {
            match self.change_members(add()).await {
                // It was added before its answer was lost.
                Err(MemberError::Exists) => break Ok(()),
                // The one that was removed may have led; the same again adds nobody twice.
                Err(
                    MemberError::NoLeader
                    | MemberError::NotLeader
                    | MemberError::InProgress
                    | MemberError::Unknown,
                ) if Instant::now() < deadline => coffer_runtime::sleep(RETRY_INTERVAL).await,
                outcome => break outcome,
            }
        };
        if let Err(error) = outcome {
            let urls = info.peer_urls.join(",");
            return Err(Error::Unavailable(format!(
                "member {id:x} was removed, but its successor could not be added ({error}): add it with the peer URLs {urls}"
            )));
        }
        for alarm in self.alarms().into_iter().filter(|alarm| alarm.member == id) {
            // Of nobody any more. Who sees it still clears it.
            if let Err(error) = self.propose(Command::Alarm { alarm, raised: false }).await {
                tracing::warn!(%error, "the alarm of a member that was replaced could not be cleared");
            }
        }
        self.members_response(added)
    }

    fn members_response(&self, added: u64) -> Result<MembersResponse, Error> {
        let leader = self.leader().unwrap_or(0);
        Ok(MembersResponse { header: self.header(), members: self.members()?, leader, added })
    }

    fn info_of(&self, id: u64) -> Result<MemberInfo, Error> {
        let found = self.members()?.into_iter().find(|(member, _)| member.id == id);
        let missing = || Error::InvalidArgument(MemberError::NotFound.to_string());
        found.map(|(member, _)| member.info).ok_or_else(missing)
    }

    /// Refuses peer URLs that are none, or that another member than `except` has.
    fn check_peer_urls(&self, urls: &[String], except: Option<u64>) -> Result<(), Error> {
        if urls.iter().all(|url| url.trim().is_empty()) {
            return Err(Error::InvalidArgument("a member has at least one peer URL".into()));
        }
        for (member, _) in self.members()?.iter().filter(|(member, _)| Some(member.id) != except) {
            if let Some(taken) =
                urls.iter().find(|url| member.info.peer_urls.iter().any(|own| own == url.trim()))
            {
                return Err(Error::InvalidArgument(format!(
                    "member {:x} has the peer URL {taken}",
                    member.id
                )));
            }
        }
        Ok(())
    }
}

fn refusal(error: MemberError) -> Error {
    match error {
        MemberError::NoLeader | MemberError::NotLeader => Error::NoLeader,
        MemberError::Unknown => Error::OutcomeUnknown,
        MemberError::InProgress | MemberError::Unhealthy | MemberError::NotInSync => {
            Error::Unavailable(error.to_string())
        }
        refused => Error::InvalidArgument(refused.to_string()),
    }
}

/// Sorted, each once.
fn tidy(urls: Vec<String>) -> Vec<String> {
    let mut urls: Vec<String> = urls.iter().map(|url| url.trim().to_owned()).collect();
    urls.retain(|url| !url.is_empty());
    urls.sort();
    urls.dedup();
    urls
}
