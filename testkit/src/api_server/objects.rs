//! The objects, and how each came to be as it is: every change has a version of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::merge_patch::{merge, remove_given_up};

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) resource: String,
    /// Empty: all, or none.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// What happened to an object.
#[derive(Debug)]
pub(super) struct ObjectChange {
    pub(super) version: u64,
    pub(super) name: ObjectKey,
    pub(super) before: Option<Arc<Value>>,
    /// None: it is gone.
    pub(super) after: Option<Arc<Value>>,
}

/// All objects and all changes since they were last compacted.
#[derive(Debug)]
pub(super) struct Objects {
    version: u64,
    /// Versions before this one are forgotten.
    oldest: u64,
    present: BTreeMap<ObjectKey, Arc<Value>>,
    log: Vec<ObjectChange>,
    /// What each field manager has applied to an object.
    applied: BTreeMap<(ObjectKey, String), Value>,
}

impl Default for Objects {
    fn default() -> Self {
        Self {
            version: 1,
            oldest: 0,
            present: BTreeMap::new(),
            log: Vec::new(),
            applied: BTreeMap::new(),
        }
    }
}

impl Objects {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, name: &ObjectKey) -> Option<Arc<Value>> {
        self.present.get(name).cloned()
    }

    pub(super) fn of(&self, resource: &str) -> impl Iterator<Item = &Value> {
        let of = move |(name, _): &(&ObjectKey, &Arc<Value>)| name.resource == resource;
        self.present
            .iter()
            .filter(of)
            .map(|(_, object)| object.as_ref())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Value>)> {
        self.present.iter()
    }

    /// What has changed after this version; none if that is forgotten.
    pub(super) fn since(&self, version: u64) -> Option<&[ObjectChange]> {
        let news = self.log.partition_point(|change| change.version <= version);
        (version >= self.oldest).then(|| &self.log[news..])
    }

    pub(super) fn store(&mut self, name: &ObjectKey, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let before = self.present.insert(name.clone(), Arc::clone(&object));
        self.note(name, before, Some(Arc::clone(&object)));
        object
    }

    pub(super) fn discard(&mut self, name: &ObjectKey) {
        let Some(mut before) = self.present.remove(name) else {
            return;
        };
        self.version += 1;
        self.applied.retain(|(of, _), _| of != name);
        Arc::make_mut(&mut before)["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.note(name, Some(before), None);
    }

    fn note(&mut self, name: &ObjectKey, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        self.log.push(ObjectChange {
            version: self.version,
            name: name.clone(),
            before,
            after,
        });
    }

    /// What an object becomes when `manager` applies this: what it applied before and does not name any more goes, what
    /// others wrote stays.
    pub(super) fn apply(
        &mut self,
        name: &ObjectKey,
        manager: &str,
        object: &mut Value,
        applied: &Value,
    ) {
        let earlier = self
            .applied
            .insert((name.clone(), manager.to_owned()), applied.clone());
        remove_given_up(object, &earlier.unwrap_or_default(), applied);
        merge(object, applied);
    }

    pub(super) fn compact(&mut self) {
        self.version += 1;
        self.oldest = self.version;
        self.log.clear();
    }
}
