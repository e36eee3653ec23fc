//! From bytes to documents, remembering what each source last held: a reading of ten thousand documents of which one
//! changed parses one.

use std::{collections::HashMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_128;

use super::{Content, SourceDocument, choose::DocumentCandidate};
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

/// What one source holds, read.
pub(super) type ParsedCandidate<'a> = Result<DocumentCandidate<'a>, DocumentRejection>;

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

/// What every source held at the last reading.
#[derive(Debug, Default)]
pub(super) struct ParseCache {
    by_source: HashMap<Arc<str>, ParsedSource>,
}

#[derive(Debug)]
struct ParsedSource {
    format: Format,
    digest: u128,
    parsed: Result<Arc<ParsedDocument<RoutingConfig>>, DocumentError>,
}

impl ParseCache {
    /// Reads every document, in the order given.
    pub(super) fn read<'a>(
        &mut self,
        documents: &[SourceDocument<'a>],
    ) -> Vec<ParsedCandidate<'a>> {
        let mut before = std::mem::take(&mut self.by_source);
        documents
            .iter()
            .map(|found| self.read_one(found, before.remove_entry(found.source)))
            .collect()
    }

    fn read_one<'a>(
        &mut self,
        found: &SourceDocument<'a>,
        before: Option<(Arc<str>, ParsedSource)>,
    ) -> ParsedCandidate<'a> {
        let (format, bytes) = match found.content {
            Content::Text(format, bytes) => (format, bytes),
            Content::Unreadable(why) => return Err(DocumentRejection::new("Unreadable", why)),
        };
        let digest = xxh3_128(bytes);
        let (source, remembered) = match before {
            Some((source, same)) if same.digest == digest && same.format == format => {
                (source, same)
            }
            _ => {
                let parsed = parse::routing(bytes, format).map(Arc::new);
                (
                    found.source.into(),
                    ParsedSource {
                        format,
                        digest,
                        parsed,
                    },
                )
            }
        };
        let read = match &remembered.parsed {
            Ok(parsed) => Ok(DocumentCandidate {
                source: Arc::clone(&source),
                text: (format, bytes),
                document: Arc::clone(parsed),
            }),
            Err(error) => Err(DocumentRejection::from(error)),
        };
        self.by_source.insert(source, remembered);
        read
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
pub(super) struct DocumentIdentity {
    pub(super) uid: Option<Uid>,
    pub(super) revision: Option<Revision>,
    pub(super) checksum: Option<Checksum>,
}

pub(super) fn subject(found: &SourceDocument<'_>) -> DocumentIdentity {
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
