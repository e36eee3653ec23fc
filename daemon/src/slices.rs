//! An EndpointSlice as the API has it, in short form: what a port, an endpoint and their conditions mean is read here and
//! nowhere else, by operator and proxies alike.

use std::net::IpAddr;

use halftone_routing::endpoints::{PROTOCOL, Slice, SliceEndpoint};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::ResourceExt;

/// The label that says which Service a slice is of.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// The address type of slices that name hosts, which are not dialled.
const HOST_NAMES: &str = "FQDN";

/// The short form; none: it is of no Service. A slice that names hosts has no members.
#[must_use]
pub fn slice(object: &EndpointSlice) -> Option<Slice> {
    let service = object.labels().get(SERVICE_LABEL)?.parse().ok()?;
    let ports = object.ports.iter().flatten().filter_map(port).collect();
    let endpoints = object
        .endpoints
        .iter()
        .filter(|_| object.address_type != HOST_NAMES);
    Some(Slice {
        service,
        ports,
        members: endpoints.filter_map(member).collect(),
    })
}

/// The address of an endpoint: the first one, if it can be read.
#[must_use]
pub fn address(endpoint: &Endpoint) -> Option<IpAddr> {
    endpoint.addresses.first()?.parse().ok()
}

fn port(port: &EndpointPort) -> Option<(String, u16)> {
    let forwarded = port
        .protocol
        .as_deref()
        .is_none_or(|protocol| protocol == PROTOCOL);
    let number = port.port.and_then(|number| u16::try_from(number).ok())?;
    (forwarded && number != 0).then(|| (port.name.clone().unwrap_or_default(), number))
}

fn member(endpoint: &Endpoint) -> Option<SliceEndpoint> {
    let conditions = endpoint.conditions.as_ref();
    // What is not said is ready; what is not said to serve serves if it is ready.
    let ready = conditions
        .and_then(|conditions| conditions.ready)
        .unwrap_or(true);
    let serving = conditions
        .and_then(|conditions| conditions.serving)
        .unwrap_or(ready);
    let terminating = conditions
        .and_then(|conditions| conditions.terminating)
        .unwrap_or(false);
    let pod = endpoint.target_ref.as_ref().and_then(identity);
    Some(SliceEndpoint {
        ip: address(endpoint)?,
        ready,
        serving,
        terminating,
        pod,
    })
}

/// What is behind an endpoint: the uid; a slice that was made by hand may give a name alone.
fn identity(target: &ObjectReference) -> Option<Box<str>> {
    let named = || {
        let [kind, namespace] =
            [&target.kind, &target.namespace].map(|part| part.as_deref().unwrap_or_default());
        Some(format!("{kind}/{namespace}/{}", target.name.as_deref()?).into())
    };
    target.uid.as_deref().map(Into::into).or_else(named)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn read(object: Value) -> Option<Slice> {
        slice(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_slice_is_read_as_the_api_writes_it() {
        let read = read(json!({
            "metadata": {"name": "checkout-v1-abcde", "labels": {"kubernetes.io/service-name": "checkout-v1"}},
            "addressType": "IPv4",
            "ports": [
                {"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "", "port": 9090},
            ],
            "endpoints": [
                {"addresses": ["10.0.0.1", "10.9.9.9"], "conditions": {"ready": true, "serving": true, "terminating": false},
                 "targetRef": {"kind": "Pod", "namespace": "shop", "name": "a", "uid": "uid-a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.4"]},
                {"addresses": ["10.0.0.5"], "targetRef": {"kind": "Pod", "namespace": "shop", "name": "e"}},
            ],
        }));
        let Slice {
            service,
            ports,
            members,
        } = read.unwrap();
        assert_eq!(service.as_str(), "checkout-v1");
        assert_eq!(
            ports,
            BTreeMap::from([("http".to_owned(), 8080), (String::new(), 9090)])
        );
        let told = |m: &SliceEndpoint| {
            (
                m.ip.to_string(),
                m.ready,
                m.serving,
                m.terminating,
                m.pod.as_deref().map(str::to_owned),
            )
        };
        assert_eq!(
            members.iter().map(told).collect::<Vec<_>>(),
            [
                (
                    "10.0.0.1".to_owned(),
                    true,
                    true,
                    false,
                    Some("uid-a".to_owned())
                ),
                ("10.0.0.2".to_owned(), false, true, true, None),
                ("10.0.0.3".to_owned(), false, false, false, None),
                ("10.0.0.4".to_owned(), true, true, false, None),
                (
                    "10.0.0.5".to_owned(),
                    true,
                    true,
                    false,
                    Some("Pod/shop/e".to_owned())
                ),
            ]
        );
    }

    #[test]
    fn a_port_of_another_protocol_is_no_port_whatever_its_name() {
        let slice = |port| {
            let labels = json!({"kubernetes.io/service-name": "dns"});
            read(
                json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": [], "ports": [port]}),
            )
        };
        for (port, taken) in [
            (json!({"name": "web", "port": 80}), true),
            (json!({"name": "web", "port": 80, "protocol": "TCP"}), true),
            (json!({"name": "web", "port": 80, "protocol": "UDP"}), false),
            (
                json!({"name": "web", "port": 80, "protocol": "SCTP"}),
                false,
            ),
            (json!({"name": "web"}), false),
        ] {
            assert_eq!(
                slice(port.clone()).unwrap().ports.len(),
                usize::from(taken),
                "{port}"
            );
        }
    }

    #[test]
    fn host_names_empty_slices_and_slices_of_no_service_give_nothing() {
        let labels = json!({"kubernetes.io/service-name": "a"});
        let names = json!({"metadata": {"labels": labels}, "addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}, {"addresses": ["10.0.0.1"]}]});
        assert_eq!(read(names).unwrap().members, []);
        let empty = json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": null, "ports": null});
        assert_eq!(read(empty).unwrap().ports.len(), 0);
        assert_eq!(
            read(json!({"metadata": {}, "addressType": "IPv4", "endpoints": []})),
            None
        );
    }
}
