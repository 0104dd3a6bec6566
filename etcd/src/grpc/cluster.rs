//! The members: this one.
//!
//! Changes are checked as etcd checks them, so that a client learns what is wrong with its request, and then refused.

use crate::front::Front;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::etcdserverpb::*;
use coffer_core::MemberInfo;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Cluster for Front {
    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let urls = request.into_inner().peer_ur_ls;
        check_peer_urls(&urls)?;
        let own = self.own_info().peer_urls;
        if urls.iter().any(|url| own.iter().any(|own| own == url.trim())) {
            return Err(Status::failed_precondition("etcdserver: Peer URLs already exists"));
        }
        Err(refused("adding members"))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        self.check_member(request.into_inner().id)?;
        Err(Status::failed_precondition(
            "etcdserver: re-configuration failed due to not enough started members",
        ))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let request = request.into_inner();
        self.check_member(request.id)?;
        check_peer_urls(&request.peer_ur_ls)?;
        Err(refused("changing the peer URLs of members"))
    }

    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.read(self.node.barrier()).await?;
        }
        let header = ResponseHeader { revision: 0, ..self.node.header().into() };
        let MemberInfo { name, peer_urls, .. } = self.own_info();
        let member = Member {
            id: header.member_id,
            name,
            peer_ur_ls: known_urls(&peer_urls),
            client_ur_ls: known_urls(&self.config.advertise_client_urls),
            is_learner: self.node.is_learner(),
        };
        Ok(Response::new(MemberListResponse { header: Some(header), members: vec![member] }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        self.check_member(request.into_inner().id)?;
        Err(Status::failed_precondition("etcdserver: can only promote a learner member"))
    }
}

impl Front {
    /// What is known of this member: what the cluster knows of it, and what the server was told where it knows nothing.
    fn own_info(&self) -> MemberInfo {
        let (own, config) = (self.node.header().member_id, &self.config);
        let known = self.node.members().unwrap_or_default().into_iter().map(|(member, _)| member);
        let MemberInfo { name, peer_urls, .. } =
            known.filter(|member| member.id == own).map(|member| member.info).next().unwrap_or_default();
        MemberInfo {
            name: if name.is_empty() { config.member_name.clone() } else { name },
            peer_urls: if peer_urls.is_empty() { config.advertise_peer_urls.clone() } else { peer_urls },
            ..MemberInfo::default()
        }
    }

    fn check_member(&self, id: u64) -> Result<(), Status> {
        match id == self.node.header().member_id {
            true => Ok(()),
            false => Err(Status::not_found("etcdserver: member not found")),
        }
    }
}

fn refused(what: &str) -> Status {
    Status::unimplemented(format!(
        "etcdserver: this server is a cluster of one member: {what} is not supported"
    ))
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
