//! The applied document of one release, and whether another may follow it.

use std::sync::Arc;

use super::{
    ObjectId,
    choose::{self, DocumentCandidate},
    parse_cache::DocumentRejection,
};
use crate::{
    document::{
        Checksum, ReleaseState, RoutingConfig, names::Uid, parse::ParsedDocument, units::Revision,
    },
    report::AppliedDocument,
    routes::{CompiledRelease, Compiler},
};

/// The applied document of one release.
#[derive(Debug)]
pub(super) struct CurrentDocument {
    /// Where it was found.
    pub(super) source: Arc<str>,
    document: Arc<ParsedDocument<RoutingConfig>>,
    /// None once it is withdrawn.
    pub(super) release: Option<Arc<CompiledRelease>>,
    /// Its document vanished without being withdrawn.
    pub(super) orphaned: bool,
}

impl CurrentDocument {
    pub(super) fn config(&self) -> &RoutingConfig {
        &self.document.config
    }

    pub(super) fn uid(&self) -> &Uid {
        &self.config().release.uid
    }

    pub(super) fn object(&self) -> ObjectId {
        choose::object(self.config())
    }

    pub(super) fn report(&self) -> AppliedDocument {
        AppliedDocument {
            uid: self.uid().clone(),
            revision: self.config().revision,
            checksum: self.document.checksum.clone(),
            ignored_fields: self.document.ignored.clone(),
            open_long: 0,
        }
    }
}

/// The line that a document makes; none if it is applied already.
pub(super) fn compile(
    applied: Option<&CurrentDocument>,
    candidate: &DocumentCandidate<'_>,
    compiler: &mut Compiler,
) -> Result<Option<CurrentDocument>, DocumentRejection> {
    let config = candidate.config();
    let before = applied.map(|line| (line.config().revision, &line.document.checksum));
    if !may_follow(before, (config.revision, &candidate.document.checksum))? {
        return Ok(None);
    }
    let document = Arc::clone(&candidate.document);
    let release = match config.state {
        ReleaseState::Withdrawn => None,
        _ => {
            let release = CompiledRelease::compile(Arc::clone(&document), compiler);
            let (format, bytes) = candidate.text;
            Some(Arc::new(release.map_err(|error| {
                DocumentRejection::from(&error.placed(bytes, format))
            })?))
        }
    };
    Ok(Some(CurrentDocument {
        source: Arc::clone(&candidate.source),
        document,
        release,
        orphaned: false,
    }))
}

/// Whether a document follows the applied one of its uid; not if it is the same.
pub(super) fn may_follow(
    applied: Option<(Revision, &Checksum)>,
    (revision, checksum): (Revision, &Checksum),
) -> Result<bool, DocumentRejection> {
    match applied {
        Some((applied, _)) if revision < applied => Err(DocumentRejection::new(
            "OlderRevision",
            format!(
                "revision {revision}, and {applied} is applied already; write {} or more",
                applied.next()
            ),
        )),
        Some((applied, same)) if revision == applied && same == checksum => Ok(false),
        Some((applied, other)) if revision == applied => Err(DocumentRejection::new(
            "RevisionConflict",
            format!(
                "revision {revision} with checksum {checksum}, and the same revision with {other} is applied \
                 already; give a changed document revision {}",
                applied.next()
            ),
        )),
        _ => Ok(true),
    }
}
