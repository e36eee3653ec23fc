//! What a person reads.

use std::time::Duration;

use halftone_api::{health_limits::Limit, spec::Totals};
use halftone_rollout::judge::{ArmBatch, Batch, Judge, LatencyCounts, RequestCounts};
use halftone_routing::histogram::bucket;
use halftone_routing::report::{self, Outcome};

use crate::traffic::{ArmModel, ArmModels, SimulatedRelease, four_limits, limits};

fn arm(requests: u64, errors: u64, client_errors: u64, over: u64) -> ArmBatch {
    let counts = RequestCounts {
        requests,
        errors,
        client_errors,
    };
    let latency = vec![LatencyCounts {
        within: requests - over,
        over,
    }];
    ArmBatch {
        judged: counts,
        split: counts,
        latency,
        ..ArmBatch::default()
    }
}

/// The message after so many polls of the same.
fn message(limit: Limit, gray: ArmBatch, stable: ArmBatch, polls: usize) -> String {
    let mut process = Judge::start(&limits(vec![limit]), 1, Totals::default());
    let batch = Batch {
        seconds: 0.5,
        gray,
        stable,
        warm_up: false,
        complete: true,
        hold_over: true,
    };
    (0..polls).for_each(|_| _ = process.add(&batch));
    process.assessment().message
}

const ERRORS: Limit = Limit::ErrorRate { max: 10_000 };
const LATENCY: Limit = Limit::Latency {
    quantile: 990_000,
    max: Duration::from_millis(500),
};
const RELATIVE: Limit = Limit::RelativeErrorRate {
    factor: 2.0,
    floor: 1_000,
};
const CLIENT: Limit = Limit::RelativeClientErrorRate {
    factor: 2.0,
    floor: 10_000,
};

#[test]
fn a_failure_says_what_happened_in_numbers() {
    let table = [
        (
            message(ERRORS, arm(50, 25, 0, 0), arm(1000, 1, 0, 0), 3),
            "50% of gray's requests failed within 1.5 s, against a limit of 1%: 75 of 150; stable 0.1%",
        ),
        (
            message(LATENCY, arm(50, 0, 0, 10), arm(50, 0, 0, 0), 3),
            "20% of gray's requests took longer than 500ms within 1.5 s, against a limit of 1%: 30 of 150; stable 0%",
        ),
        (
            message(RELATIVE, arm(50, 25, 0, 0), arm(1000, 1, 0, 0), 3),
            "50% of gray's requests failed within 1.5 s: 75 of 150; stable 0.1%, of which gray may have 2 times, or 0.1%",
        ),
        (
            message(CLIENT, arm(50, 0, 25, 0), arm(1000, 0, 1, 0), 3),
            "50% of gray's requests were answered 4xx within 1.5 s: 75 of 150; stable 0.1%, of which gray may have 2 times, or 1%",
        ),
        (
            message(ERRORS, arm(50, 25, 0, 0), arm(50, 25, 0, 0), 3),
            "50% of gray's requests failed within 1.5 s, against a limit of 1%: 75 of 150; stable 50%; stable breaks this limit as well, so gray is not failed for it yet and the clock stands",
        ),
    ];
    for (got, expected) in table {
        assert_eq!(got, expected);
    }
}

#[test]
fn a_failure_says_what_kind_of_failures_there_were() {
    let failing = |outcomes: &[(Outcome, u64)]| {
        let mut arm = arm(50, 25, 0, 0);
        let outcomes = outcomes.iter().copied().collect();
        arm.faults.count(&report::Counts {
            outcomes,
            ..report::Counts::default()
        });
        arm
    };
    for (outcomes, kinds) in [
        (
            &[(Outcome::ErrorStatus, 5), (Outcome::Reset, 20)][..],
            " (60 connections reset, 15 error statuses)",
        ),
        (&[(Outcome::NoEndpoint, 25)], " (75 without an endpoint)"),
        (
            &[(Outcome::Abandoned, 1), (Outcome::ConnectFailure, 24)],
            " (72 connections refused or not made in time, 3 others)",
        ),
        // As proxies before the second form of reports tell them, and as others do.
        (&[(Outcome::ErrorStatus, 25)], " (75 error statuses)"),
        // Of other requests than the limit looks at.
        (&[(Outcome::ResponseTimeout, 90)], " (mostly time-outs)"),
        (&[], ""),
    ] {
        let told = message(ERRORS, failing(outcomes), arm(1000, 1, 0, 0), 3);
        let expected = format!(
            "50% of gray's requests failed within 1.5 s, against a limit of 1%: 75 of 150{kinds}; stable 0.1%"
        );
        assert_eq!(told, expected);
    }
}

#[test]
fn error_statuses_are_told_one_by_one_where_proxies_say_which() {
    let mut failing = arm(50, 25, 0, 0);
    failing.faults.count(&report::Counts {
        outcomes: [(Outcome::ErrorStatus, 25)].into(),
        error_statuses: [(500, 4), (503, 20)].into(),
        ..report::Counts::default()
    });
    let told = message(ERRORS, failing, arm(1000, 1, 0, 0), 3);
    assert!(
        told.contains(": 75 of 150 (60 with status 503, 12 with status 500, 3 error statuses);"),
        "{told}"
    );
}

#[test]
fn kinds_are_those_of_the_fault_and_not_of_what_was_before() {
    let failing = |outcome, requests, errors| {
        let mut arm = arm(requests, errors, 0, 0);
        arm.faults.count(&report::Counts {
            outcomes: [(outcome, errors)].into(),
            ..report::Counts::default()
        });
        arm
    };
    let mut process = Judge::start(&limits(vec![ERRORS]), 1, Totals::default());
    let mut add = |gray| {
        let stable = arm(1000, 0, 0, 0);
        process.add(&Batch {
            seconds: 0.5,
            gray,
            stable,
            warm_up: false,
            complete: true,
            hold_over: false,
        });
    };
    (0..200).for_each(|at| add(failing(Outcome::Reset, 500, u64::from(at % 10 == 0))));
    (0..3).for_each(|_| add(failing(Outcome::NoEndpoint, 50, 50)));
    let told = process.assessment().message;
    assert!(
        told.contains(": 150 of 150 (150 without an endpoint);"),
        "{told}"
    );
}

#[test]
fn a_slow_gray_is_told_in_milliseconds() {
    let timed = |micros: u64| {
        let mut arm = arm(100, 0, 0, 0);
        arm.latencies.add(bucket(Duration::from_micros(micros)), 99);
        arm.latencies
            .add(bucket(Duration::from_micros(2 * micros)), 1);
        arm
    };
    assert_eq!(
        message(
            Limit::RelativeP99 { factor: 1.5 },
            timed(300_000),
            timed(40_000),
            6
        ),
        "100% of gray's requests took 60.7ms or longer within 2.0 s: 300 of 300; gray's p99 may be 1.5 times stable's, which is 40.4ms"
    );
}

#[test]
fn what_is_missing_is_told() {
    assert_eq!(
        message(ERRORS, arm(37, 0, 0, 0), arm(50, 0, 0, 0), 1),
        "37 of the 100 requests to gray that a step needs"
    );
    assert_eq!(
        message(ERRORS, arm(100, 2, 0, 0), arm(100, 0, 0, 0), 1),
        "2% of gray's requests failed, against a limit of 1%: 2 of 100; stable 0%; that may still be chance, so it neither fails nor passes"
    );
    assert_eq!(
        message(ERRORS, arm(12_345, 2, 0, 0), arm(100, 0, 0, 0), 1),
        "every limit is kept over 12345 requests to gray"
    );
}

#[test]
fn a_failure_after_a_long_good_time_tells_of_the_fault_alone() {
    let good = ArmModels {
        gray: ArmModel::new(100.0, 0.001),
        stable: ArmModel::new(100.0, 0.001),
    };
    let bad = ArmModels {
        gray: ArmModel::new(100.0, 0.5),
        ..good
    };
    for run in 0..20 {
        let mut release = SimulatedRelease::new(&four_limits(), 10, run);
        release.live_through(&good, 600.0, &bad, 60.0).unwrap();
        let message = release.process.assessment().message;
        let percent: f64 = message.split('%').next().unwrap().parse().unwrap();
        assert!((25.0..=70.0).contains(&percent), "{message}");
    }
}

#[test]
fn every_limit_has_its_figures() {
    let mut some = four_limits();
    some.limits.push(Limit::RelativeP99 { factor: 1.5 });
    let mut process = Judge::start(&some, 1, Totals::default());
    let (gray, stable) = (arm(1000, 5, 20, 3), arm(3000, 3, 30, 0));
    process.add(&Batch {
        seconds: 10.0,
        gray,
        stable,
        ..Batch::default()
    });
    let figures = process.assessment().limits;
    let text = figures.iter().map(|figure| {
        let side = |side: &Option<String>| side.clone().unwrap_or("-".into());
        format!(
            "{} | {} | stable {} | gray {} | {} requests",
            figure.name,
            figure.limit,
            side(&figure.stable),
            side(&figure.gray),
            figure.requests
        )
    });
    assert_eq!(
        text.collect::<Vec<_>>(),
        [
            "maxErrorRate | 1% | stable 0.1% | gray 0.5% | 1000 requests",
            "maxLatency.p99 | 500ms | stable 0% over 500ms | gray 0.3% over 500ms | 1000 requests",
            "versusStable.errorRate | 2 times stable, or 0.1% | stable 0.1% | gray 0.5% | 1000 requests",
            "versusStable.clientErrorRate | 2 times stable, or 1% | stable 1% | gray 2% | 1000 requests",
            "versusStable.p99 | 1.5 times stable | stable - | gray - | 0 requests",
        ]
    );
}

#[test]
fn latency_limits_are_named_as_their_fields() {
    for (quantile, name) in [
        (500_000, "p50"),
        (900_000, "p90"),
        (950_000, "p95"),
        (990_000, "p99"),
        (999_000, "p999"),
    ] {
        let limit = Limit::Latency {
            quantile,
            max: Duration::from_secs(1),
        };
        assert_eq!(limit.to_string(), format!("maxLatency.{name}"));
    }
}
