//! An outage that both arms share.

use halftone_api::spec::Verdict;
use halftone_rollout::judge::VerdictReason;

use crate::traffic::{ArmModel, ArmModels, POLL, SimulatedRelease, four_limits, simulate};

fn world(gray_share: f64, errors: f64) -> ArmModels {
    ArmModels {
        gray: ArmModel::new(100.0 * gray_share, errors),
        stable: ArmModel::new(100.0 * (1.0 - gray_share), errors),
    }
}

#[test]
fn a_shared_outage_of_twenty_seconds_is_survived() {
    for gray_share in [0.01, 0.1, 0.5, 0.9] {
        let failed = simulate(100, |run| {
            let mut release = SimulatedRelease::new(&four_limits(), 7, run);
            let (calm, outage) = (world(gray_share, 0.001), world(gray_share, 0.5));
            release.live_through(&calm, 300.0, &outage, 20.0).is_some()
                || release.live(&calm, 300.0).is_some()
        });
        let failed = failed.into_iter().filter(|failed| *failed).count();
        println!("shared outage at a gray share of {gray_share}: {failed} of 100 rolled back");
        assert!(failed <= 6, "at a gray share of {gray_share}: {failed}");
    }
}

#[test]
fn a_shared_outage_that_lasts_a_minute_is_held_against_gray_after_all() {
    let mut release = SimulatedRelease::new(&four_limits(), 7, 0);
    release.live(&world(0.5, 0.001), 60.0);
    let failed = release.live(&world(0.5, 0.5), 120.0).unwrap();
    assert!((60.0..65.0).contains(&failed), "{failed}");
    let assessment = release.process.assessment();
    assert_eq!(
        (assessment.verdict, assessment.reason),
        (Verdict::Fail, VerdictReason::BothArmsFailed)
    );
}

#[test]
fn while_both_arms_fail_the_clock_stands() {
    let mut release = SimulatedRelease::new(&four_limits(), 7, 0);
    release.live(&world(0.5, 0.5), 5.0);
    let ruling = release.process.ruling();
    assert_eq!(
        (ruling.verdict, ruling.reason),
        (Verdict::NeedMoreData, VerdictReason::BothArmsFailing)
    );

    release.live(&world(0.5, 0.001), 40.0);
    assert_ne!(
        release.process.ruling().reason,
        VerdictReason::BothArmsFailing,
        "recovered"
    );
}

#[test]
fn a_gray_that_stays_broken_when_stable_recovers_is_failed() {
    let mut release = SimulatedRelease::new(&four_limits(), 7, 0);
    release.live(&world(0.5, 0.5), 5.0);
    let only_gray = ArmModels {
        gray: ArmModel::new(50.0, 0.5),
        stable: ArmModel::new(50.0, 0.001),
    };
    let failed = release.live(&only_gray, 60.0).unwrap();
    assert!(failed <= 20.0 + POLL, "{failed}");
}

#[test]
fn an_outage_of_stable_that_is_over_does_not_excuse_gray() {
    let mut release = SimulatedRelease::new(&four_limits(), 7, 0);
    let calm = world(0.5, 0.001);
    let only_stable = ArmModels {
        stable: ArmModel::new(50.0, 0.5),
        ..calm
    };
    let only_gray = ArmModels {
        gray: ArmModel::new(50.0, 0.5),
        ..calm
    };
    release.live(&only_stable, 30.0);
    release.live(&calm, 30.0);
    let failed = release.live(&only_gray, 60.0).unwrap();
    assert!(failed <= 3.0, "{failed}");
}
