//! What a seed decides beforehand: the cluster, its timing, and which faults strike when.

use crate::machine::Random;
use coffer_backends::segment::Options;
use coffer_core::node::NodeConfig;
use std::fmt;
use std::time::Duration;

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process of a member is killed.
    Kill,
    /// The power of a member fails.
    Power,
    /// The power of all members fails.
    PowerAll,
    /// The threads of a member stand still for a while.
    Pause,
    /// A minority is cut off.
    Minority,
    /// The leader is cut off.
    LeaderAlone,
    /// A member hears nobody, or nobody hears it.
    OneWay,
    /// Two groups with one member in common.
    Bridge,
    /// Messages are late, overtake each other, and come twice.
    Delay,
    /// Messages are lost.
    Loss,
    /// Syncs take long.
    SlowDisk,
    /// A sync fails: the member must end.
    SyncError,
    /// A disk is full.
    DiskFull,
    /// A member's clock on the wall jumps.
    ClockJump,
    /// A member comes, and another goes for good.
    Replace,
    /// A learner comes, gets its vote and goes.
    Learner,
    /// The lead goes from hand to hand.
    MoveLeader,
    /// Compactions in quick succession.
    Compact,
    /// A member is away for longer than logs are kept.
    CatchUp,
}

/// All faults.
pub const FAULTS: [Fault; 19] = [
    Fault::Kill,
    Fault::Power,
    Fault::PowerAll,
    Fault::Pause,
    Fault::Minority,
    Fault::LeaderAlone,
    Fault::OneWay,
    Fault::Bridge,
    Fault::Delay,
    Fault::Loss,
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many members found the cluster.
    pub members: u64,
    /// Timing and limits.
    pub config: NodeConfig,
    /// How stores are opened.
    pub store: Options,
    /// How long a sync takes, in microseconds.
    pub sync_us: u64,
    /// Faults, one step after the other; those of one step strike together.
    pub steps: Vec<Vec<Fault>>,
    /// How many clients there are.
    pub clients: u32,
    /// Whether the state of a member is falsified at the end.
    pub falsifies: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(random: &mut Random) -> Self {
        let members = *random.choose(&[1, 3, 3, 3, 3, 3, 3, 5]);
        let (heartbeat, election) = *random.choose(&[(100, 1000), (50, 250), (50, 500)]);
        let config = NodeConfig {
            heartbeat_interval: Duration::from_millis(heartbeat),
            election_timeout: Duration::from_millis(election),
            patience: Duration::from_millis(*random.choose(&[1500, 3000, 7000])),
            compare_interval: Duration::from_millis(1000),
            watch_progress_interval: Duration::from_millis(1500),
            flush_bytes: *random.choose(&[4 << 10, 16 << 10, 64 << 10]),
            flush_interval: Duration::from_millis(*random.choose(&[300, 1500, 6000])),
            cache_bytes_max: *random.choose(&[4 << 10, 1 << 20]),
            ..NodeConfig::default()
        };
        let store = Options {
            log_file_bytes: *random.choose(&[32 << 10, 64 << 10, 256 << 10]),
            log_spares_max: 1,
            reserve_bytes_max: 64 << 10,
            ..Options::default()
        };
        let sync_us = *random.choose(&[100, 500, 3000]);
        let steps = random.within(3..6);
        let mut steps: Vec<Vec<Fault>> = (0..steps)
            .map(|_| {
                let several = if random.chance(300) { 2 } else { 1 };
                (0..several).map(|_| *random.choose(&FAULTS)).collect()
            })
            .collect();
        if members == 1 && random.chance(700) {
            // It grows to three, and then something happens.
            steps.insert(0, vec![Fault::Replace]);
            steps.insert(1, vec![Fault::LeaderAlone]);
        }
        let clients = random.within(3..6) as u32;
        let falsifies = members > 1 && random.chance(150);
        Self { members, config, store, sync_us, steps, clients, falsifies }
    }
}
