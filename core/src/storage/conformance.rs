//! The suite that every backend passes.
//!
//! A backend's tests implement [`Harness`] over their medium, real or simulated, and list the suite with
//! [`conformance_tests!`](crate::conformance_tests), or call [`run`]. Every test takes a fresh harness for each case,
//! compares what the store shows with a plain model of what it promised, and panics where they differ.
//!
//! Random input comes from seeds: a failure names its seed, `COFFER_SEED` replays it, `COFFER_CASES` runs more.

mod case;
mod contents;
#[cfg(test)]
mod controls;
mod damage;
mod deletions;
mod generate;
mod harness;
mod logs;
mod model;
mod random;
mod restarts;
mod rig;
mod room;
mod torture;
mod verification;
mod world;

pub use case::SuiteConfig;
pub use contents::{
    awkward_records_are_kept, checkpoints_of_any_size_are_kept, directory_walks_stop,
    reclaim_gives_space_back, records_are_read_while_they_are_reclaimed, scans_cover_exactly_their_range,
    small_flushes_are_joined, walks_stop_no_writer,
};
pub use damage::{damage_after_a_crash_is_never_served, damage_is_never_served};
pub use deletions::{deleted_keys_never_return, marks_of_nothing_cost_nothing};
pub use harness::{Fault, Harness, LogIo, Opened};
pub use logs::{
    a_fresh_store_is_empty, a_group_is_one_write_and_one_sync, a_hard_state_alone_is_durable,
    a_purged_log_stays_small, large_groups_fit, log_reads_cover_exactly_their_range,
    log_reads_stop_at_their_bytes, purged_entries_are_gone, the_log_is_read_while_it_is_written,
    truncated_entries_never_return,
};
pub use random::{
    agrees_with_the_model, survives_a_cut_at_every_operation, survives_a_cut_during_recovery,
    survives_io_errors, survives_read_errors, survives_short_writes,
};
pub use restarts::{
    a_broken_snapshot_changes_nothing, a_snapshot_is_all_or_nothing, a_snapshot_replaces_everything,
    a_snapshot_without_room_is_refused, a_staged_snapshot_goes_with_a_crash,
    a_staged_snapshot_waits_to_be_installed, everything_survives_a_purged_log,
};
pub use room::{a_store_with_room_says_so, survives_a_full_medium};

pub use verification::{a_sound_store_verifies, a_verification_ends_when_it_is_told_to};

pub use torture::{
    CrashTally, Flip, FlipOutcome, MakeMedium, Medium, Region, cut_at_operation, flip_bits_of_a_store,
    operations_of_script,
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

/// Makes a `#[test]` of every test of the suite. Takes a `fn() -> Box<dyn Harness>`, or a closure that is one.
///
/// ```text
/// mod suite {
///     coffer_core::conformance_tests!(|| Box::new(MyHarness::new()));
/// }
/// ```
#[macro_export]
macro_rules! conformance_tests {
    // The one list of all tests.
    (@list $form:ident $input:tt) => {
        $crate::conformance_tests! { @$form $input
            a_fresh_store_is_empty
            a_group_is_one_write_and_one_sync
            log_reads_cover_exactly_their_range
            log_reads_stop_at_their_bytes
            purged_entries_are_gone
            truncated_entries_never_return
            a_hard_state_alone_is_durable
            large_groups_fit
            a_purged_log_stays_small
            the_log_is_read_while_it_is_written
            awkward_records_are_kept
            scans_cover_exactly_their_range
            directory_walks_stop
            small_flushes_are_joined
            reclaim_gives_space_back
            deleted_keys_never_return
            marks_of_nothing_cost_nothing
            records_are_read_while_they_are_reclaimed
            checkpoints_of_any_size_are_kept
            walks_stop_no_writer
            everything_survives_a_purged_log
            a_snapshot_replaces_everything
            a_broken_snapshot_changes_nothing
            a_snapshot_is_all_or_nothing
            a_staged_snapshot_waits_to_be_installed
            a_staged_snapshot_goes_with_a_crash
            a_snapshot_without_room_is_refused
            agrees_with_the_model
            survives_a_cut_at_every_operation
            survives_a_cut_during_recovery
            survives_io_errors
            a_store_with_room_says_so
            survives_a_full_medium
            survives_short_writes
            survives_read_errors
            a_sound_store_verifies
            a_verification_ends_when_it_is_told_to
            damage_is_never_served
            damage_after_a_crash_is_never_served
        }
    };
    (@calls ($make:expr, $config:expr) $($test:ident)*) => {
        $($crate::storage::conformance::$test($make, $config);)*
    };
    (@tests ($make:expr) $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                use $crate::storage::conformance::{Harness, SuiteConfig, $test};
                let make: fn() -> Box<dyn Harness> = $make;
                $test(&make, &SuiteConfig::from_env());
            }
        )*
    };
    ($make:expr) => {
        $crate::conformance_tests! { @list tests ($make) }
    };
}
