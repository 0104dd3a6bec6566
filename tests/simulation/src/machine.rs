//! A machine of one processor, on which everything that happens follows from a seed.
//!
//! The threads of a process stay what they are, but only the one that has the turn runs; all others wait. Wherever a
//! thread would wait for another, for a time or for its own end, it asks the kernel instead, which draws who is next.
//! When nobody can run, time jumps to the next deadline. Nothing in the store knows of it: what it calls in the C
//! library, and what its locks, channels and executors call there, is defined anew by this program ([`calls`]).
//!
//! # Invariants
//! - One thread runs at a time, from its beginning to the end of its last destructor; the kernel needs no lock.
//! - Time is read from the kernel, never from the real clock; random bytes come from the seed.
//! - Nothing depends on addresses being the same, and yet they are: a child process runs each seed from its beginning,
//!   without address randomization, and a thread is gone for good before the next one runs.

mod calls;
mod kernel;
mod random;
mod real;

pub use kernel::{
    Group, boot, end_after, exit, freeze, in_group, kill, note, now, set_wall_offset, thaw, threads,
    trace_hash, turns,
};
pub use random::Random;
