//! Two releases that claim the same host and path: the whole younger one is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use halftone_rollout::Plan;
use halftone_rollout::observation::Obstacle;

use super::release::Release;

/// The releases that have to stand back, by name.
pub(super) fn find<'a>(releases: impl Iterator<Item = &'a Release>) -> BTreeMap<String, Obstacle> {
    let mut plans: Vec<(&str, &Arc<Plan>)> =
        releases.filter_map(|release| Some((release.name(), release.plan()?))).collect();
    // Ties go by namespace and name, which the name is.
    plans.sort_by_key(|(name, plan)| (plan.object.created_at, *name));
    let mut claims = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for (name, plan) in plans {
        let mine: Vec<_> = plan
            .hosts
            .iter()
            .flat_map(|host| plan.paths.iter().map(move |path| (host.as_str(), path.as_str())))
            .collect();
        match mine.iter().find_map(|claim| Some((claim, *claims.get(claim)?))) {
            None => claims.extend(mine.into_iter().map(|claim| (claim, name))),
            Some(((host, path), older)) => {
                let message = format!("{older} is older and has {host}{path}; claim other hosts or paths");
                refused.insert(name.to_owned(), Obstacle::new("HostConflict", message));
            }
        }
    }
    refused
}
