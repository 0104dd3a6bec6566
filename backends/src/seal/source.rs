//! Sources of key-encryption keys: what its owner keeps outside of the store, and what opens a slot.
//!
//! - [`Passphrase`]: stretched by argon2id.
//! - [`KeyFile`]: 32 bytes in a file that only its owner may read.
//! - [`KeyCommand`]: an external program that wraps and unwraps.
//! - [`KmsPlugin`]: a Kubernetes KMS v2 plugin behind a socket.
//!
//! A source makes a key for a new slot together with the [`Parameters`] that the slot stores in the clear, and finds the
//! same key again from them. A passphrase and a key file are the key, in other words; a command and a plugin are given a
//! fresh random key for each slot to wrap, and what they answer are the parameters.
//!
//! # Invariants
//! - What a slot's parameters say is never trusted beyond what a wrong key would do: they name no program that is run and
//!   no socket that is connected to (both come from the caller's configuration), and their cost is bounded.
//! - Key bytes appear in no error, log, argument or environment variable. The plaintext key meets a command on a pipe only.
//! - A source that cannot open again what it has just made is refused before a slot is made for it.

mod command;
mod key_file;
mod kms;
mod parameters;
mod passphrase;
mod secret_file;

pub use command::KeyCommand;
pub use key_file::KeyFile;
pub use kms::KmsPlugin;
pub use parameters::Parameters;
pub use passphrase::{Argon2Cost, Passphrase};

use super::key_error::KeyError;
use super::secret::SecretKey;
use super::slots::SlotKind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coffer_kms::Encrypted;
use std::fmt;
use zeroize::Zeroizing;

/// A source of a key-encryption key.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeySource {
    /// A passphrase.
    Passphrase(Passphrase),
    /// A file with a key.
    KeyFile(KeyFile),
    /// An external program.
    Command(KeyCommand),
    /// A Kubernetes KMS v2 plugin.
    Kms(KmsPlugin),
}

impl KeySource {
    /// The kind of slots that it opens.
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Passphrase(_) => SlotKind::Passphrase,
            Self::KeyFile(_) => SlotKind::KeyFile,
            Self::Command(_) => SlotKind::Command,
            Self::Kms(_) => SlotKind::Kms,
        }
    }

    /// What the source says of itself: the id of the key that it wraps with now, if it has such ids. A slot with another
    /// id should be rewrapped.
    ///
    /// # Errors
    /// The source cannot be asked, or is not well.
    pub fn key_id(&self) -> Result<Option<String>, KeyError> {
        match self {
            Self::Passphrase(_) | Self::KeyFile(_) => Ok(None),
            Self::Command(command) => command.status().map(Some),
            Self::Kms(plugin) => plugin.status().map(Some),
        }
    }

    /// A key for a new slot of the store, and what finds it again.
    pub(super) fn new_kek(&self, store_id: &[u8; 16]) -> Result<(Parameters, SecretKey), KeyError> {
        let (parameters, kek) = match self {
            Self::Passphrase(passphrase) => return passphrase.new_kek(),
            Self::KeyFile(file) => return Ok((Parameters::KeyFile, file.kek())),
            Self::Command(command) => command.new_kek(store_id)?,
            Self::Kms(plugin) => plugin.new_kek()?,
        };
        if self.kek(&parameters, store_id)? != kek {
            let reason = "it does not unwrap what it has just wrapped: no slot was made for it";
            return Err(KeyError::source(self.to_string(), reason));
        }
        Ok((parameters, kek))
    }

    /// The key of a slot with these parameters; another one, if the slot is not for this source.
    pub(super) fn kek(&self, parameters: &Parameters, store_id: &[u8; 16]) -> Result<SecretKey, KeyError> {
        match (self, parameters) {
            (Self::Passphrase(passphrase), Parameters::Passphrase { salt, cost }) => {
                passphrase.kek(salt, *cost)
            }
            (Self::KeyFile(file), Parameters::KeyFile) => Ok(file.kek()),
            (Self::Command(command), Parameters::Command { key_id, wrapped, .. }) => {
                command.unwrap(store_id, key_id, wrapped)
            }
            (Self::Kms(plugin), Parameters::Kms { key_id, wrapped, annotations, .. }) => {
                let (key_id, ciphertext) = (key_id.clone(), wrapped.clone());
                plugin.decrypt(&Encrypted { key_id, ciphertext, annotations: annotations.clone() })
            }
            _ => Err(KeyError::source(
                self.to_string(),
                format!("does not open slots of kind {}", parameters.kind()),
            )),
        }
    }
}

/// The kind and the place, nothing secret.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passphrase(passphrase) => f.write_str(passphrase.origin()),
            Self::KeyFile(file) => f.write_str(file.origin()),
            Self::Command(command) => f.write_str(command.origin()),
            Self::Kms(plugin) => f.write_str(plugin.origin()),
        }
    }
}

/// A key as base64, to be sent, or to be found in what somebody says.
fn encoded(key: &SecretKey) -> Zeroizing<String> {
    // Large enough that it is not moved while it grows.
    let mut text = Zeroizing::new(String::with_capacity(64));
    STANDARD.encode_string(key.expose(), &mut text);
    text
}
