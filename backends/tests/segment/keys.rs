//! The keys of the sealed stores in these tests.

use coffer_backends::seal::{AtRest, RootKey, SecretKey};

/// How a store is opened, again and again.
pub(crate) type Opening = fn() -> AtRest;

/// A sealed store with a known root key.
pub(crate) fn sealed() -> AtRest {
    sealed_as(3, 7)
}

/// A sealed store with an id and a root key of these bytes.
pub(crate) fn sealed_as(store: u8, key: u8) -> AtRest {
    AtRest::Sealed(RootKey::new([store; 16], SecretKey::from_bytes(&mut [key; 32])))
}
