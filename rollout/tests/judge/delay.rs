//! How quickly a fault is found.

use halftone_api::health_limits::{HealthLimits, Limit};

use crate::traffic::{
    ArmModel, ArmModels, SimulatedRelease, four_limits, limits, median_and_p99, simulate,
};

const TEN_MINUTES: f64 = 600.0;

/// Median and 99th percentile of the delay from the fault to the `Fail`.
fn delay(
    limits: &HealthLimits,
    good: &ArmModels,
    good_seconds: f64,
    bad: &ArmModels,
    runs: u64,
) -> (f64, f64) {
    let delays = simulate(runs, |run| {
        SimulatedRelease::new(limits, 1, run).live_through(good, good_seconds, bad, TEN_MINUTES)
    });
    median_and_p99(&delays)
}

/// The four limits with the comparison with stable put out of reach, so that a delay is that of `maxErrorRate`,
/// at the strictness that it has among four.
fn absolute_limits() -> HealthLimits {
    let mut limits = four_limits();
    limits.limits[2] = Limit::RelativeErrorRate {
        factor: 1e6,
        floor: 1_000_000,
    };
    limits
}

#[test]
fn faults_are_found_in_seconds() {
    // Share of errors, seconds good before, median, p99.
    let expected = [
        (0.50, 0.0, 1.3, 1.6),
        (0.20, 0.0, 1.4, 1.8),
        (0.05, 0.0, 3.5, 7.8),
        (0.02, 0.0, 28.0, 60.0),
        (0.50, TEN_MINUTES, 1.35, 1.7),
        (0.20, TEN_MINUTES, 1.6, 2.2),
        (0.05, TEN_MINUTES, 6.7, 13.0),
        (0.02, TEN_MINUTES, 59.0, 125.0),
    ];
    for (fault, good_seconds, median, p99) in expected {
        let good = ArmModels {
            gray: ArmModel::new(100.0, 0.001),
            stable: ArmModel::new(100.0, 0.001),
        };
        let bad = ArmModels {
            gray: ArmModel::new(100.0, fault),
            ..good
        };
        let found = delay(&absolute_limits(), &good, good_seconds, &bad, 1_000);
        println!(
            "{fault} errors after {good_seconds} s: median {:.2} s, p99 {:.2} s",
            found.0, found.1
        );
        assert!(
            found.0 <= 1.5 * median && found.1 <= 1.5 * p99,
            "{fault} after {good_seconds} s: {found:?}"
        );
        let with_comparison = delay(&four_limits(), &good, good_seconds, &bad, 200);
        println!(
            "  with versusStable: median {:.2} s, p99 {:.2} s",
            with_comparison.0, with_comparison.1
        );
        assert!(with_comparison.0 <= found.0 * 1.1);
    }
}

#[test]
fn little_traffic_takes_longer_and_finds_the_fault_all_the_same() {
    let mut defaults = four_limits();
    defaults.limits[0] = Limit::ErrorRate { max: 50_000 };
    for gray_rps in [1.0, 10.0, 100.0, 1_000.0] {
        for fault in [0.1, 0.2, 0.5, 1.0] {
            let good = ArmModels {
                gray: ArmModel::new(gray_rps, 0.001),
                stable: ArmModel::new(gray_rps * 9.0, 0.001),
            };
            let bad = ArmModels {
                gray: ArmModel::new(gray_rps, fault),
                ..good
            };
            let found = delay(&defaults, &good, TEN_MINUTES, &bad, 100);
            println!("default limits, {gray_rps} gray requests/s, {fault} errors: {found:?}");
            assert!(found.1.is_finite(), "{gray_rps}/s, {fault}");
        }
    }
}

#[test]
fn a_stable_near_the_limit_hides_no_fault_of_gray() {
    let good = ArmModels {
        gray: ArmModel::new(100.0, 0.009),
        stable: ArmModel::new(100.0, 0.009),
    };
    let bad = ArmModels {
        gray: ArmModel::new(100.0, 0.5),
        ..good
    };
    let found = delay(&absolute_limits(), &good, TEN_MINUTES, &bad, 500);
    println!("50 % errors, stable at nine tenths of the limit: {found:?}");
    assert!(found.0 <= 2.0 && found.1 <= 3.0, "{found:?}");
}

#[test]
fn a_gray_that_hangs_is_found_when_its_latency_limit_passes() {
    let good = ArmModels {
        gray: ArmModel::new(100.0, 0.0),
        stable: ArmModel::new(100.0, 0.0),
    };
    let bad = ArmModels {
        gray: ArmModel {
            over: 1.0,
            ..good.gray
        },
        ..good
    };
    let (_, p99) = delay(&four_limits(), &good, TEN_MINUTES, &bad, 200);
    assert!(p99 <= 2.0, "{p99}");
}

#[test]
fn relative_errors_are_found_at_every_gray_share_that_leaves_something_to_compare_with() {
    let relative = limits(vec![
        Limit::RelativeErrorRate {
            factor: 2.0,
            floor: 1_000
        };
        4
    ]);
    // Gray share, median at the start of a stage. At 99 % one stable request a second is all there is to compare
    // with, which takes its time.
    for (share, median) in [
        (0.01, 8.0),
        (0.5, 2.0),
        (0.9, 4.0),
        (0.95, 9.0),
        (0.99, 45.0),
    ] {
        let arm = |share: f64| ArmModel::new(100.0 * share, 0.001);
        let good = ArmModels {
            gray: arm(share),
            stable: arm(1.0 - share),
        };
        let bad = ArmModels {
            gray: ArmModel {
                errors: 0.5,
                ..good.gray
            },
            ..good
        };
        let found = delay(&relative, &good, 0.0, &bad, 300);
        let later = delay(&relative, &good, TEN_MINUTES, &bad, 100);
        println!("relative, gray share {share}: {found:?}; after ten minutes {later:?}");
        assert!(found.0 <= 1.5 * median, "gray share {share}: {found:?}");
        assert!(
            found.1.is_finite() && later.1.is_finite(),
            "gray share {share}"
        );
    }
}

#[test]
fn relative_limits_are_silent_without_a_baseline() {
    let relative = limits(vec![Limit::RelativeErrorRate {
        factor: 2.0,
        floor: 1_000,
    }]);
    let broken = ArmModels {
        gray: ArmModel::new(100.0, 1.0),
        stable: ArmModel::new(0.0, 0.0),
    };
    assert_eq!(
        SimulatedRelease::new(&relative, 8, 0).live(&broken, TEN_MINUTES),
        None
    );
}

/// An arm with log-normal latencies around so many ms, p99 2.5 times the median.
fn timed(rps: f64, median: f64) -> ArmModel {
    ArmModel {
        latency: Some((median, 0.4)),
        ..ArmModel::new(rps, 0.0)
    }
}

#[test]
fn a_slow_gray_is_found_beside_a_fast_stable() {
    let relative = limits(vec![Limit::RelativeP99 { factor: 1.5 }; 4]);
    for (rps, runs) in [(100.0, 200), (9_900.0, 10)] {
        for (times, median) in [(2.0, 8.0), (3.0, 2.0)] {
            let good = ArmModels {
                gray: timed(rps, 50.0),
                stable: timed(rps, 50.0),
            };
            let bad = ArmModels {
                gray: timed(rps, 50.0 * times),
                ..good
            };
            let found = delay(&relative, &good, 0.0, &bad, runs);
            println!("p99 {times} times stable's at {rps}/s: {found:?}");
            assert!(
                found.0 <= 1.5 * median,
                "{times} times at {rps}/s: {found:?}"
            );
        }
    }
}

#[test]
fn a_slowness_that_both_arms_share_is_not_grays() {
    let relative = limits(vec![Limit::RelativeP99 { factor: 1.5 }; 4]);
    let good = ArmModels {
        gray: timed(100.0, 50.0),
        stable: timed(100.0, 50.0),
    };
    let slow = ArmModels {
        gray: timed(100.0, 150.0),
        stable: timed(100.0, 150.0),
    };
    let failed = simulate(50, |run| {
        SimulatedRelease::new(&relative, 9, run).live_through(&good, 60.0, &slow, 300.0)
    });
    assert_eq!(failed.iter().flatten().count(), 0);
}
