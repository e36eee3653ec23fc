//! Ready means that requests are served: whoever users are sent to has an endpoint, or the release says so.

use halftone_api::spec::Phase;
use halftone_rollout::{command_request::ReleaseCommand, events::EventReason};

use crate::world::ModelWorld;

const PLAIN: &str = "{gray: null, targetRatio: null, steps: null}";

/// Both arms lose their endpoints or have them.
fn with(world: &mut ModelWorld, stable: usize, gray: usize) -> &mut ModelWorld {
    (world.stable_endpoints, world.gray_endpoints) = (stable, gray);
    world.look()
}

#[test]
fn no_step_starts_without_a_ready_endpoint_of_stable_and_the_release_says_why() {
    let mut world = ModelWorld::new("");
    with(&mut world, 0, 2).run("1h");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Pending, "0%")
    );
    assert_eq!(world.condition("Ready"), "False/StableUnavailable");
    assert_eq!(world.condition("Reconciling"), "True/StableUnavailable");
    assert_eq!(world.condition("Progressing"), "False/StableUnavailable");
    assert_eq!(
        world.message("Ready"),
        "v1 (stable) has no ready endpoint: Service checkout-v1 has no endpoints"
    );
    assert_eq!(world.count(EventReason::StableUnavailable), 1);
    with(&mut world, 1, 2).run_until_ratio("10%").run("1s");
    assert_eq!(world.condition("Ready"), "True/Holding");
}

#[test]
fn a_step_that_is_held_is_not_ready_while_an_arm_is_gone() {
    for (stable, gray, reason) in [(0, 2, "StableUnavailable"), (2, 0, "GrayUnavailable")] {
        let mut world = ModelWorld::new("");
        world.traffic.rps = 0.0;
        world.run_until_ratio("10%").run_until_phase(Phase::Holding);
        with(&mut world, stable, gray).run("5m");
        assert_eq!(
            (world.phase() == Phase::Holding, world.ratio().as_str()),
            (false, "10%"),
            "{reason}"
        );
        assert_eq!(world.condition("Ready"), format!("False/{reason}"));
        with(&mut world, 1, 1);
        assert!(
            world.condition("Ready").starts_with("True/"),
            "{}",
            world.condition("Ready")
        );
    }
}

#[test]
fn a_step_is_not_called_held_while_an_edit_waits_for_endpoints() {
    let mut world = ModelWorld::new("steps: [{ratio: 10, hold: 1h}, {ratio: 100, hold: 1m}]");
    world.run_until_ratio("10%").run_until_phase(Phase::Holding);
    world.edited_stable_endpoints = Some(0);
    world
        .edit("stable: {service: {name: checkout-v1-1}, version: v1.1}")
        .run("1m");
    assert_eq!(world.condition("Ready"), "False/StableUnavailable");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Pending, "10%")
    );
    assert_eq!(
        world.live().arms.stable.version.as_str(),
        "v1",
        "the arm before serves"
    );
    world.edited_stable_endpoints = None;
    world.run("1s");
    assert_eq!(
        (world.phase(), world.condition("Ready").as_str()),
        (Phase::Holding, "True/Holding")
    );
}

#[test]
fn an_edit_that_waits_for_gray_is_an_event() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%").run_until_phase(Phase::Holding);
    world.gray_endpoints = 0;
    // So the arm that users are on is told of first.
    world.edit("{paused: true, targetRatio: 0}").run("1s");
    let told = world.count(EventReason::GrayUnavailable);
    world.edit("force: Gray").run("1m");
    assert_eq!(world.condition("Stalled"), "True/GrayUnavailable");
    assert_eq!(world.count(EventReason::GrayUnavailable), told + 1);
}

#[test]
fn a_step_is_not_called_held_while_it_cannot_be_written() {
    let full = || Some("no space left on device".to_owned());
    for (status, document) in [(full(), None), (None, full())] {
        let mut world = ModelWorld::new("steps: [{ratio: 10, hold: 1h}, {ratio: 100, hold: 1m}]");
        world.run_until_ratio("10%").run_until_phase(Phase::Holding);
        (world.unwritable, world.unprogrammed) = (status, document);
        world.look();
        let ready = world.condition_now("Ready");
        assert_eq!(
            (ready.as_str(), world.progress.phase()),
            ("False/NotPersisted", Phase::Pending)
        );
    }
}

#[test]
fn under_a_force_it_is_not_told_that_users_are_where_they_would_be_without() {
    // (spec, command, under which force, phase, Promoted)
    for (spec, command, force, phase, promoted) in [
        (
            "",
            ReleaseCommand::Promote,
            "Stable",
            Phase::Paused,
            "False/Forced",
        ),
        (
            "",
            ReleaseCommand::Promote,
            "Gray",
            Phase::Promoted,
            "True/Promoted",
        ),
        (
            "targetRatio: 30",
            ReleaseCommand::Promote,
            "Stable",
            Phase::Paused,
            "False/NotPromoted",
        ),
        (
            "targetRatio: 30",
            ReleaseCommand::Promote,
            "Gray",
            Phase::Paused,
            "False/Forced",
        ),
        (
            "",
            ReleaseCommand::Rollback,
            "Gray",
            Phase::Paused,
            "False/Forced",
        ),
        (
            "",
            ReleaseCommand::Rollback,
            "Stable",
            Phase::RolledBack,
            "False/NotPromoted",
        ),
    ] {
        let mut world = ModelWorld::new(spec);
        world
            .run_until_ratio("10%")
            .run("1s")
            .must(command)
            .run("1s");
        world.edit(&format!("force: {force}")).run("1s");
        assert_eq!(
            (world.phase(), world.condition("Promoted").as_str()),
            (phase, promoted),
            "{force}"
        );
    }
}

#[test]
fn a_plain_route_is_ready_once_somebody_answers() {
    let mut world = ModelWorld::new(PLAIN);
    with(&mut world, 0, 0).run("1m");
    assert_eq!(world.condition("Ready"), "False/StableUnavailable");
    with(&mut world, 1, 0);
    assert_eq!(
        (world.phase(), world.condition("Ready").as_str()),
        (Phase::Idle, "True/Idle")
    );
}

#[test]
fn only_the_arms_that_users_are_sent_to_have_to_be_there() {
    // (spec, whether it is promoted, what counts)
    for (spec, promoted, stable_counts, gray_counts) in [
        ("paused: true", false, true, false),
        (
            "{paused: true, rules: [{name: office, to: Gray, when: [{all: [{source: Path, operator: Exists}]}]}]}",
            false,
            true,
            true,
        ),
        ("", true, false, true),
        (
            "{targetRatio: 30, steps: [{ratio: 30, hold: 1m}]}",
            true,
            true,
            true,
        ),
        ("force: Stable", false, true, false),
        ("force: Gray", false, false, true),
    ] {
        for (stable, gray, counts, reason) in [
            (0, 2, stable_counts, "StableUnavailable"),
            (2, 0, gray_counts, "GrayUnavailable"),
        ] {
            let mut world = ModelWorld::new(spec);
            world.traffic.rps = 0.0;
            world.run("10s");
            if promoted {
                world.must(ReleaseCommand::Promote);
            }
            with(&mut world, stable, gray).run("10s");
            let ready = world.condition("Ready");
            assert_eq!(
                ready == format!("False/{reason}"),
                counts,
                "{spec}: {ready}"
            );
        }
    }
}

#[test]
fn whoever_was_rolled_back_to_a_stable_that_is_gone_is_told_so() {
    let mut world = ModelWorld::new("");
    world
        .run_until_ratio("10%")
        .must(ReleaseCommand::Rollback)
        .run("1s");
    assert_eq!(world.condition("Ready"), "False/RolledBack");
    with(&mut world, 0, 2);
    assert_eq!(world.condition("Stalled"), "True/StableUnavailable");
    assert_eq!(world.condition("Ready"), "False/StableUnavailable");
    assert_eq!(world.count(EventReason::StableUnavailable), 1);
    with(&mut world, 1, 2);
    assert_eq!(world.condition("Ready"), "False/RolledBack");
}

#[test]
fn the_last_hold_at_everyone_ends_without_stable() {
    let mut world = ModelWorld::new("steps: [{ratio: 100, hold: 1m}]");
    world.run_until_ratio("100%");
    with(&mut world, 0, 2).run("10m");
    assert_eq!(world.phase(), Phase::Promoted);
}

#[test]
fn a_port_that_says_it_speaks_something_else_is_told_of_and_stops_nothing() {
    let mut world = ModelWorld::new("");
    world.unspoken = Some("port 80 says appProtocol: https".into());
    world.run_until_ratio("10%").run("1s");
    assert_eq!(world.condition("ProtocolMismatch"), "True/AppProtocol");
    assert_eq!(world.condition("Ready"), "True/Holding");
    assert_eq!(world.count(EventReason::ProtocolMismatch), 1);
    world.unspoken = None;
    world.look();
    assert_eq!(world.condition("ProtocolMismatch"), "-");
}
