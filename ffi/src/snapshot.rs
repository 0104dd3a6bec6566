//! Snapshot files: all of a store at one revision.

use crate::answer::{Answer, Target};
use crate::calls::{Call, Effect};
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::input;
use crate::options::{Given, coffer_option};
use crate::queue::coffer_call;
use crate::result::{COFFER_SNAPSHOT_SEALED, coffer_result, coffer_snapshot_info};
use crate::saving::save;
use crate::status::{COFFER_INVALID_ARGUMENT, COFFER_OK, coffer_status};
use crate::store::coffer_store;
use coffer::{Options, Seal, SnapshotInput};
use std::ffi::c_char;
use std::path::Path;

/// Saves all of a store, at one revision, whatever is written meanwhile, to a new file that only its owner may read. It is
/// sealed as the store is, and opens with the store's keys. Under the name is a whole snapshot or nothing. Without a timeout
/// in `call` it takes as long as it takes.
///
/// Result: `snapshot`. Ownership: `path` is borrowed for the call. NULL: `call`, `result`. Threads: any.
/// Fails with COFFER_CANNOT_OPEN if the file exists or cannot be written, COFFER_UNSUPPORTED for a store in memory.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_snapshot_save(
    store: coffer_store,
    path: *const c_char,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_snapshot_save", error, || {
            store.enter(|core| {
                let path = Path::new(input::text(path)?).to_owned();
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, None)?);
                let work = save(core.client.clone(), path);
                core.perform(c"coffer_snapshot_save", call, Effect::Reads, target, work)
            })
        })
    }
}

/// Reads all of a snapshot file, and tells what it holds if it is whole. The seal options say what opens it, if it is
/// sealed.
///
/// Result: `snapshot`, and in `keys` the slots of a sealed one. Ownership: `path` and `options` are borrowed for the call.
/// NULL: `options` if `count` is 0. Threads: any. Fails with COFFER_CANNOT_OPEN, COFFER_CORRUPT.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_snapshot_status(
    path: *const c_char,
    options: *const coffer_option,
    count: usize,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_snapshot_status", error, || {
            let (path, given) = (Path::new(input::text(path)?), Given::read(options, count)?);
            let target = Target::waiting(result, true)?;
            let mut snapshot = open(path, given.options()?.seal_said())?;
            snapshot.check()?;
            let answer = Answer::slots(snapshot.slots()).snapshot(info(&snapshot));
            target.fill(answer)?;
            Ok(COFFER_OK)
        })
    }
}

/// Makes a new store in the directory `dir`, the only member of a new cluster, from a snapshot file. The options say what
/// opens the snapshot and, as nothing else is said, what seals the store: the same. `new-key-file`, `new-passphrase-file`,
/// `new-command`, `new-kms-socket` and `new-unsealed` (true) seal it otherwise. Under `dir` is a whole store or nothing.
///
/// Result: `snapshot`. Ownership: all that is passed is borrowed for the call. NULL: `options` if `count` is 0; `result`.
/// Threads: any. Fails with COFFER_CANNOT_OPEN if `dir` holds something, COFFER_CORRUPT.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_snapshot_restore(
    path: *const c_char,
    dir: *const c_char,
    options: *const coffer_option,
    count: usize,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_snapshot_restore", error, || {
            let (path, dir) = (Path::new(input::text(path)?), Path::new(input::text(dir)?));
            let mut given = Given::read(options, count)?;
            let target = Target::waiting(result, false)?;
            let new_seal = new_seal(&given.take(|name| name.starts_with("new-")))?;
            let options = given.options()?;
            let mut snapshot = open(path, options.seal_said())?;
            let seal = new_seal.or_else(|| options.seal_said().cloned()).unwrap_or(Seal::Unsealed);
            let content = snapshot.restored();
            let made = options.seal(seal).restore(dir, None, &content, &mut snapshot)?;
            let audit = *made.audit();
            let info = coffer_snapshot_info {
                hash: audit.hash,
                cluster_id: made.cluster_id(),
                member_id: made.member_id(),
                revision: audit.revision,
                compact_revision: audit.compact_revision,
                created_s: 0,
                keys: audit.keys,
                leases: audit.leases,
                ..info(&snapshot)
            };
            made.keep()?;
            target.fill(Answer::empty().snapshot(info))?;
            Ok(COFFER_OK)
        })
    }
}

fn open(path: &Path, seal: Option<&Seal>) -> Result<SnapshotInput, Failure> {
    Ok(SnapshotInput::open(path, seal.filter(|seal| **seal != Seal::Unsealed))?)
}

/// What a snapshot says of itself, as far as it was read.
fn info(snapshot: &SnapshotInput) -> coffer_snapshot_info {
    let head = snapshot.head();
    coffer_snapshot_info {
        flags: if snapshot.is_sealed() { COFFER_SNAPSHOT_SEALED } else { 0 },
        hash: 0,
        cluster_id: head.cluster_id,
        member_id: head.member_id,
        revision: head.revision,
        compact_revision: head.compact_revision,
        created_s: head.created_s,
        bytes: snapshot.progress().1,
        records: snapshot.records(),
        keys: 0,
        leases: snapshot.leases() as u64,
    }
}

/// What is to seal a new store otherwise than the snapshot: the seal options, with `new-` in place of `seal-`.
fn new_seal(given: &[(&str, &str)]) -> Result<Option<Seal>, Failure> {
    let options = given.iter().try_fold(Options::default(), |options, (name, value)| {
        let known = match *name {
            "new-key-file" => "seal-key-file",
            "new-passphrase-file" => "seal-passphrase-file",
            "new-passphrase" => "seal-passphrase",
            "new-command" => "seal-command",
            "new-kms-socket" => "seal-kms-socket",
            "new-unsealed" => "unsealed",
            _ => {
                let text = format!("option `{name}`: it is not known");
                return Err(Failure::text(COFFER_INVALID_ARGUMENT, text));
            }
        };
        Ok(options.set(known, value)?)
    })?;
    Ok(options.seal_said().cloned())
}
