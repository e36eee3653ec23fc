//! Routing documents whose GrayRelease is gone: they own their hosts until they are removed.

use std::collections::BTreeSet;

use halftone_rollout::withdraw::GONE_SINCE_ANNOTATION;
use halftone_routing::document::ReleaseState;
use halftone_routing::document::parse::{self, Format};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ListParams;

use super::super::{ClusterClient, NamespaceScope};
use super::CheckResult;
use crate::status::{ReleaseList, UnreadableRelease};
use crate::summary::name_of;

const NAME: &str = "documents without a release";
const LABEL: &str = "halftone.dev/class";
const PREFIX: &str = "gr-";
const KEY: &str = "routing.json";

impl ClusterClient {
    /// Whether documents in these namespaces have outlived their releases.
    pub(super) async fn orphans(
        &self,
        scope: NamespaceScope<'_>,
        releases: &ReleaseList,
    ) -> CheckResult {
        match self
            .list::<ConfigMap>(scope, &ListParams::default().labels(LABEL))
            .await
        {
            Err(failure) => CheckResult::unknown(NAME, &failure),
            Ok(documents) => {
                let readable = releases.releases.iter().map(name_of);
                let unreadable = releases.unreadable.iter().map(UnreadableRelease::full_name);
                judge(&documents, &readable.chain(unreadable).collect())
            }
        }
    }
}

/// One that the operator has seen goes by itself; one that it has not is nobody's.
fn judge(objects: &[ConfigMap], releases: &BTreeSet<String>) -> CheckResult {
    let documents = objects
        .iter()
        .filter(|object| object.name_any().starts_with(PREFIX));
    let orphans: Vec<OrphanedDocument> = documents
        .filter_map(|object| OrphanedDocument::of(object, releases))
        .collect();
    let told = |orphans: &mut dyn Iterator<Item = &OrphanedDocument>| {
        orphans
            .map(|orphan| orphan.found.as_str())
            .collect::<Vec<_>>()
            .join("; ")
    };
    let unseen = told(&mut orphans.iter().filter(|orphan| !orphan.seen));
    if !unseen.is_empty() {
        let commands: Vec<&str> = orphans
            .iter()
            .filter(|orphan| !orphan.seen)
            .map(|orphan| orphan.command.as_str())
            .collect();
        let advice = format!(
            "no operator withdraws them: it is away, or does not watch their namespaces (watchNamespaces of the chart). \
             To give their hosts up, run: {}",
            commands.join("; ")
        );
        return CheckResult::failed(NAME, unseen, advice);
    }
    match orphans.is_empty() {
        true => CheckResult::passed(NAME, "none"),
        false => CheckResult::passed(NAME, told(&mut orphans.iter())),
    }
}

struct OrphanedDocument {
    found: String,
    /// The command that removes it.
    command: String,
    /// The operator knows that its release is gone.
    seen: bool,
}

impl OrphanedDocument {
    fn of(object: &ConfigMap, releases: &BTreeSet<String>) -> Option<Self> {
        let name = object.name_any();
        let command = format!(
            "kubectl delete configmap -n {} {name}",
            object.namespace().unwrap_or_default()
        );
        let text = object
            .data
            .as_ref()
            .and_then(|data| data.get(KEY))
            .map_or("", String::as_str);
        let seen = object.annotations().contains_key(GONE_SINCE_ANNOTATION);
        let Ok(parsed) = parse::routing(text.as_bytes(), Format::Json) else {
            // With a release the operator puts it right, and without one it says so.
            return seen.then(|| Self {
                found: format!("{name} cannot be read"),
                command,
                seen: false,
            });
        };
        let document = parsed.config;
        let release = format!("{}/{}", document.release.namespace, document.release.name);
        if releases.contains(&release) {
            return None;
        }
        let hosts: Vec<String> = document
            .places()
            .map(|(host, path)| format!("{host}{path}"))
            .collect();
        let stands = if document.state == ReleaseState::Withdrawn {
            "keeps for its namespace"
        } else {
            "still serves"
        };
        Some(Self {
            found: format!("{release} {stands} {}", hosts.join(", ")),
            command,
            seen,
        })
    }
}

#[cfg(test)]
mod tests {
    use halftone_api::{Plan, manifest};
    use halftone_rollout::{
        advance::advance, clock::Now, observation::Observation, progress::Progress,
    };
    use halftone_routing::document::RoutingConfig;
    use serde_json::json;

    use super::super::CheckStatus;
    use super::*;

    /// The ConfigMap of `shop/checkout`, which serves `shop.example.com`.
    fn object(annotations: &serde_json::Value, edit: impl FnOnce(&mut RoutingConfig)) -> ConfigMap {
        let text = include_str!("../../../../examples/minimal.yaml");
        let mut release = manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.metadata.uid = Some("7c1f".into());
        let plan = std::sync::Arc::new(Plan::try_from(&release).unwrap());
        let now = Now::at("2026-11-21T10:00:00Z".parse().unwrap());
        let turn = advance(&plan, &Progress::new(now), &Observation::default(), now);
        let mut document = RoutingConfig::clone(&turn.routing.unwrap());
        edit(&mut document);
        serde_json::from_value(json!({
            "metadata": {"name": "gr-7c1f", "namespace": "halftone", "annotations": annotations},
            "data": {"routing.json": document.to_json().unwrap()},
        }))
        .unwrap()
    }

    fn gone() -> serde_json::Value {
        json!({"halftone.dev/gone-since": "2026-11-21T10:00:00Z"})
    }

    #[test]
    fn documents_that_have_outlived_their_release_are_listed_with_their_hosts() {
        let none = BTreeSet::new();
        let there = BTreeSet::from(["shop/checkout".to_owned()]);
        let live = object(&json!({}), |_| {});
        assert_eq!(judge(std::slice::from_ref(&live), &there).found, "none");

        let check = judge(&[object(&gone(), |_| {})], &none);
        assert_eq!(
            (check.result, &*check.found),
            (
                CheckStatus::Passed,
                "shop/checkout still serves shop.example.com/"
            )
        );
        let check = judge(
            &[object(&gone(), |document| {
                (document.state, document.moving) = (ReleaseState::Withdrawn, false)
            })],
            &none,
        );
        assert_eq!(
            check.found,
            "shop/checkout keeps for its namespace shop.example.com/"
        );

        let check = judge(&[live], &none);
        assert_eq!(check.result, CheckStatus::Failed, "no operator has seen it");
        let advice = check.advice.unwrap();
        assert!(
            advice.ends_with("run: kubectl delete configmap -n halftone gr-7c1f"),
            "{advice}"
        );
        let mut broken = object(&gone(), |_| {});
        broken.data = None;
        assert_eq!(judge(&[broken], &none).found, "gr-7c1f cannot be read");
    }
}
