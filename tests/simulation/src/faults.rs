//! Faults: what is done to the cluster, and undone again.

use crate::clients::compact_once;
use crate::life::{Life, described};
use crate::machine::{self, Random};
use crate::plan::Fault;
use crate::world::{End, Known, World};
use coffer_core::consensus::MemberChange;
use coffer_tests::chaos::history::Action;
use coffer_tests::chaos::load::large_value;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How clients of an operator are called in histories.
const OPERATOR: u32 = 900;

/// A fault that strikes.
pub struct Strike {
    /// Where.
    pub world: Arc<World>,
    /// What it draws from.
    pub random: Random,
    /// How long it holds.
    pub hold: Duration,
}

impl Strike {
    /// Strikes and, where that can be, heals. Returns whom it struck.
    pub async fn go(mut self, fault: Fault) -> String {
        match fault {
            Fault::Kill => self.down(End::Process).await,
            Fault::Power => self.down(End::Power).await,
            Fault::PowerAll => self.power_all().await,
            Fault::Pause => self.pause().await,
            Fault::Minority => self.minority().await,
            Fault::LeaderAlone => self.leader_alone().await,
            Fault::OneWay => self.one_way().await,
            Fault::Bridge => self.bridge().await,
            Fault::Delay => self.delay().await,
            Fault::Loss => self.loss().await,
            Fault::SlowDisk => self.slow_disk().await,
            Fault::SyncError => self.sync_error().await,
            Fault::DiskFull => self.disk_full().await,
            Fault::ClockJump => self.clock_jump().await,
            Fault::Replace => self.replace().await,
            Fault::Learner => self.learner().await,
            Fault::MoveLeader => self.move_leader().await,
            Fault::Compact => self.compact().await,
            Fault::CatchUp => self.catch_up().await,
        }
    }

    async fn hold(&self) {
        coffer_runtime::sleep(self.hold).await;
    }

    /// A member: the leader as often as not.
    async fn victim(&mut self) -> Option<u64> {
        let members = self.world.members();
        if self.random.chance(500)
            && let Some(leader) = self.world.leader().await.filter(|leader| members.contains(leader))
        {
            return Some(leader);
        }
        (!members.is_empty()).then(|| *self.random.choose(&members))
    }

    async fn victim_life(&mut self) -> Option<Arc<Life>> {
        let member = self.victim().await?;
        self.world.life(member)
    }

    async fn down(&mut self, end: End) -> String {
        let Some(member) = self.victim().await else { return "nobody".into() };
        self.world.kill(member, end);
        if self.random.chance(700) {
            self.hold().await;
        }
        self.world.start(member).await;
        member.to_string()
    }

    async fn power_all(&mut self) -> String {
        let members = self.world.members();
        members.iter().for_each(|member| self.world.kill(*member, End::Power));
        if self.random.chance(500) {
            self.hold().await;
        }
        for member in members {
            self.world.start(member).await;
        }
        "all".into()
    }

    async fn pause(&mut self) -> String {
        let Some(life) = self.victim_life().await else { return "nobody".into() };
        machine::freeze(life.group);
        self.hold().await;
        machine::thaw(life.group);
        life.member.to_string()
    }

    async fn cut(&self, ways: Vec<(u64, u64)>) {
        self.world.wire.change(|weather| weather.cut.extend(ways.iter().copied()));
        self.hold().await;
        self.world.wire.change(|weather| weather.cut.retain(|way| !ways.contains(way)));
    }

    async fn cut_off(&self, some: &[u64]) -> String {
        let members = self.world.members();
        let others = || members.iter().filter(|member| !some.contains(member));
        let ways = some.iter().flat_map(|one| others().flat_map(|other| [(*one, *other), (*other, *one)]));
        self.cut(ways.collect()).await;
        format!("{some:?}")
    }

    async fn minority(&mut self) -> String {
        let mut members = self.world.members();
        let count = self.random.below((members.len() as u64).div_ceil(2)).max(1) as usize;
        while members.len() > count {
            let at = self.random.below(members.len() as u64) as usize;
            members.remove(at);
        }
        self.cut_off(&members).await
    }

    async fn leader_alone(&mut self) -> String {
        let Some(leader) = self.world.leader().await else { return "nobody".into() };
        self.cut_off(&[leader]).await
    }

    async fn one_way(&mut self) -> String {
        let Some(member) = self.victim().await else { return "nobody".into() };
        let hears = self.random.chance(500);
        let others = self.world.members().into_iter().filter(|other| *other != member);
        let ways = others.map(|other| if hears { (member, other) } else { (other, member) });
        self.cut(ways.collect()).await;
        format!("{member} {}", if hears { "is not heard" } else { "hears nobody" })
    }

    async fn bridge(&mut self) -> String {
        let members = self.world.members();
        let Some(bridge) = self.victim().await else { return "nobody".into() };
        let sides: Vec<(u64, bool)> =
            members.into_iter().map(|member| (member, self.random.chance(500))).collect();
        let ways = sides.iter().flat_map(|(one, left)| {
            let apart =
                move |(other, side): &&(u64, bool)| side != left && *other != bridge && *one != bridge;
            sides.iter().filter(apart).map(|(other, _)| (*one, *other))
        });
        let ways = ways.collect();
        self.cut(ways).await;
        bridge.to_string()
    }

    async fn delay(&mut self) -> String {
        let least = self.random.within(500..40_000);
        let (late, doubled) = (self.random.below(150), self.random.below(200));
        let before = (100, 400);
        self.world.wire.change(|weather| {
            weather.delay_us = (least / 2, least * 2);
            weather.late = (late, 400_000);
            weather.doubled = doubled;
        });
        self.hold().await;
        self.world.wire.change(|weather| {
            weather.delay_us = before;
            weather.late = (0, 0);
            weather.doubled = 0;
        });
        format!("about {least} us")
    }

    async fn loss(&mut self) -> String {
        let lost = *self.random.choose(&[10, 60, 250]);
        self.world.wire.change(|weather| weather.lost = lost);
        self.hold().await;
        self.world.wire.change(|weather| weather.lost = 0);
        format!("{lost} of a thousand")
    }

    async fn slow_disk(&mut self) -> String {
        let Some(life) = self.victim_life().await else { return "nobody".into() };
        let sync = Duration::from_millis(self.random.within(20..300));
        life.disk.set_sync_time(sync);
        self.hold().await;
        life.disk.set_sync_time(Duration::from_micros(self.world.plan.sync_us));
        format!("{} {sync:?}", life.member)
    }

    /// The next sync fails, or something else; after it the member must have ended, and gets another life.
    async fn sync_error(&mut self) -> String {
        let Some(life) = self.victim_life().await else { return "nobody".into() };
        let member = life.member;
        self.world.excuse(member);
        let at = life.disk.counters().operations + 1 + self.random.below(6);
        life.disk.arm(at, coffer_backends::io::Fault::Eio);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !life.disk.fired() && !life.is_over() && Instant::now() < deadline {
            coffer_runtime::sleep(Duration::from_millis(10)).await;
        }
        coffer_runtime::sleep(Duration::from_millis(self.random.below(500))).await;
        life.disk.disarm();
        // An error of something that can be tried again, or of what nobody needs, is none of the member's.
        if !life.is_over() {
            self.world.kill(member, End::Power);
        }
        self.world.start(member).await;
        format!("{member}")
    }

    async fn disk_full(&mut self) -> String {
        let Some(life) = self.victim_life().await else { return "nobody".into() };
        let room = self.random.below(96 << 10);
        life.disk.set_capacity(Some(life.disk.bytes() + room));
        self.hold().await;
        life.disk.set_capacity(None);
        life.member.to_string()
    }

    async fn clock_jump(&mut self) -> String {
        let Some(life) = self.victim_life().await else { return "nobody".into() };
        for _ in 0..3 {
            let day = 86_400_000_000_000;
            machine::set_wall_offset(life.group, self.random.below(2 * day) as i64 - day as i64);
            coffer_runtime::sleep(self.hold / 3).await;
        }
        life.member.to_string()
    }

    /// Adds a learner and starts it; nothing if the cluster did not take it.
    async fn add(&self) -> Option<u64> {
        let member = self.world.add_disk();
        let change = MemberChange::AddLearner { member, description: described(member) };
        if !self.world.change(&change, |known: &Known| known.0.contains_key(&member)).await {
            return None;
        }
        self.world.start(member).await;
        Some(member)
    }

    /// Gives a member its vote, unless another fault removes it meanwhile.
    async fn promote(&self, member: u64) -> bool {
        let change = MemberChange::Promote { member };
        let votes = |known: &Known| known.0.get(&member) == Some(&true);
        let goes = |known: &Known| !known.0.contains_key(&member) && self.world.is_excused(member);
        self.world.change(&change, |known: &Known| votes(known) || goes(known)).await
    }

    async fn remove(&mut self, member: u64) -> bool {
        self.world.excuse(member);
        let change = MemberChange::Remove { member };
        let removed = self.world.change(&change, |known: &Known| !known.0.contains_key(&member)).await;
        // It may go on for a while without knowing it.
        if self.random.chance(500) {
            self.hold().await;
        }
        self.world.forget(member);
        removed
    }

    /// A member comes, and another goes for good. A cluster that is too small to lose one grows.
    async fn replace(&mut self) -> String {
        let before = self.world.members();
        let Some(member) = self.add().await else { return "not added".into() };
        if !self.promote(member).await {
            return format!("{member} not promoted");
        }
        if before.len() < 3 {
            let Some(third) = self.add().await else { return "not added".into() };
            self.promote(third).await;
            return format!("{member} and {third} come");
        }
        let gone = self.victim().await.filter(|gone| before.contains(gone)).unwrap_or(before[0]);
        self.remove(gone).await;
        format!("{member} for {gone}")
    }

    async fn learner(&mut self) -> String {
        let Some(member) = self.add().await else { return "not added".into() };
        coffer_runtime::sleep(self.hold / 2).await;
        if self.random.chance(700) && self.promote(member).await {
            coffer_runtime::sleep(self.hold / 2).await;
        }
        self.remove(member).await;
        member.to_string()
    }

    async fn move_leader(&mut self) -> String {
        let mut moves = 0;
        let until = Instant::now() + self.hold;
        while Instant::now() < until {
            let members = self.world.members();
            let to = *self.random.choose(&members);
            if let Some(leader) = self.world.leader().await
                && let Some(life) = self.world.life(leader)
            {
                let moved = life.call(move |node| async move { node.move_leader(to).await.is_ok() });
                moves += u32::from(moved.await == Some(true));
            }
            coffer_runtime::sleep(Duration::from_millis(self.random.within(50..800))).await;
        }
        format!("{moves} times")
    }

    async fn compact(&mut self) -> String {
        let until = Instant::now() + self.hold;
        while Instant::now() < until {
            compact_once(&self.world, OPERATOR, &mut self.random).await;
            coffer_runtime::sleep(Duration::from_millis(self.random.within(10..200))).await;
        }
        String::new()
    }

    /// A member is down or cut off while much is written and compacted.
    async fn catch_up(&mut self) -> String {
        let Some(member) = self.victim().await else { return "nobody".into() };
        let cut = self.random.chance(500);
        let others = self.world.members().into_iter().filter(|other| *other != member);
        let ways: Vec<(u64, u64)> = others.flat_map(|other| [(member, other), (other, member)]).collect();
        match cut {
            true => self.world.wire.change(|weather| weather.cut.extend(ways.iter().copied())),
            false => self.world.kill(member, End::Process),
        }
        for number in 0..self.random.within(10..40) {
            let lives = self.world.lives();
            let Some(life) = lives.iter().find(|life| life.member != member) else { break };
            let value = large_value(&self.world.recorder.fresh_value(), 3000);
            let put = Action::Put { key: format!("y{}", number % 4), value, lease: 0 };
            self.world.recorder.perform(OPERATOR + 1, life, put, Duration::from_secs(3)).await;
            if number % 8 == 7 {
                compact_once(&self.world, OPERATOR, &mut self.random).await;
                coffer_runtime::sleep(self.world.plan.config.flush_interval.min(self.hold) / 2).await;
            }
        }
        match cut {
            true => self.world.wire.change(|weather| weather.cut.retain(|way| !ways.contains(way))),
            false => self.world.start(member).await,
        }
        format!("{member} {}", if cut { "cut off" } else { "down" })
    }
}
