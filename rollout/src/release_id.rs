//! The release id: which gray version, where, for whom. A new id is a new release, which begins at ratio 0;
//! whatever else changes takes effect in place.
//!
//! It is computed over the spec as written, never over defaults, so that no upgrade changes the id of anything.

use halftone_routing::config::units::ReleaseId;
use sha2::{Digest, Sha256};

use crate::spec::{ArmSpec, GrayReleaseSpec, IntOrString};

/// The first 16 hex digits of SHA-256 over these strings, each preceded by its length in bytes and `:`:
/// `halftone-release-1`, the gray version, `service/NAME/PORT` or `addresses/` and the sorted addresses joined
/// by commas, the path prefix, the salt. Without gray, what describes it is empty.
pub fn release_id(spec: &GrayReleaseSpec) -> ReleaseId {
    let gray = spec.gray.as_ref();
    let version = gray.map_or("", |gray| gray.version.as_str());
    let backend = gray.map(backend).unwrap_or_default();
    let prefix = gray.and_then(|gray| gray.path_prefix.as_deref()).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in ["halftone-release-1", version, &backend, prefix, &spec.identity.salt] {
        hash.update(part.len().to_string());
        hash.update(":");
        hash.update(part);
    }
    let digest = hash.finalize();
    let first = digest.first_chunk().expect("a SHA-256 digest has 32 bytes");
    ReleaseId::from_bits(u64::from_be_bytes(*first))
}

fn backend(arm: &ArmSpec) -> String {
    if let Some(service) = &arm.service {
        let port = match &service.port {
            IntOrString::Int(number) => number.to_string(),
            IntOrString::String(name) => name.clone(),
        };
        return format!("service/{}/{port}", service.name);
    }
    let mut addresses: Vec<&str> = arm.addresses.iter().flatten().map(String::as_str).collect();
    addresses.sort_unstable();
    format!("addresses/{}", addresses.join(","))
}
