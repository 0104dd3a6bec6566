//! A set of revisions, small in memory both for long runs and for scattered ones.
//!
//! Revisions are grouped by 256 mains and 16 subs. A group is a sorted list of 2-byte members, or a bitmap of 512
//! bytes once the list would be larger.

use coffer_core::revision::Revision;
use std::collections::BTreeMap;

const MEMBERS_MAX: usize = 256;

#[derive(Clone, Debug, Default)]
pub(crate) struct RevisionSet {
    groups: BTreeMap<(i64, u32), Group>,
    count: u64,
}

#[derive(Clone, Debug)]
enum Group {
    Members(Vec<u16>),
    Bitmap(Box<[u64; 64]>),
}

fn place(revision: Revision) -> ((i64, u32), u16) {
    let member = ((revision.main & 0xff) as u16) << 4 | (revision.sub & 0xf) as u16;
    ((revision.main >> 8, revision.sub >> 4), member)
}

impl RevisionSet {
    /// Returns whether it is new.
    pub(crate) fn insert(&mut self, revision: Revision) -> bool {
        let (group, member) = place(revision);
        let new = self.groups.entry(group).or_insert(Group::Members(Vec::new())).insert(member);
        self.count += u64::from(new);
        new
    }

    pub(crate) fn contains(&self, revision: Revision) -> bool {
        let (group, member) = place(revision);
        self.groups.get(&group).is_some_and(|group| group.contains(member))
    }

    pub(crate) fn remove(&mut self, revision: Revision) -> bool {
        let (key, member) = place(revision);
        let Some(group) = self.groups.get_mut(&key) else { return false };
        let removed = group.remove(member);
        if group.is_empty() {
            self.groups.remove(&key);
        }
        self.count -= u64::from(removed);
        removed
    }

    pub(crate) fn len(&self) -> u64 {
        self.count
    }

    /// Every member, in no useful order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Revision> + '_ {
        self.groups.iter().flat_map(|(&(main, sub), group)| {
            group.members().map(move |member| Revision {
                main: main << 8 | i64::from(member >> 4),
                sub: sub << 4 | u32::from(member & 0xf),
            })
        })
    }
}

impl Group {
    fn insert(&mut self, member: u16) -> bool {
        match self {
            Self::Members(members) => {
                let Err(at) = members.binary_search(&member) else { return false };
                members.insert(at, member);
                if members.len() > MEMBERS_MAX {
                    let mut bitmap = Box::new([0; 64]);
                    members.iter().for_each(|&member| bitmap[usize::from(member >> 6)] |= bit(member));
                    *self = Self::Bitmap(bitmap);
                }
                true
            }
            Self::Bitmap(bitmap) => {
                let word = &mut bitmap[usize::from(member >> 6)];
                let new = *word & bit(member) == 0;
                *word |= bit(member);
                new
            }
        }
    }

    fn contains(&self, member: u16) -> bool {
        match self {
            Self::Members(members) => members.binary_search(&member).is_ok(),
            Self::Bitmap(bitmap) => bitmap[usize::from(member >> 6)] & bit(member) != 0,
        }
    }

    fn remove(&mut self, member: u16) -> bool {
        match self {
            Self::Members(members) => {
                let Ok(at) = members.binary_search(&member) else { return false };
                members.remove(at);
                true
            }
            Self::Bitmap(bitmap) => {
                let word = &mut bitmap[usize::from(member >> 6)];
                let held = *word & bit(member) != 0;
                *word &= !bit(member);
                held
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Members(members) => members.is_empty(),
            Self::Bitmap(bitmap) => bitmap.iter().all(|word| *word == 0),
        }
    }

    fn members(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match self {
            Self::Members(members) => Box::new(members.iter().copied()),
            Self::Bitmap(bitmap) => {
                Box::new((0..4096).filter(|&member| bitmap[usize::from(member >> 6)] & bit(member) != 0))
            }
        }
    }
}

fn bit(member: u16) -> u64 {
    1 << (member & 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(ops in prop::collection::vec((any::<bool>(), -300i64..900, 0u32..40), 0..2000)) {
            let (mut set, mut model) = (RevisionSet::default(), BTreeSet::new());
            for (insert, main, sub) in ops {
                let revision = Revision { main, sub };
                if insert {
                    prop_assert_eq!(set.insert(revision), model.insert(revision));
                } else {
                    prop_assert_eq!(set.remove(revision), model.remove(&revision));
                }
                prop_assert_eq!(set.contains(revision), model.contains(&revision));
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), model);
        }
    }

    #[test]
    fn long_runs_take_little() {
        let mut set = RevisionSet::default();
        for main in 0..100_000 {
            set.insert(Revision::first(main));
        }
        assert_eq!(set.len(), 100_000);
        assert!(set.groups.len() <= 391, "{} groups", set.groups.len());
    }
}
