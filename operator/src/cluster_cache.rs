//! The cluster as the operator sees it: watches over GrayReleases, the Services and EndpointSlices of the namespaces that
//! have any, the pods of each fleet and our own ConfigMaps, each narrowed to what is needed. Workers are told which
//! release a change concerns; nothing is ever listed in a loop.

mod follow;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use halftone_api::fleet::{FleetDeclaration, FleetDeclarations};
use halftone_routing::document::arm::ServiceRef;
use halftone_routing::document::names::{ObjectName, Uid};
use halftone_routing::fleet::FleetConfig;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::api_client::in_time;
use crate::compressed_release::CompressedRelease;
use crate::endpoints::ServiceSnapshot;
use crate::error::Error;
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::names::{self, NamespacedName};
use crate::object_index::{ChangedKeys, ObjectIndex};
use crate::objects::{FleetRef, ReleaseConfigMap};
use crate::ownership::{HandOverOrder, OwnershipTally};
use crate::proxy_roster::ProxyPod;

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheEvent {
    /// Something about this release.
    Release(NamespacedName),
    /// The pods of the worker's fleet.
    Proxies,
    /// The ConfigMap of the worker's fleet.
    Settings,
}

/// One of our ConfigMaps.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnConfigMap {
    /// Of a release.
    Release(ReleaseConfigMap),
    /// Of the fleet.
    Fleet(Box<FleetConfigMap>),
}

/// The ConfigMap of a fleet as it is in the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetConfigMap {
    /// The settings, or what is wrong with them.
    pub config: Result<FleetConfig, String>,
    /// The installation that has written them.
    pub controller: Option<String>,
    /// The installation that a person has ordered to look after the class.
    pub order: Option<HandOverOrder>,
    /// Its resourceVersion.
    pub version: String,
}

/// The whole of it.
pub struct ClusterCache {
    client: Client,
    metrics: Arc<Metrics>,
    /// The namespaces that are watched; none for all.
    namespaces: Vec<ObjectName>,
    fleets: Vec<(FleetRef, String)>,
    state: Mutex<CacheState>,
    workers: Mutex<Vec<(ObjectName, mpsc::UnboundedSender<CacheEvent>)>>,
}

#[derive(Default)]
struct CacheState {
    /// By the namespace that is watched, empty for all.
    releases: BTreeMap<Arc<str>, ObjectIndex<CompressedRelease>>,
    neighbours: HashMap<Arc<str>, NamespaceCache>,
    fleets: BTreeMap<ObjectName, FleetCache>,
}

/// What the releases of a namespace may name.
struct NamespaceCache {
    services: ObjectIndex<Service>,
    slices: ObjectIndex<EndpointSlice>,
    tasks: [AbortHandle; 2],
}

struct FleetCache {
    pods: ObjectIndex<ProxyPod>,
    ours: ObjectIndex<OwnConfigMap>,
}

impl std::fmt::Debug for ClusterCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterCache")
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}

impl Drop for NamespaceCache {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// The group of all releases of a namespace.
fn all_of(namespace: &str) -> NamespacedName {
    NamespacedName::new(namespace, "")
}

/// The Services that a release names, and its namespace.
fn groups_of_release(release: &CompressedRelease) -> Vec<NamespacedName> {
    let release = release.unpack();
    let namespace = release.metadata.namespace.clone().unwrap_or_default();
    let arms = std::iter::once(&release.spec.stable).chain(&release.spec.gray);
    let services =
        arms.filter_map(|arm| Some(NamespacedName::new(&namespace, &arm.service.as_ref()?.name)));
    services.chain([all_of(&namespace)]).collect()
}

fn groups_of_slice(slice: &EndpointSlice) -> Vec<NamespacedName> {
    let namespace = slice.metadata.namespace.clone().unwrap_or_default();
    let labels = slice.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
    service
        .map(|service| NamespacedName::new(&namespace, service))
        .into_iter()
        .collect()
}

fn groups_of_service(service: &Service) -> Vec<NamespacedName> {
    vec![NamespacedName::of(service)]
}

fn groups_of_ours(ours: &OwnConfigMap) -> Vec<NamespacedName> {
    match ours {
        OwnConfigMap::Release(kept) => kept.key.clone().into_iter().collect(),
        OwnConfigMap::Fleet(..) => Vec::new(),
    }
}

impl ClusterCache {
    /// The cluster behind `client`, as far as these fleets are concerned. Nothing is watched before [`ClusterCache::watch`].
    #[must_use]
    pub fn new(client: Client, fleets: &FleetDeclarations, metrics: Arc<Metrics>) -> Arc<Self> {
        let with_place = |fleet: &FleetDeclaration| Some((fleet_ref(fleet)?, selector(fleet)));
        let placed: Vec<(FleetRef, String)> = fleets.fleets.iter().filter_map(with_place).collect();
        let mut state = CacheState::default();
        for (fleet, _) in &placed {
            let stores = FleetCache {
                pods: ObjectIndex::new(|_| Vec::new()),
                ours: ObjectIndex::new(groups_of_ours),
            };
            state.fleets.insert(fleet.class.clone(), stores);
        }
        let all: [Arc<str>; 1] = ["".into()];
        let named: Vec<Arc<str>> = fleets
            .watch_namespaces
            .iter()
            .map(|name| name.as_str().into())
            .collect();
        for scope in if named.is_empty() {
            &all[..]
        } else {
            &named[..]
        } {
            state
                .releases
                .insert(Arc::clone(scope), ObjectIndex::new(groups_of_release));
        }
        Arc::new(Self {
            client,
            metrics,
            namespaces: fleets.watch_namespaces.clone(),
            fleets: placed,
            state: Mutex::new(state),
            workers: Mutex::default(),
        })
    }

    /// What the worker of this fleet is to hear of from now on.
    pub fn hear(&self, class: &ObjectName) -> mpsc::UnboundedReceiver<CacheEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.workers).push((class.clone(), sender));
        receiver
    }

    /// Whether everything that concerns a fleet has been listed once, but for the Services of the releases.
    #[must_use]
    pub fn is_synced(&self, class: &ObjectName) -> bool {
        let state = self.state();
        let fleet = state.fleets.get(class);
        state.releases.values().all(ObjectIndex::is_synced)
            && fleet.is_some_and(|fleet| fleet.pods.is_synced() && fleet.ours.is_synced())
    }

    /// Whether that is so for every fleet.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.fleets
            .iter()
            .all(|(fleet, _)| self.is_synced(&fleet.class))
    }

    /// Whether the Services of a namespace have been listed.
    #[must_use]
    pub fn has_listed_services(&self, namespace: &str) -> bool {
        let state = self.state();
        let neighbours = state.neighbours.get(namespace);
        neighbours.is_some_and(|known| known.services.is_synced() && known.slices.is_synced())
    }

    /// Whether releases of a namespace are watched at all.
    #[must_use]
    pub fn watches(&self, namespace: &str) -> bool {
        self.namespaces.is_empty()
            || self
                .namespaces
                .iter()
                .any(|name| name.as_str() == namespace)
    }

    /// A release.
    #[must_use]
    pub fn release(&self, key: &NamespacedName) -> Option<Arc<CompressedRelease>> {
        let state = self.state();
        state
            .releases
            .values()
            .find_map(|store| store.get(key))
            .cloned()
    }

    /// All releases.
    #[must_use]
    pub fn releases(&self) -> Vec<NamespacedName> {
        self.state()
            .releases
            .values()
            .flat_map(ObjectIndex::iter)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Which installations look after the releases of a class.
    #[must_use]
    pub fn tally(&self, class: &ObjectName) -> OwnershipTally {
        let state = self.state();
        let releases = state
            .releases
            .values()
            .flat_map(ObjectIndex::iter)
            .map(|(_, release)| release);
        let mut tally = OwnershipTally::default();
        for release in releases.filter(|release| *release.class == *class.as_str()) {
            tally.add(release.controller.as_deref(), release.begun);
        }
        tally
    }

    /// Forgets that a class was to be handed over, once that is over: else it would go on to the same installation
    /// whenever it comes back.
    ///
    /// # Errors
    /// It stands there still.
    pub async fn end_hand_over(&self, fleet: &FleetRef) -> Result<(), Error> {
        let Some(settings) = self.settings(fleet) else {
            return Ok(());
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), fleet.namespace.as_str());
        let patch = json!({"metadata": {
            "resourceVersion": settings.version,
            "annotations": {names::HAND_OVER_ANNOTATION: null},
        }});
        let name = names::fleet_config_map(&fleet.class);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(&patch));
        in_time(
            "ending the hand-over",
            api.patch(&name, &parameters, &patch),
        )
        .await
        .map(drop)
    }

    /// The releases of a class.
    #[must_use]
    pub fn releases_of(&self, class: &ObjectName) -> Vec<Arc<CompressedRelease>> {
        let state = self.state();
        let releases = state
            .releases
            .values()
            .flat_map(ObjectIndex::iter)
            .map(|(_, release)| release);
        releases
            .filter(|release| *release.class == *class.as_str())
            .cloned()
            .collect()
    }

    /// Begins to watch the ConfigMaps of a fleet that has left the configuration, and has its releases looked at again.
    /// Nobody says which pods its proxies are: there are none.
    pub fn add_left(self: &Arc<Self>, fleet: &FleetRef) {
        let mut pods = ObjectIndex::new(|_: &ProxyPod| Vec::new());
        pods.end();
        let stores = FleetCache {
            pods,
            ours: ObjectIndex::new(groups_of_ours),
        };
        self.state().fleets.insert(fleet.class.clone(), stores);
        tokio::spawn(Arc::clone(self).follow_ours(fleet.clone()));
    }

    /// Has everybody look at every release again.
    pub fn look_again(&self) {
        self.tell(None, self.releases().into_iter().map(CacheEvent::Release));
    }

    /// The ConfigMap of an object in a fleet.
    #[must_use]
    pub fn kept(
        &self,
        class: &ObjectName,
        namespace: &ObjectName,
        uid: &Uid,
    ) -> Option<ReleaseConfigMap> {
        let key = NamespacedName::new(namespace.as_str(), &names::release_config_map(uid));
        match self.state().fleets.get(class)?.ours.get(&key)?.as_ref() {
            OwnConfigMap::Release(kept) => Some(kept.clone()),
            OwnConfigMap::Fleet(..) => None,
        }
    }

    /// The ConfigMaps of all objects that have or had this name, in a fleet.
    #[must_use]
    pub fn release_config_maps(
        &self,
        class: &ObjectName,
        key: &NamespacedName,
    ) -> Vec<ReleaseConfigMap> {
        let state = self.state();
        let ours = state
            .fleets
            .get(class)
            .into_iter()
            .flat_map(|fleet| fleet.ours.in_group(key));
        ours.filter_map(|(_, ours)| match ours.as_ref() {
            OwnConfigMap::Release(kept) => Some(kept.clone()),
            OwnConfigMap::Fleet(..) => None,
        })
        .collect()
    }

    /// The releases that have ConfigMaps in a fleet.
    #[must_use]
    pub fn keys_kept(&self, class: &ObjectName) -> Vec<NamespacedName> {
        let state = self.state();
        state
            .fleets
            .get(class)
            .into_iter()
            .flat_map(|fleet| fleet.ours.groups().cloned())
            .collect()
    }

    /// The settings of a fleet as they are in the cluster.
    #[must_use]
    pub fn settings(&self, fleet: &FleetRef) -> Option<FleetConfigMap> {
        let key = NamespacedName::new(
            fleet.namespace.as_str(),
            &names::fleet_config_map(&fleet.class),
        );
        match self
            .state()
            .fleets
            .get(&fleet.class)?
            .ours
            .get(&key)?
            .as_ref()
        {
            OwnConfigMap::Fleet(settings) => Some(FleetConfigMap::clone(settings)),
            OwnConfigMap::Release(_) => None,
        }
    }

    /// The pods of a fleet.
    #[must_use]
    pub fn pods(&self, class: &ObjectName) -> Vec<Arc<ProxyPod>> {
        let state = self.state();
        let pods = state
            .fleets
            .get(class)
            .into_iter()
            .flat_map(|fleet| fleet.pods.iter());
        pods.map(|(_, pod)| Arc::clone(pod)).collect()
    }

    /// What tells a proxy from a backend: uids and addresses. Those of all fleets, since the admin pages of another fleet
    /// are as little a backend as those of this one.
    #[must_use]
    pub fn identities(&self) -> BTreeSet<String> {
        let state = self.state();
        let pods = state.fleets.values().flat_map(|fleet| fleet.pods.iter());
        pods.flat_map(|(_, pod)| pod.addresses.iter().chain([&pod.uid]).cloned())
            .collect()
    }

    /// A Service and its EndpointSlices.
    #[must_use]
    pub fn find(&self, reference: &ServiceRef) -> ServiceSnapshot {
        let key = NamespacedName::new(reference.namespace.as_str(), reference.name.as_str());
        let state = self.state();
        let Some(neighbours) = state.neighbours.get(&*key.namespace) else {
            return ServiceSnapshot::default();
        };
        ServiceSnapshot {
            service: neighbours.services.get(&key).cloned(),
            slices: neighbours
                .slices
                .in_group(&key)
                .map(|(_, slice)| Arc::clone(slice))
                .collect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, CacheState> {
        lock(&self.state)
    }

    fn tell(&self, class: Option<&ObjectName>, changes: impl IntoIterator<Item = CacheEvent>) {
        let workers = lock(&self.workers);
        let concerned: Vec<_> = workers
            .iter()
            .filter(|(of, _)| class.is_none_or(|class| of == class))
            .collect();
        for change in changes {
            for (_, worker) in &concerned {
                // A worker that has ended hears nothing.
                let _ = worker.send(change.clone());
            }
        }
    }

    /// Releases have changed: the namespaces that have any may be others.
    fn releases_changed(self: &Arc<Self>, touched: ChangedKeys) {
        let namespaces = touched.groups.iter().filter(|group| group.name.is_empty());
        for group in namespaces {
            let used = {
                let state = self.state();
                state
                    .releases
                    .values()
                    .any(|store| store.in_group(group).next().is_some())
            };
            self.follow_neighbours(&group.namespace, used);
        }
        self.tell(None, touched.keys.into_iter().map(CacheEvent::Release));
    }

    /// Services or EndpointSlices have changed. The first complete listing concerns every release of the namespace.
    fn neighbours_changed(&self, namespace: &str, touched: &ChangedKeys, listed: bool) {
        let everyone = listed.then(|| all_of(namespace));
        let keys: BTreeSet<NamespacedName> = {
            let state = self.state();
            let groups = touched.groups.iter().chain(&everyone);
            let users = groups.flat_map(|group| {
                state
                    .releases
                    .values()
                    .flat_map(|store| store.in_group(group))
            });
            users.map(|(key, _)| key.clone()).collect()
        };
        self.tell(None, keys.into_iter().map(CacheEvent::Release));
    }

    fn ours_changed(&self, fleet: &FleetRef, touched: ChangedKeys) {
        let settings = names::fleet_config_map(&fleet.class);
        let settings = touched
            .keys
            .iter()
            .any(|key| *key.name == *settings)
            .then_some(CacheEvent::Settings);
        let releases = touched.groups.into_iter().map(CacheEvent::Release);
        self.tell(Some(&fleet.class), releases.chain(settings));
    }
}

/// Where a fleet is; none for one that does not say.
#[must_use]
pub fn fleet_ref(fleet: &FleetDeclaration) -> Option<FleetRef> {
    Some(FleetRef {
        class: fleet.config.class.clone(),
        namespace: fleet.namespace.clone()?,
    })
}

fn selector(fleet: &FleetDeclaration) -> String {
    let labels = fleet
        .pod_selector
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    labels.collect::<Vec<_>>().join(",")
}
