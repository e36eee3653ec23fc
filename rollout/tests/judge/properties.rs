//! What holds for every traffic and every limit.

use std::time::Duration;

use halftone_api::{
    health_limits::Limit,
    spec::{Totals, Verdict},
};
use halftone_rollout::judge::{ArmBatch, Batch, Judge, LatencyCounts, RequestCounts};
use halftone_routing::histogram::{Histogram, bucket};
use proptest::prelude::*;

use crate::{formula::Formula, traffic::limits};

fn a_count() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        0_u64..100,
        0_u64..1_000_000,
        any::<u64>().prop_map(|n| n >> 2)
    ]
}

fn counts() -> impl Strategy<Value = RequestCounts> {
    // Contradictions included: more errors than requests.
    (a_count(), a_count(), a_count()).prop_map(|(requests, errors, client_errors)| RequestCounts {
        requests,
        errors: errors % (requests.saturating_add(2)),
        client_errors: client_errors % (requests.saturating_add(2)),
    })
}

fn an_arm() -> impl Strategy<Value = ArmBatch> {
    let latency = prop::collection::vec((a_count(), a_count()), 0..3);
    let latencies = prop::collection::vec((0_u64..10_000_000, 1_u64..50), 0..20);
    (counts(), counts(), latency, latencies).prop_map(|(judged, split, latency, micros)| {
        let mut latencies = Histogram::default();
        for (micros, count) in micros {
            latencies.add(bucket(Duration::from_micros(micros)), count);
        }
        let latency = latency
            .into_iter()
            .map(|(within, over)| LatencyCounts { within, over })
            .collect();
        ArmBatch {
            judged,
            split,
            latency,
            latencies,
            ..ArmBatch::default()
        }
    })
}

fn a_batch() -> impl Strategy<Value = Batch> {
    let seconds = prop_oneof![
        Just(0.5),
        0.0..100.0,
        prop::sample::select(vec![
            0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            1e300,
            f64::MIN_POSITIVE
        ])
    ];
    (seconds, an_arm(), an_arm(), any::<[bool; 3]>()).prop_map(|(seconds, gray, stable, flags)| {
        let [warm_up, complete, hold_over] = flags;
        Batch {
            seconds,
            gray,
            stable,
            warm_up,
            complete,
            hold_over,
        }
    })
}

fn a_rate() -> impl Strategy<Value = u32> {
    prop_oneof![
        prop::sample::select(vec![0, 1, 10_000, 999_999, 1_000_000]),
        0_u32..=1_000_000
    ]
}

fn some_limits() -> impl Strategy<Value = Vec<Limit>> {
    let factor = || prop_oneof![Just(1.0), 1.0..100.0_f64, Just(1e9)];
    let limit = prop_oneof![
        a_rate().prop_map(|max| Limit::ErrorRate { max }),
        a_rate().prop_map(|quantile| Limit::Latency {
            quantile,
            max: Duration::from_millis(500)
        }),
        (factor(), a_rate()).prop_map(|(factor, floor)| Limit::RelativeErrorRate { factor, floor }),
        (factor(), a_rate())
            .prop_map(|(factor, floor)| Limit::RelativeClientErrorRate { factor, floor }),
        factor().prop_map(|factor| Limit::RelativeP99 { factor }),
    ];
    prop::collection::vec(limit, 0..6)
}

proptest! {
    #[test]
    fn evidence_is_a_number_whatever_is_counted(
        some in some_limits(),
        confidence in a_rate(),
        number in any::<u32>(),
        batches in prop::collection::vec(a_batch(), 1..40),
    ) {
        let limits = halftone_api::health_limits::HealthLimits { confidence, ..limits(some) };
        let mut process = Judge::start(&limits, number, Totals::default());
        for batch in &batches {
            process.add(batch);
            let assessment = process.assessment();
            prop_assert!(!assessment.message.is_empty() && !assessment.message.contains("NaN"));
            for figure in assessment.limits {
                prop_assert!(figure.ln_e.is_finite(), "{figure:?}");
            }
        }
    }

    #[test]
    fn a_process_that_was_written_down_goes_on_as_if_nothing_had_happened(
        some in some_limits(),
        batches in prop::collection::vec(a_batch(), 2..30),
    ) {
        let mut process = Judge::start(&limits(some), 1, Totals::default());
        let (first, rest) = batches.split_at(batches.len() / 2);
        first.iter().for_each(|batch| _ = process.add(batch));
        let written = serde_json::to_string(&process).unwrap();
        let mut read: Judge = serde_json::from_str(&written).unwrap();
        for batch in rest {
            prop_assert_eq!(read.add(batch), process.add(batch));
        }
    }

    #[test]
    fn neither_the_order_of_the_proxies_answers_nor_how_requests_fell_on_proxies_matters(
        some in some_limits(),
        (answers, shuffled) in prop::collection::vec((an_arm(), an_arm()), 1..8)
            .prop_flat_map(|answers| (Just(answers.clone()), Just(answers).prop_shuffle())),
    ) {
        let poll = |answers: &[(ArmBatch, ArmBatch)]| {
            let mut batch = Batch { seconds: 0.5, complete: true, ..Batch::default() };
            answers.iter().for_each(|(gray, stable)| batch.merge(gray, stable));
            batch
        };
        // One proxy that saw everything answers with the sum.
        let sum = poll(&answers);
        let one = poll(&[(sum.gray.clone(), sum.stable.clone())]);
        let limits = limits(some);
        let judge = |batch: &Batch| {
            let mut process = Judge::start(&limits, 1, Totals::default());
            (0..4).for_each(|_| _ = process.add(batch));
            process
        };
        prop_assert_eq!(judge(&poll(&shuffled)), judge(&sum));
        prop_assert_eq!(judge(&one), judge(&sum));
    }

    /// Where no batch says more than it may, the judge's figures are those of the formula.
    #[test]
    fn quiet_evidence_is_that_of_the_formula(
        limit in 1_000_u32..100_000,
        batches in prop::collection::vec((0_u64..50, 0.0..0.03_f64), 1..300),
    ) {
        let mut process = Judge::start(&limits(vec![Limit::ErrorRate { max: limit }]), 1, Totals::default());
        let mut formula = Formula::new(f64::from(limit) / 1e6);
        for (requests, share) in batches {
            let judged = RequestCounts { requests, errors: (requests as f64 * share) as u64, client_errors: 0 };
            let gray = ArmBatch { judged, ..ArmBatch::default() };
            process.add(&Batch { seconds: 0.5, gray, ..Batch::default() });
            let expected = formula.add(judged.errors, judged.requests);
            if process.ruling().verdict == Verdict::Fail {
                break;
            }
            let got = process.assessment().limits[0].ln_e;
            prop_assert!((got - expected).abs() < 1e-9, "{got} for {expected}");
        }
    }
}
