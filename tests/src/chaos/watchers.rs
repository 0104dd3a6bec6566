//! Watchers that write down what they are told.
//!
//! The first watches everything through whichever member answers, from the first revision to the end: what it is told is the
//! history of the run. Others know one member each; and guests come in the middle of the run, ask for the past, catch up and leave.

use super::cluster::Cluster;
use super::history::{Change, Keys, Notice, Watched};
use super::load::{Recorder, pair_of, range_of};
use super::member::Member;
use coffer_core::Error;
use coffer_core::watch::{WatchEvent, WatchKind, WatchRequest, WatchResponse};
use coffer_rpc::client::WatchStream;
use futures_util::future::{Either, select};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long the last changes may take to everybody once nobody writes any more.
pub const CATCH_UP: Duration = Duration::from_secs(60);
/// How long a guest stays.
const VISIT: Duration = Duration::from_millis(700);

/// What a watcher is to watch.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which keys.
    pub keys: Keys,
    /// From which revision on; 0 for what is new.
    pub from: i64,
    /// Whether to be told of pairs before.
    pub before: bool,
    /// Whether to be told of progress.
    pub progress: bool,
}

/// What a watcher writes down while it watches.
pub type Log = Rc<RefCell<Watched>>;

/// A log for a watcher.
pub fn log(watcher: u32, wanted: &Wanted) -> Log {
    Rc::new(RefCell::new(Watched {
        watcher,
        keys: wanted.keys.clone(),
        from: wanted.from,
        wants_before: wanted.before,
        ..Watched::default()
    }))
}

/// The newest revision that a watcher was told of.
pub fn reached(log: &Watched) -> i64 {
    let revision = |notice: &Notice| match notice {
        Notice::Changes { changes } => changes.last().map_or(0, |change| change.pair.modified),
        Notice::Created { revision } | Notice::Progress { revision } => *revision,
        Notice::Compacted { .. } => 0,
    };
    log.notices.iter().map(|(_, notice)| revision(notice)).next_back().unwrap_or(0)
}

/// Watches through these members until the future is dropped or the watch ends.
pub async fn watch(
    cluster: Rc<Cluster>,
    recorder: Rc<Recorder>,
    members: Vec<Rc<Member>>,
    wanted: Wanted,
    log: Log,
) {
    let Some(mut stream) = open(&cluster, &members, &wanted).await else { return };
    while let Some(responses) = stream.next().await {
        let now = recorder.now();
        let has_changes = responses.iter().any(|response| matches!(response.kind, WatchKind::Events { .. }));
        for response in responses {
            let Some(notice) = notice(&response) else { return };
            let ended = matches!(notice, Notice::Compacted { .. });
            log.borrow_mut().notices.push((now, notice));
            if ended {
                return;
            }
        }
        if log.borrow().watcher == 0 {
            recorder.needed.set(reached(&log.borrow()));
        }
        if wanted.progress && has_changes {
            // Asked for whenever a change came, so that progress and changes meet.
            stream.request_progress();
        }
    }
}

async fn open(cluster: &Cluster, members: &[Rc<Member>], wanted: &Wanted) -> Option<WatchStream> {
    let client = loop {
        match cluster.client(members, Duration::from_secs(2)).await {
            Ok(client) => break client,
            Err(Error::Unavailable(_) | Error::Timeout) => coffer_runtime::sleep(VISIT / 10).await,
            Err(_) => return None,
        }
    };
    let mut stream = client.watch();
    let request = WatchRequest {
        start_revision: wanted.from,
        prev_kv: wanted.before,
        progress_notify: wanted.progress,
        ..WatchRequest::new(range_of(&wanted.keys))
    };
    stream.create(request).ok()?;
    if wanted.progress {
        // While it may have to be told of the past first.
        stream.request_progress();
    }
    Some(stream)
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
pub async fn guests(cluster: Rc<Cluster>, recorder: Rc<Recorder>, logs: Rc<RefCell<Vec<Log>>>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while !recorder.is_stopped() {
        let members = cluster.members();
        let Some(member) = members.choose(&mut random).cloned() else { return };
        let key = format!("k{}", random.random_range(0..8));
        let keys = [Keys::one(&key), Keys::prefixed("k"), Keys::all()];
        let wanted = Wanted {
            keys: keys.choose(&mut random).cloned().unwrap_or_default(),
            from: (recorder.newest.get() - random.random_range(0..400)).max(1),
            before: random.random_bool(0.5),
            progress: random.random_bool(0.3),
        };
        let number = 1000 + u32::try_from(logs.borrow().len()).unwrap_or(0);
        let log = log(number, &wanted);
        logs.borrow_mut().push(log.clone());
        let visit = watch(cluster.clone(), recorder.clone(), vec![member], wanted, log);
        if let Either::Left(_) = select(pin!(visit), pin!(coffer_runtime::sleep(VISIT))).await {
            coffer_runtime::sleep(VISIT / 4).await;
        }
    }
}

/// Waits until all of these have been told of `revision`, or time is up.
pub async fn catch_up(logs: &[Log], revision: i64) {
    let deadline = Instant::now() + CATCH_UP;
    let behind = |log: &Log| {
        let log = log.borrow();
        !matches!(log.notices.last(), Some((_, Notice::Compacted { .. }))) && reached(&log) < revision
    };
    while logs.iter().any(behind) && Instant::now() < deadline {
        coffer_runtime::sleep(Duration::from_millis(10)).await;
    }
}
