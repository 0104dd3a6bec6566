//! One run: a new cluster, load, faults, rest, and the history of it all.

use super::checker::{Verdict, check};
use super::cluster::Cluster;
use super::faults::{self, Strike};
use super::history::*;
use super::load::{self, CLIENTS, Recorder, pair_of, range_of};
use super::member::Member;
use super::plan::{Plan, step_text};
use super::watchers::{self, Log, Wanted};
use coffer_core::Error;
use coffer_core::request::RangeRequest;
use coffer_runtime::local::{self, LocalTask, spawn};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Load before the first fault, and after each.
const CALM: Duration = Duration::from_millis(1500);
/// A run with fewer answers a second before the first fault shows nothing.
pub const RATE_MIN: f64 = 300.0;
/// Clients of leases, numbered from here on.
const LEASES: std::ops::Range<u32> = 100..104;
const COMPACTOR: u32 = 200;
/// The last write of a run, by which watchers know the end.
const LAST: u32 = 300;
const COMPACT_INTERVAL: Duration = Duration::from_millis(1700);
/// How long the end of a run may wait for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a run.
#[derive(Debug, Default)]
pub struct Ran {
    /// What was seen.
    pub history: History,
    /// What is to be said of it.
    pub verdict: Verdict,
    /// Answers a second before the first fault.
    pub rate: f64,
    /// How often each fault struck.
    pub struck: BTreeMap<String, u64>,
    /// Which steps struck, by their text.
    pub steps: BTreeMap<String, u64>,
    /// What members or the cluster did not bear; a violation each.
    pub failures: Vec<String>,
    /// From the end of each fault to the cluster's being whole.
    pub recoveries: Vec<Duration>,
}

impl Ran {
    /// Whether there was too little load for it to count.
    pub fn is_void(&self) -> bool {
        self.rate < RATE_MIN
    }

    /// Broken promises.
    pub fn violations(&self) -> usize {
        self.verdict.violations.len() + self.failures.len()
    }
}

/// Runs a plan in an empty directory.
///
/// # Errors
/// The cluster could not even be started, or its end not be seen.
pub fn run(plan: &Plan, program: &Path, dir: &Path, tell: &mut dyn FnMut(&str)) -> Result<Ran, String> {
    local::block_on(Run::new(plan, program, dir).go(tell))
}

struct Run<'a> {
    plan: &'a Plan,
    program: PathBuf,
    dir: PathBuf,
    recorder: Rc<Recorder>,
    random: StdRng,
    ran: Ran,
    logs: Vec<Log>,
    guests: Rc<RefCell<Vec<Log>>>,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, program: &Path, dir: &Path) -> Self {
        Self {
            plan,
            program: program.into(),
            dir: dir.into(),
            recorder: Recorder::start(),
            random: StdRng::seed_from_u64(plan.seed ^ 0xc0ff_ee00),
            ran: Ran::default(),
            logs: Vec::new(),
            guests: Rc::default(),
        }
    }

    async fn go(mut self, tell: &mut dyn FnMut(&str)) -> Result<Ran, String> {
        let cluster = Rc::new(Cluster::start(self.plan, &self.program, &self.dir).await?);
        let rooms = faults::prepare(&cluster)?;
        cluster.start_all().await?;
        self.watch(&cluster);
        let clients = self.clients(&cluster);
        let before = (self.recorder.answered(), Instant::now());
        coffer_runtime::sleep(CALM).await;
        self.ran.rate = (self.recorder.answered() - before.0) as f64 / before.1.elapsed().as_secs_f64();
        for step in &self.plan.steps.clone() {
            if self.ran.is_void() {
                break;
            }
            self.strike(&cluster, step, tell).await;
            if !self.ran.failures.is_empty() {
                break;
            }
            coffer_runtime::sleep(CALM).await;
        }
        self.recorder.stop();
        for client in clients {
            // It panicked, then: what it wrote down counts.
            if let Err(error) = client.await {
                self.ran.failures.push(format!("a client: {error}"));
            }
        }
        if self.ran.failures.is_empty()
            && let Err(error) = self.rest(&cluster).await
        {
            self.ran.failures.push(error);
        }
        drop(cluster);
        drop(rooms);
        self.judge();
        Ok(self.ran)
    }

    /// Watchers that stay: the first sees everything, and two of each member something.
    fn watch(&mut self, cluster: &Rc<Cluster>) {
        let everything = Wanted { keys: Keys::all(), from: 1, before: true, progress: true };
        let mut wanted = vec![(cluster.members(), everything)];
        for (number, member) in cluster.members().into_iter().enumerate() {
            let new = Wanted { keys: Keys::all(), from: 0, before: true, progress: number % 2 == 0 };
            let some =
                Wanted { keys: Keys::one(&format!("k{number}")), from: 1, before: false, progress: false };
            wanted.push((vec![member.clone()], new));
            wanted.push((vec![member], some));
        }
        for (number, (members, wanted)) in wanted.into_iter().enumerate() {
            let log = watchers::log(u32::try_from(number).unwrap_or(0), &wanted);
            self.logs.push(log.clone());
            spawn(watchers::watch(cluster.clone(), self.recorder.clone(), members, wanted, log));
        }
    }

    fn clients(&mut self, cluster: &Rc<Cluster>) -> Vec<LocalTask<()>> {
        let recorder = || self.recorder.clone();
        let mut tasks = Vec::new();
        for number in 0..CLIENTS {
            tasks.push(spawn(load::work(cluster.clone(), recorder(), number, self.random.random())));
        }
        for number in LEASES {
            tasks.push(spawn(load::lease(cluster.clone(), recorder(), number, self.random.random())));
        }
        tasks.push(spawn(load::compact(cluster.clone(), recorder(), COMPACTOR, COMPACT_INTERVAL)));
        let guests = watchers::guests(cluster.clone(), recorder(), self.guests.clone(), self.random.random());
        tasks.push(spawn(guests));
        tasks
    }

    async fn strike(&mut self, cluster: &Rc<Cluster>, step: &[faults::Fault], tell: &mut dyn FnMut(&str)) {
        let from = self.recorder.now();
        let strikes = step.iter().map(|fault| {
            let strike = Strike {
                cluster: cluster.clone(),
                recorder: self.recorder.clone(),
                random: StdRng::seed_from_u64(self.random.random()),
                hold: Duration::from_millis(self.random.random_range(1000..4000)),
            };
            faults::strike(*fault, strike)
        });
        let strikes: Vec<_> = strikes.collect();
        let mut told = Vec::new();
        *self.ran.steps.entry(step_text(step)).or_default() += 1;
        for (fault, outcome) in step.iter().zip(join_all(strikes).await) {
            *self.ran.struck.entry(fault.name().into()).or_default() += 1;
            match outcome {
                Ok(text) => told.push(format!("{fault} ({text})")),
                Err(error) => self.ran.failures.push(format!("{fault}: {error}")),
            }
        }
        let healed = Instant::now();
        if let Err(error) = cluster.wait_whole().await {
            self.ran.failures.push(format!("after {}: {error}", told.join(" and ")));
        }
        self.ran.recoveries.push(healed.elapsed());
        let what = told.join(" and ");
        tell(&format!("  {what}, whole after {} ms", healed.elapsed().as_millis()));
        self.ran.history.disturbances.push(Disturbance { what, from, until: self.recorder.now() });
    }

    /// Lets leases end and watchers catch up, and looks at every member.
    async fn rest(&mut self, cluster: &Rc<Cluster>) -> Result<(), String> {
        cluster.wait_whole().await?;
        let text = |error: Error| error.to_string();
        let client = cluster.client(&cluster.members(), PATIENCE).await.map_err(text)?;
        let deadline = Instant::now() + PATIENCE;
        let leases =
            RangeRequest { count_only: true, ..RangeRequest::new(range_of(&Keys::prefixed("lease/"))) };
        // A lease that never ends is seen by its keys, and by the time.
        while client.range(leases.clone()).await.map_err(text)?.count > 0 && Instant::now() < deadline {
            coffer_runtime::sleep(Duration::from_millis(50)).await;
        }
        let value = self.recorder.fresh_value();
        let keys = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "x0"];
        let then = keys.map(|key| Step::Put { key: key.into(), value: format!("{value}-{key}") });
        let last = Action::Txn { when: Vec::new(), then: then.into(), otherwise: Vec::new() };
        let outcome = self.recorder.perform(LAST, &client, last).await;
        let Outcome::Ok { revision, .. } = outcome else {
            return Err(format!("the last write of a whole cluster: {outcome:?}"));
        };
        watchers::catch_up(&self.logs, revision).await;
        for log in &self.logs {
            log.borrow_mut().to_the_end = true;
        }
        self.ran.history.at_rest = look_at_all(cluster, revision).await?;
        Ok(())
    }

    fn judge(&mut self) {
        let history = &mut self.ran.history;
        history.setting = Setting { seed: self.plan.seed, election_ms: self.plan.election_ms };
        history.operations = self.recorder.operations.take();
        let guests = self.guests.borrow();
        history.watched = self.logs.iter().chain(guests.iter()).map(|log| log.borrow().clone()).collect();
        self.ran.verdict = check(history);
    }
}

/// What every member holds at a revision. Writes whose clients have given up may still happen after it.
async fn look_at_all(cluster: &Cluster, revision: i64) -> Result<Vec<AtRest>, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut all = Vec::new();
        for member in cluster.members() {
            all.push(
                look_at(cluster, &member, revision)
                    .await
                    .map_err(|error| format!("{}: {error}", member.name))?,
            );
        }
        // A compaction whose client has given up may have come in between: hashes tell only what is left.
        if all.iter().all(|one| one.compacted == all[0].compacted) || Instant::now() > deadline {
            return Ok(all);
        }
    }
}

async fn look_at(cluster: &Cluster, member: &Rc<Member>, revision: i64) -> Result<AtRest, Error> {
    let client = cluster.client(std::slice::from_ref(member), PATIENCE).await?;
    let range = client.range(RangeRequest { revision, ..RangeRequest::new(range_of(&Keys::all())) }).await?;
    let hash = client.hash_kv(revision).await?;
    Ok(AtRest {
        member: member.name.clone(),
        revision,
        hash: hash.hash,
        compacted: hash.compact_revision,
        pairs: range.kvs.iter().map(pair_of).collect(),
    })
}
