//! Coffer's Rust API: one [`Client`] for a store in this process and for a store behind a socket.
//!
//! ```no_run
//! # async fn example() -> Result<(), coffer::Error> {
//! use coffer::{Compare, KeyRange, TxnOp};
//!
//! // or "coffer://10.0.0.1:7420"
//! let store = coffer::open("file:///var/lib/app/store?seal-key-file=/etc/app/key").await?;
//! store.put("config/colour", "green").await?;
//! let found = store.get("config/colour").await?;
//! assert_eq!(&found.expect("just written").value[..], b"green");
//!
//! let taken = store
//!     .txn()
//!     .when([Compare::missing("lock")])
//!     .then([TxnOp::put("lock", "me")])
//!     .otherwise([TxnOp::get("lock")])
//!     .commit()
//!     .await?;
//! println!("we hold the lock: {}", taken.succeeded);
//!
//! let mut changes = store.watch(KeyRange::prefix("config/")).from_revision(2).start().await?;
//! while let Some(change) = changes.next().await {
//!     println!("{} events", change?.events.len());
//! }
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Where a store is
//!
//! | URI | What opens |
//! |---|---|
//! | `file:///dir` | the store in that directory, in this process; created if the directory is new or empty |
//! | `file:///dir?backend=sqlite` | the same, of this backend: `segment` or `sqlite` |
//! | `file:///dir?seal-key-file=/path` | the same, sealed: see below |
//! | `mem:` | a new store in memory, in this process; gone once it is closed |
//! | `unix:///path` | a daemon behind a Unix socket |
//! | `coffer://host:port,host:port` | a daemon, or a cluster of them, over TCP |
//!
//! Everything behind [`Client`] behaves alike in all of them. Two things can not: a store in this process is opened
//! by one process at a time, and its calls have no deadline, because nothing lies between them and the disk.
//!
//! # Sealing
//!
//! A new store in a directory is sealed: it wants a key ([`Options::seal`], or a parameter of the URI), or to be told that
//! nothing is to seal it. What a sealed store was created with opens it again; keys are added and exchanged with
//! [`StoreKeys`] or `coffer key`. A store that exists in the clear opens without that.
//!
//! | parameter | the key comes from |
//! |---|---|
//! | `seal-key-file=/path` | a file with a key |
//! | `seal-passphrase-file=/path` | a file with a passphrase |
//! | `seal-command=program%20argument` | a program that wraps and unwraps keys |
//! | `seal-kms-socket=/path` | a Kubernetes KMS v2 plugin |
//! | `unsealed` | nowhere: everything is stored in the clear |
//!
//! A value is percent-encoded where it has a space, `&`, `#` or `%` in it. URIs are shown in errors and process lists: a
//! secret has no place in one.
//!
//! # Which executor
//!
//! Any, or none ([`block_on`]). A store in this process runs on threads of its own, a remote one on its client
//! thread; both end with [`Client::close`], or when the last clone of the client is dropped.
#![forbid(unsafe_code)]

pub mod byte_count;
mod client;
pub mod cluster;
mod convert;
pub mod duration;
mod embedded;
mod keep_alive;
mod keys;
mod kv;
mod new_cluster;
mod new_file;
mod options;
mod pages;
mod recover;
mod restore;
mod seal;
mod settings;
mod snapshot;
mod txn;
mod uri;
mod verify;
mod watch;

pub use client::Client;
pub use cluster::{PeerServer, Peering};
pub use convert::{ConvertedStore, Progress};
pub use keep_alive::KeepAlive;
pub use keys::{
    KeyState, KeyStatus, KeyringStatus, KeysStatus, OpenStore, SlotId, SlotInfo, StoreKeys, Verified,
};
pub use kv::{Delete, Get, Put, Range};
pub use new_cluster::NewCluster;
pub use new_file::NewFile;
pub use options::Options;
pub use pages::Pages;
pub use recover::{Recovered, Survivor};
pub use restore::RestoredStore;
pub use seal::{PassphraseText, Seal};
pub use snapshot::{Snapshot, SnapshotHead, SnapshotInput};
pub use txn::{Compare, Field, Txn, TxnOp};
pub use uri::{DEFAULT_PORT, Endpoint, Uri};
pub use verify::{VerifyProgress, VerifyReport};
pub use watch::{Event, EventKind, Update, Watch, WatchBuilder};

pub use coffer_backends::Backend;
pub use coffer_core::node::restore::{Audit, Restored};
pub use coffer_core::request;
pub use coffer_core::storage::{Finding, Findings, LogId};
pub use coffer_core::{Error, ErrorGroup, KeyRange, KeyValue, LeaseId, Member, MemberInfo};
pub use coffer_runtime::{Executor, Sleep, Task, TaskError, block_on, park_on, sleep_until, unblock};

/// Opens the store at `uri` with default [`Options`].
///
/// # Errors
/// As [`Options::open`].
pub async fn open(uri: &str) -> Result<Client, Error> {
    Options::default().open(uri).await
}

/// The examples of the project's front page compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;
