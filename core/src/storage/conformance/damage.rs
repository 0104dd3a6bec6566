//! Flipped bits: a store tells, or shows the truth.

use super::case::SuiteConfig;
use super::harness::{Harness, Opened};
use super::model::{LogModel, RecordsModel, SeenLog, SeenRecords};
use super::world::{World, run};
use super::{Make, must};
use crate::storage::{Finding as VerifyFinding, Findings, LogState, StorageError};
use rand::RngExt;
use std::path::Path;

/// Flips that each case tries, each on a store of its own.
const FLIPS: usize = 8;

/// One flipped bit in a store that was closed in order is refused with a name and a place, or was of no consequence.
pub fn damage_is_never_served(make: Make<'_>, config: &SuiteConfig) {
    flip_bits(make, config, false);
}

/// The same after a power cut: only the last group of the log may pass for torn.
pub fn damage_after_a_crash_is_never_served(make: Make<'_>, config: &SuiteConfig) {
    flip_bits(make, config, true);
}

fn flip_bits(make: Make<'_>, config: &SuiteConfig, crashed: bool) {
    config.each_case(1, |rng| {
        for _ in 0..FLIPS {
            let (mut harness, mut world) = (make(), World::default());
            let steps = rng.random_range(1..30);
            must("run", run(&mut *harness, &mut world, rng, steps));
            if crashed {
                harness.crash(rng.random());
            }
            let before = told_before(&mut *harness);
            let Some(place) = harness.flip(rng.random()) else { return };
            check_flipped(
                &mut *harness,
                &world,
                crashed,
                &Flipped { place: &place, file: None, before: &before },
            );
        }
    });
}

/// A bit that was flipped.
pub(super) struct Flipped<'a> {
    /// Where, for messages.
    pub(super) place: &'a str,
    /// The file, if the medium tells.
    pub(super) file: Option<&'a str>,
    /// What a verification told before it was flipped: of what a power cut left.
    pub(super) before: &'a [String],
}

/// What a verification of the closed store tells: nothing but what a power cut left, as long as the store is sound.
pub(super) fn told_before(harness: &mut dyn Harness) -> Vec<String> {
    let Some(verified) = harness.verify_closed() else { return Vec::new() };
    let findings = must("verify the closed store", verified);
    assert_eq!(findings.damage(), 0, "a sound store: {:?}", findings.listed());
    findings.listed().iter().map(VerifyFinding::to_string).collect()
}

/// What came of a flipped bit that did no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Finding {
    /// The store shows exactly what it promised.
    Truth,
    /// It shows an older state of the records, from which the log leads to the newest.
    OlderRecords,
    /// The last group of a log that was not closed in order passed for torn.
    Torn,
    /// It is refused, or a part of it is, with the file and the reason.
    Refused,
}

/// Verifies and then opens a store in which one bit was flipped; reads everything in it in every way, and says what came
/// of it.
///
/// # Panics
/// If the store shows something that was never true, or refuses without a file and a reason; or if verification tells
/// otherwise than the opening, or of another file.
pub(super) fn check_flipped(
    harness: &mut dyn Harness,
    world: &World,
    crashed: bool,
    flipped: &Flipped<'_>,
) -> Finding {
    let verified = harness.verify_closed();
    let finding = look_at_flipped(harness, world, crashed, flipped.place);
    if let Some(verified) = verified {
        check_verified(verified, finding, flipped);
    }
    finding
}

/// Compares what a verification of the closed store found with what its opening shows: what is refused was named before,
/// with the file; and what shows the truth may at most be weakened.
fn check_verified(verified: Result<Findings, StorageError>, finding: Finding, flipped: &Flipped<'_>) {
    let place = flipped.place;
    let findings = match verified {
        Ok(findings) => findings,
        Err(error) => {
            check_refusal(&error, place);
            assert!(flipped.is_named_by(error.path()), "with {place} flipped verify answers {error}");
            assert_eq!(finding, Finding::Refused, "with {place} flipped verify answers {error}");
            return;
        }
    };
    if let Some(damage) = findings.first_damage() {
        check_refusal(damage, place);
    }
    let mut new = findings.listed().iter().filter(|found| !flipped.before.contains(&found.to_string()));
    let named = new.clone().any(|found| flipped.is_named_by(found.path()));
    match finding {
        Finding::Refused => {
            assert!(findings.damage() > 0, "with {place} flipped verify sees no damage: {findings:?}");
            let mut damage = new.filter(|found| found.is_damage());
            assert!(
                damage.any(|found| flipped.is_named_by(found.path())),
                "with {place} flipped verify names others: {:?}",
                findings.listed()
            );
        }
        Finding::Truth | Finding::OlderRecords | Finding::Torn => {
            assert_eq!(
                findings.damage(),
                0,
                "with {place} flipped the store shows {finding:?}, and verify {:?}",
                findings.listed()
            );
            assert!(
                new.all(|found| flipped.is_named_by(found.path())),
                "with {place} flipped verify names others: {:?}",
                findings.listed()
            );
            // Whatever is read from elsewhere because of the bit is known to be weaker for it.
            assert!(
                named || finding != Finding::OlderRecords,
                "with {place} flipped the store shows {finding:?}, and verify {:?}",
                findings.listed()
            );
        }
    }
}

impl Flipped<'_> {
    /// Whether a path is that of the file. A database and its write-ahead log are one: what is missing in one may be told
    /// of the other.
    fn is_named_by(&self, path: Option<&Path>) -> bool {
        let Some(file) = self.file else { return true };
        let of = |name: &str| name.strip_suffix("-wal").unwrap_or(name).to_owned();
        path.is_some_and(|path| of(&path.to_string_lossy()) == of(file))
    }
}

fn look_at_flipped(harness: &mut dyn Harness, world: &World, crashed: bool, place: &str) -> Finding {
    let opened = match harness.open() {
        Ok(opened) => opened,
        Err(error) => {
            check_refusal(&error, place);
            return Finding::Refused;
        }
    };
    let mut finding = Finding::Truth;
    let state = match SeenLog::of(&*opened.log) {
        Ok(log) => {
            let equals = |outcome: &LogModel| log.equals(outcome);
            if !world.log_outcomes().iter().any(equals) {
                let torn = crashed && world.log_outcomes_without_last_group().iter().any(equals);
                assert!(torn, "with {place} flipped the log shows {:?}, which never was", log.state);
                finding = Finding::Torn;
            }
            log.state
        }
        Err(error) => {
            check_refusal(&error, place);
            finding = Finding::Refused;
            opened.log.state()
        }
    };
    finding.max(check_records(&opened, world, &state, place))
}

fn check_records(opened: &Opened, world: &World, log: &LogState, place: &str) -> Finding {
    let seen = match SeenRecords::of(&*opened.records) {
        Ok(seen) => seen,
        Err(error) => {
            check_refusal(&error, place);
            let mut findings = Findings::default();
            let verified = opened.records.verify(&mut findings);
            assert!(
                verified.is_err() || findings.damage() > 0,
                "with {place} flipped reading fails ({error}) and verify sees nothing"
            );
            return Finding::Refused;
        }
    };
    let Some(difference) = seen.difference(&world.records) else { return Finding::Truth };
    // An older state does no harm if the log still leads from there to the newest.
    let older = world.records_before.iter().map(|older| without_reclaimed(older, &world.records));
    let harmless =
        older.filter(|older| log.covers(older.applied())).any(|older| seen.difference(&older).is_none());
    assert!(harmless, "with {place} flipped the records show {difference}");
    Finding::OlderRecords
}

/// An older state as it may look now: what was dropped since may be gone.
fn without_reclaimed(older: &RecordsModel, now: &RecordsModel) -> RecordsModel {
    let mut older = older.clone();
    let dropped: Vec<_> =
        older.live.keys().copied().filter(|revision| !now.live.contains_key(revision)).collect();
    older.drop_revisions(&dropped);
    older
}

pub(super) fn check_refusal(error: &StorageError, place: &str) {
    let (StorageError::Corrupt { path, .. } | StorageError::Format { path, .. }) = error else {
        panic!("with {place} flipped the store answers {error:?}");
    };
    assert!(!path.as_os_str().is_empty(), "with {place} flipped the answer names no file: {error}");
}
