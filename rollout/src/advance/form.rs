//! In which form a release spells identities is settled once: by the first proxies that are ready, or by the live document.

use halftone_routing::document::{RoutingConfig, identity::IdentityForm, units::Ratio};

use super::{
    context::AdvanceContext,
    features::{counting, form_of},
};

impl AdvanceContext<'_> {
    /// A release that began before any proxy was ready, as where everything is installed at once, takes the form that
    /// the first ones know. From then on the form stays.
    pub(crate) fn settle_form(&mut self) {
        self.restore_identity_form();
        let heard = counting(self.seen).next().is_some()
            && counting(self.seen).all(|proxy| proxy.asked_at.is_some());
        if !self.progress.memory.form_open || !heard {
            return;
        }
        self.progress.memory.form_open = false;
        let (form, at_zero) = (
            form_of(self.seen),
            self.progress.state.ratio() == Ratio::ZERO,
        );
        if let Some(release) = self.progress.release.as_mut().filter(|_| at_zero) {
            release.form = form;
        }
    }

    /// A process that begins finds in the live document how users are spelled, should the status have lost it: a
    /// definition that is older than this program drops `status.release.features`.
    fn restore_identity_form(&mut self) {
        let live = self
            .seen
            .document
            .as_ref()
            .filter(|_| self.progress.memory.document.is_none());
        let second = |live: &RoutingConfig| live.identity_form() == IdentityForm::Two;
        let Some(live) = live.filter(|live| second(live)) else {
            return;
        };
        if let Some(release) = self
            .progress
            .release
            .as_mut()
            .filter(|release| release.id == live.release.id)
        {
            release.form = IdentityForm::Two;
            self.progress.memory.form_open = false;
        }
    }
}
