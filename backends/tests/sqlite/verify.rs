//! Verification of closed stores: of what SQLite minds and its readers do not, and of several damages at once.

use crate::keys::sealed;
use crate::sealed::{Made, ours};
use crate::stored::{SimPlace, append, flush, read_all};
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::Options;
use coffer_backends::{inspect, inspect_on};
use coffer_core::storage::Findings;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A disk with a store of two lives, the second of which ended in order or was killed.
fn filled(killed: bool) -> SimDisk {
    let place = SimPlace::new(SimDisk::new(1));
    for life in 0..2 {
        let mut store = place.open(AtRest::Unsealed).expect("it opens");
        (4 * life..4 * life + 4).for_each(|index| append(&mut store, index).expect("write"));
        let first = 2 + 20 * life as i64;
        flush(&store, first..first + 20).expect("flush");
        if killed && life == 1 {
            return place.disk.copy(1);
        }
    }
    place.disk.copy(1)
}

#[test]
fn each_bit_of_a_header_is_told_if_an_opening_minds_it() {
    for killed in [false, true] {
        let disk = filled(killed);
        let has_wal = disk.content(Path::new("/store/log.db-wal")).is_some_and(|wal| !wal.is_empty());
        assert_eq!(has_wal, killed);
        for name in ["log.db", "state.db"] {
            let mut refused = 0;
            for bit in 0..800 {
                let place = SimPlace::new(disk.fork());
                let file = Path::new("/store").join(name);
                place.disk.flip(&file, bit / 8, (bit % 8) as u8);
                let options = Options { vfs: place.vfs().into(), ..Options::default() };
                let (io, mut findings) = (Arc::new(place.disk.clone()), Findings::default());
                let path = Path::new("/store");
                inspect_on(path, AtRest::Unsealed, &options, io, &mut findings).expect("it can be looked at");
                let opened = place.open(AtRest::Unsealed).and_then(|store| read_all(&store));
                let told = findings.listed();
                assert_eq!(
                    opened.is_err(),
                    findings.damage() > 0,
                    "bit {bit} of {name} (killed: {killed}): {told:?}, and opened {opened:?}"
                );
                assert!(told.iter().all(|found| found.path() == Some(&file)), "bit {bit}: {told:?}");
                refused += u64::from(opened.is_err());
            }
            assert!(refused > 100 || killed, "of {name} {refused} are refused");
        }
    }
}

/// What verification tells of a store with this key, each as "file: text".
fn told(made: &Made) -> Vec<String> {
    let mut findings = Findings::default();
    inspect(made.path(), sealed(), &mut findings).expect("it can be looked at");
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    findings.listed().iter().map(|found| format!("{}: {}", name(found.path()), found.what())).collect()
}

#[track_caller]
fn assert_told(made: &Made, expected: &[&str]) {
    let told = told(made);
    let matches = told.len() == expected.len()
        && expected.iter().all(|text| told.iter().filter(|told| told.starts_with(text)).count() == 1);
    assert!(matches, "expected {expected:#?}, and it tells {told:#?}");
}

const GROUP_AND_HEADER: &str = "
    UPDATE groups SET piece = zeroblob(length(piece)) WHERE sequence = 7;
    UPDATE sealed_files SET header = zeroblob(512) WHERE id = (SELECT sealed FROM groups WHERE sequence = 1)";
const BOX_AND_HEADER: &str = "
    UPDATE boxes SET piece = zeroblob(length(piece)) WHERE id = 3 << 24;
    UPDATE sealed_files SET header = zeroblob(512) WHERE id = (SELECT sealed FROM units WHERE id = 1)";

#[test]
fn a_damaged_header_hides_no_other_damage() {
    let made = ours();
    assert_told(&made, &[]);
    made.tamper("log.db", GROUP_AND_HEADER);
    made.tamper("state.db", BOX_AND_HEADER);
    assert_told(
        &made,
        &[
            "log.db: expected the header of sealed file 2",
            "log.db: expected log groups 1 to 5, found what sealed file 2 sealed",
            "log.db: expected log group 7",
            "state.db: expected the header of sealed file 2",
            "state.db: expected the footer of unit 1, found what sealed file 2 sealed",
            "state.db: expected the footer of unit 2, found what sealed file 2 sealed",
            "state.db: expected record box 0 in row 50331648",
        ],
    );
}

#[test]
fn a_damaged_manifest_or_base_hides_no_other_damage() {
    let made = ours();
    made.tamper(
        "log.db",
        "UPDATE base SET piece = zeroblob(length(piece));
         DELETE FROM groups WHERE sequence IN (3, 4)",
    );
    made.tamper(
        "state.db",
        "UPDATE manifest SET piece = zeroblob(length(piece));
         UPDATE boxes SET piece = zeroblob(length(piece)) WHERE id = (1 << 24) + 1;
         UPDATE blocks SET piece = zeroblob(length(piece)) WHERE id = 2 << 24;",
    );
    let keyring = made.path().join("keyring.b");
    let mut slot = fs::read(&keyring).expect("read");
    slot[600] ^= 1;
    fs::write(&keyring, slot).expect("write");
    assert_told(
        &made,
        &[
            "log.db: expected the base of the log",
            "log.db: expected log groups 3 to 4, found no such row",
            "state.db: expected row 1 of the manifest",
            "state.db: expected row 2 of the manifest",
            "state.db: expected record box 1 in row 16777217",
            "state.db: expected directory block 0 in row 33554432",
            "keyring.b: ",
        ],
    );
}

#[test]
fn units_that_a_manifest_may_have_let_go_are_not_missed() {
    let made = ours();
    // As if it was being given back.
    made.tamper(
        "state.db",
        "UPDATE manifest SET piece = x'' WHERE id = 1; DELETE FROM boxes WHERE id = 1 << 24",
    );
    assert_told(&made, &["state.db: expected row 1 of the manifest"]);
}

#[test]
fn damaged_pages_are_named_by_their_place() {
    let made = ours();
    let file = made.path().join("log.db");
    let mut content = fs::read(&file).expect("read");
    let pages = content.len() / 8192;
    assert!(pages >= 4, "{pages} pages");
    let page = (1..pages).rfind(|page| content[page * 8192] == 13).expect("a page of rows");
    content[page * 8192] ^= 1;
    fs::write(&file, content).expect("write");
    let mut findings = Findings::default();
    inspect(made.path(), sealed(), &mut findings).expect("it can be looked at");
    let offset = (page * 8192) as u64;
    let is_it =
        |found: &coffer_core::storage::Finding| found.path() == Some(&file) && found.offset() == Some(offset);
    assert!(findings.listed().iter().any(is_it), "page {page}: {:?}", findings.listed());
}
