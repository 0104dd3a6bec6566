//! Makes a store of another backend, or with other keys, from a closed one: the same member, with the same records and
//! the same log.
//!
//! What is copied is what the backends' traits show, record by record and entry by entry, so that nothing of it is
//! interpreted: whoever opens the new store goes on exactly where the old one was closed, or killed.
//!
//! # Crash behaviour
//! As for [`Options::restore`]: under the name of the new store there is nothing or all of it. The old one is only read,
//! apart from what every opening does.

use crate::embedded::Medium;
use crate::options::Options;
use crate::restore::Site;
use coffer_backends::Backend;
use coffer_core::node::restore::{self, Audit};
use coffer_core::storage::{
    Checkpoint, Log, LogEntry, LogId, LogOp, LogReader, Records, SnapshotSource, StorageError,
};
use coffer_core::{Error, Record};
use std::ops::ControlFlow;
use std::path::Path;

/// Payload bytes of records, or of log entries, that are in memory at a time.
const PAGE_BYTES: usize = 4 << 20;

/// How far a conversion is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records copied.
    pub records: u64,
    /// The revision of the last one.
    pub revision: i64,
    /// The revision at which the records end.
    pub revision_last: i64,
    /// Log entries copied.
    pub entries: u64,
}

impl Options {
    /// Makes a store in the new directory `to` from the closed store in `from`, which these options open, and compares the
    /// two. `target` says how the new one is kept: its backend, by default that of the old one, and its seal, by default
    /// that of these options. It has no place before [`ConvertedStore::keep`]. Blocks; memory is bounded whatever the
    /// store holds.
    ///
    /// Both are the same member of the same cluster: only one of them may ever be run again.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no store in `from`, it does not open, it is in use or is what the new one would be
    /// already, nobody said what seals the new one, or `to` holds something; [`Error::Corrupt`] if the new store does not
    /// hold what the old one does; a fault of a medium.
    pub fn convert(
        &self,
        from: &Path,
        to: &Path,
        target: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<ConvertedStore, Error> {
        let old = Medium::open(from, &Self { backend: None, ..self.clone() }.create(false))?;
        let backend = target.backend.unwrap_or(old.backend);
        if old.backend == backend && target.seal.is_none() {
            return Err(Error::Open(format!(
                "{} has the backend {backend} already: name another one, or another key for the new store",
                from.display()
            )));
        }
        let Some(seal) = target.seal.clone().or(self.seal.clone()) else {
            return Err(Error::Open(format!(
                "{} is in the clear: say what is to seal the new store (--new-key-file, --new-passphrase-file, \
                 --new-command or --new-kms-socket), or that it is to be in the clear as well (--new-unsealed)",
                from.display()
            )));
        };
        let target = Self { backend: Some(backend), ..target.clone() }.seal(seal);
        let site = Site::take(to)?;
        let mut done = Progress::default();
        {
            let founding = Some(old.identity.into());
            let mut new = Medium::open_as(&site.path(), &target.clone().create(true), founding)?;
            copy(&old, &mut new, &mut |now| {
                done = *now;
                progress(now);
            })?;
        }
        // Opened again: what is judged is what the medium gives back.
        let new = Medium::open(&site.path(), &target.clone().create(false))?;
        let (before, after) = (restore::audit(old.records.clone())?, restore::audit(new.records.clone())?);
        if before != after {
            return Err(differs(format!(
                "HashKV and counts are {before:?} of the old, {after:?} of the new store"
            )));
        }
        compare_logs(&old, &new)?;
        Ok(ConvertedStore { audit: after, progress: done, from: old.backend, site })
    }
}

/// A store that was converted and compared, and has no place yet: dropping it removes it.
#[derive(Debug)]
pub struct ConvertedStore {
    audit: Audit,
    progress: Progress,
    from: Backend,
    site: Site,
}

impl ConvertedStore {
    /// What both stores say of their records.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// What was copied.
    pub fn copied(&self) -> &Progress {
        &self.progress
    }

    /// The backend of the old store.
    pub fn from(&self) -> Backend {
        self.from
    }

    /// Gives it its place, durably. Blocks.
    ///
    /// # Errors
    /// The system refused; then there is no store, or, if only the sync failed, one that a crash may take away.
    pub fn keep(self) -> Result<(), Error> {
        self.site.keep()
    }
}

fn copy(old: &Medium, new: &mut Medium, progress: &mut dyn FnMut(&Progress)) -> Result<(), Error> {
    let state = old.log.state();
    // First, as for every snapshot: the term belongs to what the records will say.
    let hard_state = LogOp::SaveHardState(state.hard_state);
    new.log.write(std::slice::from_ref(&hard_state), None)?;
    let mut done = Progress::default();
    if let Some(checkpoint) = old.records.checkpoint() {
        done.revision_last = checkpoint.revision;
        let mut source = Pages::of(&*old.records, &checkpoint, &mut done, progress);
        new.records.install(&checkpoint, &mut source)?;
    }
    if let Some(purged) = state.purged {
        new.log.purge(purged)?;
    }
    new.log.write(&[hard_state], None)?;
    each_page(&*old.log.reader(), |entries| {
        let last = entries.last().map(|last| last.id);
        done.entries += entries.len() as u64;
        new.log.write(&[LogOp::Append(entries)], state.committed.filter(|id| Some(*id) <= last))?;
        progress(&done);
        Ok(())
    })
}

/// Hands over all entries of a log, a few at a time.
fn each_page(
    log: &dyn LogReader,
    mut take: impl FnMut(Vec<LogEntry>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut next = 0;
    loop {
        let mut entries = Vec::new();
        log.read(next..u64::MAX, PAGE_BYTES as u64, &mut |entry| {
            entries.push(entry);
            ControlFlow::Continue(())
        })?;
        let Some(last) = entries.last() else { return Ok(()) };
        next = last.id.index + 1;
        take(entries)?;
    }
}

/// Checks that two logs say the same.
fn compare_logs(old: &Medium, new: &Medium) -> Result<(), Error> {
    let ends = |log: &dyn Log| {
        let state = log.state();
        let ends: [Option<LogId>; 2] = [state.purged, state.last];
        (ends, state.hard_state)
    };
    if ends(&*old.log) != ends(&*new.log) {
        return Err(differs("the logs begin or end elsewhere"));
    }
    let new = new.log.reader();
    each_page(&*old.log.reader(), |entries| {
        let mut expected = entries.iter();
        let end = entries.last().map_or(0, |last| last.id.index + 1);
        let start = entries.first().map_or(end, |first| first.id.index);
        let mut same = true;
        new.read(start..end, u64::MAX, &mut |entry| {
            same &= expected.next() == Some(&entry);
            ControlFlow::Continue(())
        })?;
        if same && expected.next().is_none() { Ok(()) } else { Err(differs("the logs hold other entries")) }
    })
}

fn differs(how: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("the new store is not what the old one is: {how}"))
}

/// The records of a store, read a few mebibytes at a time.
struct Pages<'a> {
    records: &'a dyn Records,
    checkpoint: &'a Checkpoint,
    page: std::vec::IntoIter<Record>,
    last: Option<coffer_core::Revision>,
    done: &'a mut Progress,
    progress: &'a mut dyn FnMut(&Progress),
}

impl<'a> Pages<'a> {
    fn of(
        records: &'a dyn Records,
        checkpoint: &'a Checkpoint,
        done: &'a mut Progress,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Self {
        Self { records, checkpoint, page: Vec::new().into_iter(), last: None, done, progress }
    }

    fn turn(&mut self) -> Result<(), StorageError> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let last = self.last;
        self.records.scan(last.map_or(0, |last| last.main), self.checkpoint.revision, &mut |record| {
            if last.is_some_and(|last| record.revision <= last) {
                return ControlFlow::Continue(());
            }
            bytes += record.payload_bytes() + 64;
            page.push(record.clone());
            if bytes < PAGE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        self.page = page.into_iter();
        (self.progress)(self.done);
        Ok(())
    }
}

impl SnapshotSource for Pages<'_> {
    fn next(&mut self) -> Result<Option<Record>, StorageError> {
        if self.page.len() == 0 {
            self.turn()?;
        }
        let record = self.page.next();
        if let Some(record) = &record {
            self.last = Some(record.revision);
            self.done.records += 1;
            self.done.revision = record.revision.main;
        }
        Ok(record)
    }
}
