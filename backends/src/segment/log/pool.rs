//! Log files in waiting: filled ahead, recycled after a purge.
//!
//! Only a file whose blocks were written before lets `fdatasync` leave the file system's metadata alone, which is
//! where most of its time goes otherwise. So the next file is filled with zeros before it is needed, by a thread of
//! the store, and a purged file becomes the next one as it is: a fresh salt in its header makes the old content
//! meaningless. A spare also means that a disk that fills up does not stop the log in the middle.
//!
//! A spare that cannot be made for lack of room is a lack of room of the whole store (see [`crate::room`]),
//! while most of the current file is still free for what makes room.
//!
//! Under load a purge gives back several files at once, and the next ones are taken out of them. In quieter times there
//! are more than will be taken soon: [`FilePool::trim`] keeps as many as were taken since it was last called. What is too
//! much is cut off a mebibyte at a time, because the end of a large file holds up everybody's syncs.
//!
//! Nothing here is on the way of a group, except that a rotation takes a spare or, if there is none, makes a file.

use super::super::directory::{Directory, StoreFile, Suffix, file_name};
use super::at::LogFile;
use crate::io::OpenMode;
use coffer_core::storage::StorageError;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A file that is made while a group waits is no larger than this, unless the group is.
const FIRST_FILE_BYTES: u64 = 1 << 20;
/// The same on a full disk, where it comes out of the reserve.
const PRESSED_FILE_BYTES: u64 = 256 << 10;
const FILL_BYTES: usize = 1 << 20;
/// What goes of a needless file at a time, and the rest after it.
const CUT_BYTES: u64 = 1 << 20;
const CUT_REST: Duration = Duration::from_millis(20);

pub(super) struct FilePool {
    shared: Arc<SparePool>,
    thread: Option<JoinHandle<()>>,
}

/// The files, as the log, the thread and whoever looks for room have them.
pub(in super::super) struct SparePool {
    directory: Arc<Directory>,
    file_bytes: u64,
    spares_max: usize,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    spares: Vec<Spare>,
    retired: Vec<Arc<LogFile>>,
    /// Spares that are too many, and how long they still are.
    needless: Vec<(Spare, u64)>,
    /// Files that were taken since the last trim.
    taken: usize,
    wanted: bool,
    /// Preparing failed since the current file was taken.
    failed: bool,
    stop: bool,
}

struct Spare {
    name: String,
    file: StoreFile,
}

impl FilePool {
    /// A pool of files of `file_bytes`. With a `thread`, all that can wait is done there; without, it is done by the
    /// caller, in a fixed order.
    pub(super) fn new(
        directory: Arc<Directory>,
        file_bytes: u64,
        spares_max: usize,
        thread: bool,
    ) -> Result<Self, StorageError> {
        let shared = Arc::new(SparePool {
            directory,
            file_bytes,
            spares_max,
            inner: Mutex::new(Inner::default()),
            changed: Condvar::new(),
        });
        let thread = match thread {
            false => None,
            true => {
                let shared = shared.clone();
                let started = std::thread::Builder::new().name("coffer-log-files".into());
                let started = started.spawn(move || shared.run());
                Some(started.map_err(|error| StorageError::io("start a thread for", "log files", error))?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// A file of at least `bytes` under the name of log file `id`. Its name is durable, its content means nothing.
    pub(super) fn take(&self, id: u64, bytes: u64) -> Result<(StoreFile, u64), StorageError> {
        let shared = &*self.shared;
        let spare = {
            let mut inner = shared.inner.lock();
            inner.taken += 1;
            // While the disk is full only a look for room tries again.
            inner.failed &= shared.directory.room().is_full();
            if bytes <= shared.file_bytes { inner.spares.pop() } else { None }
        };
        let (spare, length) = match spare {
            Some(spare) => (spare, shared.file_bytes),
            None => {
                let length = if self.thread.is_some() { FIRST_FILE_BYTES } else { shared.file_bytes };
                shared.fill_now(length.min(shared.file_bytes).max(bytes), bytes)?
            }
        };
        let name = file_name(id, Suffix::Log);
        if let Err(error) = shared.directory.rename(&spare.name, &name) {
            shared.directory.discard(&spare.name);
            return Err(error);
        }
        shared.directory.sync()?;
        let path = shared.directory.file_path(&name);
        Ok((StoreFile { path, ..spare.file }, length))
    }

    /// Says that the current file fills up: a spare will be needed.
    pub(super) fn prepare(&self) {
        let mut inner = self.shared.inner.lock();
        if !inner.spares.is_empty() || inner.wanted || inner.failed {
            return;
        }
        inner.wanted = true;
        self.wake(inner);
    }

    /// Gives back files that the log no longer needs.
    pub(super) fn retire(&self, files: impl IntoIterator<Item = Arc<LogFile>>) {
        let mut inner = self.shared.inner.lock();
        inner.retired.extend(files);
        if !inner.retired.is_empty() {
            self.wake(inner);
        }
    }

    /// Gives up spares beyond those that were taken since the last call, of which one is kept at least.
    pub(super) fn trim(&self) {
        let mut inner = self.shared.inner.lock();
        let kept = std::mem::take(&mut inner.taken).max(1).min(inner.spares.len());
        let needless = inner.spares.split_off(kept);
        let file_bytes = self.shared.file_bytes;
        inner.needless.extend(needless.into_iter().map(|spare| (spare, file_bytes)));
        if !inner.needless.is_empty() {
            self.wake(inner);
        }
    }

    /// Takes a file that was found at opening and belongs to no log; `name` must be free of meaning by now.
    pub(super) fn adopt(&self, name: &str) -> Result<(), StorageError> {
        let shared = &*self.shared;
        let file = shared.directory.open(name, OpenMode::Write)?;
        if file.len()? != shared.file_bytes || shared.inner.lock().spares.len() >= shared.spares_max {
            shared.directory.discard(name);
            return Ok(());
        }
        let spare = file_name(shared.directory.fresh_id(), Suffix::Spare);
        shared.directory.rename(name, &spare)?;
        let file = StoreFile { path: shared.directory.file_path(&spare), ..file };
        shared.inner.lock().spares.push(Spare { name: spare, file });
        Ok(())
    }

    /// The files, to be looked after where room is looked for.
    pub(super) fn shared(&self) -> Arc<SparePool> {
        self.shared.clone()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        let inner = self.shared.inner.lock();
        let needless: u64 = inner.needless.iter().map(|(_, bytes)| bytes).sum();
        inner.spares.len() as u64 * self.shared.file_bytes + needless
    }

    fn wake(&self, inner: parking_lot::MutexGuard<'_, Inner>) {
        drop(inner);
        if self.thread.is_some() {
            self.shared.changed.notify_one();
        } else {
            self.shared.work();
            while self.shared.cut() {}
        }
    }
}

impl Drop for FilePool {
    fn drop(&mut self) {
        self.shared.inner.lock().stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that prepares log files panicked");
        }
    }
}

impl SparePool {
    fn run(&self) {
        loop {
            let mut inner = self.inner.lock();
            while !inner.stop && !inner.wanted && inner.retired.is_empty() {
                if inner.needless.is_empty() {
                    self.changed.wait(&mut inner);
                } else if self.changed.wait_for(&mut inner, CUT_REST).timed_out() {
                    break;
                }
            }
            let stop = inner.stop;
            drop(inner);
            self.work();
            // While the disk is full, all of it; then one slice in each turn.
            while self.cut() && (stop || self.directory.room().is_full()) {}
            if stop {
                return;
            }
        }
    }

    /// Does everything that waits, but for what is needless.
    fn work(&self) {
        let retired = std::mem::take(&mut self.inner.lock().retired);
        retired.into_iter().for_each(|file| self.recycle(file));
        let wanted = {
            let mut inner = self.inner.lock();
            std::mem::take(&mut inner.wanted) && inner.spares.is_empty() && !inner.stop
        };
        if wanted {
            self.prepare();
        }
    }

    /// Makes a spare out of a file, unless a reader still has it; one that is too many is given up bit by bit, or at
    /// once while the disk is full. The file keeps its key until its name is gone, so that nobody destroys the key before.
    fn recycle(&self, file: Arc<LogFile>) {
        let name = file_name(file.id, Suffix::Log);
        let file = match Arc::try_unwrap(file) {
            Ok(file) if !self.directory.room().is_full() || file.bytes == self.file_bytes => file,
            _given_up => return self.directory.discard(&name),
        };
        let spare = file_name(self.directory.fresh_id(), Suffix::Spare);
        if let Err(error) = self.directory.rename(&name, &spare) {
            return tracing::warn!(%error, "a purged log file stays");
        }
        let path = self.directory.file_path(&spare);
        let (spare, bytes) =
            (Spare { name: spare, file: StoreFile { path, ..file.file.clone() } }, file.bytes);
        let mut inner = self.inner.lock();
        if bytes == self.file_bytes && inner.spares.len() < self.spares_max {
            inner.spares.push(spare);
        } else {
            inner.needless.push((spare, bytes));
        }
    }

    /// Gives back a slice of what is needless: one file of it while the disk is full, or at the end. Returns whether
    /// there is more.
    fn cut(&self) -> bool {
        let at_once = self.directory.room().is_full() || self.inner.lock().stop;
        let Some((spare, bytes)) = self.inner.lock().needless.pop() else { return false };
        let left = if at_once { 0 } else { bytes.saturating_sub(CUT_BYTES) };
        // What can not be cut is removed all the same.
        if left > 0 && spare.file.set_len(left).is_ok() {
            self.inner.lock().needless.push((spare, left));
        } else {
            self.directory.discard(&spare.name);
        }
        !self.inner.lock().needless.is_empty()
    }

    /// Bytes of the spare that is wanted and could not be made; else 0.
    pub(in super::super) fn missing_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        if inner.failed && inner.spares.is_empty() { self.file_bytes } else { 0 }
    }

    /// Makes the spare that is missing.
    pub(in super::super) fn make_missing(&self) -> Result<(), StorageError> {
        if self.missing_bytes() > 0 {
            let spare = self.fill(self.file_bytes, true)?;
            let mut inner = self.inner.lock();
            inner.spares.push(spare);
            inner.failed = false;
        }
        Ok(())
    }

    /// Fills a spare ahead. If that fails the log goes on with the file it has, and tries again when that one ends.
    fn prepare(&self) {
        match self.fill(self.file_bytes, true) {
            Ok(spare) => self.inner.lock().spares.push(spare),
            Err(error) if self.inner.lock().stop => tracing::debug!(%error, "a log file was not prepared"),
            Err(error) => {
                self.inner.lock().failed = true;
                tracing::warn!(%error, "the next log file could not be prepared");
                if error.is_no_room() {
                    self.directory.room().is_short();
                }
            }
        }
    }

    /// A file of about `bytes` for a group that waits; on a full disk as small as can be, and at the cost of the
    /// reserve. Returns its length.
    fn fill_now(&self, bytes: u64, bytes_min: u64) -> Result<(Spare, u64), StorageError> {
        match self.fill(bytes, false) {
            Err(error) if error.is_no_room() && self.directory.room().let_go() => {
                let bytes = PRESSED_FILE_BYTES.min(bytes).max(bytes_min);
                Ok((self.fill(bytes, false)?, bytes))
            }
            filled => Ok((filled?, bytes)),
        }
    }

    /// A file of zeros.
    fn fill(&self, bytes: u64, ahead: bool) -> Result<Spare, StorageError> {
        let id = self.directory.fresh_id();
        let filling = file_name(id, Suffix::New);
        let file = self.directory.open_sparing(&filling, OpenMode::Create)?;
        if let Err(error) = self.fill_with_zeros(&file, bytes, ahead) {
            self.directory.discard(&filling);
            return Err(error);
        }
        let file = file.pressing();
        if !ahead {
            return Ok(Spare { name: filling, file });
        }
        let name = file_name(id, Suffix::Spare);
        if let Err(error) = self.directory.rename(&filling, &name) {
            self.directory.discard(&filling);
            return Err(error);
        }
        Ok(Spare { file: StoreFile { path: self.directory.file_path(&name), ..file }, name })
    }

    fn fill_with_zeros(&self, file: &StoreFile, bytes: u64, ahead: bool) -> Result<(), StorageError> {
        let zeros = vec![0; FILL_BYTES.min(bytes as usize)];
        let mut at = 0;
        while at < bytes {
            if ahead && self.inner.lock().stop {
                let stopped = std::io::ErrorKind::Interrupted.into();
                return Err(StorageError::io("fill", &file.path, stopped));
            }
            let count = (zeros.len() as u64).min(bytes - at);
            file.write(&zeros[..count as usize], at)?;
            at += count;
        }
        // A file that is made on the way of a group is synced with that group.
        if ahead { file.sync() } else { Ok(()) }
    }
}
