//! Stores that come and go in one process leave nothing behind. Alone in its process: it counts threads and descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How many are opened after the first: half of them in memory, half in a directory that others use again.
const STORES: usize = 1_000;
const DIRECTORIES: usize = 10;
/// Descriptors of one kind that a process keeps, at most.
const KEPT_OF_EACH: usize = 1;
/// Every so many stores of each kind one is dropped rather than closed.
const DROP_EVERY: usize = 4;
const DEADLINE: Duration = Duration::from_secs(60);

/// The names of this process's threads and the targets of its descriptors, each with how often it is there.
fn held() -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    for thread in fs::read_dir("/proc/self/task").expect("proc is mounted").flatten() {
        // A thread that ended since the folder was listed is not there.
        if let Ok(name) = fs::read_to_string(thread.path().join("comm")) {
            *held.entry(format!("thread {}", name.trim_end())).or_default() += 1;
        }
    }
    for descriptor in fs::read_dir("/proc/self/fd").expect("proc is mounted").flatten() {
        if let Ok(target) = fs::read_link(descriptor.path()) {
            let target = target.to_string_lossy();
            // Pipes and sockets are named by a number that is new each time.
            let numbered =
                ["pipe", "socket"].into_iter().find(|kind| target.starts_with(&format!("{kind}:[")));
            let target = numbered.unwrap_or(&target);
            *held.entry(format!("descriptor {target}")).or_default() += 1;
        }
    }
    held
}

/// Waits until this process holds no more than `allowed` of anything: a thread that was joined leaves /proc a moment
/// later.
fn wait_until_held(allowed: impl Fn(&str) -> usize) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = held();
        let left: Vec<_> = now.iter().filter(|(name, count)| **count > allowed(name)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind, with how many there are now: {left:?}");
        thread::yield_now();
    }
}

/// Opens a store, writes to it, and closes it or drops it.
async fn open_and_close(uri: &str, number: usize) {
    let store = coffer::open(uri).await.expect("it opens");
    store.put(format!("key/{number}"), format!("value {number}")).await.expect("a put");
    let kv = store.get(format!("key/{number}")).await.expect("a get").expect("what was put is there");
    assert_eq!(kv.value, format!("value {number}"));
    if !number.is_multiple_of(DROP_EVERY) {
        store.close().await;
    }
}

#[test]
fn a_thousand_stores_leave_no_thread_and_no_descriptor() {
    let directory = tempfile::tempdir().expect("a directory");
    let uri = |number: usize| {
        format!("file://{}/store-{}?unsealed", directory.path().display(), number % DIRECTORIES)
    };
    let fresh = held();
    coffer::block_on(open_and_close("mem:", 0));
    coffer::block_on(open_and_close(&uri(0), 0));
    // The process keeps the thread that waits for timers and sockets, with the descriptors that it waits on.
    let kept = |name: &str| name == "thread async-io" || name.starts_with("descriptor anon_inode");
    wait_until_held(|name| fresh.get(name).copied().unwrap_or(0) + usize::from(kept(name)) * KEPT_OF_EACH);
    let before = held();
    let as_before = |name: &str| before.get(name).copied().unwrap_or(0);

    coffer::block_on(async {
        for number in 1..=STORES / 2 {
            open_and_close("mem:", number).await;
            open_and_close(&uri(number), number).await;
        }
    });
    wait_until_held(as_before);

    coffer::block_on(async {
        for directory in 0..DIRECTORIES {
            let store = coffer::open(&uri(directory)).await.expect("it opens");
            for number in (directory..=STORES / 2).step_by(DIRECTORIES) {
                let kv = store.get(format!("key/{number}")).await.expect("a get");
                let value = kv.unwrap_or_else(|| panic!("key {number} is gone")).value;
                assert_eq!(value, format!("value {number}"));
            }
            store.close().await;
        }
    });
    wait_until_held(as_before);
}
