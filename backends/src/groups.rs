//! What a log holds, whatever the medium: the encoding of a group's operations, and which group has which entries.

pub(crate) mod content;
pub(crate) mod steps;
