//! Pure: the documents as the API has them, and what of them has been given to be applied. What is to be given next is
//! found from what changed, not by a look at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use halftone_routing::document::names::ObjectName;

use super::document::ConfigMapDocument;
use crate::source::{SourceChanges, SourceListing, SourceReading};

/// Documents by the name of their ConfigMap.
type ConfigMapDocuments = BTreeMap<String, ConfigMapDocument>;

/// The documents of a class.
#[derive(Debug, Default)]
pub(super) struct DocumentSet {
    /// None before the first complete list.
    documents: Option<ConfigMapDocuments>,
    /// How many documents name a namespace.
    namespaces: BTreeMap<ObjectName, usize>,
    /// What was given last.
    given: Option<SourceListing>,
    /// Whether to compare everything with what was given.
    relisted: bool,
    /// Documents that may differ from what was given.
    touched: BTreeSet<String>,
    /// Those of documents that the API has no more.
    gone: Vec<Arc<str>>,
}

impl DocumentSet {
    /// Whether anything was given yet.
    pub(super) fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// Whether a complete list has come.
    pub(super) fn is_listed(&self) -> bool {
        self.documents.is_some()
    }

    /// The namespaces that documents name.
    pub(super) fn namespaces(&self) -> BTreeSet<&ObjectName> {
        self.namespaces.keys().collect()
    }

    /// These are all documents.
    pub(super) fn list(&mut self, documents: ConfigMapDocuments) {
        self.namespaces.clear();
        for document in documents.values() {
            self.names_from_now_on(document);
        }
        self.documents = Some(documents);
        self.relisted = true;
        self.touched.clear();
        self.gone.clear();
    }

    /// A document is there, or different; true: other namespaces are named now.
    pub(super) fn put(&mut self, name: String, document: ConfigMapDocument) -> bool {
        let others = self.names_from_now_on(&document);
        self.touched.insert(name.clone());
        let documents = self.documents.get_or_insert_default();
        let before = documents.insert(name, document);
        others | before.is_some_and(|before| self.names_no_longer(&before))
    }

    /// A document is gone; true: other namespaces are named now.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let documents = self.documents.get_or_insert_default();
        let Some(before) = documents.remove(name) else {
            return false;
        };
        self.touched.remove(name);
        self.gone.push(Arc::clone(&before.name));
        self.names_no_longer(&before)
    }

    /// True: other namespaces are named now; and so below.
    fn names_from_now_on(&mut self, document: &ConfigMapDocument) -> bool {
        let mut others = false;
        for namespace in &document.namespaces {
            let count = self.namespaces.entry(namespace.clone()).or_default();
            others |= *count == 0;
            *count += 1;
        }
        others
    }

    fn names_no_longer(&mut self, document: &ConfigMapDocument) -> bool {
        let mut others = false;
        for namespace in &document.namespaces {
            let Some(count) = self.namespaces.get_mut(namespace) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(namespace);
                others = true;
            }
        }
        others
    }

    /// What is to be applied now, if it is anything else than before. A document that names a held namespace stays as
    /// it was given, or is not given at all if it was not.
    pub(super) fn next(&mut self, is_held: impl Fn(&ObjectName) -> bool) -> Option<SourceReading> {
        let is_held = |document: &ConfigMapDocument| document.namespaces.iter().any(&is_held);
        if self.relisted || self.given.is_none() {
            self.all(is_held).map(SourceReading::All)
        } else {
            self.changes(is_held).map(SourceReading::Changes)
        }
    }

    fn all(&mut self, is_held: impl Fn(&ConfigMapDocument) -> bool) -> Option<SourceListing> {
        let documents = self.documents.as_ref()?;
        self.relisted = false;
        self.gone.clear();
        self.touched.clear();
        let mut listing = SourceListing::default();
        for (name, document) in documents {
            let before = || self.given.as_ref()?.get(&document.name);
            let content = if is_held(document) {
                self.touched.insert(name.clone());
                before()
            } else {
                Some(&document.content)
            };
            let Some(content) = content.cloned() else {
                continue;
            };
            let name = Arc::clone(&document.name);
            if document.is_fleet {
                listing.fleet = Some((name, content));
            } else {
                listing.releases.insert(name, content);
            }
        }
        if self.given.as_ref() == Some(&listing) {
            return None;
        }
        self.given = Some(listing.clone());
        Some(listing)
    }

    fn changes(&mut self, is_held: impl Fn(&ConfigMapDocument) -> bool) -> Option<SourceChanges> {
        let (documents, given) = (self.documents.as_ref()?, self.given.as_mut()?);
        let mut changes = SourceChanges::default();
        let gone = self.gone.drain(..);
        changes.gone = gone.filter(|name| given.get(name).is_some()).collect();
        let mut held = BTreeSet::new();
        for name in std::mem::take(&mut self.touched) {
            let Some(document) = documents.get(&name) else {
                continue;
            };
            // One that was there before, under this name, is not gone.
            changes.gone.retain(|gone| *gone != document.name);
            if is_held(document) {
                held.insert(name);
            } else if given.get(&document.name) != Some(&document.content) {
                let (name, content) = (Arc::clone(&document.name), document.content.clone());
                if document.is_fleet {
                    changes.fleet = Some((name, content));
                } else {
                    changes.changed.insert(name, content);
                }
            }
        }
        self.touched = held;
        if changes.is_nothing() {
            return None;
        }
        given.take(changes.clone());
        Some(changes)
    }
}

#[cfg(test)]
mod tests {
    use halftone_routing::document::parse::Format;
    use proptest::prelude::*;

    use super::*;
    use crate::source::Content;

    fn document(name: &str, text: &str, namespaces: &[&str]) -> ConfigMapDocument {
        ConfigMapDocument {
            name: format!("configmap/gray/{name}").into(),
            is_fleet: name == "fleet",
            content: Content::Text(Format::Json, text.as_bytes().into()),
            namespaces: namespaces
                .iter()
                .map(|name| name.parse().unwrap())
                .collect(),
        }
    }

    #[test]
    fn a_change_of_one_document_is_given_alone() {
        let mut set = DocumentSet::default();
        let one = |name: &str| (name.to_owned(), document(name, "1", &["shop"]));
        set.list(["a", "b", "fleet"].map(one).into());
        assert!(
            matches!(set.next(|_| false), Some(SourceReading::All(all)) if all.releases.len() == 2)
        );
        assert!(!set.put("a".to_owned(), document("a", "2", &["shop"])));
        let changes = set.next(|_| false);
        let Some(SourceReading::Changes(changes)) = changes else {
            panic!("{changes:?}");
        };
        assert_eq!(
            changes
                .changed
                .keys()
                .map(|name| &**name)
                .collect::<Vec<_>>(),
            ["configmap/gray/a"]
        );
        assert!(changes.gone.is_empty() && changes.fleet.is_none());
        assert!(!set.put("a".to_owned(), document("a", "2", &["shop"])));
        assert_eq!(set.next(|_| false), None, "the same is no news");
    }

    #[test]
    fn namespaces_are_named_from_their_first_document_to_their_last() {
        let mut set = DocumentSet::default();
        set.list(BTreeMap::new());
        assert!(set.put("a".to_owned(), document("a", "1", &["shop"])));
        assert!(!set.put("b".to_owned(), document("b", "1", &["shop"])));
        assert!(!set.remove("a"));
        assert!(set.put("b".to_owned(), document("b", "1", &["home"])));
        assert_eq!(set.namespaces().len(), 1);
        assert!(set.remove("b") && set.namespaces().is_empty());
    }

    /// What everything that is there and not held comes to, by a look at all.
    fn naive(
        documents: &ConfigMapDocuments,
        held: bool,
        given: Option<&SourceListing>,
    ) -> BTreeMap<Arc<str>, Content> {
        let content = |document: &ConfigMapDocument| {
            let is_held = held
                && document
                    .namespaces
                    .iter()
                    .any(|name| name.as_str() == "held");
            match is_held {
                true => given.and_then(|given| given.get(&document.name)).cloned(),
                false => Some(document.content.clone()),
            }
        };
        let documents = documents.values();
        let given =
            documents.filter_map(|document| Some((Arc::clone(&document.name), content(document)?)));
        given.collect()
    }

    proptest! {
        #[test]
        fn changes_add_up_to_what_a_look_at_all_finds(
            steps in prop::collection::vec(
                (prop::collection::vec(("[abc]|fleet", prop::option::of(("[12]", any::<bool>()))), 0..4),
                 any::<bool>(), prop::bool::weighted(0.2)),
                1..20,
            ),
        ) {
            let (mut set, mut documents) = (DocumentSet::default(), ConfigMapDocuments::new());
            let mut applied: Option<SourceListing> = None;
            set.list(ConfigMapDocuments::new());
            for (events, held, relist) in steps {
                for (name, event) in events {
                    if let Some((text, in_held)) = event {
                        let one = document(&name, &text, &[if in_held { "held" } else { "shop" }]);
                        set.put(name.clone(), one.clone());
                        documents.insert(name, one);
                    } else {
                        set.remove(&name);
                        documents.remove(&name);
                    }
                }
                if relist {
                    set.list(documents.clone());
                }
                let expected = naive(&documents, held, applied.as_ref());
                match set.next(|namespace| held && namespace.as_str() == "held") {
                    Some(SourceReading::All(all)) => applied = Some(all),
                    Some(SourceReading::Changes(changes)) => applied.as_mut().unwrap().take(changes),
                    None => {}
                }
                let applied = applied.clone().unwrap_or_default();
                let all: BTreeMap<_, _> = applied.releases.into_iter().chain(applied.fleet).collect();
                prop_assert_eq!(all, expected);
            }
        }
    }
}
