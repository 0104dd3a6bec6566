//! Makes a new cluster of one member from what is left of one that has lost its quorum for ever.
//!
//! # Crash behaviour
//! As for [`Options::restore`]: under the name of the new store there is nothing or all of it. The old stores are only read,
//! apart from what every opening does.

use crate::embedded::Medium;
use crate::new_cluster::NewCluster;
use crate::options::Options;
use crate::restore::RestoredStore;
use coffer_backends::Backend;
use coffer_core::node::remains::{Remains, end_of};
use coffer_core::storage::LogId;
use coffer_core::{Error, Member};
use std::path::{Path, PathBuf};

/// A closed store of a member that survived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Where it lies.
    pub dir: PathBuf,
    /// The cluster that it belongs to.
    pub cluster_id: u64,
    /// The member whose store it is.
    pub member_id: u64,
    /// The last log entry that it holds.
    pub last: LogId,
}

/// What was made, and what it was made of.
#[derive(Debug)]
pub struct Recovered {
    /// The new store.
    pub store: RestoredStore,
    /// The store that it was made from: of those that were given the one that goes farthest.
    pub from: Survivor,
    /// All that were given.
    pub survivors: Vec<Survivor>,
    /// The last entry that is known to be committed. What follows may or may not have been acknowledged; it was taken.
    pub committed: Option<LogId>,
    /// Voters of the old cluster whose stores were not given.
    pub missing: Vec<Member>,
    /// Whether something may be lost that was acknowledged: a majority of the old voters may have it, and none of these.
    pub may_have_lost: bool,
}

impl Options {
    /// Makes a store in the new directory `to`, that of the only member of a new cluster, from one of the closed stores in
    /// `from`, which these options open: from the one that goes farthest. The old cluster can not reach the new one. Nothing
    /// has a place before [`RestoredStore::keep`]. Blocks.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the stores are of different clusters, or of one member twice; [`Error::Open`] if one
    /// does not open or holds nothing, or `to` holds something; [`Error::Corrupt`] if the one is not whole; a fault of a
    /// medium.
    pub fn recover(
        &self,
        from: &[PathBuf],
        to: &Path,
        cluster: Option<&NewCluster>,
        backend: Option<Backend>,
    ) -> Result<Recovered, Error> {
        let survivors = from.iter().map(|dir| self.survivor(dir)).collect::<Result<Vec<_>, _>>()?;
        let farthest = survivors.iter().max_by_key(|survivor| survivor.last);
        let Some(farthest) = farthest.cloned() else {
            return Err(Error::InvalidArgument("no store is given".into()));
        };
        for (number, survivor) in survivors.iter().enumerate() {
            if survivor.cluster_id != farthest.cluster_id {
                return Err(Error::InvalidArgument(format!(
                    "{} belongs to cluster {:x}, and {} to cluster {:x}",
                    survivor.dir.display(),
                    survivor.cluster_id,
                    farthest.dir.display(),
                    farthest.cluster_id
                )));
            }
            if let Some(twin) = survivors[..number].iter().find(|it| it.member_id == survivor.member_id) {
                return Err(Error::InvalidArgument(format!(
                    "{} and {} are stores of the same member",
                    twin.dir.display(),
                    survivor.dir.display()
                )));
            }
        }
        let medium = self.reopen(&farthest.dir)?;
        let remains = Remains::read(&*medium.log, medium.records.clone())?;
        let is_given = |member: &Member| survivors.iter().any(|survivor| survivor.member_id == member.id);
        let voters: Vec<&Member> =
            remains.members.iter().filter(|(_, votes)| *votes).map(|(member, _)| member).collect();
        let missing: Vec<Member> = voters.iter().filter(|it| !is_given(it)).map(|it| (*it).clone()).collect();
        // A majority without any of those that were given.
        let may_have_lost = missing.len() > voters.len() / 2;
        let target = Self { backend: Some(backend.unwrap_or(medium.backend)), ..self.clone() };
        let store = target.restore(to, cluster, &remains.content(), &mut remains.records())?;
        let committed = remains.committed;
        Ok(Recovered { store, from: farthest, survivors, committed, missing, may_have_lost })
    }

    fn reopen(&self, dir: &Path) -> Result<Medium, Error> {
        Medium::open(dir, &Self { backend: None, ..self.clone() }.create(false))
    }

    fn survivor(&self, dir: &Path) -> Result<Survivor, Error> {
        let medium = self.reopen(dir)?;
        let last = end_of(&*medium.log, &*medium.records)
            .ok_or_else(|| Error::Open(format!("{} holds nothing", dir.display())))?;
        let (cluster_id, member_id) = (medium.identity.cluster_id, medium.identity.member_id);
        Ok(Survivor { dir: dir.to_owned(), cluster_id, member_id, last })
    }
}
