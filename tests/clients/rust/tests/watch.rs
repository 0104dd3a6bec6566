//! Watches: history, previous pairs, progress, cancel.

use coffer_clients_rust::{connect, soon};
use etcd_client::*;

#[tokio::test]
async fn history_then_what_comes_then_progress_then_cancel() {
    let mut client = connect().await;
    let first = client.put("rust/watch/a", "1", None).await.unwrap().header().unwrap().revision();
    client.put("rust/watch/a", "2", None).await.unwrap();
    let options = WatchOptions::new().with_prefix().with_start_revision(first).with_prev_key();
    let mut watch = client.watch("rust/watch/", Some(options)).await.unwrap();
    let created = soon(watch.message()).await.unwrap().unwrap();
    assert!(created.created() && created.events().is_empty());
    client.delete("rust/watch/a", None).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = soon(watch.message()).await.unwrap().unwrap();
        assert_eq!(message.watch_id(), created.watch_id());
        for event in message.events() {
            let previous = event.prev_kv().map(|kv| kv.value().to_owned()).unwrap_or_default();
            seen.push((event.event_type(), event.kv().unwrap().value().to_owned(), previous));
        }
    }
    let want = [
        (EventType::Put, b"1".to_vec(), b"".to_vec()),
        (EventType::Put, b"2".to_vec(), b"1".to_vec()),
        (EventType::Delete, b"".to_vec(), b"2".to_vec()),
    ];
    assert_eq!(seen, want);
    let newest = client.get("rust/watch/a", None).await.unwrap().header().unwrap().revision();
    let progress = soon(async {
        loop {
            watch.request_progress().await.unwrap();
            let waited = tokio::time::timeout(std::time::Duration::from_millis(200), watch.message()).await;
            if let Ok(message) = waited {
                return message.unwrap().unwrap();
            }
        }
    })
    .await;
    assert!(progress.events().is_empty() && progress.header().unwrap().revision() >= newest);
    watch.cancel(created.watch_id()).await.unwrap();
    soon(async { while !watch.message().await.unwrap().unwrap().canceled() {} }).await;
}

#[tokio::test]
async fn filters_and_the_compacted_past() {
    let mut client = connect().await;
    let first = client.put("rust/filter", "1", None).await.unwrap().header().unwrap().revision();
    let options = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
    let mut deletes = client.watch("rust/filter", Some(options)).await.unwrap();
    assert!(soon(deletes.message()).await.unwrap().unwrap().created());
    client.put("rust/filter", "2", None).await.unwrap();
    let deleted = client.delete("rust/filter", None).await.unwrap().header().unwrap().revision();
    let message = soon(deletes.message()).await.unwrap().unwrap();
    assert_eq!(message.events()[0].event_type(), EventType::Delete);
    client.compact(deleted, None).await.unwrap();
    let options = WatchOptions::new().with_start_revision(first);
    let mut past = client.watch("rust/filter", Some(options)).await.unwrap();
    let canceled = soon(async {
        loop {
            let message = past.message().await.unwrap().unwrap();
            if message.canceled() {
                return message;
            }
        }
    })
    .await;
    assert_eq!(canceled.compact_revision(), deleted);
}
