//! Writes the objects of a release: its status and its ConfigMaps, each over the version that the turn was decided on, so
//! that whatever somebody else has written meanwhile makes the turn void.

use std::sync::Arc;

use halftone_api::spec::ControllerStatus;
use halftone_api::{GrayRelease, GrayReleaseStatus};
use halftone_rollout::events::{Event, EventReason};
use halftone_routing::document::{ReleaseState, RoutingConfig};
use jiff::Timestamp;
use tokio::time::Instant;

use super::live_release::LiveRelease;
use crate::api_client::ApiClient;
use crate::compressed_release::CompressedRelease;
use crate::compressed_text::CompressedText;
use crate::error::Error;
use crate::event_publisher::EventPublisher;
use crate::last_written::LastWritten;
use crate::names;
use crate::objects::{DesiredConfigMap, FleetRef, ReleaseConfigMap};
use crate::ownership::Ownership;

/// What it takes to write for the releases of a fleet.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReleaseWriter<'a> {
    pub(super) fleet: &'a FleetRef,
    pub(super) cluster: &'a ApiClient,
    pub(super) ownership: &'a Ownership,
    pub(super) publisher: &'a EventPublisher,
}

impl ReleaseWriter<'_> {
    /// The status as we sign it.
    pub(super) fn stamped(
        &self,
        live: &LiveRelease,
        accepted: Option<&CompressedText>,
        status: GrayReleaseStatus,
        now: Timestamp,
    ) -> GrayReleaseStatus {
        let before = live.object.status.as_ref();
        GrayReleaseStatus {
            controller: self.ownership.stamp(now, before, accepted),
            ..status
        }
    }

    /// Writes a status over the version of the object that the turn was decided on.
    pub(super) async fn write_status(
        &self,
        live: &mut LiveRelease,
        status: GrayReleaseStatus,
    ) -> Result<(), Error> {
        let tracked = &mut live.tracked;
        let object = GrayRelease {
            status: Some(status),
            ..GrayRelease::clone(&live.object)
        };
        let written = Box::pin(self.cluster.write_status(&object)).await?;
        self.ownership
            .wrote(object.controller(), written.controller());
        self.publish_adoption(&live.object);
        tracked.written = LastWritten::of(&object.status.unwrap_or_default(), Instant::now());
        tracked.unreadable = None;
        tracked.sent = None;
        tracked.object = Arc::new(CompressedRelease::of(written));
        // Its version is the one to write over next.
        live.object = Arc::new(tracked.object.unpack());
        Ok(())
    }

    /// Says who looked after the release before, if that was another installation which has not offered it to us.
    fn publish_adoption(&self, before: &GrayRelease) {
        let is_us = |id: &String| Some(id.as_str()) == self.ownership.us();
        let is_ours = |controller: &&ControllerStatus| {
            is_us(&controller.id) || controller.hand_over_to.as_ref().is_some_and(is_us)
        };
        let Some(other) = before
            .controller()
            .filter(|controller| !is_ours(controller))
        else {
            return;
        };
        let what = format!(
            "the installation {} looked after it before; now we do",
            other.id
        );
        tracing::info!(reason = %EventReason::Adopted, "{what}");
        self.publisher
            .publish(before, Event::new(EventReason::Adopted, what));
    }

    /// Has the document live, over the version of the ConfigMap that the turn was decided on.
    pub(super) async fn program(
        &self,
        live: &mut LiveRelease,
        document: Arc<RoutingConfig>,
    ) -> Result<(), Error> {
        let wanted = DesiredConfigMap::live(document, live.tracked.accepted.clone());
        if live.kept.as_ref().is_some_and(|kept| kept.is(&wanted)) {
            return Ok(());
        }
        if let Some(Err(wrong)) = live.kept.as_ref().map(|kept| &kept.document) {
            tracing::warn!(uid = %live.tracked.uid, "the ConfigMap is put right: {wrong}");
        }
        let version = live.kept.as_ref().map(|kept| kept.version.as_str());
        let object = wanted.object(self.fleet, version)?;
        let written = self.cluster.apply(&object).await?;
        let tracked = &mut live.tracked;
        tracked.kept = ReleaseConfigMap::read(&written, &self.fleet.class);
        tracked.programmed = Some(Instant::now());
        live.kept.clone_from(&tracked.kept);
        Ok(())
    }

    /// Writes one of the last documents of a release that is gone.
    pub(super) async fn write_gone(
        &self,
        kept: &ReleaseConfigMap,
        document: &Arc<RoutingConfig>,
        gone_since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let withdrawn = (document.state == ReleaseState::Withdrawn)
            .then(|| kept.withdrawn_since.unwrap_or(now));
        let wanted = DesiredConfigMap::gone(Arc::clone(document), gone_since, withdrawn);
        let object = wanted.object(self.fleet, Some(&kept.version))?;
        self.cluster.apply(&object).await.map(drop)
    }

    /// Removes the ConfigMap of a release.
    pub(super) async fn remove(&self, kept: &ReleaseConfigMap) -> Result<(), Error> {
        let name = names::release_config_map(&kept.uid);
        let namespace = self.fleet.namespace.as_str();
        self.cluster.delete(namespace, &name, &kept.version).await?;
        tracing::info!(uid = %kept.uid, "the routing document is removed");
        Ok(())
    }
}
