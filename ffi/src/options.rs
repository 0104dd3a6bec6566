//! Options as names and values, the same ones that the program's flags and configuration have.

use crate::error::coffer_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::input;
use crate::status::{COFFER_INVALID_ARGUMENT, COFFER_NULL, COFFER_OK, coffer_status};
use coffer::{Options, duration};
use std::ffi::c_char;
use std::time::Duration;

/// One option: a name and a value, as in flags, environment and configuration of the program. Names that nothing knows, and
/// values that make no sense, are refused with a message that says what is expected. A name may be given once.
///
/// name                             value                                            stores
/// backend                          segment, sqlite                                  file:
/// create                           true, false: whether a new store may be made     file:
/// seal-key-file                    path of a file with a key                        file:
/// seal-passphrase-file             path of a file with a passphrase                 file:
/// seal-passphrase                  the passphrase itself                            file:
/// seal-command                     program that wraps and unwraps keys              file:
/// seal-kms-socket                  unix:///path of a Kubernetes KMS v2 plugin       file:
/// unsealed                         true: nothing seals it                           file:
/// quota-backend-bytes              bytes such as 2GiB; 0 for none                   file:, mem:
/// max-request-bytes                bytes, 1KiB to 64MiB                             file:, mem:
/// max-txn-ops                      number                                           file:, mem:
/// heartbeat-interval               milliseconds                                     file:, mem:
/// election-timeout                 milliseconds                                     file:, mem:
/// watch-progress-notify-interval   duration such as 10m                             file:, mem:
/// scrub-interval                   duration; 0 for never                            file:
/// scrub-rate                       bytes in a second                                file:
/// command-timeout                  duration that a call may take; 0 for no limit    all
///
/// What seals a store is one of the six seal options; one in the URI goes before it. What does not apply to the kind of
/// store that is opened is checked and ignored.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_option {
    /// The name. Not NULL.
    pub name: *const c_char,
    /// The value. Not NULL.
    pub value: *const c_char,
}

/// Checks options without opening anything.
///
/// NULL: `options` may be if `count` is 0. Threads: any. Fails with COFFER_INVALID_ARGUMENT, which says what is wrong.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_options_check(
    options: *const coffer_option,
    count: usize,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract the caller's own, for the call.
    unsafe {
        guard(c"coffer_options_check", error, || {
            Given::read(options, count)?.options()?;
            Ok(COFFER_OK)
        })
    }
}

/// So many options make no sense.
const COUNT_MAX: usize = 64;

/// For tests of this crate: names the function that is to panic.
const PANICS_IN: &str = "panics-in";

/// Options as they were passed.
#[derive(Debug)]
pub(crate) struct Given<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Given<'a> {
    /// Borrows what was passed.
    ///
    /// # Safety
    /// `options` points to `count` options whose strings end with a zero byte; all of it lives as long as it is used.
    pub(crate) unsafe fn read(options: *const coffer_option, count: usize) -> Result<Self, Failure> {
        if count == 0 {
            return Ok(Self(Vec::new()));
        }
        if options.is_null() {
            return Err(Failure::plain(COFFER_NULL, "the options are NULL"));
        }
        if count > COUNT_MAX {
            return Err(Failure::argument("there are too many options"));
        }
        let mut given: Vec<(&str, &str)> = Vec::with_capacity(count);
        for at in 0..count {
            // SAFETY: the caller says that there are so many, and that their strings are good.
            let (name, value) = unsafe {
                let option = options.add(at).read_unaligned();
                (input::text(option.name)?, input::text(option.value)?)
            };
            if given.iter().any(|(other, _)| *other == name) {
                let text = format!("option `{name}` is given twice");
                return Err(Failure::text(COFFER_INVALID_ARGUMENT, text));
            }
            given.push((name, value));
        }
        Ok(Self(given))
    }

    /// Takes out the options whose names are not a store's, as `is_other` says.
    pub(crate) fn take(&mut self, is_other: impl Fn(&str) -> bool) -> Vec<(&'a str, &'a str)> {
        let (other, kept) = std::mem::take(&mut self.0).into_iter().partition(|(name, _)| is_other(name));
        self.0 = kept;
        other
    }

    /// What they say of a store.
    pub(crate) fn options(&self) -> Result<Options, Failure> {
        let given = self.0.iter().filter(|(name, _)| *name != PANICS_IN);
        let options =
            given.clone().try_fold(Options::default(), |options, (name, value)| options.set(name, value))?;
        options.check().map_err(|reason| Failure::text(COFFER_INVALID_ARGUMENT, reason))?;
        Ok(options)
    }

    /// How long a call may take, if they say it.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let value = self.value("command-timeout")?;
        duration::parse(value).ok().filter(|timeout| !timeout.is_zero())
    }

    /// The function that is to panic.
    pub(crate) fn panics_in(&self) -> Option<String> {
        self.value(PANICS_IN).map(str::to_owned)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(given, _)| *given == name).map(|(_, value)| *value)
    }
}
