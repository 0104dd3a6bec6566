//! A network between a client and a server that fails when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Passes bytes between clients and a server.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    silent: AtomicBool,
    /// Bytes of the server that still pass before the connection is cut.
    answers_left: AtomicUsize,
}

impl Proxy {
    pub(crate) fn new(to: &str) -> Self {
        let to = to.strip_prefix("coffer://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("coffer://{}", listener.local_addr().unwrap());
        let state =
            Arc::new(State { silent: AtomicBool::new(false), answers_left: AtomicUsize::new(usize::MAX) });
        let shared = state.clone();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let Ok(server) = TcpStream::connect(&to) else { continue };
                for (from, to, is_answer) in [(&client, &server, false), (&server, &client, true)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let state = shared.clone();
                    std::thread::spawn(move || state.pass(from, to, is_answer));
                }
            }
        });
        Self { url, state }
    }

    /// Swallows what comes from now on: the network is gone and nobody is told.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::Relaxed);
    }

    /// Cuts the connection once `bytes` more have come from the server. The next connection is whole.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.state.answers_left.store(bytes, Ordering::Relaxed);
    }

    /// Whether the connection was cut as [`cut_after`](Self::cut_after) asked.
    pub(crate) fn has_cut(&self) -> bool {
        self.state.answers_left.load(Ordering::Relaxed) > isize::MAX as usize
    }
}

impl State {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut buffer = [0; 16 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            if is_answer && !self.may_pass(bytes) {
                break;
            }
            if !self.silent.load(Ordering::Relaxed) && to.write_all(&buffer[..bytes]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn may_pass(&self, bytes: usize) -> bool {
        let left = self.answers_left.load(Ordering::Relaxed);
        let after = if left == usize::MAX { Some(left) } else { left.checked_sub(bytes) };
        self.answers_left.store(after.unwrap_or(usize::MAX), Ordering::Relaxed);
        after.is_some()
    }
}
