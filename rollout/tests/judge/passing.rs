//! What passes, and what keeps a healthy gray from passing.

use std::time::Duration;

use halftone_api::{
    health_limits::{HealthLimits, Limit},
    spec::{Totals, Verdict},
};
use halftone_rollout::judge::{
    ArmBatch, Batch, Judge, LatencyCounts, RequestCounts, VerdictReason,
};

use crate::traffic::limits;

fn arm(requests: u64, errors: u64) -> ArmBatch {
    let counts = RequestCounts {
        requests,
        errors,
        client_errors: 0,
    };
    ArmBatch {
        judged: counts,
        split: counts,
        ..ArmBatch::default()
    }
}

/// A poll in which nothing but the counts may keep gray from passing.
fn batch(gray: ArmBatch, stable: ArmBatch) -> Batch {
    Batch {
        seconds: 10.0,
        gray,
        stable,
        warm_up: false,
        complete: true,
        hold_over: true,
    }
}

fn reason(limit: Limit, batch: &Batch) -> VerdictReason {
    Judge::start(&limits(vec![limit]), 1, Totals::default())
        .add(batch)
        .reason
}

const ERRORS: Limit = Limit::ErrorRate { max: 50_000 };
const RELATIVE: Limit = Limit::RelativeErrorRate {
    factor: 2.0,
    floor: 1_000,
};

#[test]
fn a_healthy_gray_passes_when_all_that_was_asked_for_is_there() {
    let healthy = batch(arm(1000, 1), arm(1000, 1));
    let ruling = Judge::start(&limits(vec![ERRORS, RELATIVE]), 1, Totals::default()).add(&healthy);
    assert_eq!(
        (ruling.verdict, ruling.reason),
        (Verdict::Pass, VerdictReason::WithinLimits)
    );
}

#[test]
fn each_missing_thing_has_its_reason() {
    let healthy = batch(arm(1000, 1), arm(1000, 1));
    let table = [
        (
            Batch {
                complete: false,
                ..healthy.clone()
            },
            VerdictReason::ReportsMissing,
        ),
        (
            Batch {
                warm_up: true,
                ..healthy.clone()
            },
            VerdictReason::WarmingUp,
        ),
        (
            batch(arm(99, 0), arm(1000, 0)),
            VerdictReason::TooLittleTraffic,
        ),
        (batch(arm(1000, 51), arm(1000, 1)), VerdictReason::OverLimit),
        (
            Batch {
                hold_over: false,
                ..healthy
            },
            VerdictReason::Holding,
        ),
    ];
    for (batch, expected) in table {
        let ruling = Judge::start(&limits(vec![ERRORS]), 1, Totals::default()).add(&batch);
        assert_eq!(
            (ruling.verdict, ruling.reason),
            (Verdict::NeedMoreData, expected)
        );
    }
}

#[test]
fn a_rate_exactly_at_its_limit_passes() {
    assert_eq!(
        reason(ERRORS, &batch(arm(1000, 50), arm(1000, 50))),
        VerdictReason::WithinLimits
    );
    // One error more is allowed for in stable's ten.
    assert_eq!(
        reason(RELATIVE, &batch(arm(1000, 22), arm(1000, 10))),
        VerdictReason::WithinLimits
    );
    assert_eq!(
        reason(RELATIVE, &batch(arm(1000, 23), arm(1000, 10))),
        VerdictReason::OverLimit
    );
}

#[test]
fn a_relative_limit_is_looked_at_only_above_its_floor_and_with_three_bad_events() {
    assert_eq!(
        reason(RELATIVE, &batch(arm(1000, 2), arm(1000, 0))),
        VerdictReason::WithinLimits
    );
    assert_eq!(
        reason(RELATIVE, &batch(arm(1000, 3), arm(1000, 0))),
        VerdictReason::OverLimit
    );
    assert_eq!(
        reason(RELATIVE, &batch(arm(3000, 3), arm(3000, 0))),
        VerdictReason::WithinLimits
    );
}

#[test]
fn a_stable_with_hardly_any_requests_keeps_no_healthy_gray_from_passing() {
    assert_eq!(
        reason(RELATIVE, &batch(arm(3000, 15), arm(30, 0))),
        VerdictReason::WithinLimits
    );
}

#[test]
fn without_a_baseline_relative_limits_neither_fail_nor_block() {
    assert_eq!(
        reason(RELATIVE, &batch(arm(1000, 1000), arm(0, 0))),
        VerdictReason::WithinLimits
    );
}

#[test]
fn included_traffic_counts_for_absolute_limits_and_not_for_relative_ones() {
    let mut gray = arm(1000, 100);
    gray.split = RequestCounts {
        requests: 500,
        errors: 0,
        client_errors: 0,
    };
    let mixed = batch(gray, arm(1000, 0));
    assert_eq!(reason(ERRORS, &mixed), VerdictReason::OverLimit);
    assert_eq!(reason(RELATIVE, &mixed), VerdictReason::WithinLimits);
}

#[test]
fn warm_up_leaves_out_latency_and_never_errors() {
    let latency = Limit::Latency {
        quantile: 990_000,
        max: Duration::from_millis(500),
    };
    let mut gray = arm(50, 25);
    gray.latency = vec![LatencyCounts {
        within: 0,
        over: 50,
    }];
    let cold = Batch {
        seconds: 0.5,
        warm_up: true,
        ..batch(gray, arm(50, 0))
    };
    let verdict_after_ten = |limit| {
        let mut process = Judge::start(&limits(vec![limit]), 1, Totals::default());
        (0..10).for_each(|_| _ = process.add(&cold));
        assert_eq!(
            *process.totals(),
            Judge::start(&limits(vec![limit]), 1, Totals::default())
                .totals()
                .clone()
        );
        process.ruling().verdict
    };
    assert_eq!(verdict_after_ten(latency), Verdict::NeedMoreData);
    assert_eq!(verdict_after_ten(ERRORS), Verdict::Fail);
}

#[test]
fn a_silent_proxy_never_keeps_gray_from_failing() {
    let mut process = Judge::start(&limits(vec![ERRORS]), 1, Totals::default());
    let broken = Batch {
        seconds: 0.5,
        complete: false,
        ..batch(arm(50, 50), arm(50, 0))
    };
    (0..4).for_each(|_| _ = process.add(&broken));
    assert_eq!(process.ruling().verdict, Verdict::Fail);
}

#[test]
fn no_one_batch_and_no_two_decide() {
    for idle in [0, 100_000] {
        for limit in [
            ERRORS,
            Limit::ErrorRate { max: 0 },
            Limit::ErrorRate { max: 1 },
            RELATIVE,
        ] {
            let mut process = Judge::start(&limits(vec![limit; 4]), 1, Totals::default());
            (0..idle).for_each(|_| _ = process.add(&batch(arm(0, 0), arm(0, 0))));
            let broken = batch(arm(1_000_000, 1_000_000), arm(1_000_000, 0));
            let verdicts = [(); 3].map(|()| process.add(&broken).verdict);
            assert_eq!(
                verdicts,
                [Verdict::NeedMoreData, Verdict::NeedMoreData, Verdict::Fail],
                "{limit:?} after {idle} batches without traffic"
            );
        }
    }
}

#[test]
fn what_failed_stays_failed() {
    let mut process = Judge::start(&limits(vec![ERRORS]), 1, Totals::default());
    (0..3).for_each(|_| _ = process.add(&batch(arm(1000, 1000), arm(1000, 0))));
    let failed = process.clone();
    (0..1000).for_each(|_| _ = process.add(&batch(arm(1000, 0), arm(1000, 0))));
    assert_eq!(process, failed);
}

#[test]
fn a_limit_of_no_errors_fails_with_the_third_batch_that_has_one() {
    let mut process = Judge::start(
        &limits(vec![Limit::ErrorRate { max: 0 }]),
        1,
        Totals::default(),
    );
    let mut verdicts =
        (1..=300).map(|poll| process.add(&batch(arm(50, u64::from(poll % 100 == 0)), arm(50, 0))));
    assert_eq!(
        verdicts.position(|ruling| ruling.verdict == Verdict::Fail),
        Some(299)
    );
}

#[test]
fn limits_that_cannot_be_broken_never_fail() {
    let all_bad = batch(arm(1_000_000, 1_000_000), arm(1_000_000, 0));
    let everything_allowed = limits(vec![Limit::ErrorRate { max: 1_000_000 }]);
    let above_a_floor_of_all = limits(vec![Limit::RelativeErrorRate {
        factor: 2.0,
        floor: 1_000_000,
    }]);
    let certain = HealthLimits {
        confidence: 1_000_000,
        ..limits(vec![ERRORS, RELATIVE])
    };
    let table = [
        (everything_allowed, VerdictReason::WithinLimits),
        (above_a_floor_of_all, VerdictReason::WithinLimits),
        (certain, VerdictReason::OverLimit),
    ];
    for (limits, expected) in table {
        let mut process = Judge::start(&limits, 1, Totals::default());
        (0..1000).for_each(|_| _ = process.add(&all_bad));
        assert_eq!(process.ruling().reason, expected, "{limits:?}");
    }
}

#[test]
fn later_processes_of_a_release_ask_for_more() {
    let polls_to_fail = |number| {
        let mut process = Judge::start(&limits(vec![ERRORS]), number, Totals::default());
        (1..).find(|_| {
            process
                .add(&Batch {
                    seconds: 0.5,
                    ..batch(arm(50, 8), arm(50, 0))
                })
                .verdict
                == Verdict::Fail
        })
    };
    assert!(polls_to_fail(1) < polls_to_fail(1_000));
    assert_eq!(polls_to_fail(0), polls_to_fail(1));
}

#[test]
fn after_a_restart_of_the_operator_the_totals_go_on_and_the_evidence_starts_anew() {
    let limits = limits(vec![ERRORS, RELATIVE]);
    let mut before = Judge::start(&limits, 1, Totals::default());
    before.add(&batch(arm(80, 1), arm(800, 9)));
    let written = serde_json::to_value(before.totals()).unwrap();
    let read: Totals = serde_json::from_value(written).unwrap();
    let mut after = Judge::start(&limits, 2, read);
    assert_eq!(after.totals(), before.totals());
    assert_eq!(after.assessment().limits[0].evidence, "0%");

    let ruling = after.add(&batch(arm(20, 0), arm(100, 0)));
    assert_eq!(
        ruling.verdict,
        Verdict::Pass,
        "100 requests, 80 of them before the restart"
    );
}

#[test]
fn totals_of_four_figures_are_enough_to_go_on() {
    let read: Totals = serde_json::from_str(
        r#"{"grayRequests": 500, "stableRequests": 900, "grayErrors": 1, "stableErrors": 2}"#,
    )
    .unwrap();
    let mut process = Judge::start(&limits(vec![ERRORS, RELATIVE]), 2, read);
    assert_eq!(
        process.add(&batch(arm(1, 0), arm(1, 0))).verdict,
        Verdict::Pass
    );
}
