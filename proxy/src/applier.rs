//! From documents to what workers serve: reads a listing into the store, swaps the snapshot, then says what is
//! applied. In this order, so that whatever a report acknowledges already decides every new request.
//!
//! Everything here may take its time; it runs off the control thread's runtime, which goes on answering probes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halftone_routing::document::names::{ObjectName, Uid};
use halftone_routing::document::parse::Format;
use halftone_routing::routes::{CompiledRelease, ReleaseIndex};
use halftone_routing::store::{self, SourceDocument, Store, StoreChange};

use crate::overlay::Overlays;
use crate::report::{Documents, Reporter, ServedDocument};
use crate::snapshot::{Publisher, Snapshot};
use crate::source::state_store::{SavedDocument, SavedState, StateKey, StateStore};
use crate::source::{Content, SourceChanges, SourceListing, SourceReading};
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
    /// What the source holds.
    listing: SourceListing,
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
            listing: SourceListing::default(),
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

    /// Takes what the source has to say.
    pub fn apply(&mut self, reading: SourceReading) {
        let change = match reading {
            SourceReading::All(listing) => self.apply_all(listing),
            SourceReading::Changes(changes) => self.apply_changes(changes),
        };
        self.keep(&change);
        self.follow(&change);
    }

    fn apply_all(&mut self, listing: SourceListing) -> StoreChange {
        self.listing = listing;
        let releases: Vec<_> = self
            .listing
            .releases
            .iter()
            .map(|(name, content)| found(name, content))
            .collect();
        let fleet = self.listing.fleet.as_ref();
        self.store
            .apply(&releases, fleet.map(|(name, content)| found(name, content)))
    }

    fn apply_changes(&mut self, changes: SourceChanges) -> StoreChange {
        let changed: Vec<_> = changes
            .changed
            .iter()
            .map(|(name, content)| found(name, content))
            .collect();
        let gone = changes.gone.iter().map(|name| &**name);
        let fleet = changes.fleet.as_ref();
        let fleet = fleet.map(|(name, content)| found(name, content));
        let change = self.store.apply_changes(&changed, gone, fleet);
        self.listing.take(changes);
        change
    }

    /// Releases that ask for it go to stable when no operator has spoken for too long, and back when one speaks.
    pub fn operator_silent_for(&mut self, silence: Duration) {
        self.overlays.operator_silent_for(silence);
        let flipped = self.settle_overlays();
        if !flipped.is_empty() {
            tracing::warn!(
                seconds = silence.as_secs(),
                "an operator fell silent or came back: routes follow"
            );
            self.report(flipped);
        }
    }

    /// Writes the overlays as they are to be. Returns whose may have changed, which may be told from now on.
    fn settle_overlays(&mut self) -> BTreeSet<Uid> {
        let snapshot = self.publisher.current().load_full();
        let watched = self.overlays.watched();
        let word = |index: &ReleaseIndex| snapshot.overlay_word(*index);
        let flipped = self.overlays.settle(watched.iter().filter_map(word));
        if !flipped {
            return BTreeSet::new();
        }
        for index in &watched {
            self.overlays.watch(*index, word(index));
        }
        let configs = watched.iter().filter_map(word);
        configs
            .map(|(config, _)| config.release.uid.clone())
            .collect()
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
        let mut changed = BTreeSet::new();
        if !change.is_nothing() {
            changed = self.publish();
        }
        self.tell(change);
        let applied = change.applied.iter().map(|(uid, _)| uid);
        changed.extend(applied.chain(&change.dropped).cloned());
        self.report(changed);
    }

    /// Swaps the snapshot. Returns whose overlay it may have opened.
    fn publish(&mut self) -> BTreeSet<Uid> {
        let changed = self.store.take_changed_routes();
        let current = self.publisher.current().load_full();
        let next = current.next(
            self.store.routes(),
            &changed,
            &self.tables,
            &mut self.overlays,
            &mut lock(&self.reporter),
        );
        for index in changed {
            self.overlays.watch(index, next.overlay_word(index));
        }
        self.publisher.publish(next);
        if self.overlays.is_any_closed() {
            self.settle_overlays()
        } else {
            BTreeSet::new()
        }
    }

    /// Says what is applied of these releases now, and everything beside.
    fn report(&self, changed: BTreeSet<Uid>) {
        let snapshot = self.publisher.current().load_full();
        let served = changed.into_iter().map(|uid| {
            let served = self.served(&snapshot, &uid);
            (uid, served)
        });
        lock(&self.reporter).change_documents(served.collect(), self.documents());
    }

    /// What the report says of a release, if it has a document.
    fn served(&self, snapshot: &Snapshot, uid: &Uid) -> Option<ServedDocument> {
        let (document, index) = self.store.applied_document(uid)?;
        let release = index.and_then(|index| Some((index, snapshot.routes.get(index)?)));
        let is_recalled = |(index, release): (ReleaseIndex, &Arc<CompiledRelease>)| {
            release.is_recalled(snapshot.overlay(index))
        };
        Some(ServedDocument {
            document,
            // Nobody is to be on gray of one that is withdrawn, either.
            gray_ended: release.is_none_or(is_recalled),
        })
    }

    /// What the report says beside what is applied.
    fn documents(&self) -> Documents {
        Documents {
            applied: BTreeMap::new(),
            fleet: self.store.applied_fleet(),
            fleet_source: self
                .listing
                .fleet
                .as_ref()
                .map(|(name, _)| Arc::clone(name)),
            rejected: self.store.rejected().to_vec(),
            orphaned: self.store.orphaned().cloned().collect(),
            stale: self.store.is_stale(),
        }
    }

    fn keep(&self, change: &StoreChange) {
        let Some(state) = &self.state else { return };
        for (uid, source) in &change.applied {
            if let Some(saved) = to_save(source, self.listing.get(source)) {
                state.keep(StateKey::Release(uid.clone()), saved);
            }
        }
        for uid in &change.dropped {
            state.forget(StateKey::Release(uid.clone()));
        }
        if change.fleet {
            let fleet = self.listing.fleet.as_ref();
            match fleet.and_then(|(name, content)| to_save(name, Some(content))) {
                Some(saved) => state.keep(StateKey::Fleet, saved),
                None => state.forget(StateKey::Fleet),
            }
        }
    }

    /// One line for each document applied, dropped, or refused for a new reason.
    fn tell(&mut self, change: &StoreChange) {
        let applied = change.applied.iter();
        for (applied, _) in applied.filter_map(|(uid, _)| self.store.applied_document(uid)) {
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
