//! Watchers that write down what they are told.
//!
//! One that stays goes on at another member, behind what it was told, when its stream ends. The first is told everything
//! from the first revision on: that is the history of the run.

use crate::machine::Random;
use crate::recorder::{Log, now};
use crate::world::World;
use coffer_core::Error;
use coffer_core::watch::{WatchEvent, WatchKind, WatchRequest, WatchResponse};
use coffer_runtime::timeout;
use coffer_tests::chaos::history::*;
use coffer_tests::chaos::load::{pair_of, range_of};
use coffer_tests::chaos::watchers::reached;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Pause before a stream is opened again.
const AGAIN: Duration = Duration::from_millis(50);

/// A watcher's place, and what it wants.
pub struct Watcher {
    /// What it writes down.
    pub log: Log,
    /// The member it watches; any if none.
    pub pinned: Option<u64>,
    /// Whether it asks for progress.
    pub progress: bool,
    /// Whether it comes back when its stream ends.
    pub stays: bool,
}

/// Watches until it is dropped, or its watch ends.
pub async fn watch(world: Arc<World>, watcher: Watcher, mut random: Random) {
    let Watcher { log, pinned, progress, stays } = watcher;
    let (keys, first, wants_before) = {
        let log = log.lock();
        (log.keys.clone(), log.from, log.wants_before)
    };
    let mut next = first;
    loop {
        let Some(life) = world.any(&mut random, pinned) else {
            coffer_runtime::sleep(AGAIN).await;
            continue;
        };
        let (told, heard) = async_channel::unbounded::<Vec<WatchResponse>>();
        let request = WatchRequest {
            start_revision: next,
            prev_kv: wants_before,
            progress_notify: progress,
            ..WatchRequest::new(range_of(&keys))
        };
        let asks = progress;
        life.spawn(move |node| async move {
            let mut stream = node.watch();
            if stream.create(request).is_err() {
                return;
            }
            if asks {
                // While it may have to be told of the past first.
                stream.request_progress();
            }
            while let Some(responses) = stream.next().await {
                let has_changes = responses.iter().any(|it| matches!(it.kind, WatchKind::Events { .. }));
                let responses = responses.into_iter().collect();
                if told.send(responses).await.is_err() {
                    return;
                }
                if asks && has_changes {
                    // Asked for whenever a change came, so that progress and changes meet.
                    stream.request_progress();
                }
            }
        });
        let over = life.over();
        let mut over = std::pin::pin!(over);
        'stream: loop {
            let heard = std::pin::pin!(heard.recv());
            let responses = match futures_util::future::select(heard, over.as_mut()).await {
                futures_util::future::Either::Left((Ok(responses), _)) => responses,
                _ => break 'stream,
            };
            let at = now();
            for response in responses {
                let Some(notice) = notice(&response) else { break 'stream };
                let ended = matches!(notice, Notice::Compacted { .. });
                let mut log = log.lock();
                match &notice {
                    Notice::Created { revision } if first == 0 && next == 0 => next = revision + 1,
                    // Of a stream that goes on.
                    Notice::Created { .. } if !log.notices.is_empty() => continue,
                    Notice::Changes { changes } => {
                        next = changes.last().map_or(next, |change| change.pair.modified + 1);
                    }
                    Notice::Progress { revision } => next = next.max(revision + 1),
                    _ => {}
                }
                log.notices.push((at, notice));
                if log.watcher == 0 {
                    world.recorder.needed.fetch_max(reached(&log), Ordering::SeqCst);
                }
                if ended {
                    return;
                }
            }
        }
        if !stays {
            return;
        }
        coffer_runtime::sleep(AGAIN).await;
    }
}

fn notice(response: &WatchResponse) -> Option<Notice> {
    match &response.kind {
        WatchKind::Created => Some(Notice::Created { revision: response.revision }),
        WatchKind::Progress => Some(Notice::Progress { revision: response.revision }),
        WatchKind::Events { events, .. } => {
            Some(Notice::Changes { changes: events.iter().map(change).collect() })
        }
        WatchKind::Canceled { reason: Error::Compacted { compact_revision }, .. } => {
            Some(Notice::Compacted { revision: *compact_revision })
        }
        WatchKind::Canceled { .. } => None,
    }
}

fn change(told: &WatchEvent) -> Change {
    let record = &told.event.record;
    Change {
        deleted: record.tombstone,
        pair: pair_of(&record.key_value()),
        before: told.prev_kv.as_ref().map(pair_of),
    }
}

/// Guests: come, ask for the past of some keys, stay for a moment, and leave.
pub async fn guests(world: Arc<World>, mut random: Random) {
    while !world.recorder.is_stopped() {
        let back = random.below(80) as i64;
        let from = (world.recorder.newest.load(Ordering::SeqCst) - back).max(1);
        let keys = [Keys::one(&format!("k{}", random.below(4))), Keys::prefixed("k"), Keys::all()];
        let log = world.recorder.log(random.choose(&keys).clone(), from, random.chance(500));
        let stays = random.chance(500);
        let watcher = Watcher { log, pinned: None, progress: random.chance(400), stays };
        let visit = Duration::from_millis(random.within(200..2500));
        let _ = timeout(visit, Box::pin(watch(world.clone(), watcher, random.fork()))).await;
        coffer_runtime::sleep(Duration::from_millis(random.within(50..600))).await;
    }
}

/// Waits until all of these have been told of `revision`, or time is up.
pub async fn catch_up(logs: &[Log], revision: i64, patience: Duration) {
    let deadline = Instant::now() + patience;
    let behind = |log: &Log| {
        let log = log.lock();
        !matches!(log.notices.last(), Some((_, Notice::Compacted { .. }))) && reached(&log) < revision
    };
    while logs.iter().any(behind) && Instant::now() < deadline {
        coffer_runtime::sleep(Duration::from_millis(20)).await;
    }
}
