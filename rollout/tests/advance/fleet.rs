//! Proxies that lag, leave, join, fall silent, and what their counts tell beside health.

use halftone_api::spec::Phase;
use halftone_rollout::events::EventReason;

use crate::world::{ModelProxy, ModelWorld};

fn at_half() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("30s");
    world
}

#[test]
fn a_straggler_blocks_every_step_and_is_named_after_its_time_out() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%");
    world.proxies[1].deaf = true;
    world.run_until_ratio("50%").run("30s");
    assert_eq!(
        world.condition("Ready"),
        "True/Programming",
        "the operator's own step"
    );
    assert_eq!(world.condition("Reconciling"), "-");
    assert!(
        world
            .status
            .proxies
            .as_ref()
            .unwrap()
            .waiting_for
            .is_empty()
    );
    world.run("31s");
    assert_eq!(
        world.status.proxies.as_ref().unwrap().waiting_for,
        ["proxy-b"]
    );
    assert_eq!(world.condition("Ready"), "False/ProxiesLagging");
    assert_eq!(world.condition("Reconciling"), "True/ProxiesLagging");
    assert_eq!(world.count(EventReason::NotProgrammed), 1);
    world.run("30m");
    assert_eq!(world.ratio(), "50%");
    world.proxies[1].deaf = false;
    world.run_until_ratio("100%");
}

#[test]
fn a_new_generation_is_not_ready_before_every_proxy_has_it() {
    let mut world = at_half();
    world.edit("hosts: [shop.example.com, www.example.com]");
    assert_eq!(world.condition("Ready"), "False/Programming");
    assert_eq!(world.condition("Reconciling"), "True/Programming");
    world.run("2s");
    assert_eq!(world.condition("Ready"), "True/Holding");
    assert_eq!(world.condition("Reconciling"), "-");
}

#[test]
fn without_a_ready_proxy_nothing_advances() {
    let mut world = ModelWorld::new("");
    world.proxies.clear();
    world.run("10m");
    assert_eq!(world.ratio(), "0%");
    assert_eq!(world.condition("Programmed"), "False/NoReadyProxy");
    world.proxies.push(ModelProxy::new("proxy-a"));
    world.run_until_ratio("10%");
}

#[test]
fn a_joiner_does_not_cost_an_acknowledgement_in_its_first_three_polls() {
    let mut world = at_half();
    let mut joiner = ModelProxy::new("proxy-c");
    joiner.deaf = true;
    world.proxies.push(joiner);
    world.run("1s");
    assert_eq!(world.condition("Programmed"), "True/Acknowledged");
    world.run("1s");
    assert_eq!(world.condition("Programmed"), "False/Programming");
    world.proxies[2].terminating = true;
    world.run("1s");
    assert_eq!(
        world.condition("Programmed"),
        "True/Acknowledged",
        "who leaves is not waited for"
    );
}

#[test]
fn a_silent_proxy_stops_the_clock_after_three_polls() {
    let mut world = at_half();
    world.proxies[0].silent = true;
    world.run("30m");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.condition("Progressing"), "False/ReportsMissing");
    assert_eq!(world.count(EventReason::ReportsMissing), 1);
    assert!(world.message("Progressing").contains("proxy-a"));
    world.proxies[0].silent = false;
    world.run("28s");
    assert_eq!(world.ratio(), "50%", "the clock stood");
    world.run("3s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn a_poll_missed_now_and_then_costs_nothing() {
    let mut world = at_half();
    for _ in 0..10 {
        world.proxies[0].silent = true;
        world.run("1s");
        world.proxies[0].silent = false;
        world.run("1s");
    }
    world.run("12s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn a_proxy_that_serves_from_its_disk_blocks_advances() {
    let mut world = at_half();
    world.proxies[0].stale = true;
    world.run("10m");
    assert_eq!(world.ratio(), "50%");
    world.proxies[0].stale = false;
    world.run_until_ratio("100%");
}

#[test]
fn lost_reports_never_roll_back() {
    let mut world = at_half();
    for proxy in &mut world.proxies {
        proxy.silent = true;
    }
    world.traffic.rps = 0.0;
    world.run("10m");
    assert_eq!(world.ratio(), "50%");
}

#[test]
fn an_observed_ratio_far_from_the_wanted_one_is_told() {
    let mut world = at_half();
    assert_eq!(world.condition("RatioDrift"), "False/OnTarget");
    assert_eq!(
        world.status.observed.as_ref().unwrap().ratio.as_deref(),
        Some("50.00%")
    );
    // A few users make most of the requests, all on stable.
    world.heavy_stable_users = 400.0;
    world.run("28s");
    assert_eq!(world.condition("RatioDrift"), "True/RatioDrift");
    assert_eq!(world.count(EventReason::RatioDrift), 1);
    assert_eq!(world.condition("Ready"), "True/Holding", "told, not judged");
}

#[test]
fn stable_is_idle_once_nothing_has_reached_it_for_ten_minutes() {
    let mut world = ModelWorld::new("");
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.condition("StableIdle"), "False/InUse");
    world.run("9m");
    assert_eq!(world.condition("StableIdle"), "False/InUse");
    world.run("2m");
    assert_eq!(world.condition("StableIdle"), "True/NoRequests");
    assert_eq!(world.count(EventReason::StableIdle), 1);
    world.restart().run("1m");
    assert_eq!(
        world.condition("StableIdle"),
        "True/NoRequests",
        "a restart knows it still"
    );
    world.stray_to_stable = 1.0;
    world.run("2s");
    assert_eq!(world.condition("StableIdle"), "False/InUse");
}

#[test]
fn polls_are_fast_only_while_something_is_on_its_way() {
    let mut world = ModelWorld::new("health: {watch: 10m}");
    let seconds = |world: &ModelWorld| world.last_turn.as_ref().unwrap().wake_after.as_secs_f64();
    world.run_until_ratio("10%").run("1s");
    assert_eq!(seconds(&world), 0.5);
    world.run_until_phase(Phase::Promoted).run("9m");
    assert_eq!(seconds(&world), 0.5, "watched");
    world.run("2m");
    assert_eq!(seconds(&world), 10.0);
    world.edit("hosts: [www.example.com]");
    assert_eq!(seconds(&world), 0.5, "a document is on its way");
}

#[test]
fn a_release_that_time_does_not_move_may_rest() {
    let rest = |world: &ModelWorld| {
        world
            .last_turn
            .as_ref()
            .unwrap()
            .rests_for
            .map(|rest| rest.as_secs())
    };
    let mut world = ModelWorld::new("health: {watch: 5m}");
    world.run_until_ratio("10%").run("1s");
    assert_eq!(rest(&world), None, "it is held");
    world.run_until_phase(Phase::Promoted).run("4m");
    assert_eq!(rest(&world), None, "it is watched");
    world.run("2m");
    assert!(
        rest(&world).is_some_and(|rest| rest < 300),
        "stable counts as idle then: {:?}",
        rest(&world)
    );
    world.run("5m");
    assert_eq!(rest(&world), Some(900));
    world.edit("hosts: [www.example.com]");
    assert_eq!(rest(&world), None, "a document is on its way");
    let mut waiting = ModelWorld::new("targetRatio: 0");
    waiting.run("1m");
    assert_eq!(rest(&waiting), Some(900));
    waiting
        .edit("schedule: {timeZone: UTC, windows: []}\ntargetRatio: 100")
        .run("20s");
    assert_eq!(rest(&waiting), None, "it may begin at any time");
    let mut timed = ModelWorld::new("health: {enabled: false}");
    timed.run_until_ratio("10%").run("20s");
    assert_eq!(
        timed.last_turn.as_ref().unwrap().wake_after.as_secs(),
        10,
        "nothing is judged"
    );
}
