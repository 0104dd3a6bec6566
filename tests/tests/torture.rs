//! A slice of the long runs of `tests/torture`: few cases of each kind, with every backend.

use coffer_tests::long_run::{GOALS, furthest_behind};
use coffer_tests::report::{Piece, append, next_seed, read, summary};
use coffer_tests::subjects::SUBJECTS;
use coffer_tests::torture::{Mode, Plan};

#[allow(clippy::print_stdout, reason = "what is skipped is said")]
fn try_some(mode: Mode, enough: u64) {
    for subject in SUBJECTS {
        let plan =
            Plan { mode, subject: *subject, seed: 1 << 40, case: None, enough, file_system: "ext4".into() };
        let mut told = String::new();
        match plan.run(&mut |text| told += text) {
            Ok(piece) => {
                assert_eq!(piece.violations, 0, "{told}");
                assert!(piece.crash_points + piece.flips >= enough, "{piece:?}");
                assert!(piece.faults >= enough, "{piece:?}");
            }
            Err(reason) => {
                assert_eq!(mode, Mode::Power, "{reason}");
                println!("SKIPPED: power cuts on a file system of the kernel: {reason}");
            }
        }
    }
}

#[test]
fn stores_survive_power_cuts_at_every_operation() {
    try_some(Mode::Crash, 600);
}

#[test]
fn flipped_bits_are_refused_or_of_no_consequence() {
    try_some(Mode::Flips, 1_000);
}

#[test]
fn nodes_survive_power_cuts_of_the_kernel() {
    try_some(Mode::Power, 12);
}

#[test]
fn a_long_run_does_everything_and_ends() {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut skipped = Vec::new();
    while let Some(next) = furthest_behind(&pieces, "123", SUBJECTS, &skipped) {
        if next.goal.mode == Mode::Power {
            skipped.push((next.goal.mode, next.subject.name()));
            continue;
        }
        pieces.push(Piece {
            code: "123".into(),
            backend: next.subject.backend.into(),
            sealed: next.subject.sealed,
            mode: next.goal.mode.name().into(),
            flips: next.goal.piece,
            ..Piece::default()
        });
    }
    assert_eq!(skipped.len(), SUBJECTS.len());
    for goal in GOALS.iter().filter(|goal| goal.mode != Mode::Power) {
        let same = pieces.iter().filter(|piece| piece.mode == goal.mode.name());
        assert!(same.map(|piece| piece.flips).sum::<u64>() >= goal.enough, "{goal:?}");
    }
    assert!(furthest_behind(&pieces, "456", SUBJECTS, &[]).is_some(), "other code begins anew");
}

#[test]
fn pieces_add_up() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("below/report.jsonl");
    assert!(read(&path).expect("no report is an empty one").is_empty());
    let piece = Piece {
        commit: "abcdef".into(),
        code: "123".into(),
        backend: "segment".into(),
        mode: "crash".into(),
        first_seed: 5,
        seeds: 3,
        crash_points: 70,
        ..Piece::default()
    };
    let other = Piece { code: "456".into(), first_seed: 100, ..piece.clone() };
    for piece in [&piece, &Piece { first_seed: 8, ..piece.clone() }, &other] {
        append(&path, piece).expect("append");
    }
    let pieces = read(&path).expect("read");
    assert_eq!(pieces.len(), 3);
    assert_eq!(next_seed(&pieces, &piece), 11);
    assert_eq!(next_seed(&pieces, &Piece { sealed: true, ..piece.clone() }), 0);
    assert!(summary(&pieces, "123").contains("| crash | segment | 2 | 6 | 140 |"));
    assert!(summary(&pieces, "abc").contains("| crash | segment | 3 | 9 | 210 |"));
}
