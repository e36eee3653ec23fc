//! Settling: of documents that may bear on one another, which are applied, which refused, which releases go. Done again
//! until nothing changes any more, so that the outcome does not depend on which document was looked at first.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Content, ObjectId, SourceDocument, Store, StoreChange,
    choose::{self, DocumentCandidate},
    current::{self, CurrentDocument},
};
use crate::document::{names::Uid, parse::Format};

/// How often documents are settled at most: those that replace one another in a circle never come to rest.
const ROUNDS: usize = 8;

/// The texts of the sources that changed.
pub(super) struct TextsAtHand<'a>(pub(super) HashMap<&'a str, (Format, &'a [u8])>);

impl<'a> TextsAtHand<'a> {
    pub(super) fn new(changed: &[SourceDocument<'a>]) -> Self {
        let text = |found: &SourceDocument<'a>| match found.content {
            Content::Text(format, bytes) => Some((found.source, (format, bytes))),
            Content::Unreadable(_) => None,
        };
        Self(changed.iter().filter_map(text).collect())
    }
}

impl Store {
    /// Takes in what a source holds now. Returns the source's name, and adds those whose document it was and is.
    pub(super) fn take_in(
        &mut self,
        found: &SourceDocument<'_>,
        touched: &mut BTreeSet<Uid>,
    ) -> Arc<str> {
        self.take_away(found.source, touched);
        let source = self.texts.put(found);
        if let Some(document) = self.texts.document(&source) {
            self.index.add_source(&source, &document.config);
            touched.insert(document.config.release.uid.clone());
        }
        source
    }

    /// Forgets what a source held, if it held anything, and adds those whose document that was.
    pub(super) fn take_away(
        &mut self,
        source: &str,
        touched: &mut BTreeSet<Uid>,
    ) -> Option<Arc<str>> {
        self.rejected.clear(source);
        touched.extend(self.strays.get(source).into_iter().flatten().cloned());
        let (source, before) = self.texts.remove(source)?;
        if let Ok(document) = before.read {
            self.index.remove_source(&source, &document.config);
            touched.insert(document.config.release.uid.clone());
        }
        Some(source)
    }

    /// The objects that a uid's documents are for, held by sources or applied.
    pub(super) fn objects(&self, uid: &Uid) -> Vec<ObjectId> {
        let held = self.index.sources(uid).iter();
        let held = held.filter_map(|source| self.texts.document(source));
        let held = held.map(|document| choose::object(&document.config));
        let applied = self.lines.get(uid).map(CurrentDocument::object);
        held.chain(applied).collect()
    }

    /// Settles the documents of these uids, which no other uid's bear on. `sources` have changed.
    pub(super) fn settle_all(
        &mut self,
        uids: &BTreeSet<Uid>,
        mut sources: BTreeSet<Arc<str>>,
        texts: &TextsAtHand<'_>,
        change: &mut StoreChange,
    ) {
        sources.extend(self.line_sources(uids));
        self.forget_standing(uids);
        // A document that no other bears on comes to rest at once.
        let contested: BTreeSet<Uid> = uids
            .iter()
            .filter(|uid| self.is_contested(uid))
            .cloned()
            .collect();
        self.settle_once(uids, texts, change);
        let more = |_: &usize| !contested.is_empty() && self.settle_once(&contested, texts, change);
        (1..ROUNDS).take_while(more).for_each(drop);
        self.note_standing(uids);
        self.keep_texts(uids, texts);
        sources.extend(self.line_sources(uids));
        for source in &sources {
            self.refuse_broken(source);
        }
    }

    fn is_contested(&self, uid: &Uid) -> bool {
        let objects = self.objects(uid);
        let mut others = objects.iter().flat_map(|object| self.index.uids(object));
        self.index.sources(uid).len() > 1 || others.any(|other| other != uid)
    }

    fn line_sources(&self, uids: &BTreeSet<Uid>) -> Vec<Arc<str>> {
        let lines = uids.iter().filter_map(|uid| self.lines.get(uid));
        lines.map(|line| Arc::clone(&line.source)).collect()
    }

    /// One round; true: something changed.
    fn settle_once(
        &mut self,
        uids: &BTreeSet<Uid>,
        texts: &TextsAtHand<'_>,
        change: &mut StoreChange,
    ) -> bool {
        let candidates: Vec<_> = uids
            .iter()
            .flat_map(|uid| self.candidates(uid, texts))
            .collect();
        for candidate in &candidates {
            self.rejected.clear(&candidate.source);
        }
        let applied_from = |uid: &Uid| self.lines.get(uid).map(|line| Arc::clone(&line.source));
        let (winners, losers) = choose::by_uid(candidates.into_iter(), applied_from);
        losers
            .into_iter()
            .for_each(|refused| self.rejected.set(refused));
        let mut changed = false;
        for winner in choose::oldest_first(winners) {
            changed |= self.consider(&winner, change);
        }
        changed | self.settle_absent(uids, change)
    }

    fn candidates<'a>(&self, uid: &Uid, texts: &TextsAtHand<'a>) -> Vec<DocumentCandidate<'a>> {
        let sources = self.index.sources(uid).iter();
        let candidate = |source: &Arc<str>| {
            Some(DocumentCandidate {
                source: Arc::clone(source),
                text: match texts.0.get(&**source) {
                    Some((format, bytes)) => Some((*format, (*bytes).into())),
                    None => self.texts.kept_text(source),
                },
                document: Arc::clone(self.texts.document(source)?),
            })
        };
        sources.filter_map(candidate).collect()
    }

    /// Applies one document, or says why not; true: it is applied now.
    fn consider(&mut self, candidate: &DocumentCandidate<'_>, change: &mut StoreChange) -> bool {
        let uid = candidate.uid().clone();
        let namesake = self
            .holder(&candidate.object())
            .filter(|other| *other != uid);
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
                false
            }
            Ok(Some(line)) => {
                if let Some(old) = namesake {
                    self.forget(&old);
                    change.applied.retain(|(uid, _)| *uid != old);
                    change.dropped.push(old);
                }
                change.dropped.retain(|dropped| *dropped != uid);
                change.applied.push((uid, Arc::clone(&candidate.source)));
                self.put(line);
                true
            }
            Err(why) => {
                self.rejected.set(candidate.refuse(why));
                false
            }
        }
    }

    /// Whose applied document is for an object.
    fn holder(&self, object: &ObjectId) -> Option<Uid> {
        let has = |uid: &&Uid| {
            let line = self.lines.get(uid);
            line.is_some_and(|line| line.object() == *object)
        };
        self.index.uids(object).iter().find(has).cloned()
    }

    /// Puts a document in the place of the one of its uid.
    fn put(&mut self, mut line: CurrentDocument) {
        let uid = line.uid().clone();
        self.index.add_object(line.config());
        if let Some(before) = self.lines.remove(&uid) {
            self.index.remove_object(before.config());
            line.index = before.index;
            if let Some(release) = &before.release {
                self.compiler.give_back(release, line.release.as_deref());
            }
        }
        self.lines.insert(uid, line);
    }

    fn forget(&mut self, uid: &Uid) {
        if let Some(line) = self.lines.remove(uid) {
            self.index.remove_object(line.config());
            self.vacated.extend(line.index);
            if let Some(release) = &line.release {
                self.compiler.give_back(release, None);
            }
        }
    }

    /// Whether no source holds a document of this release, nor anything broken where its document was.
    pub(super) fn is_absent(&self, uid: &Uid, line: &CurrentDocument) -> bool {
        self.index.sources(uid).is_empty() && !self.texts.contains(&line.source)
    }

    /// Releases without a document. One whose source holds something broken is not absent: its last good version goes
    /// on. True: one is gone.
    fn settle_absent(&mut self, uids: &BTreeSet<Uid>, change: &mut StoreChange) -> bool {
        let goes = |uid: &&Uid| {
            self.lines.get(uid).is_some_and(|line| {
                self.is_absent(uid, line) && (self.restored || line.release.is_none())
            })
        };
        let gone: Vec<Uid> = uids.iter().filter(goes).cloned().collect();
        gone.iter().for_each(|uid| self.forget(uid));
        let any = !gone.is_empty();
        change.dropped.extend(gone);
        any
    }
}
