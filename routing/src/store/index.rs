//! Which documents bear on one another: those of one uid, of which one counts, and those of uids that have one object,
//! of which one takes the other's place. Any two that no such chain connects are settled apart.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{ObjectId, choose::object};
use crate::document::{RoutingConfig, names::Uid};

/// Good documents by uid and by object.
#[derive(Debug, Default)]
pub(super) struct DocumentIndex {
    /// The sources that hold a good document of a uid.
    sources: HashMap<Uid, Vec<Arc<str>>>,
    /// The uids of an object, once for each document that a source holds and once more for one that is applied.
    uids: HashMap<ObjectId, Vec<Uid>>,
}

/// Takes one of the elements that equal `element` out of a list, and the list out of the map if that was the last.
fn take_out<K: std::hash::Hash + Eq, E: PartialEq>(
    map: &mut HashMap<K, Vec<E>>,
    key: &K,
    element: &E,
) {
    let Some(list) = map.get_mut(key) else { return };
    if let Some(at) = list.iter().position(|other| other == element) {
        list.swap_remove(at);
    }
    if list.is_empty() {
        map.remove(key);
    }
}

impl DocumentIndex {
    /// A source holds this document from now on.
    pub(super) fn add_source(&mut self, source: &Arc<str>, config: &RoutingConfig) {
        let uid = config.release.uid.clone();
        let sources = self.sources.entry(uid);
        // Nearly always there is one.
        let sources = sources.or_insert_with(|| Vec::with_capacity(1));
        sources.push(Arc::clone(source));
        self.add_object(config);
    }

    /// It no longer does.
    pub(super) fn remove_source(&mut self, source: &Arc<str>, config: &RoutingConfig) {
        take_out(&mut self.sources, &config.release.uid, source);
        self.remove_object(config);
    }

    /// A document is applied, or held by a source.
    pub(super) fn add_object(&mut self, config: &RoutingConfig) {
        let uids = self.uids.entry(object(config));
        let uids = uids.or_insert_with(|| Vec::with_capacity(2));
        uids.push(config.release.uid.clone());
    }

    /// It no longer is.
    pub(super) fn remove_object(&mut self, config: &RoutingConfig) {
        take_out(&mut self.uids, &object(config), &config.release.uid);
    }

    /// The sources that hold a good document of a uid.
    pub(super) fn sources(&self, uid: &Uid) -> &[Arc<str>] {
        self.sources.get(uid).map_or(&[], Vec::as_slice)
    }

    /// The uids that have a document for an object, held by a source or applied; some more than once.
    pub(super) fn uids(&self, object: &ObjectId) -> &[Uid] {
        self.uids.get(object).map_or(&[], Vec::as_slice)
    }

    /// These uids and every other that their documents may bear on. `objects` gives the objects of a uid's documents.
    pub(super) fn related(
        &self,
        mut uids: BTreeSet<Uid>,
        objects: impl Fn(&Uid) -> Vec<ObjectId>,
    ) -> BTreeSet<Uid> {
        let mut unseen: Vec<Uid> = uids.iter().cloned().collect();
        while let Some(uid) = unseen.pop() {
            for object in objects(&uid) {
                for other in self.uids(&object) {
                    if !uids.contains(other) {
                        uids.insert(other.clone());
                        unseen.push(other.clone());
                    }
                }
            }
        }
        uids
    }
}
