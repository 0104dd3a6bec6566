//! Slots come and go, and always one opens the store.

use crate::{Keys, STORE, STORE_ID, create, disk, open};
use coffer_backends::io::RealIo;
use coffer_backends::seal::KeyError;
use coffer_backends::seal::slots::{SLOTS_FILE, SLOTS_MAX, SlotId, SlotKind, Slots};
use coffer_backends::seal::source::{Argon2Cost, KeySource, Passphrase};
use coffer_core::storage::StorageError;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

fn passphrase(text: &str) -> KeySource {
    let passphrase = Passphrase::new(Zeroizing::new(text.into())).unwrap();
    KeySource::Passphrase(passphrase.with_cost(Argon2Cost::FLOOR).unwrap())
}

#[test]
fn every_slot_opens_the_store() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &keys.key("a"));
    let second = slots.add(&root, &keys.key("b"), "second").unwrap();
    let third = slots.add(&root, &passphrase("open sesame"), "").unwrap();
    assert_eq!((second, third), (SlotId(2), SlotId(3)));

    let slots = open(&disk);
    assert_eq!(slots.store_id(), STORE_ID);
    assert_eq!(slots.generation(), 3);
    let sources = [keys.key("a"), keys.key("b"), passphrase("open sesame")];
    for (source, id) in sources.iter().zip(1..) {
        let (opened, found) = slots.unlock_slot(source).unwrap();
        assert_eq!((opened, found == root), (SlotId(id), true));
    }
    let listed: Vec<_> = slots.list().into_iter().map(|slot| (slot.id.0, slot.kind, slot.label)).collect();
    assert_eq!(
        listed,
        [
            (1, SlotKind::KeyFile, "first".into()),
            (2, SlotKind::KeyFile, "second".into()),
            (3, SlotKind::Passphrase, String::new())
        ]
    );
}

#[test]
fn a_wrong_key_is_refused_and_changes_nothing() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &keys.key("a"));
    slots.add(&root, &passphrase("right"), "").unwrap();
    let before = disk.content(&Path::new(STORE).join(SLOTS_FILE));

    let slots = open(&disk);
    let operations = disk.counters().operations;
    let error = slots.unlock(&keys.key("b")).unwrap_err();
    assert!(matches!(error, KeyError::WrongKey { kind: SlotKind::KeyFile, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("/store/slots") && text.contains(&keys.path("b").display().to_string()), "{text}");
    let error = slots.unlock(&passphrase("wrong")).unwrap_err();
    assert!(matches!(error, KeyError::WrongKey { kind: SlotKind::Passphrase, .. }), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    assert_eq!(disk.content(&Path::new(STORE).join(SLOTS_FILE)), before);
    assert_eq!(disk.counters().operations, operations, "nothing was written");
}

#[test]
fn a_source_without_a_slot_is_told_which_there_are() {
    let (keys, disk) = (Keys::new(), disk());
    let (slots, _) = create(&disk, &keys.key("a"));
    let error = slots.unlock(&passphrase("anything")).unwrap_err();
    assert!(matches!(error, KeyError::NoSlotOfKind { kind: SlotKind::Passphrase, .. }), "{error}");
    assert!(error.to_string().contains("it opens with: key-file"), "{error}");
}

#[test]
fn a_removed_slot_opens_nothing_and_its_id_is_not_given_again() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &keys.key("a"));
    let second = slots.add(&root, &keys.key("b"), "").unwrap();
    slots.remove(&root, second).unwrap();
    assert!(matches!(slots.remove(&root, second), Err(KeyError::NoSuchSlot(SlotId(2)))));
    let mut slots = open(&disk);
    assert!(matches!(slots.unlock(&keys.key("b")), Err(KeyError::WrongKey { .. })));
    assert_eq!(slots.add(&root, &keys.key("c"), "").unwrap(), SlotId(3));
    slots.remove(&root, SlotId::FIRST).unwrap();
    assert!(open(&disk).unlock(&keys.key("c")).unwrap() == root);
}

#[test]
fn the_last_slot_stays() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &keys.key("a"));
    assert!(matches!(slots.remove(&root, SlotId::FIRST), Err(KeyError::LastSlot(SlotId::FIRST))));
    assert!(open(&disk).unlock(&keys.key("a")).unwrap() == root);
}

#[test]
fn a_rotated_slot_opens_with_the_new_key_only() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &keys.key("a"));
    slots.rotate_kek(&root, SlotId::FIRST, &passphrase("new")).unwrap();
    assert!(matches!(
        slots.rotate_kek(&root, SlotId(9), &keys.key("b")),
        Err(KeyError::NoSuchSlot(SlotId(9)))
    ));
    let slots = open(&disk);
    assert!(slots.unlock(&passphrase("new")).unwrap() == root);
    assert!(matches!(slots.unlock(&keys.key("a")), Err(KeyError::NoSlotOfKind { .. })));
    assert_eq!(slots.list()[0].label, "first");
}

#[test]
fn the_same_key_twice_leaves_no_trace_of_that() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &keys.key("a"));
    let content = || disk.content(&Path::new(STORE).join(SLOTS_FILE)).unwrap();
    let before = content();
    slots.rotate_kek(&root, SlotId::FIRST, &keys.key("a")).unwrap();
    // From the salt to the tag nothing is as it was.
    let (old, new) = (before[before.len() - 160..].to_vec(), content()[before.len() - 160..].to_vec());
    assert!(!old.windows(16).any(|window| new.windows(16).any(|other| other == window)));
}

#[test]
fn another_stores_root_key_changes_nothing() {
    let (keys, disk, other) = (Keys::new(), disk(), disk());
    let (mut slots, _) = create(&disk, &keys.key("a"));
    let (_, root) = create(&other, &keys.key("a"));
    let operations = disk.counters().operations;
    assert!(matches!(slots.add(&root, &keys.key("b"), ""), Err(KeyError::Tampered { .. })));
    assert!(matches!(slots.remove(&root, SlotId::FIRST), Err(KeyError::Tampered { .. })));
    assert!(matches!(slots.rotate_kek(&root, SlotId::FIRST, &keys.key("b")), Err(KeyError::Tampered { .. })));
    assert_eq!(disk.counters().operations, operations);
}

#[test]
fn there_is_room_for_as_many_as_documented() {
    let (keys, disk) = (Keys::new(), disk());
    let (mut slots, root) = create(&disk, &keys.key("a"));
    let long = "x".repeat(256);
    assert!(matches!(slots.add(&root, &keys.key("b"), &long), Err(KeyError::LongLabel { found: 256, .. })));
    for _ in 1..SLOTS_MAX {
        slots.add(&root, &keys.key("b"), &long[..255]).unwrap();
    }
    assert!(matches!(slots.add(&root, &keys.key("b"), ""), Err(KeyError::Full(SLOTS_MAX))));
    assert_eq!(open(&disk).list().len(), SLOTS_MAX);
    assert!(open(&disk).unlock(&keys.key("b")).unwrap() == root);
}

#[test]
fn a_store_gets_slots_once() {
    let (keys, disk) = (Keys::new(), disk());
    assert!(!Slots::exists(&disk, Path::new(STORE)).unwrap());
    let missing = Slots::open(Arc::new(disk.clone()), Path::new(STORE));
    assert!(matches!(missing, Err(KeyError::Storage(StorageError::Io { .. }))));
    let (_, root) = create(&disk, &keys.key("a"));
    assert!(Slots::exists(&disk, Path::new(STORE)).unwrap());
    let again = Slots::create(Arc::new(disk.clone()), Path::new(STORE), STORE_ID, &keys.key("b"), "");
    assert!(matches!(again, Err(KeyError::Storage(StorageError::Format { .. }))));
    assert!(open(&disk).unlock(&keys.key("a")).unwrap() == root);
}

#[test]
fn a_real_directory_holds_one_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let keys = Keys::new();
    let directory = tempfile::tempdir().unwrap();
    let io = Arc::new(RealIo);
    let (mut slots, root) =
        Slots::create(io.clone(), directory.path(), STORE_ID, &keys.key("a"), "").unwrap();
    slots.add(&root, &keys.key("b"), "").unwrap();
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].file_name(), SLOTS_FILE);
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Slots::open(io, directory.path()).unwrap().unlock(&keys.key("b")).unwrap() == root);
}

#[test]
fn neither_the_file_nor_what_is_printed_holds_a_key() {
    let (keys, disk) = (Keys::new(), disk());
    let source = keys.key("a");
    let (slots, root) = create(&disk, &source);
    let content = disk.content(&Path::new(STORE).join(SLOTS_FILE)).unwrap();
    let key = std::fs::read_to_string(keys.path("a")).unwrap();
    assert!(!content.windows(32).any(|window| window == root.expose()));
    let printed = format!("{slots:?} {source:?} {source} {root:?} {:?}", passphrase("open sesame"));
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    assert!(!printed.contains(key.trim()) && !printed.contains("sesame"));
    assert!(!printed.contains(&list(root.expose())) && !printed.contains(&list(b"open sesame")));
}
