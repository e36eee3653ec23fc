//! From Services and EndpointSlices to what `advance` has to know of the arms: how many ready endpoints each has and why it
//! has none, which references lead nowhere, which pods are where they must not be. Pure. What an endpoint is decides
//! `halftone_routing::endpoints`, as for the proxies.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use halftone_api::Obstacle;
use halftone_api::Plan;
use halftone_daemon::slices::{address, slice};
use halftone_routing::dial_policy::{DialPolicy, is_dialled};
use halftone_routing::document::arm::{Backend, ServiceRef};
use halftone_routing::endpoints::{Slice, members_of_port, resolve};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use self::ports::{port_of, unspoken};

mod ports;
mod unready_reason;

pub use self::ports::name_port;

/// A Service as the cluster has it.
#[derive(Debug, Clone, Default)]
pub struct ServiceSnapshot {
    /// The Service; none if there is none.
    pub service: Option<Arc<Service>>,
    /// Its EndpointSlices.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// What is seen of the arms of a release.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ArmObservation {
    /// Ready endpoints of each arm of the newest plan and of the one in effect, as proxies count them.
    pub endpoints: Vec<(Backend, usize)>,
    /// Why an arm has none.
    pub lacking: Vec<(Backend, String)>,
    /// What keeps the newest plan from rising.
    pub unresolved: Option<Obstacle>,
    /// A Service of the newest plan that says that its port speaks what proxies do not.
    pub unspoken: Option<String>,
}

/// One arm whose endpoints were looked at.
struct ArmLookup {
    arm: &'static str,
    found: ServiceSnapshot,
    members: Vec<ArmEndpoint>,
    ready: usize,
    lacking: Option<String>,
}

/// One endpoint of an arm that requests may be sent to, ready or not.
struct ArmEndpoint {
    /// The uid of its pod; elsewhere its address. A pod with addresses of both families is one.
    identity: Box<str>,
    address: IpAddr,
}

/// Looks at the arms of the `newest` plan, or, where that is not to be had, of the one `in_effect`. `find` looks a
/// Service up, and `proxies` are the uids and addresses of the fleets' own pods.
#[must_use]
pub fn look(
    newest: Option<&Plan>,
    in_effect: Option<&Plan>,
    find: impl Fn(&ServiceRef) -> ServiceSnapshot,
    proxies: &BTreeSet<String>,
) -> ArmObservation {
    let mut seen = ArmObservation::default();
    let mut arms: Vec<ArmLookup> = Vec::new();
    for (plan, is_wanted) in newest
        .map(|plan| (plan, true))
        .into_iter()
        .chain(in_effect.map(|plan| (plan, newest.is_none())))
    {
        let gray = plan.gray.as_ref().map(|gray| ("gray", &gray.arm.backend));
        for (arm, backend) in std::iter::once(("stable", &plan.stable.backend)).chain(gray) {
            let known = seen.endpoints.iter().any(|(known, _)| known == backend);
            if known && !is_wanted {
                continue;
            }
            let mut looked = ArmLookup::at(arm, backend, &find);
            if !known {
                seen.endpoints.push((backend.clone(), looked.ready));
                seen.lacking
                    .extend(looked.lacking.take().map(|why| (backend.clone(), why)));
            }
            if is_wanted {
                seen.take_port(arm, backend, looked.found.service.as_deref());
                arms.push(looked);
            }
        }
    }
    let apart = newest.or(in_effect).is_some_and(are_apart_by_path);
    seen.unresolved = seen
        .unresolved
        .or_else(|| loops_back(&arms, proxies))
        .or_else(|| overlap(&arms).filter(|_| !apart));
    seen
}

impl ArmObservation {
    /// Whether the Service has the port that the arm names, and what it says of it.
    fn take_port(&mut self, arm: &str, backend: &Backend, service: Option<&Service>) {
        let Backend::Service(reference) = backend else {
            return;
        };
        match port_of(arm, reference, service) {
            Ok(port) => {
                self.unspoken = self
                    .unspoken
                    .take()
                    .or_else(|| unspoken(arm, reference, port))
            }
            Err(obstacle) => self.unresolved = self.unresolved.take().or(Some(obstacle)),
        }
    }
}

impl ArmLookup {
    fn at(
        arm: &'static str,
        backend: &Backend,
        find: impl Fn(&ServiceRef) -> ServiceSnapshot,
    ) -> Self {
        match backend {
            Backend::Service(reference) => Self::at_service(arm, reference, find(reference)),
            Backend::Addresses(addresses) => {
                let dialled = addresses
                    .as_ref()
                    .iter()
                    .filter(|address| is_dialled(address.ip()));
                let member = |address: &std::net::SocketAddr| ArmEndpoint {
                    identity: address.to_string().into(),
                    address: address.ip(),
                };
                let members: Vec<ArmEndpoint> = dialled.map(member).collect();
                Self {
                    arm,
                    found: ServiceSnapshot::default(),
                    ready: members.len(),
                    members,
                    lacking: None,
                }
            }
        }
    }

    fn at_service(arm: &'static str, reference: &ServiceRef, found: ServiceSnapshot) -> Self {
        let slices: Vec<Slice> = found
            .slices
            .iter()
            .filter_map(|object| slice(object))
            .collect();
        let slices: Vec<&Slice> = slices.iter().collect();
        let resolved = resolve(&slices, reference, &DialPolicy::default());
        let members = members_of_port(&slices, reference)
            .unwrap_or_default()
            .into_iter();
        let members =
            members
                .filter(|(address, _)| is_dialled(address.ip()))
                .map(|(address, member)| ArmEndpoint {
                    identity: member
                        .pod
                        .clone()
                        .unwrap_or_else(|| address.ip().to_string().into()),
                    address: address.ip(),
                });
        Self {
            arm,
            members: members.collect(),
            ready: resolved.ready(),
            lacking: (resolved.ready() == 0)
                .then(|| unready_reason::why(reference, &slices, &resolved)),
            found,
        }
    }

    /// How people know a member.
    fn name(&self, member: &ArmEndpoint) -> String {
        let mut endpoints = self.found.slices.iter().flat_map(|slice| &slice.endpoints);
        let found = endpoints.find(|endpoint| address(endpoint) == Some(member.address));
        let name = found.and_then(|endpoint| endpoint.target_ref.as_ref()?.name.clone());
        name.unwrap_or_else(|| member.address.to_string())
    }
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
        let Some(Backend::Service(reference)) = backend else {
            return None;
        };
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

fn loops_back(arms: &[ArmLookup], proxies: &BTreeSet<String>) -> Option<Obstacle> {
    let of_fleet = |member: &&ArmEndpoint| {
        proxies.contains(&*member.identity) || proxies.contains(&member.address.to_string())
    };
    let (looked, member) = arms
        .iter()
        .find_map(|looked| Some((looked, looked.members.iter().find(of_fleet)?)))?;
    let arm = looked.arm;
    let message = format!(
        "spec.{arm}.service: {} is a proxy, so requests would go round in circles or to its admin pages; name the Service of \
         the {arm} version's own pods",
        looked.name(member)
    );
    Some(Obstacle::new("LoopsBack", message))
}

/// Front ends often lie side by side behind one web server; then the path says which version is meant.
fn are_apart_by_path(plan: &Plan) -> bool {
    plan.gray
        .as_ref()
        .is_some_and(|gray| gray.arm.path_prefix != plan.stable.path_prefix)
}

fn overlap(arms: &[ArmLookup]) -> Option<Obstacle> {
    let of = |wanted: &str| arms.iter().find(|looked| looked.arm == wanted);
    let (stable, gray) = (of("stable")?, of("gray")?);
    let known: BTreeSet<&str> = stable
        .members
        .iter()
        .map(|member| &*member.identity)
        .collect();
    let shared = gray
        .members
        .iter()
        .find(|member| known.contains(&*member.identity))?;
    let message = format!(
        "{} is an endpoint of stable and of gray; make the selectors of the two Services exclude each other, as with a \
         label for the version",
        gray.name(shared)
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
        Some(Arc::new(
            serde_json::from_value(json!({"metadata": {}, "spec": {"ports": ports}})).unwrap(),
        ))
    }

    /// `ADDRESS=POD` or `ADDRESS`; `!` before it: not ready.
    fn slice(port: &Value, endpoints: &[&str]) -> Arc<EndpointSlice> {
        let endpoint = |text: &&str| {
            let (ready, text) = text
                .strip_prefix('!')
                .map_or((true, *text), |text| (false, text));
            match text.split_once('=') {
                Some((address, pod)) => json!({
                    "addresses": [address], "conditions": {"ready": ready},
                    "targetRef": {"kind": "Pod", "name": pod, "uid": format!("uid-{pod}")},
                }),
                None => json!({"addresses": [text], "conditions": {"ready": ready}}),
            }
        };
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
        let metadata = json!({"labels": {"kubernetes.io/service-name": "any"}});
        let slice = json!({"metadata": metadata, "addressType": "IPv4", "ports": [port], "endpoints": endpoints});
        Arc::new(serde_json::from_value(slice).unwrap())
    }

    fn seen(one: &ServiceSnapshot, two: &ServiceSnapshot, proxies: &[&str]) -> ArmObservation {
        let plan = plan(&json!(80), &json!("http"));
        let find = |reference: &ServiceRef| {
            if reference.name.as_str() == "one" {
                one.clone()
            } else {
                two.clone()
            }
        };
        look(
            Some(&plan),
            Some(&plan),
            find,
            &proxies.iter().map(ToString::to_string).collect(),
        )
    }

    fn found(endpoints: &[&str]) -> ServiceSnapshot {
        let slices = vec![slice(&json!({"name": "http", "port": 8080}), endpoints)];
        ServiceSnapshot {
            service: service(&json!([{"name": "http", "port": 80}])),
            slices,
        }
    }

    fn counts(seen: &ArmObservation) -> Vec<usize> {
        seen.endpoints.iter().map(|(_, count)| *count).collect()
    }

    fn reason(seen: &ArmObservation) -> &str {
        seen.unresolved
            .as_ref()
            .map_or("", |obstacle| &obstacle.reason)
    }

    #[test]
    fn ready_endpoints_are_counted_by_arm_and_once_each() {
        let seen = seen(
            &found(&["10.0.0.1=a", "fd00::1=a", "!10.0.0.2=b"]),
            &found(&["10.0.0.3", "10.0.0.4"]),
            &[],
        );
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
        two.slices.push(slice(
            &json!({"name": "metrics", "port": 9090}),
            &["10.0.0.4"],
        ));
        assert_eq!(counts(&seen(&found(&["10.0.0.1"]), &two, &[])), [1, 1]);
    }

    #[test]
    fn a_port_without_a_name_is_found_by_its_number() {
        let one = ServiceSnapshot {
            service: service(&json!([{"port": 80, "targetPort": 8080}])),
            slices: vec![slice(&json!({"name": "", "port": 8080}), &["10.0.0.1"])],
        };
        assert_eq!(counts(&seen(&one, &found(&[]), &[])), [1, 0]);
    }

    #[test]
    fn what_leads_nowhere_is_told() {
        let (good, none) = (found(&["10.0.0.1"]), ServiceSnapshot::default());
        let other = ServiceSnapshot {
            service: service(&json!([{"name": "grpc", "port": 81}])),
            slices: Vec::new(),
        };
        assert_eq!(reason(&seen(&good, &none, &[])), "ServiceNotFound");
        assert_eq!(reason(&seen(&other, &good, &[])), "ServicePortNotFound");
        let message = seen(&other, &good, &[]).unresolved.unwrap().message;
        assert_eq!(
            message,
            "spec.stable.service: Service one has no TCP port 80; it has 81 (grpc)"
        );
    }

    fn lacking(seen: &ArmObservation) -> Vec<&str> {
        seen.lacking.iter().map(|(_, why)| why.as_str()).collect()
    }

    #[test]
    fn what_proxies_cannot_use_is_no_endpoint_and_the_reason_is_told() {
        let good = found(&["10.0.0.1"]);
        let at = |port: Value, endpoints: &[&str]| ServiceSnapshot {
            service: service(&json!([{"name": "http", "port": 80}])),
            slices: vec![slice(&port, endpoints)],
        };
        let http = |endpoints: &[&str]| at(json!({"name": "http", "port": 8080}), endpoints);
        for (two, why) in [
            (http(&[]), "has no endpoints"),
            (
                http(&["!10.0.0.2"]),
                "none of the endpoints of Service two is ready",
            ),
            (http(&["127.0.0.1"]), "never dial"),
            (
                at(json!({"name": "web", "port": 8080}), &["10.0.0.2"]),
                "its EndpointSlices have web",
            ),
            (
                at(
                    json!({"name": "http", "port": 8080, "protocol": "UDP"}),
                    &["10.0.0.2"],
                ),
                "have no TCP port",
            ),
        ] {
            let seen = seen(&good, &two, &[]);
            assert_eq!((counts(&seen), reason(&seen)), (vec![1, 0], ""), "{why}");
            assert!(
                lacking(&seen)[0].contains(why),
                "{why}: {:?}",
                lacking(&seen)
            );
        }
        assert_eq!(lacking(&seen(&good, &found(&["10.0.0.2"]), &[])), [""; 0]);
    }

    #[test]
    fn addresses_of_both_families_count_each_where_no_pod_is_named() {
        let seen = seen(
            &found(&["10.0.0.1", "fd00::1", "fd00::2"]),
            &found(&["fd00::3"]),
            &[],
        );
        assert_eq!(counts(&seen), [3, 1]);
    }

    #[test]
    fn of_two_protocols_on_one_number_the_port_is_the_tcp_one() {
        let plan = plan(&json!(53), &json!(53));
        let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]);
        let named = with_port_names(&plan, |_| service(&ports), &[]).unwrap();
        let Backend::Service(stable) = &named.stable.backend else {
            panic!()
        };
        assert_eq!(
            stable.port_name.as_ref().map(|name| name.as_str()),
            Some("dns-tcp")
        );
        let only_udp = ServiceSnapshot {
            service: service(&json!([{"name": "dns", "port": 53, "protocol": "UDP"}])),
            ..ServiceSnapshot::default()
        };
        let seen = look(Some(&plan), None, |_| only_udp.clone(), &BTreeSet::new());
        let message = seen.unresolved.unwrap().message;
        assert_eq!(
            message,
            "spec.stable.service: Service one has no TCP port 53; it has 53/UDP (dns)"
        );
    }

    #[test]
    fn endpoints_go_on_counting_when_their_service_is_gone_as_they_do_for_proxies() {
        let gone = ServiceSnapshot {
            service: None,
            ..found(&["10.0.0.2"])
        };
        let seen = seen(&found(&["10.0.0.1"]), &gone, &[]);
        assert_eq!(
            (counts(&seen), reason(&seen)),
            (vec![1, 1], "ServiceNotFound")
        );
    }

    #[test]
    fn a_port_that_says_it_speaks_something_else_is_told_of_and_stops_nothing() {
        for (protocol, told) in [
            ("https", true),
            ("kubernetes.io/h2c", true),
            ("HTTP2", true),
            ("http", false),
            ("acme/x", false),
        ] {
            let mut two = found(&["10.0.0.2"]);
            two.service = service(&json!([{"name": "http", "port": 80, "appProtocol": protocol}]));
            let seen = seen(&found(&["10.0.0.1"]), &two, &[]);
            assert_eq!(
                (seen.unspoken.is_some(), reason(&seen)),
                (told, ""),
                "{protocol}"
            );
        }
    }

    #[test]
    fn a_pod_that_is_in_both_arms_is_found_ready_or_not() {
        let seen = seen(
            &found(&["10.0.0.1=a", "10.0.0.2=b"]),
            &found(&["!10.0.0.2=b"]),
            &[],
        );
        assert_eq!(reason(&seen), "ArmsOverlap");
    }

    #[test]
    fn proxies_of_the_fleet_are_no_endpoints() {
        assert_eq!(
            reason(&seen(
                &found(&["10.0.0.9=p"]),
                &found(&["10.0.0.1"]),
                &["uid-p"]
            )),
            "LoopsBack"
        );
        assert_eq!(
            reason(&seen(
                &found(&["10.0.0.2"]),
                &found(&["10.0.0.9"]),
                &["10.0.0.9"]
            )),
            "LoopsBack"
        );
    }

    #[test]
    fn the_node_itself_is_never_dialled() {
        let local = [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "100.100.100.200",
        ];
        assert_eq!(
            counts(&seen(&found(&local), &found(&["10.0.0.1"]), &[])),
            [0, 1]
        );
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
        let there = |_: &ServiceRef| {
            service(&json!([{"name": "http", "port": 80}, {"name": "grpc", "port": 81}]))
        };
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
        let (newest, before) = (
            plan(&json!(80), &json!(80)),
            plan(&json!("gone"), &json!(80)),
        );
        let find = |_: &ServiceRef| found(&["10.0.0.1"]);
        let seen = look(Some(&newest), Some(&before), find, &BTreeSet::new());
        assert_eq!(counts(&seen), [1, 1, 0]);
        assert_eq!(reason(&seen), "ArmsOverlap");
        let alone = look(None, Some(&before), find, &BTreeSet::new());
        assert_eq!(reason(&alone), "ServicePortNotFound");
    }
}
