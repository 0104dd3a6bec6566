//! What a verification tells while it goes: how far it is, and everything that it finds.
//!
//! [`Records::verify`](super::Records::verify) and [`LogReader::verify`](super::LogReader::verify) read all that is
//! stored, and go on past damage. Whoever asks for it is an [`Inspector`]: it is told of each piece that was read, and may
//! take its time then, which is how a verification is slowed down, or end it.

use super::StorageError;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Findings that are kept by name; the others are counted.
pub const FINDINGS_LISTED_MAX: usize = 1000;

/// Something that is not as it was written.
#[derive(Clone, Debug)]
pub enum Finding {
    /// What should be there cannot be read, or is something else: content of the store is lost.
    Damage(StorageError),
    /// One copy is damaged, and another one, on the medium or in memory, is whole: nothing is lost yet.
    Weakened(StorageError),
    /// What a crash leaves: the end of something that was never acknowledged. The next opening passes over it.
    Torn {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What stands there.
        what: String,
    },
}

impl Finding {
    /// The file that is meant, if it is known.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Damage(error) | Self::Weakened(error) => error.path(),
            Self::Torn { path, .. } => Some(path),
        }
    }

    /// Where in the file, if that is known.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Damage(StorageError::Corrupt { offset, .. })
            | Self::Weakened(StorageError::Corrupt { offset, .. })
            | Self::Torn { offset, .. } => Some(*offset),
            Self::Damage(_) | Self::Weakened(_) => None,
        }
    }

    /// What is wrong, apart from the place.
    pub fn what(&self) -> String {
        match self {
            Self::Damage(StorageError::Corrupt { expected, found, .. })
            | Self::Weakened(StorageError::Corrupt { expected, found, .. }) => {
                format!("expected {expected}, found {found}")
            }
            Self::Damage(error) | Self::Weakened(error) => error.to_string(),
            Self::Torn { what, .. } => what.clone(),
        }
    }

    /// Whether content is lost.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damage(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(error) => write!(f, "{error}"),
            Self::Weakened(error) => write!(f, "{error}; another copy of it is whole, nothing is lost yet"),
            Self::Torn { path, offset, what } => {
                write!(f, "{} at offset {offset}: {what}: torn tail, harmless", path.display())
            }
        }
    }
}

/// Whoever asked for a verification.
pub trait Inspector {
    /// Whether nobody else uses the store, so that one long look holds nobody up.
    fn is_alone(&self) -> bool;

    /// About so many bytes more are going to be read.
    fn expect(&mut self, bytes: u64);

    /// So many bytes more were read and judged; nothing is locked, so this may take its time. `Break` ends the
    /// verification.
    fn checked(&mut self, bytes: u64) -> ControlFlow<()>;

    /// Takes a finding; the verification goes on.
    fn found(&mut self, finding: Finding);
}

/// Findings, the first of them by name. As an inspector it is alone, and in no hurry.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    listed: Vec<Finding>,
    damage: u64,
    weakened: u64,
    torn: u64,
    checked_bytes: u64,
    expected_bytes: u64,
}

impl Findings {
    /// Takes a finding. Damage takes the place of what is less, if the list is full.
    pub fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Damage(_) => self.damage += 1,
            Finding::Weakened(_) => self.weakened += 1,
            Finding::Torn { .. } => self.torn += 1,
        }
        if self.listed.len() >= FINDINGS_LISTED_MAX {
            let Some(less) = self.listed.iter().position(|listed| !listed.is_damage()) else { return };
            if !finding.is_damage() {
                return;
            }
            self.listed.remove(less);
        }
        self.listed.push(finding);
    }

    /// The findings that are known by name, at most [`FINDINGS_LISTED_MAX`].
    pub fn listed(&self) -> &[Finding] {
        &self.listed
    }

    /// How many are damage.
    pub fn damage(&self) -> u64 {
        self.damage
    }

    /// How many are one damaged copy of two.
    pub fn weakened(&self) -> u64 {
        self.weakened
    }

    /// How many are torn tails.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.damage + self.weakened + self.torn
    }

    /// Bytes that were read and judged.
    pub fn checked_bytes(&self) -> u64 {
        self.checked_bytes
    }

    /// Bytes that were to be read, as far as was known.
    pub fn expected_bytes(&self) -> u64 {
        self.expected_bytes
    }

    /// The first damage, if there is any.
    pub fn first_damage(&self) -> Option<&StorageError> {
        self.listed.iter().find_map(|finding| match finding {
            Finding::Damage(error) => Some(error),
            _ => None,
        })
    }
}

impl Inspector for Findings {
    fn is_alone(&self) -> bool {
        true
    }

    fn expect(&mut self, bytes: u64) {
        self.expected_bytes += bytes;
    }

    fn checked(&mut self, bytes: u64) -> ControlFlow<()> {
        self.checked_bytes += bytes;
        ControlFlow::Continue(())
    }

    fn found(&mut self, finding: Finding) {
        self.add(finding);
    }
}

/// Why a verification is not gone on with. For backends.
#[derive(Debug)]
pub enum Halt {
    /// The inspector ended it.
    Ended,
    /// It cannot be gone on with.
    Failed(StorageError),
}

impl From<StorageError> for Halt {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

/// An inspector as the code of a backend talks to it, with `?`.
pub struct Checking<'a> {
    inspector: &'a mut dyn Inspector,
    damage: u64,
}

impl<'a> Checking<'a> {
    /// On behalf of `inspector`.
    pub fn new(inspector: &'a mut dyn Inspector) -> Self {
        Self { inspector, damage: 0 }
    }

    /// See [`Inspector::is_alone`].
    pub fn is_alone(&self) -> bool {
        self.inspector.is_alone()
    }

    /// See [`Inspector::expect`].
    pub fn expect(&mut self, bytes: u64) {
        self.inspector.expect(bytes);
    }

    /// Tells of bytes that were judged.
    ///
    /// # Errors
    /// [`Halt::Ended`] if this is to be the end.
    pub fn checked(&mut self, bytes: u64) -> Result<(), Halt> {
        match self.inspector.checked(bytes) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Halt::Ended),
        }
    }

    /// Damage that was told of through this.
    pub fn damage(&self) -> u64 {
        self.damage
    }

    /// Tells of a finding.
    pub fn found(&mut self, finding: Finding) {
        self.damage += u64::from(finding.is_damage());
        self.inspector.found(finding);
    }

    /// Takes a failure to read for damage, if it is any.
    ///
    /// # Errors
    /// The failure, if it is of the store as a whole: it was closed, or does not open with this key.
    pub fn take<T>(&mut self, result: Result<T, StorageError>) -> Result<Option<T>, Halt> {
        match result {
            Ok(read) => Ok(Some(read)),
            Err(error @ (StorageError::Corrupt { .. } | StorageError::Io { .. })) => {
                self.found(Finding::Damage(error));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The outcome of a verification that may have been ended.
///
/// # Errors
/// What it failed with.
pub fn ended(outcome: Result<(), Halt>) -> Result<(), StorageError> {
    match outcome {
        Ok(()) | Err(Halt::Ended) => Ok(()),
        Err(Halt::Failed(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torn(offset: u64) -> Finding {
        Finding::Torn { path: "f".into(), offset, what: "a cut frame".into() }
    }

    fn damage(offset: u64) -> Finding {
        let (expected, found) = ("a box".into(), "rot".into());
        Finding::Damage(StorageError::Corrupt { path: "f".into(), offset, expected, found })
    }

    #[test]
    fn the_list_is_bounded_and_keeps_damage() {
        let mut findings = Findings::default();
        for offset in 0..2 * FINDINGS_LISTED_MAX as u64 {
            findings.add(torn(offset));
        }
        (0..10).for_each(|offset| findings.add(damage(offset)));
        assert_eq!(findings.listed().len(), FINDINGS_LISTED_MAX);
        assert_eq!(findings.listed().iter().filter(|finding| finding.is_damage()).count(), 10);
        assert_eq!((findings.damage(), findings.torn()), (10, 2 * FINDINGS_LISTED_MAX as u64));
        assert_eq!(findings.first_damage().and_then(StorageError::path), Some(Path::new("f")));
    }

    #[test]
    fn findings_say_where_and_what() {
        assert_eq!(damage(7).to_string(), "f is damaged at offset 7: expected a box, found rot");
        assert_eq!(torn(8).to_string(), "f at offset 8: a cut frame: torn tail, harmless");
        assert_eq!((torn(8).offset(), torn(8).what()), (Some(8), "a cut frame".to_owned()));
    }
}
