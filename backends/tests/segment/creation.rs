//! Creating a sealed store with a key of its owner's, and power cuts on the way.

use coffer_backends::io::{Fault, SimDisk};
use coffer_backends::seal::AtRest;
use coffer_backends::seal::source::{KeyFile, KeySource};
use coffer_backends::segment::{Options, SegmentStore};
use coffer_core::storage::StorageError;
use std::path::Path;
use std::sync::Arc;

fn open(disk: &SimDisk, at_rest: &AtRest) -> Result<SegmentStore, StorageError> {
    let options = Options { log_file_bytes: 64 << 10, background: false, ..Options::default() };
    SegmentStore::open_on(Path::new("/store"), at_rest.clone(), options, Arc::new(disk.clone()))
}

fn is_key_error<T>(opened: Result<T, StorageError>) -> bool {
    matches!(opened, Err(StorageError::Key { .. }))
}

/// Whatever a cut leaves is no store, or one that opens with its key; never one in the clear, and never one of another key.
#[test]
fn a_creation_that_was_cut_off_is_taken_up_with_the_same_key() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let [key, other] = ["key", "other"].map(|name| {
        let file = KeyFile::generate(&home.path().join(name)).expect("a key");
        AtRest::Keyed(Arc::new(KeySource::KeyFile(file)))
    });
    let mut cuts = 0;
    for at in 1.. {
        let disk = SimDisk::new(at);
        disk.arm(at, Fault::Crash);
        let created = open(&disk, &key);
        let fired = disk.fired();
        if !fired {
            created.expect("nothing was cut");
            break;
        }
        drop(created);
        disk.crash(at.wrapping_mul(0x9e37_79b9));
        cuts += 1;
        assert!(is_key_error(open(&disk, &AtRest::Unstated)), "cut at {at}");
        if disk.content(Path::new("/store/slots")).is_some() {
            assert!(is_key_error(open(&disk, &AtRest::Unsealed)), "cut at {at}");
            assert!(is_key_error(open(&disk, &other)), "cut at {at}");
        }
        let store = open(&disk, &key).unwrap_or_else(|error| panic!("cut at operation {at}: {error}"));
        let identity = store.identity;
        drop(store);
        disk.crash(at);
        let again = open(&disk, &key).expect("it opens again").identity;
        assert_eq!((again.store_id, again.member_id), (identity.store_id, identity.member_id), "cut at {at}");
        assert!(
            is_key_error(open(&disk, &other)) && is_key_error(open(&disk, &AtRest::Unsealed)),
            "cut at {at}"
        );
    }
    assert!(cuts > 20, "{cuts} cuts");
}

#[test]
fn a_store_of_which_nobody_says_how_it_is_kept_is_not_created() {
    let disk = SimDisk::new(1);
    assert!(is_key_error(open(&disk, &AtRest::Unstated)));
    assert_eq!(disk.files(), Vec::<std::path::PathBuf>::new());
    drop(open(&disk, &AtRest::Unsealed).expect("it is created"));
    open(&disk, &AtRest::Unstated).expect("what is in the clear opens");
}
