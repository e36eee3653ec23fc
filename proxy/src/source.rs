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
}

/// One document as its source gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its bytes, cut just above the size at which a document is refused anyway.
    Text(Format, Arc<[u8]>),
    /// It is there and cannot be read, for this reason.
    Unreadable(Arc<str>),
}
