//! Passphrases and key files: what is taken, and what is refused with a word on what to do.

use crate::{Keys, create, disk, open, write};
use coffer_backends::seal::KeyError;
use coffer_backends::seal::slots::SlotId;
use coffer_backends::seal::source::{Argon2Cost, KeyFile, KeySource, Parameters, Passphrase};
use std::os::unix::fs::PermissionsExt;
use zeroize::Zeroizing;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn raw() -> [u8; 32] {
    std::array::from_fn(|at| at as u8)
}

/// Opens the file as a key file; the text of the refusal.
fn refusal(keys: &Keys, mode: u32, content: &[u8]) -> String {
    let path = keys.path(&format!("{}", rand_name()));
    write(&path, mode, content);
    let error = KeyFile::open(&path).err().unwrap_or_else(|| panic!("{content:?} is taken"));
    assert!(matches!(error, KeyError::Source { .. }));
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    text
}

fn rand_name() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn every_form_of_a_key_is_the_same_key() {
    let (keys, disk) = (Keys::new(), disk());
    write(&keys.path("raw"), 0o600, &raw());
    let (_, root) = create(&disk, &keys.key("raw"));
    let forms = [
        HEX.into(),
        format!("{HEX}\n"),
        format!("{HEX}\r\n"),
        HEX.to_lowercase(),
        BASE64.into(),
        format!("{BASE64}\n"),
    ];
    for (form, text) in forms.iter().enumerate() {
        let path = keys.path(&format!("form {form}"));
        write(&path, 0o400, text.as_bytes());
        let source = KeySource::KeyFile(KeyFile::open(&path).unwrap());
        assert!(open(&disk).unlock(&source).unwrap() == root, "{text:?}");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let keys = Keys::new();
    let wrong: [&[u8]; 9] = [
        b"",
        b"short",
        &raw()[..31],
        &[&raw()[..], b"\n"].concat(),
        &HEX.as_bytes()[..63],
        &[&HEX.as_bytes()[..63], b"g"].concat(),
        &[&BASE64.as_bytes()[..43], b"!"].concat(),
        &[b'A'; 64 + 2],
        &[b'A'; 4096],
    ];
    for content in wrong {
        let text = refusal(&keys, 0o600, content);
        assert!(text.contains("holds no key") || text.contains("more than 128 bytes"), "{text}");
        assert!(!text.contains("0102") && !text.contains("AAEC"), "the content is not repeated: {text}");
    }
    assert!(refusal(&keys, 0o600, &[0; 32]).contains("zeros only"));
    assert!(refusal(&keys, 0o600, &[b'0'; 64]).contains("zeros only"));
    assert!(KeyFile::open(&keys.path("missing")).unwrap_err().to_string().contains("missing"));
    assert!(KeyFile::open(keys.directory.path()).is_err());
}

#[test]
fn a_file_that_others_may_use_is_refused() {
    let keys = Keys::new();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o440] {
        let path = keys.path(&format!("{mode:o}"));
        write(&path, 0o600, &raw());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for error in [KeyFile::open(&path).unwrap_err(), Passphrase::from_file(&path).unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains(&format!("{mode:04o}")) && text.contains("chmod 600"), "{text}");
        }
    }
    // Through a link it is the file's mode that counts.
    write(&keys.path("open"), 0o600, &raw());
    std::os::unix::fs::symlink(keys.path("open"), keys.path("link")).unwrap();
    KeyFile::open(&keys.path("link")).unwrap();
}

#[test]
fn a_generated_key_file_is_new_private_and_a_key() {
    let keys = Keys::new();
    let path = keys.path("key");
    KeyFile::generate(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!((text.len(), text.ends_with("=\n")), (45, true));
    let error = KeyFile::generate(&path).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "the key that was there is there");
    let disk = disk();
    let (_, root) = create(&disk, &keys.key("key"));
    assert!(open(&disk).unlock(&keys.key("key")).unwrap() == root);
}

#[test]
fn a_passphrase_comes_from_a_file_or_from_somebody() {
    let (keys, disk) = (Keys::new(), disk());
    write(&keys.path("pass"), 0o600, b"open sesame\n");
    let from_file = || KeySource::Passphrase(Passphrase::from_file(&keys.path("pass")).unwrap());
    let (slots, root) = create(&disk, &from_file());
    let Parameters::Passphrase { cost, .. } = slots.list()[0].parameters else { panic!("a passphrase") };
    assert_eq!(cost, Argon2Cost { memory_kib: 65536, passes: 3, lanes: 4 });
    assert!(open(&disk).unlock(&from_file()).unwrap() == root);
    let typed = |text: &str| {
        KeySource::Passphrase(Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap())
    };
    assert!(open(&disk).unlock(&typed("open sesame")).unwrap() == root, "without the line break");
    for wrong in ["open sesame\n", "open sesam", "Open sesame", " open sesame"] {
        assert!(matches!(open(&disk).unlock(&typed(wrong)), Err(KeyError::WrongKey { .. })), "{wrong:?}");
    }
}

#[test]
fn an_empty_or_endless_passphrase_is_refused() {
    let keys = Keys::new();
    for (name, content) in
        [("empty", &b""[..]), ("line", b"\n"), ("windows", b"\r\n"), ("long", &[b'x'; 70_000])]
    {
        write(&keys.path(name), 0o600, content);
        let error = Passphrase::from_file(&keys.path(name)).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(Passphrase::new(Zeroizing::new(Vec::new())).is_err());
    let unset = Passphrase::from_environment("COFFER_TEST_THAT_IS_NOT_SET").unwrap_err();
    assert!(unset.to_string().contains("is not set"), "{unset}");
}

/// Cargo gives every test this variable, so that no test has to change the environment of the others.
#[test]
fn a_passphrase_comes_from_the_environment() {
    let value = std::env::var("CARGO_PKG_NAME").unwrap();
    let floor =
        |passphrase: Passphrase| KeySource::Passphrase(passphrase.with_cost(Argon2Cost::FLOOR).unwrap());
    let disk = disk();
    let (_, root) = create(&disk, &floor(Passphrase::from_environment("CARGO_PKG_NAME").unwrap()));
    let typed = floor(Passphrase::new(Zeroizing::new(value.into_bytes())).unwrap());
    assert!(open(&disk).unlock(&typed).unwrap() == root);
}

#[test]
fn a_cost_out_of_bounds_makes_no_slot() {
    for (memory_kib, passes, lanes) in
        [(1024, 3, 4), (65536, 1, 4), (65536, 3, 0), (2 << 20, 3, 4), (65536, 99, 4)]
    {
        let passphrase = Passphrase::new(Zeroizing::new(b"pass".to_vec())).unwrap();
        let error = passphrase.with_cost(Argon2Cost { memory_kib, passes, lanes }).unwrap_err();
        assert!(error.to_string().contains("is not between"), "{error}");
    }
}

#[test]
fn a_higher_cost_opens_slots_of_a_lower_one() {
    let disk = disk();
    let with = |cost: Argon2Cost| {
        let passphrase = Passphrase::new(Zeroizing::new(b"pass".to_vec())).unwrap();
        KeySource::Passphrase(passphrase.with_cost(cost).unwrap())
    };
    let (mut slots, root) = create(&disk, &with(Argon2Cost::FLOOR));
    assert!(slots.unlock(&with(Argon2Cost::default())).unwrap() == root);
    let higher = Argon2Cost { memory_kib: 32 << 10, ..Argon2Cost::FLOOR };
    slots.rotate_kek(&root, SlotId::FIRST, &with(higher)).unwrap();
    assert!(open(&disk).unlock(&with(Argon2Cost::FLOOR)).unwrap() == root);
}
