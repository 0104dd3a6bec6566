//! Verifies a closed store: every byte of it that means something, and whether all of it fits together.

use crate::keys::SlotId;
use crate::options::Options;
use crate::seal::Seal;
use coffer_backends::{Backend, Inspected, inspect};
use coffer_core::Error;
use coffer_core::node::restore::Audit;
use coffer_core::node::soundness;
use coffer_core::storage::{Finding, Findings, Inspector, StorageError};
use std::ops::ControlFlow;
use std::path::Path;

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Bytes that were read and judged.
    pub checked_bytes: u64,
    /// Bytes that are to be, as far as is known.
    pub expected_bytes: u64,
    /// Damage found so far.
    pub damage: u64,
}

/// What a verification found.
#[derive(Clone, Debug)]
pub struct VerifyReport {
    /// How the store is kept; `None` if its keys are so damaged that nothing could be looked at.
    pub backend: Option<Backend>,
    /// Whether it is sealed.
    pub sealed: bool,
    /// The slot that the given key opens.
    pub slot: Option<SlotId>,
    /// Records that are intact.
    pub records: u64,
    /// What the records say as a whole, if all of them can be read: HashKV over the content, revisions, counts.
    pub audit: Option<Audit>,
    /// What is wrong, if anything is.
    pub findings: Findings,
    /// Whether it was ended before everything was looked at.
    pub ended: bool,
}

impl VerifyReport {
    /// Whether everything was looked at and nothing is lost.
    pub fn is_sound(&self) -> bool {
        self.findings.damage() == 0 && !self.ended
    }
}

impl Options {
    /// Verifies the store in `dir`, which nobody has open, and changes nothing in it: no file is written, not even that of
    /// the lock, which is held meanwhile. Goes on past damage; what was found is in the report. `progress` is told of each
    /// piece, may take its time, and ends the verification by `Break`. Blocks.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no store in `dir`, it is in use, has another backend than these options say, or does not
    /// open with this key; a medium that cannot be read at all.
    pub fn verify(
        &self,
        dir: &Path,
        progress: &mut dyn FnMut(&VerifyProgress) -> ControlFlow<()>,
    ) -> Result<VerifyReport, Error> {
        if let (Some(wanted), Ok(Some(found))) = (self.backend, Backend::of(dir))
            && wanted != found
        {
            let place = dir.display();
            return Err(Error::Open(format!("{place} holds a store of the backend {found}, not {wanted}")));
        }
        let mut watch = Watch { progress, findings: Findings::default(), ended: false };
        let inspected = match inspect(dir, Seal::at_rest(self.seal.as_ref())?, &mut watch) {
            Ok(inspected) => inspected,
            Err(error @ StorageError::Corrupt { .. }) => {
                watch.found(Finding::Damage(error));
                let Watch { findings, ended, .. } = watch;
                let sealed = self.seal.as_ref().is_some_and(|seal| *seal != Seal::Unsealed);
                return Ok(VerifyReport {
                    backend: None,
                    sealed,
                    slot: None,
                    records: 0,
                    audit: None,
                    findings,
                    ended,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let Inspected { log, records, backend, intact, sealed, slot } = inspected;
        // Where a piece is lost nothing can be said of the whole.
        let audit = match records.filter(|_| watch.findings.damage() == 0 && !watch.ended) {
            Some(records) => soundness::check(dir, log.as_ref(), &records, &mut watch)?,
            None => None,
        };
        let Watch { findings, ended, .. } = watch;
        Ok(VerifyReport { backend: Some(backend), sealed, slot, records: intact, audit, findings, ended })
    }
}

/// Passes on how far it is.
struct Watch<'a> {
    progress: &'a mut dyn FnMut(&VerifyProgress) -> ControlFlow<()>,
    findings: Findings,
    ended: bool,
}

impl Inspector for Watch<'_> {
    fn is_alone(&self) -> bool {
        true
    }

    fn expect(&mut self, bytes: u64) {
        self.findings.expect(bytes);
    }

    fn checked(&mut self, bytes: u64) -> ControlFlow<()> {
        // It cannot end itself.
        let _ = self.findings.checked(bytes);
        let now = VerifyProgress {
            checked_bytes: self.findings.checked_bytes(),
            expected_bytes: self.findings.expected_bytes(),
            damage: self.findings.damage(),
        };
        let flow = (self.progress)(&now);
        self.ended |= flow.is_break();
        flow
    }

    fn found(&mut self, finding: Finding) {
        self.findings.add(finding);
    }
}
