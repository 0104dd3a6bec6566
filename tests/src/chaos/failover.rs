//! How long writes stand still when the leader is killed.

use super::cluster::Cluster;
use super::history::{Action, Outcome};
use super::load::Recorder;
use super::plan::Plan;
use coffer_runtime::local::{block_on, spawn};
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long a client waits for an answer before it asks again.
const DEADLINE: Duration = Duration::from_millis(200);
/// How long writes may stand still before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Load between two kills.
const CALM: Duration = Duration::from_millis(500);

/// Kills the leader so often, and gives the times until the next write was acknowledged, in order of size.
///
/// # Errors
/// The cluster does not come back.
pub fn measure(plan: &Plan, program: &Path, dir: &Path, kills: u32) -> Result<Vec<Duration>, String> {
    block_on(async {
        let cluster = Rc::new(Cluster::start(plan, program, dir).await?);
        cluster.network.close_eyes();
        cluster.start_all().await?;
        let recorder = Recorder::start();
        // When each member's client was last told that a write happened that it had asked for by then.
        let acknowledged: Rc<RefCell<Vec<Instant>>> = Rc::default();
        for (number, member) in cluster.members().into_iter().enumerate() {
            let (cluster, recorder, acknowledged) = (cluster.clone(), recorder.clone(), acknowledged.clone());
            spawn(async move {
                let client = u32::try_from(number).unwrap_or(0);
                while !recorder.is_stopped() {
                    let Ok(connected) = cluster.client(std::slice::from_ref(&member), DEADLINE).await else {
                        coffer_runtime::sleep(DEADLINE / 10).await;
                        continue;
                    };
                    while !recorder.is_stopped() {
                        let asked = Instant::now();
                        let action =
                            Action::Put { key: "failover".into(), value: recorder.fresh_value(), lease: 0 };
                        match recorder.perform(client, &connected, action).await {
                            Outcome::Ok { .. } => acknowledged.borrow_mut().push(asked),
                            _ if !member.is_running() => break,
                            _ => {}
                        }
                        coffer_runtime::sleep(Duration::from_millis(2)).await;
                    }
                }
            });
        }
        let mut times = Vec::new();
        for _ in 0..kills {
            coffer_runtime::sleep(CALM).await;
            let leader = cluster.wait_leader().await?;
            acknowledged.borrow_mut().clear();
            let killed = Instant::now();
            leader.kill().await;
            let ended = Instant::now();
            // A write that was asked for after the leader's end.
            while !acknowledged.borrow().iter().any(|asked| *asked >= ended) {
                if killed.elapsed() > PATIENCE {
                    return Err(format!("no write within {PATIENCE:?} of the leader's end"));
                }
                coffer_runtime::sleep(Duration::from_millis(1)).await;
            }
            times.push(killed.elapsed());
            cluster.wait_whole().await?;
        }
        recorder.stop();
        times.sort_unstable();
        Ok(times)
    })
}
