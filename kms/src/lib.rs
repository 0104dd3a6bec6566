//! Client of Kubernetes KMS v2 plugins: gRPC over a unix socket, to whatever keeps keys for a Kubernetes cluster.
//!
//! A store's root key can be wrapped by the plugin that already wraps the cluster's: [`KmsClient`] asks it for its
//! [`Status`](KmsClient::status), and to [`encrypt`](KmsClient::encrypt) and [`decrypt`](KmsClient::decrypt) a key.
//! [`proto`] has the messages and the service, also for those who write a plugin.
//!
//! A crate of its own because neither `backends`, which knows no socket, nor `etcd`, which knows no key, should know the
//! other's half; what they share is the runtime.
//!
//! # Invariants
//! - A call ends within its timeout, whatever the plugin does, and leaves no thread and no connection behind.
//! - What a plugin answers is checked against the limits of the API before it is believed.
//! - Plaintext that we hold is wiped. The buffers of gRPC, HTTP/2 and the socket are not ours to wipe.
#![forbid(unsafe_code)]

mod client;
mod error;
pub mod proto;

pub use client::{Encrypted, KmsClient};
pub use error::KmsError;
