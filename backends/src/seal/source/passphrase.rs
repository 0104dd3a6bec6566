//! A passphrase, stretched by argon2id (RFC 9106, version 0x13).
//!
//! Cost and salt are stored in the slot. A cost below the floor is refused, so that a doctored file cannot make a
//! passphrase cheap to guess; one above the ceiling too, so that it cannot make us ask for a terabyte.

use super::{KeyError, Parameters, secret_file};
use crate::seal::secret::SecretKey;
use argon2::{Algorithm, Argon2, Params, Version};
use coffer_core::storage::StorageError;
use std::fmt;
use std::io;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a salt.
const SALT_BYTES: usize = 16;
const PASSPHRASE_BYTES_MAX: usize = 64 << 10;

/// What a guess costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Cost {
    /// What is accepted at least: OWASP's minimum.
    pub const FLOOR: Self = Self { memory_kib: 19 << 10, passes: 2, lanes: 1 };
    /// What is accepted at most.
    pub const CEILING: Self = Self { memory_kib: 1 << 20, passes: 32, lanes: 16 };

    fn is_accepted(self) -> bool {
        (Self::FLOOR.memory_kib..=Self::CEILING.memory_kib).contains(&self.memory_kib)
            && (Self::FLOOR.passes..=Self::CEILING.passes).contains(&self.passes)
            && (Self::FLOOR.lanes..=Self::CEILING.lanes).contains(&self.lanes)
    }
}

/// 64 MiB, 3 passes, 4 lanes: the second recommendation of RFC 9106.
impl Default for Argon2Cost {
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 4 }
    }
}

impl fmt::Display for Argon2Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "argon2id m={} KiB t={} p={}", self.memory_kib, self.passes, self.lanes)
    }
}

/// A passphrase. Its bytes are taken as they are.
pub struct Passphrase {
    bytes: Zeroizing<Vec<u8>>,
    cost: Argon2Cost,
    origin: String,
}

impl Passphrase {
    /// A passphrase that was asked for.
    ///
    /// # Errors
    /// It is empty or has more than 64 KiB.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        Self::from_origin(bytes, "the passphrase".into())
    }

    /// The passphrase in a file, without the line break at its end.
    ///
    /// # Errors
    /// The file cannot be read, others than its owner may, or it holds no passphrase.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let origin = format!("passphrase file {}", path.display());
        let mut bytes = secret_file::read(path, &origin, PASSPHRASE_BYTES_MAX)?;
        for end in [b'\n', b'\r'] {
            if bytes.last() == Some(&end) {
                bytes.pop();
            }
        }
        Self::from_origin(bytes, origin)
    }

    /// The passphrase in an environment variable. Whoever may see the process's environment sees it, so the log warns.
    ///
    /// # Errors
    /// There is no such variable, or it holds no passphrase.
    pub fn from_environment(name: &str) -> Result<Self, KeyError> {
        let origin = format!("environment variable {name}");
        let Some(value) = std::env::var_os(name) else {
            return Err(KeyError::source(origin, "is not set"));
        };
        tracing::warn!(
            variable = name,
            "the passphrase is in the environment, where other programs may see it; a file is safer"
        );
        let bytes = std::os::unix::ffi::OsStringExt::into_vec(value);
        Self::from_origin(Zeroizing::new(bytes), origin)
    }

    fn from_origin(bytes: Zeroizing<Vec<u8>>, origin: String) -> Result<Self, KeyError> {
        if bytes.is_empty() {
            return Err(KeyError::source(origin, "is empty"));
        }
        if bytes.len() > PASSPHRASE_BYTES_MAX {
            return Err(KeyError::source(origin, format!("has more than {PASSPHRASE_BYTES_MAX} bytes")));
        }
        Ok(Self { bytes, cost: Argon2Cost::default(), origin })
    }

    /// With another cost for the slots that are made with it.
    ///
    /// # Errors
    /// The cost is out of bounds.
    pub fn with_cost(mut self, cost: Argon2Cost) -> Result<Self, KeyError> {
        if !cost.is_accepted() {
            return Err(self.refuses(cost));
        }
        self.cost = cost;
        Ok(self)
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn new_kek(&self) -> Result<(Parameters, SecretKey), KeyError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| {
            StorageError::io("read random bytes", "getrandom", io::Error::other(error.to_string()))
        })?;
        let kek = self.kek(&salt, self.cost)?;
        Ok((Parameters::Passphrase { salt, cost: self.cost }, kek))
    }

    pub(super) fn kek(&self, salt: &[u8; SALT_BYTES], cost: Argon2Cost) -> Result<SecretKey, KeyError> {
        if !cost.is_accepted() {
            return Err(self.refuses(cost));
        }
        let failed = |error: argon2::Error| KeyError::source(&*self.origin, format!("{cost}: {error}"));
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None).map_err(failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        SecretKey::filled(|key| argon2.hash_password_into(&self.bytes, salt, key)).map_err(failed)
    }

    fn refuses(&self, cost: Argon2Cost) -> KeyError {
        let (floor, ceiling) = (Argon2Cost::FLOOR, Argon2Cost::CEILING);
        let reason = format!("{cost} is not between {floor} and {ceiling}");
        KeyError::source(&*self.origin, reason)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").field("origin", &self.origin).finish_non_exhaustive()
    }
}
