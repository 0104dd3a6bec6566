//! Keeps leases alive in the background.
//!
//! One thread per client, started with the first lease and joined when the client closes, renews every lease at a
//! third of its TTL. It holds no executor of the caller's, so that a caller that is busy keeps its leases, and has timers
//! of its own, so that nothing is left of it.

use crate::client::Place;
use coffer_core::{Error, LeaseId};
use coffer_runtime::Executor;
use futures_channel::oneshot;
use futures_util::future::{self, Either};
use parking_lot::Mutex;
use std::pin::pin;
use std::time::{Duration, Instant};

/// A lease that is being kept alive. Made by [`crate::Client::keep_alive`]. Dropping it lets the lease run out.
#[derive(Debug)]
pub struct KeepAlive {
    id: LeaseId,
    lost: oneshot::Receiver<Error>,
}

impl KeepAlive {
    /// The lease.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// Resolves when the lease can no longer be kept: [`Error::LeaseNotFound`] once it has ended,
    /// [`Error::Stopped`] once the client was closed, else what kept it from being renewed for a whole TTL.
    pub async fn lost(&mut self) -> Error {
        (&mut self.lost).await.unwrap_or(Error::Stopped)
    }
}

/// The background thread of a client.
pub(crate) struct Keeper {
    place: Place,
    state: Mutex<State>,
}

enum State {
    Idle,
    Running(Executor),
    Closed,
}

impl Keeper {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, state: Mutex::new(State::Idle) }
    }

    pub(crate) fn keep(&self, id: LeaseId) -> Result<KeepAlive, Error> {
        let (report, lost) = oneshot::channel();
        let mut state = self.state.lock();
        if let State::Idle = *state {
            let executor = Executor::start("coffer-keepalive", 1)
                .map_err(|error| Error::Fatal(format!("cannot start a thread: {error}")))?;
            *state = State::Running(executor);
        }
        let State::Running(executor) = &*state else { return Err(Error::Stopped) };
        drop(executor.spawn(keep(self.place.clone(), id, report)));
        Ok(KeepAlive { id, lost })
    }

    /// Ends the thread. Blocks; idempotent.
    pub(crate) fn shutdown(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Closed);
        if let State::Running(executor) = state {
            executor.shutdown();
        }
    }
}

/// Renews one lease until its handle is dropped or it is lost.
async fn keep(place: Place, id: LeaseId, mut report: oneshot::Sender<Error>) {
    let lost = {
        let renewing = pin!(renew(&place, id));
        match future::select(renewing, report.cancellation()).await {
            Either::Left((reason, _)) => Some(reason),
            Either::Right(_) => None,
        }
    };
    if let Some(reason) = lost {
        // Nobody listens if the handle was dropped at this very moment.
        let _ = report.send(reason);
    }
}

/// Renews a lease for as long as that works.
async fn renew(place: &Place, id: LeaseId) -> Error {
    let mut ends: Option<Instant> = None;
    let mut pause = Duration::from_millis(100);
    loop {
        let asked = Instant::now();
        match place.lease_keep_alive(id).await {
            Ok(response) if response.ttl_s <= 0 => return Error::LeaseNotFound,
            Ok(response) => {
                let ttl = Duration::from_secs(response.ttl_s.unsigned_abs());
                ends = asked.checked_add(ttl);
                pause = ttl / 3;
            }
            Err(error) if !error.is_retryable() && !error.is_maybe_committed() => return error,
            Err(error) => {
                if ends.is_some_and(|ends| ends <= Instant::now()) {
                    return error;
                }
                pause = pause.min(Duration::from_millis(500));
            }
        }
        coffer_runtime::sleep(pause).await;
    }
}
