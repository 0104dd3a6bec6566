//! Telling streams how far they are while nothing happens, and when they ask.
//!
//! Progress at a revision says that every event up to it is before the response in the stream. So it is only
//! told of watchers that are synced, and, as in etcd, never below a watcher's start revision.

use super::{Engine, Phase, told};
use crate::planted::{Bug, planted};
use crate::watch::WatchKind;
use crate::watch::delivery::Queued;
use std::time::{Duration, Instant};

/// The shortest interval at which idle watchers are told, as in etcd.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

impl Engine {
    /// When idle watchers have to be told next.
    pub(in crate::watch) fn next_tick(&self) -> Option<Instant> {
        self.ticks.first().map(|&(at, _)| at)
    }

    /// Makes sure that a stream with watchers that want to be told has a next tick.
    pub(super) fn schedule_tick(&mut self, id: u64, now: Instant) {
        let interval = self.link.config().progress_interval.max(INTERVAL_MIN);
        let Some(stream) = self.streams.get(id) else { return };
        if stream.tick.is_none() {
            let at = now + interval + interval.mul_f64(rand::random_range(0.0..0.1));
            stream.tick = Some(at);
            self.ticks.insert((at, id));
        }
    }

    /// Tells idle watchers whose time has come. One that was told of events since the last time is skipped once.
    pub(super) fn tick(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.ticks.first()
            && at <= now
        {
            self.ticks.remove(&(at, id));
            let ids = self.idle(id);
            if !ids.is_empty() {
                self.streams.push(id, Queued::control(ids, self.delivered, WatchKind::Progress));
            }
            let Some(stream) = self.streams.get(id) else { continue };
            stream.tick = None;
            stream.tick_step = self.step;
            if !stream.notify.is_empty() {
                self.schedule_tick(id, now);
            }
        }
    }

    /// The watchers of a stream that want to be told and may be.
    fn idle(&mut self, id: u64) -> Vec<i64> {
        let Some(stream) = self.streams.get(id) else { return Vec::new() };
        if stream.is_full() {
            return Vec::new();
        }
        let since = stream.tick_step;
        let notify = &stream.notify;
        let idle = notify.iter().filter_map(|key| {
            let watcher = self.watchers.get(key)?;
            let Phase::Synced { slot } = watcher.phase else { return None };
            let member = self.groups[slot].get(&watcher.stream)?;
            let due = watcher.required <= self.delivered && told(watcher, member.told) <= since;
            due.then_some(watcher.id)
        });
        idle.collect()
    }

    /// Notes that a stream asked for progress.
    pub(super) fn ask_progress(&mut self, id: u64) {
        let Some(stream) = self.streams.get(id) else { return };
        let asked = stream.shared.take_progress_asked();
        if stream.watchers.is_empty() || asked == 0 {
            return;
        }
        if stream.progress_asked.0 == 0 {
            stream.progress_asked.0 = asked;
        }
        stream.progress_asked.1 = asked;
        self.asked.insert(id);
    }

    /// Answers the streams that asked and are up to date.
    pub(super) fn answer_progress(&mut self) {
        let published =
            if planted(Bug::WatchProgressAhead) { self.history.published() } else { self.delivered };
        let delivered = self.delivered.max(published);
        let (blocked, streams, settled) = (&mut self.blocked, &mut self.streams, &mut self.settled);
        self.asked.retain(|&id| {
            let Some(stream) = streams.get(id) else { return false };
            if stream.watchers.is_empty() {
                stream.progress_asked = (0, 0);
                return false;
            }
            let (first, latest) = stream.progress_asked;
            if delivered < first || !stream.is_up_to_date(delivered) && !planted(Bug::WatchProgressAhead) {
                return true;
            }
            if stream.is_full() {
                blocked.push(id);
                return true;
            }
            // A steady flow of requests must not push the answer ahead of itself.
            let done = latest <= delivered;
            stream.progress_asked = if done { (0, 0) } else { (latest, latest) };
            streams.push(id, Queued::control(vec![-1], delivered, WatchKind::Progress));
            settled.push(id);
            !done
        });
    }
}
