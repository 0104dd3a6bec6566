//! A cluster of daemons behind a network that can be broken.

use super::member::{Launch, Member, write_key};
use super::network::Network;
use super::plan::Plan;
use coffer_core::Error;
use coffer_core::request::{MembersResponse, StatusResponse};
use coffer_rpc::client::{Client, ClientConfig, ClientThread};
use futures_util::future::join_all;
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a cluster may take to be whole again once nothing disturbs it any more.
pub const RECOVERY: Duration = Duration::from_secs(60);
/// How long one look at a member may take.
const LOOK: Duration = Duration::from_millis(1500);

/// A cluster of daemons.
#[derive(Debug)]
pub struct Cluster {
    /// The plan.
    pub plan: Plan,
    /// The network.
    pub network: Rc<Network>,
    /// The thread of all clients.
    pub thread: ClientThread,
    dir: PathBuf,
    program: PathBuf,
    members: RefCell<Vec<Rc<Member>>>,
    /// How many there ever were.
    count: Cell<usize>,
}

impl Cluster {
    /// Starts all members with an empty store each.
    ///
    /// # Errors
    /// One does not start.
    pub async fn start(plan: &Plan, program: &Path, dir: &Path) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        write_key(&dir.join("key")).map_err(text)?;
        let network = Rc::new(Network::start(plan.seed).map_err(text)?);
        let cluster = Self {
            plan: plan.clone(),
            network,
            thread: ClientThread::start().map_err(|error| error.to_string())?,
            dir: dir.into(),
            program: program.into(),
            members: RefCell::default(),
            count: Cell::new(0),
        };
        let members: Vec<_> = (0..plan.size).map(|_| cluster.new_member()).collect::<Result<_, _>>()?;
        let entries: Vec<String> = members.iter().map(|member| member.entry()).collect();
        for member in &members {
            member.add_arguments(["--initial-cluster-state", "new", "--initial-cluster", &entries.join(",")]);
            cluster.enlist(member.clone());
        }
        Ok(cluster)
    }

    /// Starts the members that there are, and waits until they are whole.
    ///
    /// # Errors
    /// One does not start, or there is no leader in time.
    pub async fn start_all(&self) -> Result<(), String> {
        for started in join_all(self.members().iter().map(|member| self.run(member))).await {
            started?;
        }
        self.wait_whole().await
    }

    /// A member that does not run yet, and does not belong to the cluster.
    ///
    /// # Errors
    /// No port is free.
    pub fn new_member(&self) -> Result<Rc<Member>, String> {
        let number = self.count.replace(self.count.get() + 1);
        let name = format!("m{number}");
        let plan = &self.plan;
        let mut environment: Vec<(OsString, OsString)> = Vec::new();
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        if plan.sealed {
            environment.push(("COFFER_SEAL_KEY_FILE".into(), self.dir.join("key").into()));
        } else {
            arguments.push("--unsealed".into());
        }
        let launch = Launch { program: self.program.clone(), arguments, environment };
        let member = Member::new(number, &name, &self.dir, self.network.clone(), launch);
        let member = member.map_err(|error| format!("{name}: {error}"))?;
        let heartbeat = plan.heartbeat_ms.to_string();
        let election = plan.election_ms.to_string();
        member.add_arguments(["--name", &name, "--backend", &plan.backend, "--log-level", "info"]);
        member.add_arguments(["--heartbeat-interval", &heartbeat, "--election-timeout", &election]);
        member.add_arguments(["--listen-client-urls", "coffer://127.0.0.1:0"]);
        member.add_arguments(["--advertise-client-urls", &member.client_url()]);
        member.add_arguments(["--listen-peer-urls", "http://127.0.0.1:0"]);
        member.add_arguments(["--initial-advertise-peer-urls", &member.peer_url()]);
        member.add_arguments(["--initial-cluster-token", "chaos"]);
        member.add_arguments(["--data-dir".into(), member.data_dir.clone().into_os_string()]);
        Ok(Rc::new(member))
    }

    /// A member belongs to the cluster: whoever finds it down starts it.
    pub fn enlist(&self, member: Rc<Member>) {
        self.members.borrow_mut().push(member);
    }

    fn has(&self, member: &Member) -> bool {
        self.members.borrow().iter().any(|known| known.number == member.number)
    }

    /// Those that belong to the cluster, running or not.
    pub fn members(&self) -> Vec<Rc<Member>> {
        self.members.borrow().clone()
    }

    /// A member left the cluster for good.
    pub fn forget(&self, member: &Member) {
        self.members.borrow_mut().retain(|known| known.number != member.number);
    }

    /// Starts a member, unless it runs or has left the cluster, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn run(&self, member: &Member) -> Result<(), String> {
        if member.is_running() || !self.has(member) {
            return Ok(());
        }
        let starting = member.start()?;
        match member.ready(starting).await {
            // Somebody removed it, or killed it again: whoever did that looks after it.
            Err(_) if !self.has(member) || member.was_killed() => Ok(()),
            done => done,
        }
    }

    /// A client of these members.
    ///
    /// # Errors
    /// None of them can be reached.
    pub async fn client(&self, members: &[Rc<Member>], deadline: Duration) -> Result<Client, Error> {
        let config = ClientConfig {
            deadline,
            connect_timeout: deadline.min(Duration::from_secs(1)),
            // A member that is silent is noticed soon: clients are to find another.
            ping_interval: Duration::from_millis(1000),
            ping_timeout: Duration::from_millis(1000),
            ..ClientConfig::new(members.iter().map(|member| member.client_url()))
        };
        Client::connect_on(&self.thread, config).await
    }

    /// How a member sees itself, if it answers.
    pub async fn status(&self, member: &Rc<Member>) -> Option<StatusResponse> {
        let client = self.client(std::slice::from_ref(member), LOOK).await.ok()?;
        client.status().await.ok()
    }

    /// Who leads, as most members see it.
    pub async fn leader(&self) -> Option<Rc<Member>> {
        let members = self.members();
        let statuses = join_all(members.iter().map(|member| self.status(member))).await;
        let newest =
            statuses.iter().flatten().filter(|status| status.leader != 0).max_by_key(|it| it.raft_term)?;
        members.into_iter().find(|member| member.id() == newest.leader)
    }

    /// Who leads, as soon as somebody does: another fault, or a busy machine, may have taken the leader away.
    ///
    /// # Errors
    /// Nobody does in time.
    pub async fn wait_leader(&self) -> Result<Rc<Member>, String> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                return Err(format!("nobody leads after {RECOVERY:?}"));
            }
            coffer_runtime::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The members of the cluster, as it knows them itself.
    ///
    /// # Errors
    /// Nobody answers in time.
    pub async fn roster(&self) -> Result<MembersResponse, String> {
        let client = self.client(&self.members(), RECOVERY).await.map_err(|error| error.to_string())?;
        client.member_list(true).await.map_err(|error| error.to_string())
    }

    /// Starts what does not run, and waits until all members know the same leader and have applied what it has.
    ///
    /// # Errors
    /// It does not happen in time.
    pub async fn wait_whole(&self) -> Result<(), String> {
        let deadline = Instant::now() + RECOVERY;
        // What had been applied somewhere when this began.
        let mut wanted = None;
        loop {
            for started in join_all(self.members().iter().map(|member| self.run(member))).await {
                started?;
            }
            let members = self.members();
            let statuses: Vec<_> = join_all(members.iter().map(|member| self.status(member))).await;
            let newest = statuses.iter().flatten().map(|status| status.raft_applied_index).max();
            wanted = wanted.or(newest);
            if is_whole(&statuses, wanted.unwrap_or(0)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let seen = members.iter().zip(&statuses).map(|(member, status)| match status {
                    Some(it) => format!(
                        "{}: leader {:x}, term {}, applied {}, errors {:?}",
                        member.name, it.leader, it.raft_term, it.raft_applied_index, it.errors
                    ),
                    None => format!("{} does not answer: {}", member.name, member.last_words()),
                });
                let seen: Vec<String> = seen.collect();
                return Err(format!("the cluster is not whole after {RECOVERY:?}:\n{}", seen.join("\n")));
            }
            coffer_runtime::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether all follow one leader and have applied so much.
fn is_whole(statuses: &[Option<StatusResponse>], applied: u64) -> bool {
    let Some(Some(first)) = statuses.first() else { return false };
    first.leader != 0
        && statuses.iter().all(|status| {
            status.as_ref().is_some_and(|status| {
                (status.leader, status.raft_term) == (first.leader, first.raft_term)
                    && status.raft_applied_index >= applied
                    && status.alarms.is_empty()
            })
        })
}
