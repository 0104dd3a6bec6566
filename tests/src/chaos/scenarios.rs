//! Stories in which another Raft library lost what it had acknowledged, read what was old, forked, or found no leader. Each is
//! played with real daemons, and must end well.

use super::cluster::Cluster;
use super::faults::Strike;
use super::history::{Action, Answer, Keys, Outcome};
use super::load::Recorder;
use super::member::Member;
use super::network::End;
use super::plan::Plan;
use coffer_runtime::local::block_on;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a request may take that is to fail.
const SHORT: Duration = Duration::from_secs(3);
/// How long one may take that is to succeed.
const LONG: Duration = Duration::from_secs(30);

/// The stories, by name, and with how many members they begin.
pub const SCENARIOS: &[(&str, usize)] =
    &[("acknowledged-alone", 1), ("stale-read", 3), ("fork", 3), ("longer-older-log", 3)];

/// Plays a story in an empty directory.
///
/// # Errors
/// What went wrong.
pub fn play(name: &str, plan: &Plan, program: &Path, dir: &Path) -> Result<(), String> {
    block_on(async {
        let story = Story {
            cluster: Rc::new(Cluster::start(plan, program, dir).await?),
            recorder: Recorder::start(),
        };
        story.cluster.start_all().await?;
        match name {
            "acknowledged-alone" => story.acknowledged_alone().await,
            "stale-read" => story.stale_read().await,
            "fork" => story.fork().await,
            "longer-older-log" => story.longer_older_log().await,
            other => Err(format!("there is no story `{other}`")),
        }
    })
}

struct Story {
    cluster: Rc<Cluster>,
    recorder: Rc<Recorder>,
}

type Told = Result<(), String>;

impl Story {
    /// A member that has led since it was alone does not acknowledge alone what it is asked after it has grown to three and
    /// was cut off.
    async fn acknowledged_alone(&self) -> Told {
        let first = self.only()?;
        self.put(&first, "before", LONG).await?;
        let strike = Strike {
            cluster: self.cluster.clone(),
            recorder: self.recorder.clone(),
            random: StdRng::seed_from_u64(0),
            hold: Duration::ZERO,
        };
        for _ in 0..2 {
            let member = strike.add(false).await?;
            strike.wait_vote(&member).await?;
        }
        self.isolate(&first, true);
        // Of another key: it may yet happen, once the member can tell somebody.
        let action = Action::Put { key: "alone".into(), value: "alone".into(), lease: 0 };
        refused("a write to a leader that was cut off", self.ask(&first, action, SHORT).await)?;
        let other = self.other_than(&first)?;
        self.put(&other, "together", LONG).await?;
        self.isolate(&first, false);
        self.all_read("together").await
    }

    /// A leader that was cut off reads nothing old.
    async fn stale_read(&self) -> Told {
        let leader = self.cluster.wait_leader().await?;
        self.put(&leader, "old", LONG).await?;
        self.isolate(&leader, true);
        let other = self.other_than(&leader)?;
        self.put(&other, "new", LONG).await?;
        refused("a linearizable read of a leader that was cut off", self.get(&leader, SHORT).await)?;
        self.isolate(&leader, false);
        self.all_read("new").await
    }

    /// A leader that comes back from a crash with an entry that nobody else has does not apply it.
    async fn fork(&self) -> Told {
        let leader = self.cluster.wait_leader().await?;
        self.put(&leader, "old", LONG).await?;
        self.isolate(&leader, true);
        refused("a write to a leader that was cut off", self.put(&leader, "mine", SHORT).await)?;
        leader.kill().await;
        let other = self.other_than(&leader)?;
        self.put(&other, "new", LONG).await?;
        self.isolate(&leader, false);
        self.cluster.run(&leader).await?;
        self.all_read("new").await
    }

    /// Of two members one has the longer log and the other the newer one: the latter leads.
    async fn longer_older_log(&self) -> Told {
        let leader = self.cluster.wait_leader().await?;
        self.put(&leader, "old", LONG).await?;
        self.isolate(&leader, true);
        for number in 0..8 {
            let written = self.put(&leader, &format!("mine {number}"), SHORT / 10).await;
            refused("a write to a leader that was cut off", written)?;
        }
        let other = self.other_than(&leader)?;
        self.put(&other, "new", LONG).await?;
        let next = self.next_leader(&leader).await?;
        // Its log stays; what it would still propose for its clients goes.
        leader.kill().await;
        next.kill().await;
        self.isolate(&leader, false);
        self.cluster.run(&leader).await?;
        // Two of three are there.
        let last = self
            .cluster
            .members()
            .into_iter()
            .find(|it| it.number != leader.number && it.number != next.number);
        let last = last.ok_or("no third member")?;
        self.put(&last, "newest", LONG).await?;
        self.cluster.run(&next).await?;
        self.all_read("newest").await
    }

    fn only(&self) -> Result<Rc<Member>, String> {
        self.cluster.members().first().cloned().ok_or_else(|| "there is no member".into())
    }

    fn other_than(&self, member: &Member) -> Result<Rc<Member>, String> {
        let other = self.cluster.members().into_iter().find(|other| other.number != member.number);
        other.ok_or_else(|| "there is no other member".into())
    }

    /// Who leads in the place of one that was cut off.
    async fn next_leader(&self, former: &Member) -> Result<Rc<Member>, String> {
        let deadline = Instant::now() + LONG;
        loop {
            match self.cluster.leader().await {
                Some(leader) if leader.number != former.number => return Ok(leader),
                _ if Instant::now() > deadline => return Err("nobody leads in its place".into()),
                _ => coffer_runtime::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Cuts a member off from all others, or connects it again.
    fn isolate(&self, member: &Member, cut: bool) {
        for other in self.cluster.members().iter().filter(|other| other.number != member.number) {
            let ends = [End::Member(member.number), End::Member(other.number)];
            self.cluster.network.change(ends[0], ends[1], |rule| rule.cut = cut);
            self.cluster.network.change(ends[1], ends[0], |rule| rule.cut = cut);
        }
    }

    async fn ask(&self, member: &Rc<Member>, action: Action, patience: Duration) -> Result<Answer, String> {
        let client = self.cluster.client(std::slice::from_ref(member), patience).await;
        let client = client.map_err(|error| error.to_string())?;
        match self.recorder.perform(0, &client, action).await {
            Outcome::Ok { answer, .. } => Ok(answer),
            other => Err(format!("{}: {other:?}", member.name)),
        }
    }

    async fn put(&self, member: &Rc<Member>, value: &str, patience: Duration) -> Result<Answer, String> {
        let action = Action::Put { key: "story".into(), value: value.into(), lease: 0 };
        self.ask(member, action, patience).await
    }

    async fn get(&self, member: &Rc<Member>, patience: Duration) -> Result<Answer, String> {
        let action = Action::Read { keys: Keys::one("story"), serializable: false, revision: 0 };
        self.ask(member, action, patience).await
    }

    /// Every member reads this, and they hold the same.
    async fn all_read(&self, value: &str) -> Told {
        self.cluster.wait_whole().await?;
        let mut hashes = Vec::new();
        for member in self.cluster.members() {
            let answer = self.get(&member, LONG).await?;
            let is_right =
                matches!(&answer, Answer::Read { pairs } if pairs.len() == 1 && pairs[0].value == value);
            if !is_right {
                return Err(format!("{} reads {answer:?}, and not {value:?}", member.name));
            }
            let client = self.cluster.client(&[member], LONG).await.map_err(|error| error.to_string())?;
            let hash = client.hash_kv(0).await.map_err(|error| error.to_string())?;
            hashes.push((hash.hash_revision, hash.hash));
        }
        match hashes.iter().all(|hash| *hash == hashes[0]) {
            true => Ok(()),
            false => Err(format!("members differ: {hashes:?}")),
        }
    }
}

fn refused(what: &str, answer: Result<Answer, String>) -> Told {
    match answer {
        Err(_) => Ok(()),
        Ok(answer) => Err(format!("{what} is answered: {answer:?}")),
    }
}
