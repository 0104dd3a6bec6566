//! Watching over any number of connections.
//!
//! [`WatchStream`] is the user's end; a task on the client's thread ([`session`]) keeps a stream of the server open and
//! resumes it where it broke.

mod resume;
mod session;

use super::Client;
use async_channel::{Receiver, Sender};
use coffer_core::Error;
use coffer_core::watch::{WatchRequest, WatchResponse};
use futures_util::Stream;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Batches that wait for the user. While it is full, nothing is acknowledged to the server.
const BATCHES_MAX: usize = 4;

/// What the user's end asks for.
enum Command {
    Create(WatchRequest),
    Cancel(i64),
    Progress,
}

/// Ids in use: shared with the task, which frees them.
type Ids = Arc<Mutex<HashSet<i64>>>;

/// The watchers of one user: as core's stream, over the network.
pub struct WatchStream {
    commands: Sender<Command>,
    batches: Pin<Box<Receiver<Vec<WatchResponse>>>>,
    ids: Ids,
    next_id: i64,
    _client: Client,
}

impl WatchStream {
    pub(super) fn new(client: Client) -> Self {
        let (commands, queue) = async_channel::unbounded();
        let (batches, receiver) = async_channel::bounded(BATCHES_MAX);
        let ids = Ids::default();
        let task_ids = ids.clone();
        // If the client has stopped, the stream is over at once.
        let _ = client.run(move |engine| {
            let session = session::Session::new(engine.clone(), queue, batches, task_ids);
            coffer_runtime::local::spawn(session.run());
        });
        Self { commands, batches: Box::pin(receiver), ids, next_id: 0, _client: client }
    }

    /// Adds a watcher and returns its id at once. Its first response is
    /// [`Created`](coffer_core::watch::WatchKind::Created), or a cancellation with the reason.
    ///
    /// # Errors
    /// [`Error::DuplicateWatchId`]; [`Error::EmptyWatchRange`]; [`Error::Stopped`].
    pub fn create(&mut self, request: WatchRequest) -> Result<i64, Error> {
        if request.range.is_empty() {
            return Err(Error::EmptyWatchRange);
        }
        let watch_id = self.take_id(request.watch_id)?;
        let command = Command::Create(WatchRequest { watch_id, ..request });
        self.commands.try_send(command).map_err(|_| Error::Stopped)?;
        Ok(watch_id)
    }

    fn take_id(&mut self, wanted: i64) -> Result<i64, Error> {
        let mut ids = self.ids.lock();
        if wanted != 0 {
            return if ids.insert(wanted) { Ok(wanted) } else { Err(Error::DuplicateWatchId) };
        }
        while !ids.insert(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    /// Removes a watcher; its last response is a cancellation. Unknown ids are ignored.
    pub fn cancel(&mut self, watch_id: i64) {
        let _ = self.commands.try_send(Command::Cancel(watch_id));
    }

    /// Asks for one progress response for the whole stream, delivered once every watcher is up to date.
    pub fn request_progress(&mut self) {
        let _ = self.commands.try_send(Command::Progress);
    }

    /// The next responses, in order; `None` once the client has stopped.
    pub async fn next(&mut self) -> Option<Vec<WatchResponse>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for callers that poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<WatchResponse>>> {
        self.batches.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream").field("watchers", &self.ids.lock().len()).finish_non_exhaustive()
    }
}
