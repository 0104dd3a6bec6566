//! The members.
//!
//! Changes are checked as etcd checks them, so that a client learns what is wrong with its request. One that is added to vote
//! begins as a learner, and gets its vote from the leader once it has the log.

use crate::convert::status;
use crate::front::Front;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::etcdserverpb::*;
use coffer_core::consensus::{MemberChange, MemberError};
use coffer_core::{Error, MemberInfo};
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cluster for Front {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let MemberAddRequest { peer_ur_ls: urls, is_learner } = request.into_inner();
        check_peer_urls(&urls)?;
        self.check_unused(&urls, None)?;
        if is_learner {
            self.check_learners()?;
        }
        let own = self.info_of(self.node.header().member_id)?;
        if own.peer_urls.is_empty() || !self.config.has_peers {
            return Err(Status::failed_precondition(
                "etcdserver: this member does not listen to others: start it with --listen-peer-urls and \
                 --initial-cluster",
            ));
        }
        let mut peer_urls: Vec<String> = urls.iter().map(|url| url.trim().to_owned()).collect();
        peer_urls.sort();
        let member = coffer_core::Member::fresh_id().map_err(status)?;
        let info = MemberInfo { peer_urls, wants_vote: !is_learner, ..MemberInfo::default() };
        self.change(MemberChange::AddLearner { member, description: info.encode() }).await?;
        // What was asked for; its vote comes with the log.
        let added = Member { is_learner, ..listed((coffer_core::Member { id: member, info }, false)) };
        let header = Some(self.list_header());
        Ok(Response::new(MemberAddResponse { header, member: Some(added), members: self.list()? }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let member = request.into_inner().id;
        self.info_of(member)?;
        self.change(MemberChange::Remove { member }).await?;
        Ok(Response::new(MemberRemoveResponse { header: Some(self.list_header()), members: self.list()? }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        let known = self.info_of(id)?;
        check_peer_urls(&peer_ur_ls)?;
        self.check_unused(&peer_ur_ls, Some(id))?;
        let mut peer_urls: Vec<String> = peer_ur_ls.iter().map(|url| url.trim().to_owned()).collect();
        peer_urls.sort();
        let description = MemberInfo { peer_urls, ..known }.encode();
        self.change(MemberChange::Describe { member: id, description }).await?;
        Ok(Response::new(MemberUpdateResponse { header: Some(self.list_header()), members: self.list()? }))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.read(self.node.barrier()).await?;
        }
        Ok(Response::new(MemberListResponse { header: Some(self.list_header()), members: self.list()? }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let member = request.into_inner().id;
        self.info_of(member)?;
        if self.node.membership().is_voter(member) {
            return Err(Status::failed_precondition("etcdserver: can only promote a learner member"));
        }
        self.change(MemberChange::Promote { member }).await?;
        Ok(Response::new(MemberPromoteResponse { header: Some(self.list_header()), members: self.list()? }))
    }
}

impl Front {
    /// The members with what is known of each, ascending by id, and whether it has a vote.
    fn members(&self) -> Result<Vec<(coffer_core::Member, bool)>, Status> {
        let mut members = self.node.members().map_err(status)?;
        let own = self.node.header().member_id;
        if members.iter().all(|(member, _)| member.id != own) {
            let alone = coffer_core::Member { id: own, info: MemberInfo::default() };
            members.push((alone, !self.node.is_learner()));
        }
        for (member, _) in members.iter_mut().filter(|(member, _)| member.id == own) {
            member.info = self.told(std::mem::take(&mut member.info));
        }
        Ok(members)
    }

    /// What is known of this member: what the cluster knows of it, and what the server was told where it knows nothing.
    fn told(&self, known: MemberInfo) -> MemberInfo {
        let config = &self.config;
        let list =
            |known: Vec<String>, told: &Vec<String>| if known.is_empty() { told.clone() } else { known };
        MemberInfo {
            name: if known.name.is_empty() { config.member_name.clone() } else { known.name },
            peer_urls: list(known.peer_urls, &config.advertise_peer_urls),
            client_urls: list(known.client_urls, &config.advertise_client_urls),
            wants_vote: known.wants_vote,
        }
    }

    fn list(&self) -> Result<Vec<Member>, Status> {
        Ok(self.members()?.into_iter().map(listed).collect())
    }

    fn list_header(&self) -> ResponseHeader {
        ResponseHeader { revision: 0, ..self.node.header().into() }
    }

    fn info_of(&self, id: u64) -> Result<MemberInfo, Status> {
        let found = self.members()?.into_iter().find(|(member, _)| member.id == id);
        found.map(|(member, _)| member.info).ok_or_else(|| Status::not_found("etcdserver: member not found"))
    }

    /// Refuses peer URLs that another member than `except` has.
    fn check_unused(&self, urls: &[String], except: Option<u64>) -> Result<(), Status> {
        let members = self.members()?;
        let mut used = members.iter().filter(|(member, _)| Some(member.id) != except);
        match used
            .any(|(member, _)| urls.iter().any(|url| member.info.peer_urls.iter().any(|it| it == url.trim())))
        {
            true => Err(Status::failed_precondition("etcdserver: Peer URLs already exists")),
            false => Ok(()),
        }
    }

    /// Refuses another learner if there are as many as there may be.
    fn check_learners(&self) -> Result<(), Status> {
        let members = self.members()?;
        let learners = members.iter().filter(|(member, votes)| !votes && !member.info.wants_vote).count();
        match learners as u64 >= self.config.learners_max {
            true => Err(Status::failed_precondition("etcdserver: too many learner members in cluster")),
            false => Ok(()),
        }
    }

    async fn change(&self, change: MemberChange) -> Result<(), Status> {
        self.node.change_members(change).await.map_err(|error| match error {
            MemberError::NotFound => Status::not_found("etcdserver: member not found"),
            MemberError::LastVoter => Status::failed_precondition(
                "etcdserver: re-configuration failed due to not enough started members",
            ),
            MemberError::NoLeader | MemberError::NotLeader => status(Error::NoLeader),
            MemberError::NotInSync => Status::failed_precondition(format!("etcdserver: {error}")),
            MemberError::InProgress | MemberError::Unhealthy => {
                Status::unavailable("etcdserver: unhealthy cluster")
            }
            MemberError::Unknown => status(Error::OutcomeUnknown),
            other => Status::failed_precondition(format!("etcdserver: {other}")),
        })
    }
}

/// A member as etcd lists it.
fn listed((member, votes): (coffer_core::Member, bool)) -> Member {
    let coffer_core::Member { id, info } = member;
    Member {
        id,
        name: info.name,
        peer_ur_ls: known_urls(&info.peer_urls),
        client_ur_ls: known_urls(&info.client_urls),
        is_learner: !votes,
    }
}

/// Those that etcd's clients know what to do with.
fn known_urls(urls: &[String]) -> Vec<String> {
    let known = |url: &&String| {
        url.split_once("://").is_some_and(|(scheme, _)| ["http", "https", "unix", "unixs"].contains(&scheme))
    };
    urls.iter().filter(known).cloned().collect()
}

fn check_peer_urls(urls: &[String]) -> Result<(), Status> {
    match !urls.is_empty() && urls.iter().all(|url| is_peer_url(url.trim())) {
        true => Ok(()),
        false => Err(Status::invalid_argument("etcdserver: given member URLs are invalid")),
    }
}

/// Whether this is `http(s)://host:port` without a path, or names a socket.
fn is_peer_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    match scheme {
        "unix" | "unixs" => true,
        "http" | "https" => {
            let authority = rest.split(['?', '#']).next().unwrap_or_default();
            let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
            address.rsplit_once(':').is_some_and(|(host, port)| {
                let is_bracketed = host.starts_with('[') && host.ends_with(']');
                let is_name = !host.contains([':', '/', '[', ']', ' ']);
                (is_bracketed || is_name) && port.bytes().all(|byte| byte.is_ascii_digit())
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_those_that_etcd_takes() {
        for url in ["http://a:1", "https://10.0.0.1:2380", "http://[::1]:2380", "unix://x", "unixs:///run/x"]
        {
            assert!(is_peer_url(url), "{url}");
        }
        for url in [
            "",
            "a:1",
            "http://a",
            "http://a:1/",
            "http://a:1/p",
            "http://::1:80",
            "coffer://a:1",
            "http://a:x",
        ] {
            assert!(!is_peer_url(url), "{url}");
        }
        assert!(check_peer_urls(&[]).is_err());
        assert!(check_peer_urls(&[" http://a:1 ".into()]).is_ok());
    }

    #[test]
    fn only_urls_that_etcds_clients_know_are_listed() {
        let urls =
            ["coffer://a:1", "http://a:1", "unix:///x", "coffers://a:2", "https://a:3"].map(String::from);
        assert_eq!(known_urls(&urls), ["http://a:1", "unix:///x", "https://a:3"]);
    }
}
