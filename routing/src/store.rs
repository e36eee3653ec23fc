//! What is applied: the last good document of every release and of the fleet, and which documents of a reading are
//! taken or refused, and why. Whatever is wrong with a document, what it was to replace goes on routing; only
//! `Withdrawn` ends a route. The proxy's control thread is the one caller; it swaps in each set of routes as a whole.
//!
//! A change costs what it touches: only documents that can bear on one another (`store/index.rs`) are settled again, and
//! the routes share everything else with those before.

mod choose;
mod current;
mod fleet;
mod index;
mod parse_cache;
mod rejections;
mod settle;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use self::{
    current::CurrentDocument, fleet::ActiveFleet, index::DocumentIndex, parse_cache::ParseCache,
    rejections::Rejections, settle::TextsAtHand,
};
use crate::{
    document::{
        names::{ObjectName, Uid},
        parse::Format,
    },
    fleet::FleetConfig,
    report::{AppliedDocument, AppliedFleet, RejectedDocument},
    routes::{Compiler, ReleaseIndex, Routes},
};

/// One document as a source found it.
#[derive(Debug, Clone, Copy)]
pub struct SourceDocument<'a> {
    /// Where: a file's or a ConfigMap's name. No two of a reading are equal.
    pub source: &'a str,
    /// What is there.
    pub content: Content<'a>,
}

/// What a source found under one name.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A text that is to be a document.
    Text(Format, &'a [u8]),
    /// Something that could not be read, for this reason.
    Unreadable(&'a str),
}

/// What a reading changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreChange {
    /// Documents that were taken, withdrawals included, each with the name it was found under. To be kept on disk,
    /// as they were found.
    pub applied: Vec<(Uid, Arc<str>)>,
    /// Releases that are gone: withdrawn and forgotten, replaced, or absent in the first reading after
    /// [`Store::restore`]. To be removed from disk.
    pub dropped: Vec<Uid>,
    /// Whether other settings of the fleet hold now.
    pub fleet: bool,
}

impl StoreChange {
    /// Whether everything is as it was.
    pub fn is_nothing(&self) -> bool {
        self.applied.is_empty() && self.dropped.is_empty() && !self.fleet
    }
}

/// What is applied.
#[derive(Debug)]
pub struct Store {
    compiler: Compiler,
    texts: ParseCache,
    index: DocumentIndex,
    lines: BTreeMap<Uid, CurrentDocument>,
    /// Those whose source does not hold a good document of theirs any more, by that source.
    strays: BTreeMap<Arc<str>, BTreeSet<Uid>>,
    orphaned: BTreeSet<Uid>,
    fleet: ActiveFleet,
    rejected: Rejections,
    restored: bool,
    routes: Arc<Routes>,
    /// Indices of routes that are gone since the routes were made.
    vacated: Vec<ReleaseIndex>,
    /// What differs from the routes that [`Store::take_changed_routes`] was last asked about.
    changed_routes: Vec<ReleaseIndex>,
}

/// Namespace and name of a GrayRelease.
type ObjectId = (ObjectName, ObjectName);

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// Nothing applied, and the settings of a fleet without a document, of class `default`.
    pub fn new() -> Self {
        Self::of_fleet(FleetConfig::default())
    }

    /// Nothing applied, and the settings of a fleet without a document. A document of another class is refused.
    pub fn for_class(class: ObjectName) -> Self {
        Self::of_fleet(FleetConfig {
            class,
            ..FleetConfig::default()
        })
    }

    fn of_fleet(config: FleetConfig) -> Self {
        let fleet = ActiveFleet::new(config);
        let mut compiler = Compiler::default();
        let routes = Routes::new(Vec::new(), Arc::clone(&fleet.config), &mut compiler);
        Self {
            compiler,
            texts: ParseCache::default(),
            index: DocumentIndex::default(),
            lines: BTreeMap::new(),
            strays: BTreeMap::new(),
            orphaned: BTreeSet::new(),
            rejected: Rejections::default(),
            restored: false,
            routes: Arc::new(routes),
            fleet,
            vacated: Vec::new(),
            changed_routes: Vec::new(),
        }
    }

    /// Takes what was kept on disk, each document under the name it was once found under. Until the next
    /// [`Store::apply`] the store is stale; that first reading then decides what exists.
    pub fn restore(
        &mut self,
        documents: &[SourceDocument<'_>],
        fleet: Option<SourceDocument<'_>>,
    ) -> StoreChange {
        let change = self.apply(documents, fleet);
        self.restored = true;
        change
    }

    /// Takes a complete reading. What is new and good is applied, what is wrong is refused and listed, what has
    /// vanished goes on as orphaned, except after [`Store::restore`].
    pub fn apply(
        &mut self,
        documents: &[SourceDocument<'_>],
        fleet: Option<SourceDocument<'_>>,
    ) -> StoreChange {
        let present: HashSet<&str> = documents.iter().map(|found| found.source).collect();
        let gone = self.texts.sources().filter(|s| !present.contains(&***s));
        let gone: Vec<Arc<str>> = gone.cloned().collect();
        let differs = |found: &&SourceDocument<'_>| self.texts.differs(found);
        let changed: Vec<_> = documents.iter().filter(differs).copied().collect();
        let change = StoreChange {
            fleet: self.apply_fleet(fleet),
            ..StoreChange::default()
        };
        let change = self.settle(&changed, gone.iter().map(|source| &**source), change);
        self.restored = false;
        change
    }

    /// Takes what is different since the last reading: sources that are new or hold something else, sources that are
    /// gone, and the fleet's document if that is different. Leads to what [`Store::apply`] of everything would.
    pub fn apply_changes<'a>(
        &mut self,
        changed: &[SourceDocument<'_>],
        gone: impl IntoIterator<Item = &'a str>,
        fleet: Option<SourceDocument<'_>>,
    ) -> StoreChange {
        let differs = |found: &&SourceDocument<'_>| self.texts.differs(found);
        let changed: Vec<_> = changed.iter().filter(differs).copied().collect();
        let change = StoreChange {
            fleet: fleet.is_some() && self.apply_fleet(fleet),
            ..StoreChange::default()
        };
        self.settle(&changed, gone, change)
    }

    /// The present routes.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// The indices whose release in the present routes is another than it was when this was last asked, or gone.
    pub fn take_changed_routes(&mut self) -> Vec<ReleaseIndex> {
        let mut changed = std::mem::take(&mut self.changed_routes);
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Whether it holds what was kept on disk, and no reading since.
    pub fn is_stale(&self) -> bool {
        self.restored
    }

    /// The documents in force, withdrawn ones that still exist included.
    pub fn applied(&self) -> impl Iterator<Item = AppliedDocument> {
        self.lines.values().map(CurrentDocument::report)
    }

    /// The document in force of one release, as the report lists it, with where it is in the routes unless it is
    /// withdrawn.
    pub fn applied_document(&self, uid: &Uid) -> Option<(AppliedDocument, Option<ReleaseIndex>)> {
        let line = self.lines.get(uid)?;
        Some((line.report(), line.index))
    }

    /// The fleet's document in force, if there is one.
    pub fn applied_fleet(&self) -> Option<AppliedFleet> {
        let (revision, checksum) = self.fleet.document.clone()?;
        Some(AppliedFleet { revision, checksum })
    }

    /// What is refused at present, by source.
    pub fn rejected(&self) -> &[RejectedDocument] {
        self.rejected.as_slice()
    }

    /// Releases that go on although their documents vanished.
    pub fn orphaned(&self) -> impl ExactSizeIterator<Item = &Uid> {
        self.orphaned.iter()
    }

    /// Takes what differs, and settles all that it bears on.
    fn settle<'a>(
        &mut self,
        changed: &[SourceDocument<'_>],
        gone: impl IntoIterator<Item = &'a str>,
        mut change: StoreChange,
    ) -> StoreChange {
        let mut touched = BTreeSet::new();
        let mut sources = BTreeSet::new();
        for source in gone {
            sources.extend(self.take_away(source, &mut touched));
        }
        for found in changed {
            sources.insert(self.take_in(found, &mut touched));
        }
        let uids = if self.restored {
            self.lines.keys().cloned().chain(touched).collect()
        } else {
            touched
        };
        let uids = self.index.related(uids, |uid| self.objects(uid));
        let texts = TextsAtHand::new(changed);
        self.settle_all(&uids, sources, &texts, &mut change);
        if !change.is_nothing() {
            self.route(&uids);
        }
        change
    }

    /// Makes the routes follow what is applied of these releases.
    fn route(&mut self, uids: &BTreeSet<Uid>) {
        let mut routes = Routes::clone(&self.routes);
        routes.set_fleet(Arc::clone(&self.fleet.config), &mut self.compiler);
        for index in std::mem::take(&mut self.vacated) {
            routes.remove(index);
            self.changed_routes.push(index);
        }
        for uid in uids {
            let Some(line) = self.lines.get_mut(uid) else {
                continue;
            };
            self.changed_routes.extend(line.follow_in(&mut routes));
        }
        self.routes = Arc::new(routes);
    }
}
