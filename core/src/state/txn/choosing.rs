//! Which branches of a txn run: its compares, nested ones too, against the state before it. In short steps, so that a
//! reader can let others have their turn in between; apply takes all of them at once.

use super::budget::{Budget, value_looks};
use super::{Path, Stop, branch};
use crate::key_range::KeyRange;
use crate::request::{Compare, CompareResult, CompareTarget, TxnOp, TxnRequest};
use crate::revision::LeaseId;
use crate::state::Values;
use crate::state::key_index::Version;
use crate::state::range::{self, STEP_KEYS, Walk};
use crate::state::reader::Shared;
use std::cmp::Ordering;

/// Keys whose values one step reads.
const VALUE_KEYS: usize = 16;

/// The state as a txn meets it.
#[derive(Clone, Copy)]
pub(in crate::state) struct Before<'a> {
    pub(in crate::state) shared: &'a Shared,
    pub(in crate::state) values: &'a dyn Values,
    pub(in crate::state) at: i64,
}

/// A txn whose branches are being chosen.
pub(in crate::state) struct Choosing<'r> {
    /// The txns that are under way, the outermost first.
    open: Vec<Open<'r>>,
    /// A compare over several keys that is under way.
    comparing: Option<Comparing<'r>>,
    path: Path,
    budget: Budget,
}

struct Open<'r> {
    request: &'r TxnRequest,
    /// The next compare, or once a branch was chosen, the next operation of it.
    next: usize,
    chosen: Option<bool>,
}

impl<'r> Choosing<'r> {
    pub(in crate::state) fn new(request: &'r TxnRequest) -> Self {
        Self {
            open: vec![Open { request, next: 0, chosen: None }],
            comparing: None,
            path: Path::new(),
            budget: Budget::default(),
        }
    }

    /// What the txn may still look at.
    pub(in crate::state) fn budget(&self) -> Budget {
        self.budget
    }

    /// About how many keys the next step looks at.
    pub(in crate::state) fn step_keys(&self) -> usize {
        if self.comparing.is_some() { STEP_KEYS } else { 1 }
    }

    /// The branches, and what is left to look at; known once a [`step`](Self::step) said so.
    pub(in crate::state) fn finish(self) -> (Path, Budget) {
        (self.path, self.budget)
    }

    /// Takes one step of a few hundred keys at most. Returns whether it was the last.
    pub(in crate::state) fn step(&mut self, before: &Before<'_>) -> Result<bool, Stop> {
        if let Some(comparing) = &mut self.comparing {
            if let Some(holds) = comparing.step(before, &mut self.budget)? {
                self.comparing = None;
                self.compared(holds);
            }
            return Ok(false);
        }
        let Some(open) = self.open.last_mut() else { return Ok(true) };
        let at = open.next;
        open.next += 1;
        match open.chosen {
            None => match open.request.compare.get(at) {
                None => self.choose(true),
                Some(compare) if compare.range.is_single() => {
                    let holds = before.single_holds(compare, &mut self.budget)?;
                    self.compared(holds);
                }
                Some(compare) => {
                    self.budget.spend(before.count(&compare.range).max(1))?;
                    self.comparing =
                        Some(Comparing { compare, rest: compare.range.clone(), is_absent: true });
                }
            },
            Some(chosen) => match branch(open.request, chosen).get(at) {
                None => drop(self.open.pop()),
                Some(TxnOp::Txn(nested)) => {
                    self.open.push(Open { request: nested, next: 0, chosen: None });
                }
                Some(_) => {}
            },
        }
        Ok(false)
    }

    fn compared(&mut self, holds: bool) {
        if !holds {
            self.choose(false);
        }
    }

    fn choose(&mut self, holds: bool) {
        if let Some(open) = self.open.last_mut() {
            (open.chosen, open.next) = (Some(holds), 0);
            self.path.push(holds);
        }
    }
}

/// A compare over several keys. It holds if it does for each of them. Of an absent key version, revisions and lease are
/// 0, and a compare of its value never holds.
struct Comparing<'r> {
    compare: &'r Compare,
    rest: KeyRange,
    is_absent: bool,
}

impl Comparing<'_> {
    /// Whether it holds, once that is known.
    fn step(&mut self, before: &Before<'_>, budget: &mut Budget) -> Result<Option<bool>, Stop> {
        let keys_max = match self.compare.target {
            // These may have to come from the disk.
            CompareTarget::Value(_) | CompareTarget::Lease(_) => VALUE_KEYS,
            CompareTarget::Version(_) | CompareTarget::Create(_) | CompareTarget::Mod(_) => STEP_KEYS,
        };
        let mut found = Vec::new();
        let walk = Walk { range: &self.rest, at: before.at, keys: true };
        let next = range::page(&mut &*before.shared, &walk, keys_max, &mut found);
        self.is_absent &= found.is_empty();
        for entry in found {
            let version = Version {
                revision: entry.revision,
                create_revision: entry.create_revision,
                version: entry.version,
                lease: LeaseId::NONE,
            };
            if !before.matches(self.compare, &entry.key, version, budget)? {
                return Ok(Some(false));
            }
        }
        match next {
            Some(next) => self.rest = range::starting_at(&self.rest, next),
            None => return Ok(Some(!self.is_absent || absent_matches(self.compare))),
        }
        Ok(None)
    }
}

impl Before<'_> {
    /// The number of keys in `range`.
    pub(super) fn count(&self, range: &KeyRange) -> u64 {
        range::count(&mut &*self.shared, range, self.at)
    }

    fn single_holds(&self, compare: &Compare, budget: &mut Budget) -> Result<bool, Stop> {
        budget.spend(1)?;
        let key = compare.range.start();
        let version = self.shared.index.read().version(key, self.at);
        match version {
            Some(version) => self.matches(compare, key, version, budget),
            None => Ok(absent_matches(compare)),
        }
    }

    fn matches(
        &self,
        compare: &Compare,
        key: &[u8],
        version: Version,
        budget: &mut Budget,
    ) -> Result<bool, Stop> {
        let stored_to_given = match &compare.target {
            CompareTarget::Version(given) => version.version.cmp(given),
            CompareTarget::Create(given) => version.create_revision.cmp(given),
            CompareTarget::Mod(given) => version.revision.main.cmp(given),
            CompareTarget::Value(given) => {
                let record = self.values.load(version.revision)?;
                budget.spend(value_looks(record.value.len()))?;
                record.value.cmp(given)
            }
            CompareTarget::Lease(given) => self.lease(key, version)?.cmp(given),
        };
        Ok(relates(stored_to_given, compare.result))
    }

    /// The index knows the lease of a key's newest version; an older one's is in its record.
    fn lease(&self, key: &[u8], version: Version) -> Result<LeaseId, Stop> {
        let latest = self.shared.index.read().keys.latest(key);
        match latest.filter(|latest| latest.revision == version.revision) {
            Some(latest) => Ok(latest.lease),
            None => Ok(self.values.load(version.revision)?.lease),
        }
    }
}

fn absent_matches(compare: &Compare) -> bool {
    let given = match &compare.target {
        CompareTarget::Version(given) | CompareTarget::Create(given) | CompareTarget::Mod(given) => *given,
        CompareTarget::Lease(given) => given.0,
        CompareTarget::Value(_) => return false,
    };
    relates(0.cmp(&given), compare.result)
}

fn relates(stored_to_given: Ordering, result: CompareResult) -> bool {
    match result {
        CompareResult::Equal => stored_to_given == Ordering::Equal,
        CompareResult::Greater => stored_to_given == Ordering::Greater,
        CompareResult::Less => stored_to_given == Ordering::Less,
        CompareResult::NotEqual => stored_to_given != Ordering::Equal,
    }
}
