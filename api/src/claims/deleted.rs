//! What deleted releases have left: after a while a release of another namespace may take it, and people are told whose it
//! was.

use halftone_routing::document::{ReleaseState, RoutingConfig};

use crate::plan::Plan;

/// Says of a place that `plan` wants and `live`, what its release serves, does not have, which of the documents `left` of
/// deleted releases of other namespaces had it last, and that it is taken over now. None if no such place is among them.
#[must_use]
pub fn taken_from(
    plan: &Plan,
    live: Option<&RoutingConfig>,
    left: &[&RoutingConfig],
) -> Option<String> {
    let live = live.filter(|live| live.state != ReleaseState::Withdrawn);
    let places = plan
        .hosts
        .iter()
        .flat_map(|host| plan.paths.iter().map(move |path| (host, path)));
    let mut new = places.filter(|place| live.is_none_or(|live| !live.has(*place)));
    new.find_map(|(host, path)| {
        let foreign = |left: &&&RoutingConfig| left.release.namespace != plan.object.namespace;
        let last = left.iter().filter(foreign).find(|left| left.has((host, path)))?;
        let (namespace, name) = (&last.release.namespace, &last.release.name);
        Some(format!(
            "{host}{path} was served by {namespace}/{name}, which is deleted; this release takes it over"
        ))
    })
}
