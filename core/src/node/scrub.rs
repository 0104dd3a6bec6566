//! The scrub: a verification of the open store, slowly, beside everything else.
//!
//! It runs on a thread of its own, which is there from the first scrub on, or from the start if scrubs are to happen by
//! themselves. It reads log and records through the same calls that verify a closed store, sleeps between the pieces so
//! that it reads no more than it may in a second, and holds nothing while it sleeps but the one unit that it is at.
//!
//! # What comes of damage
//! Each finding is logged and counted when it is met. The scrub goes on to its end, so that all damage is named once; then
//! the node stops with the first of it, as it does when a read meets damage: a member that knows that content is lost
//! serves no more. Whoever waits for the scrub gets the report first. A damaged copy of which another one is whole stops
//! nothing.
//!
//! # Left out
//! What a long read transaction would be needed for (SQLite's own check of its structures), and what needs a second index
//! (histories against each other): a verification of the closed store does both.

use super::failure::Failure;
use super::values::ValueStore;
use crate::error::Error;
use crate::metrics::Counter;
use crate::storage::{Finding, Findings, Inspector, LogReader, StorageError};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Bytes that a scrub reads in a second unless somebody says otherwise.
pub const SCRUB_RATE_BYTES: u64 = 8 << 20;
/// The first scrub of a node that scrubs by itself begins no later than this after its start: what is restarted often is
/// scrubbed all the same.
const FIRST_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Whoever asked within this time how far a scrub is waits for its report.
const WAITS: Duration = Duration::from_secs(5);

/// What became of the last scrub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScrubState {
    /// There was none since the start.
    #[default]
    Never,
    /// It is under way.
    Running,
    /// It looked at everything. What it found is among the findings.
    Done,
    /// It was ended before.
    Canceled,
    /// It could not go on.
    Failed,
}

/// How far a scrub is, or what it found.
#[derive(Clone, Debug, Default)]
pub struct ScrubStatus {
    /// Which scrub since the start this is, from 1.
    pub number: u64,
    /// What became of it.
    pub state: ScrubState,
    /// Bytes that it may read in a second.
    pub rate_bytes: u64,
    /// Records that are intact, at its end.
    pub records: u64,
    /// What it found so far, with the bytes that were looked at and are to be.
    pub findings: Findings,
}

/// What a node counts of its scrubs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCounts {
    /// Scrubs that looked at everything.
    pub done: u64,
    /// Bytes that were read and judged.
    pub checked_bytes: u64,
    /// Damage that was found.
    pub damage: u64,
    /// Damaged copies of which another one is whole.
    pub weakened: u64,
    /// Seconds since 1970 at the end of the last one that looked at everything; 0 if there was none.
    pub last_s: u64,
}

/// The scrubs of a node.
pub(super) struct Scrubber {
    log: Arc<dyn LogReader>,
    values: Arc<ValueStore>,
    failure: Arc<Failure>,
    /// Between two scrubs that begin by themselves; none do if it is zero.
    interval: Duration,
    rate_bytes: u64,
    control: Mutex<Control>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
    checked_bytes: Counter,
    damage: Counter,
    weakened: Counter,
    done: Counter,
}

#[derive(Default)]
struct Control {
    status: ScrubStatus,
    /// A scrub is to begin.
    wanted: bool,
    cancel: bool,
    stop: bool,
    /// When the next one begins by itself.
    due: Option<Instant>,
    /// When somebody asked last.
    asked: Option<Instant>,
    /// Whether the report of the last scrub was asked for.
    reported: bool,
    last_s: u64,
}

impl Scrubber {
    pub(super) fn new(
        log: Arc<dyn LogReader>,
        values: Arc<ValueStore>,
        failure: Arc<Failure>,
        interval: Duration,
        rate_bytes: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            log,
            values,
            failure,
            interval,
            rate_bytes: rate_bytes.max(1),
            control: Mutex::default(),
            wake: Condvar::new(),
            thread: Mutex::new(None),
            checked_bytes: Counter::default(),
            damage: Counter::default(),
            weakened: Counter::default(),
            done: Counter::default(),
        })
    }

    /// Starts the thread, if scrubs begin by themselves.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(self: &Arc<Self>) -> Result<(), Error> {
        if self.interval.is_zero() {
            return Ok(());
        }
        self.control.lock().due = Instant::now().checked_add(self.interval.min(FIRST_AFTER_MAX));
        self.have_thread()
    }

    fn have_thread(self: &Arc<Self>) -> Result<(), Error> {
        let mut thread = self.thread.lock();
        // Looked at under the lock under which `stop` takes the thread: none starts that would not be joined.
        if self.control.lock().stop {
            return Err(Error::Stopped);
        }
        if thread.is_some() {
            return Ok(());
        }
        let this = Arc::clone(self);
        let started = std::thread::Builder::new().name("coffer-scrub".into()).spawn(move || this.run());
        *thread = Some(started.map_err(|error| Error::Fatal(format!("cannot start a thread: {error}")))?);
        Ok(())
    }

    /// Begins a scrub, unless one is under way, which is then the one that is told of.
    pub(super) fn begin(self: &Arc<Self>, rate_bytes: Option<u64>) -> Result<ScrubStatus, Error> {
        self.failure.check()?;
        self.have_thread()?;
        let mut control = self.control.lock();
        if control.stop {
            return Err(Error::Stopped);
        }
        if control.status.state != ScrubState::Running {
            self.prepare(&mut control, rate_bytes.unwrap_or(self.rate_bytes).max(1));
            self.wake.notify_all();
        }
        control.asked = Some(Instant::now());
        Ok(control.status.clone())
    }

    /// Ends the scrub that is under way, if one is.
    pub(super) fn cancel(&self) -> ScrubStatus {
        let mut control = self.control.lock();
        if control.status.state == ScrubState::Running {
            control.cancel = true;
            self.wake.notify_all();
        }
        control.status.clone()
    }

    /// How far it is.
    pub(super) fn look(&self) -> ScrubStatus {
        let mut control = self.control.lock();
        control.asked = Some(Instant::now());
        if control.status.state != ScrubState::Running {
            control.reported = true;
            self.wake.notify_all();
        }
        control.status.clone()
    }

    pub(super) fn counts(&self) -> ScrubCounts {
        ScrubCounts {
            done: self.done.get(),
            checked_bytes: self.checked_bytes.get(),
            damage: self.damage.get(),
            weakened: self.weakened.get(),
            last_s: self.control.lock().last_s,
        }
    }

    /// Ends what is under way and joins the thread. Idempotent.
    pub(super) fn stop(&self) {
        self.control.lock().stop = true;
        self.wake.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that scrubs panicked");
        }
    }

    /// Writes down that a scrub is under way, before its thread knows.
    fn prepare(&self, control: &mut Control, rate_bytes: u64) {
        let number = control.status.number + 1;
        control.status =
            ScrubStatus { number, state: ScrubState::Running, rate_bytes, ..ScrubStatus::default() };
        (control.wanted, control.cancel, control.reported) = (true, false, false);
        control.due = None;
    }

    fn run(&self) {
        while let Some(rate_bytes) = self.next() {
            let mut pace =
                Pace { scrubber: self, rate_bytes, began: Instant::now(), checked_bytes: 0, ended: false };
            tracing::info!(rate_bytes, "a scrub begins");
            let verified = self.log.verify(&mut pace).and_then(|()| self.values.records().verify(&mut pace));
            let ended = pace.ended;
            if let Some(damage) = self.finish(verified, ended) {
                self.let_report_go();
                if self.failure.set(damage.into()) {
                    tracing::error!("a scrub found damage; the node stops");
                }
                return;
            }
        }
    }

    /// Waits for the next scrub; `None` at the end.
    fn next(&self) -> Option<u64> {
        let mut control = self.control.lock();
        loop {
            if control.stop {
                return None;
            }
            if control.due.is_some_and(|due| due <= Instant::now()) && !control.wanted {
                self.prepare(&mut control, self.rate_bytes);
            }
            if std::mem::take(&mut control.wanted) {
                return Some(control.status.rate_bytes);
            }
            match control.due {
                Some(due) => _ = self.wake.wait_until(&mut control, due),
                None => self.wake.wait(&mut control),
            }
        }
    }

    /// Notes what became of a scrub. Returns the damage that the node is to stop for.
    fn finish(&self, verified: Result<u64, StorageError>, ended: bool) -> Option<StorageError> {
        let mut control = self.control.lock();
        let Control { status, .. } = &mut *control;
        let findings = &status.findings;
        let (damage, weakened) = (findings.damage(), findings.weakened());
        status.state = match (&verified, ended) {
            (Err(error), _) => {
                tracing::warn!(%error, "a scrub could not go on");
                ScrubState::Failed
            }
            (Ok(_), true) => ScrubState::Canceled,
            (Ok(_), false) => ScrubState::Done,
        };
        tracing::info!(
            state = ?status.state,
            checked_bytes = findings.checked_bytes(),
            damage,
            weakened,
            "a scrub ended"
        );
        let first = findings.first_damage().cloned();
        if status.state == ScrubState::Done {
            status.records = verified.unwrap_or(0);
            self.done.add(1);
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            control.last_s = now.as_secs();
        }
        if !self.interval.is_zero() {
            control.due = Instant::now().checked_add(self.interval);
        }
        self.wake.notify_all();
        first
    }

    /// Waits until the report was asked for, if somebody waits for it.
    fn let_report_go(&self) {
        let mut control = self.control.lock();
        let Some(until) = control.asked.and_then(|asked| asked.checked_add(WAITS)) else { return };
        while !control.reported && !control.stop && Instant::now() < until {
            self.wake.wait_until(&mut control, until);
        }
    }
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scrubber").field("interval", &self.interval).finish_non_exhaustive()
    }
}

/// The inspector of a scrub: keeps to its rate, and ends it if that is wanted.
struct Pace<'a> {
    scrubber: &'a Scrubber,
    rate_bytes: u64,
    began: Instant,
    checked_bytes: u64,
    ended: bool,
}

impl Pace<'_> {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.scrubber.control.lock()
    }
}

impl Inspector for Pace<'_> {
    fn is_alone(&self) -> bool {
        false
    }

    fn expect(&mut self, bytes: u64) {
        self.control().status.findings.expect(bytes);
    }

    fn checked(&mut self, bytes: u64) -> ControlFlow<()> {
        self.checked_bytes += bytes;
        self.scrubber.checked_bytes.add(bytes);
        let due = Duration::from_secs_f64(self.checked_bytes as f64 / self.rate_bytes as f64);
        let until = self.began.checked_add(due);
        let mut control = self.scrubber.control.lock();
        // It does not end itself.
        let _ = control.status.findings.checked(bytes);
        loop {
            if control.cancel || control.stop {
                drop(control);
                self.ended = true;
                return ControlFlow::Break(());
            }
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => _ = self.scrubber.wake.wait_until(&mut control, until),
                None => return ControlFlow::Continue(()),
            }
        }
    }

    fn found(&mut self, finding: Finding) {
        match &finding {
            Finding::Damage(_) => {
                self.scrubber.damage.add(1);
                tracing::error!(%finding, "a scrub found damage");
            }
            Finding::Weakened(_) => {
                self.scrubber.weakened.add(1);
                tracing::warn!(%finding, "a scrub found a damaged copy");
            }
            Finding::Torn { .. } => tracing::info!(%finding, "a scrub found what a crash left"),
        }
        self.control().status.findings.add(finding);
    }
}
