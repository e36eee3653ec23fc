//! What the judge costs per poll: one batch through the usual limits. `halftone simulate` pays it 3 600 times for
//! every half hour of a simulated release, the operator twice a second for every judged one.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use halftone_api::{
    health_limits::{HealthLimits, Limit},
    spec::Totals,
};
use halftone_rollout::judge::{ArmBatch, Batch, Judge, LatencyCounts, RequestCounts};

fn limits(limits: Vec<Limit>) -> HealthLimits {
    HealthLimits {
        confidence: 999_000,
        min_requests: 100,
        limits,
    }
}

fn batch(errors: u64) -> Batch {
    let counts = RequestCounts {
        requests: 50,
        errors,
        client_errors: 2,
    };
    let arm = ArmBatch {
        judged: counts,
        split: counts,
        latency: vec![LatencyCounts {
            within: 50,
            over: 0,
        }],
        ..ArmBatch::default()
    };
    Batch {
        seconds: 0.5,
        gray: arm.clone(),
        stable: arm,
        warm_up: false,
        complete: true,
        hold_over: false,
    }
}

/// The same with forty different latencies in each arm.
fn with_latencies(mut batch: Batch) -> Batch {
    for arm in [&mut batch.gray, &mut batch.stable] {
        for place in 0..40 {
            arm.latencies.add(512 + place, 1);
        }
    }
    batch
}

fn judge(criterion: &mut Criterion) {
    let four = vec![
        Limit::ErrorRate { max: 50_000 },
        Limit::Latency {
            quantile: 990_000,
            max: Duration::from_millis(500),
        },
        Limit::RelativeErrorRate {
            factor: 2.0,
            floor: 1_000,
        },
        Limit::RelativeClientErrorRate {
            factor: 2.0,
            floor: 10_000,
        },
    ];
    let mut five = four.clone();
    five.push(Limit::RelativeP99 { factor: 1.5 });

    let mut group = criterion.benchmark_group("judge");
    let mut bench = |name: &str, limits: &HealthLimits, batches: [Batch; 2]| {
        let mut process = Judge::start(limits, 1, Totals::default());
        let mut turn = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn ^= 1;
                black_box(process.add(black_box(&batches[turn])))
            });
        });
    };
    bench("batch, four limits", &limits(four), [batch(0), batch(1)]);
    bench(
        "batch, five limits",
        &limits(five.clone()),
        [batch(0), batch(1)].map(with_latencies),
    );
    let mut process = Judge::start(&limits(five), 1, Totals::default());
    process.add(&with_latencies(batch(1)));
    group.bench_function("assessment, five limits", |bencher| {
        bencher.iter(|| black_box(&process).assessment());
    });
    group.finish();
}

criterion_group!(benches, judge);
criterion_main!(benches);
