//! The conditions of every state that the documentation tells of, as people and tools read them.

use std::fmt::Write;

use halftone_api::spec::Phase;
use halftone_rollout::command_request::ReleaseCommand;

use crate::{recorded, world::ModelWorld};

/// Phase and conditions, one a line.
fn told(world: &ModelWorld) -> String {
    let mut text = format!(
        "{:?} {} {}\n",
        world.phase(),
        world.status.step.as_ref().map_or("-", |step| &step.display),
        world.ratio()
    );
    for condition in &world.status.conditions {
        assert_eq!(condition.observed_generation, Some(world.generation));
        let (kind, status) = (&condition.type_, &condition.status);
        writeln!(
            text,
            "{kind:<13}{status:<8}{:<20}{}",
            condition.reason, condition.message
        )
        .unwrap();
    }
    text
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident: $script:expr;)*) => {
        $(#[test] $(#[$doc])* fn $name() {
            let script: fn() -> ModelWorld = $script;
            let world = script();
            insta::assert_snapshot!(told(&world));
            recorded::check(stringify!($name), &world);
        })*
    };
}

fn world() -> ModelWorld {
    let mut world =
        ModelWorld::new("steps: [{ratio: 10, hold: 1m, approval: true}, {ratio: 100, hold: 1m}]");
    world.run("0s").look();
    world
}

states! {
    pending_before_any_proxy_has_the_document: world;
    holding: || { let mut world = world(); world.run_until_phase(Phase::Holding); world };
    awaiting_approval: || { let mut world = world(); world.run_until_phase(Phase::AwaitingApproval); world };
    awaiting_the_window: || {
        let mut world = world();
        world.edit("schedule: {timeZone: UTC, windows: []}").run_until_phase(Phase::AwaitingWindow);
        world
    };
    awaiting_traffic: || {
        let mut world = world();
        world.traffic.rps = 0.0;
        world.run_until_phase(Phase::AwaitingTraffic);
        world
    };
    awaiting_traffic_beyond_patience: || {
        let mut world = world();
        world.traffic.rps = 0.0;
        world.run_until_phase(Phase::AwaitingTraffic).run("61m");
        world
    };
    paused_by_command: || {
        let mut world = world();
        world.run_until_phase(Phase::Holding).must(ReleaseCommand::Pause);
        world
    };
    paused_by_a_failure: || {
        let mut world = world();
        world.edit("health: {onFailure: Pause}").run_until_ratio("10%");
        world.traffic.gray_errors = 1.0;
        world.run_until_phase(Phase::Paused);
        world
    };
    idle: || { let mut world = world(); world.edit("targetRatio: 0").run("1s"); world };
    plain: || { let mut world = world(); world.edit("{gray: null, targetRatio: null}").run("1s"); world };
    target_reached: || {
        let mut world = world();
        world.edit("{targetRatio: 30, steps: [{ratio: 30, hold: 1m}]}").run_until_phase(Phase::TargetReached);
        world
    };
    promoted: || { let mut world = world(); world.must(ReleaseCommand::Promote).run("1s"); world };
    forced: || { let mut world = world(); world.edit("force: Gray").run("1s"); world };
    rolling_back: || {
        let mut world = world();
        world.run_until_ratio("10%");
        world.proxies[0].deaf = true;
        world.must(ReleaseCommand::Rollback);
        world
    };
    rolled_back_by_request: || {
        let mut world = world();
        world.run_until_ratio("10%").must(ReleaseCommand::Rollback).run("1s");
        world
    };
    rolled_back_by_verdict: || {
        let mut world = world();
        world.run_until_ratio("10%");
        world.traffic.gray_errors = 1.0;
        world.run_until_phase(Phase::RolledBack);
        world
    };
    frozen_for_want_of_stable: || {
        let mut world = world();
        world.run_until_ratio("10%");
        world.traffic.gray_errors = 1.0;
        world.stable_endpoints = 0;
        world.run("10s");
        world
    };
    refused: || { let mut world = world(); world.edit("targetRatio: 300").run("1s"); world };
    new_generation_on_its_way: || {
        let mut world = world();
        world.run_until_phase(Phase::Holding).edit("hosts: [www.example.com]");
        world
    };
    step_with_a_straggler: || {
        let mut world = world();
        world.proxies[1].deaf = true;
        world.run_until_ratio("10%").run("61s");
        world
    };
    reports_missing: || {
        let mut world = world();
        world.run_until_phase(Phase::Holding);
        world.proxies[1].silent = true;
        world.run("10s");
        world
    };
}
