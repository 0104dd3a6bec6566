//! Reads a small file that nobody but its owner may read.

use super::KeyError;
use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

const OTHERS: u32 = 0o077;

/// What the file holds, wiped when it is dropped. `origin` names the file in errors.
pub(super) fn read(path: &Path, origin: &str, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let refused = |reason: String| KeyError::source(origin, reason);
    let mut file = File::open(path).map_err(|error| refused(error.to_string()))?;
    // Of the open file, so that it cannot be exchanged in between.
    let metadata = file.metadata().map_err(|error| refused(error.to_string()))?;
    if metadata.is_dir() {
        return Err(refused("is a directory".into()));
    }
    check_mode(&metadata.permissions(), path).map_err(refused)?;
    // As large as it can become, so that nothing is moved and left behind.
    let mut bytes = Zeroizing::new(vec![0; bytes_max + 1]);
    let mut count = 0;
    while count < bytes.len() {
        match file.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(refused(error.to_string())),
        }
    }
    if count > bytes_max {
        return Err(refused(format!("has more than {bytes_max} bytes")));
    }
    bytes.truncate(count);
    Ok(bytes)
}

fn check_mode(permissions: &Permissions, path: &Path) -> Result<(), String> {
    let mode = permissions.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(format!(
        "has mode {mode:04o}, so that others than its owner may use it: run chmod 600 {}, and take another key if \
         somebody may have read this one",
        path.display()
    ))
}
