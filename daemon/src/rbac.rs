//! What the operator may ask of the API server, and nothing else: the chart's roles are made of this, and
//! `halftone check` asks whether it may.

/// Where a permission is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace, or in each of `watchNamespaces`.
    Releases,
    /// In the namespaces of the fleets.
    Fleets,
}

/// One line of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
    /// Where.
    pub scope: Scope,
}

const READ: &[&str] = &["get", "list", "watch"];

/// All of them. No Secrets: the tokens are mounted. No workloads, no webhooks.
pub const PERMISSIONS: &[Permission] = &[
    allow("halftone.dev", "grayreleases", READ, Scope::Releases),
    allow("halftone.dev", "grayreleases/status", &["update"], Scope::Releases),
    allow("", "services", READ, Scope::Releases),
    allow("discovery.k8s.io", "endpointslices", READ, Scope::Releases),
    allow("events.k8s.io", "events", &["create"], Scope::Releases),
    // About our own pods; those about releases are where the releases are.
    allow("events.k8s.io", "events", &["create"], Scope::Fleets),
    allow("", "pods", READ, Scope::Fleets),
    allow("", "configmaps", &["get", "list", "watch", "create", "patch", "delete"], Scope::Fleets),
    allow("coordination.k8s.io", "leases", &["get", "create", "update", "delete"], Scope::Fleets),
];

const fn allow(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    scope: Scope,
) -> Permission {
    Permission { group, resource, verbs, scope }
}
