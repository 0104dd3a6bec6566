//! A store of this process leaves nothing behind when it is closed: no thread, no descriptor, no lock. Alone in its process,
//! which has started nothing else: it counts threads and descriptors.

use coffer::{KeyRange, NewFile, Options, Seal, park_on};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The names of this process's threads and the targets of its descriptors.
fn held() -> BTreeSet<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("proc is mounted").flatten();
    let threads = tasks.filter_map(|task| {
        // One that ended since the folder was listed is not there.
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        Some(format!("thread {} {}", task.file_name().display(), name.trim_end()))
    });
    let open = fs::read_dir("/proc/self/fd").expect("proc is mounted").flatten();
    let descriptors = open.filter_map(|descriptor| {
        let target = fs::read_link(descriptor.path()).ok()?;
        // The one that lists them is gone by now.
        descriptor.path().exists().then(|| format!("descriptor {}", target.display()))
    });
    threads.chain(descriptors).collect()
}

/// Does everything that has threads of its own.
async fn use_all_of(dir: &Path, number: usize) {
    let options = Options::default()
        .heartbeat_interval(Duration::from_millis(50))
        .election_timeout(Duration::from_millis(500))
        .seal(Seal::KeyFile(dir.join("key")));
    let store = options.open(&format!("file://{}/store", dir.display())).await.expect("it opens");
    let ending = store.lease_grant(Duration::from_secs(1)).await.expect("a lease").id;
    let kept = store.lease_grant(Duration::from_secs(60)).await.expect("a lease").id;
    let _keeper = store.keep_alive(kept).expect("a keeper");
    let mut watch = store.watch(KeyRange::all()).no_put().start().await.expect("a watch");
    store.put("k", "v").lease(ending).await.expect("a put");
    // The lease ends by itself, which the store proposes.
    watch.next().await.expect("the store is open").expect("nothing was compacted");
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    let mut file = NewFile::create(&dir.join(format!("snapshot-{number}"))).expect("the name is free");
    while let Some(bytes) = snapshot.next().await.expect("it goes on") {
        file.write(&bytes).expect("there is room");
    }
    file.keep().expect("the name is free still");
    store.keys().expect("it is sealed").rotate_data(true).expect("a new data key");
    store.close().await;
}

#[test]
fn a_closed_store_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    Seal::generate_key_file(&dir.path().join("key")).expect("a key");
    let before = held();
    for number in 0..3 {
        park_on(use_all_of(dir.path(), number));
        // A joined thread leaves /proc a moment later.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = held();
            let left: Vec<_> = now.difference(&before).collect();
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
            std::thread::yield_now();
        }
    }
}
