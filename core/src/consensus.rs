//! Replicated order of log entries: the only folder that names openraft.
//!
//! Nothing of openraft crosses this boundary: the rest of the store sees [`Consensus`], [`Machine`] and plain types.
