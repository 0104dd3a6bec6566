//! Which backends there are, and which one a directory holds.

use crate::io::{Io, RealIo};
use crate::{segment, sqlite};
use coffer_core::storage::StorageError;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// A way to keep a store in a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Flat files: see [`segment`].
    #[default]
    Segment,
    /// SQLite: see [`sqlite`].
    Sqlite,
}

impl Backend {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Segment, Self::Sqlite];

    /// As flags and URIs name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Segment => "segment",
            Self::Sqlite => "sqlite",
        }
    }

    /// The backend of the store in `directory`, or of one whose creation did not end; `None` if it holds none, or is
    /// not there.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn of(directory: &Path) -> Result<Option<Self>, StorageError> {
        match RealIo.list(directory) {
            Ok(names) => Ok(Self::of_names(&names)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StorageError::io("list", directory, error)),
        }
    }

    /// The backend of a store in a directory with these names.
    pub(crate) fn of_names(names: &[String]) -> Option<Self> {
        if names.iter().any(|name| segment::SLOTS.contains(&name.as_str())) {
            Some(Self::Segment)
        } else {
            let is_sqlite = |name: &String| sqlite::is_database(name) || sqlite::is_unfinished(name);
            names.iter().any(is_sqlite).then_some(Self::Sqlite)
        }
    }

    /// Why a directory that holds a store of this backend is refused to another.
    pub(crate) fn holds(self) -> String {
        format!(
            "holds a store of the backend {self}: open it with --backend {self} (?backend={self} in a URI), or \
             without naming a backend; `coffer convert` makes a store of another one from it"
        )
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|backend| backend.name() == text);
        found.ok_or_else(|| format!("there is no backend {text:?}: segment or sqlite"))
    }
}
