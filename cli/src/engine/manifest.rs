//! From the text of a file to releases that this machine can serve.

use halftone_api::manifest::{self, Manifest};
use halftone_routing::document::arm::{ArmConfig, Backend};

use crate::fleet::placed;

/// The releases of one file.
///
/// # Errors
/// All that is wrong with it, each with its place.
pub(crate) fn read(text: &str, file: &str) -> Result<Vec<Manifest>, String> {
    let reading = manifest::read(file, text);
    let mut problems: Vec<String> = reading.findings.iter().map(ToString::to_string).collect();
    problems.extend(reading.manifests.iter().flat_map(services));
    if problems.is_empty() && reading.manifests.is_empty() {
        problems.push(format!("{file}: no GrayRelease is there"));
    }
    if problems.is_empty() {
        Ok(reading.manifests)
    } else {
        Err(problems.join("\n"))
    }
}

/// Arms that only a cluster knows.
fn services(manifest: &Manifest) -> Vec<String> {
    let gray = manifest
        .plan
        .gray
        .as_ref()
        .map(|gray| ("spec.gray.service", &gray.arm));
    let arms = std::iter::once(("spec.stable.service", &manifest.plan.stable)).chain(gray);
    arms.filter_map(|(path, arm)| service(manifest, path, arm))
        .collect()
}

fn service(manifest: &Manifest, path: &str, arm: &ArmConfig) -> Option<String> {
    let Backend::Service(service) = &arm.backend else {
        return None;
    };
    let what = format!(
        "there is no cluster here that knows Service {}; write the addresses of its servers instead, as in \
         addresses: [\"127.0.0.1:9001\"]",
        service.name
    );
    Some(placed(manifest, path, &what))
}
