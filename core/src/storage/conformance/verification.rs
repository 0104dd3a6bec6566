//! Verifications of sound stores: everything is looked at, nothing is found, and whoever asked may end it.

use super::case::SuiteConfig;
use super::harness::Harness;
use super::rig::Rig;
use super::world::Step;
use super::{Make, must};
use crate::storage::{Finding, Findings, HardState, Inspector};
use rand::RngExt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A sound store is verified: all of it is looked at and no fault found, while it is open, while it is written, and while
/// it is closed, in order or by a power cut. Looking at a closed store changes nothing.
pub fn a_sound_store_verifies(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(8, |rng| {
        let mut rig = Rig::new(make, rng);
        for round in 0..4 {
            rig.append(rng.random_range(1..20));
            let applied = rig.flush_some(rng.random_range(1..120));
            if round % 2 == 1 {
                rig.take(Step::Purge(applied));
                rig.save_hard_state(HardState { term: 9 + round, ..HardState::default() });
            }
            rig.append(rng.random_range(1..8));
            let dead = rig.world.records.live.keys().filter(|_| rng.random_bool(0.1)).copied().collect();
            rig.take(Step::Drop(dead));
            rig.take(Step::Reclaim { copy_bytes_max: 100_000 });
            verify_open(&mut rig);
            let crashes = rng.random_bool(0.5);
            rig.close_with(crashes, |harness| verify_closed(harness, crashes));
            verify_open(&mut rig);
        }
        verify_while_it_is_written(&mut rig);
        rig.look();
    });
}

/// A verification that is told to end does so at once, and the store goes on.
pub fn a_verification_ends_when_it_is_told_to(make: Make<'_>, config: &SuiteConfig) {
    config.each_case(16, |rng| {
        let mut rig = Rig::new(make, rng);
        (0..4).for_each(|_| _ = rig.flush_some(200));
        (0..4).for_each(|_| _ = rig.append(20));
        for calls in 1..4 {
            let mut inspector = Ends { calls_left: calls, calls: 0 };
            must("verify", rig.records().verify(&mut inspector));
            assert_eq!(inspector.calls, calls, "looks at records after it was told to end");
            let mut inspector = Ends { calls_left: 1, calls: 0 };
            must("verify the log", rig.log_reader().verify(&mut inspector));
            assert_eq!(inspector.calls, 1, "looks at the log after it was told to end");
        }
        rig.look();
    });
}

/// Verifies both halves of an open store that nobody writes to.
fn verify_open(rig: &mut Rig) {
    let mut findings = Findings::default();
    must("verify the log", rig.log_reader().verify(&mut findings));
    let of_log = findings.checked_bytes();
    let payload: u64 = rig.world.log_now().entries.values().map(|entry| entry.payload.len() as u64).sum();
    assert!(of_log >= payload, "verify looks at {of_log} bytes of a log with {payload}");
    let verified = must("verify", rig.records().verify(&mut findings));
    let live = rig.world.records.live.len() as u64;
    let stored = live + rig.world.records.dead.len() as u64;
    assert!((live..=stored).contains(&verified), "{verified} records verified of {live} to {stored}");
    let of_records = findings.checked_bytes() - of_log;
    let payload: u64 = rig.world.records.live.values().map(|record| record.payload_bytes() as u64).sum();
    assert!(of_records >= payload, "verify looks at {of_records} bytes of records with {payload}");
    assert_eq!(findings.count(), 0, "a sound store: {:?}", findings.listed());
}

fn verify_closed(harness: &mut dyn Harness, crashed: bool) {
    let before = harness.operations();
    let Some(verified) = harness.verify_closed() else { return };
    let findings = must("verify the closed store", verified);
    let (damage, weakened) = (findings.damage(), if crashed { 0 } else { findings.weakened() });
    assert_eq!((damage, weakened), (0, 0), "a sound store (crashed: {crashed}): {:?}", findings.listed());
    assert!(crashed || findings.torn() == 0, "nothing is torn: {:?}", findings.listed());
    assert_eq!(harness.operations(), before, "looking at a closed store changes the medium");
}

fn verify_while_it_is_written(rig: &mut Rig) {
    let (log, records) = (rig.log_reader(), rig.records().clone());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let verifying = scope.spawn(|| {
            let mut rounds = 0;
            while rounds == 0 || !done.load(Ordering::Acquire) {
                let mut findings = Online::default();
                must("verify the log", log.verify(&mut findings));
                must("verify", records.verify(&mut findings));
                assert_eq!(findings.0.count(), 0, "a sound store is written: {:?}", findings.0.listed());
                rounds += 1;
            }
        });
        for _ in 0..20 {
            rig.append(5);
            let applied = rig.flush_some(30);
            rig.take(Step::Purge(applied));
            let dead = rig.world.records.live.keys().step_by(7).copied().collect();
            rig.take(Step::Drop(dead));
            rig.take(Step::Reclaim { copy_bytes_max: 50_000 });
        }
        done.store(true, Ordering::Release);
        if let Err(panic) = verifying.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// An inspector of a store that others use.
#[derive(Default)]
struct Online(Findings);

impl Inspector for Online {
    fn is_alone(&self) -> bool {
        false
    }

    fn expect(&mut self, bytes: u64) {
        self.0.expect(bytes);
    }

    fn checked(&mut self, bytes: u64) -> ControlFlow<()> {
        self.0.checked(bytes)
    }

    fn found(&mut self, finding: Finding) {
        self.0.found(finding);
    }
}

/// Ends a verification after some calls.
struct Ends {
    calls_left: u64,
    calls: u64,
}

impl Inspector for Ends {
    fn is_alone(&self) -> bool {
        false
    }

    fn expect(&mut self, _: u64) {}

    fn checked(&mut self, _: u64) -> ControlFlow<()> {
        self.calls += 1;
        self.calls_left = self.calls_left.saturating_sub(1);
        if self.calls_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn found(&mut self, finding: Finding) {
        panic!("a sound store: {finding}");
    }
}
