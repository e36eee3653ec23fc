//! From Services and EndpointSlices to what `advance` has to know of the arms: how many ready endpoints each has, which
//! references lead nowhere, which pods are where they must not be. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use halftone_rollout::Plan;
use halftone_rollout::observation::Obstacle;
use halftone_routing::config::arm::{Backend, ServicePort, ServiceRef};
use halftone_routing::reach::is_dialled;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// A Service as the cluster has it.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The Service; none if there is none.
    pub service: Option<Arc<Service>>,
    /// Its EndpointSlices.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// One endpoint of an arm that requests may be sent to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    /// The uid of its pod; elsewhere its address. A pod with addresses of both families is one endpoint.
    identity: String,
    /// How people know it.
    name: String,
    address: IpAddr,
    ready: bool,
}

/// What is seen of the arms of a release.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArmsSeen {
    /// Ready endpoints of each arm of the newest plan and of the one in effect.
    pub endpoints: Vec<(Backend, usize)>,
    /// What keeps the newest plan from rising.
    pub unresolved: Option<Obstacle>,
}

/// Looks at the arms of the `newest` plan, or, where that is not to be had, of the one `in_effect`. `find` looks a
/// Service up, and `proxies` are the uids and addresses of the fleets' own pods.
#[must_use]
pub fn look(
    newest: Option<&Plan>,
    in_effect: Option<&Plan>,
    find: impl Fn(&ServiceRef) -> Found,
    proxies: &BTreeSet<String>,
) -> ArmsSeen {
    let mut seen = ArmsSeen::default();
    let mut pods: Vec<(&str, Vec<Endpoint>)> = Vec::new();
    for (plan, is_wanted) in
        newest.map(|plan| (plan, true)).into_iter().chain(in_effect.map(|plan| (plan, newest.is_none())))
    {
        let gray = plan.gray.as_ref().map(|gray| ("gray", &gray.arm.backend));
        for (arm, backend) in std::iter::once(("stable", &plan.stable.backend)).chain(gray) {
            let known = seen.endpoints.iter().any(|(known, _)| known == backend);
            if known && !is_wanted {
                continue;
            }
            let endpoints = match endpoints(arm, backend, &find) {
                Ok(endpoints) => endpoints,
                Err(obstacle) => {
                    seen.unresolved = seen.unresolved.take().or_else(|| is_wanted.then_some(obstacle));
                    Vec::new()
                }
            };
            if !known {
                seen.endpoints.push((backend.clone(), ready(&endpoints)));
            }
            if is_wanted {
                pods.push((arm, endpoints));
            }
        }
    }
    let apart = newest.or(in_effect).is_some_and(are_apart_by_path);
    seen.unresolved =
        seen.unresolved.or_else(|| loops_back(&pods, proxies)).or_else(|| overlap(&pods).filter(|_| !apart));
    seen
}

/// The plan with what the Services call the ports that it gives by number, for proxies, which read no Services. A
/// Service that is not there now has the names that it had: they are in `before`, the plan or document of the last turn.
/// None if the plan has all of them already.
#[must_use]
pub fn with_port_names(
    plan: &Plan,
    find: impl Fn(&ServiceRef) -> Option<Arc<Service>>,
    before: &[&Backend],
) -> Option<Plan> {
    let gray = plan.gray.as_ref().map(|gray| &gray.arm.backend);
    let [stable, gray] = [Some(&plan.stable.backend), gray].map(|backend| {
        let Some(Backend::Service(reference)) = backend else { return None };
        let mut named = reference.clone();
        name_port(&mut named, find(reference).as_deref(), before);
        (named != *reference).then_some(Backend::Service(named))
    });
    if stable.is_none() && gray.is_none() {
        return None;
    }
    let mut named = plan.clone();
    named.stable.backend = stable.unwrap_or(named.stable.backend);
    if let (Some(plan), Some(backend)) = (&mut named.gray, gray) {
        plan.arm.backend = backend;
    }
    Some(named)
}

/// Notes what the Service calls a port that is given by number.
pub fn name_port(reference: &mut ServiceRef, service: Option<&Service>, before: &[&Backend]) {
    let ServicePort::Number(number) = reference.port else { return };
    let ports = service.and_then(|service| service.spec.as_ref()).and_then(|spec| spec.ports.as_deref());
    let found = ports.unwrap_or_default().iter().find(|port| port.port == i32::from(number.get()));
    reference.port_name = match found {
        Some(port) => port.name.as_deref().and_then(|name| name.parse().ok()),
        None => before
            .iter()
            .find_map(|before| match before {
                Backend::Service(before) if is_same(before, reference) => Some(before.port_name.clone()),
                _ => None,
            })
            .flatten(),
    };
}

fn is_same(a: &ServiceRef, b: &ServiceRef) -> bool {
    (&a.namespace, &a.name, &a.port) == (&b.namespace, &b.name, &b.port)
}

fn ready(endpoints: &[Endpoint]) -> usize {
    let ready = endpoints.iter().filter(|endpoint| endpoint.ready);
    ready.map(|endpoint| endpoint.identity.as_str()).collect::<BTreeSet<_>>().len()
}

fn endpoints(
    arm: &str,
    backend: &Backend,
    find: impl Fn(&ServiceRef) -> Found,
) -> Result<Vec<Endpoint>, Obstacle> {
    match backend {
        Backend::Service(reference) => {
            let found = find(reference);
            let port = resolve(arm, reference, found.service.as_deref())?;
            Ok(found.slices.iter().flat_map(|slice| of_slice(slice, &port)).collect())
        }
        Backend::Addresses(addresses) => {
            let dialled = addresses.as_ref().iter().filter(|address| is_dialled(address.ip()));
            let endpoint = |address: &std::net::SocketAddr| Endpoint {
                identity: address.to_string(),
                name: address.to_string(),
                address: address.ip(),
                ready: true,
            };
            Ok(dialled.map(endpoint).collect())
        }
    }
}

/// The name of the port by which its EndpointSlices know it; empty for a port without a name.
fn resolve(arm: &str, reference: &ServiceRef, service: Option<&Service>) -> Result<String, Obstacle> {
    let ServiceRef { namespace, name, port, .. } = reference;
    let Some(service) = service else {
        let message =
            format!("spec.{arm}.service: there is no Service {name} in namespace {namespace}; create it");
        return Err(Obstacle::new("ServiceNotFound", message));
    };
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        let message = format!(
            "spec.{arm}.service: Service {name} is an ExternalName, which has no endpoints; name a Service with a selector"
        );
        return Err(Obstacle::new("ServiceWithoutEndpoints", message));
    }
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let wanted = ports.iter().find(|known| match port {
        ServicePort::Number(number) => known.port == i32::from(number.get()),
        ServicePort::Name(name) => known.name.as_deref() == Some(name.as_str()),
    });
    wanted.map(|found| found.name.clone().unwrap_or_default()).ok_or_else(|| {
        let known = |port: &k8s_openapi::api::core::v1::ServicePort| match &port.name {
            Some(name) => format!("{} ({name})", port.port),
            None => port.port.to_string(),
        };
        let known: Vec<String> = ports.iter().map(known).collect();
        let port = match port {
            ServicePort::Number(number) => number.to_string(),
            ServicePort::Name(name) => name.to_string(),
        };
        let message = format!(
            "spec.{arm}.service: Service {name} has no port {port}; it has {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        Obstacle::new("ServicePortNotFound", message)
    })
}

fn of_slice(slice: &EndpointSlice, port: &str) -> Vec<Endpoint> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    if !ports.iter().any(|known| known.name.as_deref().unwrap_or_default() == port && known.port.is_some()) {
        return Vec::new();
    }
    let endpoint = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        let pod = endpoint.target_ref.as_ref();
        Some(Endpoint {
            identity: pod.and_then(|pod| pod.uid.clone()).unwrap_or_else(|| address.to_string()),
            name: pod.and_then(|pod| pod.name.clone()).unwrap_or_else(|| address.to_string()),
            address,
            // Not said means ready.
            ready: endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true),
        })
    };
    slice.endpoints.iter().filter_map(endpoint).filter(|endpoint| is_dialled(endpoint.address)).collect()
}

fn loops_back(pods: &[(&str, Vec<Endpoint>)], proxies: &BTreeSet<String>) -> Option<Obstacle> {
    let of_fleet = |endpoint: &&Endpoint| {
        proxies.contains(&endpoint.identity) || proxies.contains(&endpoint.address.to_string())
    };
    let (arm, endpoint) =
        pods.iter().find_map(|(arm, endpoints)| Some((arm, endpoints.iter().find(of_fleet)?)))?;
    let message = format!(
        "spec.{arm}.service: {} is a proxy, so requests would go round in circles or to its admin pages; name the Service of \
         the {arm} version's own pods",
        endpoint.name
    );
    Some(Obstacle::new("LoopsBack", message))
}

/// Front ends often lie side by side behind one web server; then the path says which version is meant.
fn are_apart_by_path(plan: &Plan) -> bool {
    plan.gray.as_ref().is_some_and(|gray| gray.arm.path_prefix != plan.stable.path_prefix)
}

fn overlap(pods: &[(&str, Vec<Endpoint>)]) -> Option<Obstacle> {
    let of = |wanted: &str| pods.iter().find(|(arm, _)| *arm == wanted).map(|(_, endpoints)| endpoints);
    let (stable, gray) = (of("stable")?, of("gray")?);
    let known: BTreeSet<&str> = stable.iter().map(|endpoint| endpoint.identity.as_str()).collect();
    let shared = gray.iter().find(|endpoint| known.contains(endpoint.identity.as_str()))?;
    let message = format!(
        "{} is an endpoint of stable and of gray; make the selectors of the two Services exclude each other, as with a \
         label for the version",
        shared.name
    );
    Some(Obstacle::new("ArmsOverlap", message))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(stable: &Value, gray: &Value) -> Plan {
        let release = json!({
            "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease",
            "metadata": {"name": "checkout", "namespace": "shop", "uid": "1"},
            "spec": {
                "hosts": ["shop.example.com"], "targetRatio": 100,
                "stable": {"service": {"name": "one", "port": stable}, "version": "v1"},
                "gray": {"service": {"name": "two", "port": gray}, "version": "v2"},
            },
        });
        Plan::try_from(&serde_json::from_value(release).unwrap()).unwrap()
    }

    fn service(ports: &Value) -> Option<Arc<Service>> {
        Some(Arc::new(serde_json::from_value(json!({"metadata": {}, "spec": {"ports": ports}})).unwrap()))
    }

    /// `ADDRESS=POD` or `ADDRESS`; `!` before it: not ready.
    fn slice(port: &Value, endpoints: &[&str]) -> Arc<EndpointSlice> {
        let endpoint = |text: &&str| {
            let (ready, text) = text.strip_prefix('!').map_or((true, *text), |text| (false, text));
            match text.split_once('=') {
                Some((address, pod)) => json!({
                    "addresses": [address], "conditions": {"ready": ready},
                    "targetRef": {"kind": "Pod", "name": pod, "uid": format!("uid-{pod}")},
                }),
                None => json!({"addresses": [text], "conditions": {"ready": ready}}),
            }
        };
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        let slice = json!({"metadata": {}, "addressType": "IPv4", "ports": [port], "endpoints": endpoints});
        Arc::new(serde_json::from_value(slice).unwrap())
    }

    fn seen(one: &Found, two: &Found, proxies: &[&str]) -> ArmsSeen {
        let plan = plan(&json!(80), &json!("http"));
        let find =
            |reference: &ServiceRef| if reference.name.as_str() == "one" { one.clone() } else { two.clone() };
        look(Some(&plan), Some(&plan), find, &proxies.iter().map(ToString::to_string).collect())
    }

    fn found(endpoints: &[&str]) -> Found {
        let slices = vec![slice(&json!({"name": "http", "port": 8080}), endpoints)];
        Found { service: service(&json!([{"name": "http", "port": 80}])), slices }
    }

    fn counts(seen: &ArmsSeen) -> Vec<usize> {
        seen.endpoints.iter().map(|(_, count)| *count).collect()
    }

    fn reason(seen: &ArmsSeen) -> &str {
        seen.unresolved.as_ref().map_or("", |obstacle| &obstacle.reason)
    }

    #[test]
    fn ready_endpoints_are_counted_by_arm_and_once_each() {
        let seen =
            seen(&found(&["10.0.0.1=a", "fd00::1=a", "!10.0.0.2=b"]), &found(&["10.0.0.3", "10.0.0.4"]), &[]);
        assert_eq!(counts(&seen), [1, 2]);
        assert_eq!(reason(&seen), "");
    }

    #[test]
    fn versions_side_by_side_on_the_same_pods_are_told_apart_by_their_paths() {
        let mut plan = plan(&json!(80), &json!("http"));
        let find = |_: &ServiceRef| found(&["10.0.0.1=a"]);
        let none = BTreeSet::new();
        assert_eq!(reason(&look(Some(&plan), None, find, &none)), "ArmsOverlap");
        plan.stable.path_prefix = Some("/v41".parse().unwrap());
        assert_eq!(reason(&look(Some(&plan), None, find, &none)), "");
    }

    #[test]
    fn endpoints_of_another_port_are_not_counted() {
        let mut two = found(&["10.0.0.3"]);
        two.slices.push(slice(&json!({"name": "metrics", "port": 9090}), &["10.0.0.4"]));
        assert_eq!(counts(&seen(&found(&["10.0.0.1"]), &two, &[])), [1, 1]);
    }

    #[test]
    fn a_port_without_a_name_is_found_by_its_number() {
        let one = Found {
            service: service(&json!([{"port": 80, "targetPort": 8080}])),
            slices: vec![slice(&json!({"name": "", "port": 8080}), &["10.0.0.1"])],
        };
        assert_eq!(counts(&seen(&one, &found(&[]), &[])), [1, 0]);
    }

    #[test]
    fn what_leads_nowhere_is_told() {
        let (good, none) = (found(&["10.0.0.1"]), Found::default());
        let other = Found { service: service(&json!([{"name": "grpc", "port": 81}])), slices: Vec::new() };
        assert_eq!(reason(&seen(&good, &none, &[])), "ServiceNotFound");
        assert_eq!(reason(&seen(&other, &good, &[])), "ServicePortNotFound");
        let message = seen(&other, &good, &[]).unresolved.unwrap().message;
        assert_eq!(message, "spec.stable.service: Service one has no port 80; it has 81 (grpc)");
    }

    #[test]
    fn a_pod_that_is_in_both_arms_is_found_ready_or_not() {
        let seen = seen(&found(&["10.0.0.1=a", "10.0.0.2=b"]), &found(&["!10.0.0.2=b"]), &[]);
        assert_eq!(reason(&seen), "ArmsOverlap");
    }

    #[test]
    fn proxies_of_the_fleet_are_no_endpoints() {
        assert_eq!(reason(&seen(&found(&["10.0.0.9=p"]), &found(&["10.0.0.1"]), &["uid-p"])), "LoopsBack");
        assert_eq!(reason(&seen(&found(&["10.0.0.2"]), &found(&["10.0.0.9"]), &["10.0.0.9"])), "LoopsBack");
    }

    #[test]
    fn the_node_itself_is_never_dialled() {
        let local = ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "100.100.100.200"];
        assert_eq!(counts(&seen(&found(&local), &found(&["10.0.0.1"]), &[])), [0, 1]);
    }

    #[test]
    fn numbered_ports_get_the_names_that_their_services_have_or_had() {
        let plan = plan(&json!(80), &json!("grpc"));
        let names = |plan: &Plan| {
            let gray = &plan.gray.as_ref().unwrap().arm.backend;
            [&plan.stable.backend, gray].map(|backend| match backend {
                Backend::Service(service) => service.port_name.as_ref().map(ToString::to_string),
                Backend::Addresses(_) => panic!(),
            })
        };
        let there =
            |_: &ServiceRef| service(&json!([{"name": "http", "port": 80}, {"name": "grpc", "port": 81}]));
        let named = with_port_names(&plan, there, &[]).unwrap();
        assert_eq!(names(&named), [Some("http".into()), None]);
        assert_eq!(with_port_names(&named, there, &[]), None);
        let gone = with_port_names(&plan, |_| None, &[&named.stable.backend]).unwrap();
        assert_eq!(names(&gone), [Some("http".into()), None]);
        assert_eq!(with_port_names(&plan, |_| None, &[]), None);
        let now_unnamed = |_: &ServiceRef| service(&json!([{"port": 80}]));
        let unnamed = with_port_names(&named, now_unnamed, &[&named.stable.backend]).unwrap();
        assert_eq!(names(&unnamed), [None, None]);
    }

    #[test]
    fn a_plan_in_effect_is_looked_at_beside_the_newest_and_forbids_nothing() {
        let (newest, before) = (plan(&json!(80), &json!(80)), plan(&json!("gone"), &json!(80)));
        let find = |_: &ServiceRef| found(&["10.0.0.1"]);
        let seen = look(Some(&newest), Some(&before), find, &BTreeSet::new());
        assert_eq!(counts(&seen), [1, 1, 0]);
        assert_eq!(reason(&seen), "ArmsOverlap");
        let alone = look(None, Some(&before), find, &BTreeSet::new());
        assert_eq!(reason(&alone), "ServicePortNotFound");
    }
}
