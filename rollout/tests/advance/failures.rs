//! The way back: verdicts, rollbacks, and what stands in their way.

use halftone_rollout::{events::Reason, judge::Verdict, request::Command, spec::Phase};
use halftone_routing::config::State;

use crate::world::World;

fn at_half() -> World {
    let mut world = World::new("");
    world.run_until_ratio("50%").run("5s");
    world
}

#[test]
fn a_fault_sends_everyone_back_within_two_seconds() {
    let mut world = at_half();
    world.traffic.gray_errors = 0.5;
    let fault = world.seconds();
    world.run_until_ratio("0%");
    assert!(world.seconds() - fault <= 2.0, "{}", world.seconds() - fault);
    assert_eq!(world.live().state, State::RolledBack);
    assert_eq!(world.count(Reason::RolledBack), 1);
    assert_eq!(world.status.rollback.as_ref().unwrap().reason, "LimitBroken");
    assert_eq!(world.status.verdict.as_ref().unwrap().result, Verdict::Fail, "the verdict stays to be seen");
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v1");
}

#[test]
fn errors_count_before_every_proxy_has_the_step() {
    let mut world = World::new("");
    world.run_until_ratio("0%");
    world.proxies[1].deaf = true;
    world.run_until_ratio("10%");
    world.traffic.gray_errors = 0.9;
    world.run("10s");
    assert_eq!(world.ratio(), "0%");
}

#[test]
fn a_proxy_that_never_takes_a_step_does_not_keep_latency_from_being_judged() {
    let slow = |warmup: &str| {
        let mut world = World::new(&format!("health: {{maxLatency: {{p99: 500ms}}, warmup: {warmup}}}"));
        world.run_until_ratio("0%");
        world.proxies[1].deaf = true;
        world.run_until_ratio("10%");
        world.traffic.gray_slow = 0.9;
        world
    };
    let mut world = slow("10s");
    world.run("59s");
    assert_eq!(world.ratio(), "10%", "it may be cold yet");
    world.run("5s");
    assert_eq!(world.ratio(), "0%", "the straggler's time is over");
    let mut world = slow("5m");
    world.run("299s");
    assert_eq!(world.ratio(), "10%", "a longer warm-up is kept");
    world.run("5s");
    assert_eq!(world.ratio(), "0%");
}

#[test]
fn a_rollback_waits_for_nobody_and_stragglers_delay_only_the_word() {
    let mut world = at_half();
    world.proxies[1].deaf = true;
    world.traffic.gray_errors = 0.5;
    world.run("2m");
    assert_eq!((world.ratio().as_str(), world.phase()), ("0%", Phase::RollingBack));
    assert_eq!(world.status.proxies.as_ref().unwrap().waiting_for, ["proxy-b"]);
    world.proxies[1].deaf = false;
    world.run("2s");
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn a_rolled_back_release_never_moves() {
    let mut world = at_half();
    world.traffic.gray_errors = 0.5;
    world.run_until_phase(Phase::RolledBack);
    world.traffic.gray_errors = 0.0;
    world.edit("steps: [{ratio: 1, hold: 1s}]").edit("targetRatio: 20").edit("health: {maxErrorRate: 50%}");
    world.edit("paused: true").edit("paused: false").run("10m");
    assert_eq!(world.path().last(), Some(&"0%"));
    assert_eq!(world.condition("Stalled"), "True/RolledBack");
    world.edit("gray: {version: v3}").run_until_ratio("20%");
}

#[test]
fn without_a_ready_stable_endpoint_the_ratio_freezes_until_there_is_one() {
    let mut world = at_half();
    world.stable_endpoints = 0;
    world.traffic.gray_errors = 0.5;
    world.run("10m");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.condition("Stalled"), "True/StableUnavailable");
    assert_eq!(world.condition("Ready"), "False/StableUnavailable");
    assert_eq!(world.count(Reason::StableUnavailable), 1);
    world.restart().run("10s");
    assert_eq!(world.ratio(), "50%");
    world.stable_endpoints = 1;
    world.run("1s");
    assert_eq!(world.ratio(), "0%", "the verdict outlives a restart");
}

#[test]
fn a_failure_only_pauses_if_the_spec_says_so() {
    let mut world = World::new("health: {onFailure: Pause}");
    world.run_until_ratio("50%");
    world.traffic.gray_errors = 0.5;
    world.run_until_phase(Phase::Paused).run("10m");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.condition("Healthy"), "False/LimitBroken");
    let process = world.status.verdict.as_ref().unwrap().process;
    assert_eq!(process, 2);
    world.restart().run("10s");
    assert_eq!(world.phase(), Phase::Paused, "a restart resumes nothing");
    assert_eq!(world.status.verdict.as_ref().unwrap().process, process);
    world.traffic.gray_errors = 0.0;
    world.must(Command::Resume);
    assert_eq!(world.status.verdict.as_ref().unwrap().process, process + 1);
    world.run_until_phase(Phase::Promoted);
}

#[test]
fn a_promoted_release_is_rolled_back_while_it_is_watched() {
    let mut world = World::new("");
    world.run_until_phase(Phase::Promoted).run("30m");
    world.traffic.gray_errors = 0.5;
    world.run_until_phase(Phase::RolledBack);
    let history: Vec<_> = world.status.history.iter().map(|entry| entry.outcome).collect();
    assert_eq!(history, [halftone_rollout::spec::Outcome::RolledBack], "one attempt, one entry");
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v1");
}

#[test]
fn when_both_arms_break_the_clock_stands_and_in_the_end_it_goes_back() {
    let mut world = at_half();
    world.traffic.gray_errors = 0.5;
    world.traffic.stable_errors = 0.5;
    world.run("20s");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.condition("Healthy"), "Unknown/BothArmsFailing");
    assert!(world.status.step.as_ref().unwrap().hold_left.is_some(), "the clock stands");
    world.run("60s");
    assert_eq!(world.ratio(), "0%");
    assert_eq!(world.status.rollback.as_ref().unwrap().reason, "BothArmsFailed");
}

#[test]
fn each_process_of_the_judge_has_a_number_of_its_own() {
    let mut world = World::new("");
    world.run_until_ratio("10%").run("1s");
    let process = |world: &World| world.status.verdict.as_ref().unwrap().process;
    assert_eq!(process(&world), 1);
    world.restart().run("1s");
    assert_eq!(process(&world), 2, "a start of the operator");
    world.edit("health: {maxErrorRate: 7%}").run("1s");
    assert_eq!(process(&world), 3, "a change of health");
    world.run_until_ratio("50%").run("1s");
    assert_eq!(process(&world), 4, "a stage");
    world.edit("gray: {version: v3}").run_until_ratio("10%").run("1s");
    assert_eq!(process(&world), 1, "another release has a promise of its own");
}

#[test]
fn totals_for_a_pass_go_on_after_a_restart() {
    let mut world = World::new("health: {minRequests: 1000}");
    world.run_until_ratio("10%").run("50s");
    let before = world.status.verdict.as_ref().unwrap().totals.gray_requests;
    assert!(before > 500, "{before}");
    world.restart().run("2s");
    let after = world.status.verdict.as_ref().unwrap().totals.gray_requests;
    assert!((before..before + 100).contains(&after), "{before} {after}");
    world.run("12s");
    assert_eq!(world.ratio(), "50%", "neither requests nor hold begin anew");
}
