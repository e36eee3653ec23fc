//! The settings of a fleet: from its declaration into the ConfigMap `halftone-fleet-CLASS`, numbered anew only when they
//! mean something else, put right when somebody has edited them, acknowledged by the proxies like a release.

use halftone_routing::document::Checksum;
use halftone_routing::document::arm::{Backend, ServicePort};
use halftone_routing::document::checksum::checksum;
use halftone_routing::document::units::Revision;
use halftone_routing::fleet::FleetConfig;

use crate::api_client::ApiClient;
use crate::cluster_cache::FleetConfigMap;
use crate::endpoints::name_port;
use crate::error::Error;
use crate::names;
use crate::objects::{self, FleetRef};

/// What the ConfigMap of a fleet has to be: `declared`, with the number that `live` has if it says the same, and a higher
/// one than all before if not. `highest` is the highest number that any report names.
#[must_use]
pub fn wanted(declared: &FleetConfig, live: Option<&FleetConfig>, highest: u64) -> FleetConfig {
    let numbered = |revision: Revision| {
        let config = FleetConfig {
            revision,
            checksum: None,
            ..declared.clone()
        };
        let checksum = checksum(serde_json::to_value(&config).expect("settings are plain data"));
        FleetConfig {
            checksum: Some(checksum),
            ..config
        }
    };
    if let Some(live) = live {
        let same = numbered(live.revision);
        if same == *live && live.revision.get() >= highest {
            return same;
        }
    }
    let highest = live.map_or(0, |live| live.revision.get()).max(highest);
    numbered(Revision::try_from(highest.saturating_add(1)).unwrap_or(Revision::FIRST))
}

/// Brings the ConfigMap of the fleet, of which `seen` is known, in line with what is `declared`. `highest` is the highest
/// number that any report names, and `us` the installation that writes it. Returns what the proxies are to have.
///
/// # Errors
/// It could not be written.
pub async fn settle(
    cluster: &ApiClient,
    fleet: &FleetRef,
    seen: Option<FleetConfigMap>,
    declared: &FleetConfig,
    highest: u64,
    us: Option<&str>,
) -> Result<(Revision, Checksum), Error> {
    let live = seen.as_ref().and_then(|seen| seen.config.as_ref().ok());
    let declared = with_port_name(cluster, declared, live).await?;
    let config = wanted(&declared, live, highest);
    let sealed = config.checksum.clone().expect("it was sealed");
    let is_named = us.is_none() || seen.as_ref().and_then(|seen| seen.controller.as_deref()) == us;
    if live != Some(&config) || !is_named {
        if let Some(Err(wrong)) = seen.as_ref().map(|seen| &seen.config) {
            tracing::warn!(fleet = %fleet.class, "the fleet's ConfigMap is put right: {wrong}");
        }
        let version = seen.as_ref().map(|seen| seen.version.as_str());
        write(cluster, fleet, &config, us, version).await?;
        tracing::info!(fleet = %fleet.class, revision = config.revision.get(), "the fleet's settings are written");
    }
    Ok((config.revision, sealed))
}

/// Writes it over the version that was seen. Unseen, it may be there all the same, without the label that the watch goes
/// by.
async fn write(
    cluster: &ApiClient,
    fleet: &FleetRef,
    config: &FleetConfig,
    us: Option<&str>,
    version: Option<&str>,
) -> Result<(), Error> {
    let over = |version| objects::fleet_config_map(fleet, config, us, version);
    match cluster.apply(&over(version)).await {
        Err(Error::Conflict(_)) if version.is_none() => {}
        written => return written.map(drop),
    }
    let name = names::fleet_config_map(&fleet.class);
    let unseen = cluster.config_map(fleet.namespace.as_str(), &name).await?;
    let version = unseen.and_then(|unseen| unseen.metadata.resource_version);
    cluster.apply(&over(version.as_deref())).await.map(drop)
}

/// What is declared, with what the Service of its default backend calls its port.
async fn with_port_name(
    cluster: &ApiClient,
    declared: &FleetConfig,
    live: Option<&FleetConfig>,
) -> Result<FleetConfig, Error> {
    let mut declared = declared.clone();
    if let Some(Backend::Service(reference)) = &mut declared.default_backend
        && matches!(reference.port, ServicePort::Number(_))
    {
        let service = cluster.service(reference).await?;
        let before = live.and_then(|live| live.default_backend.as_ref());
        name_port(reference, service.as_ref(), before.as_slice());
    }
    Ok(declared)
}

#[cfg(test)]
mod tests {
    use halftone_routing::fleet::EdgePosition;

    use super::*;

    fn declared(position: EdgePosition) -> FleetConfig {
        FleetConfig {
            position,
            ..FleetConfig::default()
        }
    }

    #[test]
    fn a_number_rises_only_when_the_meaning_changes_and_never_falls() {
        let edge = declared(EdgePosition::Edge);
        let first = wanted(&edge, None, 0);
        assert_eq!(first.revision.get(), 1);
        assert_eq!(wanted(&edge, Some(&first), 1), first);
        let second = wanted(&declared(EdgePosition::BehindProxy), Some(&first), 1);
        assert_eq!(second.revision.get(), 2);
        assert_ne!(first.checksum, second.checksum);
        assert_eq!(
            wanted(&edge, None, 7).revision.get(),
            8,
            "the ConfigMap was deleted by hand"
        );
        assert_eq!(
            wanted(&edge, Some(&first), 7).revision.get(),
            8,
            "an old one was put back by hand"
        );
    }
}
