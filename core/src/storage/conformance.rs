//! The suite that every backend passes.

mod harness;

pub use harness::{Fault, Harness, LogIo, Opened};
