//! Reports stay short, and what is kept for them stays bounded.

use super::*;

#[test]
fn too_old_a_position_gets_the_full_report() {
    let mut reporter = reporter(1);
    let first = reporter.report(None, ReportForm::Two);
    let worker = WorkerCounters::new(0);
    for number in 0..STAGES_OVER as u64 {
        let counters = reporter.enter(&uid(), RELEASE, stage(number));
        cell(&worker, &counters, Arm::Gray).outcome(Outcome::Status2xx);
    }
    let next = reporter.report(since(&first), ReportForm::Two);
    assert_eq!(
        (next.since, next.removed.len(), next.entries.len()),
        (None, 0, 9)
    );
    assert_eq!(next.applied.len(), 1);
    let old = reporter.report(since(&first), ReportForm::One);
    assert_eq!(
        old.since,
        Some(first.sequence),
        "form 1 lists its keys in any case"
    );
}

#[test]
fn stages_that_are_over_are_bounded_over_all_releases() {
    let mut reporter = reporter(1);
    let worker = WorkerCounters::new(0);
    let releases = 1000;
    let mut snapshot = Vec::new();
    let mut last = reporter.report(None, ReportForm::Two);
    for number in 0..6 {
        snapshot = (0..releases)
            .map(|name| {
                reporter.enter(
                    &format!("uid-{name}").parse().unwrap(),
                    RELEASE,
                    stage(number),
                )
            })
            .collect();
        for counters in &snapshot {
            cell(&worker, counters, Arm::Gray).outcome(Outcome::Status2xx);
        }
        let next = reporter.report(since(&last), ReportForm::Two);
        assert_eq!(
            next.since,
            Some(last.sequence),
            "who reads every round is told of each change"
        );
        last = next;
    }
    let kept = reporter.report(None, ReportForm::Two).entries;
    drop(snapshot);
    assert!(kept.len() - releases <= STAGES_OVER, "{}", kept.len());
    let of_present = kept.iter().filter(|entry| entry.key.stage == stage(5));
    assert_eq!(of_present.count(), releases);
}

/// With 10 000 releases at rest nothing is said of them; a full report has 1.7 MB.
#[test]
fn a_report_of_documents_at_rest_lists_none_of_them() {
    let document = |number: u64| {
        let uid: Uid = format!("7c1f2a4e-90ab-4cde-8f01-{number:012}")
            .parse()
            .unwrap();
        let Some((_, mut served)) = applied(true).applied.pop_first() else {
            unreachable!()
        };
        served.document.uid = uid.clone();
        (uid, served)
    };
    let mut documents = Documents {
        applied: (0..10_000).map(document).collect(),
        ..Documents::default()
    };
    let mut reporter = Reporter::new("pod".into(), Epoch(1), 2);
    reporter.set_documents(documents.clone());
    let size = |report: &TrafficReport| serde_json::to_vec(report).unwrap().len();
    let full = reporter.report(None, ReportForm::Two);
    let old = reporter.report(since(&full), ReportForm::One);
    let rest = reporter.report(since(&full), ReportForm::Two);
    println!(
        "bytes: full {}, form 1 {}, form 2 at rest {}",
        size(&full),
        size(&old),
        size(&rest)
    );
    assert!(size(&full) > 1_000_000 && size(&old) > 1_000_000 && size(&rest) < 1000);
    let first = documents.applied.values_mut().next().unwrap();
    first.document.revision = 2.try_into().unwrap();
    documents.applied.pop_last();
    reporter.set_documents(documents);
    let next = reporter.report(since(&full), ReportForm::Two);
    assert_eq!((next.applied.len(), next.dropped.len()), (1, 1));
}
