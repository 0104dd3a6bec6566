//! Members at rest hold the same: all that happened, and nothing else.

use super::timeline::Timeline;
use super::{Kind, Verdict, Violation};
use crate::chaos::history::{History, Keys, Pair};

pub(super) fn check(history: &History, timeline: &Timeline, verdict: &mut Verdict) {
    let mut broken = |text: String| verdict.violations.push(Violation::new(Kind::Divergence, text));
    let everything = Keys::all();
    for at_rest in &history.at_rest {
        let member = &at_rest.member;
        if at_rest.revision > timeline.last() {
            broken(format!(
                "{member} is at revision {}, the history at {}",
                at_rest.revision,
                timeline.last()
            ));
        }
        let expected: Vec<&Pair> = timeline.range(&everything, at_rest.revision).collect();
        if let Some(wrong) = at_rest.pairs.iter().find(|pair| !expected.contains(pair)) {
            broken(format!("{member} holds {wrong:?}"));
        }
        if let Some(missing) = expected.iter().find(|pair| !at_rest.pairs.contains(pair)) {
            broken(format!("{member} does not hold {missing:?}"));
        }
    }
    if let Some((first, others)) = history.at_rest.split_first() {
        let content =
            |member: &crate::chaos::history::AtRest| (member.revision, member.hash, member.compacted);
        for other in others.iter().filter(|other| content(other) != content(first)) {
            let (one, two) = (content(first), content(other));
            broken(format!(
                "{} hashes {one:?}, {} {two:?} (revision, hash, compacted)",
                first.member, other.member
            ));
        }
    }
}
