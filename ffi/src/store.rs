//! Opening and closing stores.

use crate::calls::Core;
use crate::completions::wait_until_alone;
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::flight::{Flights, Stop};
use crate::guard::guard;
use crate::handles::{Guarded, Kind, Poison, Table};
use crate::input::{self, out};
use crate::options::{Given, coffer_option};
use crate::signals;
use crate::status::{COFFER_BAD_SIZE, COFFER_OK, coffer_status};
use crate::version::COFFER_ABI_VERSION;
use coffer::{Executor, Uri};
use std::ffi::c_char;
use std::sync::Arc;

/// An open store. Zero is none. May be used by any number of threads at once. Closed by coffer_close().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_store {
    /// Opaque.
    pub id: u64,
}

pub(crate) static STORES: Table<Arc<Guarded<Arc<Core>>>> = Table::new(Kind::Store);

impl coffer_store {
    /// Uses the store behind a handle.
    pub(crate) fn enter<R>(self, work: impl FnOnce(&Arc<Core>) -> Result<R, Failure>) -> Result<R, Failure> {
        STORES.get(self.id)?.enter(work)
    }
}

/// Opens a store. `abi_version` is COFFER_ABI_VERSION. `uri` says where it is:
///
/// file:///dir                       in that directory, in this process; made if there is none
/// mem:                              new, in memory of this process; gone when it is closed
/// unix:///path                      behind the socket of a daemon
/// coffer://host:port,host:port      behind one or more members of a cluster
///
/// A new store in a directory wants to be told what seals it, or that nothing does: an option, or in the URI as in
/// file:///dir?seal-key-file=/path. A directory is open once: a second opening, here or in another process, fails with
/// COFFER_CANNOT_OPEN and says which process has it. Waits until the store can answer; a remote one is connected to.
///
/// Ownership: the caller's, to be closed by coffer_close(). `uri` and `options` are borrowed for the call.
/// NULL: `options` may be if `count` is 0. `uri` and `store` must not be. Threads: any.
/// Fails with COFFER_BAD_SIZE for another interface, COFFER_INVALID_ARGUMENT, COFFER_CANNOT_OPEN, COFFER_CORRUPT,
/// COFFER_UNAVAILABLE.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_open(
    abi_version: u32,
    uri: *const c_char,
    options: *const coffer_option,
    count: usize,
    store: *mut coffer_store,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract the caller's own, for the call.
    unsafe {
        guard(c"coffer_open", error, || {
            if abi_version != COFFER_ABI_VERSION {
                let text = format!(
                    "the program was compiled for version {abi_version} of the interface, this is {COFFER_ABI_VERSION}"
                );
                return Err(Failure::text(COFFER_BAD_SIZE, text));
            }
            let store = out(store)?;
            let (uri, given) = (input::text(uri)?, Given::read(options, count)?);
            let core = signals::kept_off(|| open(uri, &given))?;
            let poison = core.poison.clone();
            let id = STORES.insert(Arc::new(Guarded::new(Arc::new(core), poison)))?;
            store.write_unaligned(coffer_store { id });
            Ok(COFFER_OK)
        })
    }
}

/// Closes a store. Calls that are under way are ended: with their answer, with COFFER_STOPPED, or with
/// COFFER_OUTCOME_UNKNOWN if they are changes that had begun; completions still come. Its watches, iterators and keepers
/// end with COFFER_STOPPED, and are still to be closed. What was acknowledged is on the disk. When this returns, no call
/// uses the store, and of an embedded one no thread, descriptor or lock is left.
///
/// Threads: any. A second time, and every other call from its beginning on, gives COFFER_BAD_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_close(store: coffer_store, error: *mut coffer_error) -> coffer_status {
    // SAFETY: by contract null or the caller's own.
    unsafe {
        guard(c"coffer_close", error, || {
            let store = STORES.remove(store.id)?;
            store.anyway().close();
            // Other threads may still be in calls, on their way out.
            wait_until_alone(&store);
            Ok(COFFER_OK)
        })
    }
}

fn open(uri: &str, given: &Given<'_>) -> Result<Core, Failure> {
    let (uri, options): (Uri, _) = (uri.parse()?, given.options()?);
    let executor =
        Executor::start("coffer-calls", 1).map_err(|error| Failure::system("start a thread", error))?;
    let client = executor.block_on(options.open_uri(&uri))?;
    Ok(Core {
        client,
        executor,
        flights: Arc::new(Flights::default()),
        timeout: given.timeout(),
        poison: Poison::default(),
        is_remote: matches!(uri, Uri::Remote(_)),
        panics_in: given.panics_in(),
    })
}

impl Core {
    /// Ends everything. What is under way in an embedded store gets its outcome from that; what waits for another process
    /// does not wait any longer.
    fn close(&self) {
        if !self.is_remote {
            self.client.shutdown();
        }
        self.flights.stop_all(Stop::StoreClosed);
        self.flights.wait_until_empty();
        self.client.shutdown();
        self.executor.shutdown();
    }
}
