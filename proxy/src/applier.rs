//! From documents to what workers serve: reads a listing into the store, swaps the snapshot, then says what is
//! applied. In this order, so that whatever a report acknowledges already decides every new request.
//!
//! Everything here may take its time; it runs off the control thread's runtime, which goes on answering probes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halftone_routing::document::names::{ObjectName, Uid};
use halftone_routing::document::parse::Format;
use halftone_routing::store::{self, SourceDocument, Store, StoreChange};

use crate::overlay::Overlays;
use crate::report::{Documents, Reporter, ServedDocument};
use crate::snapshot::{Publisher, Snapshot};
use crate::source::state_store::{SavedDocument, SavedState, StateKey, StateStore};
use crate::source::{Content, SourceListing};
use crate::upstream::endpoints::Tables;

/// What is applied, and all that follows a change of it.
#[derive(Debug)]
pub struct Applier {
    store: Store,
    publisher: Publisher,
    tables: Arc<Tables>,
    overlays: Overlays,
    reporter: Arc<Mutex<Reporter>>,
    state: Option<StateStore>,
    generation: u64,
    /// Where the fleet's document was last found.
    fleet_source: Option<Arc<str>>,
    /// Refusals told in the log already: source, reason, message.
    told: BTreeSet<(String, String, String)>,
}

impl Applier {
    /// With nothing applied: every request is answered 404.
    pub fn new(
        tables: Arc<Tables>,
        reporter: Arc<Mutex<Reporter>>,
        class: &ObjectName,
        state: Option<StateStore>,
    ) -> Self {
        let store = Store::for_class(class.clone());
        let mut overlays = Overlays::default();
        let first = Snapshot::new(
            0,
            store.routes(),
            &tables,
            &mut overlays,
            &mut lock(&reporter),
        );
        let publisher = Publisher::new(first);
        Self {
            store,
            publisher,
            tables,
            overlays,
            reporter,
            state,
            generation: 0,
            fleet_source: None,
            told: BTreeSet::new(),
        }
    }

    /// Where workers and pages read what is applied.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Takes what an earlier run kept. Until the first [`Applier::apply`] reports say `stale`.
    pub fn restore(&mut self, restored: &SavedState) {
        if let Some(endpoints) = &restored.endpoints {
            self.tables.restore(&endpoints.text);
        }
        let releases: Vec<_> = restored.releases.iter().map(saved).collect();
        let change = self
            .store
            .restore(&releases, restored.fleet.as_ref().map(saved));
        self.follow(&change);
    }

    /// Takes everything that the source holds now.
    pub fn apply(&mut self, listing: &SourceListing) {
        let releases: Vec<_> = listing
            .releases
            .iter()
            .map(|(name, content)| found(name, content))
            .collect();
        let fleet = listing.fleet.as_ref();
        self.fleet_source = fleet.map(|(name, _)| Arc::clone(name));
        let change = self
            .store
            .apply(&releases, fleet.map(|(name, content)| found(name, content)));
        self.keep(&change, listing);
        self.follow(&change);
    }

    /// Releases that ask for it go to stable when no operator has spoken for too long, and back when one speaks.
    pub fn operator_silent_for(&mut self, silence: Duration) {
        self.overlays.operator_silent_for(silence);
        if self.settle_overlays() {
            tracing::warn!(
                seconds = silence.as_secs(),
                "an operator fell silent or came back: routes follow"
            );
            let documents = self.documents();
            lock(&self.reporter).set_documents(documents);
        }
    }

    /// Writes the overlays as they are to be; true: some have changed, which may be told from now on.
    fn settle_overlays(&mut self) -> bool {
        let snapshot = self.publisher.current().load_full();
        self.overlays.settle(snapshot.overlays())
    }

    /// Sets from when on a client that leaves counts against an arm.
    pub fn minute_passed(&self) {
        lock(&self.reporter).minute_passed();
    }

    /// Keeps the operators' keys for the next start.
    pub fn keep_keys(&self, saved: SavedDocument) {
        if let Some(state) = &self.state {
            state.keep(StateKey::Keys, saved);
        }
    }

    /// What is applied and what was refused.
    pub fn applied(&self) -> Documents {
        lock(&self.reporter).documents().clone()
    }

    /// Drops replaced sets that no worker holds any more, and keeps the endpoints in use if they have changed.
    pub fn sweep(&mut self) {
        self.publisher.sweep();
        let Some(state) = &self.state else { return };
        if let Some(text) = self.tables.changed_endpoints() {
            let source = "EndpointSlices".to_owned();
            state.keep(
                StateKey::Endpoints,
                SavedDocument {
                    source,
                    format: Format::Json,
                    text,
                },
            );
        }
    }

    fn follow(&mut self, change: &StoreChange) {
        if !change.is_nothing() {
            self.publish();
        }
        self.tell(change);
        let documents = self.documents();
        lock(&self.reporter).set_documents(documents);
    }

    fn publish(&mut self) {
        self.generation += 1;
        let routes = self.store.routes();
        let next = Snapshot::new(
            self.generation,
            routes,
            &self.tables,
            &mut self.overlays,
            &mut lock(&self.reporter),
        );
        self.publisher.publish(next);
        if self.overlays.is_any_closed() {
            self.settle_overlays();
        }
    }

    fn documents(&self) -> Documents {
        let ended = gray_ended(&self.publisher.current().load());
        let applied = self.store.applied().map(|document| {
            let uid = document.uid.clone();
            let gray_ended = ended.get(&uid).copied().unwrap_or(true);
            (
                uid,
                ServedDocument {
                    document,
                    gray_ended,
                },
            )
        });
        Documents {
            applied: applied.collect(),
            fleet: self.store.applied_fleet(),
            fleet_source: self.fleet_source.clone(),
            rejected: self.store.rejected().to_vec(),
            orphaned: self.store.orphaned().cloned().collect(),
            stale: self.store.is_stale(),
        }
    }

    fn keep(&self, change: &StoreChange, listing: &SourceListing) {
        let Some(state) = &self.state else { return };
        for (uid, source) in &change.applied {
            if let Some(saved) = to_save(source, listing.get(source)) {
                state.keep(StateKey::Release(uid.clone()), saved);
            }
        }
        for uid in &change.dropped {
            state.forget(StateKey::Release(uid.clone()));
        }
        if change.fleet {
            match listing
                .fleet
                .as_ref()
                .and_then(|(name, content)| to_save(name, Some(content)))
            {
                Some(saved) => state.keep(StateKey::Fleet, saved),
                None => state.forget(StateKey::Fleet),
            }
        }
    }

    /// One line for each document applied, dropped, or refused for a new reason.
    fn tell(&mut self, change: &StoreChange) {
        let new: BTreeSet<_> = change.applied.iter().map(|(uid, _)| uid).collect();
        for applied in self
            .store
            .applied()
            .filter(|applied| new.contains(&applied.uid))
        {
            tracing::info!(uid = %applied.uid, revision = %applied.revision, "applied");
            if !applied.ignored_fields.is_empty() {
                tracing::warn!(uid = %applied.uid, fields = ?applied.ignored_fields, "fields unknown here are ignored");
            }
        }
        for uid in &change.dropped {
            tracing::info!(%uid, "dropped");
        }
        if change.fleet {
            tracing::info!("the fleet's settings changed");
        }
        let refused = self.store.rejected().iter();
        let refused: BTreeSet<_> = refused
            .map(|r| (r.source.clone(), r.reason.clone(), r.message.clone()))
            .collect();
        for (source, reason, message) in refused.difference(&self.told) {
            tracing::error!(
                source,
                reason,
                "refused, and what it was to replace goes on: {message}"
            );
        }
        self.told = refused;
    }
}

/// The reporter, whatever became of who held it before.
pub(crate) fn lock(reporter: &Mutex<Reporter>) -> MutexGuard<'_, Reporter> {
    reporter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nobody is to be on gray any more, for each release that routes.
fn gray_ended(snapshot: &Snapshot) -> BTreeMap<Uid, bool> {
    let releases = snapshot.routes.releases();
    let ended = releases.map(|(index, release)| {
        let ended = release.is_recalled(snapshot.overlay(index));
        (release.config().release.uid.clone(), ended)
    });
    ended.collect()
}

fn found<'a>(source: &'a str, content: &'a Content) -> SourceDocument<'a> {
    let content = match content {
        Content::Text(format, bytes) => store::Content::Text(*format, bytes),
        Content::Unreadable(why) => store::Content::Unreadable(why),
    };
    SourceDocument { source, content }
}

fn saved(saved: &SavedDocument) -> SourceDocument<'_> {
    let content = store::Content::Text(saved.format, saved.text.as_bytes());
    SourceDocument {
        source: &saved.source,
        content,
    }
}

/// What was applied was text, or else it could not have been read.
fn to_save(source: &str, content: Option<&Content>) -> Option<SavedDocument> {
    let Content::Text(format, bytes) = content? else {
        return None;
    };
    let text = std::str::from_utf8(bytes).ok()?;
    Some(SavedDocument {
        source: source.to_owned(),
        format: *format,
        text: text.to_owned(),
    })
}
