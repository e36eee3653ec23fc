//! Pure: whether `/readyz` says yes.

use std::time::Duration;

use halftone_routing::report::RejectedDocument;

use crate::apply::is_fleet;
use crate::report::Documents;

/// How long a proxy that kept documents from an earlier run waits for its source before it serves by them. Long
/// enough that in ordinary times no user meets an older split, short enough that a proxy restarted while the source
/// is away still serves.
pub(super) const SOURCE_GRACE: Duration = Duration::from_secs(5);

/// Once ready, a proxy stays ready until it drains: losing the source later loses no traffic.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    settled: bool,
}

impl Readiness {
    /// Why `/readyz` says no; none if it says yes. `listed`: the source's first list was applied; `waited`: since the
    /// start.
    pub(super) fn objection(
        &mut self,
        documents: &Documents,
        listed: bool,
        waited: Duration,
    ) -> Option<String> {
        if self.settled {
            return None;
        }
        if !listed {
            let kept = documents.stale && !documents.applied.is_empty();
            let waiting = !kept || waited < SOURCE_GRACE;
            return waiting.then(|| "the first list of documents is not complete".to_owned());
        }
        let missing = documents.rejected.iter().find(|rejected| !has_last_good(documents, rejected));
        self.settled = missing.is_none();
        missing.map(|rejected| {
            format!("{} is refused ({}) and no earlier version is at hand", rejected.source, rejected.reason)
        })
    }
}

fn has_last_good(documents: &Documents, rejected: &RejectedDocument) -> bool {
    if is_fleet(&rejected.source) {
        return documents.fleet.is_some();
    }
    // The successor of a superseded document serves in its place.
    rejected.reason == "Superseded"
        || rejected.uid.as_ref().is_some_and(|uid| documents.applied.contains_key(uid))
}
