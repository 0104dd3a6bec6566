//! A key in a file: 32 bytes as they are, 64 hexadecimal digits, or base64, the latter two with or without a line break
//! at their end.
//!
//! Only its owner may have access to the file; the same holds for secrets that a container gets mounted.

use super::{KeyError, secret_file};
use crate::seal::secret::{KEY_BYTES, SecretKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::convert::Infallible;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// More than any of the forms needs.
const FILE_BYTES_MAX: usize = 128;

/// A key that was read from a file.
pub struct KeyFile {
    key: SecretKey,
    origin: String,
}

impl KeyFile {
    /// Reads the key.
    ///
    /// # Errors
    /// The file cannot be read, others than its owner may read it, or it holds no key.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let origin = format!("key file {}", path.display());
        let bytes = secret_file::read(path, &origin, FILE_BYTES_MAX)?;
        let key = decode(&bytes).map_err(|reason| KeyError::source(&*origin, reason))?;
        Ok(Self { key, origin })
    }

    /// Draws a key and writes it to a new file that only its owner may read, as base64 and a line break. Durable when it
    /// returns.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn generate(path: &Path) -> Result<Self, KeyError> {
        let origin = format!("key file {}", path.display());
        let failed = |error: std::io::Error| KeyError::source(&*origin, error.to_string());
        let key = SecretKey::random()?;
        let mut text = Zeroizing::new([b'\n'; 45]);
        STANDARD.encode_slice(key.expose(), &mut text[..44]).expect("44 characters hold 32 bytes");
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(&*text).and_then(|()| file.sync_all()).map_err(failed)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new("."))).and_then(|it| it.sync_all()).map_err(failed)?;
        Ok(Self { key, origin })
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn kek(&self) -> SecretKey {
        let copied = SecretKey::filled(|key| {
            key.copy_from_slice(self.key.expose());
            Ok::<_, Infallible>(())
        });
        let Ok(key) = copied;
        key
    }
}

fn decode(bytes: &[u8]) -> Result<SecretKey, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let key = SecretKey::filled(|key| {
        let fits = match (bytes.len(), line.len()) {
            (KEY_BYTES, _) => {
                key.copy_from_slice(bytes);
                true
            }
            (_, 64) => hexadecimal(line, key),
            (_, 44) => base64(line, key),
            _ => false,
        };
        if fits { Ok(()) } else { Err(()) }
    });
    let key = key.map_err(|()| {
        format!(
            "holds no key: a key is {KEY_BYTES} bytes, 64 hexadecimal digits, or 44 characters of base64, and here are \
             {} bytes of something else",
            bytes.len()
        )
    })?;
    if *key.expose() == [0; KEY_BYTES] {
        return Err("holds zeros only, which is what a damaged file looks like, and no key".into());
    }
    Ok(key)
}

fn hexadecimal(digits: &[u8], key: &mut [u8; KEY_BYTES]) -> bool {
    let digit = |digit: u8| (digit as char).to_digit(16);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return false };
        *byte = (high << 4 | low) as u8;
    }
    true
}

fn base64(text: &[u8], key: &mut [u8; KEY_BYTES]) -> bool {
    // Room for 44 characters without padding.
    let mut room = Zeroizing::new([0; KEY_BYTES + 1]);
    let decoded = STANDARD.decode_slice(text, &mut *room) == Ok(KEY_BYTES);
    key.copy_from_slice(&room[..KEY_BYTES]);
    decoded
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("origin", &self.origin).finish_non_exhaustive()
    }
}
