//! What a person asks for, and the answers.

use std::num::NonZeroU32;

use halftone_api::spec::{Phase, ReleaseOutcome, RequestResult};
use halftone_rollout::{command_request::ReleaseCommand, events::EventReason};
use halftone_routing::document::ReleaseState;

use crate::world::ModelWorld;

fn at_half() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("30s");
    world
}

fn refused(world: &mut ModelWorld, command: ReleaseCommand, why: &str) {
    let answer = world.ask(command);
    assert_eq!(answer.result, RequestResult::Refused, "{}", answer.message);
    assert!(answer.message.contains(why), "{}", answer.message);
}

fn step(number: u32) -> ReleaseCommand {
    ReleaseCommand::Approve(NonZeroU32::new(number))
}

#[test]
fn a_request_fires_once_and_takes_its_token_with_it() {
    let mut world = at_half();
    let token = world.progress.request_token().to_owned();
    let answer = world.ask(ReleaseCommand::Pause);
    assert_eq!(
        (answer.result.known(), world.status.paused),
        (Some(RequestResult::Done), true)
    );
    assert_ne!(world.progress.request_token(), token);
    // The annotation is still there, as Git would keep it.
    world.must(ReleaseCommand::Resume);
    world.request = Some(format!("pause@{token}"));
    world.run("5s");
    assert!(!world.status.paused);
    assert_eq!(
        world.status.last_handled_request.as_ref().unwrap().result,
        RequestResult::Stale
    );
    assert_eq!(
        world.count(EventReason::RequestStale),
        1,
        "answered once, not at every turn"
    );
}

#[test]
fn a_request_is_answered_once_also_after_a_restart() {
    let mut world = at_half();
    world.must(ReleaseCommand::Pause);
    let token = world.progress.request_token().to_owned();
    world.restart().run("5s");
    assert_eq!(world.progress.request_token(), token);
    assert_eq!(world.count(EventReason::RequestDone), 1);
}

#[test]
fn every_attempt_and_every_release_has_another_token() {
    let mut world = at_half();
    let first = world.progress.request_token().to_owned();
    world.edit("gray: {version: v3}");
    assert_ne!(world.progress.request_token(), first);
    let other = ModelWorld::new("");
    assert_ne!(other.progress.request_token(), first);
}

#[test]
fn a_stale_or_unreadable_request_leaves_the_token_to_those_who_have_it() {
    let mut world = at_half();
    let token = world.progress.request_token().to_owned();
    assert_eq!(world.ask_as("promote@old").result, RequestResult::Stale);
    assert_eq!(world.ask_as("explode").result, RequestResult::Refused);
    assert_eq!(world.progress.request_token(), token);
    assert_eq!(world.ratio(), "50%");
}

#[test]
fn approve_is_refused_where_nothing_waits_for_it() {
    let mut world = ModelWorld::new(
        "steps: [{ratio: 10, hold: 1m, approval: true}, {ratio: 50, hold: 1m}, {ratio: 100, hold: 1m}]",
    );
    world.run_until_ratio("10%");
    refused(
        &mut world,
        step(2),
        "step 2 has not begun, the release is at step 1",
    );
    world.must(step(1)).run_until_ratio("50%");
    refused(
        &mut world,
        step(1),
        "step 1 is over, the release is at step 2",
    );
    refused(
        &mut world,
        ReleaseCommand::Approve(None),
        "step 2 asks for no approval",
    );
    world.run_until_phase(Phase::Promoted);
    refused(&mut world, ReleaseCommand::Approve(None), "not on its way");
}

#[test]
fn a_second_approve_never_approves_a_gate_that_nobody_has_seen() {
    let gate = |ratio: u32| format!("{{ratio: {ratio}, hold: 1m, approval: true}}");
    let mut world = ModelWorld::new(&format!(
        "steps: [{}, {}, {}]",
        gate(10),
        gate(50),
        gate(100)
    ));
    world
        .run_until_phase(Phase::AwaitingApproval)
        .must(ReleaseCommand::Approve(None));
    assert_eq!(world.ratio(), "50%", "the same turn goes on");
    world.run("1s");
    refused(
        &mut world,
        ReleaseCommand::Approve(None),
        "the hold of step 2 is not over yet",
    );
    refused(
        &mut world,
        ReleaseCommand::Approve(None),
        "name it: --step 2, or approve/2",
    );
    world.run("10m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::AwaitingApproval, "50%")
    );
}

#[test]
fn approve_without_a_number_waits_until_every_proxy_has_the_step() {
    let gate = |ratio: u32| format!("{{ratio: {ratio}, hold: 0s, approval: true}}");
    let steps = format!("steps: [{}, {}, {}]", gate(10), gate(50), gate(100));
    let mut world = ModelWorld::new(&format!("{{health: {{enabled: false}}, {steps}}}"));
    world
        .run_until_phase(Phase::AwaitingApproval)
        .must(ReleaseCommand::Approve(None));
    assert_eq!(world.ratio(), "50%", "the same turn goes on");
    refused(
        &mut world,
        ReleaseCommand::Approve(None),
        "not every proxy has step 2 yet; to approve it ahead, name it",
    );
    world.proxies[1].silent = true;
    world.proxies[1].missed = 3;
    world.run("10s");
    refused(&mut world, ReleaseCommand::Approve(None), "not every proxy");
    world.proxies[1].silent = false;
    world
        .run_until_phase(Phase::AwaitingApproval)
        .must(ReleaseCommand::Pause);
    refused(
        &mut world,
        ReleaseCommand::Approve(None),
        "the release is paused",
    );
    world
        .must(ReleaseCommand::Resume)
        .must(ReleaseCommand::Approve(None));
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn approve_without_a_number_waits_for_the_verdict_that_comes_first() {
    let mut world =
        ModelWorld::new("steps: [{ratio: 10, hold: 1m, approval: true}, {ratio: 100, hold: 1m}]");
    world.traffic.rps = 0.0;
    world.run_until_phase(Phase::AwaitingTraffic);
    refused(
        &mut world,
        ReleaseCommand::Approve(None),
        "step 1 still waits for its verdict",
    );
    let answer = world.ask(step(1));
    assert_eq!(
        (answer.result.known(), answer.message.as_str()),
        (
            Some(RequestResult::Done),
            "step 1 may go on once it has its verdict"
        )
    );
    world.traffic.rps = 200.0;
    world.run_until_ratio("100%");
}

#[test]
fn a_step_is_approved_without_a_number_once() {
    let closed = "schedule: {timeZone: UTC, windows: [{days: [Sat], from: '12:00', to: '12:01'}]}";
    let mut world = ModelWorld::new(&format!(
        "{{{closed}, steps: [{{ratio: 10, hold: 2m, approval: true}}]}}"
    ));
    world
        .run_until_phase(Phase::AwaitingApproval)
        .must(ReleaseCommand::Approve(None))
        .run("10m");
    refused(
        &mut world,
        ReleaseCommand::Approve(None),
        "step 1 is approved already",
    );
    world.must(step(1));
}

#[test]
fn approve_waits_for_the_window_and_promote_does_not() {
    let closed = "schedule: {timeZone: UTC, windows: [{days: [Sat], from: '12:00', to: '12:01'}]}";
    let mut world = ModelWorld::new(&format!(
        "{{{closed}, steps: [{{ratio: 10, hold: 2m, approval: true}}]}}"
    ));
    world
        .run_until_phase(Phase::AwaitingApproval)
        .must(ReleaseCommand::Approve(None))
        .run("10m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::AwaitingWindow, "10%")
    );
    world.must(ReleaseCommand::Promote);
    assert_eq!(
        (world.ratio().as_str(), world.phase()),
        ("100%", Phase::Promoted)
    );
}

#[test]
fn promote_skips_everything_and_is_still_judged_and_watched() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%");
    let stage = world.status.stage.unwrap();
    world.must(ReleaseCommand::Promote);
    assert_eq!(
        (world.ratio().as_str(), world.live().state),
        ("100%", ReleaseState::Promoted)
    );
    assert_eq!(world.status.stage, Some(stage + 1));
    assert_eq!(world.status.history[0].outcome, ReleaseOutcome::Promoted);
    world.run("1m");
    world.traffic.gray_errors = 0.5;
    world.run_until_phase(Phase::RolledBack);
}

#[test]
fn promote_goes_to_the_target_whatever_it_is() {
    let mut world = ModelWorld::new("targetRatio: 30");
    world.run_until_ratio("10%").must(ReleaseCommand::Promote);
    assert_eq!(
        (world.ratio().as_str(), world.phase()),
        ("30%", Phase::TargetReached)
    );
    refused(&mut world, ReleaseCommand::Promote, "reached already");
}

#[test]
fn promote_is_refused_where_it_would_harm() {
    let mut world = at_half();
    world.gray_endpoints = 0;
    refused(
        &mut world,
        ReleaseCommand::Promote,
        "gray has no ready endpoint",
    );
    world.gray_endpoints = 1;
    world.must(ReleaseCommand::Pause);
    refused(&mut world, ReleaseCommand::Promote, "resume it first");
    world.must(ReleaseCommand::Resume).edit("paused: true");
    refused(&mut world, ReleaseCommand::Promote, "spec.paused");
    world.edit("{paused: false, force: Stable}");
    refused(&mut world, ReleaseCommand::Promote, "spec.force");
    world.edit("force: None").edit("targetRatio: 200");
    refused(&mut world, ReleaseCommand::Promote, "not in effect");
    world.edit("targetRatio: 0");
    refused(&mut world, ReleaseCommand::Promote, "the target is 0");
}

#[test]
fn rollback_works_from_any_state_with_gray_above_zero() {
    let mut world = at_half();
    world.must(ReleaseCommand::Rollback);
    assert_eq!(
        (world.ratio().as_str(), world.live().state),
        ("0%", ReleaseState::RolledBack)
    );
    assert_eq!(world.status.rollback.as_ref().unwrap().reason, "Requested");
    assert_eq!(world.status.history[0].reason, "Requested");

    let mut world = ModelWorld::new("");
    world
        .run_until_phase(Phase::Promoted)
        .run("5h")
        .must(ReleaseCommand::Rollback)
        .run("1s");
    assert_eq!(world.phase(), Phase::RolledBack);

    let mut world = at_half();
    world
        .must(ReleaseCommand::Pause)
        .must(ReleaseCommand::Rollback)
        .run("1s");
    assert_eq!(world.phase(), Phase::RolledBack);

    let mut world = at_half();
    world
        .edit("targetRatio: 200")
        .must(ReleaseCommand::Rollback);
    assert_eq!(
        world.ratio(),
        "0%",
        "a broken edit does not stand in the way"
    );
}

#[test]
fn rollback_is_refused_where_there_is_nothing_to_do_or_nowhere_to_go() {
    let mut world = ModelWorld::new("paused: true");
    world.run("1s");
    refused(&mut world, ReleaseCommand::Rollback, "nobody is on gray");
    let mut world = at_half();
    world.stable_endpoints = 0;
    refused(
        &mut world,
        ReleaseCommand::Rollback,
        "v1 has no ready endpoint",
    );
    world.stable_endpoints = 1;
    world.run("2s");
    assert_eq!(
        world.ratio(),
        "50%",
        "a refused request is not kept for later"
    );
}

#[test]
fn retry_begins_the_release_once_more() {
    let mut world = at_half();
    refused(&mut world, ReleaseCommand::Retry, "not rolled back");
    world
        .must(ReleaseCommand::Rollback)
        .run("1m")
        .must(ReleaseCommand::Retry);
    assert_eq!(
        (world.ratio().as_str(), world.live().state),
        ("0%", ReleaseState::Active)
    );
    assert_eq!(world.status.release.as_ref().unwrap().attempt, 2);
    assert!(world.status.rollback.is_none());
    world.run_until_phase(Phase::Promoted);
    assert_eq!(
        world.path(),
        ["0%", "10%", "50%", "0%", "10%", "50%", "100%"]
    );
    let outcomes: Vec<_> = world
        .status
        .history
        .iter()
        .filter_map(|entry| entry.outcome.known())
        .collect();
    assert_eq!(
        outcomes,
        [ReleaseOutcome::Promoted, ReleaseOutcome::RolledBack]
    );
}

#[test]
fn retry_waits_for_the_window() {
    let mut world = at_half();
    world
        .must(ReleaseCommand::Rollback)
        .edit("schedule: {timeZone: UTC, windows: [{days: [Mon], from: '09:00', to: '10:00'}]}");
    world.must(ReleaseCommand::Retry).run("10m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::AwaitingWindow, "0%")
    );
}

#[test]
fn a_pause_stops_advancing_and_resume_lifts_only_the_command() {
    let mut world = at_half();
    world.must(ReleaseCommand::Pause).run("10m");
    assert_eq!(
        (world.ratio().as_str(), world.phase()),
        ("50%", Phase::Paused)
    );
    world
        .edit("paused: true")
        .must(ReleaseCommand::Resume)
        .run("10m");
    assert_eq!(world.phase(), Phase::Paused);
    refused(&mut world, ReleaseCommand::Resume, "spec.paused");
    world.edit("paused: false").run_until_ratio("100%");
    refused(&mut world, ReleaseCommand::Resume, "not paused");
}

#[test]
fn a_hold_runs_on_while_paused() {
    let mut world = ModelWorld::new("");
    world
        .run_until_ratio("10%")
        .run("1s")
        .must(ReleaseCommand::Pause)
        .run("10m")
        .must(ReleaseCommand::Resume)
        .run("1s");
    assert_eq!(world.ratio(), "50%");
}

#[test]
fn without_gray_every_request_is_refused() {
    let mut world = ModelWorld::new("{gray: null, targetRatio: null, steps: null}");
    world.run("1s");
    refused(&mut world, ReleaseCommand::Pause, "no gray version");
}

#[test]
fn rollback_works_at_ratio_zero_where_rules_send_users_to_gray() {
    let rule =
        "{name: beta, to: Gray, when: [{all: [{source: Identity, operator: In, values: [lin]}]}]}";
    let mut world = ModelWorld::new(&format!("{{targetRatio: 0, rules: [{rule}]}}"));
    world.run("1s").must(ReleaseCommand::Rollback).run("1s");
    assert_eq!(
        (world.phase(), world.live().state),
        (Phase::RolledBack, ReleaseState::RolledBack)
    );
    refused(&mut world, ReleaseCommand::Rollback, "nobody is on gray");
}

#[test]
fn a_rollback_that_sets_the_next_release_free_says_so() {
    let mut world = ModelWorld::new("");
    world
        .run_until_phase(Phase::Promoted)
        .edit("gray: {version: v3}");
    let answer = world.ask(ReleaseCommand::Rollback);
    assert!(
        answer
            .message
            .contains("everyone goes back to v1; v3 of the newest spec follows now"),
        "{answer:?}"
    );
    world.run("1s");
    assert_eq!(world.status.release.as_ref().unwrap().version, "v3");
    let mut world = at_half();
    assert_eq!(
        world.ask(ReleaseCommand::Rollback).message,
        "everyone goes back to v1"
    );
}
