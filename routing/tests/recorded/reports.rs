//! Reports of one proxy: whole, the difference to it, and whole again after a new start.

use halftone_routing::document::arm::Arm;
use halftone_routing::report::baseline::{Baseline, Delta};
use halftone_routing::report::{Charge, ChosenBy, TrafficReport};
use serde_json::Value;

use crate::recorded;

fn reports() -> Vec<(TrafficReport, Value)> {
    let read = |(_, text): (String, String)| {
        let report = TrafficReport::parse(text.as_bytes()).unwrap();
        (report, serde_json::from_str(&text).unwrap())
    };
    recorded("reports").into_iter().map(read).collect()
}

fn requests(delta: &Delta) -> u64 {
    delta.iter().map(|(_, counts)| counts.requests()).sum()
}

#[test]
fn they_are_read_word_for_word() {
    for (report, written) in reports() {
        assert_eq!(serde_json::to_value(&report).unwrap(), written);
    }
}

#[test]
fn they_add_up_over_a_new_start_of_the_proxy() {
    let reports = reports();
    let [(first, _), (second, _), (third, _)] = reports.as_slice() else {
        panic!("three reports")
    };
    let mut baseline = Baseline::new();
    assert!(
        baseline.take(first).is_empty(),
        "what came before is only where to count from"
    );
    let delta = baseline.take(second);
    assert_eq!(
        requests(&delta),
        28,
        "twenty users, five without a name, three by a rule"
    );
    let by_rule = delta
        .iter()
        .filter(|(key, _)| key.charge == Charge::new(Arm::Gray, ChosenBy::Rule).into());
    assert_eq!(by_rule.map(|(_, counts)| counts.requests()).sum::<u64>(), 3);
    assert!(
        delta.iter().any(|(_, counts)| counts.errors() > 0),
        "kinds of endings are kept apart"
    );
    assert_eq!(
        requests(&baseline.take(third)),
        18,
        "a new start counts from zero"
    );
}
