//! Who a restored store is: its cluster, its member, and the others, decided before it is made.
//!
//! # Ids
//! Each member of a cluster is restored for itself, from a copy of one file, so that all must compute the same ids:
//!
//! ```text
//! id(part, …)  := the first 8 bytes, big-endian, of SHA-256(part …), without their highest bit; 1 instead of 0
//! member id    := id("coffer member", token, peer URL …)       peer URLs sorted
//! cluster id   := id("coffer cluster", origin, member id …)    member ids ascending, 8 bytes each, big-endian
//! ```
//!
//! Each part stands behind its length (8 bytes, big-endian). As in etcd, URLs and token make the member; unlike there, the
//! cluster depends on the content as well: members that were restored from different files do not take each other for
//! members of one cluster.

use coffer_backends::Founding;
use coffer_core::{Error, Member, MemberInfo};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A new cluster as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCluster {
    cluster_id: u64,
    member_id: u64,
    /// Ascending by id.
    members: Vec<Member>,
}

impl NewCluster {
    /// A cluster of one member, with new random ids.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn alone(info: MemberInfo) -> Result<Self, Error> {
        let (cluster_id, member_id) = (crate::embedded::random_id()?, crate::embedded::random_id()?);
        Ok(Self { cluster_id, member_id, members: vec![Member { id: member_id, info }] })
    }

    /// The cluster of these members, their peer URLs by their names, as the member `name` sees it. Whoever gives the same
    /// `token`, members and `origin` gets the same cluster. The origin says what the stores are made from.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `name` is none of them, one has no URLs, or two have the same.
    pub fn together(
        token: &str,
        members: &BTreeMap<String, Vec<String>>,
        name: &str,
        origin: &[u8],
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::InvalidArgument(reason));
        let mut known: Vec<Member> = Vec::with_capacity(members.len());
        for (name, urls) in members {
            if urls.is_empty() {
                return refuse(format!("member {name} has no peer URL"));
            }
            let info = MemberInfo { name: name.clone(), peer_urls: urls.clone(), ..MemberInfo::default() };
            known.push(Member { id: member_id(token, urls), info });
        }
        known.sort_by_key(|member| member.id);
        if let Some(twins) = known.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return refuse(format!("members {} and {} are the same", twins[0].info.name, twins[1].info.name));
        }
        let Some(own) = known.iter().find(|member| member.info.name == name) else {
            return refuse(format!("there is no member {name}"));
        };
        let ids: Vec<[u8; 8]> = known.iter().map(|member| member.id.to_be_bytes()).collect();
        let parts = [&b"coffer cluster"[..], origin].into_iter().chain(ids.iter().map(|id| &id[..]));
        Ok(Self { cluster_id: id(parts), member_id: own.id, members: known })
    }

    /// Its members, ascending by id.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member whose view this is.
    pub fn own(&self) -> &Member {
        let own = self.members.iter().find(|member| member.id == self.member_id);
        own.expect("a cluster has the member whose view it is")
    }

    pub(crate) fn founding(&self) -> Founding {
        Founding { cluster_id: self.cluster_id, member_id: self.member_id, boot: 0 }
    }
}

fn member_id(token: &str, urls: &[String]) -> u64 {
    let mut urls: Vec<&[u8]> = urls.iter().map(|url| url.as_bytes()).collect();
    urls.sort_unstable();
    id([&b"coffer member"[..], token.as_bytes()].into_iter().chain(urls))
}

fn id<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize()[..8]);
    (u64::from_be_bytes(first) >> 1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> BTreeMap<String, Vec<String>> {
        ["a", "b", "c"].into_iter().map(|name| (name.into(), vec![format!("http://{name}:7421")])).collect()
    }

    fn together(
        token: &str,
        members: &BTreeMap<String, Vec<String>>,
        name: &str,
        origin: &str,
    ) -> NewCluster {
        NewCluster::together(token, members, name, origin.as_bytes()).expect("a cluster")
    }

    #[test]
    fn all_members_compute_the_same_cluster() {
        let views = ["a", "b", "c"].map(|name| together("token", &three(), name, "file"));
        for view in &views {
            assert_eq!((view.cluster_id, &view.members), (views[0].cluster_id, &views[0].members));
            let own = view.members.iter().find(|member| member.id == view.member_id).expect("itself");
            assert_eq!(own.info.peer_urls, [format!("http://{}:7421", own.info.name)]);
        }
        assert_ne!(views[0].member_id, views[1].member_id);
        // Ids are written down: a later release must compute the same.
        assert_eq!((views[0].cluster_id, views[0].member_id), (0x7d9f7bc87bff66aa, 0x7c2d7a2e01e38011));
    }

    #[test]
    fn whatever_differs_makes_another_cluster() {
        let first = together("token", &three(), "a", "file");
        let mut moved = three();
        moved.insert("c".into(), vec!["http://c:7422".into()]);
        let mut two_urls = three();
        two_urls.insert("a".into(), vec!["http://a:2".into(), "http://a:1".into()]);
        for other in [
            together("another", &three(), "a", "file"),
            together("token", &three(), "a", "another file"),
            together("token", &moved, "a", "file"),
            together("token", &two_urls, "a", "file"),
        ] {
            assert_ne!(other.cluster_id, first.cluster_id);
        }
        let same = together("token", &three(), "a", "another file");
        assert_eq!(same.member_id, first.member_id, "a member is its URLs and the token");
        let urls = |urls: [&str; 2]| urls.map(String::from).to_vec();
        assert_eq!(member_id("t", &urls(["x", "y"])), member_id("t", &urls(["y", "x"])));
        assert_ne!(member_id("t", &urls(["x", "y"])), member_id("t", &urls(["xy", ""])));
        let alone = [(); 2].map(|()| NewCluster::alone(MemberInfo::default()).expect("a cluster"));
        assert_ne!(alone[0].cluster_id, alone[1].cluster_id);
    }

    #[test]
    fn what_is_no_cluster_is_refused() {
        let mut without = three();
        without.insert("d".into(), Vec::new());
        let mut twins = three();
        twins.insert("d".into(), vec!["http://a:7421".into()]);
        for (members, name, reason) in
            [(three(), "d", "no member d"), (without, "a", "no peer URL"), (twins, "b", "are the same")]
        {
            let refused = NewCluster::together("token", &members, name, b"").map(|_| ());
            assert!(
                matches!(&refused, Err(Error::InvalidArgument(found)) if found.contains(reason)),
                "{refused:?}"
            );
        }
    }
}
