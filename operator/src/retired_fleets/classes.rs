//! Which classes have left the configuration and have a worker. Every worker asks, so that a class is nobody's only if none
//! looks after what is left of it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use halftone_routing::document::names::ObjectName;

use crate::lock::lock;

/// The classes of fleets that have left and have a worker.
#[derive(Debug, Default)]
pub struct RetiredClasses(Mutex<Option<BTreeSet<ObjectName>>>);

impl RetiredClasses {
    /// Whether nobody looks after a class that is not configured. Not before it is known what has left.
    #[must_use]
    pub fn is_unowned(&self, class: &str) -> bool {
        lock(&self.0)
            .as_ref()
            .is_some_and(|left| !left.iter().any(|of| of.as_str() == class))
    }

    pub(super) fn set(&self, left: BTreeSet<ObjectName>) {
        *lock(&self.0) = Some(left);
    }

    pub(super) fn remove(&self, class: &ObjectName) {
        if let Some(left) = lock(&self.0).as_mut() {
            left.remove(class);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_it_is_known_what_has_left_no_class_is_nobodys() {
        let left = RetiredClasses::default();
        assert!(!left.is_unowned("web"));
        left.set(BTreeSet::from(["web".parse().unwrap()]));
        assert!(!left.is_unowned("web") && left.is_unowned("blue"));
        left.remove(&"web".parse().unwrap());
        assert!(left.is_unowned("web"));
    }
}
