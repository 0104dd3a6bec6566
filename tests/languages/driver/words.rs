//! How bytes are written as words of commands and answers.

use std::fmt::{self, Write};

/// `@LENGTH:SEED` stands for so many bytes, `%XX` for one, a lone `%` for none.
///
/// # Panics
/// The word is none.
pub(crate) fn decode(word: &str) -> Vec<u8> {
    if let Some((length, seed)) = word.strip_prefix('@').and_then(|pattern| pattern.split_once(':')) {
        let (length, mut state): (usize, u64) =
            (length.parse().expect("a length"), seed.parse().expect("a seed"));
        return (0..length)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            })
            .collect();
    }
    let mut bytes = word.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.len()) {
            (b'%', 0) => {}
            (b'%', _) => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.map_or('0', char::from));
                let digits = String::from_iter(digits);
                decoded.push(u8::from_str_radix(&digits, 16).expect("two digits"));
            }
            _ => decoded.push(byte),
        }
    }
    decoded
}

/// The other way; long ones are written as length and digest.
pub(crate) fn encode(bytes: &[u8]) -> String {
    if bytes.len() > 256 {
        let mut digest = Digest::default();
        digest.add(bytes);
        return format!("#{}:{digest}", bytes.len());
    }
    if bytes.is_empty() {
        return "%".into();
    }
    let mut word = String::new();
    for byte in bytes {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'/' | b'.' | b'_' | b'~' | b'-' => {
                word.push(char::from(*byte));
            }
            _ => write!(word, "%{byte:02X}").expect("strings grow"),
        }
    }
    word
}

/// FNV-1a over everything that was added.
#[derive(Debug)]
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(14695981039346656037)
    }
}

impl Digest {
    /// Adds.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(1099511628211);
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
