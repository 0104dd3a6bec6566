//! Ranges in pages, of one revision, with bounded memory.

use crate::answer::{Answer, Target};
use crate::bytes::coffer_key_range;
use crate::calls::{Call, Core, Effect, ok};
use crate::completions::Outcome;
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::flight::{Flight, Stop};
use crate::guard::guard;
use crate::handles::{Guarded, Kind, Table};
use crate::input::{optional, out};
use crate::kv::{coffer_read_options, read_request};
use crate::queue::coffer_call;
use crate::result::coffer_result;
use crate::status::{COFFER_BUSY, COFFER_END, COFFER_OK, coffer_status};
use crate::store::coffer_store;
use coffer::Pages;
use parking_lot::Mutex;
use std::sync::Arc;

/// A range that is being read. Zero is none. Serves one call at a time. Closed by coffer_iter_close().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_iter {
    /// Opaque.
    pub id: u64,
}

/// A range that is being read, behind its handle.
#[derive(Debug)]
struct Iter {
    core: Arc<Core>,
    state: Mutex<State>,
    /// Tells a page that is on its way of the end.
    flight: Flight,
}

#[derive(Debug)]
enum State {
    Idle(Box<Pages>),
    /// A page is on its way.
    Busy,
    Ended,
}

static ITERS: Table<Arc<Guarded<Arc<Iter>>>> = Table::new(Kind::Iter);

impl Iter {
    /// Takes the pages for one call.
    fn take(self: &Arc<Self>) -> Result<Taken, Failure> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Busy) {
            State::Idle(pages) => Ok(Taken { iter: Arc::clone(self), pages: Some(pages) }),
            State::Busy => Err(Failure::plain(COFFER_BUSY, "another call reads the next page")),
            State::Ended => {
                *state = State::Ended;
                Ok(Taken { iter: Arc::clone(self), pages: None })
            }
        }
    }
}

/// The pages while a call reads one. The iterator is at its end if it does not put them back.
struct Taken {
    iter: Arc<Iter>,
    pages: Option<Box<Pages>>,
}

impl Taken {
    /// Reads the next page, unless the iterator is closed before it comes.
    async fn next(mut self) -> Outcome {
        let Some(mut pages) = self.pages.take() else { return Ok((COFFER_END, Answer::empty())) };
        let iter = Arc::clone(&self.iter);
        let page = iter.flight.run(None, pages.next()).await;
        let page = page.map_err(|_| Stop::Canceled.failure(false))?;
        let Some(kvs) = page? else { return Ok((COFFER_END, Answer::empty())) };
        let answer = Answer::page(pages.revision(), &kvs);
        self.pages = Some(pages);
        ok(answer)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *self.iter.state.lock() = match self.pages.take() {
            Some(pages) => State::Idle(pages),
            None => State::Ended,
        };
    }
}

/// Begins to read a range in pages. Nothing is read yet. All pages show the revision of the first one, or the one that the
/// options name; in ascending order of keys: neither another order, nor bounds on revisions, nor COFFER_READ_COUNT_ONLY.
///
/// Ownership: the caller's, to be closed by coffer_iter_close(). `range` is borrowed for the call.
/// NULL: `options`. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_iter_open(
    store: coffer_store,
    range: *const coffer_key_range,
    options: *const coffer_read_options,
    iter: *mut coffer_iter,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_iter_open", error, || {
            let iter = out(iter)?;
            store.enter(|core| {
                let request = read_request(coffer_key_range::copy(range)?, optional(options)?)?;
                let pages = Box::new(core.client.pages(request)?);
                let opened = Iter {
                    core: Arc::clone(core),
                    state: Mutex::new(State::Idle(pages)),
                    flight: Flight::default(),
                };
                let id = ITERS.insert(Arc::new(Guarded::new(Arc::new(opened), core.poison.clone())))?;
                iter.write_unaligned(coffer_iter { id });
                Ok(COFFER_OK)
            })
        })
    }
}

/// Reads the next page: some pairs, a few hundred KiB or one larger pair. COFFER_END after the last one. After a failure
/// the iterator is at its end, except after COFFER_BUSY: with COFFER_TIMEOUT and COFFER_CANCELED too.
///
/// Result: pairs in `kvs`, the revision of all pages in `revision`.
/// NULL: `call`; `result` with a queue. Threads: one call at a time.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_iter_next(
    iter: coffer_iter,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_iter_next", error, || {
            ITERS.get(iter.id)?.enter(|iter| {
                let core = &iter.core;
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let page = iter.take()?.next();
                core.perform(c"coffer_iter_next", call, Effect::Reads, target, page)
            })
        })
    }
}

/// Closes an iterator. Pages that were read stay as they are. A call that is under way ends with COFFER_CANCELED.
///
/// Threads: any. A second time gives COFFER_BAD_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_iter_close(iter: coffer_iter, error: *mut coffer_error) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_iter_close", error, || {
            ITERS.remove(iter.id)?.anyway().flight.stop(Stop::Canceled);
            Ok(COFFER_OK)
        })
    }
}
