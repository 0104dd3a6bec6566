//! Every language reads what every other wrote, bit for bit.

use super::place::{Place, write_key};
use super::runner::{Language, Runner};
use super::words::{decode, encode};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Has all languages write, one after the other, and then read; each must give the same.
///
/// # Errors
/// One reads what was not written, or does not answer.
pub(crate) fn exchange(
    place: &Place,
    languages: &[Language],
    dir: &Path,
    prefix: &str,
) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|error| error.to_string())?;
    write_key(&dir.join("key"), '5').map_err(|error| error.to_string())?;
    let mut expected = BTreeMap::new();
    for language in languages {
        let of = |error: String| format!("exchange in {}: {} writes: {error}", place.name(), language.name);
        let mut session = Session::open(place, language, dir).map_err(of)?;
        for (suffix, value) in pairs() {
            let key = [prefix.as_bytes(), b"/", language.name.as_bytes(), b"/", &suffix[..]].concat();
            let answer = session.ask(&format!("put {} {value}", encode(&key))).map_err(of)?;
            if !answer.starts_with("ok ") {
                return Err(of(answer));
            }
            expected.insert(key, value);
        }
        session.close().map_err(of)?;
    }
    let mut hashes = BTreeMap::new();
    for language in languages {
        let of = |error: String| format!("exchange in {}: {} reads: {error}", place.name(), language.name);
        let mut session = Session::open(place, language, dir).map_err(of)?;
        session.runner.send(&format!("range {prefix}/")).map_err(of)?;
        for (key, value) in &expected {
            let wanted = format!("{} {}", encode(key), encode(&decode(value)));
            let answer = session.runner.answer().map_err(of)?;
            if answer != wanted {
                return Err(of(format!("expected {wanted:?}, got {answer:?}")));
            }
        }
        let end = session.runner.answer().map_err(of)?;
        if end != format!("end {} all", expected.len()) {
            return Err(of(end));
        }
        let scanned = session.ask(&format!("scan {prefix}/")).map_err(of)?;
        let hash = session.ask("hash").map_err(of)?;
        session.close().map_err(of)?;
        // In a cluster others write meanwhile, and its hash is another each time.
        let hash = matches!(place, Place::Embedded(_)).then_some(hash);
        hashes.insert(language.name.clone(), (scanned, hash));
    }
    let distinct: std::collections::BTreeSet<_> = hashes.values().collect();
    if distinct.len() > 1 {
        return Err(format!("exchange in {}: they hash differently: {hashes:?}", place.name()));
    }
    Ok(())
}

/// Keys without their beginning, and the words of their values: every byte, lengths around powers of two, and what programs
/// are wont to mistake for an end or a letter.
fn pairs() -> Vec<(Vec<u8>, String)> {
    let mut pairs: Vec<(Vec<u8>, String)> =
        (0..=255u8).map(|byte| (vec![b'b', byte], encode(&[byte, 0, byte]))).collect();
    let lengths = [0usize, 1, 7, 8, 255, 256, 257, 4095, 4096, 65_535, 65_536, 1_000_000];
    pairs.extend(
        lengths.map(|length| (format!("length {length}").into_bytes(), format!("@{length}:{length}"))),
    );
    let odd: [&[u8]; 6] =
        [b"\0", b"a\0", b"a\0b", "\u{fc}n\u{ef}code \u{1f512}".as_bytes(), b"\xff\xfe", b"\xc3\x28"];
    pairs.extend(odd.map(|bytes| ([b"odd ", bytes].concat(), encode(bytes))));
    pairs
}

/// A runner with the store open.
struct Session {
    runner: Runner,
}

impl Session {
    fn open(place: &Place, language: &Language, dir: &Path) -> Result<Self, String> {
        let runner = Runner::start(language, &dir.join(format!("{}.log", language.name)))?;
        let mut session = Self { runner };
        match session.ask(&format!("open {}", place.open_words(dir)))?.as_str() {
            "ok" => Ok(session),
            other => Err(format!("open: {other}")),
        }
    }

    fn ask(&mut self, command: &str) -> Result<String, String> {
        self.runner.send(command)?;
        self.runner.answer()
    }

    fn close(mut self) -> Result<(), String> {
        match self.ask("close")?.as_str() {
            "ok" => self.runner.end(),
            other => Err(format!("close: {other}")),
        }
    }
}
