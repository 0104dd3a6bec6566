//! The events of one step, sorted by the specs that want them.

use crate::error::Error;
use crate::state::Event;
use crate::watch::delivery::prev_kv;
use crate::watch::matcher::Matcher;
use crate::watch::{History, WatchEvent};

/// What one spec wants of a step.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) events: Vec<WatchEvent>,
    /// Why it could not be completed.
    pub(super) fault: Option<Error>,
}

/// Selections by the matcher's slots.
#[derive(Debug, Default)]
pub(super) struct Selections {
    by_slot: Vec<Selection>,
    touched: Vec<usize>,
}

impl Selections {
    /// Gives `event` to every spec that wants it. The pair before is looked up at most once.
    pub(super) fn add(&mut self, matcher: &Matcher, history: &dyn History, event: &Event) {
        let mut looked_up = None;
        matcher.matching(event, |slot, spec| {
            if self.by_slot.len() <= slot {
                self.by_slot.resize_with(matcher.slots_max(), Selection::default);
            }
            let selection = &mut self.by_slot[slot];
            if selection.fault.is_some() {
                return;
            }
            if selection.events.is_empty() {
                self.touched.push(slot);
            }
            let mut pair = None;
            if spec.prev_kv {
                match looked_up.get_or_insert_with(|| prev_kv(history, event)) {
                    Ok(found) => pair = found.clone(),
                    Err(error) => selection.fault = Some(error.clone()),
                }
            }
            selection.events.push(WatchEvent { event: event.clone(), prev_kv: pair });
        });
    }

    /// Takes all selections that are not empty, in order of their first event.
    pub(super) fn take(&mut self) -> Vec<(usize, Selection)> {
        self.touched.drain(..).map(|slot| (slot, std::mem::take(&mut self.by_slot[slot]))).collect()
    }
}
