//! Signals reach their stream. Alone in its process: signals are for all of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use coffer_runtime::{Signal, block_on, signal};
use futures_util::StreamExt;
use std::process::Command;

#[test]
fn signals_arrive_in_order() {
    let mut signals = signal().unwrap();
    for (name, expected) in [
        ("HUP", Signal::Hangup),
        ("INT", Signal::Interrupt),
        ("TERM", Signal::Terminate),
        ("HUP", Signal::Hangup),
    ] {
        let sent = Command::new("kill").args(["-s", name, &std::process::id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(block_on(signals.next()), Some(expected));
    }
}
