//! The files of format version 1, byte by byte: what is written today, and that what was written then is read.
//!
//! `testdata/format-1` holds a store in the clear and `testdata/format-1-sealed` a sealed one (store id: 16 bytes 3, root
//! key: 32 bytes 7), with one file per stored file, as lines of an offset and 32 bytes in hexadecimal; lines of
//! zeros are left out, and the first line is the length. A change there is a change of the format: it needs a new
//! version, and `docs/formats.md` changes with it. `COFFER_BLESS=1` writes the files anew.

use crate::golden::{self, dump, testdata, undump};
use crate::keys::{Opening, sealed};
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::segment::{Options, SegmentStore};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The stores that are compared: where their files are, and how they are opened.
const KINDS: [(&str, Opening); 2] =
    [("testdata/format-1", || AtRest::Unsealed), ("testdata/format-1-sealed", sealed)];

fn open(disk: &SimDisk, at_rest: AtRest) -> SegmentStore {
    let options = Options {
        log_file_bytes: 64 << 10,
        reserve_bytes_max: 64 << 10,
        background: false,
        ..Options::default()
    };
    SegmentStore::open_on(Path::new("/store"), at_rest, options, Arc::new(disk.clone())).expect("it opens")
}

/// A store with something of everything in it.
fn written(at_rest: AtRest) -> SimDisk {
    let disk = SimDisk::new(42);
    let mut store = open(&disk, at_rest);
    golden::write(&mut *store.log, &*store.records, store.keyring.as_ref());
    drop(store);
    disk
}

fn check(disk: &SimDisk, at_rest: AtRest) {
    let store = open(disk, at_rest);
    golden::check(&*store.log, &*store.records);
}

fn stored(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let files = disk.files();
    let stored =
        files.iter().filter(|path| !path.ends_with("LOCK") && !path.to_string_lossy().ends_with(".spare"));
    stored.map(|path| (name(path), disk.content(path).expect("it is there"))).collect()
}

#[test]
fn what_is_written_is_format_1() {
    for (name, at_rest) in KINDS {
        let (testdata, files) = (testdata(name), stored(&written(at_rest())));
        if std::env::var_os("COFFER_BLESS").is_some() {
            // It may not be there yet.
            let _ = fs::remove_dir_all(&testdata);
            fs::create_dir(&testdata).expect("mkdir");
            for (name, bytes) in &files {
                fs::write(testdata.join(format!("{name}.hex")), dump(bytes)).expect("write");
            }
        }
        assert_eq!(fs::read_dir(&testdata).expect("list").count(), files.len());
        for (file, bytes) in files {
            let expected = fs::read_to_string(testdata.join(format!("{file}.hex"))).expect("a known file");
            assert!(dump(&bytes) == expected, "{name}/{file} is not what format version 1 says");
        }
    }
}

#[test]
fn format_1_is_read() {
    for (name, at_rest) in KINDS {
        let disk = SimDisk::new(7);
        coffer_backends::io::Io::create_dir(&disk, Path::new("/store")).expect("mkdir");
        for file in fs::read_dir(testdata(name)).expect("list") {
            let path = file.expect("list").path();
            let name = path.file_stem().expect("a name");
            disk.place(&Path::new("/store").join(name), &undump(&fs::read_to_string(&path).expect("read")));
        }
        check(&disk, at_rest());
        check(&disk, at_rest());
    }
}
