//! Where documents come from. Each source hands whole [`SourceListing`]s to the one place that judges them (`applier.rs`);
//! none decides what a document is worth.

use std::collections::BTreeMap;
use std::sync::Arc;

use halftone_routing::document::parse::Format;

pub mod files;
pub mod kubernetes;
pub mod state_store;

/// Everything a source holds at one moment, each document with the name under which a person finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceListing {
    /// The releases' documents by name.
    pub releases: BTreeMap<Arc<str>, Content>,
    /// The fleet's document, if there is one.
    pub fleet: Option<(Arc<str>, Content)>,
}

impl SourceListing {
    /// The document of this name, whosever it is.
    pub fn get(&self, name: &str) -> Option<&Content> {
        let fleet = self.fleet.as_ref().filter(|(fleet, _)| **fleet == *name);
        fleet
            .map(|(_, content)| content)
            .or_else(|| self.releases.get(name))
    }

    /// Takes up what is different.
    pub fn take(&mut self, changes: SourceChanges) {
        let SourceChanges {
            changed,
            gone,
            fleet,
        } = changes;
        for name in gone {
            self.releases.remove(&name);
            self.fleet.take_if(|(fleet, _)| *fleet == name);
        }
        self.releases.extend(changed);
        self.fleet = fleet.or_else(|| self.fleet.take());
    }
}

/// What is different in a source since its last listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceChanges {
    /// Documents of releases that are new or different, by name.
    pub changed: BTreeMap<Arc<str>, Content>,
    /// Names of documents that are gone, the fleet's included.
    pub gone: Vec<Arc<str>>,
    /// The fleet's document, if it is new or different.
    pub fleet: Option<(Arc<str>, Content)>,
}

impl SourceChanges {
    /// Whether nothing is different.
    pub fn is_nothing(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty() && self.fleet.is_none()
    }
}

/// What a source has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceReading {
    /// Everything it holds.
    All(SourceListing),
    /// What is different since its last reading.
    Changes(SourceChanges),
}

/// One document as its source gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its bytes, cut just above the size at which a document is refused anyway.
    Text(Format, Arc<[u8]>),
    /// It is there and cannot be read, for this reason.
    Unreadable(Arc<str>),
}
