//! The state of a member is falsified: the others must find out.
//!
//! What a bug, or a bit that flips in memory, would do: in the member's log one value is another, and everything that is
//! checked on the disk is right.

use crate::life::open_store;
use crate::machine::Random;
use crate::world::{End, World};
use coffer_core::request::AlarmKind;
use coffer_core::storage::{LogEntry, LogOp};
use coffer_runtime::unblock;
use coffer_tests::chaos::history::{Action, Outcome};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How it is called in histories.
const OPERATOR: u32 = 902;
/// A value that occurs once.
const TRUTH: &[u8] = b"truth-that-is-not-told";
/// How soon it must be known.
const PATIENCE: Duration = Duration::from_secs(30);

/// Falsifies a member, if its log still has what is to be another.
pub async fn falsify(world: &Arc<World>, random: &mut Random) {
    let Some(writer) = world.any(random, None) else { return };
    let value = String::from_utf8_lossy(TRUTH).into_owned();
    let put = Action::Put { key: "truth".into(), value, lease: 0 };
    let written = world.recorder.perform(OPERATOR, &writer, put, PATIENCE).await;
    if !matches!(written, Outcome::Ok { .. }) || !world.wait_whole().await {
        return;
    }
    let Some(odd) = world.any(random, None).map(|life| life.member) else { return };
    world.kill(odd, End::Process);
    let Some(birth) = world.birth(odd) else { return };
    let falsified = unblock(move || {
        let mut store = open_store(birth.member, &birth.disk, birth.store).ok()?;
        // Only what will be applied again: the rest stands in the records.
        let applied = store.records.checkpoint().map_or(0, |checkpoint| checkpoint.applied.index);
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut take = |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        };
        store.log.reader().read(applied + 1..u64::MAX, u64::MAX, &mut take).ok()?;
        let holds = |entry: &LogEntry| entry.payload.windows(TRUTH.len()).position(|bytes| bytes == TRUTH);
        let at = entries.iter().position(|entry| holds(entry).is_some())?;
        let before = match at {
            0 => store.records.checkpoint().map(|checkpoint| checkpoint.applied)?,
            at => entries[at - 1].id,
        };
        let mut rest = entries.split_off(at);
        let mut payload = rest[0].payload.to_vec();
        payload[holds(&rest[0])?] = b'T';
        rest[0].payload = payload.into();
        store.log.write(&[LogOp::Truncate { after: Some(before) }, LogOp::Append(rest)], None).ok()
    });
    let falsified = falsified.await.ok().flatten().is_some();
    world.start(odd).await;
    if !falsified {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mut found = false;
        for life in world.lives() {
            let alarms = life.call(|node| async move { node.alarms() }).await.unwrap_or_default();
            found |= alarms.iter().any(|alarm| alarm.kind == AlarmKind::Corrupt);
        }
        if found {
            return;
        }
        coffer_runtime::sleep(Duration::from_millis(100)).await;
    }
    world.fail("Unnoticed", format!("member {odd} holds something else than the others, and nobody says so"));
}
