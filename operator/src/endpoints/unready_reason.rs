//! Why an arm has no ready endpoint, in words for conditions: what its EndpointSlices say, and what to look at.

use std::collections::BTreeSet;

use halftone_routing::document::arm::ServiceRef;
use halftone_routing::endpoints::{EndpointIssue, ResolvedEndpoints, Slice};

/// Why none of the slices' members is a ready endpoint of the Service's port.
pub(super) fn why(
    reference: &ServiceRef,
    slices: &[&Slice],
    resolved: &ResolvedEndpoints,
) -> String {
    let service = &reference.name;
    let is_empty = slices.iter().all(|slice| slice.members.is_empty());
    match resolved.trouble {
        _ if is_empty => {
            format!(
                "Service {service} has no endpoints; is it scaled to 0, or does its selector match no pod?"
            )
        }
        Some(EndpointIssue::NoSuchPort) => format!(
            "no endpoint of Service {service} has its port; its EndpointSlices have {}; do the pods have a port as \
             targetPort names it?",
            ports(slices)
        ),
        Some(EndpointIssue::ForbiddenAddress) if resolved.endpoints.is_empty() => format!(
            "the endpoints of Service {service} are at addresses that proxies never dial, such as loopback and link-local \
             ones"
        ),
        _ => format!("none of the endpoints of Service {service} is ready"),
    }
}

fn ports(slices: &[&Slice]) -> String {
    let names: BTreeSet<&str> = slices
        .iter()
        .flat_map(|slice| slice.ports.keys())
        .map(String::as_str)
        .collect();
    let named: Vec<&str> = names
        .into_iter()
        .map(|name| {
            if name.is_empty() {
                "an unnamed one"
            } else {
                name
            }
        })
        .collect();
    if named.is_empty() {
        "no TCP port".to_owned()
    } else {
        named.join(", ")
    }
}
