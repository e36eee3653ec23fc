//! The documents that this proxy runs and refuses, and since which report each is as it is.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use halftone_routing::document::names::Uid;
use halftone_routing::report::{AppliedDocument, RejectedDocument};

use super::removal_log::RemovalLog;
use super::{Documents, ServedDocument};

/// Which documents reports list.
#[derive(Debug)]
pub(crate) struct DocumentListing {
    documents: Documents,
    /// The sequence of the first report that told of each as it is now.
    applied: BTreeMap<Uid, u64>,
    /// The same by source.
    rejected: BTreeMap<String, u64>,
    dropped: RemovalLog<Uid>,
    resolved: RemovalLog<String>,
    /// What is left on gray where nobody is to be, where anything is.
    open_long: BTreeMap<Uid, u64>,
}

impl DocumentListing {
    pub(crate) fn new() -> Self {
        Self {
            documents: Documents::default(),
            applied: BTreeMap::new(),
            rejected: BTreeMap::new(),
            dropped: RemovalLog::new(),
            resolved: RemovalLog::new(),
            open_long: BTreeMap::new(),
        }
    }

    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// These releases' documents are others now, or none; of `others` counts everything but what is applied. True if
    /// anything is new. `sequence` is the number of the next report that differs.
    pub(crate) fn change(
        &mut self,
        applied: Vec<(Uid, Option<ServedDocument>)>,
        others: Documents,
        sequence: u64,
    ) -> bool {
        let all = std::mem::take(&mut self.documents.applied);
        let before = std::mem::replace(&mut self.documents, others);
        self.documents.applied = all;
        let now = &self.documents;
        let others = |of: &'_ Documents| (of.fleet.clone(), of.fleet_source.clone(), of.stale);
        let mut is_new = others(&before) != others(now) || before.orphaned != now.orphaned;
        for (uid, document) in applied {
            is_new |= self.mark_applied(uid, document, sequence);
        }
        is_new | self.mark_rejected(&before, sequence)
    }

    fn mark_applied(&mut self, uid: Uid, document: Option<ServedDocument>, sequence: u64) -> bool {
        let documents = &mut self.documents.applied;
        if documents.get(&uid) == document.as_ref() {
            return false;
        }
        match document {
            Some(document) => {
                documents.insert(uid.clone(), document);
                self.applied.insert(uid, sequence);
            }
            None => {
                documents.remove(&uid);
                self.applied.remove(&uid);
                self.dropped.push(sequence, uid);
            }
        }
        true
    }

    fn mark_rejected(&mut self, before: &Documents, sequence: u64) -> bool {
        let (earlier, now) = (
            by_source(&before.rejected),
            by_source(&self.documents.rejected),
        );
        let differences = differences(&earlier, &now);
        for (source, is_listed) in &differences {
            match is_listed {
                true => drop(self.rejected.insert((**source).to_owned(), sequence)),
                false => {
                    self.rejected.remove(**source);
                    self.resolved.push(sequence, (**source).to_owned());
                }
            }
        }
        !differences.is_empty()
    }

    /// Whether nobody is to be on gray of a release any more.
    pub(crate) fn is_gray_ended(&self, uid: &Uid) -> bool {
        let served = self.documents.applied.get(uid);
        served.is_some_and(|served| served.gray_ended)
    }

    /// So much is left on gray of each release where nobody is to be; true if that is new.
    pub(crate) fn set_open_long(&mut self, open_long: BTreeMap<Uid, u64>, sequence: u64) -> bool {
        let before = std::mem::replace(&mut self.open_long, open_long);
        for (uid, _) in differences(&before, &self.open_long) {
            if let Some(changed) = self.applied.get_mut(uid) {
                *changed = sequence;
            }
        }
        before != self.open_long
    }

    /// Whether everything that went after the report of this sequence is known.
    pub(crate) fn reaches(&self, since: u64) -> bool {
        self.dropped.reaches(since) && self.resolved.reaches(since)
    }

    /// The applied documents that changed after a report, or all.
    pub(crate) fn applied(&self, since: Option<u64>) -> Vec<AppliedDocument> {
        let documents = self.documents.applied.iter();
        documents
            .filter(|(uid, _)| since.is_none_or(|since| self.applied[*uid] > since))
            .map(|(uid, served)| AppliedDocument {
                open_long: self.open_long.get(uid).copied().unwrap_or(0),
                ..served.document.clone()
            })
            .collect()
    }

    /// Whose documents went after a report.
    pub(crate) fn dropped(&self, since: Option<u64>) -> Vec<Uid> {
        let gone = self.dropped.since(since);
        gone.filter(|uid| !self.applied.contains_key(*uid))
            .cloned()
            .collect()
    }

    /// The refusals of sources of which these changed after a report, or all.
    pub(crate) fn rejected(&self, since: Option<u64>) -> Vec<RejectedDocument> {
        let rejected = self.documents.rejected.iter();
        rejected
            .filter(|rejected| since.is_none_or(|since| self.rejected[&rejected.source] > since))
            .cloned()
            .collect()
    }

    /// Sources of which nothing is refused any more since a report.
    pub(crate) fn resolved(&self, since: Option<u64>) -> Vec<String> {
        let gone = self.resolved.since(since);
        gone.filter(|source| !self.rejected.contains_key(*source))
            .cloned()
            .collect()
    }
}

fn by_source(rejected: &[RejectedDocument]) -> BTreeMap<&str, Vec<&RejectedDocument>> {
    let mut by_source = BTreeMap::<&str, Vec<&RejectedDocument>>::new();
    for rejected in rejected {
        by_source
            .entry(&rejected.source)
            .or_default()
            .push(rejected);
    }
    by_source
}

/// The keys that were added, changed or removed, and whether they are there now. In one pass over both.
fn differences<'a, K: Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    now: &'a BTreeMap<K, V>,
) -> Vec<(&'a K, bool)> {
    let (mut before, mut now) = (before.iter().peekable(), now.iter().peekable());
    let mut found = Vec::new();
    loop {
        let order = match (before.peek(), now.peek()) {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = before.next_if(|_| order.is_le());
        let new = now.next_if(|_| order.is_ge());
        match (old, new) {
            (Some((key, _)), None) => found.push((key, false)),
            (old, Some((key, value))) if old.map(|(_, old)| old) != Some(value) => {
                found.push((key, true));
            }
            _ => {}
        }
    }
}
