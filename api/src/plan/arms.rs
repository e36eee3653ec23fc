//! From the arms as written to those of the routing document.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use halftone_routing::document::{
    arm::{ArmConfig, Backend, CheckThreshold, HealthCheck, ServicePort, ServiceRef, Timeouts},
    names::ObjectName,
    units::InvalidValue,
};

use super::reader::SpecReader;
use crate::{
    problem::field,
    spec::{
        ArmSpec, GrayReleaseSpec, HealthCheckSpec, IntOrString, TimeoutsSpec, pattern::PORT_NAME,
        rules,
    },
    structural,
};

pub(super) fn read(
    reader: &mut SpecReader,
    path: &str,
    arm: &ArmSpec,
    namespace: Option<&ObjectName>,
) -> Option<ArmConfig> {
    let backend = backend(reader, path, arm, namespace);
    let version = reader.text(&field(path, "version"), &arm.version);
    let prefix_path = field(path, "pathPrefix");
    let path_prefix = match &arm.path_prefix {
        Some(prefix) => super::path(reader, &prefix_path, prefix)
            .map(|prefix| (prefix.as_str() != "/").then_some(prefix)),
        None => Some(None),
    };
    let timeouts = timeouts(reader, &field(path, "timeouts"), &arm.timeouts);
    let positive = |most: i32| u32::try_from(most).ok().filter(|most| *most > 0);
    let health_check = match &arm.health_check {
        Some(check) => health_check(reader, &field(path, "healthCheck"), check).map(Some),
        None => Some(None),
    };
    Some(ArmConfig {
        backend: backend?,
        version: version?,
        path_prefix: path_prefix?,
        timeouts: timeouts?,
        max_in_flight: positive(arm.max_in_flight)?,
        max_tunnels: positive(arm.max_tunnels)?,
        health_check: health_check?,
        lenient: arm.lenient,
    })
}

fn backend(
    reader: &mut SpecReader,
    path: &str,
    arm: &ArmSpec,
    namespace: Option<&ObjectName>,
) -> Option<Backend> {
    reader.require(
        arm.service.is_some() != arm.addresses.is_some(),
        path,
        rules::ONE_BACKEND,
    )?;
    if let Some(written) = &arm.service {
        let path = field(path, "service");
        return service(
            reader,
            &path,
            namespace.cloned(),
            &written.name,
            &written.port,
        );
    }
    let path = field(path, "addresses");
    let addresses = addresses(reader, &path, arm.addresses.as_deref().unwrap_or_default())?;
    reader
        .valid(&path, super::reader::distinct(addresses).try_into())
        .map(Backend::Addresses)
}

/// A Service as a backend; none where its namespace, read before, is none.
pub(crate) fn service(
    reader: &mut SpecReader,
    path: &str,
    namespace: Option<ObjectName>,
    name: &str,
    port: &IntOrString,
) -> Option<Backend> {
    let name = reader.text(&field(path, "name"), name);
    let port = self::port(port);
    if port.is_none() {
        reader.mismatch(&field(path, "port"), PORT_NAME);
    }
    Some(Backend::Service(ServiceRef {
        namespace: namespace?,
        name: name?,
        port: port?,
        port_name: None,
    }))
}

/// The addresses of a backend.
pub(crate) fn addresses(
    reader: &mut SpecReader,
    path: &str,
    written: &[String],
) -> Option<Vec<SocketAddr>> {
    reader.each(path, written, |reader, path, text| {
        let address = address(text);
        reader.require(address.is_some(), path, rules::ADDRESS)?;
        address
    })
}

fn port(port: &IntOrString) -> Option<ServicePort> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number)
            .ok()?
            .try_into()
            .ok()
            .map(ServicePort::Number),
        IntOrString::String(name) => name
            .parse()
            .ok()
            .filter(|_| structural::matches(PORT_NAME, name))
            .map(ServicePort::Name),
    }
}

/// IP:PORT. Zones and IPv4-mapped addresses are refused, as the API server does.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|port| digits && *port > 0)?;
    match host.strip_prefix('[') {
        Some(rest) => {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            address
                .to_ipv4_mapped()
                .is_none()
                .then_some(SocketAddr::from((address, port)))
        }
        None => Some(SocketAddr::from((host.parse::<Ipv4Addr>().ok()?, port))),
    }
}

fn timeouts(reader: &mut SpecReader, path: &str, timeouts: &TimeoutsSpec) -> Option<Timeouts> {
    let connect = reader.positive(&field(path, "connect"), &timeouts.connect);
    let response_head = reader.positive(&field(path, "responseHead"), &timeouts.response_head);
    let idle = reader.positive(&field(path, "idle"), &timeouts.idle);
    let tunnel = reader.positive(&field(path, "tunnel"), &timeouts.tunnel);
    Some(Timeouts {
        connect_ms: connect?,
        response_head_ms: response_head?,
        idle_ms: idle?,
        tunnel_ms: tunnel?,
    })
}

fn health_check(
    reader: &mut SpecReader,
    path: &str,
    check: &HealthCheckSpec,
) -> Option<HealthCheck> {
    let target = reader.text(&field(path, "path"), &check.path);
    let interval = reader.at_least(
        &field(path, "interval"),
        &check.interval,
        100,
        rules::CHECK_INTERVAL,
    );
    let timeout = reader.positive(&field(path, "timeout"), &check.timeout);
    let times = |times: i32| {
        u64::try_from(times).map_err(|_| InvalidValue::new("is below 0; write 1 to 100"))
    };
    let unhealthy = times(check.unhealthy_after).and_then(CheckThreshold::try_from);
    let healthy = times(check.healthy_after).and_then(CheckThreshold::try_from);
    let unhealthy_after = reader.valid(&field(path, "unhealthyAfter"), unhealthy);
    let healthy_after = reader.valid(&field(path, "healthyAfter"), healthy);
    Some(HealthCheck {
        path: target?,
        interval_ms: interval?,
        timeout_ms: timeout?,
        unhealthy_after: unhealthy_after?,
        healthy_after: healthy_after?,
    })
}

/// What the two arms have to have in common, and what not.
pub(super) fn compare(reader: &mut SpecReader, spec: &GrayReleaseSpec) {
    reader.require(
        spec.gray.is_some() == spec.target_ratio.is_some(),
        "spec.targetRatio",
        rules::TARGET_WITH_GRAY,
    );
    if let Some(gray) = &spec.gray {
        reader.require(
            gray.version != spec.stable.version,
            "spec.gray.version",
            rules::VERSIONS_DIFFER,
        );
        reader.require(
            !same_backend(&spec.stable, gray),
            "spec.gray",
            rules::ARMS_DIFFER,
        );
    }
}

fn same_backend(stable: &ArmSpec, gray: &ArmSpec) -> bool {
    let prefix = |arm: &ArmSpec| arm.path_prefix.clone().unwrap_or_default();
    if prefix(stable) != prefix(gray) {
        return false;
    }
    match (&stable.service, &gray.service) {
        (Some(stable), Some(gray)) => stable == gray,
        _ => {
            let stable = stable.addresses.as_deref().unwrap_or_default();
            gray.addresses
                .iter()
                .flatten()
                .any(|address| stable.contains(address))
        }
    }
}
