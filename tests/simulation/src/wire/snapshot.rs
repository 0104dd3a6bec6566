//! A snapshot on its way: chunk by chunk, staged beside what the other member holds, installed at the end.

use super::{Way, broken, lost};
use bytes::Bytes;
use coffer_core::consensus::Consensus;
use coffer_core::consensus::messages::Vote;
use coffer_core::consensus::peers::PeerError;
use coffer_core::consensus::snapshots::Snapshot;
use coffer_core::storage::{LogId, StorageError};
use coffer_runtime::{timeout, unblock};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a chunk: small, so that there are several.
const CHUNK_BYTES: usize = 16 << 10;

fn storage(error: StorageError) -> PeerError {
    PeerError::NoAnswer(error.to_string())
}

fn pool<T>(error: T) -> PeerError
where
    T: std::fmt::Display,
{
    PeerError::NoAnswer(error.to_string())
}

/// Sends a snapshot and ends when it is installed.
pub(super) async fn send(
    way: Way,
    vote: Vote,
    snapshot: Snapshot,
    patience: Duration,
) -> Result<Vote, PeerError> {
    let target = way.wire.reach(way.from, way.to)?;
    let Snapshot { last, membership, mut content } = snapshot;
    let (sender, arrived) = async_channel::bounded(2);
    let (answers, answer) = async_channel::bounded(1);
    let carrier = way.clone();
    let carried = async move {
        let taken =
            target.call(move |node| take(node.consensus().clone(), vote, last, membership, arrived)).await;
        let Some(taken) = taken else { return };
        if carrier.wire.pass(carrier.to, carrier.from).await {
            // Nobody waits any more if it was too late.
            let _ = answers.try_send(taken);
        }
    };
    drop(way.wire.carriers.spawn(carried));
    loop {
        let (back, chunk) = unblock(move || {
            let chunk = content.next(CHUNK_BYTES);
            (content, chunk)
        })
        .await
        .map_err(pool)?;
        content = back;
        let Some(chunk) = chunk.map_err(storage)? else { break };
        if !way.wire.pass(way.from, way.to).await {
            coffer_runtime::sleep(patience).await;
            return Err(lost());
        }
        match timeout(patience, sender.send(Some(chunk))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) => return Err(lost()),
        }
    }
    // Gone if the other side refused what came before: then that is the answer.
    let _ = timeout(patience, sender.send(None)).await;
    let answer = match timeout(patience, answer.recv()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => return Err(PeerError::NoAnswer("the connection broke".to_owned())),
        Err(_) => return Err(lost()),
    };
    let vote = answer?;
    way.wire.snapshot_arrived();
    Ok(vote)
}

/// What the other member does with it. `None` is the end of the chunks.
async fn take(
    consensus: Arc<Consensus>,
    vote: Vote,
    last: LogId,
    membership: (LogId, Bytes),
    arrived: async_channel::Receiver<Option<Bytes>>,
) -> Result<Vote, PeerError> {
    let staging = consensus.staging().clone();
    let mut writer = unblock(move || staging.begin()).await.map_err(pool)?.map_err(storage)?;
    loop {
        match arrived.recv().await {
            Ok(Some(chunk)) => {
                let written = unblock(move || writer.write(chunk).map(|()| writer)).await;
                writer = written.map_err(pool)?.map_err(storage)?;
            }
            Ok(None) => break,
            Err(_) => return Err(PeerError::NoAnswer("the connection broke".to_owned())),
        }
    }
    let staged = unblock(move || writer.finish()).await.map_err(pool)?.map_err(storage)?;
    consensus.install(vote, last, membership, staged).await.map_err(broken)
}
