//! What the state machine costs on the apply thread: time per command, by kind. One JSON line per case.
//!
//! Values are 256 bytes; batches hold as many commands as are merged into one log entry. Decoding the batch is part
//! of what is measured, encoding it is not. Times are those of the CPU, so that a busy machine matters less.

use bytes::Bytes;
use clap::Parser;
use coffer_core::request::*;
use coffer_core::state::*;
use coffer_core::storage::{LogId, StorageError};
use coffer_core::{KeyRange, LeaseId, Record, Revision};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Measures the state machine.
#[derive(Parser)]
struct Options {
    /// Numbers of keys.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    keys: Vec<usize>,
    /// Commands of a batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
}

/// One result.
#[derive(Serialize)]
struct Case {
    case: &'static str,
    keys: usize,
    operations: usize,
    ns_per_operation: f64,
}

/// Holds the records in memory in revision order, as the node does until they are flushed.
#[derive(Default)]
struct MemoryValues(Mutex<Vec<Arc<Record>>>);

impl Values for MemoryValues {
    fn load(&self, revision: Revision) -> Result<Arc<Record>, StorageError> {
        let records = self.0.lock().expect("no test panics under the lock");
        let at = records.binary_search_by_key(&revision, |record| record.revision);
        Ok(Arc::clone(&records[at.expect("the index names records that were stored")]))
    }

    fn store(&self, record: Arc<Record>) {
        self.0.lock().expect("no test panics under the lock").push(record);
    }
}

fn main() -> Result<(), StorageError> {
    let options = Options::parse();
    for &keys in &options.keys {
        Bench {
            keys,
            batch: options.batch,
            state: State::new(),
            values: MemoryValues::default(),
            sequence: 0,
        }
        .run()?;
    }
    Ok(())
}

struct Bench {
    keys: usize,
    batch: usize,
    state: State,
    values: MemoryValues,
    sequence: u64,
}

impl Bench {
    fn run(mut self) -> Result<(), StorageError> {
        let mut names: Vec<Bytes> = (0..self.keys).map(name).collect();
        names.shuffle(&mut StdRng::seed_from_u64(1));
        let value = Bytes::from(vec![7; 256]);
        let put = |key: &Bytes, lease| PutRequest {
            key: key.clone(),
            value: value.clone(),
            lease: LeaseId(lease),
            ..PutRequest::default()
        };
        self.time("create", names.iter().map(|key| Command::Put(put(key, 0))).collect())?;
        let some = &names[..self.keys.min(100_000)];
        self.time("update", some.iter().map(|key| Command::Put(put(key, 0))).collect())?;
        let compare = |key: &Bytes| Compare {
            range: KeyRange::single(key.clone()),
            result: CompareResult::Equal,
            target: CompareTarget::Version(2),
        };
        let swap = |key: &Bytes| TxnRequest {
            compare: vec![compare(key)],
            success: vec![TxnOp::Put(put(key, 0))],
            failure: vec![TxnOp::Range(RangeRequest::new(KeyRange::single(key.clone())))],
        };
        self.time("compare_and_swap", some.iter().map(|key| Command::Txn(swap(key))).collect())?;
        let leases = 1..=some.len() as i64;
        let grants = leases.clone().map(|id| Command::LeaseGrant { id: LeaseId(id), ttl_s: 60 });
        self.time("lease_grant", grants.collect())?;
        let leased = some.iter().zip(leases.clone()).map(|(key, id)| Command::Put(put(key, id)));
        self.time("put_with_lease", leased.collect())?;
        let start = cpu_time();
        let checkpoint = self.state.checkpoint().map(|checkpoint| checkpoint.state.len());
        self.report("checkpoint", 1, start);
        assert!(checkpoint > Some(some.len()));
        let ids: Vec<i64> = leases.collect();
        let expire = ids
            .chunks(1000)
            .map(|ids| Command::LeaseExpire { term: 1, leases: ids.iter().copied().map(LeaseId).collect() });
        self.time("lease_expire_1000", expire.collect())?;
        let all = DeleteRangeRequest { range: KeyRange::all(), prev_kv: false };
        self.time("delete_everything", vec![Command::DeleteRange(all)])
    }

    /// Applies commands in batches and reports the mean time of one.
    fn time(&mut self, case: &'static str, commands: Vec<Command>) -> Result<(), StorageError> {
        let operations = commands.len();
        let mut batches = Vec::new();
        let mut proposals = Vec::with_capacity(self.batch);
        for command in commands {
            self.sequence += 1;
            let id = RequestId { member: 0x1234_5678_9abc_def0, boot: 1, sequence: self.sequence };
            proposals.push(Proposal { id, command });
            if proposals.len() == self.batch {
                batches.push(encode_batch(&proposals));
                proposals.clear();
            }
        }
        batches.push(encode_batch(&proposals));
        let start = cpu_time();
        for batch in batches {
            self.state.apply(LogId { term: 1, index: self.sequence }, batch, &self.values)?;
        }
        self.report(case, operations, start);
        Ok(())
    }

    fn report(&self, case: &'static str, operations: usize, start: Duration) {
        let ns_per_operation = (cpu_time() - start).as_nanos() as f64 / operations as f64;
        let case = Case { case, keys: self.keys, operations, ns_per_operation };
        let line = serde_json::to_string(&case).expect("numbers and names can be written as JSON");
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn name(number: usize) -> Bytes {
    format!("/registry/pods/namespace-{:04}/pod-{number:08}", number % 1000).into()
}

/// Time that this thread has spent on a CPU.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
