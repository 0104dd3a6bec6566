//! Keeps a daemon from the data directory of a real etcd.

use crate::failure::{Exit, Failure};
use std::path::Path;

/// Refuses a directory that an etcd has written. Nothing in it is touched.
pub(crate) fn check(dir: &Path) -> Result<(), Failure> {
    match is_of_etcd(dir) {
        true => Err(Failure::new(
            Exit::Failed,
            format_args!(
                "{} is the data directory of an etcd and was left as it is: bring its content into a new directory \
                 with `coffer import-etcd`, and name that one with --data-dir",
                dir.display()
            ),
        )),
        false => Ok(()),
    }
}

fn is_of_etcd(dir: &Path) -> bool {
    ["member/wal", "member/snap"].iter().any(|path| dir.join(path).exists())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_of_etcd_is_known_by_its_log_or_its_database() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(check(dir.path()).is_ok() && check(&dir.path().join("missing")).is_ok());
        let (log, database) = (dir.path().join("log"), dir.path().join("database"));
        fs::create_dir_all(log.join("member/wal")).expect("created");
        fs::create_dir_all(database.join("member/snap")).expect("created");
        fs::write(database.join("member/snap/db"), b"").expect("written");
        assert!(is_of_etcd(&log) && is_of_etcd(&database));
        fs::create_dir(dir.path().join("member")).expect("created");
        assert!(!is_of_etcd(dir.path()));
    }
}
