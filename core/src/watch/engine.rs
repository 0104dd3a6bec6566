//! What the hub thread does, apart from waiting: keeps watchers, matches events with them, delivers.
//!
//! A watcher is in one of three phases:
//! - **synced**: a member of the group of its spec; it was told of everything up to `delivered`.
//! - **future**: it waits for its first revision, which lies beyond `delivered + 1`.
//! - **behind**: it needs a revision up to `delivered`, which is read from history ([`catch_up`]).
//!
//! # Invariants
//! - Between steps all events up to `delivered` were queued for, or filtered out of, every synced watcher.
//! - A watcher that can not be told because its stream is full turns *behind* at the first revision that it was
//!   not told of. So what a watcher is told never has a gap nor a duplicate.
//! - A stream's responses of one step are queued together, with one wake.

mod catch_up;
mod progress;
mod selection;
mod streams;

use super::delivery::{Delivery, Queued};
use super::hub::{Control, Link, Work};
use super::matcher::{Matcher, Spec};
use super::{EventBatch, History, WatchKind, WatchRequest};
use crate::error::Error;
use crate::planted::{Bug, planted};
use selection::Selections;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use streams::Streams;

/// One watcher.
#[derive(Debug)]
struct Watcher {
    stream: u64,
    id: i64,
    spec: Arc<Spec>,
    phase: Phase,
    /// The store revision below which it may not be told of progress.
    required: i64,
    /// The step in which it was last told of events, or joined its group.
    told: u64,
    joined: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Synced { slot: usize },
    Future { next: i64 },
    Behind { next: i64 },
}

/// Synced watchers of one spec, by stream.
type Group = BTreeMap<u64, Member>;

/// Synced watchers of one spec on one stream: they share responses.
#[derive(Debug, Default)]
struct Member {
    /// The watchers' keys and ids. Ordered, so that a stream of very many identical watchers can end quickly.
    watchers: BTreeMap<u64, i64>,
    /// The step in which they were last told of events.
    told: u64,
}

/// The state of the hub thread.
pub(super) struct Engine {
    link: Arc<Link>,
    history: Arc<dyn History>,
    /// All events up to here were matched.
    matched: i64,
    /// All events up to here were delivered to synced watchers; `delivered <= matched`.
    delivered: i64,
    /// Counts steps, two a run: a clock for idleness.
    step: u64,
    matcher: Matcher,
    /// Groups by the matcher's slots.
    groups: Vec<Group>,
    /// Matched but not delivered.
    selections: Selections,
    watchers: HashMap<u64, Watcher>,
    streams: Streams,
    /// Future watchers, by first revision.
    future: BTreeSet<(i64, u64)>,
    /// Behind watchers of streams that are not parked, by next revision.
    behind: BTreeSet<(i64, u64)>,
    /// Streams that wait for their turn to read history.
    turns: VecDeque<u64>,
    /// Streams that were found full in this step.
    blocked: Vec<u64>,
    /// Whether a blocked stream has drained meanwhile, so that there is work without being told.
    retry: bool,
    /// Streams that were asked for progress.
    asked: BTreeSet<u64>,
    /// Streams that were found up to date in this step.
    settled: Vec<u64>,
    /// Streams by when they report progress.
    ticks: BTreeSet<(Instant, u64)>,
    /// Why no watcher is served.
    refusal: Option<Error>,
}

impl Engine {
    pub(super) fn new(link: Arc<Link>, history: Arc<dyn History>) -> Self {
        let published = history.published();
        link.set_delivered(published);
        Self {
            link,
            history,
            matched: published,
            delivered: published,
            step: 0,
            matcher: Matcher::default(),
            groups: Vec::new(),
            selections: Selections::default(),
            watchers: HashMap::new(),
            streams: Streams::default(),
            future: BTreeSet::new(),
            behind: BTreeSet::new(),
            turns: VecDeque::new(),
            blocked: Vec::new(),
            retry: false,
            asked: BTreeSet::new(),
            settled: Vec::new(),
            ticks: BTreeSet::new(),
            refusal: None,
        }
    }

    /// Whether there is work although nobody sent any.
    pub(super) fn is_busy(&self) -> bool {
        self.retry || !self.turns.is_empty()
    }

    /// One step: requests, live events, one piece of history, progress; then every queue is filled at once.
    pub(super) fn run(&mut self, work: Work, now: Instant) {
        self.step += 1;
        self.retry = false;
        for control in work.controls {
            self.control(control, now);
        }
        if work.lost > self.matched {
            self.jump(work.lost);
        }
        for batch in &work.batches {
            self.match_batch(batch);
        }
        self.deliver();
        // Who joins a group from here on was not told what it just got.
        self.step += 1;
        self.catch_up();
        self.tick(now);
        self.answer_progress();
        self.link.counters().watchers.store(self.watchers.len(), Ordering::Relaxed);
        self.link.counters().streams.store(self.streams.len(), Ordering::Relaxed);
        self.streams.flush(self.link.counters());
        self.settle();
        self.park_blocked();
    }

    /// Lets consumers know what the queues hold now.
    fn settle(&mut self) {
        for id in self.settled.drain(..) {
            if let Some(stream) = self.streams.get(id) {
                stream.shared.settle(true);
            }
        }
        self.link.set_delivered(self.delivered);
    }

    fn control(&mut self, control: Control, now: Instant) {
        match control {
            Control::Open { stream, shared } => self.streams.open(stream, shared),
            Control::Create { stream, key, request, published } => {
                self.create(stream, key, &request, published, now);
            }
            Control::Cancel { key } => self.cancel(key, Error::Canceled, 0),
            Control::Progress { stream } => self.ask_progress(stream),
            Control::Drained { stream } => self.unpark(stream),
            Control::Close { stream } => self.close(stream),
            Control::Refuse { reason } => self.refuse(reason),
        }
    }

    fn create(&mut self, stream_id: u64, key: u64, request: &WatchRequest, published: i64, now: Instant) {
        let Some(stream) = self.streams.get(stream_id) else { return };
        let start = request.start_revision;
        // "From now on" is a start too, but one that progress need not wait for.
        let (next, required) = if start == 0 { (published + 1, published) } else { (start, start) };
        let next =
            next + i64::from(planted(Bug::WatchGap)) - i64::from(planted(Bug::WatchDuplicate) && start > 1);
        let watcher = Watcher {
            stream: stream_id,
            id: request.watch_id,
            spec: Arc::new(Spec::new(request)),
            phase: Phase::Future { next },
            required,
            told: 0,
            joined: 0,
        };
        stream.watchers.insert(key);
        stream.shared.settle(false);
        if required > self.delivered {
            stream.unreached.insert((required, key));
        }
        if request.progress_notify {
            stream.notify.insert(key);
            self.schedule_tick(stream_id, now);
        }
        self.watchers.insert(key, watcher);
        self.streams.push(stream_id, Queued::control(vec![request.watch_id], published, WatchKind::Created));
        let compact_revision = self.history.compact_revision();
        if let Some(reason) = self.refusal.clone() {
            self.cancel(key, reason, 0);
        } else if start < 0 {
            self.cancel(key, Error::Compacted { compact_revision }, 0);
        } else if next < compact_revision && planted(Bug::WatchCompactionUntold) {
            self.place(key, compact_revision);
        } else if next < compact_revision {
            self.cancel(key, Error::Compacted { compact_revision }, compact_revision);
        } else {
            self.place(key, next);
        }
    }

    /// Puts a watcher that is in no phase's books into the phase that fits its next revision.
    fn place(&mut self, key: u64, next: i64) {
        let Some(watcher) = self.watchers.get_mut(&key) else { return };
        if next > self.delivered + 1 {
            watcher.phase = Phase::Future { next };
            self.future.insert((next, key));
        } else if next == self.delivered + 1 {
            let slot = self.matcher.slot(&watcher.spec);
            watcher.phase = Phase::Synced { slot };
            watcher.joined = self.step;
            if self.groups.len() <= slot {
                self.groups.resize_with(self.matcher.slots_max(), Group::default);
            }
            let member = self.groups[slot].entry(watcher.stream).or_default();
            member.watchers.insert(key, watcher.id);
        } else {
            watcher.phase = Phase::Behind { next };
            let stream = watcher.stream;
            self.fall_behind(stream, key, next);
        }
    }

    /// Takes a watcher out of its phase's books.
    fn displace(&mut self, key: u64) {
        let Some(watcher) = self.watchers.get(&key) else { return };
        match watcher.phase {
            Phase::Synced { slot } => {
                let group = &mut self.groups[slot];
                if let Some(member) = group.get_mut(&watcher.stream) {
                    member.watchers.remove(&key);
                    if member.watchers.is_empty() {
                        group.remove(&watcher.stream);
                    }
                }
                self.drop_empty_group(slot);
            }
            Phase::Future { next } => {
                self.future.remove(&(next, key));
            }
            Phase::Behind { next } => self.leave_behind(watcher.stream, key, next),
        }
    }

    fn drop_empty_group(&mut self, slot: usize) {
        if self.groups[slot].is_empty() {
            self.matcher.remove(slot);
        }
    }

    /// Removes a watcher and tells its stream why.
    fn cancel(&mut self, key: u64, reason: Error, compact_revision: i64) {
        self.displace(key);
        let Some(watcher) = self.watchers.remove(&key) else { return };
        if let Some(stream) = self.streams.get(watcher.stream) {
            stream.watchers.remove(&key);
            stream.notify.remove(&key);
            stream.unreached.remove(&(watcher.required, key));
            stream.shared.release_id(watcher.id, key);
        }
        let kind = WatchKind::Canceled { reason, compact_revision };
        let revision = self.history.published();
        self.streams.push(watcher.stream, Queued::control(vec![watcher.id], revision, kind));
    }

    fn refuse(&mut self, reason: Option<Error>) {
        self.refusal = reason;
        if let Some(reason) = self.refusal.clone() {
            let keys: BTreeSet<u64> = self.watchers.keys().copied().collect();
            keys.into_iter().for_each(|key| self.cancel(key, reason.clone(), 0));
        }
    }

    fn close(&mut self, id: u64) {
        let Some(stream) = self.streams.get(id) else { return };
        for key in std::mem::take(&mut stream.watchers) {
            self.displace(key);
            self.watchers.remove(&key);
        }
        let Some(stream) = self.streams.remove(id) else { return };
        self.asked.remove(&id);
        if let Some(tick) = stream.tick {
            self.ticks.remove(&(tick, id));
        }
        self.link.taken(stream.shared.discard());
    }

    /// Matches a batch with the groups. What the batch leaves out before it is left to history.
    fn match_batch(&mut self, batch: &EventBatch) {
        if let Some(first) = batch.events.first()
            && first.record.revision.main > self.matched + 1
        {
            self.deliver();
            self.jump(first.record.revision.main - 1);
        }
        for event in &batch.events {
            if event.record.revision.main > self.matched {
                self.selections.add(&self.matcher, &*self.history, event);
            }
        }
        self.matched = self.matched.max(batch.revision);
    }

    /// Queues what was matched for every group that wants it.
    fn deliver(&mut self) {
        for (slot, selection) in self.selections.take() {
            if let Some(fault) = selection.fault {
                self.fail_group(slot, &fault);
                continue;
            }
            let Some(spec) = self.matcher.spec(slot) else { continue };
            let fragment_bytes = spec.fragment.then_some(self.link.config().fragment_bytes);
            let delivery = Delivery::new(selection.events, fragment_bytes);
            let (mut full, mut ids) = (Vec::new(), Vec::new());
            for (&stream, member) in &mut self.groups[slot] {
                if self.streams.get(stream).is_none_or(|stream| stream.is_full()) {
                    full.push(stream);
                    continue;
                }
                member.told = self.step;
                ids.clear();
                ids.extend(member.watchers.values());
                for queued in delivery.responses(&ids, self.matched) {
                    self.streams.push(stream, queued);
                }
            }
            for stream in full {
                self.lag(slot, stream);
            }
        }
        self.delivered = self.matched;
        self.wake_future();
    }

    /// Turns a group's watchers on a full stream to history, from the first revision that they were not told of.
    fn lag(&mut self, slot: usize, stream: u64) {
        let Some(member) = self.groups[slot].remove(&stream) else { return };
        let next = self.delivered + 1;
        for key in member.watchers.into_keys() {
            if let Some(watcher) = self.watchers.get_mut(&key) {
                watcher.told = told(watcher, member.told);
                watcher.phase = Phase::Behind { next };
                self.fall_behind(stream, key, next);
            }
        }
        self.blocked.push(stream);
        self.drop_empty_group(slot);
    }

    /// Gives up on a group whose events could not be completed.
    fn fail_group(&mut self, slot: usize, fault: &Error) {
        tracing::error!(%fault, "watchers are cancelled because history can not be read");
        let keys: Vec<u64> =
            self.groups[slot].values().flat_map(|member| member.watchers.keys().copied()).collect();
        for key in keys {
            self.cancel(key, fault.clone(), 0);
        }
    }

    /// Places the future watchers whose revision has come.
    fn wake_future(&mut self) {
        while let Some(&(next, key)) = self.future.first()
            && next <= self.delivered + 1
        {
            self.future.remove(&(next, key));
            self.place(key, next);
        }
    }

    /// Moves on to `revision` without the events in between: whoever was synced reads them from history.
    fn jump(&mut self, revision: i64) {
        let next = if planted(Bug::SnapshotUntold) { revision + 1 } else { self.delivered + 1 };
        self.matched = revision;
        self.delivered = revision;
        for slot in 0..self.groups.len() {
            let group = std::mem::take(&mut self.groups[slot]);
            if !group.is_empty() {
                self.matcher.remove(slot);
            }
            for member in group.into_values() {
                for key in member.watchers.into_keys() {
                    if let Some(watcher) = self.watchers.get_mut(&key) {
                        watcher.told = told(watcher, member.told);
                    }
                    self.place(key, next);
                }
            }
        }
        self.wake_future();
    }
}

/// The step in which a synced watcher was last told of events; what its group was told before it joined does
/// not count.
fn told(watcher: &Watcher, member_told: u64) -> u64 {
    if member_told >= watcher.joined { member_told } else { watcher.told }
}
