//! What is applied: the ConfigMaps that the proxies of a fleet follow, read as they read them. Finding them is the
//! shell's part, reading them is pure.

use std::sync::Arc;

use halftone_api::GrayRelease;
use halftone_rollout::withdraw::GONE_SINCE_ANNOTATION;
use halftone_routing::document::parse::{self, Format, ParsedDocument};
use halftone_routing::document::{ReleaseState, RoutingConfig};
use halftone_routing::fleet::FleetConfig;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::ListParams;

use super::{ClusterClient, NamespaceScope};
use crate::output::CommandError;
use crate::summary::name_of;

const CLASS_LABEL: &str = "halftone.dev/class";
const DOCUMENT_KEY: &str = "routing.json";
const FLEET_KEY: &str = "fleet.json";

/// The ConfigMap of a release.
#[derive(Debug, Clone)]
pub(crate) struct AppliedConfigMap {
    /// Where it is.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its resourceVersion.
    pub(crate) version: String,
    /// The document, or why proxies refuse it.
    pub(crate) document: Result<Arc<ParsedDocument<RoutingConfig>>, String>,
    /// Since when its GrayRelease has been gone, as it is written.
    pub(crate) gone_since: Option<String>,
}

impl AppliedConfigMap {
    /// Reads a ConfigMap as a proxy does.
    pub(crate) fn read(object: &ConfigMap) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            version: object.resource_version().unwrap_or_default(),
            document: document(object),
            gone_since: object.annotations().get(GONE_SINCE_ANNOTATION).cloned(),
        }
    }

    /// `NAMESPACE/NAME`.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn document(object: &ConfigMap) -> Result<Arc<ParsedDocument<RoutingConfig>>, String> {
    let text = entry(object, DOCUMENT_KEY)?;
    let parsed =
        parse::routing(text.as_bytes(), Format::Json).map_err(|error| error.to_string())?;
    Ok(Arc::new(parsed))
}

fn entry<'a>(object: &'a ConfigMap, key: &str) -> Result<&'a str, String> {
    let text = object.data.as_ref().and_then(|data| data.get(key));
    text.map(String::as_str)
        .ok_or_else(|| format!("the key {key} is missing"))
}

/// All that the proxies of one fleet follow.
pub(crate) struct FleetDocuments {
    /// The settings.
    pub(crate) config: FleetConfig,
    /// The documents that routes are made of.
    pub(crate) documents: Vec<Arc<ParsedDocument<RoutingConfig>>>,
    /// What proxies refuse, and why.
    pub(crate) refused: Vec<String>,
}

impl FleetDocuments {
    fn read(class: &str, objects: &[ConfigMap]) -> Self {
        let mut fleet = Self {
            config: FleetConfig::default(),
            documents: Vec::new(),
            refused: Vec::new(),
        };
        for object in objects {
            let (name, place) = (
                object.name_any(),
                format!("ConfigMap {}", AppliedConfigMap::read(object).place()),
            );
            if name == format!("halftone-fleet-{class}") {
                let read = entry(object, FLEET_KEY).and_then(|text| {
                    parse::fleet(text.as_bytes(), Format::Json).map_err(|error| error.to_string())
                });
                match read {
                    Ok(parsed) => fleet.config = parsed.config,
                    Err(why) => fleet.refused.push(format!("{place}: {why}")),
                }
            } else if name.starts_with("gr-") {
                match document(object) {
                    Ok(document) if document.config.state == ReleaseState::Withdrawn => {}
                    Ok(document) => fleet.documents.push(document),
                    Err(why) => fleet.refused.push(format!("{place}: {why}")),
                }
            }
        }
        fleet
    }
}

impl ClusterClient {
    /// What is applied for a release.
    ///
    /// # Errors
    /// Nothing is, or it cannot be found.
    pub(crate) async fn applied(
        &self,
        release: &GrayRelease,
        fleet_namespace: Option<&str>,
    ) -> Result<AppliedConfigMap, CommandError> {
        let name = format!("gr-{}", release.uid().unwrap_or_default());
        let mut found = self.of_fleet::<ConfigMap>(fleet_namespace, &name).await?;
        let at_home = release.controller().and_then(|owner| {
            let namespace = owner.namespace()?;
            found
                .iter()
                .position(|object| object.namespace().as_deref() == Some(namespace))
        });
        if let Some(object) = at_home
            .map(|at| found.swap_remove(at))
            .or_else(|| found.pop())
        {
            return Ok(AppliedConfigMap::read(&object));
        }
        let ready = release.status.iter().flat_map(|status| &status.conditions);
        let why = ready
            .filter(|condition| condition.type_ == "Ready")
            .map(|ready| ready.message.clone())
            .next();
        let operator = match why {
            Some(why) => why,
            None => {
                self.operator_of(&release.spec.proxy_class, fleet_namespace)
                    .await
            }
        };
        Err(CommandError::new(format!(
            "nothing is applied for {}: there is no ConfigMap {name}",
            name_of(release)
        ))
        .advise(operator))
    }

    /// All that the proxies of a fleet follow.
    ///
    /// # Errors
    /// As for every question to the API server.
    pub(crate) async fn fleet(
        &self,
        class: &str,
        namespace: &str,
    ) -> Result<FleetDocuments, CommandError> {
        let of_class = ListParams::default().labels(&format!("{CLASS_LABEL}={class}"));
        let objects = self
            .list::<ConfigMap>(NamespaceScope::Namespace(namespace), &of_class)
            .await?;
        Ok(FleetDocuments::read(class, &objects))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use halftone_api::Plan;
    use halftone_rollout::{clock::Now, progress::Progress, routing_for::routing_for};
    use halftone_routing::document::units::Revision;

    use super::*;

    /// A release as the API server shows it.
    pub(crate) fn release() -> GrayRelease {
        let text = include_str!("../../../examples/minimal.yaml");
        let mut release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.metadata.uid = Some("7c1f".into());
        release
    }

    /// What an operator applies for a release.
    pub(crate) fn config_map(release: &GrayRelease) -> ConfigMap {
        let plan = Plan::try_from(release).unwrap();
        let start = Progress::new(Now::at("2026-11-21T10:00:00Z".parse().unwrap()));
        let mut document = routing_for(&plan, &start, Revision::FIRST, None);
        document.state = ReleaseState::Active;
        document.ratio = "10".parse().unwrap();
        let text = document.to_json().unwrap();
        let mut object = ConfigMap {
            data: Some(BTreeMap::from([(DOCUMENT_KEY.to_owned(), text)])),
            ..ConfigMap::default()
        };
        object.metadata.name = Some("gr-7c1f".into());
        object.metadata.namespace = Some("halftone".into());
        object.metadata.resource_version = Some("41".into());
        object
    }

    #[test]
    fn a_document_is_read_as_proxies_read_it() {
        let mut object = config_map(&release());
        let applied = AppliedConfigMap::read(&object);
        assert_eq!(applied.place(), "halftone/gr-7c1f");
        assert_eq!(applied.document.unwrap().config.ratio.to_string(), "10%");
        let text = object.data.as_mut().unwrap().get_mut(DOCUMENT_KEY).unwrap();
        *text = text.replace("shop.example.com", "evil.example.com");
        let why = AppliedConfigMap::read(&object).document.unwrap_err();
        assert!(why.contains("checksum"), "{why}");
        object.data = None;
        assert!(
            AppliedConfigMap::read(&object)
                .document
                .unwrap_err()
                .contains("routing.json is missing")
        );
    }

    #[test]
    fn a_fleet_is_its_settings_and_the_documents_that_count() {
        let good = config_map(&release());
        let mut bad = config_map(&release());
        bad.metadata.name = Some("gr-bad".into());
        bad.data = None;
        let mut withdrawn = config_map(&release());
        let mut document = AppliedConfigMap::read(&withdrawn)
            .document
            .unwrap()
            .config
            .clone();
        document.state = ReleaseState::Withdrawn;
        withdrawn.data = Some(BTreeMap::from([(
            DOCUMENT_KEY.to_owned(),
            document.to_json().unwrap(),
        )]));
        let fleet = FleetDocuments::read("default", &[good, bad, withdrawn]);
        assert_eq!(
            (fleet.documents.len(), fleet.refused.len()),
            (1, 1),
            "{:?}",
            fleet.refused
        );
        assert!(fleet.refused[0].contains("halftone/gr-bad"));
    }
}
