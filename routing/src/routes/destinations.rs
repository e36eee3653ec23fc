//! Numbers for the places that requests can go to, so that whatever belongs to such a place (endpoints, counts, a
//! worker's record) stands in a table and is found by an index.

use std::collections::HashMap;

use crate::document::{arm::Arm, names::Uid};

/// Number of a destination: dense, from 0. A destination keeps its number from one [`Routes`] of a [`Compiler`] to the
/// next. Once it is gone another may get the number, so look it up only in what was made for the same routes.
///
/// [`Routes`]: super::Routes
/// [`Compiler`]: super::Compiler
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationId(u32);

impl DestinationId {
    /// The number, below [`Routes::destination_limit`](super::Routes::destination_limit).
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// Whose requests go to a destination. What it has for itself (requests under way, malformed answers) outlives changes
/// of its servers and of the release id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DestinationKey {
    /// Those of an arm of a release.
    Arm(Uid, Arm),
    /// Those that no release has.
    DefaultBackend,
}

/// Gives numbers and takes them back.
#[derive(Debug, Default)]
pub(super) struct DestinationIds {
    ids: HashMap<DestinationKey, DestinationId>,
    free: Vec<DestinationId>,
}

impl DestinationIds {
    /// The destination's number.
    pub(super) fn id(&mut self, key: DestinationKey) -> DestinationId {
        let next = DestinationId(self.limit() as u32);
        *self
            .ids
            .entry(key)
            .or_insert_with(|| self.free.pop().unwrap_or(next))
    }

    /// Takes back a destination's number, if it has one. Whoever gets it next must not meet anything of its.
    pub(super) fn give_back(&mut self, key: &DestinationKey) {
        self.free.extend(self.ids.remove(key));
    }

    /// Above every number given.
    pub(super) fn limit(&self) -> usize {
        self.ids.len() + self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(release: u8) -> DestinationKey {
        let uid = format!("u-{release}").parse().expect("a uid");
        DestinationKey::Arm(uid, Arm::Gray)
    }

    proptest! {
        #[test]
        fn no_two_destinations_have_one_number_and_no_number_is_wasted(
            sets in prop::collection::vec(prop::collection::btree_set(0_u8..20, 0..12), 1..12)
        ) {
            let mut ids = DestinationIds::default();
            let mut before = HashMap::new();
            let mut most = 0;
            for set in sets {
                let now: HashMap<u8, DestinationId> =
                    set.iter().map(|&release| (release, ids.id(key(release)))).collect();
                most = most.max(set.union(&before.keys().copied().collect()).count());
                let mut used: Vec<_> = now.values().copied().collect();
                used.sort_unstable();
                prop_assert!(used.windows(2).all(|pair| pair[0] != pair[1]));
                prop_assert!(used.iter().all(|id| id.get() < ids.limit()) && ids.limit() <= most);
                for (release, id) in &now {
                    prop_assert!(before.get(release).is_none_or(|same| same == id));
                }
                for gone in before.keys().filter(|release| !now.contains_key(release)) {
                    ids.give_back(&key(*gone));
                }
                before = now;
            }
        }
    }
}
