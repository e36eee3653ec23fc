//! What things are called in the cluster: the contract between operator, proxies and chart, in one place.

use std::fmt;
use std::sync::Arc;

use halftone_routing::document::names::{ObjectName, Uid};
use kube::ResourceExt;

/// Label of everything that belongs to a fleet; its value is the class.
pub const CLASS_LABEL: &str = "halftone.dev/class";
/// Label of a fleet's ConfigMaps of every kind but routing documents and settings; its value is the class. Proxies of
/// version 0.1 take whatever has [`CLASS_LABEL`] for a document, so it must not be there.
pub const FLEET_LABEL: &str = "halftone.dev/fleet";
/// Label beside [`FLEET_LABEL`]: what such a ConfigMap holds.
pub const KIND_LABEL: &str = "halftone.dev/kind";
/// The [`KIND_LABEL`] of the operators' keys.
pub const KIND_KEYS: &str = "Keys";
/// Annotation on the ConfigMap of a release: the namespace of the GrayRelease.
pub const NAMESPACE_ANNOTATION: &str = "halftone.dev/release-namespace";
/// Annotation on the ConfigMap of a release: the name of the GrayRelease.
pub const NAME_ANNOTATION: &str = "halftone.dev/release-name";
/// Annotation on the ConfigMap of a fleet: the installation that looks after the class.
pub const CONTROLLER_ANNOTATION: &str = "halftone.dev/controller";
/// Annotation on the ConfigMap of a fleet: a person has the class handed over to this installation, see
/// [`Order`](crate::ownership::HandOverOrder).
pub const HAND_OVER_ANNOTATION: &str = "halftone.dev/hand-over-to";
/// The key of a routing document in its ConfigMap.
pub const DOCUMENT_KEY: &str = "routing.json";
/// The key of the spec that is in effect, beside its document; proxies pass over it.
pub const ACCEPTED_KEY: &str = "accepted.json";
/// The key of a fleet's settings in their ConfigMap.
pub const FLEET_KEY: &str = "fleet.json";
/// The key of the operators' keys in their ConfigMap.
pub const KEYS_KEY: &str = "keys.json";
/// Field manager of everything that the operator applies.
pub const MANAGER: &str = "halftone-operator";
/// Who events say that they are from.
pub const CONTROLLER: &str = "halftone.dev/operator";
/// The name of the port of a proxy's pod where reports are.
pub const ADMIN_PORT: &str = "admin";

const RELEASE_PREFIX: &str = "gr-";

/// The name of the ConfigMap of a release.
#[must_use]
pub fn release_config_map(uid: &Uid) -> String {
    format!("{RELEASE_PREFIX}{uid}")
}

/// Whose document a ConfigMap of this name holds; none if it is no release's.
#[must_use]
pub fn uid_of_config_map(name: &str) -> Option<Uid> {
    name.strip_prefix(RELEASE_PREFIX)?.parse().ok()
}

/// The name of the ConfigMap of a fleet.
#[must_use]
pub fn fleet_config_map(class: &ObjectName) -> String {
    format!("halftone-fleet-{class}")
}

/// The name of the ConfigMap with the keys of the operators of a fleet.
#[must_use]
pub fn keys_config_map(class: &ObjectName) -> String {
    format!("halftone-keys-{class}")
}

/// The name of the Lease of a fleet.
#[must_use]
pub fn lease(class: &ObjectName) -> String {
    format!("halftone-{class}")
}

/// Which release: namespace and name, whatever object bears them at the moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl NamespacedName {
    /// A release by its namespace and name.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object.
    pub fn of<K: ResourceExt>(object: &K) -> Self {
        Self::new(&object.namespace().unwrap_or_default(), &object.name_any())
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
