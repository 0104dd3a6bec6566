//! A file of slots that another program made, byte by byte: `testdata/slots-1/make.py`, from the text of
//! `docs/formats.md` alone. What is read there must be read for ever.

use crate::{Keys, STORE, disk, open, write};
use coffer_backends::seal::slots::{SLOTS_FILE, SlotId, SlotKind};
use coffer_backends::seal::source::{Argon2Cost, KeySource, Parameters, Passphrase};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use zeroize::Zeroizing;

fn vector() -> Vec<u8> {
    let text = include_str!("../../testdata/slots-1/slots.hex");
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn slots_that_another_program_made_open() {
    let (keys, disk) = (Keys::new(), disk());
    disk.place(&Path::new(STORE).join(SLOTS_FILE), &vector());
    let slots = open(&disk);
    assert_eq!(slots.store_id(), std::array::from_fn(|at| 0xa0 + at as u8));
    assert_eq!(slots.generation(), 5);
    let listed = slots.list();
    assert_eq!(listed.iter().map(|slot| slot.id).collect::<Vec<_>>(), [SlotId(2), SlotId(3)]);
    assert_eq!(listed[0].label, "the operator's schlüssel");
    assert_eq!(listed[0].created, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    assert_eq!(listed[1].kind, SlotKind::Passphrase);
    let cost = Argon2Cost { memory_kib: 19456, passes: 2, lanes: 1 };
    assert_eq!(listed[1].parameters, Parameters::Passphrase { salt: *b"sixteen bytes of", cost });

    let root: [u8; 32] = std::array::from_fn(|at| 0x40 + at as u8);
    write(&keys.path("key"), 0o600, &std::array::from_fn::<u8, 32, _>(|at| at as u8));
    let (slot, found) = slots.unlock_slot(&keys.key("key")).unwrap();
    assert_eq!((slot, found.expose()), (SlotId(2), &root));
    let passphrase = Passphrase::new(Zeroizing::new(b"correct horse battery staple".to_vec())).unwrap();
    let (slot, found) = slots.unlock_slot(&KeySource::Passphrase(passphrase)).unwrap();
    assert_eq!((slot, found.expose()), (SlotId(3), &root));
}
