//! The EndpointSlices of the namespaces in use: one watch for each namespace, from its first document to its last.
//!
//! One watch for each namespace and not for each Service: thousands of Services would be thousands of connections
//! from every proxy to the API server. Of a slice its short form is remembered (`halftone_routing::endpoints`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use halftone_daemon::log::with_causes;
use halftone_daemon::slices::{SERVICE_LABEL, slice};
use halftone_daemon::watch::Watcher;
use halftone_routing::document::names::ObjectName;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{PAUSES, WATCH_SECONDS};
use crate::upstream::endpoints::Tables;

/// Slices of one page of a list: each may have a hundred endpoints, and a page is decoded at once.
const PAGE: u32 = 100;

/// What became of a namespace's list.
#[derive(Debug)]
pub(super) struct ListResult {
    namespace: ObjectName,
    /// None: it is complete and in the tables.
    failed: Option<String>,
}

/// The namespaces being followed.
pub(super) struct SliceWatcher {
    client: Client,
    tables: Arc<Tables>,
    tell: mpsc::UnboundedSender<ListResult>,
    followed: HashMap<ObjectName, NamespaceWatch>,
}

#[derive(Debug)]
struct NamespaceWatch {
    task: AbortHandle,
    standing: ListState,
}

/// Where a namespace's first list stands.
#[derive(Debug, PartialEq, Eq)]
enum ListState {
    Pending,
    Failed(String),
    Listed,
}

impl Drop for NamespaceWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SliceWatcher {
    pub(super) fn new(
        client: Client,
        tables: Arc<Tables>,
        tell: mpsc::UnboundedSender<ListResult>,
    ) -> Self {
        Self {
            client,
            tables,
            tell,
            followed: HashMap::new(),
        }
    }

    /// Follows these namespaces and those of the arms that go on without a document, and no others.
    pub(super) fn follow(&mut self, named: &BTreeSet<&ObjectName>) {
        let in_use = self.tables.namespaces();
        let Self {
            client,
            tables,
            tell,
            followed,
        } = self;
        followed.retain(|namespace, _| {
            let stays = named.contains(namespace) || in_use.contains(namespace);
            if !stays {
                tables.forget_slices(namespace);
            }
            stays
        });
        for namespace in named.iter().copied().chain(&in_use) {
            followed.entry(namespace.clone()).or_insert_with(|| {
                let following = follow(
                    client.clone(),
                    namespace.clone(),
                    Arc::clone(tables),
                    tell.clone(),
                );
                NamespaceWatch {
                    task: tokio::spawn(following).abort_handle(),
                    standing: ListState::Pending,
                }
            });
        }
    }

    /// Takes note of a list's end; true: that is new.
    pub(super) fn take(&mut self, news: ListResult) -> bool {
        let Some(followed) = self.followed.get_mut(&news.namespace) else {
            return false;
        };
        let standing = match news.failed {
            // What is known of it goes on holding.
            Some(_) if followed.standing == ListState::Listed => return false,
            Some(why) => ListState::Failed(why),
            None => ListState::Listed,
        };
        let new = followed.standing != standing;
        followed.standing = standing;
        new
    }

    pub(super) fn is_listed(&self, namespace: &ObjectName) -> bool {
        self.followed
            .get(namespace)
            .is_some_and(|followed| followed.standing == ListState::Listed)
    }

    /// Whether there is nothing to wait for at present: it is listed, or the API says that it cannot be.
    pub(super) fn is_settled(&self, namespace: &ObjectName) -> bool {
        self.followed
            .get(namespace)
            .is_some_and(|followed| followed.standing != ListState::Pending)
    }

    /// Which of these namespaces is not listed, and why, if one is not.
    pub(super) fn missing(&self, named: &BTreeSet<&ObjectName>) -> Option<String> {
        let namespace = named.iter().find(|namespace| !self.is_listed(namespace))?;
        let why = match self
            .followed
            .get(*namespace)
            .map(|followed| &followed.standing)
        {
            Some(ListState::Failed(why)) => format!(": {why}"),
            _ => String::new(),
        };
        Some(format!(
            "the EndpointSlices of namespace {namespace} are not listed{why}"
        ))
    }
}

/// Keeps the tables as one namespace's slices are, until it is dropped.
async fn follow(
    client: Client,
    namespace: ObjectName,
    tables: Arc<Tables>,
    tell: mpsc::UnboundedSender<ListResult>,
) {
    let config = watcher::Config::default()
        .labels(SERVICE_LABEL)
        .timeout(WATCH_SECONDS)
        .page_size(PAGE);
    let mut watch: Watcher<EndpointSlice> =
        Watcher::new(Api::namespaced(client, namespace.as_str()), config, PAUSES);
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
        if tell
            .send(ListResult {
                namespace: namespace.clone(),
                failed,
            })
            .is_err()
        {
            return;
        }
    }
}
