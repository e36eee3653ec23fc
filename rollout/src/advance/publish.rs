//! The document that the proxies are to have: built anew only when something in it may differ, numbered anew
//! only when its meaning does.

use std::sync::Arc;

use halftone_api::claims::union;
use halftone_routing::document::{self, RoutingConfig, names::Uid, units::Revision};

use super::{context::AdvanceContext, serving};
use crate::{
    condition_input::SpecBlocker,
    progress::RolloutState,
    routing_for::{claims, moving, required_features, routing_for, sealed, state_word},
};

impl AdvanceContext<'_> {
    /// Brings the document up to date with plan and progress. May be called again after a change in the same
    /// turn: what was not written yet takes no second number.
    pub(crate) fn publish(&mut self) {
        let foreign = self.foreign();
        let trusted = foreign.is_none() && !self.plan_changed;
        let live = foreign.or_else(|| self.ours());
        let replaces = self.replaces(live.as_deref());
        if let Some(live) = &live
            && self.is_current(live)
            && ((trusted && self.says(live)) || self.means(live, replaces.clone()))
        {
            self.progress.revision = live.revision.get();
            self.progress.memory.document = Some(Arc::clone(live));
            return;
        }
        if self.would_strand(live.as_deref()) {
            self.progress.memory.document = None;
            self.progress.memory.acknowledged = false;
            return;
        }
        let revision = self.next_revision();
        let document = sealed(self.document(revision, replaces, live.as_deref()));
        self.progress.revision = revision.get();
        let memory = &mut self.progress.memory;
        memory.document = Some(Arc::new(document));
        memory.acknowledged = false;
        memory.unacknowledged_since = Some(self.now.steady);
    }

    /// The document of this revision. Places that `live`, or the document of the object before this one, has already
    /// keep their time.
    fn document(
        &self,
        revision: Revision,
        replaces: Option<Uid>,
        live: Option<&RoutingConfig>,
    ) -> RoutingConfig {
        let document = self.ahead(routing_for(&self.plan, &self.progress, revision, replaces));
        let before = live.or(self.seen.predecessor.as_deref());
        RoutingConfig {
            claims: claims(&document, before, self.now.wall),
            ..document
        }
    }

    /// The document with the places of the edit that waits as well, where another release waits for it to have them. As it
    /// is where the two together are no list of hosts with the same paths each.
    fn ahead(&self, document: RoutingConfig) -> RoutingConfig {
        let waits = matches!(self.held, Some(SpecBlocker::HandingOver(_)));
        let awaited = self
            .seen
            .handing_over
            .as_ref()
            .is_some_and(|handing| handing.awaited);
        let Some(edit) = self.wanted.filter(|_| waits && awaited) else {
            return document;
        };
        let both = union(
            (&document.hosts, &document.paths),
            (&edit.hosts, &edit.paths),
        );
        let both = both.map(|(hosts, paths)| RoutingConfig {
            hosts,
            paths,
            ..document.clone()
        });
        both.filter(|both| both.check().is_ok()).unwrap_or(document)
    }

    /// Whether the wanted document would move users to a stable arm without a ready endpoint. Nobody moves who is on that
    /// arm already, as where the version that was promoted is named stable. Whoever decides that
    /// they go back looks at the endpoints first; but a process may be killed between that and the document, and
    /// stable be gone when the next one comes to write it.
    fn would_strand(&self, live: Option<&RoutingConfig>) -> bool {
        let state = &self.progress.state;
        let closes = |live: &RoutingConfig| {
            matches!(state, RolloutState::RolledBack(_))
                && live.state == document::ReleaseState::Active
        };
        let lowers = live.is_some_and(|live| {
            (state.ratio() < live.ratio || closes(live)) && !serving::is_on(live, &self.plan.stable)
        });
        lowers && !self.is_forced() && !self.stable_ready()
    }

    /// A live document that this process has not written: of the process before, or somebody's work. One that is
    /// older than ours is only seen late.
    fn foreign(&self) -> Option<Arc<RoutingConfig>> {
        let seen = self.seen.document.as_ref()?;
        let ours = self.progress.memory.document.as_ref();
        let foreign = ours.is_none_or(|ours| {
            !Arc::ptr_eq(ours, seen)
                && seen.revision >= ours.revision
                && seen.as_ref() != ours.as_ref()
        });
        foreign.then(|| Arc::clone(seen))
    }

    /// Whether `live` says what progress wants, the plan being the one that it was built from.
    fn says(&self, live: &RoutingConfig) -> bool {
        let state = &self.progress.state;
        live.state == state_word(state)
            && live.ratio == state.ratio()
            && live.stage == self.progress.stage.number
            && live.moving == moving(&self.plan, state)
            && live
                .requires
                .iter()
                .eq(&required_features(&self.plan, &self.progress))
            && !matches!(self.held, Some(SpecBlocker::HandingOver(_)))
            && (&live.hosts, &live.paths) == (&self.plan.hosts, &self.plan.paths)
    }

    /// Whether `live` means what plan and progress want.
    fn means(&self, live: &RoutingConfig, replaces: Option<Uid>) -> bool {
        let wanted = self.document(live.revision, replaces, Some(live));
        RoutingConfig {
            checksum: live.checksum.clone(),
            ..wanted
        } == *live
    }

    /// No number above that of `live` was ever given: a proxy that has seen a higher one would not take it.
    fn is_current(&self, live: &RoutingConfig) -> bool {
        live.revision.get() >= self.revision_before.max(self.seen.highest_revision)
    }

    /// The document of this process. One that has come back from where it was written takes its place, so that it is
    /// remembered once and not twice.
    fn ours(&self) -> Option<Arc<RoutingConfig>> {
        let ours = self.progress.memory.document.as_ref()?;
        let seen = self.seen.document.as_ref().filter(|seen| *seen == ours);
        Some(Arc::clone(seen.unwrap_or(ours)))
    }

    fn next_revision(&self) -> Revision {
        let seen = self
            .seen
            .document
            .as_ref()
            .map_or(0, |document| document.revision.get());
        let highest = self
            .revision_before
            .max(self.seen.highest_revision)
            .max(seen);
        Revision::try_from(highest.saturating_add(1)).unwrap_or(Revision::FIRST)
    }

    /// Whose routes the document takes over. It says so for good: to unsay it would be another revision.
    fn replaces(&self, live: Option<&RoutingConfig>) -> Option<Uid> {
        let predecessor = self
            .seen
            .predecessor
            .as_ref()
            .map(|document| document.release.uid.clone());
        live.and_then(|live| live.replaces.clone()).or(predecessor)
    }
}
