//! What one poll of the proxy said, and what of it each release gets to see.

use std::time::Instant;

use halftone_proxy::run::Proxy;
use halftone_rollout::clock::Now;
use halftone_rollout::observation::{Observation, ProxyObservation, Round};
use halftone_routing::document::arm::{ArmConfig, Backend};
use halftone_routing::report::TrafficReport;
use halftone_routing::report::baseline::Delta;
use halftone_routing::report::documents::ReportedDocuments;

use super::prober::Prober;
use super::release::LocalRelease;

/// What one poll of the proxy said.
pub(super) struct ProxyPoll {
    pub(super) at: Instant,
    pub(super) report: TrafficReport,
    /// Its seconds, and what was counted in them.
    pub(super) round: Option<(f64, Delta)>,
}

impl ProxyPoll {
    /// What one release gets to see of it; `documents` are those that the proxy has by now.
    pub(super) fn seen(
        &self,
        documents: &ReportedDocuments,
        release: &LocalRelease,
        polls: u32,
        now: Now,
    ) -> Observation {
        let uid = release.uid();
        let applied = documents.applied(uid);
        let proxy = ProxyObservation {
            name: self.report.instance.clone(),
            ready: true,
            polls,
            asked_at: Some(now.steady),
            applied: applied.cloned(),
            rejected: documents.rejected(uid).map(str::to_owned),
            stale: self.report.stale,
            features: self.report.features.as_slice().into(),
            ..ProxyObservation::default()
        };
        Observation {
            generation: release.generation(),
            proxies: vec![proxy],
            document: release.document.clone(),
            highest_revision: applied.map_or(0, |found| found.revision.get()),
            round: self
                .round
                .as_ref()
                .and_then(|(seconds, added)| Round::of(release.progress(), *seconds, added)),
            request: release.request().map(str::to_owned),
            ..Observation::default()
        }
    }

    pub(super) fn count(&self, release: &mut LocalRelease) {
        let Some((seconds, added)) = &self.round else {
            return;
        };
        let uid = release.uid().clone();
        let added = added.iter().filter(|(key, _)| key.uid == uid);
        release.traffic.add(
            self.at,
            *seconds,
            added.map(|(key, counts)| (key.charge.arm(), counts)),
        );
    }
}

/// How many endpoints pass their checks, and of stable arms how many take connections as well: nobody is sent back to a
/// server that is not there. What no applied document names yet was never checked.
pub(super) fn endpoints(
    proxy: &Proxy,
    probes: &Prober,
    release: &LocalRelease,
) -> Vec<(Backend, usize)> {
    let healthy = |arm: &ArmConfig| proxy.healthy_endpoints(&arm.destination());
    let stable = release.stable_arms().map(|arm| {
        let ready = healthy(arm)
            .unwrap_or(usize::MAX)
            .min(probes.count(&arm.backend));
        (arm.backend.clone(), ready)
    });
    let gray = release
        .document
        .iter()
        .filter_map(|document| document.arms.gray.as_ref());
    stable
        .chain(gray.filter_map(|arm| Some((arm.backend.clone(), healthy(arm)?))))
        .collect()
}
