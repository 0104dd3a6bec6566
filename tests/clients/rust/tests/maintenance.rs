//! Status, hashes, snapshot, members. What changes the whole server runs in this one test.

use coffer_clients_rust::{connect, refusal, soon};

#[tokio::test]
async fn the_server_describes_itself() {
    let mut client = connect().await;
    client.put("rust/maintenance", "in the snapshot", None).await.unwrap();
    let status = client.status().await.unwrap();
    assert_eq!(status.version().split('.').count(), 3);
    assert!(status.db_size() > 0 && status.raft_used_db_size() > 0 && status.raft_index() > 0);
    assert_eq!(status.leader(), status.header().unwrap().member_id());
    let members = client.member_list().await.unwrap();
    let count = std::env::var("MEMBERS").map_or(1, |count| count.parse().unwrap());
    assert_eq!(members.members().len(), count);
    assert!(members.members().iter().any(|member| member.id() == status.leader()));
    let revision = status.header().unwrap().revision();
    let hash = client.hash_kv(revision).await.unwrap().hash();
    client.put("rust/maintenance", "in the snapshot too", None).await.unwrap();
    assert_eq!(client.hash_kv(revision).await.unwrap().hash(), hash);
    assert_ne!(client.hash_kv(0).await.unwrap().hash(), hash);
    client.hash().await.unwrap();
    client.defragment().await.unwrap();

    let mut snapshot = client.snapshot().await.unwrap();
    let mut file = Vec::new();
    while let Some(part) = soon(snapshot.message()).await.unwrap() {
        file.extend_from_slice(part.blob());
    }
    assert_eq!(file.len() % 512, 32);
    assert!(file.windows(15).any(|window| window == b"in the snapshot"));
    assert_eq!(refusal(client.move_leader(12345).await), (9, "etcdserver: bad leader transferee".into()));
}
