//! Files in bbolt's format: what is written is read again, and what is damaged is refused.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use coffer_core::storage::StorageError;
use coffer_etcd::bbolt::{BoltFile, Database, Differs, Measure, Writer};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;

const PAGE: usize = 4096;
/// Header of a page, and of an element in it.
const HEADER: usize = 16;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Content = BTreeMap<&'static str, Rows>;

fn file_of(content: &Content) -> Vec<u8> {
    let mut measure = Measure::new();
    for (name, rows) in content {
        measure.bucket(name.len());
        rows.iter().for_each(|(key, value)| measure.row(key.len(), value.len()));
    }
    let plan = measure.finish();
    let mut writer = Writer::new(plan);
    let mut file = Vec::new();
    for (name, rows) in content {
        writer.bucket(Bytes::from_static(name.as_bytes()));
        for (key, value) in rows {
            writer.row(key.clone().into(), value.clone().into()).unwrap();
            if writer.ready_bytes() > 64 << 10 {
                file.extend_from_slice(&writer.take());
            }
        }
    }
    file.extend_from_slice(&writer.finish().unwrap());
    assert_eq!(file.len() as u64, plan.file_bytes());
    assert!(file.len().is_multiple_of(PAGE));
    file
}

fn open(path: &Path) -> Result<Database, StorageError> {
    let file = BoltFile::open(path)?;
    let bytes = file.bytes();
    Database::open(file, bytes)
}

/// Reads everything, by every way there is.
fn read(path: &Path) -> Result<BTreeMap<Vec<u8>, Rows>, StorageError> {
    let database = open(path)?;
    let mut content = BTreeMap::new();
    for bucket in database.buckets() {
        let bucket = bucket?;
        let rows: Result<Rows, _> =
            bucket.rows().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect();
        let last = bucket.last_row()?.map(|(key, value)| (key.to_vec(), value.to_vec()));
        let rows = rows?;
        assert_eq!(last.as_ref().map(|(key, _)| key), rows.keys().next_back());
        content.insert(bucket.name().to_vec(), rows);
    }
    Ok(content)
}

fn survives(content: &Content) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    std::fs::write(&path, file_of(content)).unwrap();
    let expected: BTreeMap<Vec<u8>, Rows> =
        content.iter().map(|(name, rows)| (name.as_bytes().to_vec(), rows.clone())).collect();
    // Not assert_eq: what differs may be megabytes.
    assert!(read(&path).unwrap() == expected);
    for (name, rows) in content {
        let bucket = open(&path).unwrap().bucket(name.as_bytes()).unwrap().unwrap();
        let last = rows.iter().next_back();
        for (key, value) in rows.iter().take(1).chain(last) {
            assert!(bucket.get(key).unwrap().is_some_and(|found| found[..] == value[..]));
        }
        assert!(bucket.get(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff").unwrap().is_none());
    }
    assert!(open(&path).unwrap().bucket(b"nothing").unwrap().is_none());
}

fn bytes(rng: &mut SmallRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn a_file_without_rows_or_buckets_is_one() {
    survives(&Content::new());
    survives(&Content::from([("a", Rows::new()), ("b", Rows::new())]));
}

#[test]
fn random_rows_survive() {
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut content = Content::new();
        for name in ["alarm", "key", "lease", "meta"] {
            let (count, longest) = (rng.random_range(0..600), [20, 300, 3000, 9000][rng.random_range(0..4)]);
            let mut rows = Rows::new();
            for _ in 0..count {
                let (key, value) = (rng.random_range(1..longest), rng.random_range(0..longest));
                rows.insert(bytes(&mut rng, key), bytes(&mut rng, value));
            }
            content.insert(name, rows);
        }
        survives(&content);
    }
}

/// One row exactly fills a page, or two do, give or take a byte.
#[test]
fn rows_at_the_edges_of_pages_survive() {
    let mut rng = SmallRng::seed_from_u64(1);
    for key_bytes in [1, 17, 1000] {
        for around in [PAGE, PAGE / 2, 2 * PAGE, 3 * PAGE] {
            for off in -34..=2 {
                let value_bytes = (around as i64 + off) as usize - HEADER - key_bytes.min(around / 4);
                let row = |number: u8, rng: &mut SmallRng| {
                    let mut key = vec![b'k'; key_bytes];
                    key[0] = number;
                    (key, bytes(rng, value_bytes))
                };
                let rows: Rows = (0..5).map(|number| row(number, &mut rng)).collect();
                survives(&Content::from([("key", rows)]));
            }
        }
    }
}

#[test]
fn huge_values_between_small_ones_survive() {
    let mut rng = SmallRng::seed_from_u64(2);
    let mut rows = Rows::new();
    for number in 0..40u32 {
        let length = if number % 9 == 4 { 1_500_000 + number as usize } else { 10 };
        rows.insert(number.to_be_bytes().to_vec(), bytes(&mut rng, length));
    }
    survives(&Content::from([("key", rows)]));
}

#[test]
fn many_rows_survive() {
    let rows: Rows =
        (0..150_000u64).map(|number| (number.to_be_bytes().to_vec(), vec![number as u8; 30])).collect();
    survives(&Content::from([("key", rows), ("lease", Rows::new())]));
}

/// Branches of two children each, because their keys are as long as a page.
#[test]
fn deep_trees_survive() {
    let rows: Rows =
        (0..300u16).map(|number| ([&number.to_be_bytes()[..], &[7; 3000]].concat(), vec![1; 1500])).collect();
    survives(&Content::from([("key", rows)]));
}

#[test]
fn rows_that_were_not_measured_are_noticed() {
    let mut measure = Measure::new();
    measure.bucket(3);
    measure.row(8, 100);
    let plan = measure.finish();
    let mut writer = Writer::new(plan);
    writer.bucket(Bytes::from_static(b"key"));
    assert_eq!(writer.row(vec![0; 8].into(), vec![0; 5000].into()), Ok(()));
    assert_eq!(writer.finish(), Err(Differs));
    let mut writer = Writer::new(plan);
    writer.bucket(Bytes::from_static(b"key"));
    let refused = (0..9u8).any(|number| writer.row(vec![number].into(), vec![0; 5000].into()).is_err());
    assert!(refused, "a file that grows beyond its plan goes on");
}

fn sample() -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut rows = Rows::new();
    for number in 0..400u32 {
        let length = if number == 200 { 20_000 } else { rng.random_range(0..200) };
        rows.insert(number.to_be_bytes().to_vec(), bytes(&mut rng, length));
    }
    let small = Rows::from([(b"a".to_vec(), b"b".to_vec())]);
    file_of(&Content::from([("key", rows), ("meta", small)]))
}

/// Whatever is changed in a file, reading it ends, and an error is one of damage in this file.
fn endure(original: &[u8], rounds: u64) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut refused = 0;
    for seed in 0..rounds {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut file = original.to_vec();
        for _ in 0..rng.random_range(1..6) {
            // Mostly where the structure is: headers and elements at the beginning of a page.
            let page = rng.random_range(0..file.len() / PAGE) * PAGE;
            let within =
                if rng.random_bool(0.8) { rng.random_range(0..200) } else { rng.random_range(0..PAGE) };
            match rng.random_range(0..4) {
                0 => file[page + within] = rng.random(),
                1 => file[page + within] ^= 1 << rng.random_range(0..8),
                2 => file[page + within] = [0, 0xff, 0x7f, 1][rng.random_range(0..4)],
                // A page in another one's place.
                _ => {
                    let from = rng.random_range(0..file.len() / PAGE) * PAGE;
                    file.copy_within(from..from + PAGE, page);
                    file[page..page + 8].copy_from_slice(&((page / PAGE) as u64).to_le_bytes());
                }
            }
        }
        if rng.random_bool(0.1) {
            file.truncate(rng.random_range(0..file.len()));
        }
        std::fs::write(&path, &file).unwrap();
        match read(&path) {
            Ok(_) => {}
            Err(StorageError::Corrupt { path: named, .. }) => {
                assert_eq!(named, path);
                refused += 1;
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert!(refused > rounds / 10, "only {refused} of {rounds} changes were noticed");
}

#[test]
fn damage_in_our_files_is_an_error_and_nothing_else() {
    endure(&sample(), 4000);
}

#[test]
fn damage_in_files_of_etcd_is_an_error_and_nothing_else() {
    for file in [
        &include_bytes!("../testdata/etcd-3.4.23.snapshot.db")[..],
        include_bytes!("../testdata/etcd-3.7.1.snapshot.db"),
    ] {
        endure(&file[..file.len() - 32], 2000);
    }
}

/// Names the error of a file that `change` made from a good one.
fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let mut file = sample();
    change(&mut file);
    std::fs::write(&path, file).unwrap();
    read(&path).expect_err("a broken file").to_string()
}

fn put(file: &mut [u8], at: usize, value: u64, bytes: usize) {
    file[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
}

/// The branch that is the root of the bucket `key`, and the first leaf below it.
fn branch_and_leaf(file: &[u8]) -> (usize, usize) {
    let branch = (3..file.len() / PAGE).find(|page| file[page * PAGE + 8] == 1).expect("a branch");
    let child = u64::from_le_bytes(file[branch * PAGE + 24..][..8].try_into().unwrap());
    (branch * PAGE, child as usize * PAGE)
}

#[test]
fn what_is_wrong_is_named() {
    let at = |text: &str, offset: usize, what: &str| {
        assert!(
            text.contains(&format!("offset {offset}:")) && text.contains(what),
            "{what} at {offset}: {text}"
        );
    };
    let (branch, leaf) = branch_and_leaf(&sample());
    at(&refusal(|file| file.truncate(10)), 0, "the end of the file");
    at(&refusal(|file| file[..2 * PAGE].fill(7)), 0, "something else");
    at(&refusal(|file| put(file, branch + 24, branch as u64 / 4096, 8)), branch + HEADER, "again");
    at(&refusal(|file| put(file, branch + 24, 1 << 40, 8)), branch + HEADER, "page 1099511627776");
    at(&refusal(|file| put(file, branch + 24, 1, 8)), branch + HEADER, "page 1");
    at(&refusal(|file| put(file, branch + 10, 0, 2)), branch + 10, "0");
    at(&refusal(|file| put(file, leaf + 10, 5000, 2)), leaf + 10, "5000");
    at(&refusal(|file| put(file, leaf + 8, 4, 2)), leaf + 8, "flags 0x4");
    at(&refusal(|file| put(file, leaf, 77, 8)), leaf, "another");
    at(&refusal(|file| put(file, leaf + 12, u32::MAX.into(), 4)), leaf + 12, "4294967295");
    at(&refusal(|file| put(file, leaf + HEADER + 4, u32::MAX.into(), 4)), leaf + HEADER, "of 4096");
    at(&refusal(|file| put(file, leaf + HEADER + 8, u32::MAX.into(), 4)), leaf + HEADER, "of 4096");
    at(&refusal(|file| put(file, leaf + HEADER + 4, 0, 4)), leaf + HEADER, "of 4096");
    at(&refusal(|file| put(file, leaf + HEADER, 9, 4)), leaf + HEADER, "9");
}

/// A chain of branches with one child each ends at the limit of levels, not at the end of the stack.
#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let text = refusal(|file| {
        let (branch, _) = branch_and_leaf(file);
        let first = (file.len() / PAGE) as u64;
        put(file, branch + 24, first, 8);
        for page in first..first + 100 {
            let mut bytes = vec![0; PAGE];
            put(&mut bytes, 0, page, 8);
            put(&mut bytes, 8, 1, 2);
            put(&mut bytes, 10, 1, 2);
            put(&mut bytes, 16, 16, 4);
            put(&mut bytes, 24, page + 1, 8);
            file.extend_from_slice(&bytes);
        }
        // As many pages as there are now, in both metas.
        for meta in [0, PAGE] {
            let pages = (file.len() / PAGE) as u64;
            put(file, meta + 56, pages, 8);
            let hash = file[meta + 16..meta + 72].iter().fold(0xcbf29ce484222325u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100000001b3)
            });
            put(file, meta + 72, hash, 8);
        }
    });
    assert!(text.contains("at most 64 levels"), "{text}");
}

#[test]
fn the_other_meta_serves_where_one_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    let original = sample();
    std::fs::write(&path, &original).unwrap();
    let content = read(&path).unwrap();
    for meta in [0, PAGE] {
        let mut file = original.clone();
        file[meta..meta + 100].fill(0xee);
        std::fs::write(&path, file).unwrap();
        assert!(read(&path).unwrap() == content);
    }
}
