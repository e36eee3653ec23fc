//! Second step: the plan. It is read from the spec once for each generation, when the object is seen; here it learns what
//! its Services call their ports, and a spec that makes none is told of in the log, with its place.

use std::sync::Arc;

use halftone_api::Plan;
use halftone_routing::document::arm::{Arm, Backend};

use super::{LiveRelease, ReconcileContext};
use crate::endpoints;

pub(super) fn plan(context: &ReconcileContext, live: &mut LiveRelease) {
    match &live.tracked.plan {
        Ok(plan) => {
            if let Some(named) = named(context, live, plan) {
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
fn named(context: &ReconcileContext, live: &LiveRelease, plan: &Plan) -> Option<Plan> {
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
    endpoints::with_port_names(
        plan,
        |reference| context.world.find(reference).service,
        &known,
    )
}

fn is_named(backend: &Backend) -> bool {
    matches!(backend, Backend::Service(service) if service.port_name.is_some())
}
