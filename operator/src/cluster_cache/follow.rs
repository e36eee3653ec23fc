//! The watches behind the world: one task each, narrowed by namespace and selector, trimmed to what is read, begun again
//! after a pause with jitter when the API server is away.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use halftone_api::GrayRelease;
use halftone_daemon::log::with_causes;
use halftone_daemon::watch::{WatchBackoff, Watcher};
use halftone_routing::document::names::ObjectName;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{
    CacheState, ClusterCache, FleetConfigMap, NamespaceCache, OwnConfigMap, groups_of_service,
    groups_of_slice,
};
use crate::compressed_release::CompressedRelease;
use crate::forward_compat;
use crate::names::{
    ADMIN_PORT, CLASS_LABEL, CONTROLLER_ANNOTATION, HAND_OVER_ANNOTATION, NamespacedName,
};
use crate::object_index::{ChangedKeys, ObjectIndex};
use crate::objects::{self, FleetRef, ReleaseConfigMap};
use crate::ownership::HandOverOrder;
use crate::proxy_roster::ProxyPod;

/// After an outage the world is to be known again soon.
const PAUSES: WatchBackoff = WatchBackoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(3),
};
/// A watch is begun anew so often: on a connection that died unnoticed nothing is seen for a minute at most.
const WATCH_SECONDS: u32 = 45;
/// Objects of a page of a listing: each is in memory as text, parsed and trimmed until the page is through.
const PAGE: u32 = 100;

impl ClusterCache {
    /// Begins to watch. The tasks end with the runtime.
    pub fn watch(self: &Arc<Self>) {
        let scopes: Vec<Arc<str>> = self.state().releases.keys().cloned().collect();
        for scope in scopes {
            tokio::spawn(Arc::clone(self).follow_releases(scope));
        }
        for (fleet, selector) in self.fleets.clone() {
            tokio::spawn(Arc::clone(self).follow_pods(fleet.clone(), selector));
            tokio::spawn(Arc::clone(self).follow_ours(fleet));
        }
    }

    async fn follow_releases(self: Arc<Self>, scope: Arc<str>) {
        let client = self.client.clone();
        let resource = ApiResource::erase::<GrayRelease>(&());
        let api: Api<DynamicObject> = match &*scope {
            "" => Api::all_with(client, &resource),
            namespace => Api::namespaced_with(client, namespace, &resource),
        };
        let read = |object: DynamicObject| {
            let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
            let read = forward_compat::release(object).map(CompressedRelease::of);
            read.inspect_err(|error| {
                tracing::error!(
                    namespace,
                    release = name,
                    "the GrayRelease cannot be read: {error}"
                );
            })
            .ok()
        };
        self.follow(
            "grayreleases",
            api,
            Config::default(),
            read,
            |state| state.releases.get_mut(&scope),
            |world, touched, _| world.releases_changed(touched),
        )
        .await;
    }

    async fn follow_pods(self: Arc<Self>, fleet: FleetRef, selector: String) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), fleet.namespace.as_str());
        self.follow(
            "pods",
            api,
            Config::default().labels(&selector),
            |pod| Some(proxy_pod(&pod)),
            |state| Some(&mut state.fleets.get_mut(&fleet.class)?.pods),
            |world, _, _| world.tell(Some(&fleet.class), [super::CacheEvent::Proxies]),
        )
        .await;
    }

    pub(super) async fn follow_ours(self: Arc<Self>, fleet: FleetRef) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), fleet.namespace.as_str());
        self.follow(
            "configmaps",
            api,
            Config::default().labels(&format!("{CLASS_LABEL}={}", fleet.class)),
            |object| ours(&object, &fleet.class),
            |state| Some(&mut state.fleets.get_mut(&fleet.class)?.ours),
            |world, touched, _| world.ours_changed(&fleet, touched),
        )
        .await;
    }

    /// Begins or ends to watch what the releases of a namespace may name.
    pub(super) fn follow_neighbours(self: &Arc<Self>, namespace: &Arc<str>, used: bool) {
        let mut state = self.state();
        if !used {
            state.neighbours.remove(namespace);
        } else if !state.neighbours.contains_key(namespace) {
            let services = tokio::spawn(Arc::clone(self).follow_services(Arc::clone(namespace)));
            let slices = tokio::spawn(Arc::clone(self).follow_slices(Arc::clone(namespace)));
            let neighbours = NamespaceCache {
                services: ObjectIndex::new(groups_of_service),
                slices: ObjectIndex::new(groups_of_slice),
                tasks: [services.abort_handle(), slices.abort_handle()],
            };
            state.neighbours.insert(Arc::clone(namespace), neighbours);
        }
    }

    async fn follow_services(self: Arc<Self>, namespace: Arc<str>) {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &namespace);
        let read = |mut service: Service| {
            let ServiceSpec { ports, type_, .. } = service.spec.take().unwrap_or_default();
            service.metadata = named(service.metadata);
            service.spec = Some(ServiceSpec {
                ports,
                type_,
                ..ServiceSpec::default()
            });
            service.status = None;
            Some(service)
        };
        self.follow(
            "services",
            api,
            Config::default(),
            read,
            |state| Some(&mut state.neighbours.get_mut(&namespace)?.services),
            |world, touched, listed| world.neighbours_changed(&namespace, &touched, listed),
        )
        .await;
    }

    async fn follow_slices(self: Arc<Self>, namespace: Arc<str>) {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &namespace);
        let read = |mut slice: EndpointSlice| {
            slice.metadata = named(slice.metadata);
            for endpoint in &mut slice.endpoints {
                (endpoint.hints, endpoint.zone, endpoint.node_name) = (None, None, None);
            }
            Some(slice)
        };
        self.follow(
            "endpointslices",
            api,
            Config::default(),
            read,
            |state| Some(&mut state.neighbours.get_mut(&namespace)?.slices),
            |world, touched, listed| world.neighbours_changed(&namespace, &touched, listed),
        )
        .await;
    }

    /// Keeps one store up to date for ever. `read` narrows an object to what is kept; what it cannot make anything of
    /// leaves the store as it is. `tell` says what has changed, and whether by a complete listing.
    async fn follow<K, V: PartialEq>(
        self: &Arc<Self>,
        what: &'static str,
        api: Api<K>,
        config: Config,
        read: impl Fn(K) -> Option<V>,
        store: impl for<'a> Fn(&'a mut CacheState) -> Option<&'a mut ObjectIndex<V>>,
        tell: impl Fn(&Arc<Self>, ChangedKeys, bool),
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut watch = Watcher::new(api, config.timeout(WATCH_SECONDS).page_size(PAGE), PAUSES);
        loop {
            let event = match watch.next().await {
                Ok(event) => event,
                Err(error) => {
                    self.metrics.watch_failed(what);
                    tracing::warn!("watching {what}: {}", with_causes(&error));
                    continue;
                }
            };
            let listed = matches!(event, Event::InitDone);
            let touched = store(&mut self.state())
                .map(|store| take(store, event, &read))
                .unwrap_or_default();
            if listed || touched != ChangedKeys::default() {
                tell(self, touched, listed);
            }
        }
    }
}

fn take<K: ResourceExt, V: PartialEq>(
    store: &mut ObjectIndex<V>,
    event: Event<K>,
    read: impl Fn(K) -> Option<V>,
) -> ChangedKeys {
    match event {
        Event::Init => store.begin(),
        Event::InitApply(object) => {
            let key = NamespacedName::of(&object);
            if let Some(value) = read(object) {
                store.list(key, value);
            }
        }
        Event::InitDone => return store.end(),
        Event::Apply(object) => {
            let key = NamespacedName::of(&object);
            return read(object)
                .map(|value| store.put(key, value))
                .unwrap_or_default();
        }
        Event::Delete(object) => return store.delete(&NamespacedName::of(&object)),
    }
    ChangedKeys::default()
}

/// Name and labels: what is read of the metadata of others' objects.
fn named(metadata: ObjectMeta) -> ObjectMeta {
    let ObjectMeta {
        name,
        namespace,
        labels,
        ..
    } = metadata;
    ObjectMeta {
        name,
        namespace,
        labels,
        ..ObjectMeta::default()
    }
}

fn ours(object: &ConfigMap, class: &ObjectName) -> Option<OwnConfigMap> {
    if object.name_any() == crate::names::fleet_config_map(class) {
        let annotation = |name: &str| object.annotations().get(name).cloned();
        return Some(OwnConfigMap::Fleet(Box::new(FleetConfigMap {
            config: objects::fleet_config(object),
            controller: annotation(CONTROLLER_ANNOTATION),
            order: annotation(HAND_OVER_ANNOTATION).map(|text| HandOverOrder::read(&text)),
            version: object.resource_version().unwrap_or_default(),
        })));
    }
    ReleaseConfigMap::read(object, class).map(OwnConfigMap::Release)
}

fn proxy_pod(pod: &Pod) -> ProxyPod {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ips = status
        .and_then(|status| status.pod_ips.as_deref())
        .unwrap_or_default();
    let address = status
        .and_then(|status| status.pod_ip.as_deref())
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(ADMIN_PORT));
    let port = port.and_then(|port| u16::try_from(port.container_port).ok());
    ProxyPod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        addresses: ips.iter().map(|ip| ip.ip.clone()).collect(),
        admin: address
            .zip(port)
            .map(|(address, port)| SocketAddr::new(address, port)),
        ready: conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        terminating: pod.metadata.deletion_timestamp.is_some(),
    }
}
