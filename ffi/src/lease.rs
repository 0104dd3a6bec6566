//! Leases, and what keeps them alive in the background.

use crate::answer::{Answer, Target};
use crate::calls::{Call, Core, Effect, ok};
use crate::error::coffer_error;
use crate::failure::Failure;
use crate::flight::{Flight, Stop};
use crate::guard::guard;
use crate::handles::{Guarded, Kind, Table};
use crate::input::out;
use crate::queue::{COFFER_COMPLETION_KEEPER, coffer_call, until};
use crate::result::coffer_result;
use crate::signals;
use crate::status::{
    COFFER_BUSY, COFFER_END, COFFER_LEASE_NOT_FOUND, COFFER_NOTHING, COFFER_OK, COFFER_UNSUPPORTED,
    coffer_status,
};
use crate::store::coffer_store;
use coffer::request::{LeaseGrantRequest, LeaseTimeToLiveRequest};
use coffer::{Error, KeepAlive, LeaseId};
use parking_lot::Mutex;
use std::sync::Arc;

/// A lease that is kept alive in the background. Zero is none. Closed by coffer_keeper_close().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct coffer_keeper {
    /// Opaque.
    pub id: u64,
}

/// A lease that is kept alive, behind its handle.
#[derive(Debug)]
struct Keeper {
    core: Arc<Core>,
    /// Tells whoever waits of the end.
    flight: Arc<Flight>,
    /// `None` if a task has it, for a queue.
    waits: Option<Mutex<Waits>>,
}

#[derive(Debug)]
struct Waits {
    kept: KeepAlive,
    /// Why it was lost, once that is known.
    lost: Option<Error>,
}

static KEEPERS: Table<Arc<Guarded<Arc<Keeper>>>> = Table::new(Kind::Keeper);

/// Creates a lease that lives for `ttl_s` seconds; the store may raise it to its minimum. `lease` chooses its id; 0 lets
/// the store choose.
///
/// Result: `lease`, `ttl_s`. NULL: `call`, `result`. Threads: any.
/// Fails with COFFER_LEASE_EXISTS, COFFER_LEASE_TTL_TOO_LARGE.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_lease_grant(
    store: coffer_store,
    ttl_s: i64,
    lease: i64,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_lease_grant", error, || {
            store.enter(|core| {
                let request = LeaseGrantRequest { ttl_s, id: LeaseId(lease) };
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_lease_grant", call, Effect::Changes, target, async move {
                    let granted = client.lease_grant_request(request).await?;
                    ok(Answer::lease(granted.header, granted.id, granted.ttl_s))
                })
            })
        })
    }
}

/// Ends a lease and deletes its keys, in one revision.
///
/// NULL: `call`, `result`. Threads: any. Fails with COFFER_LEASE_NOT_FOUND.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_lease_revoke(
    store: coffer_store,
    lease: i64,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_lease_revoke", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_lease_revoke", call, Effect::Changes, target, async move {
                    ok(Answer::of(client.lease_revoke(LeaseId(lease)).await?.header))
                })
            })
        })
    }
}

/// Renews a lease once.
///
/// Result: `lease`, `ttl_s`. NULL: `call`, `result`. Threads: any. Fails with COFFER_LEASE_NOT_FOUND.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_lease_renew(
    store: coffer_store,
    lease: i64,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_lease_renew", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, false)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_lease_renew", call, Effect::Changes, target, async move {
                    let renewed = client.lease_keep_alive(LeaseId(lease)).await?;
                    if renewed.ttl_s <= 0 {
                        return Err(Failure::plain(COFFER_LEASE_NOT_FOUND, "requested lease not found"));
                    }
                    ok(Answer::lease(renewed.header, renewed.id, renewed.ttl_s))
                })
            })
        })
    }
}

/// Tells what is left of a lease, and with `with_keys` not 0 its keys. An unknown lease is no failure: `ttl_s` is -1.
///
/// Result: `lease`, `ttl_s`, `granted_ttl_s`; keys in `kvs`, without anything else of them. NULL: `call`; `result` with a
/// queue. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_lease_time_to_live(
    store: coffer_store,
    lease: i64,
    with_keys: i32,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_lease_time_to_live", error, || {
            store.enter(|core| {
                let request = LeaseTimeToLiveRequest { id: LeaseId(lease), keys: with_keys != 0 };
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_lease_time_to_live", call, Effect::Reads, target, async move {
                    ok(Answer::time_to_live(client.lease_time_to_live(request).await?))
                })
            })
        })
    }
}

/// Lists all leases.
///
/// Result: `leases`. NULL: `call`; `result` with a queue. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_lease_list(
    store: coffer_store,
    call: *const coffer_call,
    result: *mut coffer_result,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_lease_list", error, || {
            store.enter(|core| {
                let (target, call) = (Target::of(call, result, true)?, Call::read(call, core.timeout)?);
                let client = core.client.clone();
                core.perform(c"coffer_lease_list", call, Effect::Reads, target, async move {
                    ok(Answer::leases(client.lease_list().await?))
                })
            })
        })
    }
}

/// Keeps a lease alive in the background, by renewing it at a third of its time, until the keeper or the store is closed.
/// If that becomes impossible (it was revoked, or no renewal succeeded for its whole time), a completion of kind
/// COFFER_COMPLETION_KEEPER tells so at the queue of `call`; without a queue coffer_keeper_wait() does. After
/// coffer_keeper_close() no completion comes, unless it came before; coffer_cancel() lets one come with COFFER_CANCELED.
///
/// Ownership: the caller's, to be closed by coffer_keeper_close(). NULL: `call`. Threads: any.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_keeper_open(
    store: coffer_store,
    lease: i64,
    call: *const coffer_call,
    keeper: *mut coffer_keeper,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_keeper_open", error, || {
            let keeper = out(keeper)?;
            store.enter(|core| {
                let call = Call::read(call, None)?;
                core.rehearse(c"coffer_keeper_open");
                let opened = signals::kept_off(|| keep(core, LeaseId(lease), call))?;
                let flight = Arc::clone(&opened.flight);
                let guarded = Guarded::new(Arc::new(opened), core.poison.clone());
                // Without a handle nobody could end it.
                let id = KEEPERS.insert(Arc::new(guarded)).inspect_err(|_| flight.stop(Stop::Closed))?;
                keeper.write_unaligned(coffer_keeper { id });
                Ok(COFFER_OK)
            })
        })
    }
}

/// Waits up to `timeout_ms` (negative: for ever) until a lease is lost, and then returns why: COFFER_LEASE_NOT_FOUND,
/// COFFER_STOPPED after coffer_close(), or what kept it from being renewed. COFFER_NOTHING while it is kept.
///
/// Threads: one call at a time. Waiting ends with COFFER_END when the keeper is closed. Fails with COFFER_UNSUPPORTED for a
/// keeper with a queue.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_keeper_wait(
    keeper: coffer_keeper,
    timeout_ms: i64,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_keeper_wait", error, || {
            KEEPERS.get(keeper.id)?.enter(|keeper| keeper.wait(timeout_ms))
        })
    }
}

/// Ceases to keep a lease: it runs out unless it is renewed otherwise.
///
/// Threads: any. A second time gives COFFER_BAD_HANDLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn coffer_keeper_close(
    keeper: coffer_keeper,
    error: *mut coffer_error,
) -> coffer_status {
    // SAFETY: by contract null or the caller's own, for the call.
    unsafe {
        guard(c"coffer_keeper_close", error, || {
            KEEPERS.remove(keeper.id)?.anyway().flight.stop(Stop::Closed);
            Ok(COFFER_OK)
        })
    }
}

fn keep(core: &Arc<Core>, lease: LeaseId, call: Call) -> Result<Keeper, Failure> {
    let flight = Arc::new(Flight::default());
    let Some((queue, tag)) = call.queue else {
        let kept = core.client.keep_alive(lease)?;
        let waits = Some(Mutex::new(Waits { kept, lost: None }));
        return Ok(Keeper { core: Arc::clone(core), flight, waits });
    };
    let post = queue.accept(COFFER_COMPLETION_KEEPER, tag, c"coffer_keeper_open", &flight, false)?;
    let mut kept = match core.client.keep_alive(lease) {
        Ok(kept) => kept,
        Err(error) => {
            post.none();
            return Err(error.into());
        }
    };
    let enlisted = core.flights.enlist(0, &flight);
    let told = Arc::clone(&flight);
    core.spawn(enlisted, async move {
        match told.run(None, kept.lost()).await {
            Ok(lost) => post.last(Err(lost.into())),
            Err((Stop::Closed, _)) => post.none(),
            Err((stop, _)) => post.last(Err(stop.failure(false))),
        }
    });
    Ok(Keeper { core: Arc::clone(core), flight, waits: None })
}

impl Keeper {
    fn wait(&self, timeout_ms: i64) -> Result<coffer_status, Failure> {
        let Some(waits) = &self.waits else {
            return Err(Failure::plain(COFFER_UNSUPPORTED, "the keeper tells its queue"));
        };
        let Some(mut waits) = waits.try_lock() else {
            return Err(Failure::plain(COFFER_BUSY, "another call waits for it"));
        };
        if let Some(lost) = &waits.lost {
            return Err(lost.clone().into());
        }
        // One look at least, also when the time is up already.
        let until = until(timeout_ms);
        let lost = self.core.executor.block_on(self.flight.wait_until(until, waits.kept.lost()));
        match lost {
            Ok(lost) => {
                waits.lost = Some(lost.clone());
                Err(lost.into())
            }
            Err(Stop::Deadline) => Ok(COFFER_NOTHING),
            Err(Stop::Closed) => Ok(COFFER_END),
            Err(stop) => Err(stop.failure(false)),
        }
    }
}
