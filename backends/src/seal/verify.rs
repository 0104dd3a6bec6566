//! Whether the files of a store's keys are as they were written: both slots of the keyring, and the key slots.

use super::keyring::Keyring;
use super::slots::Slots;
use coffer_core::storage::{Checking, Finding, Halt};

/// Checks the files of the keys of a store that is open with this keyring. Who has the store open has their content as
/// well, so that damage of them is no loss before it is closed.
pub(crate) fn verify_keys(keyring: &Keyring, checking: &mut Checking<'_>) -> Result<(), Halt> {
    let faults = keyring.verify_slots()?;
    let all_lost = faults.len() == Keyring::SLOTS && checking.is_alone();
    let kind = if all_lost { Finding::Damage } else { Finding::Weakened };
    faults.into_iter().for_each(|fault| checking.found(kind(fault)));
    if let Some(fault) = Slots::verify(keyring.io(), keyring.directory(), keyring.root())? {
        let kind = if checking.is_alone() { Finding::Damage } else { Finding::Weakened };
        checking.found(kind(fault));
    }
    checking.checked(0)
}
