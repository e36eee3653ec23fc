//! What is applied: the last good document of every release and of the fleet, and which documents of a new reading
//! are taken or refused, and why. Whatever is wrong with a document, what it was to replace goes on routing; only
//! `Withdrawn` ends a route. The proxy's control thread is the one caller; it swaps in each set of routes as a whole.

mod choose;
mod current;
mod parse_cache;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use self::{choose::DocumentCandidate, current::CurrentDocument, parse_cache::ParseCache};
use crate::{
    document::{
        Checksum,
        names::{ObjectName, Uid},
        parse::Format,
        units::Revision,
    },
    fleet::FleetConfig,
    report::{AppliedDocument, AppliedFleet, RejectedDocument},
    routes::{Compiler, Routes},
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
    lines: BTreeMap<Uid, CurrentDocument>,
    /// Whose line an object has; never more than one.
    objects: HashMap<ObjectId, Uid>,
    fleet: ActiveFleet,
    rejected: Vec<RejectedDocument>,
    restored: bool,
    routes: Arc<Routes>,
}

/// Namespace and name of a GrayRelease.
type ObjectId = (ObjectName, ObjectName);

/// The fleet's settings in force; without a document, the default ones.
#[derive(Debug, Default)]
struct ActiveFleet {
    config: Arc<FleetConfig>,
    document: Option<(Revision, Checksum)>,
}

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
        let mut compiler = Compiler::default();
        let fleet = ActiveFleet {
            config: Arc::new(config),
            document: None,
        };
        let routes = Arc::new(Routes::new(
            Vec::new(),
            Arc::clone(&fleet.config),
            &mut compiler,
        ));
        Self {
            compiler,
            texts: ParseCache::default(),
            lines: BTreeMap::new(),
            objects: HashMap::new(),
            fleet,
            rejected: Vec::new(),
            restored: false,
            routes,
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
        self.rejected.clear();
        let mut change = StoreChange {
            fleet: self.apply_fleet(fleet),
            ..StoreChange::default()
        };
        let read = self.texts.read(documents);
        self.refuse_unreadable(documents, &read);
        let (winners, losers) = choose::by_uid(
            read.iter().filter_map(|read| read.as_ref().ok().cloned()),
            |uid| self.lines.get(uid).map(|line| Arc::clone(&line.source)),
        );
        self.rejected.extend(losers);
        for winner in choose::oldest_first(winners) {
            self.consider(&winner, &mut change);
        }
        let present: Vec<&str> = documents.iter().map(|found| found.source).collect();
        self.settle_absent(&read, &present, &mut change);
        self.restored = false;
        if !change.is_nothing() {
            self.rebuild();
        }
        change
    }

    /// The present routes.
    pub fn routes(&self) -> &Arc<Routes> {
        &self.routes
    }

    /// Whether it holds what was kept on disk, and no reading since.
    pub fn is_stale(&self) -> bool {
        self.restored
    }

    /// The documents in force, withdrawn ones that still exist included.
    pub fn applied(&self) -> impl Iterator<Item = AppliedDocument> {
        self.lines.values().map(CurrentDocument::report)
    }

    /// The fleet's document in force, if there is one.
    pub fn applied_fleet(&self) -> Option<AppliedFleet> {
        let (revision, checksum) = self.fleet.document.clone()?;
        Some(AppliedFleet { revision, checksum })
    }

    /// What the last reading had to refuse.
    pub fn rejected(&self) -> &[RejectedDocument] {
        &self.rejected
    }

    /// Releases that go on although their documents vanished.
    pub fn orphaned(&self) -> impl Iterator<Item = &Uid> {
        self.lines
            .iter()
            .filter(|(_, line)| line.orphaned)
            .map(|(uid, _)| uid)
    }

    fn rebuild(&mut self) {
        let releases = self
            .lines
            .values()
            .filter_map(|line| line.release.clone())
            .collect();
        self.routes = Arc::new(Routes::new(
            releases,
            Arc::clone(&self.fleet.config),
            &mut self.compiler,
        ));
    }

    /// A fleet without a document has the default settings; one whose document vanishes keeps its own until the next
    /// start, as releases do.
    fn forget_kept_fleet(&mut self) -> bool {
        let forget = self.restored && self.fleet.document.is_some();
        if forget {
            let class = self.fleet.config.class.clone();
            self.fleet.config = Arc::new(FleetConfig {
                class,
                ..FleetConfig::default()
            });
            self.fleet.document = None;
        }
        forget
    }

    fn apply_fleet(&mut self, found: Option<SourceDocument<'_>>) -> bool {
        let Some(found) = found else {
            return self.forget_kept_fleet();
        };
        let refused = match parse_cache::fleet(&found) {
            Ok(parsed) if parsed.config.class != self.fleet.config.class => RejectedDocument {
                revision: Some(parsed.config.revision),
                checksum: Some(parsed.checksum),
                ..parse_cache::DocumentRejection::new(
                    "OtherClass",
                    format!(
                        "it is for the fleet \"{}\", and this proxy is of \"{}\"; change class here or --class there",
                        parsed.config.class, self.fleet.config.class
                    ),
                )
                .at(found.source)
            },
            Ok(parsed) => match current::may_follow(
                self.fleet.document.as_ref().map(|(revision, checksum)| (*revision, checksum)),
                (parsed.config.revision, &parsed.checksum),
            ) {
                Ok(false) => return false,
                Ok(true) => {
                    self.fleet.document = Some((parsed.config.revision, parsed.checksum));
                    self.fleet.config = Arc::new(parsed.config);
                    return true;
                }
                Err(why) => RejectedDocument {
                    revision: Some(parsed.config.revision),
                    checksum: Some(parsed.checksum),
                    ..why.at(found.source)
                },
            },
            Err(why) => why.at(found.source),
        };
        self.rejected.push(refused);
        false
    }

    /// Lists what could not be read, with whose it was when it last could.
    fn refuse_unreadable(
        &mut self,
        documents: &[SourceDocument<'_>],
        read: &[parse_cache::ParsedCandidate<'_>],
    ) {
        for (found, read) in documents.iter().zip(read) {
            if let Err(why) = read {
                let last_good = self
                    .lines
                    .iter()
                    .find(|(_, line)| *line.source == *found.source);
                let subject = parse_cache::subject(found);
                self.rejected.push(RejectedDocument {
                    uid: subject
                        .uid
                        .or_else(|| last_good.map(|(uid, _)| uid.clone())),
                    revision: subject.revision,
                    checksum: subject.checksum,
                    ..why.clone().at(found.source)
                });
            }
        }
    }

    /// Applies one document of a reading, or says why not.
    fn consider(&mut self, candidate: &DocumentCandidate<'_>, change: &mut StoreChange) {
        let uid = candidate.uid().clone();
        let namesake = self
            .objects
            .get(&candidate.object())
            .filter(|other| **other != uid)
            .cloned();
        let outlives = |line: &CurrentDocument| !candidate.succeeds(line.config());
        let successor = namesake
            .as_ref()
            .filter(|other| self.lines.get(other).is_some_and(outlives));
        let verdict = match successor {
            Some(successor) => Err(choose::superseded(successor)),
            None => current::compile(self.lines.get(&uid), candidate, &mut self.compiler),
        };
        match verdict {
            Ok(None) => {
                if let Some(line) = self.lines.get_mut(&uid) {
                    line.source = Arc::clone(&candidate.source);
                }
            }
            Ok(Some(line)) => {
                if let Some(old) = namesake {
                    self.forget(&old);
                    change.applied.retain(|(uid, _)| *uid != old);
                    change.dropped.push(old);
                }
                change
                    .applied
                    .push((uid.clone(), Arc::clone(&candidate.source)));
                self.forget(&uid);
                self.objects.insert(candidate.object(), uid.clone());
                self.lines.insert(uid, line);
            }
            Err(why) => self.rejected.push(candidate.refuse(why)),
        }
    }

    fn forget(&mut self, uid: &Uid) {
        if let Some(line) = self.lines.remove(uid) {
            self.objects.remove(&line.object());
        }
    }

    /// Documents that the reading does not have any more. One whose source holds something broken is not absent: its
    /// last good version goes on.
    fn settle_absent(
        &mut self,
        read: &[parse_cache::ParsedCandidate<'_>],
        present: &[&str],
        change: &mut StoreChange,
    ) {
        let named: BTreeSet<&Uid> = read
            .iter()
            .filter_map(|read| read.as_ref().ok())
            .map(DocumentCandidate::uid)
            .collect();
        let sources: BTreeSet<&str> = present.iter().copied().collect();
        let mut forgotten = Vec::new();
        for (uid, line) in &mut self.lines {
            line.orphaned = !named.contains(uid) && !sources.contains(&*line.source);
            if line.orphaned && (self.restored || line.release.is_none()) {
                forgotten.push(uid.clone());
            }
        }
        forgotten.iter().for_each(|uid| self.forget(uid));
        change.dropped.extend(forgotten);
    }
}
