//! Two releases that claim the same host and path: the whole younger one is refused.

use halftone_rollout::claims::{self, Claimant};
use halftone_rollout::observation::Observation;

use super::release::Release;

/// Refuses in what was `seen` of each release those that claim what an older one has.
pub(super) fn refuse<'a>(releases: impl Iterator<Item = &'a Release>, seen: &mut [Observation]) {
    let claimants: Vec<Claimant<'a>> =
        releases.zip(seen.iter()).map(|(release, seen)| release.claimant(seen)).collect();
    for (seen, conflict) in seen.iter_mut().zip(claims::settle(&claimants)) {
        seen.refusal = seen.refusal.take().or_else(|| Some(conflict?.obstacle()));
    }
}
