//! One value that many may look at and wait for a change of.

use event_listener::Event;
use openraft_rt::watch::{RecvError, SendError};
use openraft_rt::{OptionalSend, OptionalSync, WatchReceiver, WatchSender};
use parking_lot::{RwLock, RwLockReadGuard};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

pub(crate) struct Watch;

impl openraft_rt::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(value: T) -> (Sender<T>, Receiver<T>) {
        let cell = Arc::new(Cell {
            value: RwLock::new(value),
            version: AtomicU64::new(0),
            changed: Event::new(),
            receivers: AtomicUsize::new(1),
            senders: AtomicUsize::new(1),
        });
        (Sender(cell.clone()), Receiver { cell, seen: 0 })
    }
}

struct Cell<T> {
    value: RwLock<T>,
    /// Number of changes. Advances while the value is locked for writing, so that a reader that holds the lock sees the
    /// version of what it reads.
    version: AtomicU64,
    changed: Event,
    receivers: AtomicUsize,
    senders: AtomicUsize,
}

pub(crate) struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

pub(crate) struct Sender<T>(Arc<Cell<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify(usize::MAX);
        }
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError(value));
        }
        let mut guard = self.0.value.write();
        let former = std::mem::replace(&mut *guard, value);
        self.0.version.fetch_add(1, Ordering::AcqRel);
        drop(guard);
        drop(former);
        self.0.changed.notify(usize::MAX);
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let mut guard = self.0.value.write();
        let modified = modify(&mut guard);
        if modified {
            self.0.version.fetch_add(1, Ordering::AcqRel);
        }
        drop(guard);
        if modified {
            self.0.changed.notify(usize::MAX);
        }
        modified
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.0.value.read())
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver { cell: self.0.clone(), seen: self.0.version.load(Ordering::Acquire) }
    }
}

pub(crate) struct Receiver<T> {
    cell: Arc<Cell<T>>,
    /// The version that this receiver knows of.
    seen: u64,
}

impl<T> Receiver<T> {
    /// Whether there is news, or will never be any.
    fn look(&mut self) -> Option<Result<(), RecvError>> {
        let version = self.cell.version.load(Ordering::Acquire);
        if version != self.seen {
            self.seen = version;
            return Some(Ok(()));
        }
        (self.cell.senders.load(Ordering::Acquire) == 0).then_some(Err(RecvError(())))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.cell.receivers.fetch_add(1, Ordering::AcqRel);
        Self { cell: self.cell.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.cell.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            if let Some(news) = self.look() {
                return news;
            }
            // Listens before the second look, so that a change in between is not missed.
            let listener = self.cell.changed.listen();
            if let Some(news) = self.look() {
                return news;
            }
            listener.await;
        }
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        Ref(self.cell.value.read())
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let guard = self.cell.value.read();
        self.seen = self.cell.version.load(Ordering::Acquire);
        Ref(guard)
    }
}
