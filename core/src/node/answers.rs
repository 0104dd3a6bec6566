//! Turns outcomes, which carry revisions, into responses, which carry values: on the caller's own thread, where the
//! other calls have their turn in between.
//!
//! # Invariants
//! - One answer holds no more than a bound of bytes, and one pair; what would need more is refused, and no more of it is
//!   read.
//! - What only some answers need (ranges, pairs from before) is a future of its own on the heap: the answer's is moved
//!   with every call that waits for one.

use super::range;
use super::turns::Turns;
use super::values::ValueStore;
use crate::error::Error;
use crate::record::KeyValue;
use crate::request::{
    DeleteRangeResponse, Header, PutResponse, RangeRequest, RangeResponse, TxnOpResponse, TxnRequest,
    TxnResponse,
};
use crate::revision::Revision;
use crate::state::{Budget, Outcome, RangeView, StateReader};

/// What one operation beside others in an answer takes, about.
const OP_BYTES: usize = 128;

/// The answer to one request. The history is pinned while it is made, since before the request was carried out.
pub(super) struct Answering<'a> {
    reader: &'a StateReader,
    values: &'a ValueStore,
    turns: Turns,
    bytes_left: usize,
    /// What the ranges may still look at.
    budget: Budget,
    /// Whether apply has counted already what ranges of the newest revision look at.
    is_counted: bool,
}

impl<'a> Answering<'a> {
    /// The answer of about `bytes_max` at most to a request that was applied.
    pub(super) fn applied(reader: &'a StateReader, values: &'a ValueStore, bytes_max: usize) -> Self {
        let (turns, budget) = (Turns::new(), Budget::default());
        Self { reader, values, turns, bytes_left: bytes_max, budget, is_counted: true }
    }

    /// Chooses the branches of a txn that only reads, at the pinned revision `at`: its outcome, and its answer to be.
    ///
    /// # Errors
    /// As [`crate::state::TxnReading::step`].
    pub(super) async fn read(
        reader: &'a StateReader,
        values: &'a ValueStore,
        request: &TxnRequest,
        at: i64,
        bytes_max: usize,
    ) -> Result<(Outcome, Self), Error> {
        let mut turns = Turns::new();
        let mut reading = reader.read_txn(request, at);
        loop {
            let (before, keys) = (reading.budget().left(), reading.step_keys());
            if let Some((outcome, budget)) = reading.step(values)?? {
                return Ok((
                    outcome,
                    Self { reader, values, turns, bytes_left: bytes_max, budget, is_counted: false },
                ));
            }
            let looks = usize::try_from(before - reading.budget().left()).unwrap_or(usize::MAX);
            turns.worked(looks.max(keys)).await;
        }
    }

    /// The answer to a put.
    ///
    /// # Errors
    /// A local fault.
    pub(super) async fn put(&mut self, outcome: Outcome, header: Header) -> Result<PutResponse, Error> {
        match outcome {
            Outcome::Put { prev } => {
                let prev_kv = self.load(prev.into_iter().collect()).await?.pop();
                Ok(PutResponse { header, prev_kv })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The answer to a delete.
    ///
    /// # Errors
    /// [`Error::AnswerTooLarge`]; a local fault.
    pub(super) async fn delete_range(
        &mut self,
        outcome: Outcome,
        header: Header,
    ) -> Result<DeleteRangeResponse, Error> {
        match outcome {
            Outcome::DeleteRange { deleted, prev } => {
                Ok(DeleteRangeResponse { header, deleted, prev_kvs: self.load(prev).await? })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The answer to a txn. What its operations say of the revision is what they saw: the one before the txn until one
    /// of them changed something, the txn's own from then on; a nested txn says nothing. So does etcd.
    ///
    /// # Errors
    /// [`Error::TxnTooLarge`], [`Error::AnswerTooLarge`]; a local fault.
    pub(super) async fn txn(&mut self, outcome: Outcome, header: Header) -> Result<TxnResponse, Error> {
        let Outcome::Txn { succeeded, responses } = outcome else { return Err(unexpected(&outcome)) };
        let before = header.revision - i64::from(responses.iter().any(changes));
        let mut seen = Seen { now: before, after: header.revision };
        Ok(TxnResponse { header, succeeded, responses: self.txn_ops(responses, &mut seen).await? })
    }

    async fn txn_ops(
        &mut self,
        outcomes: Vec<Outcome>,
        seen: &mut Seen,
    ) -> Result<Vec<TxnOpResponse>, Error> {
        let mut responses = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            self.take_bytes(OP_BYTES)?;
            responses.push(match outcome {
                Outcome::Txn { succeeded, responses } => {
                    let responses = Box::pin(self.txn_ops(responses, seen)).await?;
                    TxnOpResponse::Txn(TxnResponse { header: Header::default(), succeeded, responses })
                }
                outcome => self.txn_op(outcome, seen).await?,
            });
        }
        Ok(responses)
    }

    async fn txn_op(&mut self, outcome: Outcome, seen: &mut Seen) -> Result<TxnOpResponse, Error> {
        if changes(&outcome) {
            seen.now = seen.after;
        }
        let header = Header { revision: seen.now, ..Header::default() };
        Ok(match outcome {
            Outcome::Range(view) => TxnOpResponse::Range(Box::pin(self.range(view, header)).await?),
            Outcome::Put { .. } => TxnOpResponse::Put(self.put(outcome, header).await?),
            Outcome::DeleteRange { .. } => {
                TxnOpResponse::DeleteRange(self.delete_range(outcome, header).await?)
            }
            other => return Err(unexpected(&other)),
        })
    }

    async fn range(&mut self, view: RangeView, header: Header) -> Result<RangeResponse, Error> {
        let budget = (!self.is_counted || view.request.revision > 0).then_some(self.budget);
        let request = view.request.clone();
        let check = |found| budget.map_or(Ok(()), |mut budget| budget.spend(looks(&request, found)));
        let outcome = range::find(self.reader.find(view), self.values, &mut self.turns, check).await?;
        if budget.is_some() {
            self.budget.spend(looks(&request, outcome.found.len()))?;
        }
        let read = range::finish(self.values, outcome, self.bytes_left, header, &mut self.turns).await?;
        if read.is_cut {
            return Err(Error::AnswerTooLarge);
        }
        self.bytes_left = self.bytes_left.saturating_sub(read.bytes);
        Ok(read.response)
    }

    async fn load(&mut self, revisions: Vec<Revision>) -> Result<Vec<KeyValue>, Error> {
        if revisions.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = revisions.len();
        let loading = range::load(self.values, revisions.into_iter(), self.bytes_left, &mut self.turns);
        let (kvs, bytes) = Box::pin(loading).await?;
        if kvs.len() < wanted {
            return Err(Error::AnswerTooLarge);
        }
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        Ok(kvs)
    }

    fn take_bytes(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(Error::AnswerTooLarge)?;
        Ok(())
    }
}

/// What a range of a txn looks at that finds so many keys, as apply counts it.
fn looks(request: &RangeRequest, found: usize) -> u64 {
    let found = found as u64;
    match request.limit {
        limit if limit > 0 && request.limit_comes_first() => found.min(limit as u64),
        _ => found,
    }
    .max(1)
}

/// The revision as the operations of a txn see it, in their order.
struct Seen {
    now: i64,
    after: i64,
}

fn changes(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Put { .. } => true,
        Outcome::DeleteRange { deleted, .. } => *deleted > 0,
        Outcome::Txn { responses, .. } => responses.iter().any(changes),
        _ => false,
    }
}

/// The fault of an outcome that does not belong to its command.
pub(super) fn unexpected(outcome: &Outcome) -> Error {
    let kind = match outcome {
        Outcome::Range(_) => "range",
        Outcome::Put { .. } => "put",
        Outcome::DeleteRange { .. } => "delete",
        Outcome::Txn { .. } => "txn",
        Outcome::Compact => "compact",
        Outcome::LeaseGrant { .. } => "lease grant",
        Outcome::LeaseRevoke => "lease revoke",
        Outcome::LeaseExpire => "lease expire",
        Outcome::LeaseCheckpoint => "lease checkpoint",
        Outcome::Alarm { .. } => "alarm",
    };
    Error::Fatal(format!("the state machine answered with the outcome of another command: {kind}"))
}
