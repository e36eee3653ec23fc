//! The cluster side of the command line: finds the API server by the kubeconfig, reads and writes objects. What to ask
//! and what to print is decided in the pure parts of the files below; errors become words in `cluster/api_error.rs`.

mod api_error;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod config_maps;
mod connection;
pub(crate) mod events;
pub(crate) mod hand_over;
pub(crate) mod operator_status;
pub(crate) mod pending_request;
pub(crate) mod proxies;
pub(crate) mod request;
mod traffic;
pub(crate) mod version;
pub(crate) mod watch;

use std::fmt::Debug;
use std::time::Duration;

use halftone_api::GrayRelease;
use halftone_daemon::log::with_causes;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use self::api_error::{ApiOperation, unreachable};
use crate::args::ClusterArguments;
use crate::output::{self, CommandError};
use crate::status::{ReleaseList, UnreadableRelease};

/// How many objects are asked for at a time, as kubectl does.
const PAGE: u32 = 500;
/// A person waits: an API server that is there answers a connection sooner than this.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// What bears the name of a fleet's namespace, where it cannot be searched for.
pub(crate) const FLEET_NAMESPACE: &str =
    "name the namespace of the proxies with --fleet-namespace, or ask for leave to list in all";

/// Runs what speaks to a cluster.
///
/// # Errors
/// What it ends with.
pub(crate) fn block_on<T>(
    work: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|error| CommandError::new(format!("cannot start: {error}")))?
        .block_on(work)
}

/// A release as a command names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReleaseName<'a> {
    /// As in NAMESPACE/NAME.
    pub(crate) namespace: Option<&'a str>,
    /// The name.
    pub(crate) name: &'a str,
}

impl<'a> ReleaseName<'a> {
    /// Reads NAME or NAMESPACE/NAME.
    pub(crate) fn read(text: &'a str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self {
                namespace: Some(namespace),
                name,
            },
            None => Self {
                namespace: None,
                name: text,
            },
        }
    }
}

/// Which releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamespaceScope<'a> {
    /// Those of one namespace.
    Namespace(&'a str),
    /// Those of all.
    All,
}

/// A cluster, and where in it a command looks.
pub(crate) struct ClusterClient {
    client: Client,
    /// The same, but that it never asks twice: for what is asked of proxies, whose 503 is an answer.
    once: Client,
    namespace: String,
    server: String,
    looked_here: bool,
}

impl ClusterClient {
    /// Makes a client by the kubeconfig. Nothing is asked of the API server yet.
    ///
    /// # Errors
    /// There is no usable kubeconfig. `looked_here` says that no `halftone run` was found before.
    pub(crate) async fn connect(
        asked: &ClusterArguments,
        looked_here: bool,
    ) -> Result<Self, CommandError> {
        // Another one is there already only in tests.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = connection::config(asked)
            .await
            .map_err(|error| api_error::no_config(asked, &error, looked_here))?;
        config.connect_timeout = Some(CONNECTED_WITHIN);
        if let Some(user) = &asked.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config
                .auth_info
                .impersonate_uid
                .clone_from(&asked.connection.as_uid);
            config.auth_info.impersonate_groups = Some(asked.as_group.clone());
        }
        let namespace = asked
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let mut asking_once = config.clone();
        asking_once.default_retry = false;
        let client = |config| {
            Client::try_from(config).map_err(|error| {
                CommandError::new(format!("cannot speak to {server}: {}", with_causes(&error)))
            })
        };
        let (client, once) = (client(config)?, client(asking_once)?);
        Ok(Self {
            client,
            once,
            namespace,
            server,
            looked_here,
        })
    }

    /// The namespace that a release is in when its name does not say.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn client(&self) -> Client {
        self.client.clone()
    }

    fn releases_of(&self, scope: NamespaceScope<'_>) -> Api<GrayRelease> {
        self.api(scope)
    }

    fn api<K>(&self, scope: NamespaceScope<'_>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match scope {
            NamespaceScope::Namespace(namespace) => Api::namespaced(self.client(), namespace),
            NamespaceScope::All => Api::all(self.client()),
        }
    }

    /// What went wrong, in words.
    fn failed(&self, error: &kube::Error, doing: &ApiOperation<'_>) -> CommandError {
        api_error::explain(error, doing)
            .unwrap_or_else(|| unreachable(&self.server, &with_causes(error), self.looked_here))
    }

    /// The objects that a selection gives, asked for a page at a time.
    ///
    /// # Errors
    /// The API server says no, or nothing.
    async fn list<K>(
        &self,
        scope: NamespaceScope<'_>,
        selection: &ListParams,
    ) -> Result<Vec<K>, CommandError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let (api, mut page, mut all) = (
            self.api::<K>(scope),
            selection.clone().limit(PAGE),
            Vec::new(),
        );
        loop {
            match api.list(&page).await {
                Ok(list) => {
                    all.extend(list.items);
                    match list.metadata.continue_.filter(|token| !token.is_empty()) {
                        Some(token) => page = page.continue_token(&token),
                        None => return Ok(all),
                    }
                }
                // Whoever pages too slowly is told so, and gets the rest by asking for everything.
                Err(kube::Error::Api(status)) if status.code == 410 && page.limit.is_some() => {
                    (page, all) = (selection.clone(), Vec::new());
                }
                Err(error) => return Err(self.failed(&error, &ApiOperation::listing::<K>(scope))),
            }
        }
    }

    /// The releases of a scope, those that this version cannot read told apart.
    ///
    /// # Errors
    /// As for every question to the API server.
    pub(crate) async fn releases(
        &self,
        scope: NamespaceScope<'_>,
        labels: Option<&str>,
    ) -> Result<ReleaseList, CommandError> {
        let selection = labels.map_or_else(ListParams::default, |labels| {
            ListParams::default().labels(labels)
        });
        let guarded = self
            .list::<DeserializeGuard<GrayRelease>>(scope, &selection)
            .await?;
        let mut listing = ReleaseList::default();
        for object in guarded {
            match read(object) {
                Ok(release) => listing.releases.push(release),
                Err(unreadable) => listing.unreadable.push(unreadable),
            }
        }
        Ok(listing)
    }

    /// The releases of a scope for a person who expects some: none is told on standard error, as kubectl does.
    ///
    /// # Errors
    /// As for every question to the API server.
    pub(crate) async fn some(
        &self,
        scope: NamespaceScope<'_>,
        labels: Option<&str>,
    ) -> Result<ReleaseList, CommandError> {
        let listing = self.releases(scope, labels).await?;
        if listing.is_empty() {
            let here = if self.looked_here {
                "no halftone run is in ./.halftone, and "
            } else {
                ""
            };
            let place = match scope {
                NamespaceScope::All => "anywhere in the cluster".to_owned(),
                NamespaceScope::Namespace(namespace) => {
                    format!("in namespace {namespace} (-A looks in all)")
                }
            };
            let labelled =
                labels.map_or_else(String::new, |labels| format!(" with the labels {labels}"));
            output::note(&format!(
                "{here}there are no GrayReleases{labelled} {place} at {}",
                self.server
            ));
        }
        Ok(listing)
    }

    /// One release.
    ///
    /// # Errors
    /// There is none of this name, and the failure says which there are.
    pub(crate) async fn release(&self, name: &str) -> Result<GrayRelease, CommandError> {
        let ReleaseName { namespace, name } = ReleaseName::read(name);
        let namespace = namespace.unwrap_or(&self.namespace);
        let scope = NamespaceScope::Namespace(namespace);
        let found = self.releases_of(scope).get_opt(name).await;
        match found
            .map_err(|error| self.failed(&error, &ApiOperation::getting::<GrayRelease>(scope)))?
        {
            Some(release) => Ok(plain(release)),
            None => Err(api_error::no_release(
                name,
                namespace,
                &self.releases(scope, None).await?.releases,
            )),
        }
    }

    /// The one release of a name in all namespaces.
    ///
    /// # Errors
    /// There is none, or several.
    pub(crate) async fn anywhere(&self, name: &str) -> Result<GrayRelease, CommandError> {
        if name.contains('/') {
            return self.release(name).await;
        }
        let by_name = ListParams::default().fields(&format!("metadata.name={name}"));
        let mut found = self
            .list::<GrayRelease>(NamespaceScope::All, &by_name)
            .await?;
        match (found.pop(), found.is_empty()) {
            (Some(release), true) => Ok(release),
            (None, _) => Err(CommandError::new(format!(
                "there is no GrayRelease {name} in any namespace"
            ))
            .advise("see which there are with halftone get -A")),
            (Some(last), false) => {
                found.push(last);
                let namespaces: Vec<String> =
                    found.iter().filter_map(ResourceExt::namespace).collect();
                Err(CommandError::new(format!(
                    "there are several GrayReleases {name}, in {}",
                    namespaces.join(", ")
                ))
                .advise("name one as NAMESPACE/NAME"))
            }
        }
    }

    /// The objects of a fleet of this name: in the namespace given, else wherever there is one. A class that was handed
    /// over has left its objects behind.
    async fn of_fleet<K>(
        &self,
        fleet_namespace: Option<&str>,
        name: &str,
    ) -> Result<Vec<K>, CommandError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let scope = fleet_namespace.map_or(NamespaceScope::All, NamespaceScope::Namespace);
        let by_name = ListParams::default().fields(&format!("metadata.name={name}"));
        self.list::<K>(scope, &by_name).await
    }
}

/// A release, or why this version cannot read it.
fn read(object: DeserializeGuard<GrayRelease>) -> Result<GrayRelease, UnreadableRelease> {
    object.0.map(plain).map_err(|invalid| UnreadableRelease {
        namespace: invalid.metadata.namespace.unwrap_or_default(),
        name: invalid.metadata.name.unwrap_or_default(),
        why: invalid.error,
    })
}

/// Without what is nobody's to read, as kubectl prints objects.
fn plain(mut release: GrayRelease) -> GrayRelease {
    release.metadata.managed_fields = None;
    release
}
