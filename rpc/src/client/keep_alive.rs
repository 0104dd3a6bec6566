//! Keeping a lease alive.

use super::Client;
use super::call;
use super::engine::{Engine, Kind, jittered};
use coffer_core::{Error, LeaseId};
use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{Either, Shared, select};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long to wait after a failure, at most.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Renews a lease at a third of its TTL. Dropping it stops that; the lease then lives out its TTL.
#[derive(Debug)]
pub struct KeepAlive {
    id: LeaseId,
    lost: Shared<oneshot::Receiver<Error>>,
    /// Kept for its drop.
    _stop: oneshot::Sender<()>,
    _client: Client,
}

impl KeepAlive {
    pub(super) fn start(client: Client, id: LeaseId) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (lost, wait) = oneshot::channel();
        let deadline = client.deadline;
        // A client that has stopped drops the sender, and with it the wait ends.
        let _ = client.run(move |engine| {
            let engine = engine.clone();
            coffer_runtime::local::spawn(async move {
                if let Either::Left((reason, _)) = select(pin!(keep(engine, id, deadline)), stopped).await {
                    drop(lost.send(reason));
                }
            });
        });
        Self { id, lost: wait.shared(), _stop: stop, _client: client }
    }

    /// The lease.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// Waits until the lease is gone: [`Error::LeaseNotFound`] where the store says so, another error where it could
    /// not be renewed within its TTL.
    pub async fn lost(&self) -> Error {
        self.lost.clone().await.unwrap_or(Error::Stopped)
    }
}

/// Renews until the lease is lost.
async fn keep(engine: Rc<Engine>, id: LeaseId, deadline: Duration) -> Error {
    // Until the first answer the TTL is not known; a call's deadline then has to do.
    let mut expires = Instant::now() + deadline;
    loop {
        let send = |to: &super::Connection, ms| call::lease_keep_alive(to, id, ms);
        let at = (Instant::now() + deadline).min(expires);
        match engine.clone().call(Kind::Read, at, send).await {
            Ok(response) if response.ttl_s <= 0 => return Error::LeaseNotFound,
            Ok(response) => {
                let ttl = Duration::from_secs(response.ttl_s.unsigned_abs());
                expires = Instant::now() + ttl;
                engine.ticker.after(ttl / 3).await;
            }
            Err(Error::LeaseNotFound) => return Error::LeaseNotFound,
            Err(error) if Instant::now() >= expires => return error,
            Err(error) => {
                tracing::debug!(%error, "a lease could not be renewed; trying again");
                let left = expires.saturating_duration_since(Instant::now());
                engine.ticker.after(jittered(RETRY_MAX.min(left / 4))).await;
            }
        }
    }
}
