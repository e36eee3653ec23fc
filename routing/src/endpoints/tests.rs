//! Slices in, endpoints out.

use proptest::prelude::*;

use super::*;
use crate::dial_policy::DialPolicy;
use crate::document::arm::{ServicePort, ServiceRef};

fn service(port: &str, port_name: Option<&str>) -> ServiceRef {
    let number = port.parse().ok().map(ServicePort::Number);
    ServiceRef {
        namespace: "shop".parse().unwrap(),
        name: "checkout".parse().unwrap(),
        port: number.unwrap_or_else(|| ServicePort::Name(port.parse().unwrap())),
        port_name: port_name.map(|name| name.parse().unwrap()),
    }
}

fn member(ip: &str) -> SliceEndpoint {
    SliceEndpoint {
        ip: ip.parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
        pod: None,
    }
}

fn of_pod(ip: &str, pod: &str) -> SliceEndpoint {
    SliceEndpoint {
        pod: Some(pod.into()),
        ..member(ip)
    }
}

fn slice(ports: &[(&str, u16)], members: &[SliceEndpoint]) -> Slice {
    let ports = ports
        .iter()
        .map(|(name, port)| ((*name).to_owned(), *port))
        .collect();
    Slice {
        service: "checkout".parse().unwrap(),
        ports,
        members: members.to_vec(),
    }
}

fn resolved(slices: &[Slice], service: &ServiceRef) -> (Vec<String>, Option<EndpointIssue>) {
    resolved_by(&DialPolicy::default(), slices, service)
}

fn resolved_by(
    reach: &DialPolicy,
    slices: &[Slice],
    service: &ServiceRef,
) -> (Vec<String>, Option<EndpointIssue>) {
    let slices: Vec<&Slice> = slices.iter().collect();
    let ResolvedEndpoints { endpoints, trouble } = resolve(&slices, service, reach);
    (
        endpoints
            .iter()
            .map(|endpoint| endpoint.address.to_string())
            .collect(),
        trouble,
    )
}

#[test]
fn a_port_is_found_by_its_name_and_a_number_by_what_the_document_calls_it() {
    let unnamed = [slice(&[("", 8080)], &[member("10.0.0.1")])];
    let one = [slice(&[("http", 8080)], &[member("10.0.0.1")])];
    let several = [slice(
        &[("http", 8080), ("metrics", 9090)],
        &[member("10.0.0.1")],
    )];
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
        let trouble = found.is_none().then_some(EndpointIssue::NoSuchPort);
        let found: Vec<_> = found.map(str::to_owned).into_iter().collect();
        assert_eq!(
            resolved(slices, &service(port, name)),
            (found, trouble),
            "{port} {name:?}"
        );
    }
}

#[test]
fn a_named_target_port_may_differ_from_pod_to_pod() {
    let slices = [
        slice(&[("http", 8080)], &[member("10.0.0.1")]),
        slice(&[("http", 9090)], &[member("10.0.0.2")]),
    ];
    assert_eq!(
        resolved(&slices, &service("http", None)).0,
        ["10.0.0.1:8080", "10.0.0.2:9090"]
    );
}

#[test]
fn a_pod_of_two_families_counts_once() {
    let v4 = slice(
        &[("", 80)],
        &[of_pod("10.0.0.1", "a"), of_pod("10.0.0.2", "b")],
    );
    let v6 = slice(
        &[("", 80)],
        &[of_pod("fd00::1", "a"), of_pod("fd00::3", "c")],
    );
    let service = service("80", None);
    assert_eq!(
        resolved(&[v6.clone(), v4], &service).0,
        ["10.0.0.1:80", "10.0.0.2:80", "[fd00::3]:80"],
        "c has no other address"
    );
    assert_eq!(
        resolved(&[v6], &service).0,
        ["[fd00::1]:80", "[fd00::3]:80"]
    );
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
        let slices = [slice(
            &[("", 80)],
            &[member("10.0.0.1"), of_pod(forbidden, "p")],
        )];
        let left = (
            vec!["10.0.0.1:80".to_owned()],
            Some(EndpointIssue::ForbiddenAddress),
        );
        assert_eq!(resolved(&slices, &service("80", None)), left, "{forbidden}");
    }
}

#[test]
fn a_service_that_selects_this_proxy_has_no_endpoint() {
    let reach = || DialPolicy {
        pod: Some("me".to_owned()),
        sockets: vec!["10.0.0.9:8081".parse().unwrap()],
        loopback: false,
    };
    let sibling = of_pod("10.0.0.8", "sibling");
    let me = slice(&[("", 8080)], &[of_pod("10.0.0.9", "me"), sibling.clone()]);
    let by_hand = slice(&[("", 8081)], &[member("10.0.0.9"), sibling]);
    for looping in [me, by_hand] {
        let none = (Vec::new(), Some(EndpointIssue::LoopsBack));
        assert_eq!(
            resolved_by(&reach(), &[looping], &service("80", None)),
            none
        );
    }
    let other_port = slice(&[("", 8443)], &[member("10.0.0.9")]);
    assert_eq!(
        resolved_by(&reach(), &[other_port], &service("80", None)).0,
        ["10.0.0.9:8443"]
    );
}

#[test]
fn addresses_that_name_no_pod_all_count_whatever_their_family() {
    let v4 = slice(&[("", 80)], &[member("10.0.0.1"), member("10.0.0.2")]);
    let v6 = slice(&[("", 80)], &[member("fd00::1"), member("fd00::2")]);
    let all = ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80", "[fd00::2]:80"];
    assert_eq!(resolved(&[v6, v4], &service("80", None)).0, all);
}

#[test]
fn a_pod_is_reached_by_the_family_that_serves() {
    let unready = |ip, pod| SliceEndpoint {
        ready: false,
        serving: false,
        ..of_pod(ip, pod)
    };
    let service = service("80", None);
    for (v4, v6, taken) in [
        (
            of_pod("10.0.0.1", "a"),
            of_pod("fd00::1", "a"),
            "10.0.0.1:80",
        ),
        (
            unready("10.0.0.1", "a"),
            of_pod("fd00::1", "a"),
            "[fd00::1]:80",
        ),
        (
            unready("10.0.0.1", "a"),
            unready("fd00::1", "a"),
            "10.0.0.1:80",
        ),
        (
            of_pod("169.254.0.1", "a"),
            of_pod("fd00::1", "a"),
            "[fd00::1]:80",
        ),
        (
            of_pod("10.0.0.1", "a"),
            of_pod("fe80::1", "a"),
            "10.0.0.1:80",
        ),
    ] {
        let slices = [slice(&[("", 80)], &[v6]), slice(&[("", 80)], &[v4])];
        assert_eq!(resolved(&slices, &service).0, [taken]);
    }
}

#[test]
fn only_what_takes_new_requests_counts_as_ready() {
    for (ready, serving, terminating, counts) in [
        (true, true, false, 1),
        (true, false, false, 1),
        // As with publishNotReadyAddresses.
        (true, true, true, 0),
        (false, true, true, 0),
        (false, false, false, 0),
    ] {
        let member = SliceEndpoint {
            ready,
            serving,
            terminating,
            ..member("10.0.0.1")
        };
        let slice = slice(&[("", 80)], &[member]);
        assert_eq!(
            resolve(&[&slice], &service("80", None), &DialPolicy::default()).ready(),
            counts
        );
    }
}

fn any_slice() -> impl Strategy<Value = Slice> {
    let member = (
        0_u8..6,
        any::<[bool; 3]>(),
        prop::option::of(0_u8..4),
        any::<bool>(),
    );
    let member = member.prop_map(
        |(host, [ready, serving, terminating], pod, v6)| SliceEndpoint {
            ip: if v6 {
                format!("fd00::{host}")
            } else {
                format!("10.0.0.{host}")
            }
            .parse()
            .unwrap(),
            ready,
            serving,
            terminating,
            pod: pod.map(|pod| pod.to_string().into()),
        },
    );
    (prop::collection::vec(member, 0..6), any::<bool>())
        .prop_map(|(members, other)| slice(&[(if other { "web" } else { "http" }, 80)], &members))
}

proptest! {
    /// An address that names no pod is never lost, a pod that has a ready address never counts as unready, and the order
    /// of slices means nothing.
    #[test]
    fn nobody_who_can_be_reached_is_lost(slices in prop::collection::vec(any_slice(), 0..5), by in 0_usize..5) {
        let service = service("http", None);
        let of = |slices: &[Slice]| resolve(&slices.iter().collect::<Vec<_>>(), &service, &DialPolicy::default());
        let found = of(&slices);
        let has = |ip: IpAddr| found.endpoints.iter().find(|endpoint| endpoint.address.ip() == ip);
        let members = slices.iter().filter(|slice| slice.ports.contains_key("http")).flat_map(|slice| &slice.members);
        for member in members.clone() {
            let ready = member.ready && !member.terminating;
            match &member.pod {
                None => prop_assert!(has(member.ip).is_some_and(|found| found.is_ready() || !ready)),
                Some(pod) => {
                    let mut siblings = members.clone().filter(|other| other.pod.as_ref() == Some(pod));
                    prop_assert!(siblings.any(|other| has(other.ip).is_some_and(|found| found.is_ready() || !ready)));
                }
            }
        }
        let mut turned = slices.clone();
        turned.rotate_left(by % slices.len().max(1));
        turned.reverse();
        prop_assert_eq!(found, of(&turned));
    }
}
