//! Makes a new store in a directory from what another one held.
//!
//! # Crash behaviour
//! The store is made beside its place, in `<dir>.partial/store`, and takes its name as the last step: under `<dir>` there
//! is nothing or all of it. What an earlier attempt left behind is removed by the next one: a directory with the file
//! `RESTORE`, which is the first thing in it, and durable before anything else is. A directory of that name without the
//! file is somebody's own, and stays. Two attempts at a time are told apart by a lock on `<dir>.partial.lock`, held until
//! the store has its name.

use crate::embedded::Medium;
use crate::new_cluster::NewCluster;
use crate::options::Options;
use coffer_core::Error;
use coffer_core::node::restore::{self, Audit, Restored};
use coffer_core::storage::SnapshotSource;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

impl Options {
    /// Makes a store from `content` and the records of `source`, in ascending revision order, as a member of `cluster`, or
    /// as the only member of a new one. It has no place before [`RestoredStore::keep`]. Blocks; memory is bounded whatever
    /// the source holds.
    ///
    /// # Errors
    /// [`Error::Open`] if `dir` holds something, or is being filled by another process; [`Error::InvalidArgument`] if
    /// the content cannot be one of a store; the source's error; a fault of the medium.
    pub fn restore(
        &self,
        dir: &Path,
        cluster: Option<&NewCluster>,
        content: &Restored,
        source: &mut dyn SnapshotSource,
    ) -> Result<RestoredStore, Error> {
        let site = Site::take(dir)?;
        {
            let founding = cluster.map(NewCluster::founding);
            let mut store = Medium::open_as(&site.path(), &self.clone().create(true), founding)?;
            let (member_id, members) =
                (store.identity.member_id, cluster.map_or(&[][..], NewCluster::members));
            restore::restore(
                member_id,
                members,
                store.log.as_mut(),
                store.records.as_ref(),
                content,
                source,
            )?;
        }
        // Opened again: what is judged is what the medium gives back.
        let store = Medium::open(&site.path(), &self.clone().create(false))?;
        let audit = restore::audit(store.records.clone())?;
        let (cluster_id, member_id) = (store.identity.cluster_id, store.identity.member_id);
        Ok(RestoredStore { audit, cluster_id, member_id, site })
    }
}

/// A store that was made and read back, and has no place yet: dropping it removes it.
#[derive(Debug)]
pub struct RestoredStore {
    audit: Audit,
    cluster_id: u64,
    member_id: u64,
    site: Site,
}

impl RestoredStore {
    /// What it says of itself, read back from the medium.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The cluster that it belongs to.
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// The member whose store it is.
    pub fn member_id(&self) -> u64 {
        self.member_id
    }

    /// Gives it its place, durably. Blocks.
    ///
    /// # Errors
    /// The system refused; then there is no store, or, if only the sync failed, one that a crash may take away.
    pub fn keep(self) -> Result<(), Error> {
        self.site.keep()
    }
}

/// Where a store is made, beside its place. Removed when it is dropped without having been kept.
#[derive(Debug)]
pub(crate) struct Site {
    dir: PathBuf,
    partial: Partial,
    /// Given back last.
    _claim: Claim,
}

impl Site {
    /// Makes room for the store that is to get the name `dir`, which must be vacant.
    pub(crate) fn take(dir: &Path) -> Result<Self, Error> {
        let dir = std::path::absolute(dir).map_err(|error| failed("find", dir, &error))?;
        check_vacant(&dir)?;
        let claim = Claim::take(&dir)?;
        let partial = beside(&dir, ".partial")?;
        remove_leftover(&partial)?;
        Ok(Self { dir, partial: Partial::create(partial)?, _claim: claim })
    }

    /// The directory to fill.
    pub(crate) fn path(&self) -> PathBuf {
        self.partial.store()
    }

    /// Gives what was made its place, durably.
    pub(crate) fn keep(self) -> Result<(), Error> {
        let parent = self.dir.parent().unwrap_or(Path::new("/"));
        fs::rename(self.partial.store(), &self.dir).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => Error::Open(format!(
                "{} is where another file system begins: name a directory below it",
                self.dir.display()
            )),
            _ => failed("name", &self.dir, &error),
        })?;
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|error| failed("sync", parent, &error))
    }
}

/// What says that a directory was made here, and may be removed with all that is in it.
const MARKER: &str = "RESTORE";

/// Where a store is made. Removed when it is dropped, with the store unless that was given its place.
#[derive(Debug)]
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(path: PathBuf) -> Result<Self, Error> {
        let create = || {
            fs::create_dir(&path)?;
            let mut marker = File::create_new(path.join(MARKER))?;
            marker.write_all(
                b"A store was being made here. If nobody is at it, this directory may be removed.\n",
            )?;
            marker.sync_all()?;
            File::open(&path)?.sync_all()
        };
        match create() {
            Ok(()) => Ok(Self { path }),
            Err(error) => {
                // Nothing that is older than this attempt: the directory was not there.
                let _ = fs::remove_file(path.join(MARKER)).and_then(|()| fs::remove_dir(&path));
                Err(failed("create", &path, &error))
            }
        }
    }

    fn store(&self) -> PathBuf {
        self.path.join("store")
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "an unfinished store stays");
            }
            _ => {}
        }
    }
}

/// The right to fill a place, against other processes and threads.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Claim {
    fn take(dir: &Path) -> Result<Self, Error> {
        let path = beside(dir, ".partial.lock")?;
        if let Some(parent) = dir.parent() {
            create_durably(parent).map_err(|error| failed("create", parent, &error))?;
        }
        loop {
            let file = File::options().write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(|error| failed("lock", &path, &error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Open(format!("{} is being filled by another process", dir.display())));
                }
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
            }
            // Who had it before removed the file, perhaps after it was opened here: then this locks nothing.
            let locked = file.metadata().map_err(|error| failed("lock", &path, &error))?;
            if fs::metadata(&path)
                .is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()))
            {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

/// Creates what is missing of the path to `dir`, so that a crash does not take it away again.
fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    create_durably(parent)?;
    match fs::create_dir(dir) {
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        outcome => outcome?,
    }
    File::open(parent)?.sync_all()
}

impl Drop for Claim {
    fn drop(&mut self) {
        // An empty file that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what an earlier attempt left: nobody else is at it, because this one holds the claim.
fn remove_leftover(partial: &Path) -> Result<(), Error> {
    if !exists(partial)? {
        return Ok(());
    }
    if !exists(&partial.join(MARKER))? {
        // An attempt that was cut off before its first file leaves an empty directory.
        return fs::remove_dir(partial).map_err(|_| {
            Error::Open(format!(
                "{} is in the way, and is nothing that an earlier attempt left: give it another name",
                partial.display()
            ))
        });
    }
    tracing::info!(path = %partial.display(), "removing what an earlier attempt left");
    fs::remove_dir_all(partial).map_err(|error| failed("remove", partial, &error))
}

/// Refuses a directory that holds something.
fn check_vacant(dir: &Path) -> Result<(), Error> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("open", dir, &error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::Open(format!("{} is not empty: name a new directory", dir.display()))),
        },
    }
}

/// `dir` with `ending` after its name.
fn beside(dir: &Path, ending: &str) -> Result<PathBuf, Error> {
    let Some(name) = dir.file_name() else {
        return Err(Error::Open(format!("{} can be no store: name a new directory", dir.display())));
    };
    let mut name = OsString::from(name);
    name.push(ending);
    Ok(dir.with_file_name(name))
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|error| failed("find", path, &error))
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Error {
    Error::Open(format!("cannot {doing} {}: {error}", path.display()))
}
