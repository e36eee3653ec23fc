//! Fleets that have left our configuration while releases still use them. Their documents stay, and proxies that still run
//! serve them, until each release is deleted or handed over; then the documents, the settings, the keys and the Lease go.
//!
//! Such a fleet has a worker like any other, without reports: nobody says which pods its proxies are. Every release of it
//! is refused (`ClassUnknown`) and stays where it is. The worker acts under the Lease of the first fleet that is left,
//! since the chart's role names no Lease of a fleet that it does not have.

mod classes;

use std::collections::BTreeSet;
use std::time::Duration;

use halftone_api::GrayRelease;
use halftone_api::fleet::{FleetDeclaration, FleetDeclarations, FleetTimes};
use halftone_routing::document::names::ObjectName;
use halftone_routing::fleet::FleetConfig;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, ObjectMeta};
use kube::{Client, ResourceExt};

use crate::api_client::{ApiClient, in_time};
use crate::cluster_cache::{ClusterCache, fleet_ref};
use crate::error::Error;
use crate::names::{self, CLASS_LABEL, CONTROLLER_ANNOTATION};
use crate::objects::{self, FleetRef};

pub use self::classes::RetiredClasses;

/// Between two tries to find out what is left.
const RETRY: Duration = Duration::from_secs(2);
/// Objects of a page of the listing.
const PAGE: u32 = 500;

/// Finds the fleets that have left, however long the API server takes to answer.
pub async fn find(
    client: &Client,
    fleets: &FleetDeclarations,
    left: &RetiredClasses,
) -> Vec<FleetDeclaration> {
    loop {
        match look(client, fleets).await {
            Ok(found) => {
                left.set(
                    found
                        .iter()
                        .map(|fleet| fleet.config.class.clone())
                        .collect(),
                );
                return found;
            }
            Err(error) => {
                tracing::warn!("looking for fleets that have left the configuration: {error}")
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn look(client: &Client, fleets: &FleetDeclarations) -> Result<Vec<FleetDeclaration>, Error> {
    let namespaces: BTreeSet<ObjectName> = fleets
        .fleets
        .iter()
        .filter_map(fleet_ref)
        .map(|fleet| fleet.namespace)
        .collect();
    let classes = fleets
        .fleets
        .iter()
        .map(|fleet| format!(",{CLASS_LABEL}!={}", fleet.class()));
    let selector = format!("{CLASS_LABEL}{}", classes.collect::<String>());
    // Its own are not known any more, and nobody may claim its hosts.
    let times = fleets
        .fleets
        .first()
        .map(|fleet| fleet.times)
        .unwrap_or_default();
    let times = FleetTimes {
        host_reserve: Duration::ZERO,
        ..times
    };
    let mut found = Vec::new();
    for namespace in namespaces {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace.as_str());
        for class in classes_in(&api, &selector, fleets.installation.as_deref()).await? {
            let name = names::fleet_config_map(&class);
            let object = in_time("reading the fleet's ConfigMap", api.get_opt(&name)).await?;
            let config = object.and_then(|object| objects::fleet_config(&object).ok());
            let config = config.unwrap_or(FleetConfig {
                class,
                ..FleetConfig::default()
            });
            found.push(declaration(config, namespace.clone(), times));
        }
    }
    Ok(found)
}

/// The classes whose settings are ours, by the metadata alone: documents may be many and large.
async fn classes_in(
    api: &Api<ConfigMap>,
    selector: &str,
    us: Option<&str>,
) -> Result<Vec<ObjectName>, Error> {
    let (mut classes, mut parameters) = (
        Vec::new(),
        ListParams::default().labels(selector).limit(PAGE),
    );
    loop {
        let page = in_time("listing ConfigMaps", api.list_metadata(&parameters)).await?;
        classes.extend(
            page.items
                .iter()
                .filter_map(|object| class_of(&object.metadata, us)),
        );
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => parameters = parameters.continue_token(&next),
            None => return Ok(classes),
        }
    }
}

/// The class whose settings an object holds, if the installation `us` has written them.
fn class_of(metadata: &ObjectMeta, us: Option<&str>) -> Option<ObjectName> {
    let class: ObjectName = metadata.labels.as_ref()?.get(CLASS_LABEL)?.parse().ok()?;
    let annotations = metadata.annotations.as_ref();
    let controller = annotations.and_then(|annotations| annotations.get(CONTROLLER_ANNOTATION));
    let is_ours = controller.map(String::as_str) == us;
    (is_ours && metadata.name.as_deref() == Some(&names::fleet_config_map(&class))).then_some(class)
}

/// What is known of a fleet that nobody declares any more.
fn declaration(config: FleetConfig, namespace: ObjectName, times: FleetTimes) -> FleetDeclaration {
    FleetDeclaration {
        config,
        namespace: Some(namespace),
        pod_selector: Default::default(),
        allowed: Vec::new(),
        allow_all: true,
        allow_addresses: true,
        times,
    }
}

/// Whether something of this fleet is ours or still served: then it stays as it is.
pub fn is_used(
    world: &ClusterCache,
    class: &ObjectName,
    is_anothers: impl Fn(&GrayRelease) -> bool,
) -> bool {
    if !world.is_synced(class) || !world.keys_kept(class).is_empty() {
        return true;
    }
    world
        .releases_of(class)
        .iter()
        .any(|packed| !is_anothers(&packed.unpack()))
}

/// Removes what is left of a fleet that is not used any more.
///
/// # Errors
/// Something could not be removed; the next try does the rest.
pub async fn settle(
    cluster: &ApiClient,
    fleet: &FleetRef,
    left: &RetiredClasses,
) -> Result<(), Error> {
    for name in [
        names::keys_config_map(&fleet.class),
        names::fleet_config_map(&fleet.class),
    ] {
        if let Some(object) = cluster.config_map(fleet.namespace.as_str(), &name).await? {
            let version = object.resource_version().unwrap_or_default();
            cluster
                .delete(fleet.namespace.as_str(), &name, &version)
                .await?;
        }
    }
    cluster
        .delete_lease(fleet.namespace.as_str(), &names::lease(&fleet.class))
        .await?;
    left.remove(&fleet.class);
    tracing::info!(fleet = %fleet.class, "the fleet has left: its settings, keys and Lease are removed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(name: &str, class: &str, controller: Option<&str>) -> ObjectMeta {
        let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(map(CLASS_LABEL, class)),
            annotations: controller.map(|controller| map(CONTROLLER_ANNOTATION, controller)),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_settings_that_this_installation_has_written_are_a_fleet_of_ours() {
        let us = Some("halftone/ours");
        let of = |object: ObjectMeta, us| class_of(&object, us).map(|class| class.to_string());
        assert_eq!(
            of(settings("halftone-fleet-web", "web", us), us).as_deref(),
            Some("web")
        );
        assert_eq!(
            of(
                settings("halftone-fleet-web", "web", Some("other/theirs")),
                us
            ),
            None
        );
        assert_eq!(
            of(settings("halftone-fleet-web", "web", None), us),
            None,
            "of 0.1, or of nobody"
        );
        assert_eq!(of(settings("gr-uid-1", "web", us), us), None, "a document");
        assert_eq!(
            of(settings("halftone-fleet-web", "web", None), None).as_deref(),
            Some("web")
        );
    }
}
