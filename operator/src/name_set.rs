//! Names that have something in common, such as a host. Mostly that is one, for which a tree would take a node with room for
//! eleven: of ten thousand releases that would be most of an index.

use std::collections::{BTreeSet, btree_set};

use crate::names::NamespacedName;

/// A set of names, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum NameSet {
    /// None.
    #[default]
    Empty,
    /// One.
    One(NamespacedName),
    /// More, or one that was once more.
    Many(BTreeSet<NamespacedName>),
}

impl NameSet {
    /// Adds a name.
    pub fn insert(&mut self, name: NamespacedName) {
        match self {
            Self::Empty => *self = Self::One(name),
            Self::One(only) if *only == name => {}
            Self::One(only) => *self = Self::Many(BTreeSet::from([only.clone(), name])),
            Self::Many(names) => drop(names.insert(name)),
        }
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &NamespacedName) {
        match self {
            Self::Empty => {}
            Self::One(only) if only == name => *self = Self::Empty,
            Self::One(_) => {}
            Self::Many(names) => drop(names.remove(name)),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All of them.
    #[must_use]
    pub fn iter(&self) -> Names<'_> {
        match self {
            Self::Empty => Names::One(None),
            Self::One(only) => Names::One(Some(only)),
            Self::Many(names) => Names::Many(names.iter()),
        }
    }
}

impl<'a> IntoIterator for &'a NameSet {
    type Item = &'a NamespacedName;
    type IntoIter = Names<'a>;

    fn into_iter(self) -> Names<'a> {
        self.iter()
    }
}

/// The names of a set, in order.
#[derive(Debug)]
pub enum Names<'a> {
    /// At most one.
    One(Option<&'a NamespacedName>),
    /// Those of a tree.
    Many(btree_set::Iter<'a, NamespacedName>),
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a NamespacedName;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(only) => only.take(),
            Self::Many(names) => names.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_set_that_a_tree_would_be(script in prop::collection::vec((any::<bool>(), 0_u8..4), 0..20)) {
            let (mut set, mut tree) = (NameSet::default(), BTreeSet::new());
            for (adds, name) in script {
                let name = NamespacedName::new("shop", &name.to_string());
                if adds {
                    set.insert(name.clone());
                    tree.insert(name);
                } else {
                    set.remove(&name);
                    tree.remove(&name);
                }
                prop_assert!(set.iter().eq(&tree));
                prop_assert_eq!(set.is_empty(), tree.is_empty());
            }
        }
    }
}
