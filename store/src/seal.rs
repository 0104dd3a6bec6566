//! How a store in a directory is kept from those who can read the disk: what opens it, or that nothing seals it.

use coffer_backends::seal::AtRest;
use coffer_backends::seal::source::{KeyCommand, KeyFile, KeySource, KmsPlugin, Passphrase};
use coffer_core::Error;
use coffer_core::storage::StorageError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// How a store in a directory is kept from those who can read the disk.
///
/// A new store is sealed with the key that is named here, and opens with it, and with nothing else, from then on. What
/// the sources are, `docs/sealing.md` says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seal {
    /// Not at all: whoever can read the files can read the store.
    Unsealed,
    /// A file with a key, which only its owner may read.
    KeyFile(PathBuf),
    /// A file with a passphrase, which only its owner may read.
    PassphraseFile(PathBuf),
    /// An environment variable with a passphrase. Other programs may see it.
    PassphraseVariable(String),
    /// A passphrase.
    Passphrase(PassphraseText),
    /// A program that wraps and unwraps keys: `program argument argument`, a JSON list, or `shell: text`.
    Command(String),
    /// A Kubernetes KMS v2 plugin behind a socket: `unix:///path`, or an absolute path.
    KmsSocket(String),
}

/// A passphrase in memory: wiped when it is dropped, and not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PassphraseText(Zeroizing<Vec<u8>>);

impl From<Vec<u8>> for PassphraseText {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl PassphraseText {
    /// The bytes, to be handed on. Whoever copies them wipes them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PassphraseText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassphraseText")
    }
}

impl Seal {
    /// The source of the key; `None` if nothing seals. Reads files, and blocks for it.
    ///
    /// # Errors
    /// [`Error::Open`] if the source cannot be one: a file that others may read, no such program.
    pub fn source(&self) -> Result<Option<KeySource>, Error> {
        let source = match self {
            Self::Unsealed => return Ok(None),
            Self::KeyFile(path) => KeyFile::open(path).map(KeySource::KeyFile),
            Self::PassphraseFile(path) => Passphrase::from_file(path).map(KeySource::Passphrase),
            Self::PassphraseVariable(name) => Passphrase::from_environment(name).map(KeySource::Passphrase),
            Self::Passphrase(text) => Passphrase::new(text.0.clone()).map(KeySource::Passphrase),
            Self::Command(line) => KeyCommand::parse(line).map(KeySource::Command),
            Self::KmsSocket(endpoint) => KmsPlugin::new(endpoint).map(KeySource::Kms),
        };
        Ok(Some(source.map_err(StorageError::from)?))
    }

    /// The source of the key of a store that is sealed.
    pub(crate) fn key(&self) -> Result<KeySource, Error> {
        self.source()?.ok_or_else(|| Error::InvalidArgument("a key is needed, and none is named".into()))
    }

    /// Draws a key and writes it to a new file that only its owner may read. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::Open`] if the file exists or cannot be written.
    pub fn generate_key_file(path: &Path) -> Result<Self, Error> {
        KeyFile::generate(path).map_err(StorageError::from)?;
        Ok(Self::KeyFile(path.to_owned()))
    }

    /// What a backend is told.
    pub(crate) fn at_rest(seal: Option<&Self>) -> Result<AtRest, Error> {
        let Some(seal) = seal else { return Ok(AtRest::Unstated) };
        Ok(match seal.source()? {
            None => AtRest::Unsealed,
            Some(source) => AtRest::Keyed(Arc::new(source)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_not_shown() {
        let seal = Seal::Passphrase(b"open sesame".to_vec().into());
        assert!(!format!("{seal:?}").contains("sesame"));
        assert!(matches!(Seal::at_rest(Some(&seal)), Ok(AtRest::Keyed(_))));
    }

    #[test]
    fn what_gives_no_key_is_told_with_its_name() {
        for (seal, named) in [
            (Seal::KeyFile("/no/such/key".into()), "/no/such/key"),
            (Seal::PassphraseFile("/no/such/words".into()), "/no/such/words"),
            (Seal::PassphraseVariable("COFFER_NO_SUCH".into()), "COFFER_NO_SUCH"),
            (Seal::Command(String::new()), "command"),
            (Seal::KmsSocket("kms.sock".into()), "kms.sock"),
        ] {
            match seal.source() {
                Err(Error::Open(text)) => assert!(text.contains(named), "{text}"),
                other => panic!("{seal:?}: {other:?}"),
            }
        }
    }
}
