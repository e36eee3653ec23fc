//! A more specific place inside another release's: `a.example.com` inside `*.example.com`, `/pay` inside `/`. Proxies
//! give it to the more specific one, so a team could take requests from another one in this way. Within a namespace
//! that is meant; across namespaces only where the fleet names the place.

use halftone_routing::document::{
    ReleaseState, RoutingConfig,
    names::{HostPattern, ObjectName, PathPrefix},
};

use super::HostPath;
use crate::{Obstacle, plan::Plan};

/// Every host and path, beside the place itself, whose release has requests for the place as long as nobody has it.
pub fn around(host: &HostPattern, path: &PathPrefix) -> Vec<(HostPattern, PathPrefix)> {
    let hosts = wider_hosts(host);
    let paths = wider_paths(path);
    let all = hosts
        .iter()
        .flat_map(|host| paths.iter().map(move |path| (host.clone(), path.clone())));
    all.filter(|place| (&place.0, &place.1) != (host, path))
        .collect()
}

/// The host, the wildcards that cover it, and `*`.
fn wider_hosts(host: &HostPattern) -> Vec<HostPattern> {
    let text = host.as_str();
    let name = host.wildcard_suffix().unwrap_or(text);
    let suffixes = name
        .match_indices('.')
        .map(|(at, _)| format!("*{}", &name[at..]));
    let wider = suffixes.chain((!host.is_any()).then(|| "*".to_owned()));
    std::iter::once(host.clone())
        .chain(wider.filter_map(|text| text.parse().ok()))
        .collect()
}

/// The path and the prefixes of whole segments above it.
fn wider_paths(path: &PathPrefix) -> Vec<PathPrefix> {
    let text = path.as_str();
    let cuts = text
        .match_indices('/')
        .map(|(at, _)| if at == 0 { "/" } else { &text[..at] });
    let mut paths: Vec<PathPrefix> = cuts.filter_map(|cut| cut.parse().ok()).collect();
    paths.push(path.clone());
    paths.dedup();
    paths
}

/// Places of one release, inside which another one's may lie.
#[derive(Debug, Clone, Copy)]
pub struct ClaimedPlaces<'a> {
    /// The namespace of the release.
    pub namespace: &'a ObjectName,
    /// Its name.
    pub name: &'a ObjectName,
    hosts: &'a [HostPattern],
    paths: &'a [PathPrefix],
}

impl<'a> ClaimedPlaces<'a> {
    /// What a release serves; nothing once that is withdrawn.
    #[must_use]
    pub fn serving(live: &'a RoutingConfig) -> Option<Self> {
        let (namespace, name) = (&live.release.namespace, &live.release.name);
        let all = Self {
            namespace,
            name,
            hosts: &live.hosts,
            paths: &live.paths,
        };
        (live.state != ReleaseState::Withdrawn).then_some(all)
    }

    /// What a release wants.
    #[must_use]
    pub fn wanted(plan: &'a Plan) -> Self {
        let (namespace, name) = (&plan.object.namespace, &plan.object.name);
        Self {
            namespace,
            name,
            hosts: &plan.hosts,
            paths: &plan.paths,
        }
    }

    fn has(&self, (host, path): &(HostPattern, PathPrefix)) -> bool {
        self.hosts.contains(host) && self.paths.contains(path)
    }
}

/// A place inside another namespace's.
#[derive(Debug, Clone, Copy)]
pub struct Shadow<'a> {
    /// The place.
    pub place: HostPath<'a>,
    /// Whose requests it would take.
    pub other: ClaimedPlaces<'a>,
}

/// A place of `plan`, whose release serves by `live`, inside one of `others`, of which those of other namespaces count.
/// `named` says whether the fleet gives the place to the plan's namespace by name. Places that it serves already stay its
/// own.
#[must_use]
pub fn shadowed<'a>(
    plan: &'a Plan,
    live: Option<&RoutingConfig>,
    others: &[ClaimedPlaces<'a>],
    named: impl Fn(HostPath<'_>) -> bool,
) -> Option<Shadow<'a>> {
    let live = live.filter(|live| live.state != ReleaseState::Withdrawn);
    let places = plan
        .hosts
        .iter()
        .flat_map(|host| plan.paths.iter().map(move |path| (host, path)));
    let mut open =
        places.filter(|place| !live.is_some_and(|live| live.has(*place)) && !named(*place));
    open.find_map(|place| {
        let wider = around(place.0, place.1);
        let mut foreign = others
            .iter()
            .filter(|other| *other.namespace != plan.object.namespace);
        let other = foreign.find(|other| wider.iter().any(|place| other.has(place)))?;
        Some(Shadow {
            place,
            other: *other,
        })
    })
}

impl Shadow<'_> {
    /// What forbids the edit.
    #[must_use]
    pub fn obstacle(&self) -> Obstacle {
        let (host, path) = self.place;
        let ClaimedPlaces {
            namespace, name, ..
        } = self.other;
        let message = format!(
            "{host}{path} lies inside what {namespace}/{name} of another namespace serves; claim another host or path, \
             or have this one named in the fleet's allowed"
        );
        Obstacle::new("HostShadowed", message)
    }
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
        assert_eq!(
            texts("x", "/pay/now"),
            ["x/", "x/pay", "*/", "*/pay", "*/pay/now"]
        );
        assert_eq!(texts("*", "/"), [] as [&str; 0]);
    }
}
