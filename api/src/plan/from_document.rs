//! A plan from a live document alone, for a process that knows neither the spec that the document was built from nor
//! a newer one that may take effect: enough to stay where the release is, to answer a person, and to go back.

use std::time::Duration;

use halftone_routing::document::{RoutingConfig, rule::Target, units::Ratio};

use super::{GrayPlan, Health, ObjectRef, Plan, Step};
use crate::spec::{Force, Initial, OnFailure, OnInconclusive};

/// Longer than any that can be written: timers keep what they have until a spec cuts them to its own length.
const LONGEST: Duration = Duration::from_secs(99_999 * 3600);

impl Plan {
    /// The plan of which `document` is the document. What it does not tell is such that nothing moves by itself:
    /// nothing is judged, and the fleet and the steps are not known.
    pub fn of_live(document: &RoutingConfig) -> Self {
        let release = &document.release;
        Self {
            object: ObjectRef {
                uid: release.uid.clone(),
                namespace: release.namespace.clone(),
                name: release.name.clone(),
                created_at: release.created_at,
            },
            generation: 0,
            id: release.id,
            proxy_class: String::new(),
            hosts: document.hosts.clone(),
            paths: document.paths.clone(),
            stable: document.arms.stable.clone(),
            gray: document.arms.gray.as_deref().map(|arm| {
                Box::new(GrayPlan {
                    id: release.id,
                    arm: arm.clone(),
                    target: target(document),
                    steps: steps(document),
                })
            }),
            identity: document.identity.clone(),
            schedule: None,
            health: health(document),
            rules: document.rules.clone(),
            max_body_bytes: document.max_body_bytes,
            on_unavailable: document.on_unavailable,
            debug: document.debug.clone(),
            version_header: document.version_header.clone(),
            force: match document.force {
                None => Force::None,
                Some(Target::Stable) => Force::Stable,
                Some(Target::Gray) => Force::Gray,
            },
            initial: Initial::Stable,
            paused: false,
            on_operator_lost: document.on_operator_lost,
        }
    }
}

/// What is still ahead of a moving release is somewhere above it.
fn target(document: &RoutingConfig) -> Ratio {
    if document.moving {
        Ratio::FULL
    } else {
        document.ratio
    }
}

fn steps(document: &RoutingConfig) -> Vec<Step> {
    let mut ratios = vec![document.ratio, target(document)];
    ratios.dedup();
    ratios
        .into_iter()
        .map(|ratio| Step {
            ratio,
            hold: LONGEST,
            approval: false,
        })
        .collect()
}

fn health(document: &RoutingConfig) -> Health {
    Health {
        limits: None,
        counting: document.limits.clone(),
        include: Vec::new(),
        warmup: Duration::ZERO,
        on_failure: OnFailure::Pause,
        on_inconclusive: OnInconclusive::Wait,
        patience: LONGEST,
        watch: LONGEST,
    }
}
