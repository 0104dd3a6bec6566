//! A Kubernetes KMS v2 plugin that keeps the key: it encrypts a key-encryption key for us, as it does for a cluster.

use super::{KeyError, Parameters, encoded};
use crate::seal::secret::{KEY_BYTES, SecretKey};
use coffer_core::storage::StorageError;
use coffer_kms::{Encrypted, KmsClient, KmsError};
use std::fmt;
use std::io;
use std::time::Duration;
use zeroize::Zeroize;

/// A Kubernetes KMS v2 plugin behind a unix socket.
pub struct KmsPlugin {
    client: KmsClient,
    origin: String,
}

impl KmsPlugin {
    /// The plugin at `endpoint`: `unix:///path` or an absolute path. Nothing is connected yet.
    ///
    /// # Errors
    /// It is something else.
    pub fn new(endpoint: &str) -> Result<Self, KeyError> {
        let client =
            KmsClient::new(endpoint).map_err(|error| KeyError::source("KMS plugin", error.to_string()))?;
        let origin = format!("KMS plugin {}", client.socket().display());
        Ok(Self { client, origin })
    }

    /// With another bound on how long a call may take than 10 seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.client = self.client.with_timeout(timeout);
        self
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The id of the key that the plugin encrypts with now.
    pub(super) fn status(&self) -> Result<String, KeyError> {
        self.client.status().map_err(|error| self.refuses(&error, None))
    }

    pub(super) fn new_kek(&self) -> Result<(Parameters, SecretKey), KeyError> {
        let kek = SecretKey::random()?;
        let encrypted = self.client.encrypt(kek.expose(), &request_id()?);
        let Encrypted { key_id, ciphertext, annotations } =
            encrypted.map_err(|error| self.refuses(&error, Some(&kek)))?;
        if ciphertext.windows(KEY_BYTES).any(|window| window == kek.expose()) {
            return Err(KeyError::source(&*self.origin, "it gave the key back as it was"));
        }
        let socket = self.client.socket().display().to_string();
        Ok((Parameters::Kms { socket, key_id, wrapped: ciphertext, annotations }, kek))
    }

    pub(super) fn decrypt(&self, encrypted: &Encrypted) -> Result<SecretKey, KeyError> {
        let decrypted = self.client.decrypt(encrypted, &request_id()?);
        let mut bytes = decrypted.map_err(|error| self.refuses(&error, None))?;
        let Ok(key) = <&mut [u8; KEY_BYTES]>::try_from(bytes.as_mut_slice()) else {
            let reason = format!("decrypted {} bytes, and a key has {KEY_BYTES}", bytes.len());
            return Err(KeyError::source(&*self.origin, reason));
        };
        Ok(SecretKey::from_bytes(key))
    }

    /// The plugin's words are shown, without the key that it was given.
    fn refuses(&self, error: &KmsError, sent: Option<&SecretKey>) -> KeyError {
        let mut reason = error.to_string();
        if let Some(key) = sent {
            let mut said = reason.replace(&**encoded(key), "(a key)");
            std::mem::swap(&mut reason, &mut said);
            said.zeroize();
        }
        KeyError::source(&*self.origin, reason)
    }
}

/// Names a request in the plugin's logs.
fn request_id() -> Result<String, StorageError> {
    let id = getrandom::u64().map_err(|error| {
        StorageError::io("read random bytes", "getrandom", io::Error::other(error.to_string()))
    })?;
    Ok(format!("coffer-{id:016x}"))
}

impl fmt::Debug for KmsPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsPlugin").field("origin", &self.origin).finish_non_exhaustive()
    }
}
