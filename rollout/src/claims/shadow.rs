//! A more specific place inside another release's: `a.example.com` inside `*.example.com`, `/pay` inside `/`. Proxies
//! give it to the more specific one, so a team could take requests from another one in this way. Within a namespace
//! that is meant; across namespaces only where the fleet names the place.

use halftone_routing::config::{
    RoutingConfig, State,
    names::{HostPattern, PathPrefix},
};

use super::Place;
use crate::{observation::Obstacle, plan::Plan};

/// Every host and path, beside the place itself, whose release has requests for the place as long as nobody has it.
pub fn around(host: &HostPattern, path: &PathPrefix) -> Vec<(HostPattern, PathPrefix)> {
    let hosts = wider_hosts(host);
    let paths = wider_paths(path);
    let all = hosts.iter().flat_map(|host| paths.iter().map(move |path| (host.clone(), path.clone())));
    all.filter(|place| (&place.0, &place.1) != (host, path)).collect()
}

/// The host, the wildcards that cover it, and `*`.
fn wider_hosts(host: &HostPattern) -> Vec<HostPattern> {
    let text = host.as_str();
    let name = host.wildcard_suffix().unwrap_or(text);
    let suffixes = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
    let wider = suffixes.chain((!host.is_any()).then(|| "*".to_owned()));
    std::iter::once(host.clone()).chain(wider.filter_map(|text| text.parse().ok())).collect()
}

/// The path and the prefixes of whole segments above it.
fn wider_paths(path: &PathPrefix) -> Vec<PathPrefix> {
    let text = path.as_str();
    let cuts = text.match_indices('/').map(|(at, _)| if at == 0 { "/" } else { &text[..at] });
    let mut paths: Vec<PathPrefix> = cuts.filter_map(|cut| cut.parse().ok()).collect();
    paths.push(path.clone());
    paths.dedup();
    paths
}

/// What keeps `plan`, whose release serves by `live`, from a place inside one of `others`, the documents of other
/// namespaces among which are considered. `named` says whether the fleet gives the place to the plan's namespace by
/// name. Places that it serves already stay its own.
#[must_use]
pub fn shadowed(
    plan: &Plan,
    live: Option<&RoutingConfig>,
    others: &[&RoutingConfig],
    named: impl Fn(Place<'_>) -> bool,
) -> Option<Obstacle> {
    let had = |place: Place<'_>| {
        live.filter(|live| live.state != State::Withdrawn)
            .is_some_and(|live| live.hosts.contains(place.0) && live.paths.contains(place.1))
    };
    let foreign = |other: &&&RoutingConfig| {
        other.release.namespace != plan.object.namespace && other.state != State::Withdrawn
    };
    let places = plan.hosts.iter().flat_map(|host| plan.paths.iter().map(move |path| (host, path)));
    for place in places.filter(|place| !had(*place) && !named(*place)) {
        let wider = around(place.0, place.1);
        let has = |other: &&&RoutingConfig| {
            wider.iter().any(|(host, path)| other.hosts.contains(host) && other.paths.contains(path))
        };
        if let Some(other) = others.iter().filter(foreign).find(has) {
            return Some(obstacle(place, other));
        }
    }
    None
}

fn obstacle((host, path): Place<'_>, other: &RoutingConfig) -> Obstacle {
    let (namespace, name) = (&other.release.namespace, &other.release.name);
    let message = format!(
        "{host}{path} lies inside what {namespace}/{name} of another namespace serves; claim another host or path, or \
         have this one named in the fleet's allowed"
    );
    Obstacle::new("HostShadowed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(host: &str, path: &str) -> Vec<String> {
        around(&host.parse().unwrap(), &path.parse().unwrap())
            .iter()
            .map(|(host, path)| format!("{host}{path}"))
            .collect()
    }

    #[test]
    fn around_a_place_are_the_wider_hosts_and_the_shorter_paths() {
        assert_eq!(texts("a.x", "/"), ["*.x/", "*/"]);
        assert_eq!(texts("*.a.x", "/"), ["*.x/", "*/"]);
        assert_eq!(texts("x", "/pay/now"), ["x/", "x/pay", "*/", "*/pay", "*/pay/now"]);
        assert_eq!(texts("*", "/"), [] as [&str; 0]);
    }
}
