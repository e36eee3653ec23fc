//! One proxy as its reports tell: what whoever decides the releases keeps of it from one report to the next.

use std::collections::BTreeSet;

use crate::document::names::Uid;

use super::baseline::{Baseline, Delta};
use super::documents::ReportedDocuments;
use super::{Epoch, TrafficReport};

/// So many keys and documents of one proxy are kept; ten thousand releases in nine stages each have fewer. A proxy that
/// reports more, each time a little, would take its reader's memory: it is read from the beginning instead.
const MOST_KEPT: usize = 250_000;

/// Reads the reports of one proxy.
#[derive(Debug, Clone, Default)]
pub struct ReportReader {
    baseline: Baseline,
    documents: ReportedDocuments,
}

/// What one report adds to what was known of its proxy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReportChanges {
    /// What was counted since the report before.
    pub counts: Delta,
    /// Whose documents were applied, dropped, refused, or refused no longer.
    pub documents: BTreeSet<Uid>,
}

impl ReportReader {
    /// For a proxy that has not been heard yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to ask the proxy for: `?since=EPOCH/SEQUENCE`; none before its first report.
    pub fn since(&self) -> Option<(Epoch, u64)> {
        self.baseline.since()
    }

    /// The documents that the proxy has.
    pub fn documents(&self) -> &ReportedDocuments {
        &self.documents
    }

    /// Takes a report; none if it does not follow what is known already, as
    /// [`Baseline::accepts`] says, or makes that too much to keep.
    pub fn take(&mut self, report: &TrafficReport) -> Option<ReportChanges> {
        let changes = self.baseline.accepts(report).then(|| ReportChanges {
            documents: self.documents.take(report),
            counts: self.baseline.take(report),
        });
        if self.baseline.len() + self.documents.len() > MOST_KEPT {
            *self = Self::default();
            return None;
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn uid(name: &str) -> Uid {
        name.parse().unwrap()
    }

    fn report(sequence: u64, since: Option<u64>, mut more: Value) -> TrafficReport {
        let head = json!({
            "instance": "pod", "epoch": "0000000000000001", "sequence": sequence, "version": "0",
        });
        let fields = more.as_object_mut().unwrap();
        fields.extend(head.as_object().unwrap().clone());
        if let Some(since) = since {
            fields.insert("since".into(), since.into());
        }
        TrafficReport::parse(more.to_string().as_bytes()).unwrap()
    }

    fn applied(uid: &str, revision: u64) -> Value {
        let checksum = format!("sha256:{revision:064}");
        json!({"uid": uid, "revision": revision, "checksum": checksum})
    }

    fn rejected(source: &str, uid: &str, message: &str) -> Value {
        json!({"source": source, "uid": uid, "reason": "Malformed", "message": message})
    }

    /// What is known of the documents a, b and c.
    fn known(reader: &ReportReader) -> [(Option<u64>, Option<&str>); 3] {
        let documents = reader.documents();
        let revision = |uid: &Uid| Some(documents.applied(uid)?.revision.get());
        ["a", "b", "c"].map(|name| (revision(&uid(name)), documents.rejected(&uid(name))))
    }

    fn changed(reader: &mut ReportReader, report: &TrafficReport) -> Option<Vec<String>> {
        let changes = reader.take(report)?;
        Some(changes.documents.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn of_documents_only_what_changed_is_told_and_the_rest_goes_on() {
        let mut reader = ReportReader::new();
        let all = json!({
            "applied": [applied("a", 1), applied("b", 1)], "rejected": [rejected("c.json", "c", "bad")],
        });
        let first = changed(&mut reader, &report(1, None, all));
        assert_eq!(first.unwrap(), ["a", "b", "c"]);
        let rest = report(1, Some(1), json!({}));
        assert!(changed(&mut reader, &rest).unwrap().is_empty());
        let one = json!({"applied": [applied("a", 2)], "dropped": ["b"]});
        assert_eq!(
            changed(&mut reader, &report(2, Some(1), one)).unwrap(),
            ["a", "b"]
        );
        let bad = Some("Malformed: bad");
        assert_eq!(known(&reader), [(Some(2), None), (None, None), (None, bad)]);
        let moved = json!({"rejected": [rejected("c.json", "b", "worse")]});
        assert_eq!(
            changed(&mut reader, &report(3, Some(2), moved)).unwrap(),
            ["b", "c"]
        );
        let worse = Some("Malformed: worse");
        assert_eq!(
            known(&reader),
            [(Some(2), None), (None, worse), (None, None)]
        );
        let good = json!({"applied": [applied("b", 2)], "resolved": ["c.json"]});
        assert_eq!(
            changed(&mut reader, &report(4, Some(3), good)).unwrap(),
            ["b"]
        );
        assert_eq!(
            known(&reader),
            [(Some(2), None), (Some(2), None), (None, None)]
        );
    }

    #[test]
    fn a_full_report_and_one_of_form_1_list_every_document() {
        let mut reader = ReportReader::new();
        let both = json!({"applied": [applied("a", 1), applied("b", 1)]});
        reader.take(&report(1, None, both));
        let full = json!({"applied": [applied("b", 1)], "rejected": [rejected("a", "a", "bad")]});
        assert_eq!(changed(&mut reader, &report(2, None, full)).unwrap(), ["a"]);
        let old = json!({"applied": [applied("c", 4)], "keys": []});
        assert_eq!(
            changed(&mut reader, &report(3, Some(2), old)).unwrap(),
            ["a", "b", "c"]
        );
        assert_eq!(
            known(&reader),
            [(None, None), (None, None), (Some(4), None)]
        );
    }

    #[test]
    fn a_report_that_does_not_follow_the_last_one_changes_no_document() {
        let mut reader = ReportReader::new();
        let newer = json!({"applied": [applied("a", 9)]});
        assert_eq!(reader.take(&report(3, Some(2), newer.clone())), None);
        reader.take(&report(3, None, json!({"applied": [applied("a", 1)]})));
        for (sequence, since) in [(2, None), (5, Some(4)), (5, Some(2))] {
            assert_eq!(reader.take(&report(sequence, since, newer.clone())), None);
        }
        assert_eq!(known(&reader)[0], (Some(1), None));
        assert_eq!(reader.since(), Some((Epoch(1), 3)));
    }

    #[test]
    fn a_proxy_that_reports_new_keys_without_end_is_read_from_the_beginning() {
        let mut reader = ReportReader::new();
        reader.take(&report(1, None, json!({}))).unwrap();
        let many = MOST_KEPT as u64 / 4 + 1;
        let mut sequence = 1;
        let mut tell = |reader: &mut ReportReader| {
            let first = sequence * many;
            let applied: Vec<Value> = (first..first + many)
                .map(|number| applied(&format!("u{number}"), 1))
                .collect();
            let more = report(sequence + 1, Some(sequence), json!({"applied": applied}));
            sequence += 1;
            reader.take(&more).is_some()
        };
        assert!(tell(&mut reader) && tell(&mut reader) && tell(&mut reader));
        assert!(!tell(&mut reader));
        assert_eq!(reader.since(), None);
        assert_eq!(reader.documents().len(), 0);
    }
}
