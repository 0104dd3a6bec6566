//! The power is cut, or the disk fails, at every step of a change: the old slots or the new ones are there, whole.

use crate::{Keys, STORE, STORE_ID, create, disk, open};
use coffer_backends::io::{Fault, SimDisk};
use coffer_backends::seal::slots::{SlotId, Slots};
use coffer_backends::seal::source::KeySource;
use coffer_backends::seal::{KeyError, SecretKey};
use std::path::Path;
use std::sync::Arc;

const SEEDS: u64 = 40;

type Change = fn(&mut Slots, &SecretKey, &KeySource) -> Result<(), KeyError>;

/// What is done, how many slots there are then, and whether the old and the new source open it then.
const CHANGES: [(Change, usize, bool, bool); 3] = [
    (|slots, root, source| slots.add(root, source, "").map(drop), 3, true, true),
    (|slots, root, _| slots.remove(root, SlotId(2)), 1, false, false),
    (|slots, root, source| slots.rotate_kek(root, SlotId(2), source), 2, false, true),
];

struct Case {
    disk: SimDisk,
    slots: Slots,
    root: SecretKey,
    old: KeySource,
    new: KeySource,
}

impl Case {
    /// Two slots, of which the second will be changed.
    fn new(keys: &Keys) -> Self {
        let disk = disk();
        let (mut slots, root) = create(&disk, &keys.key("first"));
        slots.add(&root, &keys.key("old"), "").unwrap();
        Self { disk, slots, root, old: keys.key("old"), new: keys.key("new") }
    }

    /// Whether the change is on the disk; anything between is a failure.
    fn changed(&self, keys: &Keys, (_, count, old, new): (Change, usize, bool, bool)) -> bool {
        let slots = open(&self.disk);
        assert!(slots.unlock(&keys.key("first")).unwrap() == self.root, "the untouched slot opens");
        let opens = |source| slots.unlock(source).is_ok_and(|root| root == self.root);
        let changed = slots.generation() == 3;
        let (count, old, new) = if changed { (count, old, new) } else { (2, true, false) };
        assert_eq!((slots.list().len(), opens(&self.old), opens(&self.new)), (count, old, new));
        changed
    }
}

#[test]
fn a_crash_at_any_step_leaves_the_old_slots_or_the_new_ones() {
    let keys = Keys::new();
    for change in CHANGES {
        let (mut steps, mut old, mut new) = (0, 0, 0);
        loop {
            let mut crashed = false;
            for seed in 0..SEEDS {
                let mut case = Case::new(&keys);
                case.disk.arm(case.disk.counters().operations + 1 + steps, Fault::Crash);
                let done = change.0(&mut case.slots, &case.root, &case.new);
                crashed = case.disk.is_crashed();
                assert_eq!(done.is_err(), crashed);
                case.disk.crash(seed);
                let changed = case.changed(&keys, change);
                assert!(changed || crashed, "what was acknowledged is there");
                *(if changed { &mut new } else { &mut old }) += 1;
                // And what the crash left behind is in nobody's way.
                let mut slots = open(&case.disk);
                slots.add(&case.root, &keys.key("later"), "").unwrap();
                case.disk.crash(seed);
                assert!(open(&case.disk).unlock(&keys.key("later")).unwrap() == case.root);
            }
            if !crashed {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 5, "create, write, sync, rename, sync of the directory; {steps}");
        assert!(old > 0 && new > 0, "{old} old, {new} new");
    }
}

#[test]
fn a_crash_while_the_slots_are_made_leaves_none_or_all() {
    let keys = Keys::new();
    for step in 1.. {
        let mut crashed = false;
        for seed in 0..SEEDS {
            let disk = disk();
            disk.arm(disk.counters().operations + step, Fault::Crash);
            let path = Path::new(STORE);
            let made = Slots::create(Arc::new(disk.clone()), path, STORE_ID, &keys.key("a"), "");
            crashed = disk.is_crashed();
            assert_eq!(made.is_err(), crashed);
            disk.crash(seed);
            if Slots::exists(&disk, path).unwrap() {
                open(&disk).unlock(&keys.key("a")).unwrap();
            } else {
                assert!(crashed, "what was acknowledged is there");
                create(&disk, &keys.key("a"));
            }
        }
        if !crashed {
            return;
        }
    }
}

#[test]
fn a_failing_disk_leaves_slots_that_can_be_changed_again() {
    let keys = Keys::new();
    for change in CHANGES {
        for fault in [Fault::Eio, Fault::NoSpace, Fault::ShortWrite] {
            for step in 1.. {
                let mut case = Case::new(&keys);
                case.disk.arm(case.disk.counters().operations + step, fault);
                let done = change.0(&mut case.slots, &case.root, &case.new);
                let fired = case.disk.fired();
                case.disk.disarm();
                if done.is_ok() {
                    assert!(case.changed(&keys, change));
                } else {
                    assert!(fired);
                    case.changed(&keys, change);
                    change.0(&mut case.slots, &case.root, &case.new).unwrap();
                    case.disk.crash(step);
                    assert!(case.changed(&keys, change));
                }
                if !fired {
                    break;
                }
            }
        }
    }
}

/// A process that is killed before the directory is synced leaves what a power cut may still undo.
#[test]
fn slots_that_were_seen_outlast_a_power_cut() {
    let keys = Keys::new();
    for seed in 0..SEEDS {
        let mut case = Case::new(&keys);
        // Create, write, sync, rename; the sync of the directory is the one that fails.
        case.disk.arm(case.disk.counters().operations + 5, Fault::Eio);
        assert!(case.slots.remove(&case.root, SlotId(2)).is_err());
        case.disk.disarm();
        assert!(case.changed(&keys, CHANGES[1]), "it was renamed");
        case.disk.crash(seed);
        assert!(case.changed(&keys, CHANGES[1]), "and whoever has seen it can rely on it");
    }
}
