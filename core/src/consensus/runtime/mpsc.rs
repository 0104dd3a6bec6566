//! A bounded queue with many senders and one receiver.
//!
//! Room is only counted, not allocated ahead: openraft asks for queues of thousands of large messages per store.

use event_listener::Event;
use openraft_rt::{MpscReceiver, MpscSender, MpscWeakSender, OptionalSend, SendError, TryRecvError};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Poll, Waker};

pub(crate) struct Mpsc;

impl openraft_rt::Mpsc for Mpsc {
    type Sender<T: OptionalSend> = Sender<T>;
    type Receiver<T: OptionalSend> = Receiver<T>;
    type WeakSender<T: OptionalSend> = WeakSender<T>;

    fn channel<T: OptionalSend>(messages_max: usize) -> (Sender<T>, Receiver<T>) {
        let state = State { messages: VecDeque::new(), receiver: None, senders: 1, closed: false };
        let channel = Arc::new(Channel { state: Mutex::new(state), room: Event::new(), messages_max });
        (Sender(channel.clone()), Receiver(channel))
    }
}

struct Channel<T> {
    state: Mutex<State<T>>,
    /// Told once for every message that was taken.
    room: Event,
    messages_max: usize,
}

struct State<T> {
    messages: VecDeque<T>,
    /// The receiver, while it waits.
    receiver: Option<Waker>,
    senders: usize,
    /// Whether the receiver is gone.
    closed: bool,
}

enum Refused<T> {
    Full(T),
    Closed(T),
}

impl<T> Channel<T> {
    fn try_send(&self, message: T) -> Result<(), Refused<T>> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Refused::Closed(message));
        }
        if state.messages.len() >= self.messages_max {
            return Err(Refused::Full(message));
        }
        state.messages.push_back(message);
        let receiver = state.receiver.take();
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.state.lock();
        let Some(message) = state.messages.pop_front() else {
            return Err(if state.senders == 0 { TryRecvError::Disconnected } else { TryRecvError::Empty });
        };
        drop(state);
        self.room.notify_additional(1);
        Ok(message)
    }
}

pub(crate) struct Sender<T>(Arc<Channel<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.senders -= 1;
        let receiver = if state.senders == 0 { state.receiver.take() } else { None };
        drop(state);
        receiver.into_iter().for_each(Waker::wake);
    }
}

impl<T: OptionalSend> MpscSender<Mpsc, T> for Sender<T> {
    async fn send(&self, mut message: T) -> Result<(), SendError<T>> {
        loop {
            // Listens before the second look, so that room made in between is not missed.
            let listener = match self.0.try_send(message) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(message)) => return Err(SendError(message)),
                Err(Refused::Full(refused)) => {
                    message = refused;
                    self.0.room.listen()
                }
            };
            match self.0.try_send(message) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(message)) => return Err(SendError(message)),
                Err(Refused::Full(refused)) => message = refused,
            }
            listener.await;
        }
    }

    fn downgrade(&self) -> WeakSender<T> {
        WeakSender(self.0.clone())
    }
}

/// Can be made a sender as long as another sender lives.
pub(crate) struct WeakSender<T>(Arc<Channel<T>>);

impl<T> Clone for WeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: OptionalSend> MpscWeakSender<Mpsc, T> for WeakSender<T> {
    fn upgrade(&self) -> Option<Sender<T>> {
        let mut state = self.0.state.lock();
        if state.senders == 0 {
            return None;
        }
        state.senders += 1;
        drop(state);
        Some(Sender(self.0.clone()))
    }
}

pub(crate) struct Receiver<T>(Arc<Channel<T>>);

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        let messages = mem::take(&mut state.messages);
        drop(state);
        drop(messages);
        self.0.room.notify(usize::MAX);
    }
}

impl<T: OptionalSend> MpscReceiver<T> for Receiver<T> {
    async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| {
            let mut state = self.0.state.lock();
            let message = state.messages.pop_front();
            if message.is_none() && state.senders > 0 {
                match &mut state.receiver {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            drop(state);
            if message.is_some() {
                self.0.room.notify_additional(1);
            }
            Poll::Ready(message)
        })
        .await
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv()
    }
}
