//! What strikes a cluster: each fault begins, lasts for a while, and is taken back, all with one call.
//!
//! A fault picks its victim when it strikes, from the seed and from who leads then. Two may strike together, and may meet in one
//! member: whatever one of them does to it, the other bears.

mod clock;
mod disk;
mod links;
mod operator;
mod process;
mod tracer;

pub use disk::Room;

use super::cluster::Cluster;
use super::load::Recorder;
use super::member::Member;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "`name` and `FAULTS` say what they are")]
pub enum Fault {
    Kill,
    KillAll,
    Restart,
    Pause,
    Majority,
    LeaderAlone,
    OneWay,
    Bridge,
    Delay,
    Loss,
    ClientCut,
    SlowDisk,
    SyncError,
    DiskFull,
    ClockJump,
    Replace,
    Learner,
    MoveLeader,
    Compact,
    CatchUp,
}

/// All kinds.
pub const FAULTS: &[Fault] = &[
    Fault::Kill,
    Fault::KillAll,
    Fault::Restart,
    Fault::Pause,
    Fault::Majority,
    Fault::LeaderAlone,
    Fault::OneWay,
    Fault::Bridge,
    Fault::Delay,
    Fault::Loss,
    Fault::ClientCut,
    Fault::SlowDisk,
    Fault::SyncError,
    Fault::DiskFull,
    Fault::ClockJump,
    Fault::Replace,
    Fault::Learner,
    Fault::MoveLeader,
    Fault::Compact,
    Fault::CatchUp,
];

impl Fault {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::Majority => "majority",
            Self::LeaderAlone => "leader-alone",
            Self::OneWay => "one-way",
            Self::Bridge => "bridge",
            Self::Delay => "delay",
            Self::Loss => "loss",
            Self::ClientCut => "client-cut",
            Self::SlowDisk => "slow-disk",
            Self::SyncError => "sync-error",
            Self::DiskFull => "disk-full",
            Self::ClockJump => "clock-jump",
            Self::Replace => "replace",
            Self::Learner => "learner",
            Self::MoveLeader => "move-leader",
            Self::Compact => "compact",
            Self::CatchUp => "catch-up",
        }
    }

    /// The fault of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, String> {
        FAULTS.iter().copied().find(|fault| fault.name() == name).ok_or_else(|| {
            let names: Vec<_> = FAULTS.iter().map(|fault| fault.name()).collect();
            format!("no fault is called `{name}`; there are {}", names.join(", "))
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Faults that this machine cannot inject, and why.
pub fn impossible() -> BTreeMap<Fault, String> {
    let mut reasons = BTreeMap::new();
    if let Err(reason) = tracer::probe() {
        reasons.insert(Fault::SlowDisk, reason.clone());
        reasons.insert(Fault::SyncError, reason);
    }
    if let Err(reason) = Room::probe() {
        reasons.insert(Fault::DiskFull, reason);
    }
    if let Err(reason) = clock::probe() {
        reasons.insert(Fault::ClockJump, reason);
    }
    reasons
}

/// Gets a cluster ready for faults that need something from the start of its members.
///
/// # Errors
/// The machine refuses it.
pub fn prepare(cluster: &Cluster) -> Result<Vec<Room>, String> {
    let steps = &cluster.plan.steps;
    let wants = |fault| steps.iter().flatten().any(|other| *other == fault);
    if wants(Fault::ClockJump) {
        clock::prepare(cluster)?;
    }
    match wants(Fault::DiskFull) {
        true => cluster.members().iter().map(|member| Room::make(&member.disk)).collect(),
        false => Ok(Vec::new()),
    }
}

/// What a fault works with.
#[derive(Debug)]
pub struct Strike {
    /// The cluster.
    pub cluster: Rc<Cluster>,
    /// What the clients write down.
    pub recorder: Rc<Recorder>,
    /// Chance.
    pub random: StdRng,
    /// How long it lasts.
    pub hold: Duration,
}

/// Strikes, lasts, and takes it back. Tells whom it struck.
///
/// # Errors
/// It could not strike, or a member did not bear it as it has to.
pub async fn strike(fault: Fault, mut strike: Strike) -> Result<String, String> {
    let strike = &mut strike;
    match fault {
        Fault::Kill => process::kill(strike).await,
        Fault::KillAll => process::kill_all(strike).await,
        Fault::Restart => process::restart(strike).await,
        Fault::Pause => process::pause(strike).await,
        Fault::Majority => links::majority(strike).await,
        Fault::LeaderAlone => links::leader_alone(strike).await,
        Fault::OneWay => links::one_way(strike).await,
        Fault::Bridge => links::bridge(strike).await,
        Fault::Delay => links::delay(strike).await,
        Fault::Loss => links::loss(strike).await,
        Fault::ClientCut => links::client_cut(strike).await,
        Fault::SlowDisk => disk::slow(strike).await,
        Fault::SyncError => disk::sync_error(strike).await,
        Fault::DiskFull => disk::full(strike).await,
        Fault::ClockJump => clock::jump(strike).await,
        Fault::Replace => operator::replace(strike).await,
        Fault::Learner => operator::learner(strike).await,
        Fault::MoveLeader => operator::move_leader(strike).await,
        Fault::Compact => operator::compact(strike).await,
        Fault::CatchUp => operator::catch_up(strike).await,
    }
}

impl Strike {
    /// The leader in half of the cases, else anybody.
    async fn victim(&mut self) -> Result<Rc<Member>, String> {
        if self.random.random_bool(0.5)
            && let Some(leader) = self.cluster.leader().await
        {
            return Ok(leader);
        }
        self.cluster.members().choose(&mut self.random).cloned().ok_or_else(|| "there is no member".into())
    }

    /// Lets the fault last.
    async fn last(&self) {
        coffer_runtime::sleep(self.hold).await;
    }
}
