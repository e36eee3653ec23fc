//! The EndpointSlices of the namespaces in use: one watch for each namespace, from its first document to its last.
//!
//! One watch for each namespace and not for each Service: thousands of Services would be thousands of connections
//! from every proxy to the API server. What is remembered of a slice is short (`upstream/services.rs`).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use halftone_daemon::log::with_causes;
use halftone_daemon::watch::Watch;
use halftone_routing::config::names::ObjectName;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{PAUSES, WATCH_SECONDS};
use crate::upstream::endpoints::Tables;
use crate::upstream::services::{Member, Slice};

/// The label that says which Service a slice is of.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Slices of one page of a list: each may have a hundred endpoints, and a page is decoded at once.
const PAGE: u32 = 100;

/// What became of a namespace's list.
#[derive(Debug)]
pub(super) struct News {
    namespace: ObjectName,
    /// None: it is complete and in the tables.
    failed: Option<String>,
}

/// The namespaces being followed.
pub(super) struct Slices {
    client: Client,
    tables: Arc<Tables>,
    tell: mpsc::UnboundedSender<News>,
    followed: HashMap<ObjectName, Followed>,
}

#[derive(Debug)]
struct Followed {
    task: AbortHandle,
    standing: Standing,
}

/// Where a namespace's first list stands.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Pending,
    Failed(String),
    Listed,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Slices {
    pub(super) fn new(client: Client, tables: Arc<Tables>, tell: mpsc::UnboundedSender<News>) -> Self {
        Self { client, tables, tell, followed: HashMap::new() }
    }

    /// Follows these namespaces and those of the arms that go on without a document, and no others.
    pub(super) fn follow(&mut self, named: &BTreeSet<&ObjectName>) {
        let in_use = self.tables.namespaces();
        let Self { client, tables, tell, followed } = self;
        followed.retain(|namespace, _| {
            let stays = named.contains(namespace) || in_use.contains(namespace);
            if !stays {
                tables.forget_slices(namespace);
            }
            stays
        });
        for namespace in named.iter().copied().chain(&in_use) {
            followed.entry(namespace.clone()).or_insert_with(|| {
                let following = follow(client.clone(), namespace.clone(), Arc::clone(tables), tell.clone());
                Followed { task: tokio::spawn(following).abort_handle(), standing: Standing::Pending }
            });
        }
    }

    /// Takes note of a list's end; true: that is new.
    pub(super) fn take(&mut self, news: News) -> bool {
        let Some(followed) = self.followed.get_mut(&news.namespace) else { return false };
        let standing = match news.failed {
            // What is known of it goes on holding.
            Some(_) if followed.standing == Standing::Listed => return false,
            Some(why) => Standing::Failed(why),
            None => Standing::Listed,
        };
        let new = followed.standing != standing;
        followed.standing = standing;
        new
    }

    pub(super) fn is_listed(&self, namespace: &ObjectName) -> bool {
        self.followed.get(namespace).is_some_and(|followed| followed.standing == Standing::Listed)
    }

    /// Whether there is nothing to wait for at present: it is listed, or the API says that it cannot be.
    pub(super) fn is_settled(&self, namespace: &ObjectName) -> bool {
        self.followed.get(namespace).is_some_and(|followed| followed.standing != Standing::Pending)
    }

    /// Which of these namespaces is not listed, and why, if one is not.
    pub(super) fn missing(&self, named: &BTreeSet<&ObjectName>) -> Option<String> {
        let namespace = named.iter().find(|namespace| !self.is_listed(namespace))?;
        let why = match self.followed.get(*namespace).map(|followed| &followed.standing) {
            Some(Standing::Failed(why)) => format!(": {why}"),
            _ => String::new(),
        };
        Some(format!("the EndpointSlices of namespace {namespace} are not listed{why}"))
    }
}

/// Keeps the tables as one namespace's slices are, until it is dropped.
async fn follow(
    client: Client,
    namespace: ObjectName,
    tables: Arc<Tables>,
    tell: mpsc::UnboundedSender<News>,
) {
    let config = watcher::Config::default().labels(SERVICE_LABEL).timeout(WATCH_SECONDS).page_size(PAGE);
    let mut watch: Watch<EndpointSlice> =
        Watch::new(Api::namespaced(client, namespace.as_str()), config, PAUSES);
    let mut listing = Vec::new();
    loop {
        let failed = match watch.next().await {
            Ok(Event::Init) => {
                listing.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listing.extend(slice(&object).map(|slice| (object.name_any(), slice)));
                continue;
            }
            Ok(Event::InitDone) => {
                tables.list_slices(&namespace, std::mem::take(&mut listing));
                None
            }
            Ok(Event::Apply(object)) => {
                tables.put_slice(&namespace, object.name_any(), slice(&object));
                continue;
            }
            Ok(Event::Delete(object)) => {
                tables.put_slice(&namespace, object.name_any(), None);
                continue;
            }
            Err(error) => {
                let why = with_causes(&error);
                tracing::warn!(%namespace, "EndpointSlices cannot be followed at present: {why}");
                Some(why)
            }
        };
        if tell.send(News { namespace: namespace.clone(), failed }).is_err() {
            return;
        }
    }
}

/// The short form; none: it is of no Service, or names hosts, which are not dialled.
fn slice(object: &EndpointSlice) -> Option<Slice> {
    let service = object.labels().get(SERVICE_LABEL)?.parse().ok()?;
    let ports = object.ports.iter().flatten().filter_map(port).collect();
    let members = object.endpoints.iter().filter_map(member).collect();
    Some(Slice { service, ports, members })
}

fn port(port: &EndpointPort) -> Option<(String, u16)> {
    let tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let number = port.port.and_then(|number| u16::try_from(number).ok())?;
    (tcp && number != 0).then(|| (port.name.clone().unwrap_or_default(), number))
}

fn member(endpoint: &Endpoint) -> Option<Member> {
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.as_ref();
    // What is not said is ready; what is not said to serve serves if it is ready.
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    let target = endpoint.target_ref.as_ref();
    let pod = target.and_then(|target| target.uid.as_deref()).map(Into::into);
    Some(Member { ip, ready, serving, terminating, pod })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn read(object: Value) -> Option<Slice> {
        slice(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_slice_is_read_as_the_api_writes_it() {
        let read = read(json!({
            "metadata": {"name": "checkout-v1-abcde", "labels": {"kubernetes.io/service-name": "checkout-v1"}},
            "addressType": "IPv4",
            "ports": [
                {"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "", "port": 9090},
            ],
            "endpoints": [
                {"addresses": ["10.0.0.1", "10.9.9.9"], "conditions": {"ready": true, "serving": true, "terminating": false},
                 "targetRef": {"kind": "Pod", "namespace": "shop", "name": "a", "uid": "uid-a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.4"]},
            ],
        }));
        let Slice { service, ports, members } = read.unwrap();
        assert_eq!(service.as_str(), "checkout-v1");
        assert_eq!(ports, BTreeMap::from([("http".to_owned(), 8080), (String::new(), 9090)]));
        let told = |m: &Member| {
            (m.ip.to_string(), m.ready, m.serving, m.terminating, m.pod.as_deref().map(str::to_owned))
        };
        assert_eq!(
            members.iter().map(told).collect::<Vec<_>>(),
            [
                ("10.0.0.1".to_owned(), true, true, false, Some("uid-a".to_owned())),
                ("10.0.0.2".to_owned(), false, true, true, None),
                ("10.0.0.3".to_owned(), false, false, false, None),
                ("10.0.0.4".to_owned(), true, true, false, None),
            ]
        );
    }

    #[test]
    fn host_names_empty_slices_and_slices_of_no_service_give_nothing() {
        let labels = json!({"kubernetes.io/service-name": "a"});
        let names = json!({"metadata": {"labels": labels}, "addressType": "FQDN", "endpoints": [{"addresses": ["example.com"]}]});
        assert_eq!(read(names).unwrap().members, []);
        let empty =
            json!({"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": null, "ports": null});
        assert_eq!(read(empty).unwrap().ports.len(), 0);
        assert_eq!(read(json!({"metadata": {}, "addressType": "IPv4", "endpoints": []})), None);
    }
}
