//! The suite that every backend passes.
//!
//! A backend's tests implement [`Harness`] over their medium, real or simulated, and list the suite with
//! [`conformance_tests!`](crate::conformance_tests), or call [`run`]. Every test takes a fresh harness for each case,
//! compares what the store shows with a plain model of what it promised, and panics where they differ.
//!
//! Random input comes from seeds: a failure names its seed, `COFFER_SEED` replays it, `COFFER_CASES` runs more.

mod case;
mod generate;
mod harness;
mod model;
mod random;
mod world;

pub use case::SuiteConfig;
pub use harness::{Fault, Harness, LogIo, Opened};
pub use random::{
    agrees_with_the_model, survives_a_cut_at_every_operation, survives_a_cut_during_recovery,
    survives_a_full_medium, survives_io_errors, survives_read_errors, survives_short_writes,
};

use super::StorageError;

/// Makes a harness with an empty medium.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Harness>;

/// Unwraps what the contract says cannot fail.
#[track_caller]
fn must<T>(what: &str, result: Result<T, StorageError>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Runs every test of the suite.
///
/// # Panics
/// At the first promise that the backend breaks.
pub fn run(make: Make<'_>, config: &SuiteConfig) {
    crate::conformance_tests! { @list calls (make, config) }
}

/// Makes a `#[test]` of every test of the suite. Takes an expression of type `fn() -> Box<dyn Harness>`.
#[macro_export]
macro_rules! conformance_tests {
    // The one list of all tests.
    (@list $form:ident $input:tt) => {
        $crate::conformance_tests! { @$form $input
            agrees_with_the_model
            survives_a_cut_at_every_operation
            survives_a_cut_during_recovery
            survives_io_errors
            survives_a_full_medium
            survives_short_writes
            survives_read_errors
        }
    };
    (@calls ($make:expr, $config:expr) $($test:ident)*) => {
        $($crate::storage::conformance::$test($make, $config);)*
    };
    (@tests ($make:expr) $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                use $crate::storage::conformance::{SuiteConfig, $test};
                $test(&$make, &SuiteConfig::from_env());
            }
        )*
    };
    ($make:expr) => {
        $crate::conformance_tests! { @list tests ($make) }
    };
}
