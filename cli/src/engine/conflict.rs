//! Two releases that claim the same host and path: the one that serves it keeps it.

use halftone_rollout::claims::{self, Claimant};
use halftone_rollout::observation::Observation;

use super::release::Release;

/// Refuses in what was `seen` of each release those that claim what another one has.
pub(super) fn refuse<'a>(releases: impl Iterator<Item = &'a Release>, seen: &mut [Observation]) {
    let claimants: Vec<Claimant<'a>> =
        releases.zip(seen.iter()).map(|(release, seen)| release.claimant(seen)).collect();
    let settled = claims::settle(&claimants);
    for ((seen, conflict), claimant) in seen.iter_mut().zip(settled).zip(&claimants) {
        let obstacle = || Some(conflict?.obstacle(claimant.wanted, claimant.live));
        seen.refusal = seen.refusal.take().or_else(obstacle);
    }
}
