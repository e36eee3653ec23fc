//! Events in, endpoints out.

use std::collections::BTreeMap;

use halftone_routing::document::arm::ServicePort;
use halftone_routing::endpoints::SliceEndpoint;
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

fn member(ip: &str) -> SliceEndpoint {
    SliceEndpoint {
        ip: ip.parse().unwrap(),
        ready: true,
        serving: true,
        terminating: false,
        pod: None,
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

#[test]
fn a_slice_that_changes_hands_leaves_its_service() {
    let mut services = Services::new(DialPolicy::default());
    let service = service("80", None);
    let namespace = service.namespace.clone();
    services.list(
        &namespace,
        [("s".to_owned(), slice(&[("", 80)], &[member("10.0.0.1")]))],
    );
    let other = Slice {
        service: "other".parse().unwrap(),
        ..slice(&[("", 80)], &[member("10.0.0.1")])
    };
    let changed = services.put(&namespace, "s".to_owned(), Some(other));
    assert_eq!(
        changed.iter().map(ObjectName::as_str).collect::<Vec<_>>(),
        ["checkout", "other"]
    );
    assert_eq!(
        services.resolve(&service).unwrap(),
        ResolvedEndpoints::default()
    );
}

#[test]
fn what_was_kept_holds_until_the_namespace_is_listed() {
    let mut services = Services::new(DialPolicy::default());
    let service = service("80", None);
    let endpoints = vec![Endpoint::ready("10.0.0.1:80".parse().unwrap())];
    services.restore(vec![SavedServices {
        service: service.clone(),
        endpoints: endpoints.clone(),
    }]);
    assert_eq!(services.resolve(&service).unwrap().endpoints, endpoints);
    services.list(&service.namespace, []);
    assert_eq!(services.resolve(&service).unwrap().endpoints, []);
}

/// A slice or its end.
fn event() -> impl Strategy<Value = (u8, Option<Slice>)> {
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
        let mut followed = Services::new(DialPolicy::default());
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
        let mut listed = Services::new(DialPolicy::default());
        // Other names, and thus another order within the Service.
        listed.list(&service.namespace, left.iter().map(|(name, slice)| ((9 - name).to_string(), slice.clone())));
        let resolved = followed.resolve(&service);
        prop_assert_eq!(&resolved, &listed.resolve(&service));
        let addresses: Vec<_> = resolved.unwrap().endpoints.iter().map(|e| e.address).collect();
        prop_assert!(addresses.is_sorted_by(|a, b| a < b), "sorted, none twice: {:?}", addresses);
    }
}
