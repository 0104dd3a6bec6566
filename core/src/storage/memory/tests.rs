use super::MemoryDisk;
use crate::record::Record;
use crate::revision::{LeaseId, Revision};
use crate::storage::conformance::{Fault, Harness, LogIo, Opened};
use crate::storage::{
    Checkpoint, EntryKind, Findings, Flush, Log, LogEntry, LogId, LogOp, Records, RecordsStats, StorageError,
};
use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A memory disk in the hands of the suite.
struct MemoryHarness(MemoryDisk);

impl Harness for MemoryHarness {
    fn open(&mut self) -> Result<Opened, StorageError> {
        let (log, records) = self.0.open()?;
        Ok(Opened { log: Box::new(log), records: Arc::new(records) })
    }

    fn operations(&self) -> u64 {
        self.0.operations()
    }

    fn arm(&mut self, at: u64, fault: Fault) -> bool {
        self.0.arm(at, fault);
        true
    }

    fn disarm(&mut self) {
        self.0.disarm();
    }

    fn fired(&self) -> bool {
        self.0.fired()
    }

    fn crash(&mut self, seed: u64) {
        self.0.crash(seed);
    }

    fn flip(&mut self, seed: u64) -> Option<String> {
        self.0.damage(seed)
    }

    fn log_io(&self) -> Option<LogIo> {
        Some(self.0.log_io())
    }
}

/// The suite, on a disk that can lose all that a real one can.
mod suite {
    use super::{MemoryDisk, MemoryHarness};

    crate::conformance_tests!(|| Box::new(MemoryHarness(MemoryDisk::simulated())));
}

fn put(main: i64, value: Bytes) -> Arc<Record> {
    Arc::new(Record {
        revision: Revision::first(main),
        key: Bytes::from_static(b"key"),
        value,
        create_revision: main,
        version: 1,
        lease: LeaseId::NONE,
        tombstone: false,
    })
}

fn checkpoint(index: u64) -> Checkpoint {
    Checkpoint { applied: LogId { term: 1, index }, revision: 1, compact_revision: 0, state: Bytes::new() }
}

fn append(index: u64, length: usize) -> LogOp {
    let payload = vec![7; length].into();
    LogOp::Append(vec![LogEntry { id: LogId { term: 1, index }, kind: EntryKind::Normal, payload }])
}

#[test]
fn an_open_disk_is_in_use_until_both_halves_are_dropped() {
    let disk = MemoryDisk::new();
    let (log, records) = disk.open().unwrap();
    let reader = log.reader();
    assert!(matches!(disk.open(), Err(StorageError::InUse { .. })));
    drop(log);
    assert!(matches!(disk.open(), Err(StorageError::InUse { .. })));
    drop(records);
    let _reopened = disk.open().unwrap();
    assert!(
        reader.read(0..9, 1, &mut |_| ControlFlow::Continue(())).is_err(),
        "a reader of a closed store reads"
    );
}

#[test]
fn handles_from_before_a_power_cut_change_nothing() {
    let disk = MemoryDisk::simulated();
    let (mut old_log, old_records) = disk.open().unwrap();
    old_log.write(&[append(0, 10)], None).unwrap();
    disk.crash(1);
    let (mut log, records) = disk.open().unwrap();
    assert!(matches!(old_log.write(&[append(1, 10)], None), Err(StorageError::Poisoned { .. })));
    assert!(old_log.purge(LogId { term: 1, index: 0 }).is_err());
    assert!(old_records.flush(Flush { records: &[], checkpoint: &checkpoint(0) }).is_err());
    assert!(old_records.scan(0, i64::MAX, &mut |_| ControlFlow::Continue(())).is_err());
    assert!(old_log.reader().read(0..9, 1, &mut |_| ControlFlow::Continue(())).is_err());
    log.write(&[append(1, 10)], None).unwrap();
    assert_eq!(records.checkpoint(), None);
}

#[test]
fn purging_frees_memory_at_once() {
    let disk = MemoryDisk::new();
    let (mut log, _records) = disk.open().unwrap();
    for index in 0..100 {
        log.write(&[append(index, 10_000)], None).unwrap();
    }
    assert!(log.disk_bytes() > 1_000_000);
    log.purge(LogId { term: 1, index: 99 }).unwrap();
    assert_eq!(log.disk_bytes(), 0);
}

#[test]
fn stored_records_own_their_bytes() {
    let (_log, records) = MemoryDisk::new().open().unwrap();
    let message = Bytes::from(vec![7; 1 << 20]);
    records.flush(Flush { records: &[put(2, message.slice(10..20))], checkpoint: &checkpoint(0) }).unwrap();
    assert!(message.is_unique(), "one small value keeps a whole message alive");
    assert!(records.stats().disk_bytes < 1_000);
}

#[test]
fn dead_records_leave_no_memory_behind() {
    let (_log, records) = MemoryDisk::new().open().unwrap();
    for main in 2..2_002 {
        let value = Bytes::from(vec![7; 1_000]);
        let flush = Flush { records: &[put(main, value)], checkpoint: &checkpoint(main as u64) };
        records.flush(flush).unwrap();
    }
    let dead: Vec<_> = (2..2_002).map(Revision::first).collect();
    records.drop_revisions(&dead);
    records.drop_revisions(&dead);
    assert_eq!(records.stats().live_bytes, 0);
    while records.reclaim(1).unwrap().more {}
    assert_eq!(records.stats(), RecordsStats::default());
}

#[test]
fn damage_is_told() {
    let disk = MemoryDisk::new();
    assert_eq!(disk.damage(0), None, "an empty disk has nothing to damage");
    let (mut log, records) = disk.open().unwrap();
    log.write(&[append(0, 10)], None).unwrap();
    records.flush(Flush { records: &[put(2, Bytes::new())], checkpoint: &checkpoint(0) }).unwrap();
    drop((log, records));
    disk.damage(0).unwrap();
    let mut findings = Findings::default();
    let result = disk.open().and_then(|(_, records)| records.verify(&mut findings));
    let told = matches!(result, Err(StorageError::Corrupt { .. })) || findings.damage() == 1;
    assert!(told, "{result:?} {findings:?}");
}
