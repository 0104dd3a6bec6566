//! The databases of format version 1, row by row: what is written today, and that what was written then is read.
//!
//! `testdata/format-1-sqlite` holds a store in the clear and `testdata/format-1-sqlite-sealed` a sealed one (store id: 16
//! bytes 3, root key: 32 bytes 7), each database as the SQL that makes it: pages are SQLite's own, and may differ. A
//! change there is a change of the format: it needs a new version, and `docs/formats.md` changes with it.
//! `COFFER_BLESS=1` writes the files anew. `check.py` opens the sealed one from the text of `docs/formats.md` alone.

use crate::golden::{self, dump, testdata, undump};
use crate::keys::{Opening, sealed};
use crate::stored::SimPlace;
use coffer_backends::io::SimDisk;
use coffer_backends::seal::AtRest;
use coffer_backends::sqlite::{Options, SqliteStore};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const KINDS: [(&str, Opening); 2] =
    [("testdata/format-1-sqlite", || AtRest::Unsealed), ("testdata/format-1-sqlite-sealed", sealed)];
const DATABASES: [&str; 2] = ["log.db", "state.db"];

/// The files of a store with something of everything in it, as text.
fn written(at_rest: AtRest) -> Vec<(String, String)> {
    let place = SimPlace::new(SimDisk::new(42));
    let mut store = place.open(at_rest).expect("it opens");
    golden::write(&mut *store.log, &*store.records, store.keyring.as_ref());
    drop(store);
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let mut written = Vec::new();
    for path in place.disk.files().into_iter().filter(|path| !path.ends_with("LOCK")) {
        let (name, content) = (name(&path), place.disk.content(&path).expect("it is there"));
        if DATABASES.contains(&name.as_str()) {
            written.push((format!("{name}.sql"), sql_of(&content)));
        } else if name.ends_with("-wal") {
            assert_eq!(content.len(), 0, "{name} of a store that was closed");
        } else {
            written.push((format!("{name}.hex"), dump(&content)));
        }
    }
    written
}

/// The SQL that makes a database.
fn sql_of(content: &[u8]) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("database");
    fs::write(&path, content).expect("write");
    let connection = Connection::open(&path).expect("a database");
    let mut sql = String::new();
    for pragma in ["page_size", "auto_vacuum"] {
        let value: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0)).expect("a number");
        writeln!(sql, "PRAGMA {pragma}={value};").expect("a string takes all");
    }
    writeln!(sql, "PRAGMA journal_mode=WAL;").expect("a string takes all");
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name").expect("a schema");
    let tables = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    for table in tables.expect("a schema") {
        let (name, create) = table.expect("a table");
        writeln!(sql, "{create};").expect("a string takes all");
        let mut rows = connection.prepare(&format!("SELECT * FROM {name} ORDER BY 1")).expect("a table");
        let columns = rows.column_count();
        let mut rows = rows.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            let value = |column| match row.get_ref(column).expect("a value") {
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Blob(blob) => {
                    let digits: String = blob.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("X'{digits}'")
                }
                other => panic!("{other:?} is neither a number nor a blob"),
            };
            let values: Vec<String> = (0..columns).map(value).collect();
            writeln!(sql, "INSERT INTO {name} VALUES({});", values.join(",")).expect("a string takes all");
        }
    }
    sql
}

#[test]
fn what_is_written_is_format_1() {
    for (name, at_rest) in KINDS {
        let (testdata, files) = (testdata(name), written(at_rest()));
        if std::env::var_os("COFFER_BLESS").is_some() {
            fs::create_dir_all(&testdata).expect("mkdir");
            for (name, text) in &files {
                fs::write(testdata.join(name), text).expect("write");
            }
        }
        for (file, text) in files {
            let expected = fs::read_to_string(testdata.join(&file)).expect("a known file");
            assert!(text == expected, "{name}/{file} is not what format version 1 says");
        }
    }
}

/// Makes the files of a store from texts.
fn make(testdata: &Path, path: &Path) {
    fs::create_dir(path).expect("mkdir");
    for file in fs::read_dir(testdata).expect("list") {
        let file = file.expect("list").path();
        let made = path.join(file.file_stem().expect("a name"));
        let text = || fs::read_to_string(&file).expect("read");
        match file.extension().and_then(|kind| kind.to_str()) {
            Some("sql") => {
                let database = Connection::open(&made).expect("a new database");
                database.execute_batch(&text()).expect("the statements are right");
            }
            Some("hex") => fs::write(&made, undump(&text())).expect("write"),
            _ => {}
        }
    }
}

#[test]
fn format_1_is_read() {
    for (name, at_rest) in KINDS {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store");
        make(&testdata(name), &path);
        for _ in 0..2 {
            let store = SqliteStore::open(&path, at_rest(), &Options::default()).expect("it opens");
            golden::check(&*store.log, &*store.records);
        }
    }
}
