//! The release id: which gray version, where, for whom. A new id is a new release, which begins at ratio 0;
//! whatever else changes takes effect in place.
//!
//! It is computed over the spec as written, never over defaults, so that no upgrade changes the id of anything.

use halftone_routing::document::units::ReleaseId;
use sha2::{Digest, Sha256};

use crate::spec::{ArmSpec, GrayReleaseSpec, IntOrString};

/// The first 16 hex digits of SHA-256 over these strings, each preceded by its length in bytes and `:`:
/// `halftone-release-1`, the gray version, `service/NAME/PORT` or `addresses/` and the sorted addresses joined
/// by commas, the path prefix, the salt. Without gray, what describes it is empty.
pub fn release_id(spec: &GrayReleaseSpec) -> ReleaseId {
    let gray = spec.gray.as_ref();
    let version = gray.map_or("", |gray| gray.version.as_str());
    let backend = gray.map(backend).unwrap_or_default();
    let prefix = gray
        .and_then(|gray| gray.path_prefix.as_deref())
        .unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [
        "halftone-release-1",
        version,
        &backend,
        prefix,
        &spec.identity.salt,
    ] {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id(gray: &Value, salt: &str) -> String {
        let spec = json!({
            "hosts": ["*"],
            "stable": {"service": {"name": "checkout-v1", "port": 80}, "version": "v1"},
            "gray": gray,
            "identity": {"salt": salt},
        });
        release_id(&serde_json::from_value(spec).unwrap()).to_string()
    }

    /// Each was made by hand, as in `printf '18:halftone-release-12:v222:service/checkout-v2/800:0:' | sha256sum |
    /// cut -c1-16`. An id that changes sends everyone in the middle of a release back to ratio 0.
    #[test]
    fn the_id_of_a_spec_never_changes() {
        let service = |port: Value| json!({"service": {"name": "checkout-v2", "port": port}, "version": "v2"});
        let mut prefixed = service(json!(80));
        prefixed["pathPrefix"] = json!("/v2");
        let addresses = json!({"addresses": ["10.0.0.9:80", "[fd00::1]:8080", "10.0.0.10:80"], "version": "2.0.1"});
        for (gray, salt, hex) in [
            // 18:halftone-release-1 2:v2 22:service/checkout-v2/80 0: 0:
            (service(json!(80)), "", "820e728d3ac288ed"),
            // 18:halftone-release-1 2:v2 24:service/checkout-v2/http 0: 0:
            (service(json!("http")), "", "8c80ba68401a07f7"),
            // 18:halftone-release-1 2:v2 22:service/checkout-v2/80 3:/v2 0:
            (prefixed, "", "65ec28ecf1715ef0"),
            // 18:halftone-release-1 2:v2 22:service/checkout-v2/80 0: 6:spring
            (service(json!(80)), "spring", "83ad6878a2baf801"),
            // 18:halftone-release-1 2:v2 22:service/checkout-v2/80 0: 7:größe, which has seven bytes
            (service(json!(80)), "größe", "ffbd6e2b11cdfed3"),
            // 18:halftone-release-1 5:2.0.1 49:addresses/10.0.0.10:80,10.0.0.9:80,[fd00::1]:8080 0: 0:
            (addresses, "", "f2dc8cfb9450bca6"),
            // 18:halftone-release-1 0: 0: 0: 0:
            (Value::Null, "", "90ef20de09f79c7d"),
        ] {
            assert_eq!(id(&gray, salt), hex, "{gray} {salt:?}");
        }
    }

    #[test]
    fn only_what_makes_another_release_is_in_it() {
        let gray = json!({"service": {"name": "checkout-v2", "port": 80}, "version": "v2"});
        let mut tuned = gray.clone();
        tuned["maxInFlight"] = json!(7);
        tuned["lenient"] = json!(true);
        tuned["maxTunnels"] = json!(7);
        tuned["timeouts"] = json!({"connect": "9s"});
        tuned["healthCheck"] = json!({"path": "/healthz"});
        assert_eq!(id(&tuned, ""), id(&gray, ""));
    }
}
