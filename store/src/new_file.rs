//! A file that is written beside its place: under its name is all of it, or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that is being written, readable by its owner alone. Removed unless it was [kept](Self::keep). Blocks.
#[derive(Debug)]
pub struct NewFile {
    target: PathBuf,
    part: PathBuf,
    file: File,
    kept: bool,
}

impl NewFile {
    /// Begins to write the file that is to get the name `target`, which must be free.
    ///
    /// # Errors
    /// There is such a file, another process is writing it, or the system refuses. All texts name the file.
    pub fn create(target: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            let text = format!("{} exists: name a new file", target.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        let Some(name) = target.file_name() else {
            let text = format!("{} can be no file", target.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let mut name = name.to_owned();
        name.push(".part");
        let part = target.with_file_name(name);
        // What an earlier attempt left is of no use.
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
        let file = file.map_err(|error| failed(&part, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { target: target.to_owned(), part, file, kept: false }),
            Err(_) => {
                let text = format!("{} is being written by another process", target.display());
                Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
            }
        }
    }

    /// Writes on.
    ///
    /// # Errors
    /// The system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).map_err(|error| failed(&self.part, &error))
    }

    /// Gives it its name, durably.
    ///
    /// # Errors
    /// Somebody else took the name meanwhile, or the system refuses.
    pub fn keep(mut self) -> io::Result<()> {
        let directory =
            self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let keep = || {
            self.file.sync_all()?;
            // Not over a file that came to be meanwhile.
            fs::hard_link(&self.part, &self.target)?;
            File::open(directory)?.sync_all()
        };
        keep().map_err(|error| failed(&self.target, &error))?;
        let _ = fs::remove_file(&self.part);
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // What stays is overwritten by the next attempt.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).expect("a directory").flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn all_or_nothing_bears_the_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("file");
        let mut given_up = NewFile::create(&target).expect("it is free");
        given_up.write(b"some").expect("there is room");
        let twice = NewFile::create(&target).expect_err("it is being written");
        assert!(twice.to_string().contains("being written"), "{twice}");
        drop(given_up);
        assert!(names(dir.path()).is_empty());
        let mut kept = NewFile::create(&target).expect("it is free");
        kept.write(b"all").expect("there is room");
        kept.keep().expect("it is free still");
        assert_eq!(names(dir.path()), ["file"]);
        assert_eq!(fs::read(&target).expect("it is there"), b"all");
        let again = NewFile::create(&target).expect_err("it is taken");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    }
}
