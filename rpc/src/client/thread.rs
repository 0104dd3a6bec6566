//! The thread that clients live on.

use crate::ticker::Ticker;
use async_channel::Sender;
use coffer_core::Error;
use coffer_runtime::local::{LocalThread, spawn};
use parking_lot::Mutex;
use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

type Job = Box<dyn FnOnce(&Ticker, &Sender<Infallible>) + Send>;

thread_local! {
    /// Whether this is a client's thread, which can not join itself.
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

/// A thread for one or more clients. It ends with the last of its handles, once the tasks that it runs have ended.
#[derive(Clone)]
pub struct ClientThread(Arc<Running>);

struct Running {
    jobs: Sender<Job>,
    thread: Mutex<Option<LocalThread<()>>>,
}

impl ClientThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the system refuses one.
    pub fn start() -> Result<Self, Error> {
        let (jobs, queue) = async_channel::unbounded::<Job>();
        let main = move || async move {
            IS_CLIENT.set(true);
            let ticker = Ticker::default();
            spawn(ticker.clone().run());
            let (running, all_ended) = async_channel::bounded::<Infallible>(1);
            while let Ok(job) = queue.recv().await {
                job(&ticker, &running);
            }
            // Nothing is ever sent: it ends with the last task, which lets its connections come to their end.
            drop(running);
            let _ = all_ended.recv().await;
        };
        let thread = coffer_runtime::local::run("coffer-client", main)
            .map_err(|error| Error::Unavailable(format!("cannot start the client's thread: {error}")))?;
        Ok(Self(Arc::new(Running { jobs, thread: Mutex::new(Some(thread)) })))
    }

    /// Runs a task on the thread.
    pub(super) fn run<F, Fut>(&self, task: F) -> Result<(), Error>
    where
        F: FnOnce(Ticker) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let job: Job = Box::new(move |ticker, running| {
            let (task, running) = (task(ticker.clone()), running.clone());
            drop(spawn(async move {
                task.await;
                drop(running);
            }));
        });
        self.0.jobs.try_send(job).map_err(|_| Error::Stopped)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs.close();
        if let Some(thread) = self.thread.lock().take()
            && !IS_CLIENT.get()
            && let Err(error) = thread.join()
        {
            tracing::error!(%error, "a client's thread panicked");
        }
    }
}

impl fmt::Debug for ClientThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientThread")
    }
}
