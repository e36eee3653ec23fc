//! Whether the CustomResourceDefinition in the cluster is as new as this operator. An older one, as after `helm rollback`
//! or where it is managed elsewhere, drops fields without a word: of the spec what people write, of the status what a
//! restart goes on from. The API server's OpenAPI document tells, which every service account may read.

use std::sync::Arc;
use std::time::Duration;

use halftone_daemon::log::with_causes;
use kube::Client;
use serde_json::Value;

use crate::metrics::Metrics;
use crate::pages::Notices;

const DOCUMENT: &str = "/openapi/v3/apis/halftone.dev/v1alpha1";
/// How often it is looked at: somebody may apply another one.
const LOOK: Duration = Duration::from_secs(60);
/// No more than this many missing fields are named.
const NAMED: usize = 5;

/// Compares again and again, and says so when fields are missing.
pub async fn follow(client: Client, notices: Arc<Notices>, metrics: Arc<Metrics>) {
    let ours = halftone_rollout::crd();
    let ours = serde_json::to_value(ours).expect("a CRD is plain data");
    let ours = ours.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default();
    let mut known: Option<Vec<String>> = None;
    loop {
        match fetch(&client).await {
            Ok(document) => {
                let missing = theirs(&document).map(|theirs| missing(&ours, theirs)).unwrap_or_default();
                if known.as_ref() != Some(&missing) {
                    tell(&missing, &notices, &metrics);
                    known = Some(missing);
                }
            }
            Err(error) => tracing::debug!("the API server's OpenAPI document: {}", with_causes(&error)),
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn fetch(client: &Client) -> Result<Value, kube::Error> {
    let request = http::Request::get(DOCUMENT).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request(request).await
}

fn tell(missing: &[String], notices: &Notices, metrics: &Metrics) {
    metrics.definition_lacks(missing.len());
    let notice = (!missing.is_empty()).then(|| {
        let more = missing.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        format!(
            "CrdTooOld: the CustomResourceDefinition in the cluster has no {named}{more}, so the API server drops them; \
             apply crds/grayreleases.halftone.dev.yaml of version {}",
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
    schemas.iter().find(|(name, _)| name.ends_with(".GrayRelease")).map(|(_, schema)| schema)
}

/// The fields of one schema that another one lacks. Of a field that is missing its own are not named.
fn missing(ours: &Value, theirs: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for part in ["spec", "status"] {
        let schema = |schema: &Value| schema["properties"][part].clone();
        compare(&schema(ours), &schema(theirs), part, &mut found);
    }
    found
}

fn compare(ours: &Value, theirs: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in ours["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match theirs["properties"].get(name) {
            Some(other) => compare(property, other, &path, found),
            None => found.push(path),
        }
    }
    if let Some(items) = ours.get("items") {
        compare(items, &theirs["items"], &format!("{path}[]"), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_that_an_older_definition_lacks_are_named() {
        let schema = |spec: Value| json!({"properties": {"spec": {"properties": spec}, "status": {}}});
        let rule = |fields: Value| json!({"items": {"properties": fields}});
        let ours = schema(
            json!({"a": {"properties": {"b": {}, "c": {}}}, "rules": rule(json!({"x": {}, "y": {}}))}),
        );
        let older =
            schema(json!({"a": {"properties": {"b": {}}}, "rules": rule(json!({"x": {}})), "gone": {}}));
        assert_eq!(missing(&ours, &older), ["spec.a.c", "spec.rules[].y"]);
        assert_eq!(missing(&ours, &ours), [] as [&str; 0]);
        assert_eq!(missing(&ours, &schema(json!({}))), ["spec.a", "spec.rules"]);
        let document =
            json!({"components": {"schemas": {"dev.halftone.v1alpha1.GrayRelease": older, "x.Status": {}}}});
        assert_eq!(theirs(&document).map(|theirs| missing(&ours, theirs).len()), Some(2));
        assert_eq!(theirs(&json!({})), None);
    }

    #[test]
    fn this_version_lacks_nothing_of_its_own_definition() {
        let crd = serde_json::to_value(halftone_rollout::crd()).unwrap();
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        assert_eq!(missing(schema, schema), [] as [&str; 0]);
        assert!(missing(schema, &json!({})).len() > 20);
    }
}
