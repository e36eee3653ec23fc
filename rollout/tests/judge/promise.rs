//! The promise: a release within its limits is hardly ever rolled back, whatever its traffic looks like.

use halftone_api::health_limits::{HealthLimits, Limit};
use rand_distr::{Beta, Distribution};

use crate::{
    formula::Formula,
    traffic::{ArmModel, ArmModels, POLL, SimulatedRelease, four_limits, limits, simulate},
};

const HALF_AN_HOUR: f64 = 1800.0;
/// ln of 1/α of four limits in the first process, at 99.9 % confidence.
const NEEDED: f64 = 8.987;

/// How many of so many half hours in one world end in a rollback.
fn rolled_back(limits: &HealthLimits, world: &ArmModels, runs: u64) -> usize {
    simulate(runs, |run| {
        SimulatedRelease::new(limits, 2, run)
            .live(world, HALF_AN_HOUR)
            .is_some()
    })
    .into_iter()
    .filter(|failed| *failed)
    .count()
}

/// Both arms at this share of every absolute limit.
fn at(share: f64) -> ArmModels {
    let arm = ArmModel {
        over: 0.01 * share,
        client_errors: 0.03,
        ..ArmModel::new(100.0, 0.01 * share)
    };
    ArmModels {
        gray: arm,
        stable: arm,
    }
}

#[test]
fn a_release_at_half_its_limits_is_not_rolled_back() {
    let failed = rolled_back(&four_limits(), &at(0.5), 10_000);
    println!("both arms at half the limits: {failed} of 10000 rolled back");
    assert!(failed <= 10);
}

#[test]
fn a_release_at_nine_tenths_of_its_limits_is_not_rolled_back() {
    let failed = rolled_back(&four_limits(), &at(0.9), 10_000);
    println!("both arms at nine tenths of the limits: {failed} of 10000 rolled back");
    assert!(failed <= 10);
}

#[test]
fn a_release_exactly_at_its_limits_is_hardly_ever_rolled_back() {
    let failed = rolled_back(&four_limits(), &at(1.0), 10_000);
    println!("both arms exactly at the limits: {failed} of 10000 rolled back");
    assert!(failed <= 10);
}

#[test]
fn a_gray_exactly_at_every_limit_beside_a_better_stable_is_hardly_ever_rolled_back() {
    let gray = ArmModel {
        over: 0.01,
        client_errors: 0.04,
        ..ArmModel::new(100.0, 0.01)
    };
    let stable = ArmModel {
        over: 0.001,
        client_errors: 0.02,
        ..ArmModel::new(100.0, 0.005)
    };
    let failed = rolled_back(&four_limits(), &ArmModels { gray, stable }, 4_000);
    println!("gray at every limit, relative ones too: {failed} of 4000 rolled back");
    assert!(failed <= 4);
}

#[test]
fn identical_arms_are_not_rolled_back_at_any_gray_share() {
    let relative = limits(vec![
        Limit::RelativeErrorRate {
            factor: 2.0,
            floor: 1_000
        };
        4
    ]);
    for share in [0.01, 0.5, 0.9, 0.94, 0.95, 0.96, 0.99, 1.0] {
        let arm = |share: f64| ArmModel::new(100.0 * share, 0.01);
        let failed = rolled_back(
            &relative,
            &ArmModels {
                gray: arm(share),
                stable: arm(1.0 - share),
            },
            300,
        );
        assert_eq!(failed, 0, "at a gray share of {share}");
    }
}

/// Errors that come together: each second has its own error rate, drawn around half the limit.
#[test]
fn errors_that_come_together_do_not_pass_for_many_independent_ones() {
    let (mean, correlation) = (0.005, 0.03);
    let sum: f64 = 1.0 / correlation - 1.0;
    let rates = Beta::new(mean * sum, (1.0 - mean) * sum).unwrap();
    let runs = 400;
    let failed = simulate(runs, |run| {
        let mut release = SimulatedRelease::new(&four_limits(), 5, run);
        let mut unlimited = Formula::new(0.01);
        let (mut judge, mut formula) = (false, false);
        for _ in 0..HALF_AN_HOUR as u64 {
            let gray = ArmModel::new(100.0, rates.sample(&mut release.chance));
            let world = ArmModels {
                gray,
                stable: ArmModel::new(100.0, mean),
            };
            for _ in 0..2 {
                release.pass(&world, POLL);
                let seen = release.gray();
                judge |= release.poll();
                formula |= unlimited.add(seen.errors, seen.requests) >= NEEDED;
            }
        }
        (judge, formula)
    });
    let judge = failed.iter().filter(|(judge, _)| *judge).count();
    let formula = failed.iter().filter(|(_, formula)| *formula).count();
    println!(
        "correlated errors at half the limit: {judge} of {runs} rolled back; if a batch could decide alone {formula}"
    );
    assert!(judge as f64 <= 0.13 * runs as f64);
    assert!(formula as f64 >= 0.5 * runs as f64);
}

#[test]
fn a_burst_of_half_a_second_every_five_minutes_rolls_nothing_back() {
    let runs = 200;
    let calm = ArmModels {
        gray: ArmModel::new(100.0, 0.001),
        stable: ArmModel::new(100.0, 0.001),
    };
    let burst = ArmModels {
        gray: ArmModel::new(100.0, 0.5),
        ..calm
    };
    let failed = simulate(runs, |run| {
        let mut release = SimulatedRelease::new(&four_limits(), 6, run);
        let mut unlimited = Formula::new(0.01);
        let phase = (run as f64 + 0.5) / runs as f64 * POLL;
        let (mut judge, mut formula) = (false, false);
        let polls = (HALF_AN_HOUR / POLL) as u64;
        for poll in 1..=polls {
            // The burst ends somewhere within one poll and began as far into the one before.
            let (first, then) = match poll % 600 {
                598 => (&calm, &burst),
                599 => (&burst, &calm),
                _ => (&calm, &calm),
            };
            release.pass(first, phase);
            release.pass(then, POLL - phase);
            let seen = release.gray();
            judge |= release.poll();
            formula |= unlimited.add(seen.errors, seen.requests) >= NEEDED;
        }
        (judge, formula)
    });
    let judge = failed.iter().filter(|(judge, _)| *judge).count();
    let formula = failed.iter().filter(|(_, formula)| *formula).count();
    println!("bursts: {judge} of {runs} rolled back; if a batch could decide alone {formula}");
    assert_eq!((judge, formula), (0, 200));
}
