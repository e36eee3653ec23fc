//! Whether the CustomResourceDefinition in the cluster is as new as this operator. An older one, as after `helm rollback`
//! or where it is managed elsewhere, drops fields without a word: of the spec what people write, of the status what a
//! restart goes on from. The API server's OpenAPI document tells, which every service account may read.

use std::sync::Arc;
use std::time::Duration;

use halftone_api::crd::{missing, name_few};
use halftone_daemon::log::with_causes;
use kube::Client;
use serde_json::Value;

use crate::metrics::Metrics;
use crate::pages::ReadinessNotices;

const DOCUMENT: &str = "/openapi/v3/apis/halftone.dev/v1alpha1";
/// How often it is looked at: somebody may apply another one.
const LOOK: Duration = Duration::from_secs(60);

/// Compares again and again, and says so when fields are missing.
pub async fn follow(client: Client, notices: Arc<ReadinessNotices>, metrics: Arc<Metrics>) {
    let mut known: Option<Vec<String>> = None;
    loop {
        match fetch(&client).await {
            Ok(document) => {
                let missing = theirs(&document).map(missing).unwrap_or_default();
                if known.as_ref() != Some(&missing) {
                    tell(&missing, &notices, &metrics);
                    known = Some(missing);
                }
            }
            Err(error) => {
                tracing::debug!("the API server's OpenAPI document: {}", with_causes(&error))
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn fetch(client: &Client) -> Result<Value, kube::Error> {
    let request = http::Request::get(DOCUMENT)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

fn tell(missing: &[String], notices: &ReadinessNotices, metrics: &Metrics) {
    metrics.definition_lacks(missing.len());
    let notice = (!missing.is_empty()).then(|| {
        format!(
            "CrdTooOld: the CustomResourceDefinition in the cluster has no {}, so the API server drops them; \
             apply crds/grayreleases.halftone.dev.yaml of version {}",
            name_few(missing),
            env!("CARGO_PKG_VERSION")
        )
    });
    if let Some(notice) = &notice {
        tracing::warn!("{notice}");
    }
    notices.put("", notice);
}

/// The schema of GrayReleases in an OpenAPI document; none before the definition is there.
fn theirs(document: &Value) -> Option<&Value> {
    let schemas = document.pointer("/components/schemas")?.as_object()?;
    schemas
        .iter()
        .find(|(name, _)| name.ends_with(".GrayRelease"))
        .map(|(_, schema)| schema)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_is_found_by_its_kind() {
        let schema = json!({"properties": {}});
        let document = json!({"components": {"schemas": {"dev.halftone.v1alpha1.GrayRelease": schema, "x.Status": {}}}});
        assert_eq!(theirs(&document), Some(&schema));
        assert_eq!(theirs(&json!({})), None);
    }
}
