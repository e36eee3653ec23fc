//! Which releases the controller of a fleet looks after: those of its class, unless another installation does, and those
//! of classes that nobody knows, to say so.

use std::sync::Arc;

use halftone_api::fleet::{CLASS_UNKNOWN, FleetDeclarations};
use halftone_api::spec::ControllerStatus;
use halftone_api::{GrayRelease, GrayReleaseStatus, Obstacle, Plan};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::objects::FleetRef;
use crate::ownership::Ownership;
use crate::retired_fleets::RetiredClasses;

/// So long another operator may take to see a release of its fleet: a Lease may have to run out first. Told sooner that
/// there is no such fleet, Git tools would call the release failed.
const OTHERS: SignedDuration = SignedDuration::from_secs(20);

/// What the controller of a fleet is responsible for.
#[derive(Debug)]
pub struct Jurisdiction {
    /// The fleet.
    pub fleet: FleetRef,
    /// All fleets: what forbids a release.
    pub fleets: Arc<FleetDeclarations>,
    /// Whether releases that name no fleet of ours are told so here.
    pub takes_strays: bool,
    /// The fleet has left our configuration: its documents stay as they are until they can go.
    pub leaving: bool,
    /// All fleets that have left.
    pub left: Arc<RetiredClasses>,
    /// Which installation looks after the class.
    pub ownership: Arc<Ownership>,
}

impl Jurisdiction {
    /// Whether a release is looked after here.
    #[must_use]
    pub fn is_ours(&self, release: &GrayRelease) -> bool {
        let class = release.spec.proxy_class.as_str();
        self.fleet.class.as_str() == class
            || (self.takes_strays
                && self.fleets.find(class).is_none()
                && self.left.is_unowned(class)
                && self.may_tell(release))
    }

    /// Whether another installation looks after a release of our class.
    #[must_use]
    pub fn is_anothers(&self, release: &GrayRelease, now: Timestamp) -> bool {
        if release.spec.proxy_class != self.fleet.class.as_str() {
            return false;
        }
        let (status, controller) = (release.status.as_ref(), release.controller());
        self.ownership.is_anothers(controller, now)
            || (status.is_some_and(is_held_back)
                && self.ownership.is_owned_by_live_other(controller, now))
    }

    /// Whether a release of a fleet that has left is served by an installation elsewhere now, whose proxies have its
    /// document. One in our own namespace would have the same ConfigMaps.
    #[must_use]
    pub fn is_served_elsewhere(&self, release: &GrayRelease) -> bool {
        let Some(status) = release
            .status
            .as_ref()
            .filter(|_| self.leaving && self.ownership.is_known())
        else {
            return false;
        };
        let namespace = release.controller().and_then(ControllerStatus::namespace);
        let elsewhere = namespace.is_some_and(|there| there != self.fleet.namespace.as_str());
        let is_programmed =
            |condition: &Condition| condition.type_ == "Programmed" && condition.status == "True";
        elsewhere
            && status.conditions.iter().any(is_programmed)
            && !status
                .conditions
                .iter()
                .any(|condition| condition.reason == CLASS_UNKNOWN)
    }

    /// Whether a release of a class that we do not know may still be found by an operator who does.
    #[must_use]
    pub fn is_young_stray(&self, release: &GrayRelease, now: Timestamp) -> bool {
        let created = release.metadata.creation_timestamp.as_ref();
        let age = created.map(|created| now.duration_since(created.0));
        self.fleets.find(&release.spec.proxy_class).is_none() && age.is_some_and(|age| age < OTHERS)
    }

    /// What forbids a plan in this fleet, if anything does.
    #[must_use]
    pub fn forbids(&self, plan: &Plan) -> Option<Obstacle> {
        self.fleets.forbids(plan)
    }

    /// Whether to tell a release of a class that we do not know about it: nobody has told it anything, or we have looked
    /// after it until its fleet was taken out of our configuration.
    fn may_tell(&self, release: &GrayRelease) -> bool {
        is_untold(release)
            || release
                .controller()
                .is_some_and(|controller| Some(&*controller.id) == self.ownership.us())
    }
}

/// Whether an earlier spec is in effect, since the newest one is refused. Only whoever has taken the earlier one can judge
/// by it. A fleet that left refuses every spec, good ones as well.
fn is_held_back(status: &GrayReleaseStatus) -> bool {
    let refuses = |condition: &Condition| {
        condition.type_ == "Accepted"
            && condition.status == "False"
            && condition.reason != CLASS_UNKNOWN
    };
    status.revision.is_some_and(|revision| revision > 0) && status.conditions.iter().any(refuses)
}

/// Whether nobody has said anything yet about a release whose fleet we do not know. Another operator of this cluster may
/// know it, and two that corrected each other's status would never end.
fn is_untold(release: &GrayRelease) -> bool {
    let Some(status) = &release.status else {
        return true;
    };
    let by_a_stranger = status
        .conditions
        .iter()
        .any(|condition| condition.reason == CLASS_UNKNOWN);
    status.conditions.is_empty()
        || (by_a_stranger && release.metadata.generation > Some(status.observed_generation))
}
