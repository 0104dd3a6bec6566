//! The watch behind a handle: read by whoever asks for more, or by a task that feeds a queue.
//!
//! # Invariants
//! - With a queue: first one completion that says that the watch has begun, then changes, at last one that says why it
//!   ended; or only that one.
//! - A task that feeds a queue holds no more than what waits in the window, and one update.

use crate::answer::Answer;
use crate::calls::{Call, Core, Effect, ok};
use crate::completions::{Outcome, Post, Window};
use crate::failure::Failure;
use crate::flight::{Enlisted, Flight, Stop};
use crate::handles::{Guarded, Kind, Table};
use crate::queue::COFFER_COMPLETION_WATCH;
use crate::result::COFFER_RESULT_STARTED;
use crate::status::{COFFER_BUSY, COFFER_END, COFFER_NOTHING, COFFER_STOPPED, COFFER_UNSUPPORTED};
use coffer::{Sleep, Update, Watch, WatchBuilder, sleep_until};
use futures_util::FutureExt;
use futures_util::future::{self, Either};
use parking_lot::Mutex;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

pub(crate) static WATCHES: Table<Arc<Guarded<Arc<Watching>>>> = Table::new(Kind::Watch);

/// A watch as its handle knows it.
#[derive(Debug)]
pub(crate) struct Watching {
    core: Arc<Core>,
    /// Tells whoever reads it of its end, and that progress is asked for.
    pub(crate) flight: Arc<Flight>,
    /// Where another watch would go on.
    pub(crate) next_revision: AtomicI64,
    /// `None` if a task has it, for a queue.
    read: Option<Mutex<Option<Watch>>>,
}

/// Begins a watch and gives its handle.
pub(crate) fn open(
    core: &Arc<Core>,
    builder: WatchBuilder,
    start_revision: i64,
    call: Call,
) -> Result<u64, Failure> {
    let flight = Arc::new(Flight::default());
    let Some((queue, tag)) = call.queue else {
        let start = async { Ok(builder.start().await?) };
        let watch = core.wait(call.deadline, Effect::Reads, start)?;
        let next_revision = AtomicI64::new(watch.next_revision());
        let read = Some(Mutex::new(Some(watch)));
        return insert(core, Arc::new(Watching { core: Arc::clone(core), flight, next_revision, read }));
    };
    let post = queue.accept(COFFER_COMPLETION_WATCH, tag, c"coffer_watch_open", &flight, false)?;
    let next_revision = AtomicI64::new(start_revision);
    let watching = Arc::new(Watching { core: Arc::clone(core), flight, next_revision, read: None });
    let id = match insert(core, Arc::clone(&watching)) {
        Ok(id) => id,
        Err(failure) => {
            post.none();
            return Err(failure);
        }
    };
    let enlisted: Enlisted = core.flights.enlist(0, &watching.flight);
    let poison = core.poison.clone();
    core.spawn(enlisted, async move {
        let fed = AssertUnwindSafe(watching.feed(builder, call.deadline, &post)).catch_unwind().await;
        post.last(fed.unwrap_or_else(|panic| {
            poison.set();
            Err(Failure::panicked(&*panic))
        }));
    });
    Ok(id)
}

fn insert(core: &Arc<Core>, watching: Arc<Watching>) -> Result<u64, Failure> {
    WATCHES.insert(Arc::new(Guarded::new(watching, core.poison.clone())))
}

impl Watching {
    /// The next update for whoever asks.
    pub(crate) fn next(&self, until: Option<Instant>) -> Outcome {
        let Some(read) = &self.read else {
            return Err(Failure::plain(COFFER_UNSUPPORTED, "the watch feeds its queue"));
        };
        let Some(mut watch) = read.try_lock() else {
            return Err(Failure::plain(COFFER_BUSY, "another call waits for it"));
        };
        let told = self.core.executor.block_on(async {
            match &mut *watch {
                Some(watch) => self.update(watch, until).await,
                None => Told::Ended(store_closed()),
            }
        });
        match told {
            Told::Update(update) => ok(Answer::update(&update)),
            Told::Nothing => Ok((COFFER_NOTHING, Answer::empty())),
            Told::Ended(end) => {
                *watch = None;
                outcome(end)
            }
        }
    }

    /// Posts all that it sees. Returns how it ended.
    async fn feed(&self, builder: WatchBuilder, deadline: Option<Instant>, post: &Post) -> Outcome {
        let window = Arc::new(Window::default());
        let started = self.flight.run(deadline, builder.start()).await;
        let mut watch = started.map_err(|(stop, _)| stop.failure(false))??;
        self.note(&watch);
        let begun = Answer::empty()
            .with_revision(watch.next_revision().saturating_sub(1))
            .with_flag(COFFER_RESULT_STARTED, true);
        post.one(ok(begun), window.enter().await);
        loop {
            // First a place, so that what does not find one stays with the store, which bounds it.
            let permit = match self.flight.run(None, window.enter()).await {
                Ok(permit) => permit,
                Err((stop, _)) => return outcome(stopped(stop)),
            };
            match self.update(&mut watch, None).await {
                Told::Update(update) => post.one(ok(Answer::update(&update)), permit),
                Told::Nothing => {}
                Told::Ended(end) => return outcome(end),
            }
        }
    }

    /// Waits for the next update.
    async fn update(&self, watch: &mut Watch, until: Option<Instant>) -> Told {
        let mut sleep: Option<Sleep> = None;
        loop {
            let first = {
                let (told, next) = (pin!(self.flight.told()), pin!(watch.next()));
                let over = match until {
                    Some(until) => Either::Left(sleep.get_or_insert_with(|| sleep_until(until))),
                    None => Either::Right(future::pending()),
                };
                // The time comes last: what is there is taken also when it is up.
                match future::select(future::select(told, next), over).await {
                    Either::Left((Either::Left((told, _)), _)) => Either::Left(told),
                    Either::Left((Either::Right((next, _)), _)) => Either::Right(next),
                    Either::Right(_) => return Told::Nothing,
                }
            };
            match first {
                Either::Left(Some(stop)) => return Told::Ended(stopped(stop)),
                Either::Left(None) => watch.request_progress(),
                Either::Right(Some(Ok(update))) => {
                    self.note(watch);
                    return Told::Update(update);
                }
                Either::Right(Some(Err(error))) => return Told::Ended(Err(error.into())),
                // Without a reason it ended with the store.
                Either::Right(None) => return Told::Ended(store_closed()),
            }
        }
    }

    fn note(&self, watch: &Watch) {
        self.next_revision.store(watch.next_revision(), Ordering::Release);
    }
}

/// What came of waiting.
enum Told {
    Update(Update),
    Nothing,
    Ended(End),
}

/// How a watch ended: it was closed, or why else.
type End = Result<(), Failure>;

fn stopped(stop: Stop) -> End {
    match stop {
        Stop::Closed => Ok(()),
        stop => Err(stop.failure(false)),
    }
}

fn store_closed() -> End {
    Err(Failure::plain(COFFER_STOPPED, "the store was closed"))
}

fn outcome(end: End) -> Outcome {
    end.map(|()| (COFFER_END, Answer::empty()))
}
