//! The cluster side of the command line: finds the API server by the kubeconfig, reads and writes objects. What to ask
//! and what to print is decided in the pure parts of the files below; errors become words in `cluster/failure.rs`.

pub(crate) mod applied;
pub(crate) mod config;
pub(crate) mod events;
mod failure;
mod operator;
mod pending;
pub(crate) mod proxies;
pub(crate) mod request;
pub(crate) mod watch;

use std::fmt::Debug;
use std::time::Duration;

use halftone_rollout::GrayRelease;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use self::failure::{Doing, unreachable};
use crate::args::ClusterArguments;
use crate::output::{self, Failure};

/// A person waits: an API server that is there answers a connection sooner than this.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// What bears the name of a fleet's namespace, where it cannot be searched for.
pub(crate) const FLEET_NAMESPACE: &str =
    "name the namespace of the proxies with --fleet-namespace, or ask for leave to list in all";

/// Runs what speaks to a cluster.
///
/// # Errors
/// What it ends with.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?.block_on(work)
}

/// A release as a command names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// As in NAMESPACE/NAME.
    pub(crate) namespace: Option<&'a str>,
    /// The name.
    pub(crate) name: &'a str,
}

impl<'a> Name<'a> {
    /// Reads NAME or NAMESPACE/NAME.
    pub(crate) fn read(text: &'a str) -> Self {
        match text.split_once('/') {
            Some((namespace, name)) => Self { namespace: Some(namespace), name },
            None => Self { namespace: None, name: text },
        }
    }
}

/// Which releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// Those of one namespace.
    Namespace(&'a str),
    /// Those of all.
    All,
}

/// A cluster, and where in it a command looks.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    server: String,
    looked_here: bool,
}

impl Cluster {
    /// Makes a client by the kubeconfig. Nothing is asked of the API server yet.
    ///
    /// # Errors
    /// There is no usable kubeconfig. `looked_here` says that no `halftone run` was found before.
    pub(crate) async fn connect(asked: &ClusterArguments, looked_here: bool) -> Result<Self, Failure> {
        // Another one is there already only in tests.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config =
            config(asked).await.map_err(|error| failure::no_config(asked, &error, looked_here))?;
        config.connect_timeout = Some(CONNECTED_WITHIN);
        let namespace = asked.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .map_err(|error| Failure::new(format!("cannot speak to {server}: {}", failure::chain(&error))))?;
        Ok(Self { client, namespace, server, looked_here })
    }

    /// The namespace that a release is in when its name does not say.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    fn client(&self) -> Client {
        self.client.clone()
    }

    fn releases_of(&self, scope: Scope<'_>) -> Api<GrayRelease> {
        self.api(scope)
    }

    fn api<K>(&self, scope: Scope<'_>) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match scope {
            Scope::Namespace(namespace) => Api::namespaced(self.client(), namespace),
            Scope::All => Api::all(self.client()),
        }
    }

    /// What went wrong, in words.
    fn failed(&self, error: &kube::Error, doing: &Doing<'_>) -> Failure {
        failure::explain(error, doing)
            .unwrap_or_else(|| unreachable(&self.server, &failure::chain(error), self.looked_here))
    }

    /// The objects that a selection gives.
    ///
    /// # Errors
    /// The API server says no, or nothing.
    async fn list<K>(&self, scope: Scope<'_>, parameters: &ListParams) -> Result<Vec<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let listed = self.api::<K>(scope).list(parameters).await;
        listed.map(|list| list.items).map_err(|error| self.failed(&error, &Doing::listing::<K>(scope)))
    }

    /// The releases of a scope.
    ///
    /// # Errors
    /// As for every question to the API server.
    pub(crate) async fn releases(&self, scope: Scope<'_>) -> Result<Vec<GrayRelease>, Failure> {
        self.list(scope, &ListParams::default()).await
    }

    /// The releases of a scope for a person who expects some: none is told on standard error, as kubectl does.
    ///
    /// # Errors
    /// As for every question to the API server.
    pub(crate) async fn some(&self, scope: Scope<'_>) -> Result<Vec<GrayRelease>, Failure> {
        let releases = self.releases(scope).await?;
        if releases.is_empty() {
            let here = if self.looked_here { "no halftone run is in ./.halftone, and " } else { "" };
            let place = match scope {
                Scope::All => "anywhere in the cluster".to_owned(),
                Scope::Namespace(namespace) => format!("in namespace {namespace} (-A looks in all)"),
            };
            output::note(&format!("{here}there are no GrayReleases {place} at {}", self.server));
        }
        Ok(releases)
    }

    /// One release.
    ///
    /// # Errors
    /// There is none of this name, and the failure says which there are.
    pub(crate) async fn release(&self, name: &str) -> Result<GrayRelease, Failure> {
        let Name { namespace, name } = Name::read(name);
        let namespace = namespace.unwrap_or(&self.namespace);
        let scope = Scope::Namespace(namespace);
        let found = self.releases_of(scope).get_opt(name).await;
        match found.map_err(|error| self.failed(&error, &Doing::getting::<GrayRelease>(scope)))? {
            Some(release) => Ok(release),
            None => Err(failure::no_release(name, namespace, &self.releases(scope).await?)),
        }
    }

    /// The one release of a name in all namespaces.
    ///
    /// # Errors
    /// There is none, or several.
    pub(crate) async fn anywhere(&self, name: &str) -> Result<GrayRelease, Failure> {
        if name.contains('/') {
            return self.release(name).await;
        }
        let by_name = ListParams::default().fields(&format!("metadata.name={name}"));
        let mut found = self.list::<GrayRelease>(Scope::All, &by_name).await?;
        match (found.pop(), found.is_empty()) {
            (Some(release), true) => Ok(release),
            (None, _) => Err(Failure::new(format!("there is no GrayRelease {name} in any namespace"))
                .advise("see which there are with halftone get -A")),
            (Some(last), false) => {
                found.push(last);
                let namespaces: Vec<String> = found.iter().filter_map(ResourceExt::namespace).collect();
                Err(Failure::new(format!(
                    "there are several GrayReleases {name}, in {}",
                    namespaces.join(", ")
                ))
                .advise("name one as NAMESPACE/NAME"))
            }
        }
    }

    /// An object of a fleet by its name: in the namespace given, else wherever it is. Two fleets of one class are none:
    /// the operator's configuration has each class once.
    async fn of_fleet<K>(&self, fleet_namespace: Option<&str>, name: &str) -> Result<Option<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let scope = fleet_namespace.map_or(Scope::All, Scope::Namespace);
        let by_name = ListParams::default().fields(&format!("metadata.name={name}"));
        Ok(self.list::<K>(scope, &by_name).await?.pop())
    }
}

async fn config(asked: &ClusterArguments) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions { context: asked.context.clone(), ..KubeConfigOptions::default() };
    if let Some(file) = &asked.kubeconfig {
        return Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await;
    }
    match Config::from_kubeconfig(&options).await {
        // In a pod there is no kubeconfig, and the service account counts.
        Err(error) if asked.context.is_none() => Config::incluster().map_err(|_| error),
        read => read,
    }
}
