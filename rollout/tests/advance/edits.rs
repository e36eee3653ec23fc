//! Edits in place, new releases, and what is refused.

use halftone_api::{
    Obstacle,
    spec::{Phase, ReleaseOutcome},
};
use halftone_rollout::{
    command_request::ReleaseCommand, events::EventReason, observation::PlaceHandOver,
};
use halftone_routing::document::{ReleaseState, rule::Target};

use crate::world::ModelWorld;

fn at_half() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("30s");
    world
}

fn promoted() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_phase(Phase::Promoted).run("61m");
    world
}

/// The next release of a promoted one: the services swap places.
const SWAPPED: &str = "{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v1}, version: v3}}";

#[test]
fn an_edit_of_steps_never_moves_the_ratio() {
    let mut world = at_half();
    let stage = world.status.stage;
    world.edit(
        "steps: [{ratio: 5, hold: 1m}, {ratio: 20, hold: 1m}, {ratio: 80, hold: 1m}, {ratio: 100, hold: 1m}]",
    );
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.status.stage, stage);
    assert_eq!(world.status.step.as_ref().unwrap().display, "2/4");
    world.run("31s");
    assert_eq!(world.ratio(), "80%", "on to the first step above it");
}

#[test]
fn an_edited_hold_is_the_shorter_of_the_rest_and_the_new_one() {
    let mut world = at_half();
    world
        .edit("steps: [{ratio: 50, hold: 10s}, {ratio: 100, hold: 1m}]")
        .run("12s");
    assert_eq!(world.ratio(), "100%");
    let mut world = at_half();
    world
        .edit("steps: [{ratio: 50, hold: 1h}, {ratio: 100, hold: 1m}]")
        .run("32s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn a_target_below_the_present_ratio_lowers_it_at_once() {
    let mut world = at_half();
    let stage = world.status.stage.unwrap();
    world.edit("targetRatio: 20");
    assert_eq!(world.ratio(), "20%");
    assert_eq!(world.status.stage, Some(stage + 1));
    world.run_until_phase(Phase::TargetReached);
    assert!(
        world.seconds() - world.ratios.last().unwrap().0 >= 300.0,
        "the new target has its own hold"
    );
}

#[test]
fn a_lowered_target_does_not_wait_for_pause_or_window() {
    let mut world = at_half();
    world
        .must(ReleaseCommand::Pause)
        .edit("schedule: {timeZone: UTC, windows: []}")
        .edit("targetRatio: 20");
    assert_eq!(world.ratio(), "20%");
}

#[test]
fn a_lowered_target_waits_for_a_ready_stable_endpoint() {
    let mut world = at_half();
    world.stable_endpoints = 0;
    world.edit("targetRatio: 20").run("10m");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.condition("Stalled"), "True/StableUnavailable");
    world.stable_endpoints = 1;
    world.look();
    assert_eq!(world.ratio(), "20%");
}

#[test]
fn a_promoted_release_whose_target_is_lowered_splits_again() {
    let mut world = promoted();
    world.edit("targetRatio: 50");
    assert_eq!(
        (world.ratio().as_str(), world.live().state),
        ("50%", ReleaseState::Active)
    );
    assert!(world.live().moving);
    world.run_until_phase(Phase::TargetReached);
}

#[test]
fn a_change_of_stable_keeps_the_ratio_and_begins_hold_and_evidence_anew() {
    let mut world = at_half();
    let stage = world.status.stage.unwrap();
    world.edit("stable: {version: v1.1}");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.status.stage, Some(stage + 1));
    assert_eq!(
        world.status.verdict.as_ref().unwrap().totals.gray_requests,
        0
    );
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v1.1");
    assert_eq!(world.count(EventReason::StableChanged), 1);
    world.run("59s");
    assert_eq!(world.ratio(), "50%");
    world.run("4s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn timeouts_and_checks_of_stable_are_no_change_of_stable() {
    let mut world = at_half();
    let stage = world.status.stage;
    world
        .edit("stable: {timeouts: {connect: 2s}, maxInFlight: 10, healthCheck: {path: /up}}")
        .run("33s");
    assert_eq!(
        world.ratio(),
        "100%",
        "neither hold nor evidence begin anew"
    );
    assert_eq!(world.status.stage.unwrap(), stage.unwrap() + 1);
}

#[test]
fn rules_schedule_and_hosts_touch_neither_hold_nor_evidence() {
    let mut world = at_half();
    let before = world.status.clone();
    world.edit("rules: [{name: office, to: Gray, when: [{all: [{source: ClientIp, operator: InCidr, values: [10.1.0.0/16]}]}]}]");
    world.edit("hosts: [shop.example.com, www.example.com]");
    world
        .edit("schedule: {timeZone: UTC, windows: [{from: '00:00', to: '00:00'}]}")
        .run("2s");
    assert_eq!(world.status.stage, before.stage);
    let process =
        |status: &halftone_api::GrayReleaseStatus| status.verdict.as_ref().unwrap().process;
    assert_eq!(process(&world.status), process(&before));
    assert!(world.status.revision > before.revision);
    world.run("31s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn a_change_of_health_begins_the_evidence_anew_and_keeps_the_hold() {
    let mut world = at_half();
    let stage = world.status.stage;
    world.edit("health: {maxErrorRate: 7%}");
    assert_eq!(world.status.stage, stage);
    assert_eq!(
        world.status.verdict.as_ref().unwrap().totals.gray_requests,
        0
    );
    world.run("33s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn a_change_of_identity_goes_back_to_the_first_step() {
    let mut world = at_half();
    world.edit("identity: {from: [{header: X-Account}]}");
    assert_eq!(world.ratio(), "10%");
    assert_eq!(world.count(EventReason::IdentityChanged), 1);
    let mut world = promoted();
    world
        .edit("identity: {from: [{header: X-Account}]}")
        .run("1m");
    assert_eq!(world.phase(), Phase::Promoted, "at 100% nobody moves");
    let mut world = at_half();
    world.edit("identity: {whenMissing: Gray}").run("1s");
    assert_eq!(
        world.ratio(),
        "50%",
        "nobody is without an identity where one is generated"
    );
    let mut world = ModelWorld::new("identity: {from: [{header: X-Account}]}");
    world
        .run_until_ratio("50%")
        .edit("identity: {whenMissing: Gray}")
        .run("1s");
    assert_eq!(world.ratio(), "10%");
}

#[test]
fn a_change_of_identity_waits_for_a_ready_stable_endpoint() {
    let mut world = at_half();
    world.stable_endpoints = 0;
    world
        .edit("identity: {from: [{header: X-Account}]}")
        .run("1m");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.condition("Stalled"), "True/StableUnavailable");
    assert_eq!(
        world.live().identity.from.len(),
        4,
        "the live document is as it was"
    );
    world.stable_endpoints = 1;
    world.look();
    assert_eq!(world.ratio(), "10%");
}

#[test]
fn another_gray_version_is_another_release_at_ratio_zero() {
    let mut world = at_half();
    let stage = world.status.stage.unwrap();
    world
        .must(ReleaseCommand::Pause)
        .edit("gray: {version: v3}");
    assert_eq!(world.ratio(), "0%");
    assert_eq!(world.status.stage, Some(stage + 1));
    assert_eq!(world.status.history[0].outcome, ReleaseOutcome::Superseded);
    assert_eq!(world.status.history[0].version, "v2");
    world.run_until_ratio("10%");
    assert!(
        !world.status.paused,
        "the command was about the release before"
    );
}

#[test]
fn another_release_waits_for_a_ready_stable_endpoint() {
    let mut world = at_half();
    world.stable_endpoints = 0;
    world.edit("gray: {version: v3}").run("1m");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(
        world.live().arms.gray.as_ref().unwrap().version.as_str(),
        "v2"
    );
    assert_eq!(world.condition("Stalled"), "True/StableUnavailable");
    world.stable_endpoints = 1;
    world.look();
    assert_eq!(world.ratio(), "0%");
}

#[test]
fn gray_taken_out_leaves_a_plain_route() {
    let mut world = at_half();
    world.edit("{gray: null, targetRatio: null}");
    assert_eq!(
        (world.live().state, world.ratio().as_str()),
        (ReleaseState::Plain, "0%")
    );
    assert_eq!(world.status.history[0].outcome, ReleaseOutcome::Withdrawn);
    world.run("2s");
    assert_eq!(world.phase(), Phase::Idle);
    assert!(world.status.release.is_none() && world.status.step.is_none());
}

#[test]
fn a_plain_route_is_the_way_in() {
    let mut world = ModelWorld::new("{gray: null, targetRatio: null, steps: null}");
    world.run("2s");
    assert_eq!(
        (world.live().state, world.phase()),
        (ReleaseState::Plain, Phase::Idle)
    );
    assert_eq!(world.condition("Ready"), "True/Idle");
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v1");
    world.edit("{gray: {service: {name: checkout-v2, port: 80}, version: v2}, targetRatio: 100}");
    world.run_until_phase(Phase::Promoted);
    assert_eq!(
        world.path(),
        ["0%", "1%", "5%", "10%", "20%", "50%", "100%"],
        "the steps of who writes none"
    );
}

#[test]
fn after_a_promotion_the_next_release_has_to_name_what_serves() {
    let mut world = promoted();
    let document = world.live.clone();
    world.edit("gray: {version: v3}").run("1m");
    assert_eq!(world.condition("Accepted"), "False/StableNotServing");
    assert_eq!(
        world.message("Accepted"),
        "v2 serves everyone; name it stable, or run rollback; then this edit is taken by itself"
    );
    assert_eq!(world.condition("Stalled"), "True/StableNotServing");
    assert_eq!(world.phase(), Phase::Refused);
    assert_eq!(world.live, document, "traffic is exactly as it was");
    world.restart().run("1m");
    assert_eq!(world.live, document);
    assert_eq!(world.count(EventReason::Refused), 1);
    world.edit(SWAPPED);
    assert_eq!(world.condition("Accepted"), "True/Accepted");
    assert_eq!(
        (world.ratio().as_str(), world.live().state),
        ("0%", ReleaseState::Active)
    );
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v3");
}

#[test]
fn a_promoted_version_without_endpoints_is_followed_by_one_beside_it() {
    let mut world = ModelWorld::new("");
    world.run_until_phase(Phase::Promoted).stable_endpoints = 0;
    let next = "{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v3}, version: v3}}";
    world.edit(next).run("1s");
    assert_eq!(
        (
            world.live().arms.stable.version.as_str(),
            world.ratio().as_str()
        ),
        ("v2", "0%")
    );
    assert_eq!(
        (world.phase(), world.condition("Ready").as_str()),
        (Phase::Pending, "False/StableUnavailable")
    );
    assert_eq!(
        [EventReason::Superseded, EventReason::RollingBack].map(|reason| world.count(reason)),
        [1, 0]
    );
    world.edit("force: Gray").run("1s");
    assert_eq!(
        world.live().force,
        Some(Target::Gray),
        "the way forward is open"
    );
}

#[test]
fn force_stable_overrides_what_serves() {
    let mut world = promoted();
    world.edit("{gray: {version: v3}, force: Stable}").run("1s");
    assert_eq!(world.condition("Accepted"), "True/Accepted");
    assert_eq!(world.live().force, Some(Target::Stable));
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v1");
}

#[test]
fn a_promoted_release_that_was_forced_back_is_followed_by_one_beside_what_serves_now() {
    let mut world = promoted();
    world.edit("force: Stable").run("1m");
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v1");
    world.write("force: null").edit(SWAPPED);
    assert_eq!(
        world.message("Accepted"),
        "v1 serves everyone; name it stable; then this edit is taken by itself"
    );
    let swapped_back = "{stable: {service: {name: checkout-v1}, version: v1}, gray: {service: {name: checkout-v2}}}";
    world.edit(swapped_back);
    assert_eq!(world.condition("Accepted"), "True/Accepted");
    assert_eq!(
        (
            world.ratio().as_str(),
            world.live().arms.stable.version.as_str()
        ),
        ("0%", "v1")
    );
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v3");
}

#[test]
fn gray_cannot_be_taken_out_after_a_promotion_while_stable_is_the_old_version() {
    let mut world = promoted();
    world.edit("{gray: null, targetRatio: null}");
    assert_eq!(world.condition("Accepted"), "False/StableNotServing");
    world.edit("stable: {service: {name: checkout-v2}, version: v2}");
    assert_eq!(
        (world.live().state, world.condition("Accepted").as_str()),
        (ReleaseState::Plain, "True/Accepted")
    );
    assert_eq!(world.live().arms.stable.version.as_str(), "v2");
}

#[test]
fn a_change_of_stable_in_a_promoted_release_is_a_hotfix() {
    let mut world = promoted();
    world.edit("stable: {version: v1.2}").run("1s");
    assert_eq!(world.condition("Accepted"), "True/Accepted");
    assert_eq!(
        (world.phase(), world.live().arms.stable.version.as_str()),
        (Phase::Promoted, "v1.2")
    );
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v2");
}

#[test]
fn a_promoted_release_that_broke_is_rolled_back_while_its_successor_is_refused() {
    let mut world = ModelWorld::new("");
    world
        .run_until_phase(Phase::Promoted)
        .edit("gray: {version: v3}")
        .run("1m");
    assert_eq!(world.phase(), Phase::Refused);
    world.traffic.gray_errors = 0.5;
    world.run("5s");
    assert_eq!(
        (
            world.ratio().as_str(),
            world.live().arms.stable.version.as_str()
        ),
        ("0%", "v1")
    );
}

#[test]
fn a_broken_edit_changes_nothing_and_the_old_plan_is_still_judged() {
    let mut world = at_half();
    let document = world.live.clone();
    world.edit("targetRatio: 200").run("10m");
    assert_eq!(world.live, document, "not even a step up");
    assert_eq!(
        (world.phase(), world.condition("Accepted").as_str()),
        (Phase::Refused, "False/Invalid")
    );
    assert_eq!(world.condition("Ready"), "False/Invalid");
    world.traffic.gray_errors = 0.5;
    world.run("5s");
    assert_eq!(world.ratio(), "0%");
}

#[test]
fn a_broken_object_leaves_everything_as_it_is_after_a_restart() {
    let mut world = at_half();
    let (document, stage) = (world.live.clone(), world.status.stage);
    world.edit("targetRatio: 200").restart().run("10m");
    assert_eq!(world.live, document);
    assert_eq!(
        (world.condition("Accepted").as_str(), world.status.stage),
        ("False/Invalid", stage)
    );
    world.edit("targetRatio: 100").run_until_ratio("100%");
}

#[test]
fn a_refusal_by_other_objects_keeps_traffic_and_names_its_reason() {
    let mut world = ModelWorld::new("");
    world.refusal = Some(Obstacle::new(
        "HostConflict",
        "shop.example.com belongs to shop/old",
    ));
    world.run("1m");
    assert!(
        world.live.is_none(),
        "a younger release gets nothing at all"
    );
    assert_eq!(world.condition("Accepted"), "False/HostConflict");
    world.refusal = None;
    world.run_until_ratio("10%");
    world.refusal = Some(Obstacle::new(
        "HostConflict",
        "shop.example.com belongs to shop/old",
    ));
    world.run("10m");
    assert_eq!(world.ratio(), "10%");
}

#[test]
fn force_goes_over_everything_and_gives_the_ratio_back() {
    let mut world = at_half();
    let stage = world.status.stage.unwrap();
    world.edit("force: Stable").run("10m");
    assert_eq!(
        (world.live().force, world.ratio().as_str()),
        (Some(Target::Stable), "50%")
    );
    assert_eq!(world.status.stage, Some(stage + 1));
    assert_eq!(world.condition("Ready"), "True/Forced");
    world.traffic.gray_errors = 1.0;
    world.run("1m");
    assert_eq!(
        world.count(EventReason::RollingBack),
        0,
        "the judge stands still"
    );
    world.traffic.gray_errors = 0.0;
    world.edit("force: None");
    assert_eq!((world.live().force, world.ratio().as_str()), (None, "50%"));
    assert_eq!(world.status.stage, Some(stage + 2));
    world.run("59s");
    assert_eq!(world.ratio(), "50%", "its hold begins anew");
    world.run("4s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn a_watch_begins_anew_after_a_force() {
    let mut world = ModelWorld::new("health: {watch: 10m}");
    world
        .run_until_phase(Phase::Promoted)
        .run("8m")
        .edit("force: Gray")
        .run("10m")
        .edit("force: None")
        .run("9m");
    assert!(world.progress.is_judged(world.now()));
    world.run("2m");
    assert!(!world.progress.is_judged(world.now()));
}

#[test]
fn the_stage_rises_by_one_however_much_an_edit_changes() {
    let mut world = at_half();
    let stage = world.status.stage.unwrap();
    world.edit(
        "{stable: {version: v1.1}, identity: {from: [{header: X-Account}]}, targetRatio: 5, force: Stable}",
    );
    assert_eq!(world.status.stage, Some(stage + 1));
}

#[test]
fn a_round_that_was_counted_by_other_limits_is_no_evidence() {
    let mut world = at_half();
    world
        .write("health: {maxErrorRate: 7%}")
        .tick(std::time::Duration::from_millis(500));
    assert_eq!(
        world.status.verdict.as_ref().unwrap().totals.gray_requests,
        0
    );
    world.tick(std::time::Duration::from_millis(500));
    assert_ne!(
        world.status.verdict.as_ref().unwrap().totals.gray_requests,
        0
    );
}

#[test]
fn an_edit_that_gives_up_a_host_waits_until_its_next_release_is_everywhere() {
    let mut world = at_half();
    world.handing_over = Some(handing_over(false));
    world.edit("hosts: [www.example.com]").run("10s");
    assert_eq!(world.condition("Reconciling"), "True/HandingOver");
    assert_eq!(world.live().hosts[0].as_str(), "shop.example.com");
    world.handing_over = None;
    world.run("1s");
    assert_eq!(
        (world.live().hosts[0].as_str(), world.ratio().as_str()),
        ("www.example.com", "50%")
    );
    assert_eq!(world.count(EventReason::HandOverLate), 0);
}

fn handing_over(awaited: bool) -> PlaceHandOver {
    PlaceHandOver {
        message: "shop.example.com/ is handed over to shop/next".into(),
        late: false,
        awaited,
    }
}

#[test]
fn an_edit_that_was_held_for_a_hand_over_long_enough_is_taken_and_says_so() {
    let mut world = at_half();
    world.handing_over = Some(handing_over(false));
    world.edit("hosts: [www.example.com]").run("10s");
    world.handing_over = Some(PlaceHandOver {
        late: true,
        ..handing_over(false)
    });
    world.run("1s");
    assert_eq!(world.live().hosts[0].as_str(), "www.example.com");
    assert_eq!(world.count(EventReason::HandOverLate), 1);
}

#[test]
fn in_an_exchange_the_document_has_both_hosts_while_the_edit_waits() {
    let mut world = at_half();
    let hosts = |world: &ModelWorld| {
        let live = world.live();
        live.hosts
            .iter()
            .map(|host| (host.to_string(), live.since(host, &live.paths[0])))
            .collect::<Vec<_>>()
    };
    let before = hosts(&world);
    world.handing_over = Some(handing_over(true));
    world
        .edit("{hosts: [www.example.com], stable: {version: v1.1}}")
        .run("10s");
    let both = hosts(&world);
    assert_eq!(
        (both[0].clone(), both[1].0.as_str(), both.len()),
        (before[0].clone(), "www.example.com", 2)
    );
    assert!(
        both[1].1 > both[0].1,
        "whoever had it first still does: {both:?}"
    );
    assert_eq!(
        world.live().arms.stable.version.as_str(),
        "v1",
        "nothing else of the edit is taken"
    );
    world.handing_over = None;
    world.run("1s");
    assert_eq!(hosts(&world), both[1..]);
    assert_eq!(world.live().arms.stable.version.as_str(), "v1.1");
}

#[test]
fn an_exchange_that_is_called_off_gives_the_other_host_back() {
    let mut world = at_half();
    world.handing_over = Some(handing_over(true));
    world.edit("hosts: [www.example.com]").run("10s");
    assert_eq!(world.live().hosts.len(), 2);
    world.handing_over = None;
    world.edit("hosts: [shop.example.com]").run("1s");
    assert_eq!(world.live().hosts.len(), 1);
}

#[test]
fn whose_host_is_taken_over_is_told_once_the_edit_is_taken() {
    let mut world = at_half();
    world.taking_over = Some("www.example.com/ was served by other/shop, which is deleted".into());
    world.refusal = Some(Obstacle::new("HostConflict", "kept for other"));
    world.edit("hosts: [www.example.com]").run("10s");
    assert_eq!(world.count(EventReason::HostTakenOver), 0);
    world.refusal = None;
    world.run("10s");
    assert_eq!(world.count(EventReason::HostTakenOver), 1);
}

/// The release after a promoted one, on its way.
fn followed() -> ModelWorld {
    let mut world = promoted();
    world.edit(SWAPPED);
    world
}

/// What `git revert` of that brings back.
const REVERTED: &str = "{stable: {service: {name: checkout-v1}, version: v1}, gray: {service: {name: checkout-v2}, version: v2}}";

fn serves_everyone_by_v2(world: &mut ModelWorld) {
    world.run("2h");
    assert_eq!(
        (world.phase(), world.live().state),
        (Phase::Promoted, ReleaseState::Promoted)
    );
    assert_eq!(
        world.live().arms.gray.as_ref().unwrap().version.as_str(),
        "v2"
    );
    assert_eq!(world.condition("Accepted"), "True/ServingKept");
    assert_eq!(
        world.message("Accepted"),
        "v2 goes on serving everyone; for v1 run rollback"
    );
    assert_eq!(world.condition("Ready"), "True/Promoted");
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v2");
    assert_eq!(world.count(EventReason::ServingKept), 1);
}

#[test]
fn a_revert_leaves_everyone_on_the_version_that_serves() {
    let mut rolled_back = followed();
    rolled_back
        .run_until_ratio("10%")
        .must(ReleaseCommand::Rollback)
        .edit(REVERTED);
    serves_everyone_by_v2(&mut rolled_back);
    let mut at_ten = followed();
    at_ten.run_until_ratio("10%").edit(REVERTED);
    serves_everyone_by_v2(&mut at_ten);
    let mut at_zero = followed();
    at_zero.edit(REVERTED);
    serves_everyone_by_v2(&mut at_zero);
    at_zero.restart();
    serves_everyone_by_v2(&mut at_zero);
    at_zero.must(ReleaseCommand::Rollback).run("1m");
    assert_eq!(
        (at_zero.phase(), at_zero.condition("Accepted").as_str()),
        (Phase::RolledBack, "True/Accepted")
    );
}

#[test]
fn a_revert_to_a_target_below_all_leaves_everyone_where_they_are_until_a_lower_one_is_written() {
    let mut world = followed();
    world
        .run_until_ratio("10%")
        .edit(REVERTED)
        .edit("targetRatio: 100");
    serves_everyone_by_v2(&mut world);
    let mut world = followed();
    world
        .run_until_ratio("10%")
        .write("targetRatio: 50")
        .edit(REVERTED)
        .run("1h")
        .restart();
    serves_everyone_by_v2(&mut world);
    assert_eq!(world.status.serving_kept.as_deref(), Some("50%"));
    world.edit("targetRatio: 60").run("1m");
    assert_eq!(world.ratio(), "100%");
    world.edit("targetRatio: 30").run("1s");
    assert_eq!(
        (world.ratio().as_str(), world.status.serving_kept.as_deref()),
        ("30%", None)
    );
}

#[test]
fn what_a_revert_leaves_serving_is_not_judged_against_a_version_that_nobody_asked_for() {
    let mut world = followed();
    world.run_until_ratio("10%").edit(REVERTED).run("2s");
    world.traffic.gray_errors = 0.9;
    world.run("10m");
    assert_eq!(
        (world.phase(), world.count(EventReason::RolledBack)),
        (Phase::Promoted, 0)
    );
}

#[test]
fn a_revert_right_after_a_promotion_is_taken_once_people_roll_back() {
    let mut world = promoted();
    world.edit("{gray: null, targetRatio: null}").run("1m");
    assert_eq!(world.condition("Accepted"), "False/StableNotServing");
    world.must(ReleaseCommand::Rollback).run("2s");
    assert_eq!(
        (world.live().state, world.condition("Accepted").as_str()),
        (ReleaseState::Plain, "True/Accepted")
    );
    assert_eq!(world.live().arms.stable.version.as_str(), "v1");
}

#[test]
fn above_half_an_edit_that_forgets_stable_is_refused_before_it_is_promoted() {
    let mut world = ModelWorld::new("steps: [{ratio: 80, hold: 10m}, {ratio: 100, hold: 10m}]");
    world
        .run_until_ratio("80%")
        .edit("gray: {version: v3}")
        .run("1m");
    assert_eq!(world.ratio(), "80%");
    assert_eq!(
        world.message("Accepted"),
        "v2 serves 80%; name it stable, or run rollback; then this edit is taken by itself"
    );
    world
        .edit("gray: {version: v2}")
        .run_until_ratio("100%")
        .edit("gray: {version: v3}")
        .run("1m");
    assert_eq!(
        (world.ratio().as_str(), world.condition("Accepted").as_str()),
        ("100%", "False/StableNotServing")
    );
    assert_eq!(
        world.live().arms.gray.as_ref().unwrap().version.as_str(),
        "v2"
    );
}

#[test]
fn a_version_that_is_named_stable_at_another_service_is_told_of() {
    let mut world = promoted();
    world.edit("{stable: {version: v2}, gray: {version: v3}}");
    assert_eq!(
        (world.condition("Accepted").as_str(), world.ratio().as_str()),
        ("True/Accepted", "0%")
    );
    let told = world
        .events
        .iter()
        .find(|event| event.reason == EventReason::StableMoved)
        .unwrap();
    assert_eq!(
        told.message,
        "checkout-v2 → checkout-v1, both said to be v2"
    );
}

#[test]
fn a_standing_force_never_sends_users_to_a_version_that_is_written_later() {
    let mut world = at_half();
    world
        .edit("force: Gray")
        .run("1m")
        .edit("gray: {version: v3}")
        .run("1m");
    assert_eq!(world.condition("Accepted"), "False/ForceStands");
    assert_eq!(
        world.live().arms.gray.as_ref().unwrap().version.as_str(),
        "v2"
    );
    world
        .write("force: None")
        .edit("{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v3}}}");
    assert_eq!(
        (world.condition("Accepted").as_str(), world.ratio().as_str()),
        ("True/Accepted", "0%")
    );
}

#[test]
fn users_are_forced_to_no_arm_without_a_ready_endpoint() {
    let mut world = at_half();
    world.gray_endpoints = 0;
    let document = world.live.clone();
    world.edit("force: Gray").run("1m");
    assert_eq!(
        (world.condition("Stalled").as_str(), &world.live),
        ("True/GrayUnavailable", &document)
    );
    world.gray_endpoints = 1;
    world.run("1s");
    assert_eq!(world.live().force, Some(Target::Gray));
}

#[test]
fn above_half_an_edit_of_identity_is_refused() {
    let mut world = ModelWorld::new("steps: [{ratio: 80, hold: 10m}, {ratio: 100, hold: 1m}]");
    world
        .run_until_ratio("80%")
        .edit("identity: {from: [{header: X-Account}]}")
        .run("1m");
    assert_eq!(
        (world.ratio().as_str(), world.condition("Accepted").as_str()),
        ("80%", "False/IdentityMoves")
    );
    assert_eq!(world.live().identity.from.len(), 4);
    world
        .write("targetRatio: 40")
        .edit("identity: {from: [{header: X-Account}]}")
        .run("1m");
    assert_eq!(
        world.condition("Accepted"),
        "False/IdentityMoves",
        "one edit at a time"
    );
}

#[test]
fn a_status_of_before_says_nothing_of_requests_without_identity() {
    let mut world = ModelWorld::new("identity: {from: [{header: X-Account}]}");
    world.run_until_ratio("50%");
    world.status.basis.as_mut().unwrap().missing.clear();
    world
        .restart()
        .edit("identity: {whenMissing: Gray}")
        .run("1s");
    assert_eq!(world.ratio(), "50%", "an upgrade moves nobody");
    assert_eq!(world.status.basis.as_ref().unwrap().missing, "Gray");
}

#[test]
fn where_nothing_is_known_the_spec_says_who_serves() {
    let mut world = ModelWorld::new("{initial: Gray, targetRatio: 50}");
    world.run("10m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Promoted, "100%")
    );
    assert_eq!(world.status.serving.as_ref().unwrap().version, "v2");
    world.edit("{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v3}, version: v3}}");
    assert_eq!(world.ratio(), "0%", "only where nothing is known");
}

#[test]
fn where_a_document_cannot_be_read_only_force_says_who_serves() {
    let mut world = ModelWorld::new("initial: Gray");
    world.unreadable = Some("the key document.json is missing".into());
    world.run("1m");
    assert_eq!(
        (world.condition("Accepted").as_str(), world.live.is_none()),
        ("False/ServingUnknown", true)
    );
    world.edit("force: Stable").run("1s");
    assert_eq!(world.live().force, Some(Target::Stable));
}

#[test]
fn arms_may_be_edited_before_anybody_was_served() {
    let mut world = ModelWorld::new("");
    world.kill_before_next_apply().look();
    assert!(
        world.live.is_none() && world.status.basis.is_some(),
        "killed between status and document"
    );
    world
        .edit("{stable: {service: {name: other}, version: v7}, gray: {version: v8}}")
        .run("2s");
    assert_eq!(world.condition("Accepted"), "True/Accepted");
    assert_eq!(world.live().arms.stable.version.as_str(), "v7");
}

#[test]
fn what_a_lost_document_said_is_not_guessed() {
    let lost = || {
        let mut world = ModelWorld::new("steps: [{ratio: 80, hold: 10m}, {ratio: 100, hold: 10m}]");
        world.run_until_ratio("80%");
        (world.live, world.accepted, world.highest_revision) = (None, None, 3);
        world
    };
    let mut world = lost();
    world.restart().edit("gray: {version: v3}").run("1s");
    assert_eq!(
        (world.condition("Accepted").as_str(), world.live.is_none()),
        ("False/StableNotServing", true)
    );
    world.edit("gray: {version: v2}").run("1s");
    assert_eq!(world.ratio(), "80%", "the status knows these arms");
    let mut world = lost();
    world.status = Default::default();
    world.restart().run("1s");
    assert_eq!(
        (world.condition("Accepted").as_str(), world.live.is_none()),
        ("False/ServingUnknown", true)
    );
}
