//! From bytes to documents, remembering what each source last held: a reading of ten thousand documents of which one
//! changed parses one.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_128;

use super::{Content, SourceDocument};
use crate::{
    document::{
        Checksum, RoutingConfig,
        names::Uid,
        parse::{self, DocumentError, Format, ParsedDocument},
        units::Revision,
    },
    fleet::FleetConfig,
    report::RejectedDocument,
};

/// Why a document is not applied.
#[derive(Debug, Clone)]
pub(super) struct DocumentRejection {
    /// A CamelCase word that stays the same.
    pub(super) reason: String,
    /// What is wrong, where, and what to do.
    pub(super) message: String,
}

impl DocumentRejection {
    pub(super) fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// As the report lists it.
    pub(super) fn at(self, source: &str) -> RejectedDocument {
        let Self { reason, message } = self;
        RejectedDocument {
            source: source.to_owned(),
            uid: None,
            revision: None,
            checksum: None,
            reason,
            message,
        }
    }
}

impl From<&DocumentError> for DocumentRejection {
    fn from(error: &DocumentError) -> Self {
        // The variants' names are the words.
        Self::new(&format!("{:?}", error.reason), error.to_string())
    }
}

/// What every source holds.
#[derive(Debug, Default)]
pub(super) struct ParseCache {
    by_source: HashMap<Arc<str>, ParsedSource>,
}

/// What one source holds.
#[derive(Debug)]
pub(super) struct ParsedSource {
    fingerprint: Fingerprint,
    /// Its document, or why there is none.
    pub(super) read: Result<Arc<ParsedDocument<RoutingConfig>>, Box<RejectedDocument>>,
    /// The text of a document that is not applied.
    text: Option<Box<[u8]>>,
}

/// What tells whether a source holds something else than before: how it is written, none for what cannot be read, and
/// a digest.
type Fingerprint = (Option<Format>, u128);

fn fingerprint(content: &Content<'_>) -> Fingerprint {
    match content {
        Content::Text(format, bytes) => (Some(*format), xxh3_128(bytes)),
        Content::Unreadable(why) => (None, xxh3_128(why.as_bytes())),
    }
}

fn read(
    found: &SourceDocument<'_>,
) -> Result<Arc<ParsedDocument<RoutingConfig>>, Box<RejectedDocument>> {
    let why = match found.content {
        Content::Unreadable(why) => DocumentRejection::new("Unreadable", why),
        Content::Text(format, bytes) => match parse::routing(bytes, format) {
            Ok(document) => return Ok(Arc::new(document)),
            Err(error) => DocumentRejection::from(&error),
        },
    };
    let DocumentIdentity {
        uid,
        revision,
        checksum,
    } = subject(found);
    Err(Box::new(RejectedDocument {
        uid,
        revision,
        checksum,
        ..why.at(found.source)
    }))
}

impl ParseCache {
    /// Whether a source holds something else than is known.
    pub(super) fn differs(&self, found: &SourceDocument<'_>) -> bool {
        let known = self.by_source.get(found.source);
        known.is_none_or(|known| known.fingerprint != fingerprint(&found.content))
    }

    /// Reads what a source holds and remembers it. Returns the source's name.
    pub(super) fn put(&mut self, found: &SourceDocument<'_>) -> Arc<str> {
        let parsed = ParsedSource {
            fingerprint: fingerprint(&found.content),
            read: read(found),
            text: None,
        };
        let source: Arc<str> = found.source.into();
        self.by_source.insert(Arc::clone(&source), parsed);
        source
    }

    /// Forgets a source.
    pub(super) fn remove(&mut self, source: &str) -> Option<(Arc<str>, ParsedSource)> {
        self.by_source.remove_entry(source)
    }

    /// Every source.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_source.keys()
    }

    /// Whether there is such a source, whatever it holds.
    pub(super) fn contains(&self, source: &str) -> bool {
        self.by_source.contains_key(source)
    }

    /// The good document of a source.
    pub(super) fn document(&self, source: &str) -> Option<&Arc<ParsedDocument<RoutingConfig>>> {
        self.by_source.get(source)?.read.as_ref().ok()
    }

    /// Whether a source holds this very document.
    pub(super) fn holds(
        &self,
        source: &str,
        document: &Arc<ParsedDocument<RoutingConfig>>,
    ) -> bool {
        let held = self.document(source);
        held.is_some_and(|held| Arc::ptr_eq(held, document))
    }

    /// Why a source holds no good document, as far as it says itself.
    pub(super) fn broken(&self, source: &str) -> Option<&RejectedDocument> {
        let read = &self.by_source.get(source)?.read;
        read.as_ref().err().map(|refused| &**refused)
    }

    /// The text that was kept of a source.
    pub(super) fn kept_text(&self, source: &str) -> Option<(Format, Cow<'static, [u8]>)> {
        let known = self.by_source.get(source)?;
        let text = known.text.as_deref()?;
        Some((known.fingerprint.0?, text.to_vec().into()))
    }

    /// Keeps the text of a source.
    pub(super) fn keep_text(&mut self, source: &str, bytes: &[u8]) {
        if let Some(known) = self.by_source.get_mut(source) {
            known.text = Some(bytes.into());
        }
    }

    /// Keeps it no longer.
    pub(super) fn drop_text(&mut self, source: &str) {
        if let Some(known) = self.by_source.get_mut(source) {
            known.text = None;
        }
    }
}

/// Reads the fleet's document.
pub(super) fn fleet(
    found: &SourceDocument<'_>,
) -> Result<ParsedDocument<FleetConfig>, DocumentRejection> {
    match found.content {
        Content::Text(format, bytes) => {
            parse::fleet(bytes, format).map_err(|error| DocumentRejection::from(&error))
        }
        Content::Unreadable(why) => Err(DocumentRejection::new("Unreadable", why)),
    }
}

/// Whose a document is that was refused, as far as it says so readably.
#[derive(Debug, Default)]
struct DocumentIdentity {
    uid: Option<Uid>,
    revision: Option<Revision>,
    checksum: Option<Checksum>,
}

fn subject(found: &SourceDocument<'_>) -> DocumentIdentity {
    let Content::Text(format, bytes) = found.content else {
        return DocumentIdentity::default();
    };
    let Ok(value) = parse::value(bytes, format) else {
        return DocumentIdentity::default();
    };
    let text = |value: Option<&serde_json::Value>| Some(value?.as_str()?.to_owned());
    DocumentIdentity {
        uid: text(value.pointer("/release/uid")).and_then(|text| text.try_into().ok()),
        revision: value
            .get("revision")
            .and_then(serde_json::Value::as_u64)
            .and_then(|n| n.try_into().ok()),
        checksum: text(value.get("checksum")).and_then(|text| text.try_into().ok()),
    }
}
