//! What is known of releases and sources beside which documents are applied: who is orphaned, what is
//! broken and whose it was, and the texts that may be needed again.

use std::{collections::BTreeSet, sync::Arc};

use super::{Store, settle::TextsAtHand};
use crate::{document::names::Uid, report::RejectedDocument};

impl Store {
    /// Takes these uids out of what is known of releases beside their documents.
    pub(super) fn forget_standing(&mut self, uids: &BTreeSet<Uid>) {
        for uid in uids {
            self.orphaned.remove(uid);
            let Some(line) = self.lines.get(uid) else {
                continue;
            };
            if let Some(strays) = self.strays.get_mut(&line.source) {
                strays.remove(uid);
                if strays.is_empty() {
                    self.strays.remove(&line.source);
                }
            }
        }
    }

    pub(super) fn note_standing(&mut self, uids: &BTreeSet<Uid>) {
        for uid in uids {
            let Some(line) = self.lines.get(uid) else {
                continue;
            };
            if self.is_absent(uid, line) {
                self.orphaned.insert(uid.clone());
            }
            let held = self.texts.document(&line.source);
            if held.is_none_or(|held| held.config.release.uid != *uid) {
                let strays = self.strays.entry(Arc::clone(&line.source));
                strays.or_default().insert(uid.clone());
            }
        }
    }

    /// Keeps the text of what is not applied, to say where a fault is should it be considered again. What was applied
    /// once has none.
    pub(super) fn keep_texts(&mut self, uids: &BTreeSet<Uid>, texts: &TextsAtHand<'_>) {
        for uid in uids {
            let line = self.lines.get(uid);
            for source in self.index.sources(uid) {
                if line.is_some_and(|line| self.texts.holds(source, line.document())) {
                    self.texts.drop_text(source);
                } else if let Some((_, bytes)) = texts.0.get(&**source) {
                    self.texts.keep_text(source, bytes);
                }
            }
        }
    }

    /// Lists what a source holds if that cannot be read, with whose it was when it last could.
    pub(super) fn refuse_broken(&mut self, source: &Arc<str>) {
        let Some(refused) = self.texts.broken(source) else {
            return;
        };
        let last_good = || self.strays.get(source)?.first().cloned();
        self.rejected.set(RejectedDocument {
            uid: refused.uid.clone().or_else(last_good),
            ..refused.clone()
        });
    }
}
