//! Files that were changed: by accident, and by someone who knows the format.

use crate::{Keys, STORE, create, disk, open};
use coffer_backends::io::SimDisk;
use coffer_backends::seal::slots::{SLOTS_FILE, SlotId, Slots};
use coffer_backends::seal::source::{Argon2Cost, KeySource, Passphrase};
use coffer_backends::seal::{KeyError, SecretKey};
use coffer_core::storage::StorageError;
use proptest::prelude::{any, prop_assert, proptest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

fn path() -> PathBuf {
    Path::new(STORE).join(SLOTS_FILE)
}

fn unlock(disk: &SimDisk, source: &KeySource) -> Result<SecretKey, KeyError> {
    Slots::open(Arc::new(disk.clone()), Path::new(STORE))?.unlock(source)
}

/// Makes the checksums fit again, as everybody can.
fn mend(bytes: &mut [u8]) {
    let prelude = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&prelude.to_le_bytes());
    let end = bytes.len() - 4;
    let whole = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&whole.to_le_bytes());
}

fn passphrase() -> KeySource {
    let passphrase = Passphrase::new(Zeroizing::new(b"pass".to_vec())).unwrap();
    KeySource::Passphrase(passphrase.with_cost(Argon2Cost::FLOOR).unwrap())
}

/// Two slots for key files.
fn two(keys: &Keys) -> (SimDisk, SecretKey) {
    let disk = disk();
    let (mut slots, root) = create(&disk, &keys.key("a"));
    slots.add(&root, &keys.key("b"), "second").unwrap();
    (disk, root)
}

/// Two slots for key files and one for a passphrase.
fn three(keys: &Keys) -> (SimDisk, SecretKey) {
    let (disk, root) = two(keys);
    open(&disk).add(&root, &passphrase(), "third").unwrap();
    (disk, root)
}

#[test]
fn every_flipped_bit_is_refused() {
    let keys = Keys::new();
    let (disk, _) = three(&keys);
    let (a, b) = (keys.key("a"), keys.key("b"));
    let intact = disk.content(&path()).unwrap();
    for bit in 0..intact.len() * 8 {
        for mended in [false, true] {
            let mut rotten = intact.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            if mended {
                mend(&mut rotten);
            }
            if rotten == intact {
                continue;
            }
            disk.place(&path(), &rotten);
            for source in [&a, &b] {
                let error = unlock(&disk, source).err();
                let error = error.unwrap_or_else(|| panic!("bit {bit}, mended: {mended}"));
                let told = match &error {
                    KeyError::Storage(StorageError::Corrupt { .. } | StorageError::Format { .. }) => true,
                    KeyError::Tampered { .. } | KeyError::WrongKey { .. } => mended,
                    _ => false,
                };
                assert!(told, "bit {bit}, mended: {mended}: {error}");
                assert!(error.to_string().contains("/store/slots"), "{error}");
            }
        }
    }
}

proptest! {
    /// Whatever is written over a part of the file: it is read as damage, or as tampering, or was the same before.
    #[test]
    fn any_overwritten_part_is_refused(at in 0usize..600, over in proptest::collection::vec(any::<u8>(), 1..80)) {
        let keys = Keys::new();
        let (disk, _) = two(&keys);
        let intact = disk.content(&path()).unwrap();
        let mut other = intact.clone();
        let at = at % (intact.len() - 36);
        other.splice(at..(at + over.len()).min(intact.len() - 36), over);
        mend(&mut other);
        disk.place(&path(), &other);
        prop_assert!(other == intact || unlock(&disk, &keys.key("a")).is_err());
        prop_assert!(other == intact || unlock(&disk, &keys.key("b")).is_err());
    }
}

#[test]
fn every_cut_and_every_addition_is_refused() {
    let keys = Keys::new();
    let (disk, _) = three(&keys);
    let intact = disk.content(&path()).unwrap();
    for length in (0..intact.len()).chain(intact.len() + 1..intact.len() + 40) {
        let mut other = intact.clone();
        other.resize(length, 0);
        disk.place(&path(), &other);
        assert!(unlock(&disk, &keys.key("a")).is_err(), "{length} bytes");
        if length >= 20 {
            mend(&mut other);
            disk.place(&path(), &other);
            assert!(unlock(&disk, &keys.key("a")).is_err(), "{length} bytes, mended");
        }
    }
    disk.place(&path(), &vec![0; 2 << 20]);
    assert!(unlock(&disk, &keys.key("a")).is_err());
}

/// The bytes of the slots in the file: it differs from one with a slot less by that slot.
fn slot_ranges(intact: &[u8], kept: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut start = 48;
    let ranges = kept.iter().map(|bytes| {
        let range = start..start + bytes;
        start += bytes;
        range
    });
    let ranges: Vec<_> = ranges.collect();
    assert_eq!(start, intact.len() - 36, "the slots fill the file");
    ranges
}

#[test]
fn slots_cannot_be_dropped_swapped_or_brought_in() {
    let keys = Keys::new();
    let (disk, _) = three(&keys);
    let intact = disk.content(&path()).unwrap();
    // Id, kind, time, label, no parameters, salt, nonce, check value, wrapped key, tag.
    let slot = |label: usize, parameters: usize| 4 + 1 + 8 + 1 + label + 1 + parameters + 32 + 12 + 32 + 48;
    let ranges = slot_ranges(&intact, &[slot(5, 0), slot(6, 0), slot(5, 28)]);
    let build = |count: u32, slots: &[&[u8]]| {
        let mut file = intact[..44].to_vec();
        file.extend(count.to_le_bytes());
        slots.iter().for_each(|slot| file.extend_from_slice(slot));
        file.extend(&intact[intact.len() - 36..]);
        mend(&mut file);
        file
    };
    let [first, second, third] = [0, 1, 2].map(|slot: usize| &intact[ranges[slot].clone()]);
    assert_eq!(build(3, &[first, second, third]), intact);
    let check = |file: &[u8], what: &str| {
        disk.place(&path(), file);
        let error = unlock(&disk, &keys.key("a")).err().unwrap_or_else(|| panic!("{what}"));
        assert!(
            matches!(error, KeyError::Tampered { .. } | KeyError::Storage(StorageError::Corrupt { .. })),
            "{what}: {error}"
        );
    };
    check(&build(2, &[first, third]), "dropped");
    check(&build(1, &[first]), "dropped");
    check(&build(3, &[second, first, third]), "swapped");
    check(&build(3, &[first, second, second]), "twice");
    check(&build(2, &[first, second, third]), "wrong count");

    // The second slot, under the id and the label of the first: its own key opens it no longer.
    let mut disguised = second.to_vec();
    disguised[..4].copy_from_slice(&1u32.to_le_bytes());
    disk.place(&path(), &build(1, &[&disguised]));
    let error = unlock(&disk, &keys.key("b")).err();
    assert!(matches!(error, Some(KeyError::Tampered { .. })), "{error:?}");

    // A slot of another store, whose key we know.
    let foreign = crate::disk();
    create(&foreign, &keys.key("hostile"));
    let foreign = foreign.content(&path()).unwrap();
    let mut brought = foreign[48..48 + slot(5, 0)].to_vec();
    brought[..4].copy_from_slice(&2u32.to_le_bytes());
    disk.place(&path(), &build(3, &[first, &brought, third]));
    let error = unlock(&disk, &keys.key("hostile")).err();
    assert!(matches!(error, Some(KeyError::Tampered { .. })), "{error:?}");
    // The whole file of another store opens with its key, and names another store.
    disk.place(&path(), &foreign);
    assert!(unlock(&disk, &keys.key("a")).is_err());
}

#[test]
fn a_removed_slot_is_not_brought_back_into_a_newer_table() {
    let keys = Keys::new();
    let disk = disk();
    let (mut slots, root) = create(&disk, &keys.key("a"));
    slots.add(&root, &keys.key("b"), "").unwrap();
    let with = disk.content(&path()).unwrap();
    slots.remove(&root, SlotId(2)).unwrap();
    let without = disk.content(&path()).unwrap();
    // The newer generation and its MAC, the older slots.
    let mut spliced = with.clone();
    spliced[32..40].copy_from_slice(&without[32..40]);
    let end = spliced.len() - 36;
    spliced[end..].copy_from_slice(&without[without.len() - 36..]);
    mend(&mut spliced);
    disk.place(&path(), &spliced);
    assert!(matches!(unlock(&disk, &keys.key("b")), Err(KeyError::Tampered { .. })));
    disk.place(&path(), &without);
    assert!(matches!(open(&disk).unlock(&keys.key("b")), Err(KeyError::WrongKey { .. })));
}

#[test]
fn a_doctored_cost_is_refused_before_it_is_paid() {
    let keys = Keys::new();
    let (disk, _) = three(&keys);
    let intact = disk.content(&path()).unwrap();
    let cost = [Argon2Cost::FLOOR.memory_kib, 2, 1].map(u32::to_le_bytes).concat();
    let at = intact.windows(12).position(|window| window == cost).unwrap();
    for doctored in [
        [1 << 30, 2, 1],
        [u32::MAX, u32::MAX, u32::MAX],
        [Argon2Cost::FLOOR.memory_kib, u32::MAX, 1],
        [Argon2Cost::FLOOR.memory_kib, 2, 1 << 20],
        [Argon2Cost::FLOOR.memory_kib, 2, 0],
        [Argon2Cost::FLOOR.memory_kib, 1, 1],
        [8, 2, 1],
        [0, 0, 0],
    ] {
        let mut file = intact.clone();
        file[at..at + 12].copy_from_slice(&doctored.map(u32::to_le_bytes).concat());
        mend(&mut file);
        disk.place(&path(), &file);
        let error = unlock(&disk, &passphrase()).unwrap_err();
        assert!(matches!(error, KeyError::Source { .. }), "{error}");
        assert!(error.to_string().contains("is not between"), "{error}");
    }
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let keys = Keys::new();
    let (disk, _) = three(&keys);
    let mut newer = disk.content(&path()).unwrap();
    newer[8] = 2;
    mend(&mut newer);
    disk.place(&path(), &newer);
    let error = unlock(&disk, &keys.key("a")).unwrap_err();
    assert!(matches!(error, KeyError::Storage(StorageError::Format { .. })), "{error}");
    assert!(error.to_string().contains("format version 2"), "{error}");
}
