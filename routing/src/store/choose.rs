//! Which of several documents counts: of two for one uid, and of two uids for one object.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use super::{ObjectId, parse_cache::DocumentRejection};
use crate::{
    document::{
        RoutingConfig,
        names::Uid,
        parse::{Format, ParsedDocument},
    },
    report::RejectedDocument,
};

/// A good document and where it was found.
#[derive(Debug, Clone)]
pub(super) struct DocumentCandidate<'a> {
    pub(super) source: Arc<str>,
    /// What it was read from, for the place of a fault that only compiling finds; none if it has compiled before.
    pub(super) text: Option<(Format, Cow<'a, [u8]>)>,
    pub(super) document: Arc<ParsedDocument<RoutingConfig>>,
}

impl DocumentCandidate<'_> {
    pub(super) fn config(&self) -> &RoutingConfig {
        &self.document.config
    }

    pub(super) fn uid(&self) -> &Uid {
        &self.config().release.uid
    }

    pub(super) fn object(&self) -> ObjectId {
        object(self.config())
    }

    /// Whether it takes the place of another uid's document for the same object: because it says so, or because its
    /// object was created later.
    pub(super) fn succeeds(&self, other: &RoutingConfig) -> bool {
        let mine = self.config();
        let age = |config: &RoutingConfig| (config.release.created_at, config.release.uid.clone());
        let replaces = |one: &RoutingConfig, other: &RoutingConfig| {
            one.replaces.as_ref() == Some(&other.release.uid)
        };
        match (replaces(mine, other), replaces(other, mine)) {
            (true, false) => true,
            (false, true) => false,
            _ => age(mine) > age(other),
        }
    }

    /// The entry of the report that says why it is not applied.
    pub(super) fn refuse(&self, why: DocumentRejection) -> RejectedDocument {
        RejectedDocument {
            uid: Some(self.uid().clone()),
            revision: Some(self.config().revision),
            checksum: Some(self.document.checksum.clone()),
            ..why.at(&self.source)
        }
    }
}

/// Namespace and name of the object that a document is for.
pub(super) fn object(config: &RoutingConfig) -> ObjectId {
    (
        config.release.namespace.clone(),
        config.release.name.clone(),
    )
}

/// One document for each uid: the one from the source that its applied one came from, else the first by source. The
/// others are refused.
pub(super) fn by_uid<'a>(
    candidates: impl Iterator<Item = DocumentCandidate<'a>>,
    applied_from: impl Fn(&Uid) -> Option<Arc<str>>,
) -> (Vec<DocumentCandidate<'a>>, Vec<RejectedDocument>) {
    let mut groups: BTreeMap<Uid, Vec<DocumentCandidate<'a>>> = BTreeMap::new();
    for candidate in candidates {
        groups
            .entry(candidate.uid().clone())
            .or_default()
            .push(candidate);
    }
    let (mut winners, mut refused) = (Vec::with_capacity(groups.len()), Vec::new());
    for (uid, mut group) in groups {
        let applied = applied_from(&uid);
        group.sort_by_key(|candidate| {
            (
                Some(&candidate.source) != applied.as_ref(),
                Arc::clone(&candidate.source),
            )
        });
        let mut group = group.into_iter();
        let Some(winner) = group.next() else { continue };
        refused.extend(group.map(|twin| {
            let message = format!(
                "{} holds the same release {uid}; remove one of them",
                winner.source
            );
            twin.refuse(DocumentRejection::new("DuplicateRelease", message))
        }));
        winners.push(winner);
    }
    (winners, refused)
}

/// In an order in which a successor comes after what it succeeds, so that the latter is replaced and not refused
/// only by accident of order.
pub(super) fn oldest_first(
    mut candidates: Vec<DocumentCandidate<'_>>,
) -> Vec<DocumentCandidate<'_>> {
    candidates.sort_by_cached_key(|candidate| {
        let config = candidate.config();
        (
            config.replaces.is_some(),
            config.release.created_at,
            config.release.uid.clone(),
        )
    });
    candidates
}

/// Why the document of an object's former uid is refused.
pub(super) fn superseded(by: &Uid) -> DocumentRejection {
    DocumentRejection::new(
        "Superseded",
        format!("the object's newer uid {by} has taken its place; remove this document"),
    )
}
