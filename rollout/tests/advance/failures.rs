//! The way back: verdicts, rollbacks, and what stands in their way.

use halftone_api::spec::{Phase, Verdict};
use halftone_rollout::{command_request::ReleaseCommand, events::EventReason};
use halftone_routing::document::ReleaseState;
use halftone_routing::sketch::{UserHash, UserSketch};

use crate::world::ModelWorld;

fn at_half() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("5s");
    world
}

#[test]
fn a_fault_sends_everyone_back_within_two_seconds() {
    let mut world = at_half();
    world.traffic.gray_errors = 0.5;
    let fault = world.seconds();
    world.run_until_ratio("0%");
    assert!(
        world.seconds() - fault <= 2.0,
        "{}",
        world.seconds() - fault
    );
    assert_eq!(world.live().state, ReleaseState::RolledBack);
    assert_eq!(world.count(EventReason::RollingBack), 1);
    assert_eq!(
        world.status.rollback.as_ref().unwrap().reason,
        "LimitBroken"
    );
    assert_eq!(
        world.status.verdict.as_ref().unwrap().result,
        Verdict::Fail,
        "the verdict stays to be seen"
    );
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v1");
}

#[test]
fn errors_count_before_every_proxy_has_the_step() {
    let mut world = ModelWorld::new("");
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
        let mut world = ModelWorld::new(&format!(
            "health: {{maxLatency: {{p99: 500ms}}, warmup: {warmup}}}"
        ));
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
    assert_eq!(
        (world.ratio().as_str(), world.phase()),
        ("0%", Phase::RollingBack)
    );
    assert_eq!(
        world.status.proxies.as_ref().unwrap().waiting_for,
        ["proxy-b"]
    );
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
    world
        .edit("steps: [{ratio: 1, hold: 1s}]")
        .edit("targetRatio: 20")
        .edit("health: {maxErrorRate: 50%}");
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
    // Once for the endpoint that is missing, and once for the rollback that waits for it.
    assert_eq!(world.count(EventReason::StableUnavailable), 2);
    world.restart().run("10s");
    assert_eq!(world.ratio(), "50%");
    world.stable_endpoints = 1;
    world.run("1s");
    assert_eq!(world.ratio(), "0%", "the verdict outlives a restart");
}

#[test]
fn a_failure_only_pauses_if_the_spec_says_so() {
    let mut world = ModelWorld::new("health: {onFailure: Pause}");
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
    world.must(ReleaseCommand::Resume);
    assert_eq!(world.status.verdict.as_ref().unwrap().process, process + 1);
    world.run_until_phase(Phase::Promoted);
}

#[test]
fn a_promoted_release_is_rolled_back_while_it_is_watched() {
    let mut world = ModelWorld::new("");
    world.run_until_phase(Phase::Promoted).run("30m");
    world.traffic.gray_errors = 0.5;
    world.run_until_phase(Phase::RolledBack);
    let history: Vec<_> = world
        .status
        .history
        .iter()
        .filter_map(|entry| entry.outcome.known())
        .collect();
    assert_eq!(
        history,
        [halftone_api::spec::ReleaseOutcome::RolledBack],
        "one attempt, one entry"
    );
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
    assert!(
        world.status.step.as_ref().unwrap().hold_left.is_some(),
        "the clock stands"
    );
    world.run("60s");
    assert_eq!(world.ratio(), "0%");
    assert_eq!(
        world.status.rollback.as_ref().unwrap().reason,
        "BothArmsFailed"
    );
}

#[test]
fn each_process_of_the_judge_has_a_number_of_its_own() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%").run("1s");
    let process = |world: &ModelWorld| world.status.verdict.as_ref().unwrap().process;
    assert_eq!(process(&world), 1);
    world.restart().run("1s");
    assert_eq!(process(&world), 2, "a start of the operator");
    world.edit("health: {maxErrorRate: 7%}").run("1s");
    assert_eq!(process(&world), 3, "a change of health");
    world.run_until_ratio("50%").run("1s");
    assert_eq!(process(&world), 4, "a stage");
    world
        .edit("gray: {version: v3}")
        .run_until_ratio("10%")
        .run("1s");
    assert_eq!(
        process(&world),
        1,
        "another release has a promise of its own"
    );
}

#[test]
fn totals_for_a_pass_go_on_after_a_restart() {
    let mut world = ModelWorld::new("health: {minRequests: 1000}");
    world.run_until_ratio("10%").run("50s");
    let before = world.status.verdict.as_ref().unwrap().totals.gray_requests;
    assert!(before > 500, "{before}");
    world.restart().run("2s");
    let after = world.status.verdict.as_ref().unwrap().totals.gray_requests;
    assert!((before..before + 100).contains(&after), "{before} {after}");
    world.run("12s");
    assert_eq!(world.ratio(), "50%", "neither requests nor hold begin anew");
}

#[test]
fn a_failure_of_the_watch_pauses_if_the_spec_says_so_and_is_resumed() {
    for (target, reached) in [(50, Phase::TargetReached), (100, Phase::Promoted)] {
        let mut world = ModelWorld::new(&format!(
            "{{targetRatio: {target}, health: {{onFailure: Pause}}}}"
        ));
        world.run_until_phase(reached).run("10m");
        let ratio = world.ratio();
        world.traffic.gray_errors = 0.5;
        world.run_until_phase(Phase::Paused).run("2h");
        assert_eq!(
            (world.phase(), world.ratio()),
            (Phase::Paused, ratio.clone())
        );
        assert_eq!(world.condition("Healthy"), "False/LimitBroken");
        assert_eq!(world.condition("Progressing"), "False/Paused");
        assert!(
            world
                .message("Ready")
                .contains("paused by a failure; roll back, or resume it")
        );
        assert_eq!(
            (
                world.count(EventReason::Paused),
                world.count(EventReason::Unhealthy)
            ),
            (1, 1)
        );
        let process = world.status.verdict.as_ref().unwrap().process;
        world.restart().run("10s");
        assert_eq!(world.phase(), Phase::Paused, "a restart resumes nothing");
        world.traffic.gray_errors = 0.0;
        world.must(ReleaseCommand::Resume).run("10s");
        assert_eq!(
            (
                world.phase(),
                world.status.verdict.as_ref().unwrap().process
            ),
            (reached, process + 1)
        );
        world.run("45m");
        world.traffic.gray_errors = 0.5;
        world.run_until_phase(Phase::Paused);
        world.must(ReleaseCommand::Rollback);
        assert_eq!(world.ratio(), "0%");
    }
}

#[test]
fn a_watch_stands_while_it_is_paused_by_a_failure() {
    let mut world = ModelWorld::new("health: {onFailure: Pause, watch: 1h}");
    world.run_until_phase(Phase::Promoted).run("10m");
    world.traffic.gray_errors = 0.5;
    world.run_until_phase(Phase::Paused).run("10s");
    let left = world.status.watch_left.clone();
    assert!(
        left.as_ref().is_some_and(|left| left.starts_with("49m")),
        "{left:?}"
    );
    world.run("5h");
    assert_eq!(world.status.watch_left, left);
}

const BETA: &str = "{targetRatio: 0, health: {include: [Rule]}, \
    rules: [{name: beta, to: Gray, when: [{all: [{source: Identity, operator: In, values: [lin]}]}]}]}";

#[test]
fn users_that_a_rule_sends_to_gray_are_judged_at_target_zero_where_they_are_included() {
    let mut world = ModelWorld::new(BETA);
    world.by_rule = 50.0;
    world.run("10m");
    assert_eq!(
        (world.phase(), world.condition("Progressing").as_str()),
        (Phase::Idle, "False/Idle")
    );
    world.traffic.gray_errors = 0.5;
    world.run("5s");
    assert_eq!(
        (world.phase(), world.live().state),
        (Phase::RolledBack, ReleaseState::RolledBack)
    );
    assert_eq!(
        world.status.rollback.as_ref().unwrap().reason,
        "LimitBroken"
    );
}

#[test]
fn users_that_a_rule_sends_to_gray_are_not_judged_unless_they_are_included() {
    let mut world = ModelWorld::new(BETA);
    world.by_rule = 50.0;
    world.edit("health: null").run("1m");
    world.traffic.gray_errors = 0.5;
    world.run("1m");
    assert_eq!(
        (world.phase(), world.status.verdict.clone()),
        (Phase::Idle, None)
    );
}

#[test]
fn nobody_is_sent_back_from_a_rule_to_a_stable_arm_without_a_ready_endpoint() {
    let mut world = ModelWorld::new(BETA);
    (world.by_rule, world.traffic.gray_errors) = (50.0, 0.5);
    world.run("1s");
    world.stable_endpoints = 0;
    world.run("10s");
    assert_eq!(world.live().state, ReleaseState::Active);
    assert_eq!(world.condition("Stalled"), "True/StableUnavailable");
    world.stable_endpoints = 1;
    world.run("1s");
    assert_eq!(world.live().state, ReleaseState::RolledBack);
}

#[test]
fn rules_to_gray_keep_no_release_from_its_first_step() {
    let mut world = ModelWorld::new(BETA);
    world
        .edit("targetRatio: 100")
        .run_until_phase(Phase::Promoted);
    assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
}

#[test]
fn a_disk_that_is_full_stops_rises_and_no_rollback() {
    let mut world = at_half();
    world.unwritable = Some("no space left".into());
    world.run("10m");
    assert_eq!(
        (world.ratio().as_str(), world.phase()),
        ("50%", Phase::Pending)
    );
    assert_eq!(world.condition_now("Progressing"), "False/NotPersisted");
    let refused = world.ask_now(ReleaseCommand::Promote);
    assert!(
        refused
            .message
            .contains("cannot be written (no space left)"),
        "{}",
        refused.message
    );
    // Too few at a time for any single round to decide.
    world.traffic.gray_errors = 0.2;
    world.run("10s");
    assert_eq!(world.ratio(), "0%");
}

#[test]
fn nobody_is_called_back_by_a_document_that_cannot_be_written() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%");
    world.unprogrammed = Some("applying the ConfigMap: exceeded quota: none".into());
    world.proxies.iter_mut().for_each(|proxy| proxy.deaf = true);
    world.must(ReleaseCommand::Rollback).run("5s");
    assert_eq!(
        (world.phase(), world.condition("Stalled").as_str()),
        (Phase::RollingBack, "-")
    );
    assert_eq!(world.condition("Ready"), "False/NotPersisted");
    assert_eq!(world.condition("Programmed"), "False/NotPersisted");
    assert_eq!(
        world.message("Ready"),
        "applying the ConfigMap: exceeded quota: none; proxies go on with the routing document before"
    );
    let told = |world: &ModelWorld| {
        [
            EventReason::RollingBack,
            EventReason::NotPersisted,
            EventReason::RolledBack,
        ]
        .map(|reason| world.count(reason))
    };
    assert_eq!(told(&world), [1, 1, 0]);
    world.unprogrammed = None;
    world
        .proxies
        .iter_mut()
        .for_each(|proxy| proxy.deaf = false);
    world.run_until_phase(Phase::RolledBack);
    assert_eq!(world.condition("Ready"), "False/RolledBack");
    world.run("5s").restart().run("10s");
    assert_eq!(
        told(&world),
        [1, 1, 1],
        "each is told once, whoever restarts"
    );
}

fn rolled_back() -> ModelWorld {
    let mut world = at_half();
    world
        .must(ReleaseCommand::Rollback)
        .run_until_phase(Phase::RolledBack)
        .run("1s");
    assert_eq!(world.count(EventReason::RolledBack), 1);
    world
}

#[test]
fn an_edit_of_a_release_that_was_rolled_back_tells_of_no_second_rollback() {
    for edit in [
        "force: Gray",
        "force: Stable",
        "stable: {version: v1.1}",
        "targetRatio: 50",
    ] {
        let mut world = rolled_back();
        world
            .edit(edit)
            .run("10s")
            .restart()
            .run("10s")
            .edit("force: null")
            .run("10s");
        assert_eq!(
            (world.phase(), world.count(EventReason::RolledBack)),
            (Phase::RolledBack, 1),
            "{edit}"
        );
    }
}

#[test]
fn nobody_is_called_back_while_everyone_is_forced_to_gray() {
    let mut world = at_half();
    world
        .must(ReleaseCommand::Rollback)
        .edit("force: Gray")
        .run("10s")
        .restart()
        .run("10s");
    assert_eq!(world.count(EventReason::RolledBack), 0);
    world.edit("force: null").run("10s");
    assert_eq!(
        world.count(EventReason::RolledBack),
        1,
        "once they are back"
    );
}

#[test]
fn a_status_of_before_that_says_nothing_of_the_end_of_a_rollback_tells_of_it_no_more() {
    let mut world = rolled_back();
    world.status.rollback.as_mut().unwrap().completed_at = None;
    world
        .restart()
        .run("10s")
        .edit("stable: {version: v1.1}")
        .run("10s");
    assert_eq!(world.count(EventReason::RolledBack), 1);
}

#[test]
fn a_second_rollback_is_told_as_well() {
    let mut world = rolled_back();
    world
        .must(ReleaseCommand::Retry)
        .run_until_ratio("10%")
        .must(ReleaseCommand::Rollback)
        .run("10s");
    assert_eq!(world.count(EventReason::RolledBack), 2);
}

#[test]
fn a_rollback_says_how_many_users_its_failures_reached_and_a_retry_counts_anew() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%");
    for name in ["lin", "wei", "mei"] {
        world.failed_users.add(UserHash::from_hash(xxhash(name)));
    }
    world.traffic.gray_errors = 0.5;
    world.run_until_ratio("0%");
    let told = |world: &ModelWorld| world.status.rollback.as_ref().unwrap().message.clone();
    assert!(
        told(&world).ends_with("; about 3 users met a failure of v2"),
        "{}",
        told(&world)
    );
    world.failed_users = UserSketch::default();
    world.failed_users.add(UserHash::from_hash(xxhash("lin")));
    world
        .must(ReleaseCommand::Retry)
        .run_until_ratio("10%")
        .run_until_phase(Phase::RolledBack);
    assert!(
        told(&world).ends_with("; one user met a failure of v2"),
        "{}",
        told(&world)
    );
}

/// Bits that are as evenly distributed as those of a user.
fn xxhash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
