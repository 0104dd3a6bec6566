//! Reading history for watchers that started in the past or whose stream was full.
//!
//! Streams take turns. A turn reads one bounded window of history, beginning with the oldest revision that the
//! stream needs, and every other stream's watchers that need a part of the window ride along.

use super::selection::{Selection, Selections};
use super::{Engine, Phase};
use crate::error::Error;
use crate::watch::delivery::{Delivery, event_bytes};
use crate::watch::matcher::Matcher;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// Watchers that share what they are told of a window: by slot, next revision and stream.
type Riders = BTreeMap<(usize, i64, u64), Vec<u64>>;

impl Engine {
    /// Enters a watcher whose phase is *behind* into the books.
    pub(super) fn fall_behind(&mut self, stream_id: u64, key: u64, next: i64) {
        let Some(stream) = self.streams.get(stream_id) else { return };
        stream.behind.insert((next, key));
        stream.shared.settle(false);
        self.link.counters().lagging.fetch_add(1, Ordering::Relaxed);
        if !stream.parked {
            self.behind.insert((next, key));
            if !stream.queued {
                stream.queued = true;
                self.turns.push_back(stream_id);
            }
        }
    }

    /// Takes it out of the books again.
    pub(super) fn leave_behind(&mut self, stream_id: u64, key: u64, next: i64) {
        self.behind.remove(&(next, key));
        self.link.counters().lagging.fetch_sub(1, Ordering::Relaxed);
        if let Some(stream) = self.streams.get(stream_id) {
            stream.behind.remove(&(next, key));
        }
    }

    /// Lets streams that were found full rest until their consumer has drained them below half.
    pub(super) fn park_blocked(&mut self) {
        for id in std::mem::take(&mut self.blocked) {
            let Some(stream) = self.streams.get(id) else { continue };
            if stream.parked {
                continue;
            }
            stream.parked = stream.shared.park();
            if stream.parked {
                for entry in &stream.behind {
                    self.behind.remove(entry);
                }
            } else {
                self.retry = true;
            }
        }
    }

    /// Lets a drained stream take turns again.
    pub(super) fn unpark(&mut self, id: u64) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.parked = false;
        self.behind.extend(&stream.behind);
        if !stream.queued && !stream.behind.is_empty() {
            stream.queued = true;
            self.turns.push_back(id);
        }
    }

    /// One turn of one stream.
    pub(super) fn catch_up(&mut self) {
        let Some((id, first)) = self.next_turn() else { return };
        self.read_window(first);
        if let Some(stream) = self.streams.get(id)
            && !stream.parked
            && !stream.behind.is_empty()
        {
            stream.queued = true;
            self.turns.push_back(id);
        }
    }

    /// The stream whose turn it is, and the first revision that it needs.
    fn next_turn(&mut self) -> Option<(u64, i64)> {
        while let Some(id) = self.turns.pop_front() {
            let Some(stream) = self.streams.get(id) else { continue };
            stream.queued = false;
            if !stream.parked
                && let Some(&(first, _)) = stream.behind.first()
            {
                return Some((id, first));
            }
        }
        None
    }

    /// Reads history from `first` on for everybody who needs it.
    fn read_window(&mut self, first: i64) {
        self.cancel_compacted();
        let last = self.delivered.min(first.saturating_add(self.link.config().catch_up_revisions - 1));
        let (matcher, riders) = self.board(first, last);
        let Some(first) = riders.keys().map(|&(_, next, _)| next).min() else { return };
        match self.scan(&matcher, first, last) {
            Ok((selections, reached)) => {
                // What was compacted meanwhile may have been left out: those who needed it are told so.
                self.cancel_compacted();
                self.tell(&matcher, riders, selections, reached);
            }
            Err(Error::Compacted { .. }) => {
                if !self.cancel_compacted() {
                    let compact_revision = self.history.compact_revision();
                    let at_first = riders.into_iter().filter(|((_, next, _), _)| *next == first);
                    for key in at_first.flat_map(|(_, keys)| keys) {
                        self.cancel(key, Error::Compacted { compact_revision }, compact_revision);
                    }
                }
            }
            Err(fault) => {
                tracing::error!(%fault, "watchers are cancelled because history can not be read");
                for key in riders.into_values().flatten() {
                    self.cancel(key, fault.clone(), 0);
                }
            }
        }
    }

    /// Cancels the watchers whose next revision is compacted. False if there were none.
    fn cancel_compacted(&mut self) -> bool {
        let compact_revision = self.history.compact_revision();
        let keys: Vec<u64> = self.behind.range(..(compact_revision, 0)).map(|&(_, key)| key).collect();
        for &key in &keys {
            self.cancel(key, Error::Compacted { compact_revision }, compact_revision);
        }
        !keys.is_empty()
    }

    /// The watchers that need something of `[first, last]`, and what finds their events.
    fn board(&self, first: i64, last: i64) -> (Matcher, Riders) {
        let mut matcher = Matcher::default();
        let mut riders = Riders::new();
        for &(next, key) in self.behind.range((first, 0)..=(last, u64::MAX)) {
            if let Some(watcher) = self.watchers.get(&key) {
                let slot = matcher.slot(&watcher.spec);
                riders.entry((slot, next, watcher.stream)).or_default().push(key);
            }
        }
        (matcher, riders)
    }

    /// Selects from history until the window ends or enough was read; returns the last whole revision read.
    fn scan(
        &self,
        matcher: &Matcher,
        first: i64,
        last: i64,
    ) -> Result<(HashMap<usize, Selection>, i64), Error> {
        let history = &*self.history;
        let (mut selections, mut bytes, mut current, mut reached) = (Selections::default(), 0, first, last);
        history.scan(first, last, &mut |event| {
            let main = event.record.revision.main;
            if main != current && bytes >= self.link.config().catch_up_bytes {
                reached = main - 1;
                return ControlFlow::Break(());
            }
            current = main;
            bytes += event_bytes(&event);
            selections.add(matcher, history, &event);
            ControlFlow::Continue(())
        })?;
        Ok((selections.take().into_iter().collect(), reached))
    }

    /// Queues what the riders want and moves them on.
    fn tell(
        &mut self,
        matcher: &Matcher,
        riders: Riders,
        mut selections: HashMap<usize, Selection>,
        reached: i64,
    ) {
        let mut latest: Option<((usize, i64), Option<Delivery>)> = None;
        for ((slot, next, stream), keys) in riders {
            if next > reached {
                continue;
            }
            if let Some(fault) = selections.get_mut(&slot).and_then(|selection| selection.fault.clone()) {
                for key in keys {
                    self.cancel(key, fault.clone(), 0);
                }
                continue;
            }
            if latest.as_ref().is_none_or(|(of, _)| *of != (slot, next)) {
                let delivery = self.delivery(matcher, slot, next, &selections);
                latest = Some(((slot, next), delivery));
            }
            let delivery = latest.as_ref().and_then(|(_, delivery)| delivery.as_ref());
            self.tell_stream(stream, &keys, delivery, reached);
        }
    }

    /// What watchers of a slot get of the window from revision `next` on; `None` if nothing.
    fn delivery(
        &self,
        matcher: &Matcher,
        slot: usize,
        next: i64,
        selections: &HashMap<usize, Selection>,
    ) -> Option<Delivery> {
        let events = &selections.get(&slot)?.events;
        let from = events.partition_point(|event| event.event.record.revision.main < next);
        if from == events.len() {
            return None;
        }
        let fragment = matcher.spec(slot).is_some_and(|spec| spec.fragment);
        let fragment_bytes = fragment.then_some(self.link.config().fragment_bytes);
        Some(Delivery::new(events[from..].to_vec(), fragment_bytes))
    }

    fn tell_stream(&mut self, stream_id: u64, keys: &[u64], delivery: Option<&Delivery>, reached: i64) {
        let Some(stream) = self.streams.get(stream_id) else { return };
        if delivery.is_some() && stream.is_full() {
            self.blocked.push(stream_id);
            return;
        }
        // A watcher may have been cancelled since the window was read.
        let keys: Vec<u64> = keys.iter().copied().filter(|key| self.watchers.contains_key(key)).collect();
        let ids: Vec<i64> = keys.iter().map(|key| self.watchers[key].id).collect();
        if let Some(delivery) = delivery
            && !ids.is_empty()
        {
            for queued in delivery.responses(&ids, reached) {
                self.streams.push(stream_id, queued);
            }
        }
        for key in keys {
            self.displace(key);
            if let Some(watcher) = self.watchers.get_mut(&key) {
                debug_assert!(matches!(watcher.phase, Phase::Behind { .. }));
                if delivery.is_some() {
                    watcher.told = self.step;
                }
            }
            self.place(key, reached + 1);
        }
    }
}
