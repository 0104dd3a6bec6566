//! Whether consensus still works: the first fault stops it for good, and everyone who asks hears that first fault.

use crate::Error;
use parking_lot::{Condvar, Mutex};

/// Told the fault that stopped consensus. Must return soon, and not call `shutdown`: it runs on a thread that shutdown
/// waits for.
pub type FailureListener = Box<dyn FnOnce(Error) + Send>;

/// The first fault, and who wants to know.
#[derive(Default)]
pub(super) struct Health {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Why consensus stopped: a fault, or [`Error::Stopped`] after an orderly shutdown.
    stopped: Option<Error>,
    listeners: Vec<FailureListener>,
    /// Counts what [`wait_until`](Health::wait_until) may wait for.
    changes: u64,
}

impl Health {
    /// Records a fault. Only the first counts, and none after the shutdown began.
    pub(super) fn fail(&self, fault: Error) {
        let mut state = self.state.lock();
        if state.stopped.is_some() {
            return;
        }
        state.stopped = Some(fault.clone());
        state.changes += 1;
        let listeners = std::mem::take(&mut state.listeners);
        drop(state);
        self.changed.notify_all();
        tracing::error!(%fault, "consensus stopped");
        listeners.into_iter().for_each(|tell| tell(fault.clone()));
    }

    /// Records that the owner stops consensus: what breaks from now on is no fault.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped.get_or_insert(Error::Stopped);
        // A listener may hold what owns us: it must not be kept for ever.
        let listeners = std::mem::take(&mut state.listeners);
        drop(state);
        drop(listeners);
    }

    /// Why consensus no longer works, if so.
    pub(super) fn stopped(&self) -> Option<Error> {
        self.state.lock().stopped.clone()
    }

    /// The fault, if there was one.
    pub(super) fn fault(&self) -> Option<Error> {
        self.stopped().filter(|reason| *reason != Error::Stopped)
    }

    /// Tells `listener` of the fault, now if it has happened.
    pub(super) fn on_failure(&self, listener: FailureListener) {
        let mut state = self.state.lock();
        match state.stopped.clone() {
            None => state.listeners.push(listener),
            Some(Error::Stopped) => {}
            Some(fault) => {
                drop(state);
                listener(fault);
            }
        }
    }

    /// Wakes those in [`wait_until`](Self::wait_until).
    pub(super) fn poke(&self) {
        self.state.lock().changes += 1;
        self.changed.notify_all();
    }

    /// Blocks until `condition`, which is asked again after every [`poke`](Self::poke).
    ///
    /// # Errors
    /// The fault that came first.
    pub(super) fn wait_until(&self, condition: impl Fn() -> bool) -> Result<(), Error> {
        loop {
            let changes = self.state.lock().changes;
            if let Some(reason) = self.stopped() {
                return Err(reason);
            }
            if condition() {
                return Ok(());
            }
            let mut state = self.state.lock();
            while state.changes == changes {
                self.changed.wait(&mut state);
            }
        }
    }
}
