//! What a store should hold, and what it is seen to hold.

use crate::record::Record;
use crate::revision::Revision;
use crate::storage::{
    Checkpoint, DirectoryEntry, Findings, HardState, Log, LogEntry, LogId, LogOp, LogReader, LogState,
    Records, StorageError,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A log in its plainest form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogModel {
    pub(super) entries: BTreeMap<u64, LogEntry>,
    pub(super) purged: Option<LogId>,
    pub(super) hard_state: HardState,
}

impl LogModel {
    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.id).or(self.purged)
    }

    pub(super) fn next_index(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    /// Whether `op` continues this log.
    fn admits(&self, op: &LogOp) -> bool {
        match op {
            LogOp::Append(entries) => entries.first().is_none_or(|first| first.id.index == self.next_index()),
            LogOp::Truncate { after } => *after <= self.last(),
            LogOp::SaveHardState(_) => true,
        }
    }

    pub(super) fn apply(&mut self, op: &LogOp) {
        assert!(self.admits(op), "the suite breaks the contract with {op:?}");
        match op {
            LogOp::Append(entries) => {
                self.entries.extend(entries.iter().map(|entry| (entry.id.index, entry.clone())));
            }
            LogOp::Truncate { after } => {
                let first = after.map_or(0, |after| after.index + 1);
                self.entries.split_off(&first);
            }
            LogOp::SaveHardState(state) => self.hard_state = *state,
        }
    }

    pub(super) fn purge(&mut self, up_to: LogId) {
        self.entries = self.entries.split_off(&(up_to.index + 1));
        self.purged = self.purged.max(Some(up_to));
    }

    /// Every log that a crash inside a group may leave, from nothing done to all done: purges that were not durable
    /// may or may not have happened, and of the operations a prefix has.
    pub(super) fn outcomes(&self, purges: &[LogId], ops: &[LogOp]) -> Vec<LogModel> {
        let mut outcomes = Vec::new();
        for purge in std::iter::once(None).chain(purges.iter().copied().map(Some)) {
            let mut log = self.clone();
            if let Some(up_to) = purge {
                log.purge(up_to);
            }
            outcomes.push(log.clone());
            for op in ops.iter().flat_map(atoms) {
                if !log.admits(&op) {
                    break;
                }
                log.apply(&op);
                outcomes.push(log.clone());
            }
        }
        outcomes
    }
}

/// The parts of an operation that happen or do not.
fn atoms(op: &LogOp) -> Vec<LogOp> {
    match op {
        LogOp::Append(entries) => entries.iter().map(|entry| LogOp::Append(vec![entry.clone()])).collect(),
        op => vec![op.clone()],
    }
}

/// What a log shows.
#[derive(Clone, Debug)]
pub(super) struct SeenLog {
    pub(super) state: LogState,
    pub(super) entries: Vec<LogEntry>,
}

impl SeenLog {
    /// Reads a log that was just opened.
    pub(super) fn of(log: &dyn Log) -> Result<Self, StorageError> {
        let seen = Self { state: log.state(), entries: read_all(&*log.reader())? };
        let mut findings = Findings::default();
        log.reader().verify(&mut findings)?;
        if let Some(damage) = findings.first_damage() {
            return Err(damage.clone());
        }
        let last = seen.entries.last().map(|entry| entry.id).or(seen.state.purged);
        assert_eq!(last, seen.state.last, "the entries do not end where the log says");
        assert!(seen.state.committed <= seen.state.last, "committed lies behind the end: {:?}", seen.state);
        Ok(seen)
    }

    pub(super) fn equals(&self, model: &LogModel) -> bool {
        self.state.purged == model.purged
            && self.state.last == model.last()
            && self.state.hard_state == model.hard_state
            && self.entries.iter().eq(model.entries.values())
    }
}

/// Everything that a reader shows.
pub(super) fn read_all(reader: &dyn LogReader) -> Result<Vec<LogEntry>, StorageError> {
    let mut entries = Vec::new();
    reader.read(0..u64::MAX, u64::MAX, &mut |entry| {
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    for pair in entries.windows(2) {
        assert_eq!(pair[0].id.index + 1, pair[1].id.index, "a gap in the log");
    }
    Ok(entries)
}

/// Records in their plainest form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RecordsModel {
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) live: BTreeMap<Revision, Arc<Record>>,
    /// Dropped: each may still be there or not.
    pub(super) dead: BTreeMap<Revision, Arc<Record>>,
}

impl RecordsModel {
    pub(super) fn applied(&self) -> Option<LogId> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.applied)
    }

    pub(super) fn flush(&mut self, records: &[Arc<Record>], checkpoint: &Checkpoint) {
        self.live.extend(records.iter().map(|record| (record.revision, record.clone())));
        self.checkpoint = Some(checkpoint.clone());
    }

    /// What an installation leaves.
    pub(super) fn installed(records: &[Record], checkpoint: &Checkpoint) -> Self {
        let live = records.iter().map(|record| (record.revision, Arc::new(record.clone()))).collect();
        Self { checkpoint: Some(checkpoint.clone()), live, dead: BTreeMap::new() }
    }

    pub(super) fn drop_revisions(&mut self, dead: &[Revision]) {
        for revision in dead {
            if let Some((revision, record)) = self.live.remove_entry(revision) {
                self.dead.insert(revision, record);
            }
        }
    }

    pub(super) fn dead_revisions(&self) -> Vec<Revision> {
        self.dead.keys().copied().collect()
    }
}

/// What a record store shows.
#[derive(Debug)]
pub(super) struct SeenRecords {
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) records: Vec<Record>,
}

impl SeenRecords {
    /// Reads everything in every way and checks that the ways agree. Nothing else may change the store meanwhile.
    pub(super) fn of(store: &dyn Records) -> Result<Self, StorageError> {
        let records = scan_all(store, 0, i64::MAX)?;
        let directory = directory_of(store)?;
        assert!(
            directory.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])),
            "the directory is out of order"
        );
        let mut expected: Vec<_> = records.iter().map(directory_line).collect();
        expected.sort_by(|a, b| order(a).cmp(&order(b)));
        assert!(
            directory == expected,
            "directory and scan disagree: {} and {}",
            directory.len(),
            expected.len()
        );
        for record in &records {
            let block = store.read(record.revision)?;
            let block =
                block.unwrap_or_else(|| panic!("revision {} is scanned but not read", record.revision));
            assert_eq!(block.get(record.revision), Some(record), "block and scan disagree");
            let ordered = block.records.windows(2).all(|pair| pair[0].revision < pair[1].revision);
            assert!(ordered, "a block is out of order");
            let bytes: usize = block.records.iter().map(Record::payload_bytes).sum();
            assert!(block.memory_bytes >= bytes, "a block takes {} bytes for {bytes}", block.memory_bytes);
        }
        let mut findings = Findings::default();
        let verified = store.verify(&mut findings)?;
        if let Some(damage) = findings.first_damage() {
            return Err(damage.clone());
        }
        assert_eq!(verified, records.len() as u64, "records verified and scanned");
        Ok(Self { checkpoint: store.checkpoint(), records })
    }

    /// How this differs from a model; `None` if it does not.
    pub(super) fn difference(&self, model: &RecordsModel) -> Option<String> {
        if self.checkpoint != model.checkpoint {
            return Some(format!("checkpoint {:?}, expected {:?}", self.checkpoint, model.checkpoint));
        }
        let mut live = model.live.iter();
        for record in &self.records {
            if model.dead.get(&record.revision).is_some_and(|dead| **dead == *record) {
                continue;
            }
            match live.next() {
                Some((_, expected)) if **expected == *record => {}
                Some((_, expected)) => return Some(format!("{record:?}, expected {expected:?}")),
                None => return Some(format!("{record:?}, expected nothing more")),
            }
        }
        live.next().map(|(_, expected)| format!("the end, expected {expected:?}"))
    }
}

pub(super) fn scan_all(store: &dyn Records, first: i64, last: i64) -> Result<Vec<Record>, StorageError> {
    let mut records = Vec::new();
    store.scan(first, last, &mut |record| {
        records.push(record.clone());
        ControlFlow::Continue(())
    })?;
    let ordered = records.windows(2).all(|pair| pair[0].revision < pair[1].revision);
    assert!(ordered, "a scan is out of order");
    Ok(records)
}

pub(super) type DirectoryLine = (Bytes, DirectoryEntry);

pub(super) fn directory_of(store: &dyn Records) -> Result<Vec<DirectoryLine>, StorageError> {
    let mut lines = Vec::new();
    store.directory(&mut |key, entry| {
        lines.push((Bytes::copy_from_slice(key), entry.clone()));
        ControlFlow::Continue(())
    })?;
    Ok(lines)
}

fn order(line: &DirectoryLine) -> (&Bytes, Revision) {
    (&line.0, line.1.revision)
}

fn directory_line(record: &Record) -> DirectoryLine {
    let entry = DirectoryEntry {
        revision: record.revision,
        create_revision: record.create_revision,
        version: record.version,
        lease: record.lease,
        tombstone: record.tombstone,
        value_bytes: record.value.len() as u32,
    };
    (record.key.clone(), entry)
}
