//! Documents from the Kubernetes API (`--kubernetes`): the ConfigMaps of this proxy's namespace that carry its class,
//! the EndpointSlices of the namespaces that they name, and the ConfigMap with the keys of the operators.
//!
//! Documents become listings for `applier.rs`, as files do; slices go straight into the endpoint tables
//! (`kubernetes/slices.rs`). A document that is the first to name a namespace is held back until that namespace's
//! slices are listed, so that no request meets an arm before its endpoints. Whatever the API does, what is applied
//! goes on: a list counts only when it is complete, and a watch that breaks is taken up where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use halftone_daemon::log::with_causes;
use halftone_daemon::watch::{WatchBackoff, Watcher};
use halftone_routing::document::names::ObjectName;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use self::document::{ConfigMapDocument, read};
use self::document_set::DocumentSet;
use self::keys::KeyWatcher;
use self::slices::{ListResult, SliceWatcher};
use super::SourceReading;
use super::state_store::SavedDocument;
use crate::upstream::endpoints::Tables;

mod document;
mod document_set;
mod keys;
mod slices;

/// The label that says whose document a ConfigMap is.
const CLASS_LABEL: &str = "halftone.dev/class";
/// How long the first listing waits for the slices of the namespaces it names; as long as a proxy waits for its
/// source before it serves by what it kept.
const FIRST_GRACE: Duration = Duration::from_secs(5);
/// How long a new document waits for the slices of a namespace that none named before.
pub const GRACE: Duration = Duration::from_secs(2);
/// Errors this long ago are over: the next attempt would have failed meanwhile.
const TROUBLE_OVER: Duration = Duration::from_secs(10);
/// Events that come this soon after one another are told together, and applied in one go.
const LULL: Duration = Duration::from_millis(2);
/// The first of them waits no longer than this.
const TOGETHER: Duration = Duration::from_millis(50);
/// How often namespaces that nobody names any more are looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// The API server ends a watch after this long, and one that has fallen silent is given up soon after. Taking it up
/// again costs one request.
const WATCH_SECONDS: u32 = 45;
/// Short enough that a rollback written while the API was away is applied within two seconds of its return.
const PAUSES: WatchBackoff = WatchBackoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(1),
};

/// How a proxy finds its documents in a cluster.
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// Where the API is and who we are there.
    pub api: kube::Config,
    /// The namespace of this proxy and of its documents.
    pub namespace: ObjectName,
    /// Uid of this proxy's pod; a Service that selects it is not forwarded to.
    pub pod: Option<String>,
    /// Whether endpoints at loopback addresses are dialled. In a pod they would be the proxy itself.
    pub loopback: bool,
    /// How long a new document waits for the slices of a namespace that none named before; [`GRACE`].
    pub grace: Duration,
}

/// Why no cluster was found.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesConfigError {
    /// No kubeconfig, and no service account.
    #[error(
        "--kubernetes: no API server is known: {0}; set KUBECONFIG, or run in a pod with a service account"
    )]
    NotFound(#[from] Box<kube::config::InferConfigError>),
    /// The namespace set there is no name.
    #[error("--kubernetes: the namespace {0}; set --namespace")]
    Namespace(String),
}

impl KubernetesConfig {
    /// As `kubectl` finds it: `KUBECONFIG`, the kubeconfig in the home directory, or in a pod the service account.
    /// Without a namespace, the one that is set there.
    ///
    /// # Errors
    /// None of them is there, or it cannot be read.
    pub async fn find(
        namespace: Option<ObjectName>,
        pod: Option<String>,
    ) -> Result<Self, KubernetesConfigError> {
        let api = kube::Config::infer().await.map_err(Box::new)?;
        let namespace = match namespace {
            Some(namespace) => namespace,
            None => api
                .default_namespace
                .parse()
                .map_err(|error| KubernetesConfigError::Namespace(format!("{error}")))?,
        };
        Ok(Self {
            api,
            namespace,
            pod,
            loopback: false,
            grace: GRACE,
        })
    }

    /// A client whose silence ends: by default requests to an API server that has vanished wait for as long as TCP
    /// does.
    fn client(&self) -> Result<Client, kube::Error> {
        let mut config = self.api.clone();
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS) + 15));
        config.reset_reader_on_write = true;
        // Attempts are spaced by `halftone_daemon::watch`, for all kinds of errors alike.
        config.default_retry = false;
        Client::try_from(config)
    }
}

/// The API being followed.
pub(crate) struct KubernetesSource {
    namespace: ObjectName,
    fleet: String,
    watch: Watcher<ConfigMap>,
    keys: KeyWatcher,
    /// The list under way, until it is complete.
    listing: Option<BTreeMap<String, ConfigMapDocument>>,
    documents: DocumentSet,
    slices: SliceWatcher,
    news: mpsc::UnboundedReceiver<ListResult>,
    waiting: NamespaceGrace,
    /// Namespaces that are waited for, with the end of it.
    held: BTreeMap<ObjectName, Instant>,
    /// Which namespaces are named, or which of them are listed, may be different.
    namespaces_changed: bool,
    missing: Option<String>,
    trouble: Option<(String, Instant)>,
    /// Something happened that may have to be told.
    changed: bool,
    grace: Duration,
    /// When to look again although nothing came.
    wake_at: Instant,
}

/// What following the API found.
#[derive(Debug)]
pub(crate) struct SourceUpdate {
    /// The documents to be applied, if they are others than before.
    pub(crate) reading: Option<SourceReading>,
    /// Why documents cannot be read at present, if they cannot.
    pub(crate) trouble: Option<String>,
    /// The endpoints that documents name and that are not known yet, if there are any.
    pub(crate) missing: Option<String>,
    /// The operators' keys, if they are others than before.
    pub(crate) keys: Option<SavedDocument>,
}

impl KubernetesSource {
    /// Follows the API. To be called within a tokio runtime.
    ///
    /// # Errors
    /// The configuration names certificates or keys that cannot be used.
    pub(crate) fn follow(
        cluster: &KubernetesConfig,
        class: &ObjectName,
        tables: Arc<Tables>,
    ) -> Result<Self, kube::Error> {
        let client = cluster.client()?;
        let selected = format!("{CLASS_LABEL}={class}");
        let config = watcher::Config::default()
            .labels(&selected)
            .timeout(WATCH_SECONDS);
        let documents = Api::namespaced(client.clone(), cluster.namespace.as_str());
        let keys = KeyWatcher::follow(documents.clone(), &cluster.namespace, class);
        let (tell, news) = mpsc::unbounded_channel();
        Ok(Self {
            namespace: cluster.namespace.clone(),
            fleet: format!("halftone-fleet-{class}"),
            watch: Watcher::new(documents, config, PAUSES),
            keys,
            listing: None,
            documents: DocumentSet::default(),
            slices: SliceWatcher::new(client, tables, tell),
            news,
            waiting: NamespaceGrace::default(),
            held: BTreeMap::new(),
            namespaces_changed: false,
            missing: None,
            trouble: None,
            changed: false,
            grace: cluster.grace,
            wake_at: Instant::now() + SWEEP,
        })
    }

    /// Waits for the next change. Everything that has come meanwhile is told at once.
    pub(crate) async fn next(&mut self) -> SourceUpdate {
        loop {
            self.step().await;
            // The connection is read by a task of its own, so each event is there a moment after the one before it.
            // Bounded, so that a flood of events does not keep the first of them waiting.
            let end = Instant::now() + TOGETHER;
            while Instant::now() < end && timeout(LULL, self.step()).await.is_ok() {}
            if std::mem::take(&mut self.changed) {
                let reading = self.reading();
                let trouble = self.trouble.as_ref().map(|(why, _)| why.clone());
                let (missing, keys) = (self.missing.clone(), self.keys.take());
                return SourceUpdate {
                    reading,
                    trouble,
                    missing,
                    keys,
                };
            }
        }
    }

    /// Takes in one thing that happened. Loses nothing when it is dropped before that.
    async fn step(&mut self) {
        tokio::select! {
            event = self.watch.next() => match event {
                Ok(event) => self.take(event),
                Err(error) => self.note_trouble(&error),
            },
            () = self.keys.changed() => self.changed = true,
            Some(news) = self.news.recv() => if self.slices.take(news) {
                self.changed = true;
                self.namespaces_changed = true;
            },
            () = sleep_until(self.wake_at) => self.wake(),
        }
    }

    fn wake(&mut self) {
        let now = Instant::now();
        self.changed = true;
        self.namespaces_changed = true;
        self.wake_at = now + SWEEP;
        match &self.trouble {
            Some((_, last)) if *last + TROUBLE_OVER <= now => self.trouble = None,
            Some((_, last)) => self.wake_by(*last + TROUBLE_OVER),
            None => {}
        }
    }

    fn wake_by(&mut self, at: Instant) {
        self.wake_at = self.wake_at.min(at);
    }

    fn take(&mut self, event: Event<ConfigMap>) {
        if !matches!(event, Event::Init) {
            self.trouble = None;
        }
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let (name, document) = (object.name_any(), self.read(object));
                self.listing.get_or_insert_default().insert(name, document);
            }
            Event::InitDone => {
                self.documents.list(self.listing.take().unwrap_or_default());
                self.namespaces_changed = true;
                self.changed = true;
            }
            Event::Apply(object) => {
                let (name, document) = (object.name_any(), self.read(object));
                self.namespaces_changed |= self.documents.put(name, document);
                self.changed = true;
            }
            Event::Delete(object) => {
                self.namespaces_changed |= self.documents.remove(&object.name_any());
                self.changed = true;
            }
        }
    }

    fn read(&self, object: ConfigMap) -> ConfigMapDocument {
        read(&self.namespace, &self.fleet, object)
    }

    fn note_trouble(&mut self, error: &watcher::Error) {
        let why = with_causes(error);
        if self.trouble.as_ref().is_none_or(|(known, _)| *known != why) {
            self.changed = true;
        }
        let now = Instant::now();
        self.trouble = Some((why, now));
        self.wake_by(now + TROUBLE_OVER);
    }

    /// What is to be applied now, if it is anything else than before.
    fn reading(&mut self) -> Option<SourceReading> {
        if !self.documents.is_listed() {
            return None;
        }
        // Held ones are looked at each time: their time may be over.
        if std::mem::take(&mut self.namespaces_changed) || !self.held.is_empty() {
            self.follow_namespaces();
        }
        if !self.documents.is_given() && !self.held.is_empty() {
            return None;
        }
        let held = &self.held;
        self.documents
            .next(|namespace| held.contains_key(namespace))
    }

    /// Follows the slices of the namespaces that documents name, and waits for those that are not listed yet.
    fn follow_namespaces(&mut self) {
        let named = self.documents.namespaces();
        self.slices.follow(&named);
        self.missing = self.slices.missing(&named);
        let is_given = self.documents.is_given();
        let unlisted = named.iter().copied().filter(|namespace| match is_given {
            false => !self.slices.is_listed(namespace),
            true => !self.slices.is_settled(namespace),
        });
        let grace = if is_given { self.grace } else { FIRST_GRACE };
        self.held = self
            .waiting
            .hold(&unlisted.collect(), Instant::now(), grace);
        if let Some(until) = self.held.values().min() {
            self.wake_at = self.wake_at.min(*until);
        }
    }
}

/// Until when each namespace is waited for.
#[derive(Debug, Default)]
struct NamespaceGrace(BTreeMap<ObjectName, Instant>);

impl NamespaceGrace {
    /// Of the namespaces that are not listed, those that are still waited for, with the end of it.
    fn hold(
        &mut self,
        unlisted: &BTreeSet<&ObjectName>,
        now: Instant,
        grace: Duration,
    ) -> BTreeMap<ObjectName, Instant> {
        self.0.retain(|namespace, _| unlisted.contains(namespace));
        for namespace in unlisted {
            self.0.entry((*namespace).clone()).or_insert(now + grace);
        }
        self.0
            .iter()
            .filter(|(_, until)| **until > now)
            .map(|(name, until)| (name.clone(), *until))
            .collect()
    }
}
