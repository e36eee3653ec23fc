//! Pure: the EndpointSlices of the namespaces in use, in short form. The Kubernetes source (`source/kubernetes.rs`) tells
//! what slices there are; `endpoints.rs` asks here and fills its tables. What an endpoint is decides
//! `halftone_routing::endpoints`, as for the operator.
//!
//! Slices of a whole namespace are remembered, so that a Service that a document names for the first time is known at
//! that moment.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use halftone_routing::dial_policy::DialPolicy;
use halftone_routing::document::arm::ServiceRef;
use halftone_routing::document::names::ObjectName;
use halftone_routing::endpoints::{Endpoint, EndpointIssue, ResolvedEndpoints, Slice, resolve};
use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Endpoints as they are kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedServices {
    /// The Service's port.
    pub service: ServiceRef,
    /// Where it was.
    pub endpoints: Vec<Endpoint>,
}

/// The slices of all namespaces that are followed.
#[derive(Debug, Default)]
pub struct Services {
    reach: DialPolicy,
    namespaces: HashMap<ObjectName, Namespace>,
    /// From an earlier run, until their namespace is listed.
    kept: HashMap<ServiceRef, Vec<Endpoint>>,
}

#[derive(Debug, Default)]
struct Namespace {
    slices: HashMap<String, Slice>,
    by_service: HashMap<ObjectName, BTreeSet<String>>,
}

impl Services {
    /// None known yet.
    pub fn new(reach: DialPolicy) -> Self {
        Self {
            reach,
            ..Self::default()
        }
    }

    /// Takes what an earlier run kept.
    pub fn restore(&mut self, kept: Vec<SavedServices>) {
        self.kept = kept
            .into_iter()
            .map(|kept| (kept.service, kept.endpoints))
            .collect();
    }

    /// Takes the complete list of a namespace's slices in place of what was known of it.
    pub fn list(
        &mut self,
        namespace: &ObjectName,
        slices: impl IntoIterator<Item = (String, Slice)>,
    ) {
        let mut known = Namespace::default();
        slices
            .into_iter()
            .for_each(|(name, slice)| drop(known.put(name, Some(slice))));
        self.namespaces.insert(namespace.clone(), known);
        self.kept
            .retain(|service, _| service.namespace != *namespace);
    }

    /// Takes one slice as it is now; none: it is gone. Returns the Services that may have changed.
    pub fn put(
        &mut self,
        namespace: &ObjectName,
        name: String,
        slice: Option<Slice>,
    ) -> BTreeSet<ObjectName> {
        self.namespaces
            .get_mut(namespace)
            .map(|known| known.put(name, slice))
            .unwrap_or_default()
    }

    /// The namespace is followed no longer.
    pub fn forget(&mut self, namespace: &ObjectName) {
        self.namespaces.remove(namespace);
    }

    /// Where requests for a Service's port can go; none: nothing is known of it yet.
    pub fn resolve(&self, service: &ServiceRef) -> Option<ResolvedEndpoints> {
        let Some(namespace) = self.namespaces.get(&service.namespace) else {
            let endpoints = self.kept.get(service)?.clone();
            return Some(ResolvedEndpoints {
                endpoints,
                trouble: None,
            });
        };
        let names = namespace
            .by_service
            .get(&service.name)
            .into_iter()
            .flatten();
        let slices: Vec<&Slice> = names
            .filter_map(|name| namespace.slices.get(name))
            .collect();
        Some(resolve(&slices, service, &self.reach))
    }

    /// Those addresses of an arm by `addresses` that may be dialled.
    pub fn allowed(&self, addresses: &[SocketAddr]) -> ResolvedEndpoints {
        let endpoints = addresses.iter().copied().map(Endpoint::ready);
        let (endpoints, forbidden): (Vec<_>, Vec<_>) =
            endpoints.partition(|endpoint| self.reach.allows(endpoint.address));
        let loops = forbidden
            .iter()
            .any(|endpoint| self.reach.sockets.contains(&endpoint.address));
        let trouble = if loops {
            EndpointIssue::LoopsBack
        } else {
            EndpointIssue::ForbiddenAddress
        };
        ResolvedEndpoints {
            endpoints,
            trouble: (!forbidden.is_empty()).then_some(trouble),
        }
    }
}

impl Namespace {
    fn put(&mut self, name: String, slice: Option<Slice>) -> BTreeSet<ObjectName> {
        let mut changed = BTreeSet::new();
        if let Some(old) = self.slices.remove(&name) {
            if let Some(names) = self.by_service.get_mut(&old.service) {
                names.remove(&name);
                if names.is_empty() {
                    self.by_service.remove(&old.service);
                }
            }
            if slice.as_ref() != Some(&old) {
                changed.insert(old.service);
            }
        }
        if let Some(slice) = slice {
            changed.insert(slice.service.clone());
            self.by_service
                .entry(slice.service.clone())
                .or_default()
                .insert(name.clone());
            self.slices.insert(name, slice);
        }
        changed
    }
}
