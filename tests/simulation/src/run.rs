//! One run: a cluster, load, faults, rest, and what is to be said of it all.

use crate::clients;
use crate::falsify::falsify;
use crate::faults::Strike;
use crate::machine::{self, Random};
use crate::plan::Plan;
use crate::recorder::{Log, now};
use crate::watchers::{self, Watcher, catch_up};
use crate::world::{RECOVERY, World};
use coffer_core::Error;
use coffer_core::request::RangeRequest;
use coffer_runtime::Executor;
use coffer_tests::chaos::checker::{Verdict, check};
use coffer_tests::chaos::history::*;
use coffer_tests::chaos::load::{pair_of, range_of};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clients of leases, numbered from here on.
const LEASES: std::ops::Range<u32> = 100..102;
const COMPACTOR: u32 = 200;
/// The last write of a run, by which watchers know the end.
const LAST: u32 = 300;

/// What came of a run, as one line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ran {
    /// Its seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub trace: String,
    /// The time that passed in it, in milliseconds.
    pub virtual_ms: u64,
    /// How often it was a thread's turn.
    pub turns: u64,
    /// Requests, and how many were answered.
    pub operations: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Revisions that were explained, reads and changes that were compared, leases that were timed.
    pub checked: [u64; 4],
    /// Messages between members, snapshots that arrived, and lives that began.
    pub moved: [u64; 3],
    /// How often each fault struck.
    pub struck: BTreeMap<String, u64>,
    /// Broken promises.
    pub violations: Vec<String>,
}

/// Runs a seed on this machine, which was started with it. `tell` hears what happens; `keep` gets the history.
pub fn run(seed: u64, tell: &mut (dyn FnMut(String) + Send), keep: impl FnOnce(&History)) -> Ran {
    let mut random = Random::new(seed ^ 0x5eed);
    let plan = Plan::of(&mut random);
    tell(format!("{plan:?}"));
    let executor = Executor::start("world", 1).expect("the machine has threads");
    let world = World::new(plan, executor.handle(), random.fork());
    let mut run = Run {
        world: world.clone(),
        random,
        logs: Vec::new(),
        ran: Ran::default(),
        history: History::default(),
    };
    executor.block_on(async {
        run.go(&mut *tell).await;
    });
    if !world.failures().is_empty() {
        tell(machine::threads());
    }
    let Run { mut ran, mut history, .. } = run;
    let election_ms = world.plan.config.election_timeout.as_millis() as u64;
    history.setting = Setting { seed, election_ms };
    (history.operations, history.watched) = world.recorder.take();
    keep(&history);
    let Verdict { violations, revisions, reads, changes, leases } = check(&history);
    ran.checked = [revisions, reads, changes, leases];
    ran.violations = world.failures();
    ran.violations.extend(violations.iter().map(ToString::to_string));
    ran.seed = seed;
    ran.operations = history.operations.len() as u64;
    ran.answered = history.operations.iter().filter(|it| it.answer().is_some()).count() as u64;
    let (messages, snapshots) = world.wire.counts();
    ran.moved = [messages, snapshots, world.starts()];
    ran.virtual_ms = machine::now().as_millis() as u64;
    ran.turns = machine::turns();
    ran.trace = format!("{:016x}", machine::trace_hash());
    ran
}

struct Run {
    world: Arc<World>,
    random: Random,
    logs: Vec<Log>,
    ran: Ran,
    history: History,
}

impl Run {
    async fn go(&mut self, tell: &mut (dyn FnMut(String) + Send)) {
        let world = self.world.clone();
        world.found().await;
        if !world.wait_whole().await {
            return;
        }
        self.watch();
        self.clients();
        self.calm().await;
        for step in world.plan.steps.clone() {
            let from = now();
            let strikes: Vec<_> = step
                .iter()
                .map(|fault| {
                    let hold = Duration::from_millis(self.random.within(300..5000));
                    Strike { world: world.clone(), random: self.random.fork(), hold }.go(*fault)
                })
                .collect();
            let told = join_all(strikes).await;
            let told: Vec<String> =
                step.iter().zip(told).map(|(fault, told)| format!("{fault} ({told})")).collect();
            step.iter().for_each(|fault| *self.ran.struck.entry(fault.to_string()).or_default() += 1);
            let whole = world.wait_whole().await;
            let what = told.join(" and ");
            tell(format!("{from}: {what}, whole at {}", now()));
            self.history.disturbances.push(Disturbance { what, from, until: now() });
            if !whole || !world.failures().is_empty() {
                break;
            }
            self.calm().await;
        }
        world.recorder.stop();
        if world.failures().is_empty()
            && let Err(error) = self.rest().await
        {
            world.fail("NotAtRest", error);
        }
        if world.plan.falsifies && world.failures().is_empty() {
            falsify(&world, &mut self.random).await;
        }
    }

    async fn calm(&mut self) {
        coffer_runtime::sleep(Duration::from_millis(self.random.within(300..2500))).await;
    }

    /// Watchers that stay: the first sees everything, and two of each member something.
    fn watch(&mut self) {
        let world = self.world.clone();
        let mut watch = |keys: Keys, from, before, pinned, progress| {
            let log = world.recorder.log(keys, from, before);
            self.logs.push(log.clone());
            let watcher = Watcher { log, pinned, progress, stays: true };
            world.spawn(watchers::watch(world.clone(), watcher, self.random.fork()));
        };
        watch(Keys::all(), 1, true, None, true);
        for member in 0..3 {
            watch(Keys::all(), 0, true, Some(member), member % 2 == 0);
        }
        watch(Keys::one("k1"), 1, false, Some(0), false);
        world.spawn(watchers::guests(world.clone(), self.random.fork()));
    }

    fn clients(&mut self) {
        let world = &self.world;
        for number in 0..world.plan.clients {
            world.spawn(clients::work(world.clone(), number, self.random.fork()));
        }
        for number in LEASES {
            world.spawn(clients::lease(world.clone(), number, self.random.fork()));
        }
        world.spawn(clients::compact(world.clone(), COMPACTOR, self.random.fork()));
    }

    /// Lets leases end and watchers catch up, and looks at every member.
    async fn rest(&mut self) -> Result<(), String> {
        let world = self.world.clone();
        // What clients are at, ends.
        coffer_runtime::sleep(Duration::from_secs(5)).await;
        if !world.wait_whole().await {
            return Ok(());
        }
        let deadline = Instant::now() + RECOVERY;
        let leases =
            RangeRequest { count_only: true, ..RangeRequest::new(range_of(&Keys::prefixed("lease/"))) };
        loop {
            let Some(life) = world.any(&mut self.random, None) else {
                return Err("nobody lives at rest".into());
            };
            let request = leases.clone();
            let left = life
                .call(move |node| async move { node.range(request).await.map(|found| found.count) })
                .await;
            // A lease that never ends is seen by its keys, and by the time.
            match left {
                Some(Ok(0)) => break,
                _ if Instant::now() > deadline => break,
                _ => coffer_runtime::sleep(Duration::from_millis(50)).await,
            }
        }
        let Some(life) = world.any(&mut self.random, None) else { return Err("nobody lives at rest".into()) };
        let value = world.recorder.fresh_value();
        let then = ["k0", "k1", "k2", "k3", "x0"]
            .map(|key| Step::Put { key: key.into(), value: format!("{value}-{key}") });
        let last = Action::Txn { when: Vec::new(), then: then.into(), otherwise: Vec::new() };
        let outcome = world.recorder.perform(LAST, &life, last, RECOVERY).await;
        let Outcome::Ok { revision, .. } = outcome else {
            return Err(format!("the last write of a whole cluster: {outcome:?}"));
        };
        catch_up(&self.logs, revision, RECOVERY).await;
        for log in &self.logs {
            log.lock().to_the_end = true;
        }
        if !world.wait_whole().await {
            return Ok(());
        }
        self.history.at_rest = self.look_at_all(revision).await?;
        for life in world.lives() {
            let alarms = life.call(|node| async move { node.alarms() }).await.unwrap_or_default();
            if !alarms.is_empty() {
                return Err(format!("member {} shows alarms: {alarms:?}", life.member));
            }
        }
        Ok(())
    }

    /// What every member holds at a revision. A compaction whose client has given up may come in between: hashes tell only
    /// what is left.
    async fn look_at_all(&self, revision: i64) -> Result<Vec<AtRest>, String> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            let mut all = Vec::new();
            for life in self.world.lives() {
                let looked = life.call(move |node| async move {
                    let everything = RangeRequest { revision, ..RangeRequest::new(range_of(&Keys::all())) };
                    let range = node.range(everything).await?;
                    Ok::<_, Error>((range, node.hash_kv(revision).await?))
                });
                let looked = looked.await.ok_or_else(|| format!("member {} ended at rest", life.member))?;
                let (range, hash) = looked.map_err(|error| format!("member {}: {error}", life.member))?;
                all.push(AtRest {
                    member: life.member.to_string(),
                    revision,
                    hash: hash.hash,
                    compacted: hash.compact_revision,
                    pairs: range.kvs.iter().map(pair_of).collect(),
                });
            }
            if all.iter().all(|one| one.compacted == all[0].compacted) || Instant::now() > deadline {
                return Ok(all);
            }
            coffer_runtime::sleep(Duration::from_millis(50)).await;
        }
    }
}
