//! What the proxies of the fleet say about one document: who has it, who lacks it, who is silent.

use halftone_routing::document::RoutingConfig;

use crate::observation::{Observation, ProxyObservation};

/// The proxies, as far as one release is concerned. Only ready proxies that are not on their way out count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FleetAcknowledgement {
    /// Proxies that count.
    pub ready: usize,
    /// Of these, how many have the document.
    pub acknowledged: usize,
    /// Those that should have it and do not. Joiners do not count once every proxy had it.
    pub lacking: Vec<String>,
    /// Those that report nothing, or serve from their disk.
    pub unreported: Vec<String>,
    /// The first refusal of the document, with the name of the proxy.
    pub rejected: Option<String>,
}

impl FleetAcknowledgement {
    /// Looks at the proxies. `reached` says that every proxy had the document before.
    pub(crate) fn of(seen: &Observation, document: Option<&RoutingConfig>, reached: bool) -> Self {
        let mut fleet = Self::default();
        for proxy in seen.proxies.iter().filter(|proxy| proxy.counts()) {
            fleet.ready += 1;
            if document.is_some_and(|document| has(proxy, document)) {
                fleet.acknowledged += 1;
            } else if !(reached && proxy.is_joiner()) {
                fleet.lacking.push(proxy.name.clone());
                let rejected = proxy
                    .rejected
                    .as_ref()
                    .map(|why| format!("{}: {why}", proxy.name));
                fleet.rejected = fleet.rejected.or(rejected);
            }
            if proxy.is_silent() || proxy.stale {
                fleet.unreported.push(proxy.name.clone());
            }
        }
        fleet
    }

    /// Every proxy has the document, and there is one.
    pub(crate) fn has_acknowledged(&self) -> bool {
        self.ready > 0 && self.lacking.is_empty()
    }

    /// Every proxy reports, and there is one.
    pub(crate) fn is_reporting(&self) -> bool {
        self.ready > 0 && self.unreported.is_empty()
    }
}

fn has(proxy: &ProxyObservation, document: &RoutingConfig) -> bool {
    proxy.applied.as_ref().is_some_and(|applied| {
        applied.revision == document.revision
            && Some(&applied.checksum) == document.checksum.as_ref()
    })
}
