//! The first fault that stops a node, told to everyone who waits.

use crate::error::Error;
use event_listener::Event;
use std::sync::OnceLock;

type Hook = Box<dyn Fn(&Error) + Send + Sync>;

/// Set once, never cleared.
#[derive(Default)]
pub(super) struct Failure {
    reason: OnceLock<Error>,
    changed: Event,
    hook: OnceLock<Hook>,
}

impl Failure {
    /// Has `hook` called with the first reason.
    pub(super) fn on_set(&self, hook: impl Fn(&Error) + Send + Sync + 'static) {
        // Set once, by the node's opening.
        drop(self.hook.set(Box::new(hook)));
    }

    /// Records the reason unless one is recorded already. Returns whether it was the first.
    pub(super) fn set(&self, reason: Error) -> bool {
        let first = self.reason.set(reason).is_ok();
        if let (true, Some(reason), Some(hook)) = (first, self.reason.get(), self.hook.get()) {
            hook(reason);
        }
        self.changed.notify(usize::MAX);
        first
    }

    /// The reason, if the node has stopped.
    pub(super) fn get(&self) -> Option<Error> {
        self.reason.get().cloned()
    }

    /// The reason as an error for a new request.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.reason.get() {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Waits for the reason.
    pub(super) async fn wait(&self) -> Error {
        loop {
            let listener = self.changed.listen();
            if let Some(reason) = self.get() {
                return reason;
            }
            listener.await;
        }
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Failure").field(&self.reason.get()).finish()
    }
}
