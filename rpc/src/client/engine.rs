//! What runs a client on its thread: one connection at a time, failover, retries.

use super::config::ClientConfig;
use super::connection::Connection;
use super::open_connections::OpenConnections;
use crate::ticker::Ticker;
use coffer_core::Error;
use coffer_runtime::local::spawn;
use coffer_runtime::net::Address;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(25);
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// What a frame holds besides what the user gave.
const FRAME_OVERHEAD_BYTES: usize = 4096;

/// What may be done about a call that failed on its way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// It changes nothing.
    Read,
    /// It may have happened.
    Write {
        /// About how much it holds of a user.
        bytes: usize,
    },
}

impl Kind {
    /// The connection broke after it was sent.
    pub(super) fn lost(self) -> Error {
        match self {
            Self::Read => Error::Unavailable("the connection was lost".into()),
            Self::Write { .. } => Error::ConnectionLost,
        }
    }

    fn timed_out(self) -> Error {
        match self {
            Self::Read => Error::Timeout,
            Self::Write { .. } => Error::OutcomeUnknown,
        }
    }
}

pub(super) struct Engine {
    config: ClientConfig,
    addresses: Vec<Address>,
    pub(super) ticker: Ticker,
    current: RefCell<Option<Rc<Connection>>>,
    /// The current one, and those that were left.
    open: Rc<OpenConnections>,
    /// The endpoint to try next, or that is connected.
    endpoint: Cell<usize>,
    connecting: Cell<bool>,
    /// How many wait for a connection; without any, none is made.
    wanted: Cell<usize>,
    /// Rounds over all endpoints that failed.
    failed_rounds: Cell<u64>,
    last_failure: RefCell<String>,
    waiters: RefCell<Vec<Waker>>,
    in_flight: Rc<Cell<usize>>,
    closed: Cell<bool>,
}

impl Engine {
    pub(super) fn new(config: ClientConfig, addresses: Vec<Address>, ticker: Ticker) -> Rc<Self> {
        Rc::new(Self {
            config,
            addresses,
            ticker,
            current: RefCell::default(),
            open: Rc::default(),
            endpoint: Cell::new(0),
            connecting: Cell::new(false),
            wanted: Cell::new(0),
            failed_rounds: Cell::new(0),
            last_failure: RefCell::default(),
            waiters: RefCell::default(),
            in_flight: Rc::default(),
            closed: Cell::new(false),
        })
    }

    /// Lets nobody wait any more, closes the connection, and whatever others are left, and waits until they are gone.
    pub(super) async fn close(&self) {
        self.closed.set(true);
        self.current.take();
        self.wake_waiters();
        self.open.close().await;
    }

    /// Waits for the first connection, or until every endpoint has failed once.
    pub(super) async fn first_connection(self: Rc<Self>) -> Result<(), Error> {
        let rounds = self.failed_rounds.get();
        self.wait_connection(|engine| engine.failed_rounds.get() > rounds).await.map(drop)
    }

    /// A live connection, as soon as there is one.
    pub(super) async fn connection(self: &Rc<Self>) -> Result<Rc<Connection>, Error> {
        self.wait_connection(|_| false).await
    }

    async fn wait_connection(
        self: &Rc<Self>,
        give_up: impl Fn(&Self) -> bool,
    ) -> Result<Rc<Connection>, Error> {
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let _wanted = Counter::add(&self.wanted);
        poll_fn(|cx| {
            if self.closed.get() {
                return Poll::Ready(Err(Error::Stopped));
            }
            if let Some(connection) = self.live() {
                return Poll::Ready(Ok(connection));
            }
            if give_up(self) {
                return Poll::Ready(Err(self.unavailable()));
            }
            if !self.connecting.replace(true) {
                spawn(self.clone().connect());
            }
            self.waiters.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn live(&self) -> Option<Rc<Connection>> {
        self.current.borrow().as_ref().filter(|connection| connection.is_alive()).cloned()
    }

    fn unavailable(&self) -> Error {
        match &*self.last_failure.borrow() {
            text if text.is_empty() => Error::Unavailable("no connection in time".into()),
            text => Error::Unavailable(text.clone()),
        }
    }

    fn wake_waiters(&self) {
        self.waiters.take().into_iter().for_each(Waker::wake);
    }

    /// Tries the endpoints in turns until one answers or nobody wants a connection any more.
    async fn connect(self: Rc<Self>) {
        let mut backoff = BACKOFF_MIN;
        while self.wanted.get() > 0 && !self.closed.get() {
            for _ in 0..self.addresses.len() {
                if self.connect_once().await {
                    self.connecting.set(false);
                    self.wake_waiters();
                    return;
                }
                self.endpoint.set(self.endpoint.get() + 1);
            }
            self.failed_rounds.set(self.failed_rounds.get() + 1);
            self.wake_waiters();
            self.ticker.after(jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        self.connecting.set(false);
        // Whoever began to want one meanwhile starts anew.
        self.wake_waiters();
    }

    async fn connect_once(self: &Rc<Self>) -> bool {
        let index = self.endpoint.get() % self.addresses.len();
        let engine = Rc::downgrade(self);
        let ended = move || {
            if let Some(engine) = engine.upgrade() {
                engine.wake_waiters();
            }
        };
        let open = Connection::open(&self.config, &self.addresses[index], &self.ticker, &self.open, ended);
        let outcome = self.ticker.limit(self.config.connect_timeout, open).await;
        let url = &self.config.endpoints[index];
        match outcome.unwrap_or_else(|| Err("no answer in time".into())) {
            Ok(_) if self.closed.get() => false,
            Ok(connection) => {
                tracing::debug!(%url, "connected");
                self.current.replace(Some(connection));
                true
            }
            Err(reason) => {
                tracing::debug!(%url, %reason, "cannot connect");
                self.last_failure.replace(format!("{url}: {reason}"));
                false
            }
        }
    }

    /// Goes to another endpoint for what comes next.
    fn leave(&self, connection: &Rc<Connection>) {
        let is_current =
            self.current.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, connection));
        if is_current && self.addresses.len() > 1 {
            self.endpoint.set(self.endpoint.get() + 1);
            self.current.take();
        }
    }

    /// What a call that `connection` answered with `error` may still hope for: the error, if it may be made again, on
    /// another connection where this one is of no use.
    ///
    /// # Errors
    /// The error, if it would be the same again.
    pub(super) fn refused(&self, connection: &Rc<Connection>, error: Error) -> Result<Error, Error> {
        match error {
            Error::TooManyRequests | Error::Unavailable(_) => {}
            Error::NoLeader | Error::NotLeader | Error::Stopped => self.leave(connection),
            _ => return Err(error),
        }
        Ok(error)
    }

    /// Runs a call until `at`: `send` sends it, and is called again only where nothing can have happened.
    pub(super) async fn call<T, F, Fut>(self: Rc<Self>, kind: Kind, at: Instant, send: F) -> Result<T, Error>
    where
        F: Fn(&Connection, u32) -> Fut,
        Fut: Future<Output = capnp::Result<Result<T, Error>>>,
    {
        if self.in_flight.get() >= self.config.in_flight_max {
            return Err(Error::TooManyRequests);
        }
        let _in_flight = Counter::add(&self.in_flight);
        let mut backoff = BACKOFF_MIN;
        loop {
            let Some(connection) = self.ticker.within(at, self.connection()).await else {
                return Err(self.unavailable());
            };
            let connection = connection?;
            if let Kind::Write { bytes } = kind
                && bytes + FRAME_OVERHEAD_BYTES > connection.frame_bytes_max
            {
                return Err(Error::RequestTooLarge);
            }
            let failure = match self.ticker.within(at, send(&connection, ms_until(at))).await {
                None => return Err(kind.timed_out()),
                Some(Ok(Ok(answer))) => return Ok(answer),
                Some(Ok(Err(error))) => self.refused(&connection, error)?,
                Some(Err(error)) => match error.kind {
                    capnp::ErrorKind::Overloaded => Error::TooManyRequests,
                    capnp::ErrorKind::Unimplemented => return Err(Error::Unsupported(error.to_string())),
                    capnp::ErrorKind::Disconnected => {
                        // The call may learn of it before the connection's own task does; the next call must not be
                        // sent to the dead.
                        connection.close();
                        match kind {
                            Kind::Read => kind.lost(),
                            Kind::Write { .. } => return Err(kind.lost()),
                        }
                    }
                    _ => match kind {
                        Kind::Read => return Err(Error::Unavailable(format!("unusable answer: {error}"))),
                        Kind::Write { .. } => return Err(Error::OutcomeUnknown),
                    },
                },
            };
            let pause = jittered(backoff);
            if Instant::now() + pause >= at {
                return Err(failure);
            }
            self.ticker.after(pause).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }
}

/// One more, until dropped.
struct Counter<'a>(&'a Cell<usize>);

impl<'a> Counter<'a> {
    fn add(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Half to one and a half of `duration`, so that many clients do not come back at once.
pub(super) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::random_range(0.5..1.5))
}

fn ms_until(at: Instant) -> u32 {
    let left = at.saturating_duration_since(Instant::now()).as_millis();
    u32::try_from(left).unwrap_or(u32::MAX).max(1)
}
