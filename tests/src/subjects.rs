//! The stores under test: each backend, sealed and unsealed, in one list. Whatever is tested for all of them goes
//! through this list; another one is a line here and a file that says how it is opened and what its files hold.

pub mod segment;
mod simulated;
pub mod sqlite;

pub use simulated::{Place, SealedPiece, Simulated, SimulatedStore};

use coffer_backends::seal::{AtRest, Keyring, RootKey, SecretKey};
use coffer_core::storage::conformance::Medium;
use coffer_core::storage::{Log, Records, StorageError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Every store under test.
pub const SUBJECTS: &[Subject] = &[segment::UNSEALED, segment::SEALED, sqlite::UNSEALED, sqlite::SEALED];

/// A kind of store.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// The backend, as `--backend` names it.
    pub backend: &'static str,
    /// Whether it is sealed.
    pub sealed: bool,
    /// A machine with an empty disk that loses power when it is told to.
    pub simulated: fn() -> Box<dyn Machine>,
    /// Opens the store in a directory of the file system, as a program would; creates it if need be.
    pub open: fn(&Path) -> Result<Stored, StorageError>,
}

impl Subject {
    /// What `--backend` calls it.
    pub fn name(&self) -> String {
        format!("{}{}", self.backend, if self.sealed { "-sealed" } else { "" })
    }

    /// The subjects that go by `name`: one, or all of them.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn named(name: &str) -> Result<Vec<Subject>, String> {
        let known = SUBJECTS.iter().map(Subject::name).collect::<Vec<_>>().join(", ");
        let found: Vec<_> =
            SUBJECTS.iter().filter(|subject| name == "all" || subject.name() == name).copied().collect();
        if found.is_empty() { Err(format!("no backend {name:?}: there are {known}, all")) } else { Ok(found) }
    }
}

/// A store that was opened, whatever its backend is.
pub struct Stored {
    /// What must be durable now.
    pub log: Box<dyn Log>,
    /// What may be durable later.
    pub records: Arc<dyn Records>,
    /// The cluster.
    pub cluster_id: u64,
    /// The member.
    pub member_id: u64,
    /// How often it was opened.
    pub boot: u64,
    /// Its data keys, if it is sealed.
    pub keyring: Option<Arc<Keyring>>,
}

/// How a sealed store under test is opened, again and again.
pub(crate) fn sealed() -> AtRest {
    AtRest::Sealed(RootKey::new([3; 16], SecretKey::from_bytes(&mut [7; 32])))
}

/// A machine with one store on its disk.
pub trait Machine: Medium {
    /// Opens the store, with what a node needs to know of it.
    ///
    /// # Errors
    /// Whatever the backend answers.
    fn open_stored(&mut self) -> Result<Stored, StorageError>;

    /// Lets every sync take so long.
    fn set_sync_time(&mut self, sync_time: Duration);

    /// A machine with what is stored here now, as a process that is killed leaves it, and random bytes of its own.
    fn kill(&self, seed: u64) -> Box<dyn Machine>;
}
