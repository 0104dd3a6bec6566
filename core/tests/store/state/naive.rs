//! The state machine as one would write it without a thought for memory or speed: the whole content of every
//! revision. What the real one is compared with.

use super::harness::TERM;
use bytes::Bytes;
use coffer_core::request::*;
use coffer_core::state::*;
use coffer_core::{Error, KeyRange, LeaseId, Revision};
use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) value: Bytes,
    pub(crate) create: i64,
    pub(crate) revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
}

pub(crate) type Content = BTreeMap<Bytes, Pair>;

/// A change: key, where, what was put (nothing: deleted), and the record before the transaction.
pub(crate) type Change = (Bytes, Revision, Option<Pair>, Option<Revision>);

#[derive(Debug)]
pub(crate) struct Naive {
    pub(crate) contents: BTreeMap<i64, Content>,
    pub(crate) compact_revision: i64,
    pub(crate) leases: BTreeMap<LeaseId, LeaseInfo>,
    pub(crate) changes: Vec<Change>,
    /// What the ranges of txns find, in their order.
    pub(crate) ranges: RefCell<Vec<RangeOutcome>>,
}

/// A command under way.
struct Draft {
    content: Content,
    main: i64,
    changes: Vec<Change>,
}

impl Naive {
    pub(crate) fn new() -> Self {
        Self {
            contents: BTreeMap::from([(1, Content::new())]),
            compact_revision: 0,
            leases: BTreeMap::new(),
            changes: Vec::new(),
            ranges: RefCell::default(),
        }
    }

    pub(crate) fn revision(&self) -> i64 {
        *self.contents.last_key_value().unwrap().0
    }

    pub(crate) fn newest(&self) -> &Content {
        self.contents.last_key_value().unwrap().1
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Result<Outcome, Error> {
        match command {
            Command::Put(request) => {
                self.lease_exists(request.lease)?;
                let needs_key = request.ignore_value || request.ignore_lease;
                if needs_key && !self.newest().contains_key(&request.key) {
                    return Err(Error::KeyNotFound);
                }
                let mut draft = self.draft();
                let outcome = draft.put(request);
                self.take(draft);
                Ok(outcome)
            }
            Command::DeleteRange(request) => {
                let mut draft = self.draft();
                let outcome = draft.delete(request);
                self.take(draft);
                Ok(outcome)
            }
            Command::Txn(request) => {
                self.check(request)?;
                let mut draft = self.draft();
                let outcome = self.run(request, &mut draft);
                self.take(draft);
                Ok(outcome)
            }
            Command::Compact { revision } if *revision <= self.compact_revision => {
                Err(Error::Compacted { compact_revision: self.compact_revision })
            }
            Command::Compact { revision } if *revision > self.revision() => Err(Error::FutureRevision),
            Command::Compact { revision } => {
                self.compact_revision = *revision;
                Ok(Outcome::Compact)
            }
            Command::LeaseGrant { id, .. } if self.leases.contains_key(id) => Err(Error::LeaseExists),
            Command::LeaseGrant { id, ttl_s } => {
                self.leases.insert(*id, LeaseInfo { ttl_s: *ttl_s, remaining_s: 0 });
                Ok(Outcome::LeaseGrant { id: *id, ttl_s: *ttl_s })
            }
            Command::LeaseRevoke { id } => self.revoke(*id).map(|()| Outcome::LeaseRevoke),
            Command::LeaseExpire { term, leases } => {
                for id in leases.iter().filter(|_| *term == TERM) {
                    let _ = self.revoke(*id);
                }
                Ok(Outcome::LeaseExpire)
            }
            Command::LeaseCheckpoint { term, remaining } => {
                for (id, remaining_s) in remaining.iter().filter(|_| *term == TERM) {
                    if let Some(lease) = self.leases.get_mut(id) {
                        lease.remaining_s = (*remaining_s).max(0).min(lease.ttl_s);
                    }
                }
                Ok(Outcome::LeaseCheckpoint)
            }
            // Never made here: `alarms` tells their story.
            Command::Alarm { .. } | Command::Quota { .. } | Command::Differs { .. } => unreachable!(),
        }
    }

    pub(crate) fn lease_keys(&self, id: LeaseId) -> Vec<Bytes> {
        self.newest().iter().filter(|(_, pair)| pair.lease == id).map(|(key, _)| key.clone()).collect()
    }

    fn revoke(&mut self, id: LeaseId) -> Result<(), Error> {
        self.leases.remove(&id).ok_or(Error::LeaseNotFound)?;
        let mut draft = self.draft();
        for key in self.lease_keys(id) {
            draft.delete(&DeleteRangeRequest { range: KeyRange::single(key), prev_kv: false });
        }
        self.take(draft);
        Ok(())
    }

    fn lease_exists(&self, id: LeaseId) -> Result<(), Error> {
        if id.is_none() || self.leases.contains_key(&id) { Ok(()) } else { Err(Error::LeaseNotFound) }
    }

    fn draft(&self) -> Draft {
        Draft { content: self.newest().clone(), main: self.revision() + 1, changes: Vec::new() }
    }

    fn take(&mut self, mut draft: Draft) {
        let before = self.newest().clone();
        for change in &mut draft.changes {
            change.3 = before.get(&change.0).map(|pair| pair.revision);
        }
        if !draft.changes.is_empty() {
            self.contents.insert(draft.main, draft.content);
        }
        self.changes.append(&mut draft.changes);
    }

    fn ops<'a>(&self, request: &'a TxnRequest) -> (bool, &'a [TxnOp]) {
        let holds = request.compare.iter().all(|compare| self.holds(compare));
        (holds, if holds { &request.success } else { &request.failure })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let content = self.newest();
        let mut found = content.iter().filter(|(key, _)| compare.range.contains(key)).peekable();
        if found.peek().is_none() {
            return match &compare.target {
                CompareTarget::Value(_) => false,
                CompareTarget::Version(given) | CompareTarget::Create(given) | CompareTarget::Mod(given) => {
                    relates(compare.result, &0, given)
                }
                CompareTarget::Lease(given) => relates(compare.result, &0, &given.0),
            };
        }
        found.all(|(_, pair)| match &compare.target {
            CompareTarget::Version(given) => relates(compare.result, &pair.version, given),
            CompareTarget::Create(given) => relates(compare.result, &pair.create, given),
            CompareTarget::Mod(given) => relates(compare.result, &pair.revision.main, given),
            CompareTarget::Value(given) => relates(compare.result, &pair.value, given),
            CompareTarget::Lease(given) => relates(compare.result, &pair.lease, given),
        })
    }

    fn check(&self, request: &TxnRequest) -> Result<(), Error> {
        for op in self.ops(request).1 {
            match op {
                TxnOp::Range(range) if range.revision > self.revision() => return Err(Error::FutureRevision),
                TxnOp::Range(range)
                    if range.revision < -1 || range.revision == -1 && self.compact_revision > 0 =>
                {
                    return Err(Error::Compacted { compact_revision: self.compact_revision });
                }
                TxnOp::Range(range) if range.revision > 0 && range.revision < self.compact_revision => {
                    return Err(Error::Compacted { compact_revision: self.compact_revision });
                }
                TxnOp::Put(put) => {
                    self.lease_exists(put.lease)?;
                    let needs_key = put.ignore_value || put.ignore_lease;
                    if needs_key && !self.newest().contains_key(&put.key) {
                        return Err(Error::KeyNotFound);
                    }
                }
                TxnOp::Txn(nested) => self.check(nested)?,
                TxnOp::Range(_) | TxnOp::DeleteRange(_) => {}
            }
        }
        Ok(())
    }

    fn run(&self, request: &TxnRequest, draft: &mut Draft) -> Outcome {
        let (succeeded, ops) = self.ops(request);
        let mut run_op = |op: &TxnOp| match op {
            TxnOp::Range(range) if range.revision > 0 => {
                let at = self.contents.range(..=range.revision).next_back();
                self.show(find(at.unwrap().1, range))
            }
            TxnOp::Range(range) => self.show(find(&draft.content, range)),
            TxnOp::Put(put) => draft.put(put),
            TxnOp::DeleteRange(delete) => draft.delete(delete),
            TxnOp::Txn(nested) => self.run(nested, draft),
        };
        Outcome::Txn { succeeded, responses: ops.iter().map(&mut run_op).collect() }
    }
}

impl Naive {
    fn show(&self, outcome: RangeOutcome) -> Outcome {
        let request = RangeRequest { revision: 0, ..outcome.request.clone() };
        self.ranges.borrow_mut().push(outcome);
        Outcome::Range(RangeView::settled(request, 0))
    }
}

impl Draft {
    fn next(&self) -> Revision {
        Revision { main: self.main, sub: self.changes.len() as u32 }
    }

    fn put(&mut self, request: &PutRequest) -> Outcome {
        let before = self.content.get(&request.key).cloned();
        let mut pair = Pair {
            value: request.value.clone(),
            create: self.main,
            revision: self.next(),
            version: 1,
            lease: request.lease,
        };
        if let Some(before) = &before {
            pair.create = before.create;
            pair.version = before.version + 1;
            if request.ignore_value {
                pair.value = before.value.clone();
            }
            if request.ignore_lease {
                pair.lease = before.lease;
            }
        }
        self.content.insert(request.key.clone(), pair.clone());
        self.changes.push((request.key.clone(), pair.revision, Some(pair), None));
        Outcome::Put { prev: before.filter(|_| request.prev_kv).map(|before| before.revision) }
    }

    fn delete(&mut self, request: &DeleteRangeRequest) -> Outcome {
        let keys: Vec<Bytes> =
            self.content.keys().filter(|key| request.range.contains(key)).cloned().collect();
        let mut prev = Vec::new();
        for key in &keys {
            let before = self.content.remove(key).unwrap();
            prev.push(before.revision);
            self.changes.push((key.clone(), self.next(), None, None));
        }
        if !request.prev_kv {
            prev.clear();
        }
        Outcome::DeleteRange { deleted: keys.len() as i64, prev }
    }
}

pub(crate) fn find(content: &Content, request: &RangeRequest) -> RangeOutcome {
    // Several records that will be read have their keys themselves.
    let has_keys = request.answers_from_index() || request.range.is_single();
    let all = content.iter().filter(|(key, _)| request.range.contains(key)).map(|(key, pair)| IndexEntry {
        key: if has_keys { key.clone() } else { Bytes::new() },
        revision: pair.revision,
        create_revision: pair.create,
        version: pair.version,
    });
    let mut found: Vec<IndexEntry> = all.collect();
    // etcd takes one more than the limit unless it is asked for an order, or filters.
    let is_plain = request.sort_order == SortOrder::None
        || (request.sort_order, request.sort_target) == (SortOrder::Ascend, SortTarget::Key);
    let cuts = is_plain && !request.has_filters();
    let count = found.len() as i64;
    if request.count_only {
        found.clear();
    } else if request.limit > 0 && cuts {
        found.truncate(request.limit as usize + 1);
    }
    RangeOutcome { request: request.clone(), found, count }
}

fn relates<T: Ord>(result: CompareResult, stored: &T, given: &T) -> bool {
    match result {
        CompareResult::Equal => stored == given,
        CompareResult::Greater => stored > given,
        CompareResult::Less => stored < given,
        CompareResult::NotEqual => stored != given,
    }
}
