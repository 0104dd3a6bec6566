//! A state with its values in memory, driven command by command.

use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::*;
use coffer_core::storage::{LogId, StorageError};
use coffer_core::{Error, KeyRange, LeaseId, Record, Revision};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub(crate) const TERM: u64 = 3;

/// Keeps every record for ever.
#[derive(Debug, Default)]
pub(crate) struct MemoryValues(pub Mutex<BTreeMap<Revision, Arc<Record>>>);

impl Values for MemoryValues {
    fn load(&self, revision: Revision) -> Result<Arc<Record>, StorageError> {
        Ok(self.0.lock().unwrap()[&revision].clone())
    }

    fn store(&self, record: Arc<Record>) {
        let mut records = self.0.lock().unwrap();
        assert!(records.last_key_value().is_none_or(|(last, _)| *last < record.revision), "out of order");
        records.insert(record.revision, record);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) state: State,
    pub(crate) values: Arc<MemoryValues>,
    pub(crate) index: u64,
    /// What the last command did.
    pub(crate) applied: Applied,
}

impl Store {
    /// Applies one command and returns its answer.
    pub(crate) fn apply(&mut self, command: Command) -> Result<Outcome, Error> {
        self.apply_all(vec![command]).remove(0).result
    }

    pub(crate) fn apply_all(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        let proposals = self.proposals(commands);
        self.apply_proposals(&proposals)
    }

    /// Gives commands an identity.
    pub(crate) fn proposals(&mut self, commands: Vec<Command>) -> Vec<Proposal> {
        let mut identify = |command| {
            self.index += 1;
            Proposal { id: RequestId { member: 1, boot: 1, sequence: self.index }, command }
        };
        commands.into_iter().map(&mut identify).collect()
    }

    pub(crate) fn apply_proposals(&mut self, proposals: &[Proposal]) -> Vec<Answer> {
        self.index += 1;
        let id = LogId { term: TERM, index: self.index };
        self.applied = self.state.apply(id, encode_batch(proposals), &*self.values).unwrap();
        self.applied.answers.clone()
    }

    pub(crate) fn reader(&self) -> StateReader {
        self.state.reader()
    }

    pub(crate) fn revision(&self) -> i64 {
        self.reader().revision()
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.apply(Command::Put(put(key, value))).unwrap();
        self.revision()
    }

    pub(crate) fn put_leased(&mut self, key: &str, lease: i64) -> Result<Outcome, Error> {
        self.apply(Command::Put(PutRequest { lease: LeaseId(lease), ..put(key, "v") }))
    }

    pub(crate) fn delete(&mut self, range: KeyRange) -> i64 {
        match self.apply(Command::DeleteRange(DeleteRangeRequest { range, prev_kv: false })) {
            Ok(Outcome::DeleteRange { deleted, .. }) => deleted,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<Outcome, Error> {
        self.apply(Command::Compact { revision })
    }

    pub(crate) fn grant(&mut self, id: i64, ttl_s: i64) -> Result<Outcome, Error> {
        self.apply(Command::LeaseGrant { id: LeaseId(id), ttl_s })
    }

    /// Whether the compares held, and what the operations came to.
    pub(crate) fn txn(&mut self, txn: TxnRequest) -> Result<(bool, Vec<Outcome>), Error> {
        match self.apply(Command::Txn(txn))? {
            Outcome::Txn { succeeded, responses } => Ok((succeeded, responses)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn holds(&mut self, range: KeyRange, result: CompareResult, target: CompareTarget) -> bool {
        self.txn(TxnRequest { compare: vec![Compare { range, result, target }], ..TxnRequest::default() })
            .unwrap()
            .0
    }

    /// Live keys with values at a revision.
    pub(crate) fn content(&self, at: i64) -> Vec<(String, String)> {
        let reader = self.reader();
        let outcome = reader.range(RangeRequest::new(KeyRange::all()), at).unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let records = outcome.found.iter().map(|entry| self.values.load(entry.revision).unwrap());
        records.map(|record| (text(&record.key), text(&record.value))).collect()
    }

    /// Prunes everything that can be pruned, in slices of `keys_max`.
    pub(crate) fn prune(&self, keys_max: usize) -> Vec<Revision> {
        let mut dead = Vec::new();
        let mut from = Bytes::new();
        while let Some(next) = self.reader().prune(&from, keys_max, i64::MAX, &mut dead) {
            from = next;
        }
        dead
    }
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..PutRequest::default()
    }
}

pub(crate) fn key(key: &str) -> KeyRange {
    KeyRange::single(Bytes::copy_from_slice(key.as_bytes()))
}

pub(crate) fn between(start: &str, end: &str) -> KeyRange {
    KeyRange::between(Bytes::copy_from_slice(start.as_bytes()), Bytes::copy_from_slice(end.as_bytes()))
}

/// A range of keys only, so that its outcome has them.
pub(crate) fn read(range: KeyRange) -> TxnOp {
    TxnOp::Range(RangeRequest { keys_only: true, ..RangeRequest::new(range) })
}

pub(crate) fn write(key: &str, value: &str) -> TxnOp {
    TxnOp::Put(put(key, value))
}

pub(crate) fn erase(range: KeyRange) -> TxnOp {
    TxnOp::DeleteRange(DeleteRangeRequest { range, prev_kv: true })
}

pub(crate) fn always(success: Vec<TxnOp>) -> TxnRequest {
    TxnRequest { success, ..TxnRequest::default() }
}

/// A range of a txn as the naive machine shows it: where the real one looks for it is not compared.
fn shown(view: &RangeView) -> Outcome {
    Outcome::Range(RangeView::settled(RangeRequest { revision: 0, ..view.request.clone() }, 0))
}

impl Store {
    /// What a range inside a txn finds.
    pub(crate) fn find(&self, outcome: &Outcome) -> RangeOutcome {
        let Outcome::Range(view) = outcome else { panic!("{outcome:?}") };
        let mut finding = self.reader().find(view.clone());
        while !finding.step(&*self.values).unwrap() {}
        finding.finish().expect("nothing replaces the state")
    }

    /// Keys and main revisions of what a range inside a txn finds.
    pub(crate) fn found(&self, outcome: &Outcome) -> Vec<(String, i64)> {
        let entry =
            |entry: &IndexEntry| (String::from_utf8_lossy(&entry.key).into_owned(), entry.revision.main);
        self.find(outcome).found.iter().map(entry).collect()
    }

    /// What all ranges inside an outcome find, and the outcome without where they look.
    pub(crate) fn find_all(&self, outcome: Outcome, ranges: &mut Vec<RangeOutcome>) -> Outcome {
        match outcome {
            Outcome::Range(view) => {
                ranges.push(self.find(&Outcome::Range(view.clone())));
                shown(&view)
            }
            Outcome::Txn { succeeded, responses } => {
                let responses =
                    responses.into_iter().map(|response| self.find_all(response, ranges)).collect();
                Outcome::Txn { succeeded, responses }
            }
            other => other,
        }
    }

    /// Carries out a txn that only reads, at a revision.
    pub(crate) fn read_txn(&self, request: &TxnRequest, at: i64) -> Result<(Outcome, Budget), Error> {
        let reader = self.reader();
        let mut reading = reader.read_txn(request, at);
        loop {
            if let Some(outcome) = reading.step(&*self.values).unwrap()? {
                return Ok(outcome);
            }
        }
    }
}
