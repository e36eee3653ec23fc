//! What the operator may ask of the API server, and nothing else: the chart's roles are made of this, and
//! `halftone check` asks whether it may.

/// Where a permission is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionScope {
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
    pub scope: PermissionScope,
}

const READ: &[&str] = &["get", "list", "watch"];

/// All of them. No Secrets: the tokens are mounted. No workloads, no webhooks.
pub const PERMISSIONS: &[Permission] = &[
    allow(
        "halftone.dev",
        "grayreleases",
        READ,
        PermissionScope::Releases,
    ),
    allow(
        "halftone.dev",
        "grayreleases/status",
        &["update"],
        PermissionScope::Releases,
    ),
    allow("", "services", READ, PermissionScope::Releases),
    allow(
        "discovery.k8s.io",
        "endpointslices",
        READ,
        PermissionScope::Releases,
    ),
    allow(
        "events.k8s.io",
        "events",
        &["create"],
        PermissionScope::Releases,
    ),
    // About our own pods; those about releases are where the releases are.
    allow(
        "events.k8s.io",
        "events",
        &["create"],
        PermissionScope::Fleets,
    ),
    allow("", "pods", READ, PermissionScope::Fleets),
    allow(
        "",
        "configmaps",
        &["get", "list", "watch", "create", "patch", "delete"],
        PermissionScope::Fleets,
    ),
    allow(
        "coordination.k8s.io",
        "leases",
        &["get", "create", "update", "delete"],
        PermissionScope::Fleets,
    ),
];

const fn allow(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    scope: PermissionScope,
) -> Permission {
    Permission {
        group,
        resource,
        verbs,
        scope,
    }
}
