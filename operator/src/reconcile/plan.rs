//! Second step: the plan. It is read from the spec once for each generation, when the object is seen; here it learns what
//! its Services call their ports, and a spec that makes none is told of in the log, with its place.

use std::sync::Arc;

use halftone_api::Plan;
use halftone_routing::document::arm::{Arm, Backend, ServiceRef};
use k8s_openapi::api::core::v1::Service;

use super::live_release::LiveRelease;
use crate::endpoints;

/// `find` looks a Service up.
pub(super) fn plan(live: &mut LiveRelease, find: impl Fn(&ServiceRef) -> Option<Arc<Service>>) {
    match &live.tracked.plan {
        Ok(plan) => {
            if let Some(named) = named(live, plan, find) {
                live.tracked.plan = Ok(Arc::new(named));
            }
        }
        Err(obstacle) => {
            let generation = live.object.metadata.generation.unwrap_or_default();
            // Once for each generation: the status names the last one that was told of.
            if live.tracked.written.generation() != generation {
                tracing::warn!(generation, "refused: {}", obstacle.message);
            }
        }
    }
}

/// The plan with other names than it has; none if it has the right ones.
fn named(
    live: &LiveRelease,
    plan: &Plan,
    find: impl Fn(&ServiceRef) -> Option<Arc<Service>>,
) -> Option<Plan> {
    let documents = [&live.kept, &live.predecessor]
        .into_iter()
        .flatten()
        .filter_map(|kept| kept.live());
    let arms = documents.flat_map(|document| {
        Arm::ALL
            .into_iter()
            .filter_map(|arm| document.arms.get(arm))
    });
    let gray = plan.gray.as_ref().map(|gray| &gray.arm.backend);
    let before: Vec<&Backend> = std::iter::once(&plan.stable.backend)
        .chain(gray)
        .chain(arms.map(|arm| &arm.backend))
        .collect();
    let known = before
        .iter()
        .copied()
        .filter(|backend| is_named(backend))
        .collect::<Vec<_>>();
    endpoints::with_port_names(plan, find, &known)
}

fn is_named(backend: &Backend) -> bool {
    matches!(backend, Backend::Service(service) if service.port_name.is_some())
}
