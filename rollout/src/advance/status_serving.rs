//! Who serves users by the status alone, where no document tells: it is lost, it is in the hands of another installation,
//! or it is not written yet. The status does not hold the arms themselves; it
//! tells well enough which of them is which of an edit's.

use std::net::SocketAddr;

use halftone_api::{
    plan::{Plan, backend_name},
    spec::{Force, ServingStatus},
};
use halftone_routing::document::{
    self, RoutingConfig,
    arm::{Arm, ArmConfig, Backend, ServicePort, ServiceRef},
    units::{Ratio, ReleaseId},
};

use super::serving::{HALF, ServingDocument};
use crate::{
    progress::{Basis, Progress, RolloutState},
    routing_for::state_word,
};

/// A place that nobody knows.
const NOWHERE: &str = "unknown";

/// Who serves users, as far as the status tells.
#[derive(Debug)]
pub(super) struct StatusServing {
    id: Option<ReleaseId>,
    stable: ArmConfig,
    gray: Option<ArmConfig>,
    state: document::ReleaseState,
    ratio: Ratio,
    force: Force,
}

impl StatusServing {
    /// None where the status does not say who serves most users.
    pub(super) fn of(progress: &Progress, plan: &Plan) -> Option<Self> {
        let basis = progress.basis.as_ref()?;
        let stable = stable(progress, basis, plan)?;
        let gray = if progress.is_about(plan) {
            plan.gray.as_ref().map(|gray| gray.arm.clone())
        } else {
            match most(&progress.state, basis.force)? {
                Arm::Stable => None,
                Arm::Gray => Some(gray(progress, plan)?),
            }
        };
        Some(Self {
            id: progress.release.as_ref().map(|release| release.id),
            stable,
            gray,
            state: state_word(&progress.state),
            ratio: progress.state.ratio(),
            force: basis.force,
        })
    }

    /// The same for the table. A rollback cannot be asked for while nothing is in effect.
    pub(super) fn live(&self) -> ServingDocument<'_> {
        ServingDocument {
            id: self.id,
            stable: &self.stable,
            gray: self.gray.as_ref(),
            state: self.state,
            ratio: self.ratio,
            force: self.force,
            is_own: false,
        }
    }
}

/// The arm where most users are, where the status says enough of it.
fn most(state: &RolloutState, force: Force) -> Option<Arm> {
    let ratio = state.ratio();
    match (force, state) {
        (Force::Stable, _) => Some(Arm::Stable),
        (Force::None, RolloutState::Promoted { .. }) => Some(Arm::Gray),
        (Force::None, _) if ratio < Ratio::FULL => Some(if ratio.millionths() > HALF {
            Arm::Gray
        } else {
            Arm::Stable
        }),
        _ => None,
    }
}

/// The stable arm. The basis tells it from those of `plan`; else it is called as it was when it last served everyone.
fn stable(progress: &Progress, basis: &Basis, plan: &Plan) -> Option<ArmConfig> {
    let known = arms(plan).find(|arm| basis.is_stable(arm)).cloned();
    known.or_else(|| {
        progress
            .serving
            .as_ref()
            .and_then(|serving| stranger(&serving.version, &serving.service, plan))
    })
}

/// The gray arm of a release that `plan` is not of: in a split by its version alone, which only an edit that names it
/// stable can have meant.
fn gray(progress: &Progress, plan: &Plan) -> Option<ArmConfig> {
    if let RolloutState::Promoted { .. } = progress.state {
        let serving = progress.serving.as_ref()?;
        let known = arms(plan).find(|arm| is_called(serving, arm)).cloned();
        return known.or_else(|| stranger(&serving.version, &serving.service, plan));
    }
    let version = &progress.release.as_ref()?.version;
    let known = Some(&plan.stable)
        .filter(|stable| stable.version.as_str() == version)
        .cloned();
    known.or_else(|| stranger(version, NOWHERE, plan))
}

fn arms(plan: &Plan) -> impl Iterator<Item = &ArmConfig> {
    std::iter::once(&plan.stable).chain(plan.gray.as_ref().map(|gray| &gray.arm))
}

fn is_called(serving: &ServingStatus, arm: &ArmConfig) -> bool {
    serving.version == arm.version.as_str() && serving.service == backend_name(&arm.backend)
}

/// An arm that `plan` does not name. Which port its Service has is not known, so it is a name that no Service gives.
fn stranger(version: &str, place: &str, plan: &Plan) -> Option<ArmConfig> {
    let service = || {
        let (namespace, name) = (plan.object.namespace.clone(), place.parse().ok()?);
        let port = ServicePort::Name(NOWHERE.parse().ok()?);
        Some(Backend::Service(ServiceRef {
            namespace,
            name,
            port,
            port_name: None,
        }))
    };
    let addresses = || {
        let addresses: Result<Vec<SocketAddr>, _> = place.split(',').map(str::parse).collect();
        Some(Backend::Addresses(addresses.ok()?.try_into().ok()?))
    };
    Some(ArmConfig::new(
        addresses().or_else(service)?,
        version.parse().ok()?,
    ))
}

/// Whether `live` is older than the status, which this process has not made anything of yet.
pub(super) fn is_older(live: &RoutingConfig, progress: &Progress) -> bool {
    progress.memory.document.is_none() && live.revision.get() < progress.revision
}

/// Whether the arms of `plan` are those that the status speaks of.
pub(super) fn knows(progress: &Progress, plan: &Plan) -> bool {
    progress
        .basis
        .as_ref()
        .is_some_and(|basis| basis.is_stable(&plan.stable))
        && progress.is_about(plan)
}
