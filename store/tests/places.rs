//! The same cases on every kind of store: in memory, in a directory (of both backends), behind TCP and behind a Unix socket.

use coffer::request::{
    CompactRequest, LeaseGrantRequest, LeaseTimeToLiveRequest, SortOrder, SortTarget, TxnOpResponse,
};
use coffer::{Client, Compare, Error, EventKind, KeyRange, LeaseId, Options, Seal, TxnOp, Uri};
use coffer_core::node::Node;
use coffer_rpc::server::{Server, ServerConfig};
use std::time::Duration;
use tempfile::TempDir;

/// A store of some kind, and what it stands on.
struct Place {
    name: &'static str,
    client: Client,
    /// Opens the same store again, where that is possible without closing it.
    uri: Option<String>,
    server: Option<(Server, Node)>,
    _dir: TempDir,
}

impl Place {
    async fn open(name: &'static str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let parameters = if name == "sqlite" { "?backend=sqlite" } else { "" };
        let file = format!("file://{}{parameters}", dir.path().join("store").display());
        let socket = format!("unix://{}", dir.path().join("socket").display());
        let listen = match name {
            "mem" => None,
            "file" | "sqlite" => None,
            "tcp" => Some("coffer://127.0.0.1:0".to_owned()),
            _ => Some(socket),
        };
        let mut server = None;
        let uri = match listen {
            Some(listen) => {
                let node = options().open_node(&Uri::Memory).await.expect("a node");
                let started =
                    Server::start(node.clone(), &[listen], ServerConfig::default()).expect("a server");
                let uri = started.local_urls()[0].clone();
                server = Some((started, node));
                uri
            }
            None if name == "mem" => "mem:".to_owned(),
            None => file,
        };
        let client = options().open(&uri).await.expect(name);
        let uri = server.is_some().then_some(uri);
        Self { name, client, uri, server, _dir: dir }
    }

    async fn close(self) {
        self.client.close().await;
        if let Some((server, node)) = self.server {
            server.shutdown();
            node.shutdown();
        }
    }
}

/// A short election timeout, so that leases may be short.
fn options() -> Options {
    Options::default()
        .heartbeat_interval(Duration::from_millis(50))
        .election_timeout(Duration::from_millis(500))
        .timeout(Duration::from_secs(30))
        .seal(Seal::Unsealed)
}

/// Runs a case on every kind of store, each fresh.
fn everywhere(case: impl AsyncFn(&Client, &str)) {
    coffer::block_on(async {
        for name in ["mem", "file", "sqlite", "tcp", "unix"] {
            let place = Place::open(name).await;
            case(&place.client, place.name).await;
            place.close().await;
        }
    });
}

fn keys(kvs: &[coffer::KeyValue]) -> Vec<String> {
    kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

#[test]
fn a_key_is_written_read_and_deleted() {
    everywhere(async |store, name| {
        assert_eq!(store.get("k").await, Ok(None), "{name}");
        let put = store.put("k", "v1").await.unwrap();
        assert_eq!((put.header.revision, put.prev_kv), (2, None), "{name}");
        assert!(
            put.header.cluster_id != 0 && put.header.member_id != 0 && put.header.raft_term != 0,
            "{name}"
        );
        let put = store.put("k", "v2").prev_kv().await.unwrap();
        assert_eq!(put.prev_kv.unwrap().value, &b"v1"[..], "{name}");
        let kv = store.get("k").await.unwrap().unwrap();
        assert_eq!((&kv.key[..], &kv.value[..]), (&b"k"[..], &b"v2"[..]), "{name}");
        assert_eq!(
            (kv.create_revision, kv.mod_revision, kv.version, kv.lease),
            (2, 3, 2, LeaseId::NONE),
            "{name}"
        );
        let old = store.get("k").revision(2).await.unwrap().unwrap();
        assert_eq!((&old.value[..], old.version), (&b"v1"[..], 1), "{name}");
        assert!(store.get("k").serializable().await.unwrap().is_some(), "{name}");
        let deleted = store.delete("k").prev_kv().await.unwrap();
        assert_eq!((deleted.deleted, deleted.prev_kvs.len(), deleted.header.revision), (1, 1, 4), "{name}");
        assert_eq!(store.get("k").await, Ok(None), "{name}");
        assert_eq!(store.delete("k").await.unwrap().deleted, 0, "{name}");
    });
}

#[test]
fn ranges_are_selected_sorted_and_counted() {
    everywhere(async |store, name| {
        for (key, value) in [("b", "3"), ("a", "9"), ("c", "1"), ("x", "5")] {
            store.put(key, value).await.unwrap();
        }
        let range = || store.range(KeyRange::between("a", "d"));
        let all = range().await.unwrap();
        assert_eq!(
            (keys(&all.kvs), all.count, all.more),
            (vec!["a".into(), "b".into(), "c".into()], 3, false),
            "{name}"
        );
        let two = range().limit(2).await.unwrap();
        assert_eq!((keys(&two.kvs), two.count, two.more), (vec!["a".into(), "b".into()], 3, true), "{name}");
        let by_value = range().sort(SortTarget::Value, SortOrder::Descend).await.unwrap();
        assert_eq!(keys(&by_value.kvs), ["a", "b", "c"], "{name}");
        let by_create = range().sort(SortTarget::Create, SortOrder::Ascend).await.unwrap();
        assert_eq!(keys(&by_create.kvs), ["b", "a", "c"], "{name}");
        let only_keys = range().keys_only().await.unwrap();
        assert!(only_keys.kvs.iter().all(|kv| kv.value.is_empty()), "{name}");
        let count = store.range(KeyRange::all()).count_only().await.unwrap();
        assert_eq!((count.count, count.kvs.len()), (4, 0), "{name}");
        let since = range().modified_since(3).await.unwrap();
        assert_eq!((keys(&since.kvs), since.count), (vec!["a".into(), "c".into()], 3), "{name}");
        assert_eq!(keys(&range().revision(3).await.unwrap().kvs), ["a", "b"], "{name}");
        assert_eq!(store.delete_range(KeyRange::prefix("")).await.unwrap().deleted, 4, "{name}");
    });
}

#[test]
fn a_long_range_comes_in_pages_of_one_revision() {
    everywhere(async |store, name| {
        for chunk in 0..20 {
            let puts = (0..100).map(|i| {
                // Values of very different sizes.
                let value = vec![b'v'; if i == 50 { 200_000 } else { 10 }];
                TxnOp::put(format!("k{:05}", chunk * 100 + i), value)
            });
            store.txn().then(puts).commit().await.unwrap();
        }
        let mut pages = store.range(KeyRange::prefix("k")).pages();
        let mut seen = keys(&pages.next().await.unwrap().unwrap());
        assert_eq!(pages.revision(), 21, "{name}");
        // What changes meanwhile is not seen.
        store.delete_range(KeyRange::prefix("k01")).await.unwrap();
        while let Some(page) = pages.next().await.unwrap() {
            assert!(!page.is_empty(), "{name}");
            assert!(page.iter().map(|kv| kv.value.len()).sum::<usize>() < 8 << 20, "{name}");
            seen.extend(keys(&page));
        }
        assert_eq!(pages.next().await, Ok(None), "{name}");
        assert!(
            seen.iter().map(String::as_str).eq((0..2000)
                .map(|i| format!("k{i:05}"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)),
            "{name}"
        );

        let mut limited = store.range(KeyRange::prefix("k")).limit(17).pages();
        let mut count = 0;
        while let Some(page) = limited.next().await.unwrap() {
            count += page.len();
        }
        assert_eq!(count, 17, "{name}");
        let mut none = store.range(KeyRange::prefix("nothing")).pages();
        assert_eq!(none.next().await, Ok(None), "{name}");
        let mut sorted = store.range(KeyRange::all()).sort(SortTarget::Value, SortOrder::Ascend).pages();
        assert!(matches!(sorted.next().await, Err(Error::InvalidArgument(_))), "{name}");
    });
}

#[test]
fn transactions_compare_and_then_act() {
    everywhere(async |store, name| {
        let take = || {
            store
                .txn()
                .when([Compare::missing("lock")])
                .then([TxnOp::put("lock", "me"), TxnOp::put("count", "1")])
                .otherwise([TxnOp::get("lock")])
        };
        let first = take().commit().await.unwrap();
        assert!(first.succeeded && first.responses.len() == 2, "{name}");
        assert_eq!(first.header.revision, 2, "{name}");
        let second = take().commit().await.unwrap();
        assert!(!second.succeeded, "{name}");
        let TxnOpResponse::Range(found) = &second.responses[0] else { panic!("{name}: {second:?}") };
        assert_eq!(&found.kvs[0].value[..], b"me", "{name}");

        let holds = async |compare: Compare| store.txn().when([compare]).commit().await.unwrap().succeeded;
        assert!(holds(Compare::exists("lock")).await, "{name}");
        assert!(holds(Compare::value("lock").equals("me")).await, "{name}");
        assert!(holds(Compare::value("lock").differs_from("you")).await, "{name}");
        assert!(holds(Compare::version("lock").equals(1)).await, "{name}");
        assert!(holds(Compare::created("lock").below(3)).await, "{name}");
        assert!(holds(Compare::modified("lock").above(1)).await, "{name}");
        assert!(holds(Compare::lease("lock").equals(LeaseId::NONE)).await, "{name}");
        assert!(holds(Compare::version("").of_all(KeyRange::prefix("l")).equals(1)).await, "{name}");
        assert!(!holds(Compare::value("missing").differs_from("x")).await, "{name}");

        let nested = store.txn().when([Compare::exists("count")]).then([TxnOp::delete("count")]);
        let outer = store.txn().then([TxnOp::txn(nested), TxnOp::get("count")]).commit().await.unwrap();
        let [TxnOpResponse::Txn(inner), TxnOpResponse::Range(count)] = &outer.responses[..] else {
            panic!("{name}: {outer:?}")
        };
        assert!(inner.succeeded && count.kvs.is_empty(), "{name}");
    });
}

#[test]
fn what_is_refused_is_refused_alike_and_changes_nothing() {
    everywhere(async |store, name| {
        assert_eq!(store.put("", "v").await, Err(Error::EmptyKey), "{name}");
        assert_eq!(store.get("").await, Err(Error::EmptyKey), "{name}");
        assert_eq!(store.put("k", "v").ignore_lease().await, Err(Error::KeyNotFound), "{name}");
        assert_eq!(store.put("k", "v").lease(LeaseId(77)).await, Err(Error::LeaseNotFound), "{name}");
        assert_eq!(store.get("k").revision(99).await, Err(Error::FutureRevision), "{name}");
        assert_eq!(store.put("k", vec![0; 2 << 20]).await, Err(Error::RequestTooLarge), "{name}");
        let twice = store.txn().then([TxnOp::put("k", "1"), TxnOp::put("k", "2")]).commit().await;
        assert_eq!(twice, Err(Error::DuplicateKey), "{name}");
        let many = store.txn().then((0..129).map(|i| TxnOp::get(format!("k{i}")))).commit().await;
        assert_eq!(many, Err(Error::TooManyOps), "{name}");
        assert_eq!(store.compact(9).await, Err(Error::FutureRevision), "{name}");
        assert_eq!(store.lease_revoke(LeaseId(77)).await, Err(Error::LeaseNotFound), "{name}");
        let long = store.lease_grant(Duration::from_secs(9_000_000_001)).await;
        assert_eq!(long, Err(Error::LeaseTtlTooLarge), "{name}");
        let empty = store.watch(KeyRange::between("b", "a")).start().await;
        assert_eq!(empty.expect_err(name), Error::EmptyWatchRange, "{name}");
        assert_eq!(store.status().await.unwrap().header.revision, 1, "{name}");
    });
}

#[test]
fn watches_deliver_the_past_then_the_present() {
    everywhere(async |store, name| {
        store.put("a", "1").await.unwrap();
        store.put("z", "0").await.unwrap();
        let mut past = store.watch(KeyRange::prefix("a")).from_revision(2).prev_kv().start().await.unwrap();
        let mut present = store.watch(KeyRange::prefix("a")).no_put().start().await.unwrap();
        store.put("a", "2").await.unwrap();
        store.txn().then([TxnOp::put("a1", "x"), TxnOp::put("a2", "y")]).commit().await.unwrap();
        store.delete("a").await.unwrap();

        let mut events = Vec::new();
        while events.len() < 5 {
            let update = past.next().await.expect(name).expect(name);
            assert!(update.events.iter().all(|event| event.kv.mod_revision <= update.revision), "{name}");
            events.extend(update.events);
        }
        let seen: Vec<_> = events
            .iter()
            .map(|e| {
                (e.kind, String::from_utf8_lossy(&e.kv.key).into_owned(), e.kv.mod_revision, e.is_create())
            })
            .collect();
        let put = |key: &str, revision, create| (EventKind::Put, key.to_owned(), revision, create);
        let expected = [
            put("a", 2, true),
            put("a", 4, false),
            put("a1", 5, true),
            put("a2", 5, true),
            (EventKind::Delete, "a".to_owned(), 6, false),
        ];
        assert_eq!(seen, expected, "{name}");
        assert_eq!(events[0].prev_kv, None, "{name}");
        assert_eq!(events[1].prev_kv.as_ref().unwrap().value, &b"1"[..], "{name}");
        assert_eq!(events[4].prev_kv.as_ref().unwrap().value, &b"2"[..], "{name}");
        assert!(events[4].kv.value.is_empty(), "{name}");

        let update = present.next().await.expect(name).expect(name);
        assert_eq!((update.revision, update.events.len()), (6, 1), "{name}");
        assert_eq!(update.events[0].kind, EventKind::Delete, "{name}");
        present.request_progress();
        let progress = present.next().await.expect(name).expect(name);
        assert_eq!((progress.revision, progress.events.len()), (6, 0), "{name}");
    });
}

#[test]
fn a_compacted_watch_says_so() {
    everywhere(async |store, name| {
        for value in ["1", "2", "3"] {
            store.put("a", value).await.unwrap();
        }
        store.compact_request(CompactRequest { revision: 4, physical: true }).await.unwrap();
        assert!(matches!(store.get("a").revision(2).await, Err(Error::Compacted { .. })), "{name}");
        assert!(matches!(store.compact(4).await, Err(Error::Compacted { .. })), "{name}");
        let refused = store.watch(KeyRange::single("a")).from_revision(2).start().await;
        assert_eq!(refused.map(drop), Err(Error::Compacted { compact_revision: 4 }), "{name}");
        let mut watch = store.watch(KeyRange::single("a")).from_revision(4).start().await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap().events[0].kv.value, &b"3"[..], "{name}");
    });
}

#[test]
fn leases_end_when_they_are_revoked_or_run_out() {
    everywhere(async |store, name| {
        let lease = store.lease_grant(Duration::from_secs(1000)).await.unwrap();
        assert_eq!(lease.ttl_s, 1000, "{name}");
        store.put("k", "v").lease(lease.id).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().lease, lease.id, "{name}");
        let left = LeaseTimeToLiveRequest { id: lease.id, keys: true };
        let left = store.lease_time_to_live(left).await.unwrap();
        assert_eq!((left.granted_ttl_s, &left.keys[..]), (1000, &["k".into()][..]), "{name}");
        assert_eq!(store.lease_keep_alive(lease.id).await.unwrap().ttl_s, 1000, "{name}");
        assert_eq!(store.lease_list().await.unwrap().leases, [lease.id], "{name}");
        store.lease_revoke(lease.id).await.unwrap();
        assert_eq!(store.get("k").await, Ok(None), "{name}");
        assert_eq!(store.lease_keep_alive(lease.id).await.unwrap().ttl_s, 0, "{name}");
        let gone = LeaseTimeToLiveRequest { id: lease.id, keys: false };
        assert_eq!(store.lease_time_to_live(gone).await.unwrap().ttl_s, -1, "{name}");

        let chosen = LeaseGrantRequest { ttl_s: 1, id: LeaseId(31) };
        assert_eq!(store.lease_grant_request(chosen).await.unwrap().id, LeaseId(31), "{name}");
        assert_eq!(store.lease_grant_request(chosen).await, Err(Error::LeaseExists), "{name}");
        store.put("short", "v").lease(LeaseId(31)).await.unwrap();
        let mut watch = store.watch(KeyRange::single("short")).no_put().start().await.unwrap();
        let ended = watch.next().await.expect(name).expect(name);
        assert_eq!(ended.events[0].kind, EventKind::Delete, "{name}");
    });
}

#[test]
fn a_lease_that_is_kept_alive_outlives_its_ttl() {
    everywhere(async |store, name| {
        let kept = store.lease_grant(Duration::from_secs(2)).await.unwrap();
        let left_alone = store.lease_grant(Duration::from_secs(3)).await.unwrap();
        store.put("kept", "v").lease(kept.id).await.unwrap();
        store.put("alone", "v").lease(left_alone.id).await.unwrap();
        let mut keeper = store.keep_alive(kept.id).unwrap();
        assert_eq!(keeper.id(), kept.id, "{name}");
        let mut watch = store.watch(KeyRange::all()).no_put().start().await.unwrap();
        let ended = watch.next().await.expect(name).expect(name);
        assert_eq!(ended.events[0].kv.key, &b"alone"[..], "{name}");
        assert!(store.get("kept").await.unwrap().is_some(), "{name}");
        store.lease_revoke(kept.id).await.unwrap();
        assert_eq!(keeper.lost().await, Error::LeaseNotFound, "{name}");

        // Dropping the handle lets the lease run out.
        let dropped = store.lease_grant(Duration::from_secs(1)).await.unwrap();
        store.put("dropped", "v").lease(dropped.id).await.unwrap();
        drop(store.keep_alive(dropped.id).unwrap());
        let mut watch = store.watch(KeyRange::single("dropped")).no_put().start().await.unwrap();
        assert!(watch.next().await.expect(name).is_ok(), "{name}");
    });
}

#[test]
fn status_and_hash_describe_the_content() {
    everywhere(async |store, name| {
        let fresh = store.hash_kv(0).await.unwrap();
        store.put("a", "1").await.unwrap();
        store.put("b", "2").await.unwrap();
        let hash = store.hash_kv(0).await.unwrap();
        assert_eq!(hash.hash_revision, 3, "{name}");
        assert_ne!(hash.hash, fresh.hash, "{name}");
        assert_eq!(store.hash_kv(3).await.unwrap().hash, hash.hash, "{name}");
        let status = store.status().await.unwrap();
        assert_eq!((status.keys, status.header.revision, status.leases), (2, 3, 0), "{name}");
        assert_eq!(status.leader, status.header.member_id, "{name}");
        assert!(status.errors.is_empty(), "{name}");
    });
}

#[test]
fn a_closed_store_answers_no_clone_and_ends_its_watches() {
    everywhere(async |store, name| {
        let lease = store.lease_grant(Duration::from_secs(100)).await.unwrap();
        let mut keeper = store.keep_alive(lease.id).unwrap();
        let mut watch = store.watch(KeyRange::all()).start().await.unwrap();
        let clone = store.clone();
        store.close().await;
        store.close().await;
        assert_eq!(clone.put("k", "v").await, Err(Error::Stopped), "{name}");
        assert_eq!(clone.get("k").await, Err(Error::Stopped), "{name}");
        assert!(clone.watch(KeyRange::all()).start().await.is_err(), "{name}");
        assert_eq!(keeper.lost().await, Error::Stopped, "{name}");
        assert!(clone.keep_alive(lease.id).is_err(), "{name}");
        assert_eq!(watch.next().await, None, "{name}");
    });
}

#[test]
fn many_requests_run_side_by_side() {
    everywhere(async |store, name| {
        let puts = (0..300).map(|i| store.put(format!("k{i}"), "v").into_future());
        let answers = futures_util::future::join_all(puts).await;
        let mut revisions: Vec<_> =
            answers.into_iter().map(|answer| answer.unwrap().header.revision).collect();
        revisions.sort_unstable();
        assert!(revisions.into_iter().eq(2..302), "{name}");
    });
}

#[test]
fn two_clients_of_a_daemon_see_the_same_store() {
    coffer::block_on(async {
        for name in ["tcp", "unix"] {
            let place = Place::open(name).await;
            let other = options().open(place.uri.as_deref().expect("remote")).await.expect(name);
            place.client.put("k", "v").await.unwrap();
            assert!(other.get("k").await.unwrap().is_some(), "{name}");
            other.close().await;
            place.client.put("k", "v").await.expect("the other is still open");
            place.close().await;
        }
    });
}

#[test]
fn a_directory_keeps_what_was_written() {
    coffer::block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let uri = format!("file://{}", dir.path().display());
        let store = options().open(&uri).await.unwrap();
        store.put("k", "v").await.unwrap();
        let lease = store.lease_grant(Duration::from_secs(1000)).await.unwrap();
        let header = store.status().await.unwrap().header;
        // While it is open nobody else may open it.
        let error = options().open(&uri).await.expect_err("in use");
        assert!(matches!(&error, Error::Open(text) if text.contains("in use")), "{error}");
        // A watch that nobody reads does not hold the directory, nor does a clone.
        let _watch = store.watch(KeyRange::all()).start().await.unwrap();
        let _clone = store.clone();
        store.close().await;

        let store = options().create(false).open(&uri).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().value, &b"v"[..]);
        assert_eq!(store.lease_list().await.unwrap().leases, [lease.id]);
        let again = store.status().await.unwrap().header;
        assert_eq!((again.cluster_id, again.member_id), (header.cluster_id, header.member_id));
        // Dropping the last clone closes as well.
        drop(store);
        options().open(&uri).await.unwrap().close().await;
    });
}

#[test]
fn what_can_not_be_opened_says_why() {
    coffer::block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let missing = format!("file://{}", dir.path().join("missing").display());
        let error = options().create(false).open(&missing).await.expect_err("missing");
        assert!(matches!(error, Error::Open(_)), "{error}");
        assert!(!dir.path().join("missing").exists());
        let quick = options().timeout(Duration::from_millis(500));
        let error = quick.open("coffer://127.0.0.1:1").await.expect_err("nobody there");
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        let error = quick.open("nonsense").await.map(drop);
        assert!(error.is_err());
        assert!(matches!(options().open("file://relative").await, Err(Error::InvalidArgument(_))));
        assert!(matches!(
            options().open_node(&"coffer://a:1".parse().unwrap()).await,
            Err(Error::InvalidArgument(_))
        ));
    });
}

#[test]
fn one_key_at_once_is_what_a_get_says() {
    everywhere(async |store, name| {
        let is_here = !["tcp", "unix"].contains(&name);
        store.put("k", "v").await.unwrap();
        for key in ["k", "missing"] {
            let found = store.get(key).await.unwrap();
            match store.get_at_once(key.as_bytes()) {
                Some((header, at_once)) => {
                    assert_eq!((header.revision, at_once), (2, found), "{name}");
                    assert!(is_here, "{name}");
                }
                None => assert!(!is_here, "{name}"),
            }
        }
        assert_eq!(store.get_at_once(b""), None, "{name}");
        store.close().await;
        assert_eq!(store.get_at_once(b"k"), None, "{name}");
    });
}

#[test]
fn large_revisions_come_in_fragments_if_they_are_asked_for() {
    everywhere(async |store, name| {
        let whole = store.watch(KeyRange::all()).prev_kv().start().await.unwrap();
        let pieces = store.watch(KeyRange::all()).prev_kv().fragments().start().await.unwrap();
        let value = vec![b'v'; 100_000];
        store.txn().then((0..14).map(|i| TxnOp::put(format!("k{i}"), value.clone()))).commit().await.unwrap();
        store.txn().then((0..14).map(|i| TxnOp::put(format!("l{i}"), value.clone()))).commit().await.unwrap();
        let revision = store.delete_range(KeyRange::all()).await.unwrap().header.revision;
        for (mut watch, asked) in [(whole, false), (pieces, true)] {
            let (mut events, mut fragments) = (0, 0);
            loop {
                let update = watch.next().await.expect(name).expect(name);
                events += update.events.len();
                fragments += usize::from(update.fragment);
                if update.revision == revision && !update.fragment {
                    break;
                }
            }
            assert_eq!(events, 28 + 28, "{name}");
            assert_eq!(fragments > 0, asked, "{name}");
        }
    });
}

#[test]
fn the_keys_of_a_sealed_store_come_with_it() {
    coffer::block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let key = dir.path().join("key");
        coffer::Seal::generate_key_file(&key).unwrap();
        let uri = format!("file://{0}/store?seal-key-file={0}/key", dir.path().display());
        let store = options().open(&uri).await.unwrap();
        let keys = store.keys().expect("it is sealed");
        assert_eq!(keys.status().slots.len(), 1);
        drop(keys);
        store.close().await;
        assert!(store.keys().is_none());
        let memory = options().open("mem:").await.unwrap();
        assert!(memory.keys().is_none());
        memory.close().await;
    });
}
