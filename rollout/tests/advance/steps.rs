//! The way up: steps, holds, approvals, windows, patience, the target and the watch after it.

use std::num::NonZeroU32;

use halftone_api::spec::Phase;
use halftone_rollout::{command_request::ReleaseCommand, events::EventReason};

use crate::world::ModelWorld;

/// Seconds between two ratios going live.
fn gaps(world: &ModelWorld) -> Vec<f64> {
    world
        .ratios
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect()
}

#[test]
fn a_healthy_release_climbs_its_steps_and_is_promoted() {
    let mut world = ModelWorld::new("");
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
    assert!(
        gaps(&world)[1..]
            .iter()
            .all(|held| (60.0..62.5).contains(held)),
        "{:?}",
        world.ratios
    );
    assert_eq!(world.count(EventReason::StepStarted), 3);
    assert_eq!(world.count(EventReason::Promoted), 1);
    assert_eq!(world.status.history[0].version, "v2");
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v2");
    assert_eq!(
        world.status.serving.as_ref().unwrap().service,
        "checkout-v2"
    );
}

#[test]
fn a_hold_counts_from_the_acknowledgement_of_every_proxy() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("0%");
    world.proxies[1].deaf = true;
    world.run_until_ratio("10%").run("10m");
    assert_eq!(world.ratio(), "10%");
    assert_eq!(world.phase(), Phase::Programming);
    let step = world.status.step.clone().unwrap();
    assert_eq!(
        (step.hold_ends_at, step.hold_left.as_deref()),
        (None, Some("1m"))
    );
    world.proxies[1].deaf = false;
    let acknowledged = world.seconds();
    world.run_until_ratio("50%");
    assert!((60.0..63.0).contains(&(world.seconds() - acknowledged)));
}

#[test]
fn a_step_that_needs_approval_waits_for_it_for_ever() {
    let mut world =
        ModelWorld::new("steps: [{ratio: 10, hold: 1m, approval: true}, {ratio: 100, hold: 1m}]");
    world.run_until_phase(Phase::AwaitingApproval).run("10m");
    assert_eq!(world.ratio(), "10%");
    assert_eq!(world.count(EventReason::AwaitingApproval), 1);
    world
        .must(ReleaseCommand::Approve(None))
        .run_until_ratio("100%");
}

#[test]
fn an_approval_before_the_end_of_the_hold_is_remembered() {
    let mut world =
        ModelWorld::new("steps: [{ratio: 10, hold: 1m, approval: true}, {ratio: 100, hold: 1m}]");
    world
        .run_until_ratio("10%")
        .run("5s")
        .must(ReleaseCommand::Approve(NonZeroU32::new(1)))
        .run("50s");
    assert_eq!(world.ratio(), "10%", "the hold is not cut short");
    assert!(world.status.step.as_ref().unwrap().approved);
    world.run("10s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn an_approval_is_bound_to_its_step() {
    let mut world = ModelWorld::new(
        "steps: [{ratio: 10, hold: 1m, approval: true}, {ratio: 50, hold: 1m, approval: true}, {ratio: 100, hold: 1m}]",
    );
    world
        .run_until_ratio("10%")
        .must(ReleaseCommand::Approve(NonZeroU32::new(1)))
        .run_until_ratio("50%")
        .run("5m");
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    assert_eq!(world.ratio(), "50%");
}

#[test]
fn the_target_has_the_approval_of_its_own_step() {
    let mut world = ModelWorld::new("steps: [{ratio: 100, hold: 1m, approval: true}]");
    world.run_until_ratio("100%").run("10m");
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    world.must(ReleaseCommand::Approve(None));
    assert_eq!(world.phase(), Phase::Promoted);
}

#[test]
fn a_target_that_is_no_step_is_held_for_five_minutes() {
    let mut world =
        ModelWorld::new("{targetRatio: 30, steps: [{ratio: 10, hold: 1m}, {ratio: 50, hold: 1h}]}");
    world.run_until_phase(Phase::TargetReached);
    assert_eq!(world.path(), ["0%", "10%", "30%"]);
    let held = world.seconds() - world.ratios[2].0;
    assert!((300.0..303.0).contains(&held), "{held}");
    assert_eq!(world.count(EventReason::TargetReached), 1);
    assert_eq!(
        world.status.serving.as_ref().unwrap().version,
        "v1",
        "30% are not everyone"
    );
}

#[test]
fn a_raised_target_goes_on_from_the_reached_one() {
    let mut world = ModelWorld::new("targetRatio: 10");
    world
        .run_until_phase(Phase::TargetReached)
        .run("2h")
        .edit("targetRatio: 100");
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
    assert_eq!(world.status.history.len(), 1, "one attempt, one entry");
}

#[test]
fn a_target_raised_after_promote_holds_what_promote_skipped() {
    let steps = "steps: [{ratio: 10, hold: 1m}, {ratio: 30, hold: 1m}, {ratio: 50, hold: 1m}]";
    let mut world = ModelWorld::new(&format!(
        "{{targetRatio: 30, {steps}, health: {{enabled: false}}}}"
    ));
    world.run_until_ratio("10%").must(ReleaseCommand::Promote);
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::TargetReached, "30%")
    );
    world
        .run("20s")
        .edit("targetRatio: 100")
        .restart()
        .run_until_ratio("50%");
    let held = world.seconds() - world.ratios[2].0;
    assert!((60.0..63.0).contains(&held), "{held}");
}

#[test]
fn a_target_raised_after_a_hotfix_holds_anew() {
    let mut world = ModelWorld::new("targetRatio: 10");
    world
        .run_until_phase(Phase::TargetReached)
        .run("2h")
        .edit("stable: {version: v1.1}");
    let began = world.seconds();
    world.edit("targetRatio: 100").run_until_ratio("50%");
    let held = world.seconds() - began;
    assert!((60.0..63.0).contains(&held), "{held}");
}

#[test]
fn a_target_of_zero_waits_idle() {
    let mut world = ModelWorld::new("targetRatio: 0");
    world.run("1h");
    assert_eq!((world.phase(), world.ratio().as_str()), (Phase::Idle, "0%"));
    assert!(!world.live().moving);
    world
        .edit("targetRatio: 10")
        .run_until_phase(Phase::TargetReached);
    assert_eq!(world.path(), ["0%", "10%"]);
}

#[test]
fn a_step_at_zero_holds_before_the_first_user() {
    let mut world = ModelWorld::new("steps: [{ratio: 0, hold: 10m}, {ratio: 100, hold: 1m}]");
    world.run_until_ratio("100%");
    assert!(
        (600.0..603.0).contains(&world.seconds()),
        "{}",
        world.seconds()
    );
}

#[test]
fn steps_up_wait_for_the_window_and_ask_for_fresh_reports_first() {
    // The world begins on a Saturday.
    let mut world = ModelWorld::new(
        "schedule: {timeZone: Asia/Shanghai, windows: [{days: [Mon], from: '09:00', to: '18:00'}]}",
    );
    world.run("1h");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::AwaitingWindow, "0%")
    );
    assert_eq!(world.count(EventReason::AwaitingWindow), 1);
    let nearly = "2026-11-23T00:59:45Z".parse().unwrap();
    world.run_until("open", |world| world.wall >= nearly);
    world.proxies[0].silent = true;
    world.run("15500ms");
    assert_eq!(
        world.ratio(),
        "0%",
        "a proxy has not reported since the window opened"
    );
    world.proxies[0].silent = false;
    world.run("2s");
    assert_eq!(world.ratio(), "10%");
}

#[test]
fn a_window_does_not_delay_the_end_of_the_last_step() {
    let mut world = ModelWorld::new(
        "{steps: [{ratio: 100, hold: 2h}], schedule: {timeZone: UTC, windows: [{days: [Sat], from: '12:00', to: '13:00'}]}}",
    );
    world.run_until_phase(Phase::Promoted);
    assert!(world.seconds() < 2.1 * 3600.0);
}

#[test]
fn a_wall_clock_that_jumps_neither_skips_nor_repeats_a_step() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%").run("30s");
    let honest = world.wall;
    world.wall = "2030-01-01T00:00:00Z".parse().unwrap();
    world.run("20s");
    assert_eq!(world.ratio(), "10%");
    world.wall = "2001-01-01T00:00:00Z".parse().unwrap();
    world.run("20s");
    assert_eq!(world.ratio(), "50%");
    world.wall = honest;
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
    assert!(world.seconds() < 190.0);
}

#[test]
fn without_traffic_a_release_waits_and_says_so() {
    let mut world = ModelWorld::new("health: {patience: 10m}");
    world.traffic.rps = 0.0;
    world.run_until_phase(Phase::AwaitingTraffic);
    assert_eq!(world.condition("Progressing"), "True/AwaitingVerdict");
    world.run("11m");
    assert_eq!(world.condition("Progressing"), "False/TooLittleTraffic");
    assert_eq!(world.condition("Ready"), "True/AwaitingVerdict");
    assert_eq!(world.count(EventReason::NoVerdict), 1);
    world.traffic.rps = 200.0;
    world.run_until_ratio("50%");
}

#[test]
fn a_rate_above_its_limit_that_nobody_can_be_sure_of_is_no_pass() {
    let mut world =
        ModelWorld::new("health: {maxErrorRate: 5%, versusStable: {enabled: false}, patience: 1m}");
    world.traffic = crate::world::ModelTraffic {
        rps: 30.0,
        gray_errors: 0.055,
        ..world.traffic
    };
    world.run("4m");
    assert_eq!(world.ratio(), "10%");
    assert_eq!(world.condition("Progressing"), "False/OverLimit");
}

#[test]
fn what_stays_inconclusive_pauses_if_the_spec_says_so() {
    let mut world = ModelWorld::new("health: {patience: 10m, onInconclusive: Pause}");
    world.traffic.rps = 0.0;
    world.run_until_phase(Phase::Paused);
    assert_eq!(world.count(EventReason::Paused), 1);
    assert!(
        (660.0..670.0).contains(&world.seconds()),
        "{}",
        world.seconds()
    );
    world.must(ReleaseCommand::Resume).run("9m");
    assert_eq!(
        world.phase(),
        Phase::AwaitingTraffic,
        "patience begins anew"
    );
    world.run("2m");
    assert_eq!(world.phase(), Phase::Paused);
}

#[test]
fn what_stays_inconclusive_rolls_back_if_the_spec_says_so() {
    let mut world = ModelWorld::new("health: {patience: 10m, onInconclusive: Rollback}");
    world.traffic.rps = 0.0;
    world.run_until_phase(Phase::RolledBack);
    assert_eq!(
        world.status.rollback.as_ref().unwrap().reason,
        "TooLittleTraffic"
    );
}

#[test]
fn lost_reports_are_no_reason_to_roll_back_for_want_of_a_verdict() {
    let mut world = ModelWorld::new("health: {patience: 10m, onInconclusive: Rollback}");
    world.run_until_ratio("10%").run("50s");
    world.proxies[1].silent = true;
    world.run("12m");
    assert_eq!(world.ratio(), "10%");
    world.proxies[1].silent = false;
    world.run_until_ratio("50%");
}

#[test]
fn without_health_the_steps_go_by_time_alone() {
    let mut world = ModelWorld::new("health: {enabled: false}");
    world.traffic.gray_errors = 1.0;
    world.run_until_phase(Phase::Promoted);
    assert!(world.status.verdict.is_none());
    assert_eq!(world.condition("Healthy"), "Unknown/Disabled");
}

#[test]
fn the_watch_ends_and_nothing_is_judged_after_it() {
    let mut world = ModelWorld::new("health: {watch: 10m}");
    world.run_until_phase(Phase::Promoted).run("9m");
    assert!(world.progress.is_judged(world.now()));
    world.run("2m");
    assert!(!world.progress.is_judged(world.now()));
    world.traffic.gray_errors = 1.0;
    world.run("1h");
    assert_eq!(world.phase(), Phase::Promoted);
}

#[test]
fn gray_without_a_ready_endpoint_gets_nobody() {
    let mut world = ModelWorld::new("");
    world.gray_endpoints = 0;
    world.run("1h");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Pending, "0%")
    );
    assert_eq!(world.condition("Progressing"), "False/GrayUnavailable");
    world.gray_endpoints = 1;
    world.run_until_ratio("10%");
}

#[test]
fn a_reference_that_leads_nowhere_keeps_the_ratio() {
    let mut world = ModelWorld::new("");
    let overlap = halftone_api::Obstacle::new("ArmsOverlap", "a pod is in both arms");
    world.unresolved = Some(overlap);
    world.run("1h");
    assert_eq!(world.ratio(), "0%");
    assert_eq!(world.condition("ResolvedRefs"), "False/ArmsOverlap");
    assert_eq!(world.condition("Ready"), "False/ArmsOverlap");
    assert_eq!(world.condition("Reconciling"), "True/ArmsOverlap");
    assert_eq!(world.count(EventReason::RefsUnresolved), 1);
}

#[test]
fn a_paused_release_stays_and_is_still_judged() {
    let mut world = ModelWorld::new("paused: true");
    world.run("1h");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Paused, "0%")
    );
    world
        .edit("paused: false")
        .run_until_ratio("10%")
        .edit("paused: true")
        .run("5m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Paused, "10%")
    );
    world.traffic.gray_errors = 0.5;
    world.run_until_phase(Phase::RolledBack);
}
