//! Pure: from a ConfigMap to a document, and the namespaces whose endpoints it needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use halftone_routing::document::names::ObjectName;
use halftone_routing::document::parse::Format;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde::Deserialize;

use crate::source::Content;

/// The key of a release's document.
const ROUTING: &str = "routing.json";
/// The key of the fleet's.
const FLEET: &str = "fleet.json";

/// A document as its ConfigMap has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigMapDocument {
    /// The name under which a person finds it.
    pub(super) name: Arc<str>,
    /// Whether it is the fleet's.
    pub(super) is_fleet: bool,
    /// Its text.
    pub(super) content: Content,
    /// The namespaces of the Services that it names.
    pub(super) namespaces: BTreeSet<ObjectName>,
}

/// Reads a ConfigMap of `namespace`; the one called `fleet` is the fleet's.
pub(super) fn read(
    namespace: &ObjectName,
    fleet: &str,
    mut object: ConfigMap,
) -> ConfigMapDocument {
    let called = object.name_any();
    let is_fleet = called == fleet;
    let key = if is_fleet { FLEET } else { ROUTING };
    let text = object.data.as_mut().and_then(|data| data.remove(key));
    let namespaces = text.as_deref().map(namespaces).unwrap_or_default();
    let content = match text {
        Some(text) => Content::Text(Format::Json, text.into_bytes().into()),
        None => Content::Unreadable(format!("the ConfigMap has no key {key}").into()),
    };
    ConfigMapDocument {
        name: format!("configmap/{namespace}/{called}").into(),
        is_fleet,
        content,
        namespaces,
    }
}

/// As much of a document as tells whose endpoints it needs. Whether the document is any good is decided elsewhere.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentOutline {
    #[serde(default)]
    arms: OutlineArms,
    default_backend: Option<OutlineBackend>,
}

#[derive(Default, Deserialize)]
struct OutlineArms {
    stable: Option<OutlineBackend>,
    gray: Option<OutlineBackend>,
}

#[derive(Deserialize)]
struct OutlineBackend {
    service: Option<OutlineService>,
}

#[derive(Deserialize)]
struct OutlineService {
    namespace: ObjectName,
}

fn namespaces(text: &str) -> BTreeSet<ObjectName> {
    let DocumentOutline {
        arms,
        default_backend,
    } = serde_json::from_str(text).unwrap_or_default();
    let backends = [arms.stable, arms.gray, default_backend];
    let services = backends
        .into_iter()
        .flatten()
        .filter_map(|backend| backend.service);
    services.map(|service| service.namespace).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(name: &str, data: &serde_json::Value) -> ConfigMapDocument {
        let object = json!({"metadata": {"name": name}, "data": data});
        read(
            &"gray".parse().unwrap(),
            "halftone-fleet-web",
            serde_json::from_value(object).unwrap(),
        )
    }

    fn namespaces_of(document: &ConfigMapDocument) -> Vec<&str> {
        document.namespaces.iter().map(ObjectName::as_str).collect()
    }

    #[test]
    fn a_document_has_the_name_under_which_kubectl_finds_it_and_tells_what_it_needs() {
        let text = r#"{"arms": {"stable": {"service": {"namespace": "shop", "name": "a", "port": 80}, "version": "1"},
            "gray": {"addresses": ["10.0.0.1:80"]}}}"#;
        let release = document("gr-1", &json!({"routing.json": text}));
        assert_eq!(
            (&*release.name, release.is_fleet),
            ("configmap/gray/gr-1", false)
        );
        assert_eq!(
            release.content,
            Content::Text(Format::Json, text.as_bytes().into())
        );
        assert_eq!(namespaces_of(&release), ["shop"]);
        let text = r#"{"defaultBackend": {"service": {"namespace": "home", "name": "b", "port": "http"}}}"#;
        let fleet = document("halftone-fleet-web", &json!({"fleet.json": text}));
        assert_eq!(
            (fleet.is_fleet, namespaces_of(&fleet)),
            (true, vec!["home"])
        );
    }

    #[test]
    fn a_config_map_without_its_key_is_unreadable_and_says_which() {
        for (name, data, key) in [
            ("gr-1", json!({"fleet.json": "{}"}), "routing.json"),
            ("gr-1", json!(null), "routing.json"),
            (
                "halftone-fleet-web",
                json!({"routing.json": "{}"}),
                "fleet.json",
            ),
        ] {
            let document = document(name, &data);
            assert!(
                matches!(&document.content, Content::Unreadable(why) if why.contains(key)),
                "{document:?}"
            );
        }
        let broken = document("gr-1", &json!({"routing.json": "{"}));
        assert_eq!(
            (broken.content, broken.namespaces.len()),
            (Content::Text(Format::Json, (*b"{").into()), 0)
        );
    }
}
