//! Features of the proxies that a document may ask for: those that every ready proxy is known to have. One that has not
//! reported yet may not have them, and where no proxy is ready there is nobody who is known to have any.

use halftone_routing::document::{IDENTITY_2, RoutingConfig, identity::IdentityForm};

use crate::{
    condition_input::SpecBlocker,
    observation::{Observation, ProxyObservation},
};

/// The form in which a release that begins now spells identities. Where a proxy may not know the second, the release
/// does not wait for it: it takes the first.
pub(super) fn form_of(seen: &Observation) -> IdentityForm {
    let mut counting = counting(seen).peekable();
    let known = counting.peek().is_some() && counting.all(|proxy| knows(proxy, IDENTITY_2));
    if known {
        IdentityForm::Two
    } else {
        IdentityForm::One
    }
}

/// Why a document may not ask for these features now, if it may not: a proxy without one of them would refuse it and go on
/// with the old one. What the live document requires already is no news to anyone.
pub(super) fn lacking(
    required: &[&str],
    live: Option<&RoutingConfig>,
    seen: &Observation,
) -> Option<SpecBlocker> {
    let is_new = |feature: &&&str| {
        live.is_none_or(|live| !live.requires.iter().any(|known| known == *feature))
    };
    required
        .iter()
        .filter(is_new)
        .find_map(|feature| lacks(feature, seen))
}

fn lacks(feature: &str, seen: &Observation) -> Option<SpecBlocker> {
    let mut lacking: Vec<&ProxyObservation> = counting(seen)
        .filter(|proxy| !knows(proxy, feature))
        .collect();
    if counting(seen).next().is_none() {
        return Some(SpecBlocker::NoReadyProxy(format!(
            "no proxy of the fleet is ready, so none is known to have {feature}, which the spec needs"
        )));
    }
    // Whoever has spoken is named before whoever has not.
    lacking.sort_by_key(|proxy| proxy.asked_at.is_none());
    let first = lacking.first()?;
    Some(match first.asked_at {
        Some(_) => SpecBlocker::ProxyTooOld(format!(
            "proxy {} does not know {feature}; update the proxies first",
            first.name
        )),
        None => SpecBlocker::ProxyUnheard(format!(
            "proxy {} has not said yet whether it knows {feature}",
            first.name
        )),
    })
}

pub(super) fn counting(seen: &Observation) -> impl Iterator<Item = &ProxyObservation> {
    seen.proxies.iter().filter(|proxy| proxy.counts())
}

fn knows(proxy: &ProxyObservation, feature: &str) -> bool {
    proxy.features.iter().any(|known| known == feature)
}
