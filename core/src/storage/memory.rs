//! The in-memory reference backend.

/// What survives a restart.
#[derive(Debug, Default)]
pub struct MemoryDisk {}
/// The log half.
#[derive(Debug)]
pub struct MemoryLog {}
/// The records half.
#[derive(Debug)]
pub struct MemoryRecords {}
