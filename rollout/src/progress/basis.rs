//! What a stage rests on, as strings that only change when their meaning does: they outlive this program in
//! `status.basis`, and an upgrade must not send a release back to its first step.

use halftone_api::plan::Plan;
use halftone_routing::{
    document::{
        arm::{ArmConfig, Backend, ServicePort},
        identity::{GeneratedCookie, IdentityConfig, IdentitySource},
    },
    hex,
};
use sha2::{Digest, Sha256};

use super::{Basis, health_fingerprint};

impl Basis {
    /// What `plan` asks for.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            stable: arm(&plan.stable),
            identity: sources(&plan.identity),
            missing: missing(&plan.identity),
            health: digest(&[&health_fingerprint::text(&plan.health)]),
            force: plan.force,
        }
    }

    /// Whether this was its stable arm.
    pub(crate) fn is_stable(&self, arm: &ArmConfig) -> bool {
        self.stable == self::arm(arm)
    }

    /// Whether users between the arms would be others by `after`.
    pub(crate) fn moves_identity(&self, after: &Self) -> bool {
        let missing = !self.missing.is_empty() && self.missing != after.missing;
        self.identity != after.identity || missing
    }
}

/// The same for an object that goes on from the document of another one.
pub(crate) fn moves_identity(before: &IdentityConfig, after: &IdentityConfig) -> bool {
    (sources(before), missing(before)) != (sources(after), missing(after))
}

/// Who answers: which version, where.
fn arm(arm: &ArmConfig) -> String {
    let prefix = arm
        .path_prefix
        .as_ref()
        .map_or("", |prefix| prefix.as_str());
    digest(&[arm.version.as_str(), &backend(&arm.backend), prefix])
}

fn sources(identity: &IdentityConfig) -> String {
    digest(&[&json(&plain(&identity.from))])
}

/// In one word. Nobody is without an identity where one is generated.
fn missing(identity: &IdentityConfig) -> String {
    let generates = identity
        .from
        .iter()
        .any(|source| matches!(source, IdentitySource::Generated(_)));
    if generates {
        "Generated".to_owned()
    } else {
        format!("{:?}", identity.when_missing)
    }
}

/// Where identities come from. Who gets the generated cookie back changes nothing of what it says.
fn plain(from: &[IdentitySource]) -> Vec<IdentitySource> {
    let plain = |source: &IdentitySource| match source {
        IdentitySource::Generated(generated) => IdentitySource::Generated(GeneratedCookie::plain(
            generated.cookie.clone(),
            generated.max_age_ms,
        )),
        other => other.clone(),
    };
    from.iter().map(plain).collect()
}

/// Where the arm's servers are. Time-outs and checks are left out: they change nothing of who answers.
fn backend(backend: &Backend) -> String {
    match backend {
        Backend::Service(service) => {
            let port = match &service.port {
                ServicePort::Number(number) => number.to_string(),
                ServicePort::Name(name) => name.to_string(),
            };
            format!("service/{}/{}/{port}", service.namespace, service.name)
        }
        Backend::Addresses(addresses) => {
            let mut addresses: Vec<_> =
                addresses.as_ref().iter().map(ToString::to_string).collect();
            addresses.sort_unstable();
            format!("addresses/{}", addresses.join(","))
        }
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_string());
        hash.update(b":");
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

/// In the form of the routing document, which keeps its meaning.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("parts of a routing document are plain JSON")
}
