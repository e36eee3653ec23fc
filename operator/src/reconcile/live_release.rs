//! What the steps hand on from one to the next: a release with its documents, and at the end what comes after the turn.

use std::sync::Arc;
use std::time::Duration;

use halftone_api::GrayRelease;

use crate::names::NamespacedName;
use crate::objects::ReleaseConfigMap;
use crate::release_cache::ReleaseRecord;

/// What a turn has led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReconcileResult {
    /// When the next turn is due; none if nothing is left to do until something changes.
    pub wake_after: Option<Duration>,
    /// Other releases that may see something new now.
    pub concerned: Vec<NamespacedName>,
}

/// A release that exists, with all its documents.
#[derive(Debug)]
pub(crate) struct LiveRelease {
    pub(crate) tracked: Box<ReleaseRecord>,
    /// The object.
    pub(crate) object: Arc<GrayRelease>,
    /// Its own ConfigMap.
    pub(crate) kept: Option<ReleaseConfigMap>,
    /// That of the object of the same name before it.
    pub(crate) predecessor: Option<ReleaseConfigMap>,
    /// Those of objects before that one, which nobody goes on from.
    pub(crate) superseded: Vec<ReleaseConfigMap>,
}

impl LiveRelease {
    /// The document that serves the release now, its own or that of the object before it.
    pub(super) fn serving(&self) -> Option<&ReleaseConfigMap> {
        let own = self.kept.as_ref().filter(|kept| kept.live().is_some());
        own.or(self.predecessor.as_ref())
    }
}
