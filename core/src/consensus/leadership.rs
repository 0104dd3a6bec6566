//! Who leads, as the rest of the store needs to know it: whether this member may answer a read at once, and from when
//! to when it is responsible for what only a leader does.
//!
//! # Invariants
//!
//! - This member *leads* a term, in the sense of this module, only once the blank entry of that term is applied: from
//!   then on its applied state holds every write that was acknowledged before.
//! - Reads are answered without asking anyone only while it leads and is the sole voter of both the committed and the
//!   newest appended membership. Appending a membership with another voter ends that before anyone hears of it.

use crate::planted::{Bug, planted};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Told the term when this member begins to lead, and `None` when it ceases. Must return soon.
pub type LeadershipListener = Box<dyn Fn(Option<u64>) + Send + Sync>;

/// What is known of leadership.
pub(super) struct Leadership {
    node_id: u64,
    state: Mutex<State>,
    listeners: Mutex<Listeners>,
    /// The term that this member leads; 0 if none.
    leads: AtomicU64,
    sole_voter: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The term in which raft calls this member the leader.
    elected: Option<u64>,
    /// The term of the newest blank entry that was applied.
    blank_applied: u64,
    /// Index of the newest membership seen, and whether this member is its only voter.
    effective: Option<(u64, bool)>,
    committed_sole: bool,
}

#[derive(Default)]
struct Listeners {
    told: Option<u64>,
    all: Vec<LeadershipListener>,
}

impl Leadership {
    pub(super) fn new(node_id: u64) -> Self {
        Self {
            node_id,
            state: Mutex::default(),
            listeners: Mutex::default(),
            leads: AtomicU64::new(0),
            sole_voter: AtomicBool::new(false),
        }
    }

    pub(super) fn node_id(&self) -> u64 {
        self.node_id
    }

    /// The term that this member leads.
    pub(super) fn leads(&self) -> Option<u64> {
        Some(self.leads.load(Ordering::Acquire)).filter(|term| *term != 0)
    }

    pub(super) fn is_sole_voter(&self) -> bool {
        self.sole_voter.load(Ordering::Acquire)
    }

    /// Whether the local state is linearizable without asking anyone.
    pub(super) fn reads_at_once(&self) -> bool {
        self.is_sole_voter() && self.leads().is_some()
    }

    /// Raft made this member the leader of a term, or another.
    pub(super) fn elected(&self, term: Option<u64>) {
        self.state.lock().elected = term;
        self.publish();
    }

    /// The blank entry that begins `term` was applied.
    pub(super) fn blank_applied(&self, term: u64) {
        self.state.lock().blank_applied = term;
        self.publish();
    }

    /// A membership was appended to the log.
    pub(super) fn membership_appended(&self, index: u64, sole: bool) {
        let mut state = self.state.lock();
        state.effective = Some((index, sole));
        self.publish_voter(&state);
    }

    /// A membership was applied, or found applied at the start.
    pub(super) fn membership_applied(&self, index: u64, sole: bool) {
        let mut state = self.state.lock();
        state.committed_sole = sole;
        if state.effective.is_none_or(|(newest, _)| newest <= index) {
            state.effective = Some((index, sole));
        }
        self.publish_voter(&state);
    }

    /// Raft knows of a membership in the log that may not have passed here: it was appended before the start.
    pub(super) fn membership_found(&self, index: u64, sole: bool) {
        let mut state = self.state.lock();
        if state.effective.is_none_or(|(newest, _)| newest < index) {
            state.effective = Some((index, sole));
        }
        self.publish_voter(&state);
    }

    /// Adds a listener and tells it how things are.
    pub(super) fn listen(&self, listener: LeadershipListener) {
        let mut listeners = self.listeners.lock();
        listener(listeners.told);
        listeners.all.push(listener);
    }

    /// Lets go of the listeners: they may hold what owns us.
    pub(super) fn forget_listeners(&self) {
        let all = std::mem::take(&mut self.listeners.lock().all);
        drop(all);
    }

    fn publish_voter(&self, state: &State) {
        if planted(Bug::SoleVoterForEver) && self.is_sole_voter() {
            return;
        }
        let sole = state.committed_sole && state.effective.is_some_and(|(_, sole)| sole);
        self.sole_voter.store(sole, Ordering::Release);
    }

    fn publish(&self) {
        // One lock around both keeps what listeners are told in order.
        let mut listeners = self.listeners.lock();
        let leads = {
            let state = self.state.lock();
            state.elected.filter(|term| *term == state.blank_applied)
        };
        self.leads.store(leads.unwrap_or(0), Ordering::Release);
        if leads != listeners.told {
            listeners.told = leads;
            listeners.all.iter().for_each(|tell| tell(leads));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn leads_only_after_the_blank_entry_of_its_term() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let leadership = Leadership::new(1);
        let record = told.clone();
        leadership.listen(Box::new(move |term| record.lock().push(term)));
        leadership.elected(Some(3));
        assert_eq!(leadership.leads(), None);
        leadership.blank_applied(2);
        assert_eq!(leadership.leads(), None);
        leadership.blank_applied(3);
        assert_eq!(leadership.leads(), Some(3));
        leadership.elected(None);
        assert_eq!(leadership.leads(), None);
        assert_eq!(*told.lock(), [None, Some(3), None]);
    }

    #[test]
    fn an_appended_voter_ends_immediate_reads_at_once() {
        let leadership = Leadership::new(1);
        leadership.elected(Some(1));
        leadership.blank_applied(1);
        assert!(!leadership.reads_at_once(), "no membership yet");
        leadership.membership_applied(0, true);
        assert!(leadership.reads_at_once());
        leadership.membership_appended(5, false);
        assert!(!leadership.reads_at_once());
        leadership.membership_applied(0, true);
        assert!(!leadership.reads_at_once(), "an older one says nothing of the newer");
        leadership.membership_applied(5, false);
        assert!(!leadership.reads_at_once());
        leadership.membership_appended(6, true);
        assert!(!leadership.reads_at_once(), "the committed one still has two");
        leadership.membership_applied(6, true);
        assert!(leadership.reads_at_once());
    }
}
