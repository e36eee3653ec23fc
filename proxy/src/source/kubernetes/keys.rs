//! The ConfigMap `halftone-keys-CLASS`, by which operators make themselves known to the proxies of a fleet. It has labels
//! of its own, so that no version takes it for a document.

use halftone_daemon::log::with_causes;
use halftone_daemon::watch::Watcher;
use halftone_routing::document::names::ObjectName;
use halftone_routing::document::parse::Format;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};

use super::{PAUSES, WATCH_SECONDS};
use crate::source::state_store::SavedDocument;

/// The key of the ConfigMap that holds the operators' keys.
const KEY: &str = "keys.json";

/// The operators' keys being followed. They outlive their ConfigMap: without it nobody new is believed, and whoever was
/// goes on.
pub(super) struct KeyWatcher {
    watch: Watcher<ConfigMap>,
    name: String,
    source: String,
    /// The text that was read last.
    known: Option<String>,
    /// Not taken yet.
    news: Option<SavedDocument>,
    /// Told in the log already.
    trouble: Option<String>,
}

impl KeyWatcher {
    /// Begins to follow them.
    pub(super) fn follow(api: Api<ConfigMap>, namespace: &ObjectName, class: &ObjectName) -> Self {
        let selected = format!("halftone.dev/fleet={class},halftone.dev/kind=Keys");
        let config = watcher::Config::default()
            .labels(&selected)
            .timeout(WATCH_SECONDS);
        let name = format!("halftone-keys-{class}");
        let source = format!("configmap/{namespace}/{name}");
        Self {
            watch: Watcher::new(api, config, PAUSES),
            name,
            source,
            known: None,
            news: None,
            trouble: None,
        }
    }

    /// Returns when there may be news. Loses nothing when it is dropped before that.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.watch.next().await {
                Ok(Event::Apply(object) | Event::InitApply(object))
                    if object.name_any() == self.name =>
                {
                    self.trouble = None;
                    if self.read(object) {
                        return;
                    }
                }
                Ok(_) => self.trouble = None,
                Err(error) => self.note(with_causes(&error)),
            }
        }
    }

    /// The keys, if they have changed since the last time.
    pub(super) fn take(&mut self) -> Option<SavedDocument> {
        self.news.take()
    }

    /// Whether there is something new in it.
    fn read(&mut self, object: ConfigMap) -> bool {
        let Some(text) = object.data.and_then(|mut data| data.remove(KEY)) else {
            tracing::warn!(
                source = self.source,
                "the ConfigMap has no key {KEY}; the keys stay as they were"
            );
            return false;
        };
        if self.known.as_ref() == Some(&text) {
            return false;
        }
        self.known = Some(text.clone());
        self.news = Some(SavedDocument {
            source: self.source.clone(),
            format: Format::Json,
            text,
        });
        true
    }

    fn note(&mut self, why: String) {
        if self.trouble.as_ref() != Some(&why) {
            tracing::warn!("the operators' keys cannot be read, and those known go on: {why}");
            self.trouble = Some(why);
        }
    }
}
