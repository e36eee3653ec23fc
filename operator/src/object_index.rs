//! What the cluster has of one kind in one place, kept up to date by a watch and indexed for the ways in which it is
//! asked for. A listing that is under way is not seen before it is complete: half of it would look like deletions.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::name_set::NameSet;
use crate::names::NamespacedName;

/// Objects by name, and by the groups that each is in.
#[derive(Debug)]
pub struct ObjectIndex<V> {
    objects: HashMap<NamespacedName, Arc<V>>,
    groups: HashMap<NamespacedName, NameSet>,
    groups_of: fn(&V) -> Vec<NamespacedName>,
    listing: Option<HashMap<NamespacedName, Arc<V>>>,
    synced: bool,
}

/// What a change has touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChangedKeys {
    /// Objects that are new, other than before, or gone.
    pub keys: BTreeSet<NamespacedName>,
    /// The groups that they are or were in.
    pub groups: BTreeSet<NamespacedName>,
}

impl<V: PartialEq> ObjectIndex<V> {
    /// Nothing, not even known to be nothing.
    #[must_use]
    pub fn new(groups_of: fn(&V) -> Vec<NamespacedName>) -> Self {
        Self {
            objects: HashMap::new(),
            groups: HashMap::new(),
            groups_of,
            listing: None,
            synced: false,
        }
    }

    /// Whether one listing has been complete.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// One object.
    #[must_use]
    pub fn get(&self, key: &NamespacedName) -> Option<&Arc<V>> {
        self.objects.get(key)
    }

    /// All objects.
    pub fn iter(&self) -> impl Iterator<Item = (&NamespacedName, &Arc<V>)> {
        self.objects.iter()
    }

    /// The objects in a group.
    pub fn in_group(
        &self,
        group: &NamespacedName,
    ) -> impl Iterator<Item = (&NamespacedName, &Arc<V>)> {
        self.groups
            .get(group)
            .into_iter()
            .flatten()
            .filter_map(|key| self.objects.get_key_value(key))
    }

    /// The groups that there are.
    pub fn groups(&self) -> impl Iterator<Item = &NamespacedName> {
        self.groups.keys()
    }

    /// A listing begins.
    pub fn begin(&mut self) {
        self.listing = Some(HashMap::new());
    }

    /// The listing has this object.
    pub fn list(&mut self, key: NamespacedName, value: V) {
        // What is as it was is not there twice while the listing goes on.
        let known = self
            .objects
            .get(&key)
            .filter(|known| ***known == value)
            .cloned();
        self.listing
            .get_or_insert_default()
            .insert(key, known.unwrap_or_else(|| Arc::new(value)));
    }

    /// The listing is complete: what it does not have is gone.
    pub fn end(&mut self) -> ChangedKeys {
        let listed = self.listing.take().unwrap_or_default();
        let mut touched = ChangedKeys::default();
        let gone: Vec<NamespacedName> = self
            .objects
            .keys()
            .filter(|key| !listed.contains_key(*key))
            .cloned()
            .collect();
        gone.iter().for_each(|key| self.remove(key, &mut touched));
        for (key, value) in listed {
            self.insert(key, value, &mut touched);
        }
        self.synced = true;
        touched
    }

    /// An object is there, or has changed.
    pub fn put(&mut self, key: NamespacedName, value: V) -> ChangedKeys {
        let mut touched = ChangedKeys::default();
        self.insert(key, Arc::new(value), &mut touched);
        touched
    }

    /// An object is gone.
    pub fn delete(&mut self, key: &NamespacedName) -> ChangedKeys {
        let mut touched = ChangedKeys::default();
        self.remove(key, &mut touched);
        touched
    }

    fn insert(&mut self, key: NamespacedName, value: Arc<V>, touched: &mut ChangedKeys) {
        if self.objects.get(&key) == Some(&value) {
            return;
        }
        self.remove(&key, touched);
        for group in (self.groups_of)(&value) {
            self.groups
                .entry(group.clone())
                .or_default()
                .insert(key.clone());
            touched.groups.insert(group);
        }
        self.objects.insert(key.clone(), value);
        touched.keys.insert(key);
    }

    fn remove(&mut self, key: &NamespacedName, touched: &mut ChangedKeys) {
        let Some(value) = self.objects.remove(key) else {
            return;
        };
        for group in (self.groups_of)(&value) {
            if let Some(keys) = self.groups.get_mut(&group) {
                keys.remove(key);
                if keys.is_empty() {
                    self.groups.remove(&group);
                }
            }
            touched.groups.insert(group);
        }
        touched.keys.insert(key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> NamespacedName {
        NamespacedName::new("shop", name)
    }

    /// Objects are in the group that they are named after.
    fn store() -> ObjectIndex<&'static str> {
        ObjectIndex::new(|value| vec![key(value)])
    }

    fn names(store: &ObjectIndex<&'static str>, group: &str) -> Vec<String> {
        store
            .in_group(&key(group))
            .map(|(key, _)| key.name.to_string())
            .collect()
    }

    #[test]
    fn a_listing_counts_once_it_is_complete() {
        let mut store = store();
        store.begin();
        store.list(key("a"), "g");
        assert!(!store.is_synced() && store.get(&key("a")).is_none());
        assert_eq!(store.end().keys, BTreeSet::from([key("a")]));
        assert!(store.is_synced());
        store.begin();
        store.list(key("b"), "g");
        assert!(
            store.get(&key("a")).is_some(),
            "still there while the next listing is under way"
        );
        assert_eq!(store.end().keys, BTreeSet::from([key("a"), key("b")]));
        assert_eq!(names(&store, "g"), ["b"]);
    }

    #[test]
    fn whoever_changes_groups_touches_both() {
        let mut store = store();
        store.put(key("a"), "g");
        store.put(key("b"), "g");
        let touched = store.put(key("a"), "h");
        assert_eq!(touched.groups, BTreeSet::from([key("g"), key("h")]));
        assert_eq!(
            (names(&store, "g"), names(&store, "h")),
            (vec!["b".to_owned()], vec!["a".to_owned()])
        );
        assert_eq!(
            store.put(key("a"), "h"),
            ChangedKeys::default(),
            "nothing new"
        );
        assert_eq!(store.delete(&key("a")).groups, BTreeSet::from([key("h")]));
        assert_eq!(store.groups().count(), 1);
    }
}
