//! From the slices of one Service to the endpoints of one of its ports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use super::{Endpoint, EndpointIssue, ResolvedEndpoints, Slice, SliceEndpoint};
use crate::dial_policy::DialPolicy;
use crate::document::arm::{ServicePort, ServiceRef};

/// How much may be expected of an endpoint: the higher, the better.
type Rank = (bool, bool, bool, bool);

/// Where requests for a Service's port can go, for whoever may dial what is within `reach`.
#[must_use]
pub fn resolve(slices: &[&Slice], service: &ServiceRef, reach: &DialPolicy) -> ResolvedEndpoints {
    let mut members = slices.iter().flat_map(|slice| &slice.members);
    let loops_back = || ResolvedEndpoints {
        endpoints: Vec::new(),
        trouble: Some(EndpointIssue::LoopsBack),
    };
    if reach.pod.is_some()
        && members
            .clone()
            .any(|member| member.pod.as_deref() == reach.pod.as_deref())
    {
        return loops_back();
    }
    let Some(found) = members_of_port(slices, service) else {
        let trouble = members.next().map(|_| EndpointIssue::NoSuchPort);
        return ResolvedEndpoints {
            endpoints: Vec::new(),
            trouble,
        };
    };
    if found.iter().any(|(address, _)| reach.is(*address)) {
        return loops_back();
    }
    let (dialled, forbidden): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(address, _)| reach.allows(*address));
    let trouble = (!forbidden.is_empty()).then_some(EndpointIssue::ForbiddenAddress);
    ResolvedEndpoints {
        endpoints: of_one_family_each(&dialled),
        trouble,
    }
}

/// The members of the slices that have the Service's port, each with its address; none if no slice has the port.
#[must_use]
pub fn members_of_port<'a>(
    slices: &[&'a Slice],
    service: &ServiceRef,
) -> Option<Vec<(SocketAddr, &'a SliceEndpoint)>> {
    let port = port_name(slices, service)?;
    let with_port = slices
        .iter()
        .filter_map(|slice| Some((*slice.ports.get(port)?, &slice.members)));
    let found = with_port.flat_map(|(port, members)| {
        members
            .iter()
            .map(move |member| (SocketAddr::new(member.ip, port), member))
    });
    Some(found.collect())
}

/// Of a pod with addresses of both families only those of one are taken: two would give it twice its share. The better
/// one is, and of equal ones IPv4. What is behind an address without a pod nobody knows, so each stands for itself.
fn of_one_family_each(found: &[(SocketAddr, &SliceEndpoint)]) -> Vec<Endpoint> {
    let mut families: HashMap<&str, (Rank, bool)> = HashMap::new();
    for (address, member) in found {
        let Some(pod) = member.pod.as_deref() else {
            continue;
        };
        let this = (rank(&endpoint(*address, member)), address.is_ipv4());
        let best = families.entry(pod).or_insert(this);
        *best = this.max(*best);
    }
    let taken = found.iter().filter(|(address, member)| {
        let family = member.pod.as_deref().and_then(|pod| families.get(pod));
        family.is_none_or(|(_, is_v4)| *is_v4 == address.is_ipv4())
    });
    let mut endpoints = BTreeMap::new();
    for (address, member) in taken {
        let endpoint = endpoint(*address, member);
        let known = endpoints.entry(*address).or_insert(endpoint);
        *known = best(*known, endpoint);
    }
    endpoints.into_values().collect()
}

/// What slices call the Service's port: by what the document says; for a number without a name the unnamed port, or
/// the only one there is.
fn port_name<'a>(slices: &[&'a Slice], service: &ServiceRef) -> Option<&'a str> {
    let names: BTreeSet<&str> = slices
        .iter()
        .flat_map(|slice| slice.ports.keys())
        .map(String::as_str)
        .collect();
    let wanted = match (&service.port_name, &service.port) {
        (Some(name), _) | (None, ServicePort::Name(name)) => name.as_str(),
        (None, ServicePort::Number(_)) if names.len() == 1 => return names.first().copied(),
        (None, ServicePort::Number(_)) => "",
    };
    names.get(wanted).copied()
}

fn endpoint(address: SocketAddr, member: &SliceEndpoint) -> Endpoint {
    let SliceEndpoint {
        ready,
        serving,
        terminating,
        ..
    } = *member;
    Endpoint {
        address,
        ready,
        serving,
        terminating,
    }
}

fn rank(e: &Endpoint) -> Rank {
    (e.is_ready(), e.serving, e.ready, !e.terminating)
}

/// An endpoint on its way from one slice to another is in both for a moment; the better word counts, and a connection
/// that fails is made elsewhere.
fn best(one: Endpoint, other: Endpoint) -> Endpoint {
    std::cmp::max_by_key(one, other, rank)
}
