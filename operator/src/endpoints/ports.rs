//! The port of a Service that an arm names: whether there is one that can be forwarded to, what EndpointSlices call it,
//! and what the Service says that it speaks. A port of another protocol than TCP is not there.

use halftone_api::Obstacle;
use halftone_routing::document::arm::{Backend, ServicePort, ServiceRef};
use halftone_routing::endpoints::PROTOCOL;
use k8s_openapi::api::core::v1::{Service, ServicePort as Port};

/// What Services call protocols (`appProtocol`) that proxies do not speak to backends. A word that is not here may be
/// anything, and most backends that have none speak HTTP/1.1.
const UNSPOKEN: [&str; 11] = [
    "https",
    "tls",
    "h2",
    "h2c",
    "http2",
    "grpc",
    "grpcs",
    "wss",
    "kubernetes.io/h2c",
    "kubernetes.io/wss",
    "kubernetes.io/tls",
];

/// Notes what the Service calls a port that is given by number.
pub fn name_port(reference: &mut ServiceRef, service: Option<&Service>, before: &[&Backend]) {
    let ServicePort::Number(number) = reference.port else {
        return;
    };
    let mut ports = service.into_iter().flat_map(forwarded);
    let found = ports.find(|port| port.port == i32::from(number.get()));
    reference.port_name = match found {
        Some(port) => port.name.as_deref().and_then(|name| name.parse().ok()),
        None => before
            .iter()
            .find_map(|before| match before {
                Backend::Service(before) if is_same(before, reference) => {
                    Some(before.port_name.clone())
                }
                _ => None,
            })
            .flatten(),
    };
}

fn is_same(a: &ServiceRef, b: &ServiceRef) -> bool {
    (&a.namespace, &a.name, &a.port) == (&b.namespace, &b.name, &b.port)
}

/// The ports that can be forwarded to.
fn forwarded(service: &Service) -> impl Iterator<Item = &Port> {
    all(service).iter().filter(|port| is_forwarded(port))
}

fn all(service: &Service) -> &[Port] {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}

fn is_forwarded(port: &Port) -> bool {
    port.protocol
        .as_deref()
        .is_none_or(|protocol| protocol == PROTOCOL)
}

/// The port of the Service that an arm names.
///
/// # Errors
/// There is no such Service or port, or it leads nowhere.
pub(super) fn port_of<'a>(
    arm: &str,
    reference: &ServiceRef,
    service: Option<&'a Service>,
) -> Result<&'a Port, Obstacle> {
    let ServiceRef {
        namespace,
        name,
        port,
        ..
    } = reference;
    let Some(service) = service else {
        let message = format!(
            "spec.{arm}.service: there is no Service {name} in namespace {namespace}; create it"
        );
        return Err(Obstacle::new("ServiceNotFound", message));
    };
    if service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        let message = format!(
            "spec.{arm}.service: Service {name} is an ExternalName, which has no endpoints; name a Service with a selector"
        );
        return Err(Obstacle::new("ServiceWithoutEndpoints", message));
    }
    let is_wanted = |known: &&Port| match port {
        ServicePort::Number(number) => known.port == i32::from(number.get()),
        ServicePort::Name(name) => known.name.as_deref() == Some(name.as_str()),
    };
    forwarded(service).find(is_wanted).ok_or_else(|| {
        let known: Vec<String> = all(service).iter().map(describe).collect();
        let message = format!(
            "spec.{arm}.service: Service {name} has no {PROTOCOL} port {}; it has {}",
            shown(port),
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
        Obstacle::new("ServicePortNotFound", message)
    })
}

fn describe(port: &Port) -> String {
    let mut text = port.port.to_string();
    if !is_forwarded(port) {
        text += &format!("/{}", port.protocol.as_deref().unwrap_or_default());
    }
    if let Some(name) = &port.name {
        text += &format!(" ({name})");
    }
    text
}

fn shown(port: &ServicePort) -> String {
    match port {
        ServicePort::Number(number) => number.to_string(),
        ServicePort::Name(name) => name.to_string(),
    }
}

/// What to say of a port that says of itself that it speaks what proxies do not.
pub(super) fn unspoken(arm: &str, reference: &ServiceRef, port: &Port) -> Option<String> {
    let protocol = port.app_protocol.as_deref()?;
    UNSPOKEN.iter().any(|known| known.eq_ignore_ascii_case(protocol)).then(|| {
        format!(
            "spec.{arm}.service: port {} of Service {} says appProtocol: {protocol}, and proxies speak HTTP/1.1 without TLS \
             to it; name a port that speaks that, or correct appProtocol",
            shown(&reference.port),
            reference.name
        )
    })
}
