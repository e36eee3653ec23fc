//! Pure: from the slices of one Service to the endpoints of one of its ports.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;

use halftone_routing::config::arm::{ServicePort, ServiceRef};

use super::{Member, Reach, Resolved, Slice, Trouble};
use crate::upstream::endpoints::Endpoint;

/// Where requests for a Service's port can go.
pub(super) fn resolve(slices: &[&Slice], service: &ServiceRef, reach: &Reach) -> Resolved {
    let members = || slices.iter().flat_map(|slice| &slice.members);
    if reach.pod.is_some() && members().any(|member| member.pod.as_deref() == reach.pod.as_deref()) {
        return Resolved { endpoints: Vec::new(), trouble: Some(Trouble::LoopsBack) };
    }
    let Some(port) = port_name(slices, service) else {
        let trouble = members().next().map(|_| Trouble::NoSuchPort);
        return Resolved { endpoints: Vec::new(), trouble };
    };
    let with_port = slices.iter().filter_map(|slice| Some((slice.ports.get(port)?, &slice.members)));
    let found = with_port
        .flat_map(|(port, members)| members.iter().map(|member| (SocketAddr::new(member.ip, *port), member)));
    let (v4, v6): (Vec<_>, Vec<_>) = found.partition(|(address, _)| address.is_ipv4());
    // Of a pod with both families one address is enough, and two would give it twice its share.
    let with_v4: HashSet<_> = v4.iter().map(|(_, member)| &member.pod).collect();
    let v6 = v6.iter().filter(|(_, member)| !with_v4.contains(&member.pod));
    let mut endpoints = BTreeMap::new();
    let mut trouble = None;
    for (address, member) in v4.iter().chain(v6) {
        if reach.is(*address) {
            return Resolved { endpoints: Vec::new(), trouble: Some(Trouble::LoopsBack) };
        }
        if reach.allows(*address) {
            let endpoint = endpoint(*address, member);
            let known = endpoints.entry(*address).or_insert(endpoint);
            *known = best(*known, endpoint);
        } else {
            trouble = Some(Trouble::ForbiddenAddress);
        }
    }
    Resolved { endpoints: endpoints.into_values().collect(), trouble }
}

/// What slices call the Service's port: by what the document says; for a number without a name the unnamed port, or
/// the only one there is.
fn port_name<'a>(slices: &[&'a Slice], service: &'a ServiceRef) -> Option<&'a str> {
    let names: BTreeSet<&str> =
        slices.iter().flat_map(|slice| slice.ports.keys()).map(String::as_str).collect();
    let wanted = match (&service.port_name, &service.port) {
        (Some(name), _) | (None, ServicePort::Name(name)) => name.as_str(),
        (None, ServicePort::Number(_)) if names.len() == 1 => return names.first().copied(),
        (None, ServicePort::Number(_)) => "",
    };
    names.get(wanted).copied()
}

fn endpoint(address: SocketAddr, member: &Member) -> Endpoint {
    let Member { ready, serving, terminating, .. } = *member;
    Endpoint { address, ready, serving, terminating }
}

/// An endpoint on its way from one slice to another is in both for a moment; the better word counts, and a connection
/// that fails is made elsewhere.
fn best(one: Endpoint, other: Endpoint) -> Endpoint {
    let rank = |e: &Endpoint| (e.ready && !e.terminating, e.serving, e.ready, !e.terminating);
    std::cmp::max_by_key(one, other, rank)
}
