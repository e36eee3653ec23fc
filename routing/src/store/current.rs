//! The applied document of one release, and whether another may follow it.

use std::sync::Arc;

use super::{
    ObjectId,
    choose::{self, DocumentCandidate},
    parse_cache::DocumentRejection,
};
use crate::{
    document::{
        Checksum, ReleaseState, RoutingConfig,
        names::Uid,
        parse::{DocumentError, ParsedDocument},
        units::Revision,
    },
    report::AppliedDocument,
    routes::{CompiledRelease, Compiler, ReleaseIndex, Routes},
};

/// The applied document of one release.
#[derive(Debug)]
pub(super) struct CurrentDocument {
    /// Where it was found.
    pub(super) source: Arc<str>,
    document: Arc<ParsedDocument<RoutingConfig>>,
    /// None once it is withdrawn.
    pub(super) release: Option<Arc<CompiledRelease>>,
    /// Where it is in the routes.
    pub(super) index: Option<ReleaseIndex>,
}

impl CurrentDocument {
    pub(super) fn config(&self) -> &RoutingConfig {
        &self.document.config
    }

    pub(super) fn document(&self) -> &Arc<ParsedDocument<RoutingConfig>> {
        &self.document
    }

    pub(super) fn uid(&self) -> &Uid {
        &self.config().release.uid
    }

    pub(super) fn object(&self) -> ObjectId {
        choose::object(self.config())
    }

    /// Makes the routes follow what is applied. Returns the index whose release is another then, or gone.
    pub(super) fn follow_in(&mut self, routes: &mut Routes) -> Option<ReleaseIndex> {
        match (self.index, &self.release) {
            (None, None) => None,
            (Some(index), Some(release)) if Arc::ptr_eq(routes.release(index), release) => None,
            (Some(index), Some(release)) => {
                routes.replace(index, release);
                Some(index)
            }
            (None, Some(release)) => {
                self.index = Some(routes.insert(release));
                self.index
            }
            (Some(index), None) => {
                routes.remove(index);
                self.index = None;
                Some(index)
            }
        }
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
            let placed = |error: DocumentError| match &candidate.text {
                Some((format, bytes)) => error.placed(bytes, *format),
                None => error,
            };
            Some(Arc::new(
                release.map_err(|error| DocumentRejection::from(&placed(error)))?,
            ))
        }
    };
    Ok(Some(CurrentDocument {
        source: Arc::clone(&candidate.source),
        document,
        release,
        index: None,
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
