//! Writing a snapshot to a file.

use crate::answer::Answer;
use crate::calls::ok;
use crate::completions::Outcome;
use crate::failure::Failure;
use crate::result::{COFFER_SNAPSHOT_SEALED, coffer_snapshot_info};
use crate::status::{COFFER_CANNOT_OPEN, COFFER_FATAL};
use coffer::{Client, NewFile, TaskError, unblock};
use std::io;
use std::path::PathBuf;

/// Saves all of a store. The disk is waited for on threads of their own, so that the store's thread stays free; whoever
/// drops this leaves no file.
pub(crate) async fn save(client: Client, path: PathBuf) -> Outcome {
    let mut file = on_disk(move || NewFile::create(&path)).await?;
    let sealed = client.status().await?.sealed;
    let mut snapshot = client.snapshot().await?;
    let head = *snapshot.head();
    let mut bytes = 0;
    while let Some(piece) = snapshot.next().await? {
        bytes += piece.len() as u64;
        file = on_disk(move || file.write(&piece).map(|()| file)).await?;
    }
    on_disk(move || file.keep()).await?;
    let info = coffer_snapshot_info {
        flags: if sealed { COFFER_SNAPSHOT_SEALED } else { 0 },
        hash: 0,
        cluster_id: head.cluster_id,
        member_id: head.member_id,
        revision: head.revision,
        compact_revision: head.compact_revision,
        created_s: head.created_s,
        bytes,
        records: 0,
        keys: 0,
        leases: 0,
    };
    ok(Answer::empty().snapshot(info))
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match unblock(work).await {
        Ok(done) => done.map_err(|error| Failure::text(COFFER_CANNOT_OPEN, error.to_string())),
        Err(error) => Err(stopped(&error)),
    }
}

fn stopped(error: &TaskError) -> Failure {
    Failure::text(COFFER_FATAL, error.to_string())
}
