//! Slices in, endpoints out.

use halftone_routing::config::arm::ServicePort;
use proptest::prelude::*;

use super::*;

fn service(port: &str, port_name: Option<&str>) -> ServiceRef {
    let number = port.parse().ok().map(ServicePort::Number);
    ServiceRef {
        namespace: "shop".parse().unwrap(),
        name: "checkout".parse().unwrap(),
        port: number.unwrap_or_else(|| ServicePort::Name(port.parse().unwrap())),
        port_name: port_name.map(|name| name.parse().unwrap()),
    }
}

fn member(ip: &str) -> Member {
    Member { ip: ip.parse().unwrap(), ready: true, serving: true, terminating: false, pod: None }
}

fn of_pod(ip: &str, pod: &str) -> Member {
    Member { pod: Some(pod.into()), ..member(ip) }
}

fn slice(ports: &[(&str, u16)], members: &[Member]) -> Slice {
    let ports = ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
    Slice { service: "checkout".parse().unwrap(), ports, members: members.to_vec() }
}

fn resolved(slices: &[Slice], service: &ServiceRef) -> (Vec<String>, Option<Trouble>) {
    resolved_by(Reach::default(), slices, service)
}

fn resolved_by(reach: Reach, slices: &[Slice], service: &ServiceRef) -> (Vec<String>, Option<Trouble>) {
    let mut services = Services::new(reach);
    let named = slices.iter().enumerate().map(|(n, slice)| (n.to_string(), slice.clone()));
    services.list(&service.namespace, named);
    let Resolved { endpoints, trouble } = services.resolve(service).unwrap();
    (endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect(), trouble)
}

#[test]
fn a_port_is_found_by_its_name_and_a_number_by_what_the_document_calls_it() {
    let unnamed = [slice(&[("", 8080)], &[member("10.0.0.1")])];
    let one = [slice(&[("http", 8080)], &[member("10.0.0.1")])];
    let several = [slice(&[("http", 8080), ("metrics", 9090)], &[member("10.0.0.1")])];
    for (slices, port, name, found) in [
        (&unnamed, "80", None, Some("10.0.0.1:8080")),
        (&one, "80", None, Some("10.0.0.1:8080")),
        (&one, "80", Some("http"), Some("10.0.0.1:8080")),
        (&one, "80", Some("web"), None),
        (&one, "http", None, Some("10.0.0.1:8080")),
        (&one, "web", None, None),
        (&several, "80", Some("metrics"), Some("10.0.0.1:9090")),
        (&several, "80", None, None),
        (&several, "http", None, Some("10.0.0.1:8080")),
    ] {
        let trouble = found.is_none().then_some(Trouble::NoSuchPort);
        let found: Vec<_> = found.map(str::to_owned).into_iter().collect();
        assert_eq!(resolved(slices, &service(port, name)), (found, trouble), "{port} {name:?}");
    }
}

#[test]
fn a_named_target_port_may_differ_from_pod_to_pod() {
    let slices =
        [slice(&[("http", 8080)], &[member("10.0.0.1")]), slice(&[("http", 9090)], &[member("10.0.0.2")])];
    assert_eq!(resolved(&slices, &service("http", None)).0, ["10.0.0.1:8080", "10.0.0.2:9090"]);
}

#[test]
fn a_pod_of_two_families_counts_once() {
    let v4 = slice(&[("", 80)], &[of_pod("10.0.0.1", "a"), of_pod("10.0.0.2", "b")]);
    let v6 = slice(&[("", 80)], &[of_pod("fd00::1", "a"), of_pod("fd00::3", "c")]);
    let service = service("80", None);
    assert_eq!(
        resolved(&[v6.clone(), v4], &service).0,
        ["10.0.0.1:80", "10.0.0.2:80", "[fd00::3]:80"],
        "c has no other address"
    );
    assert_eq!(resolved(&[v6], &service).0, ["[fd00::1]:80", "[fd00::3]:80"]);
}

#[test]
fn addresses_that_no_pod_has_are_left_out_and_told() {
    for forbidden in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "fd00:ec2::254",
        "100.100.100.200",
    ] {
        let slices = [slice(&[("", 80)], &[member("10.0.0.1"), of_pod(forbidden, "p")])];
        let left = (vec!["10.0.0.1:80".to_owned()], Some(Trouble::ForbiddenAddress));
        assert_eq!(resolved(&slices, &service("80", None)), left, "{forbidden}");
    }
}

#[test]
fn a_service_that_selects_this_proxy_has_no_endpoint() {
    let reach = || Reach {
        pod: Some("me".to_owned()),
        sockets: vec!["10.0.0.9:8081".parse().unwrap()],
        loopback: false,
    };
    let sibling = of_pod("10.0.0.8", "sibling");
    let me = slice(&[("", 8080)], &[of_pod("10.0.0.9", "me"), sibling.clone()]);
    let by_hand = slice(&[("", 8081)], &[member("10.0.0.9"), sibling]);
    for looping in [me, by_hand] {
        let none = (Vec::new(), Some(Trouble::LoopsBack));
        assert_eq!(resolved_by(reach(), &[looping], &service("80", None)), none);
    }
    let other_port = slice(&[("", 8443)], &[member("10.0.0.9")]);
    assert_eq!(resolved_by(reach(), &[other_port], &service("80", None)).0, ["10.0.0.9:8443"]);
}

#[test]
fn a_slice_that_changes_hands_leaves_its_service() {
    let mut services = Services::new(Reach::default());
    let service = service("80", None);
    let namespace = service.namespace.clone();
    services.list(&namespace, [("s".to_owned(), slice(&[("", 80)], &[member("10.0.0.1")]))]);
    let other = Slice { service: "other".parse().unwrap(), ..slice(&[("", 80)], &[member("10.0.0.1")]) };
    let changed = services.put(&namespace, "s".to_owned(), Some(other));
    assert_eq!(changed.iter().map(ObjectName::as_str).collect::<Vec<_>>(), ["checkout", "other"]);
    assert_eq!(services.resolve(&service).unwrap(), Resolved::default());
}

#[test]
fn what_was_kept_holds_until_the_namespace_is_listed() {
    let mut services = Services::new(Reach::default());
    let service = service("80", None);
    let endpoints = vec![Endpoint::ready("10.0.0.1:80".parse().unwrap())];
    services.restore(vec![Kept { service: service.clone(), endpoints: endpoints.clone() }]);
    assert_eq!(services.resolve(&service).unwrap().endpoints, endpoints);
    services.list(&service.namespace, []);
    assert_eq!(services.resolve(&service).unwrap().endpoints, []);
}

/// A slice or its end.
fn event() -> impl Strategy<Value = (u8, Option<Slice>)> {
    let member = (0_u8..6, any::<[bool; 3]>(), prop::option::of(0_u8..4), any::<bool>());
    let member = member.prop_map(|(host, [ready, serving, terminating], pod, v6)| Member {
        ip: if v6 { format!("fd00::{host}") } else { format!("10.0.0.{host}") }.parse().unwrap(),
        ready,
        serving,
        terminating,
        pod: pod.map(|pod| pod.to_string().into()),
    });
    let slice = (prop::collection::vec(member, 0..5), any::<bool>())
        .prop_map(|(members, other)| slice(&[(if other { "web" } else { "http" }, 80)], &members));
    (0_u8..4, prop::option::weighted(0.8, slice))
}

proptest! {
    /// Only what slices say in the end counts, not the order in which it came, nor a list in between.
    #[test]
    fn the_order_of_events_never_matters(
        events in prop::collection::vec(event(), 0..20),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let service = service("http", None);
        let mut followed = Services::new(Reach::default());
        followed.list(&service.namespace, []);
        let mut last = BTreeMap::new();
        for (name, slice) in events {
            followed.put(&service.namespace, name.to_string(), slice.clone());
            last.insert(name, slice);
        }
        let mut left: Vec<_> = last.into_iter().filter_map(|(name, slice)| Some((name, slice?))).collect();
        if !left.is_empty() {
            let middle = shuffle.index(left.len());
            left.rotate_left(middle);
        }
        let mut listed = Services::new(Reach::default());
        // Other names, and thus another order within the Service.
        listed.list(&service.namespace, left.iter().map(|(name, slice)| ((9 - name).to_string(), slice.clone())));
        let resolved = followed.resolve(&service);
        prop_assert_eq!(&resolved, &listed.resolve(&service));
        let addresses: Vec<_> = resolved.unwrap().endpoints.iter().map(|e| e.address).collect();
        prop_assert!(addresses.is_sorted_by(|a, b| a < b), "sorted, none twice: {:?}", addresses);
    }
}
