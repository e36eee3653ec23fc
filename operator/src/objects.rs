//! The objects that the operator writes, built without a client, and its own ConfigMaps read back. What a person has
//! done to one of them by hand is a value here, never an error that stops: it is put right like any other difference.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use halftone_api::{GrayRelease, GrayReleaseSpec};
use halftone_daemon::token::OperatorKeySet;
use halftone_rollout::command_request::REQUEST_ANNOTATION;
use halftone_rollout::withdraw::{GONE_SINCE_ANNOTATION, WITHDRAWN_SINCE_ANNOTATION, reserved};
use halftone_routing::document::{
    RoutingConfig,
    names::{ObjectName, Uid},
    parse::{self, DocumentError, Format},
};
use halftone_routing::fleet::FleetConfig;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use crate::compressed_text::CompressedText;
use crate::forward_compat::TOO_NEW;
use crate::names::{
    self, ACCEPTED_KEY, CLASS_LABEL, CONTROLLER_ANNOTATION, DOCUMENT_KEY, FLEET_KEY, FLEET_LABEL,
    KEYS_KEY, KIND_KEYS, KIND_LABEL, NAME_ANNOTATION, NAMESPACE_ANNOTATION, NamespacedName,
};

/// A ConfigMap takes 1 MiB in all; this much is for its texts.
const ROOM: usize = 1020 * 1024;

/// Leaves of the metadata of a release what is read: there may be ten thousand. Its status is written by replacing, which
/// leaves the metadata alone whatever it says.
pub fn trim(release: &mut GrayRelease) {
    let metadata = std::mem::take(&mut release.metadata);
    let request = |annotations: BTreeMap<String, String>| {
        annotations
            .into_iter()
            .filter(|(name, _)| name == REQUEST_ANNOTATION || name == TOO_NEW)
            .collect()
    };
    release.metadata = ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        generation: metadata.generation,
        resource_version: metadata.resource_version,
        creation_timestamp: metadata.creation_timestamp,
        annotations: metadata.annotations.map(request),
        ..ObjectMeta::default()
    };
}

/// Which fleet an object is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetRef {
    /// Its class.
    pub class: ObjectName,
    /// Where its ConfigMaps and proxies are.
    pub namespace: ObjectName,
}

/// The ConfigMap of a release as it ought to be.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredConfigMap {
    /// What the proxies are to serve.
    pub document: Arc<RoutingConfig>,
    /// The spec that is in effect, as JSON, for whoever goes on from here while a newer one is held back.
    pub accepted: Option<CompressedText>,
    /// Since when its GrayRelease has been gone.
    pub gone_since: Option<Timestamp>,
    /// Since when its routes have been withdrawn.
    pub withdrawn_since: Option<Timestamp>,
}

impl DesiredConfigMap {
    /// The document of a release that exists, and the spec that it was made from. A spec that does not fit beside its
    /// document is left out: users are served by the document, and all that is lost is what an operator that starts
    /// while a newer spec is held back would judge by.
    #[must_use]
    pub fn live(document: Arc<RoutingConfig>, accepted: Option<CompressedText>) -> Self {
        let fits = |accepted: &CompressedText| {
            // Mostly there is no need to build the document for it.
            accepted.text_len() <= ROOM - parse::MAX_BYTES
                || document
                    .to_json()
                    .is_ok_and(|text| text.len() + accepted.text_len() <= ROOM)
        };
        Self {
            accepted: accepted.filter(fits),
            document,
            gone_since: None,
            withdrawn_since: None,
        }
    }

    /// The last documents of a release that is gone.
    #[must_use]
    pub fn gone(
        document: Arc<RoutingConfig>,
        gone_since: Option<Timestamp>,
        withdrawn_since: Option<Timestamp>,
    ) -> Self {
        Self {
            document,
            accepted: None,
            gone_since,
            withdrawn_since,
        }
    }

    /// The object. `version` is the resourceVersion that the present one was last seen with; the API server refuses
    /// the object when that is no longer so. None makes a new one.
    ///
    /// # Errors
    /// The document is too long for a ConfigMap.
    pub fn object(
        &self,
        fleet: &FleetRef,
        version: Option<&str>,
    ) -> Result<ConfigMap, DocumentError> {
        let release = &self.document.release;
        let mut annotations = BTreeMap::from([
            (
                NAMESPACE_ANNOTATION.to_owned(),
                release.namespace.to_string(),
            ),
            (NAME_ANNOTATION.to_owned(), release.name.to_string()),
        ]);
        let times = [
            (GONE_SINCE_ANNOTATION, self.gone_since),
            (WITHDRAWN_SINCE_ANNOTATION, self.withdrawn_since),
        ];
        annotations.extend(
            times
                .into_iter()
                .filter_map(|(name, at)| Some((name.to_owned(), at?.to_string()))),
        );
        let name = names::release_config_map(&release.uid);
        let mut data = BTreeMap::from([(DOCUMENT_KEY.to_owned(), self.document.to_json()?)]);
        data.extend(
            self.accepted
                .iter()
                .map(|spec| (ACCEPTED_KEY.to_owned(), spec.text())),
        );
        Ok(config_map(fleet, name, Some(annotations), data, version))
    }
}

/// A spec as it is kept beside the document while it is in effect.
#[must_use]
pub fn spec_text(spec: &GrayReleaseSpec) -> String {
    serde_json::to_string(spec).expect("a spec is plain data")
}

/// The ConfigMap of a fleet, written by the installation `us`.
#[must_use]
pub fn fleet_config_map(
    fleet: &FleetRef,
    config: &FleetConfig,
    us: Option<&str>,
    version: Option<&str>,
) -> ConfigMap {
    let text = serde_json::to_string_pretty(config).expect("settings are plain data");
    let data = BTreeMap::from([(FLEET_KEY.to_owned(), text)]);
    let annotations =
        us.map(|us| BTreeMap::from([(CONTROLLER_ANNOTATION.to_owned(), us.to_owned())]));
    config_map(
        fleet,
        names::fleet_config_map(&fleet.class),
        annotations,
        data,
        version,
    )
}

/// The ConfigMap with the keys of a fleet's operators.
#[must_use]
pub fn keys_config_map(
    fleet: &FleetRef,
    keys: &OperatorKeySet,
    version: Option<&str>,
) -> ConfigMap {
    let data = BTreeMap::from([(KEYS_KEY.to_owned(), keys.to_json())]);
    let mut object = config_map(
        fleet,
        names::keys_config_map(&fleet.class),
        None,
        data,
        version,
    );
    object.metadata.labels = Some(BTreeMap::from([
        (FLEET_LABEL.to_owned(), fleet.class.to_string()),
        (KIND_LABEL.to_owned(), KIND_KEYS.to_owned()),
    ]));
    object
}

/// The keys in such a ConfigMap; none if it is not as it ought to be.
#[must_use]
pub fn keys(object: &ConfigMap) -> Option<OperatorKeySet> {
    let labels = object.labels();
    let findable = labels.contains_key(FLEET_LABEL)
        && labels.get(KIND_LABEL).is_some_and(|kind| kind == KIND_KEYS);
    OperatorKeySet::parse(object.data.as_ref()?.get(KEYS_KEY)?)
        .ok()
        .filter(|_| findable)
}

fn config_map(
    fleet: &FleetRef,
    name: String,
    annotations: Option<BTreeMap<String, String>>,
    data: BTreeMap<String, String>,
    version: Option<&str>,
) -> ConfigMap {
    let labels = BTreeMap::from([(CLASS_LABEL.to_owned(), fleet.class.to_string())]);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(fleet.namespace.to_string()),
            labels: Some(labels),
            annotations,
            resource_version: version.map(str::to_owned),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// The ConfigMap of a release as it is in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseConfigMap {
    /// Whose document it is, by its name.
    pub uid: Uid,
    /// Which release, by its document; by its annotations where the document cannot be read.
    pub key: Option<NamespacedName>,
    /// The document, or what is wrong with it.
    pub document: Result<Arc<RoutingConfig>, String>,
    /// The spec that was in effect when it was written, as it stands there.
    pub accepted: Option<CompressedText>,
    /// Since when its GrayRelease has been gone.
    pub gone_since: Option<Timestamp>,
    /// Since when its routes have been withdrawn.
    pub withdrawn_since: Option<Timestamp>,
    /// Its resourceVersion.
    pub version: String,
    /// Label and annotations are as they ought to be.
    pub intact: bool,
}

impl ReleaseConfigMap {
    /// Reads a ConfigMap of the fleet of this class; none if it is no release's.
    #[must_use]
    pub fn read(object: &ConfigMap, class: &ObjectName) -> Option<Self> {
        let uid = names::uid_of_config_map(&object.name_any())?;
        let annotation = |name: &str| object.annotations().get(name).map(String::as_str);
        let annotated = annotation(NAMESPACE_ANNOTATION).zip(annotation(NAME_ANNOTATION));
        let document = document(object, &uid);
        let key = match &document {
            Ok(document) => Some(NamespacedName::new(
                document.release.namespace.as_str(),
                document.release.name.as_str(),
            )),
            Err(_) => annotated.map(|(namespace, name)| NamespacedName::new(namespace, name)),
        };
        let annotated = annotated.map(|(namespace, name)| NamespacedName::new(namespace, name));
        let time = |name| annotation(name).map(str::parse::<Timestamp>);
        let times = [
            time(GONE_SINCE_ANNOTATION),
            time(WITHDRAWN_SINCE_ANNOTATION),
        ];
        let of_class = object
            .labels()
            .get(CLASS_LABEL)
            .is_some_and(|label| label == class.as_str());
        Some(Self {
            uid,
            intact: of_class
                && key.is_some()
                && annotated == key
                && !times.iter().any(|time| matches!(time, Some(Err(_)))),
            key,
            document,
            accepted: object
                .data
                .as_ref()
                .and_then(|data| data.get(ACCEPTED_KEY))
                .map(|text| CompressedText::of(text)),
            gone_since: times[0].clone().and_then(Result::ok),
            withdrawn_since: times[1].clone().and_then(Result::ok),
            version: object.resource_version().unwrap_or_default(),
        })
    }

    /// The document, if it can be read.
    #[must_use]
    pub fn live(&self) -> Option<&Arc<RoutingConfig>> {
        self.document.as_ref().ok()
    }

    /// Until when its hosts are kept for its namespace, if they are: see [`reserved`].
    #[must_use]
    pub fn reserved(&self, reserve: Duration, now: Timestamp) -> Option<Timestamp> {
        reserved(self.live()?, self.withdrawn_since, reserve, now)
    }

    /// Whether nothing has to be written for `wanted`.
    #[must_use]
    pub fn is(&self, wanted: &DesiredConfigMap) -> bool {
        self.intact
            && (self.gone_since, self.withdrawn_since)
                == (wanted.gone_since, wanted.withdrawn_since)
            && self.accepted == wanted.accepted
            && self.live() == Some(&wanted.document)
    }
}

#[expect(
    clippy::redundant_clone,
    reason = "a copy has no room to spare, which lists that were read item by item have"
)]
fn document(object: &ConfigMap, uid: &Uid) -> Result<Arc<RoutingConfig>, String> {
    let text = object.data.as_ref().and_then(|data| data.get(DOCUMENT_KEY));
    let text = text.ok_or_else(|| format!("the key {DOCUMENT_KEY} is missing"))?;
    let parsed =
        parse::routing(text.as_bytes(), Format::Json).map_err(|error| error.to_string())?;
    if parsed.config.release.uid != *uid {
        return Err(format!(
            "it is the document of {}",
            parsed.config.release.uid
        ));
    }
    Ok(Arc::new(parsed.config.clone()))
}

/// The settings in the ConfigMap of a fleet, or what is wrong with them.
///
/// # Errors
/// What is wrong.
pub fn fleet_config(object: &ConfigMap) -> Result<FleetConfig, String> {
    let text = object.data.as_ref().and_then(|data| data.get(FLEET_KEY));
    let text = text.ok_or_else(|| format!("the key {FLEET_KEY} is missing"))?;
    let parsed = parse::fleet(text.as_bytes(), Format::Json).map_err(|error| error.to_string())?;
    Ok(FleetConfig {
        checksum: Some(parsed.checksum),
        ..parsed.config
    })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use halftone_api::Plan;
    use halftone_api::manifest;
    use halftone_rollout::{
        advance::advance, clock::Now, observation::Observation, progress::Progress,
    };

    use super::*;

    fn fleet() -> FleetRef {
        let name = |text| ObjectName::from_str(text).unwrap();
        FleetRef {
            class: name("default"),
            namespace: name("halftone"),
        }
    }

    fn document() -> Arc<RoutingConfig> {
        let text = include_str!("../../examples/minimal.yaml");
        let mut release = manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        release.metadata.uid = Some("7c1f".into());
        let plan = Arc::new(Plan::try_from(&release).unwrap());
        let now = Now::at("2026-11-21T10:00:00Z".parse().unwrap());
        advance(&plan, &Progress::new(now), &Observation::default(), now)
            .routing
            .unwrap()
    }

    fn kept(
        edit: impl FnOnce(&mut ConfigMap),
        gone_since: Option<Timestamp>,
    ) -> (ReleaseConfigMap, DesiredConfigMap) {
        let withdrawn_since = gone_since;
        let wanted = DesiredConfigMap {
            document: document(),
            accepted: Some(CompressedText::of("{}")),
            gone_since,
            withdrawn_since,
        };
        let mut object = wanted.object(&fleet(), Some("7")).unwrap();
        edit(&mut object);
        (
            ReleaseConfigMap::read(&object, &fleet().class).unwrap(),
            wanted,
        )
    }

    #[test]
    fn what_was_written_reads_back_as_it_was() {
        for since in [None, Some("2026-11-21T10:00:00.123456Z".parse().unwrap())] {
            let (kept, wanted) = kept(|_| {}, since);
            assert!(kept.is(&wanted), "{kept:?}");
            assert_eq!(kept.version, "7");
            assert_eq!(kept.key.unwrap().to_string(), "shop/checkout");
        }
    }

    #[test]
    fn whatever_is_edited_by_hand_is_seen() {
        fn data(object: &mut ConfigMap) -> &mut String {
            object.data.as_mut().unwrap().get_mut(DOCUMENT_KEY).unwrap()
        }
        let edits: [fn(&mut ConfigMap); 10] = [
            |object| *data(object) = "{".into(),
            |object| *data(object) = data(object).replace("shop.example.com", "evil.example.com"),
            |object| *data(object) = data(object).replace("7c1f", "7c20"),
            |object| object.data = None,
            |object| drop(object.data.as_mut().unwrap().remove(ACCEPTED_KEY)),
            |object| object.metadata.labels = None,
            |object| object.metadata.annotations = None,
            |object| {
                drop(
                    object
                        .annotations_mut()
                        .insert(NAME_ANNOTATION.into(), "other".into()),
                )
            },
            |object| {
                drop(
                    object
                        .annotations_mut()
                        .insert(GONE_SINCE_ANNOTATION.into(), "soon".into()),
                )
            },
            |object| {
                drop(
                    object
                        .annotations_mut()
                        .insert(WITHDRAWN_SINCE_ANNOTATION.into(), "soon".into()),
                )
            },
        ];
        for (at, edit) in edits.into_iter().enumerate() {
            let (kept, wanted) = kept(edit, None);
            assert!(!kept.is(&wanted), "edit {at}");
            assert_eq!(kept.uid.as_str(), "7c1f", "edit {at}");
        }
    }

    #[test]
    fn a_spec_that_does_not_fit_beside_its_document_is_left_out() {
        let document = document();
        let room = ROOM - document.to_json().unwrap().len();
        for (length, fits) in [(1000, true), (room, true), (room + 1, false)] {
            let wanted = DesiredConfigMap::live(
                Arc::clone(&document),
                Some(CompressedText::of(&"x".repeat(length))),
            );
            assert_eq!(wanted.accepted.is_some(), fits, "{length}");
        }
    }

    #[test]
    fn a_config_map_of_another_name_is_not_ours() {
        let mut object = ConfigMap::default();
        object.metadata.name = Some("kube-root-ca.crt".into());
        assert_eq!(ReleaseConfigMap::read(&object, &fleet().class), None);
    }

    #[test]
    fn settings_of_a_fleet_read_back_as_they_were() {
        let config = FleetConfig {
            class: fleet().class,
            ..FleetConfig::default()
        };
        let read = fleet_config(&fleet_config_map(&fleet(), &config, None, None)).unwrap();
        assert_eq!(
            FleetConfig {
                checksum: None,
                ..read
            },
            config
        );
    }
}
