//! The connections of a client that have a socket.
//!
//! # Invariants
//! - A connection is here until what drives it has come to its end. Dropped before that, the two sides of capnp-rpc go on holding
//!   each other, and the socket with them.

use crate::net::{Fault, Link};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[derive(Default)]
pub(super) struct OpenConnections {
    links: RefCell<BTreeMap<u64, Link>>,
    next: Cell<u64>,
    closed: Cell<bool>,
    /// Who waits for the end of all.
    waiter: RefCell<Option<Waker>>,
}

/// One of them, until it is dropped.
pub(super) struct OpenConnection {
    all: Rc<OpenConnections>,
    number: u64,
    link: Link,
}

impl OpenConnections {
    /// One more. After [`close`](Self::close) it ends at once.
    pub(super) fn begun(self: &Rc<Self>, link: Link) -> OpenConnection {
        if self.closed.get() {
            link.fail(Fault::Closed);
        }
        let number = self.next.replace(self.next.get() + 1);
        self.links.borrow_mut().insert(number, link.clone());
        OpenConnection { all: self.clone(), number, link }
    }

    /// Ends all, and waits until they have ended.
    pub(super) async fn close(&self) {
        self.closed.set(true);
        self.links.borrow().values().for_each(|link| link.fail(Fault::Closed));
        poll_fn(|cx| {
            if self.links.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.waiter.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl OpenConnection {
    pub(super) fn link(&self) -> Link {
        self.link.clone()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.links.borrow_mut().remove(&self.number);
        if let Some(waiter) = self.all.waiter.take() {
            waiter.wake();
        }
    }
}
