//! The keys of a sealed store.
//!
//! Calls block: they wait for the disk, and for the program or the plugin that has a key.

use crate::answer::{Answer, Target};
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::input;
use crate::options::{Given, coffer_option};
use crate::result::coffer_result;
use crate::status::{COFFER_OK, COFFER_UNSUPPORTED, coffer_status};
use crate::store::coffer_store;
use coffer::{Seal, SlotId, StoreKeys};
use std::ffi::{CStr, c_char};
use std::path::Path;

/// Carry what older keys sealed over to the new one, in the background, and then destroy the older ones.
pub const COFFER_ROTATE_REWRITE: u32 = 1;

/// Draws a key and writes it to a new file that only its owner may read; `seal-key-file` names it then. Durable when it
/// returns.
///
/// Ownership: `path` is borrowed for the call. NULL: none. Threads: any. Fails with COFFER_CANNOT_OPEN if the file exists
/// or cannot be written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_key_generate(path: *const c_char, error: *mut coffer_error) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_key_generate", error, || {
            Seal::generate_key_file(Path::new(input::text(path)?))?;
            Ok(COFFER_OK)
        })
    }
}

/// Tells which keys open a store, and which ones its data is sealed with. Of a store in a directory that this process has
/// open; so are all that follow.
///
/// Result: `keys`. NULL: none. Threads: any. Fails with COFFER_UNSUPPORTED for other stores, and for one that is not
/// sealed.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_key_status(
    store: coffer_store,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_key_status", error, || {
            let target = Target::waiting(result, true)?;
            change(store, c"coffer_key_status", target, |_| Ok(0))
        })
    }
}

/// Adds a key that opens the store: one seal option, such as `seal-key-file`. `label` is what its owner calls it. Durable
/// when it returns.
///
/// Result: `keys`, with the slot in `changed_id`. Ownership: all that is passed is borrowed for the call. NULL: `label`,
/// `result`. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_key_add(
    store: coffer_store,
    options: *const coffer_option,
    count: usize,
    label: *const c_char,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_key_add", error, || {
            let seal = seal(&Given::read(options, count)?)?;
            let label = if label.is_null() { "" } else { input::text(label)? };
            let target = Target::waiting(result, false)?;
            change(store, c"coffer_key_add", target, |keys| Ok(keys.add(&seal, label)?.0))
        })
    }
}

/// Takes away the key of a slot: it opens the store no longer. The last one stays. Durable when it returns.
///
/// Result: `keys`. NULL: `result`. Threads: any. Fails with COFFER_CANNOT_OPEN if there is no such slot, or no other.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_key_remove(
    store: coffer_store,
    slot: u32,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_key_remove", error, || {
            let target = Target::waiting(result, false)?;
            change(store, c"coffer_key_remove", target, |keys| {
                keys.remove(SlotId(slot))?;
                Ok(slot)
            })
        })
    }
}

/// Replaces the key of a slot; slot 0 is the only one there is. One seal option names the new key. Durable when it
/// returns.
///
/// Result: `keys`, with the slot in `changed_id`. Ownership: `options` is borrowed for the call. NULL: `result`.
/// Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_key_rotate_kek(
    store: coffer_store,
    slot: u32,
    options: *const coffer_option,
    count: usize,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_key_rotate_kek", error, || {
            let seal = seal(&Given::read(options, count)?)?;
            let slot = (slot != 0).then_some(SlotId(slot));
            let target = Target::waiting(result, false)?;
            change(store, c"coffer_key_rotate_kek", target, |keys| Ok(keys.rotate_kek(slot, &seal)?.0))
        })
    }
}

/// Makes a new data key, which seals everything that is written from now on. `flags` is COFFER_ROTATE_REWRITE or 0;
/// coffer_key_status() tells how far a rewrite is. Durable when it returns.
///
/// Result: `keys`, with the data key in `changed_id`. NULL: `result`. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_key_rotate_data(
    store: coffer_store,
    flags: u32,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_key_rotate_data", error, || {
            input::flags(flags, COFFER_ROTATE_REWRITE)?;
            let target = Target::waiting(result, false)?;
            change(store, c"coffer_key_rotate_data", target, |keys| {
                Ok(keys.rotate_data(flags & COFFER_ROTATE_REWRITE != 0)?)
            })
        })
    }
}

/// The key that the options name.
fn seal(given: &Given<'_>) -> Result<Seal, Failure> {
    match given.options()?.seal_said() {
        Some(Seal::Unsealed) | None => {
            Err(Failure::argument("no key is named: give one of the seal options"))
        }
        Some(seal) => Ok(seal.clone()),
    }
}

/// Changes the keys of a store, and says how they are then.
fn change(
    store: coffer_store,
    context: &'static CStr,
    target: Target,
    work: impl FnOnce(&StoreKeys) -> Result<u32, Failure>,
) -> Result<coffer_status, Failure> {
    store.enter(|core| {
        core.rehearse(context);
        let Some(keys) = core.client.keys() else {
            let text = "the store is not sealed, or not in this process";
            return Err(Failure::plain(COFFER_UNSUPPORTED, text));
        };
        let changed = work(&keys)?;
        target.fill(Answer::keys(&keys.status(), changed))?;
        Ok(COFFER_OK)
    })
}
