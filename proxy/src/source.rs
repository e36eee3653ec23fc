//! Where documents come from. Each source hands whole [`Listing`]s to the one place that judges them (`apply.rs`);
//! none decides what a document is worth.

use std::collections::BTreeMap;
use std::sync::Arc;

pub mod files;
pub mod state;

/// Everything a source holds at one moment: documents by the name under which a person finds them.
pub type Listing = BTreeMap<Arc<str>, Content>;

/// One document as its source gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its bytes, cut just above the size at which a document is refused anyway.
    Bytes(Arc<[u8]>),
    /// It is there and cannot be read, for this reason.
    Unreadable(Arc<str>),
}
