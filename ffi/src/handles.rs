//! Handles: numbers that callers hold in place of pointers.
//!
//! A number names a slot of a table, the kind of what is in it, and the slot's generation, which changes whenever
//! something leaves the slot. So a handle that was closed, that is of another kind, or that was made up finds nothing, and never
//! something else. A slot whose generations are used up is not used again.
//!
//! # Invariants
//! - No lock is held while anything of a caller's or of the store's runs.
//! - What is in a table is dropped outside of the table's lock.

use crate::failure::Failure;
use crate::fork;
use crate::status::{COFFER_BAD_HANDLE, COFFER_NO_RESOURCES, COFFER_POISONED};
use parking_lot::RwLock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Parts of a table, so that threads seldom meet at a lock.
const SHARDS: usize = 16;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();
const KIND_BITS: u32 = 4;
/// Slots of a shard.
const INDEX_BITS: u32 = 32 - SHARD_BITS - KIND_BITS;

/// What a handle is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Error = 1,
    Result = 2,
    Store = 3,
    Queue = 4,
    Iter = 5,
    Txn = 6,
    Watch = 7,
    Keeper = 8,
}

/// Everything of one kind.
pub(crate) struct Table<T> {
    kind: Kind,
    shards: [Shard<T>; SHARDS],
}

/// Alone on its cache lines.
#[repr(align(128))]
struct Shard<T>(RwLock<Slots<T>>);

struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Where a handle points.
struct Place {
    generation: u32,
    shard: usize,
    index: usize,
}

impl<T> Table<T> {
    pub(crate) const fn new(kind: Kind) -> Self {
        let shards = [const { Shard(RwLock::new(Slots { slots: Vec::new(), free: Vec::new() })) }; SHARDS];
        Self { kind, shards }
    }

    /// Puts something in and gives its handle.
    pub(crate) fn insert(&self, value: T) -> Result<u64, Failure> {
        fork::claim();
        let shard = near_shard();
        let mut slots = self.shards[shard].0.write();
        let index = match slots.free.pop() {
            Some(index) => index,
            None if slots.slots.len() >= 1 << INDEX_BITS => {
                drop(slots);
                return Err(Failure::plain(COFFER_NO_RESOURCES, "there are too many handles"));
            }
            None => {
                slots.slots.push(Slot { generation: 1, value: None });
                // Less than INDEX_BITS long.
                (slots.slots.len() - 1) as u32
            }
        };
        let slot = &mut slots.slots[index as usize];
        slot.value = Some(value);
        let low = (index << (SHARD_BITS + KIND_BITS)) | ((shard as u32) << KIND_BITS) | self.kind as u32;
        Ok((u64::from(slot.generation) << 32) | u64::from(low))
    }

    /// Looks at something.
    pub(crate) fn look<R>(&self, id: u64, look: impl FnOnce(&T) -> R) -> Result<R, Failure> {
        let place = self.place(id)?;
        let slots = self.shards[place.shard].0.read();
        match slots.slots.get(place.index) {
            Some(Slot { generation, value: Some(value) }) if *generation == place.generation => {
                Ok(look(value))
            }
            _ => Err(no_handle()),
        }
    }

    /// Takes something out: its handle is none any more.
    pub(crate) fn remove(&self, id: u64) -> Result<T, Failure> {
        let place = self.place(id)?;
        let mut slots = self.shards[place.shard].0.write();
        let found = slots.slots.get_mut(place.index).filter(|slot| slot.generation == place.generation);
        let Some((slot, value)) = found.and_then(|slot| slot.value.take().map(|value| (slot, value))) else {
            return Err(no_handle());
        };
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            slots.free.push(place.index as u32);
        }
        Ok(value)
    }

    fn place(&self, id: u64) -> Result<Place, Failure> {
        let low = id as u32;
        if low & ((1 << KIND_BITS) - 1) != self.kind as u32 {
            return Err(no_handle());
        }
        let shard = (low >> KIND_BITS) as usize % SHARDS;
        Ok(Place { generation: (id >> 32) as u32, shard, index: (low >> (SHARD_BITS + KIND_BITS)) as usize })
    }
}

impl<T: Clone> Table<T> {
    /// A clone of something.
    pub(crate) fn get(&self, id: u64) -> Result<T, Failure> {
        self.look(id, T::clone)
    }
}

fn no_handle() -> Failure {
    Failure::plain(COFFER_BAD_HANDLE, "this is no handle: zero, closed, or of another kind")
}

/// A shard that other threads seldom choose: their stacks lie elsewhere.
fn near_shard() -> usize {
    let here = 0_u8;
    let address = (&raw const here).addr();
    (address >> 16).wrapping_mul(0x9e37_79b9) >> 16 & (SHARDS - 1)
}

/// Something that a panic makes good for nothing but being closed.
pub(crate) struct Guarded<T> {
    poison: Poison,
    value: T,
}

/// Whether a panic happened; shared with work that goes on elsewhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Poison(Arc<AtomicBool>);

impl Poison {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Failure::plain(COFFER_POISONED, "an earlier call panicked: close the handle")),
        }
    }
}

impl<T> Guarded<T> {
    pub(crate) fn new(value: T, poison: Poison) -> Self {
        Self { poison, value }
    }

    /// Uses it, unless an earlier use panicked.
    pub(crate) fn enter<R>(&self, work: impl FnOnce(&T) -> Result<R, Failure>) -> Result<R, Failure> {
        self.poison.check()?;
        catch_unwind(AssertUnwindSafe(|| work(&self.value))).unwrap_or_else(|panic| {
            self.poison.set();
            Err(Failure::panicked(&*panic))
        })
    }

    /// The value, whatever happened: for what is closed.
    pub(crate) fn anyway(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{COFFER_OK, COFFER_PANICKED};

    fn status<R>(outcome: Result<R, Failure>) -> i32 {
        outcome.map_or_else(|failure| failure.status, |_| COFFER_OK)
    }

    #[test]
    fn only_the_handle_that_was_given_finds_anything() {
        static TABLE: Table<u32> = Table::new(Kind::Txn);
        static OTHER: Table<u32> = Table::new(Kind::Iter);
        let first = TABLE.insert(7).expect("there is room");
        assert_eq!(TABLE.get(first), Ok(7));
        for wrong in [0, 1, first ^ 1, first ^ (1 << 4), first ^ (1 << 8), first ^ (1 << 33), u64::MAX] {
            assert_eq!(status(TABLE.get(wrong)), COFFER_BAD_HANDLE, "{wrong:x}");
            assert_eq!(status(TABLE.remove(wrong)), COFFER_BAD_HANDLE, "{wrong:x}");
        }
        assert_eq!(status(OTHER.get(first)), COFFER_BAD_HANDLE);
        assert_eq!(TABLE.remove(first), Ok(7));
        assert_eq!(status(TABLE.remove(first)), COFFER_BAD_HANDLE);
        let second = TABLE.insert(8).expect("there is room");
        assert_ne!(first, second);
        assert_eq!(status(TABLE.get(first)), COFFER_BAD_HANDLE);
        assert_eq!(TABLE.get(second), Ok(8));
    }

    #[test]
    fn a_slot_without_generations_is_not_used_again() {
        static TABLE: Table<u32> = Table::new(Kind::Txn);
        let first = TABLE.insert(1).expect("there is room");
        let place = TABLE.place(first).expect("it is one");
        TABLE.shards[place.shard].0.write().slots[place.index].generation = u32::MAX;
        let last = (u64::from(u32::MAX) << 32) | u64::from(first as u32);
        assert_eq!(TABLE.remove(last), Ok(1));
        let next = TABLE.insert(2).expect("there is room");
        assert_ne!(next as u32, first as u32);
    }

    #[test]
    fn threads_share_a_table() {
        static TABLE: Table<u64> = Table::new(Kind::Result);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    for round in 0..10_000 {
                        let value = thread * 1_000_000 + round;
                        let id = TABLE.insert(value).expect("there is room");
                        assert_eq!(TABLE.get(id), Ok(value));
                        assert_eq!(TABLE.remove(id), Ok(value));
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_poisons() {
        let guarded = Guarded::new(7, Poison::default());
        assert_eq!(guarded.enter(|value| Ok(*value)), Ok(7));
        let outcome: Result<(), Failure> = guarded.enter(|_| panic!("on purpose"));
        let failure = outcome.expect_err("it panicked");
        assert_eq!((failure.status, &*failure.message), (COFFER_PANICKED, "panicked: on purpose"));
        assert_eq!(status(guarded.enter(|_| Ok(()))), COFFER_POISONED);
        assert_eq!(*guarded.anyway(), 7);
    }
}
