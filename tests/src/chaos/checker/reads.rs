//! Whatever was answered without changing anything shows the state at its revision, and is neither stale nor ahead.

use super::model::{effect, says_changed};
use super::order::{Calls, Floor};
use super::timeline::{FRESH, Timeline};
use super::{Kind, Verdict, Violation};
use crate::chaos::history::{Action, History};

pub(super) fn check(
    history: &History,
    timeline: &Timeline,
    floor: &Floor,
    calls: &Calls,
    verdict: &mut Verdict,
) {
    for operation in &history.operations {
        let Some((revision, answer)) = operation.answer() else { continue };
        if operation.end < calls.possible_since(revision) || revision > timeline.last() {
            let text = format!("there was no revision {revision} yet when this was answered: {operation:?}");
            verdict.violations.push(Violation::new(Kind::Future, text));
        }
        if revision < FRESH {
            let text = format!("there never was a revision {revision}: {operation:?}");
            verdict.violations.push(Violation::new(Kind::WrongRead, text));
        }
        if says_changed(answer) {
            continue;
        }
        let is_linearizable = match &operation.action {
            Action::Read { serializable, .. } => !serializable,
            action => action.is_write(),
        };
        let seen = floor.before(operation.call);
        if is_linearizable && revision < seen {
            let text = format!("revision {seen} was seen before {operation:?}");
            verdict.violations.push(Violation::new(Kind::Stale, text));
        }
        let base = match operation.action {
            Action::Read { revision: wanted, .. } if wanted > 0 => wanted,
            _ => revision,
        };
        let Some(expected) = effect(timeline, &operation.action, base) else { continue };
        verdict.reads += 1;
        if expected.answer != *answer {
            let text = format!("{operation:?}, and not {:?}", expected.answer);
            verdict.violations.push(Violation::new(Kind::WrongRead, text));
        }
    }
}
