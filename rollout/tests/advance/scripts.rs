//! Random scripts of edits, requests, faults, clock jumps and restarts. What holds whatever happens is checked at
//! every turn, by `audit`; here things only happen.

use std::{num::NonZeroU32, time::Duration};

use halftone_api::{Obstacle, spec::Phase};
use halftone_rollout::command_request::ReleaseCommand;
use halftone_routing::document::{arm::Backend, rule::Target};
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::world::{ModelProxy, ModelWorld};

/// Something that happens.
#[derive(Debug, Clone, Copy)]
enum ScriptStep {
    Time(u16),
    Edit(usize),
    /// The object is deleted, and created with an edit.
    Recreate(usize),
    Ask(usize),
    GrayErrors(u8),
    StableErrors(u8),
    Traffic(bool),
    StableEndpoints(bool),
    GrayEndpoints(bool),
    Deaf(usize, bool),
    Silent(usize, bool),
    Stale(usize, bool),
    Join,
    Leave(usize),
    Refusal(bool),
    Unresolved(bool),
    Unwritable(bool),
    WallJump(i16),
    Restart,
    Kill,
}

const EDITS: [&str; 21] = [
    "targetRatio: 100",
    "targetRatio: 30",
    "targetRatio: 0",
    "targetRatio: 200",
    "steps: [{ratio: 10, hold: 20s}, {ratio: 50, hold: 10s, approval: true}, {ratio: 100, hold: 10s}]",
    "steps: [{ratio: 0, hold: 20s}, {ratio: 5, hold: 5s}, {ratio: 20, hold: 5s}]",
    "gray: {version: v3}",
    "gray: {version: v2}",
    "stable: {version: v1.1}",
    "{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v1}, version: v3}}",
    "identity: {from: [{header: X-Account}]}",
    "health: {onFailure: Pause, patience: 10s, onInconclusive: Rollback}",
    "health: {enabled: false}",
    "{health: {include: [Rule]}, rules: [{name: beta, to: Gray, when: [{all: [{source: Identity, operator: In, values: [lin]}]}]}]}",
    "force: Stable",
    "force: None",
    "force: Gray",
    "identity: {from: [{header: X-Account}], whenMissing: Gray}",
    "{stable: {service: {name: checkout-v1}, version: v1}, gray: {service: {name: checkout-v2}, version: v2}}",
    "{gray: {service: {name: checkout-v2}, version: v2}, stable: {service: {name: checkout-v1}, version: v2.1}}",
    "schedule: {timeZone: Europe/Berlin, windows: [{days: [Sat], from: '13:00', to: '13:02'}]}",
];

const COMMANDS: [ReleaseCommand; 7] = [
    ReleaseCommand::Approve(None),
    ReleaseCommand::Approve(Some(NonZeroU32::MIN)),
    ReleaseCommand::Promote,
    ReleaseCommand::Rollback,
    ReleaseCommand::Retry,
    ReleaseCommand::Pause,
    ReleaseCommand::Resume,
];

fn happening() -> impl Strategy<Value = ScriptStep> {
    use ScriptStep::*;
    prop_oneof![
        6 => (1u16..60).prop_map(Time),
        4 => (0..EDITS.len()).prop_map(Edit),
        1 => (0..EDITS.len()).prop_map(Recreate),
        3 => (0..COMMANDS.len()).prop_map(Ask),
        2 => (0u8..100).prop_map(GrayErrors),
        1 => (0u8..100).prop_map(StableErrors),
        1 => any::<bool>().prop_map(Traffic),
        1 => any::<bool>().prop_map(StableEndpoints),
        1 => any::<bool>().prop_map(GrayEndpoints),
        1 => (0usize..3, any::<bool>()).prop_map(|(at, on)| Deaf(at, on)),
        1 => (0usize..3, any::<bool>()).prop_map(|(at, on)| Silent(at, on)),
        1 => (0usize..3, any::<bool>()).prop_map(|(at, on)| Stale(at, on)),
        1 => Just(Join),
        1 => (0usize..3).prop_map(Leave),
        1 => any::<bool>().prop_map(Refusal),
        1 => any::<bool>().prop_map(Unresolved),
        1 => any::<bool>().prop_map(Unwritable),
        1 => any::<i16>().prop_map(WallJump),
        2 => Just(Restart),
        1 => Just(Kill),
    ]
}

fn happen(world: &mut ModelWorld, what: ScriptStep) {
    let proxy = |world: &mut ModelWorld, at: usize, change: &dyn Fn(&mut ModelProxy)| {
        if let Some(proxy) = world.proxies.get_mut(at) {
            change(proxy);
        }
    };
    match what {
        ScriptStep::Time(seconds) => drop(world.run(&format!("{seconds}s"))),
        ScriptStep::Edit(at) => drop(world.edit(EDITS[at])),
        ScriptStep::Recreate(at) => drop(world.recreate(EDITS[at])),
        ScriptStep::Ask(at) => {
            let token = world.progress.request_token().to_owned();
            world.request = Some(
                halftone_rollout::command_request::CommandRequest::new(COMMANDS[at], token)
                    .to_string(),
            );
            world.look();
        }
        ScriptStep::GrayErrors(percent) => {
            world.traffic.gray_errors = f64::from(percent % 60) / 100.0
        }
        ScriptStep::StableErrors(percent) => {
            world.traffic.stable_errors = f64::from(percent % 60) / 100.0
        }
        ScriptStep::Traffic(on) => world.traffic.rps = if on { 200.0 } else { 0.0 },
        ScriptStep::StableEndpoints(up) => world.stable_endpoints = usize::from(up),
        ScriptStep::GrayEndpoints(up) => world.gray_endpoints = usize::from(up),
        ScriptStep::Deaf(at, on) => proxy(world, at, &|proxy| proxy.deaf = on),
        ScriptStep::Silent(at, on) => proxy(world, at, &|proxy| proxy.silent = on),
        ScriptStep::Stale(at, on) => proxy(world, at, &|proxy| proxy.stale = on),
        ScriptStep::Join => world
            .proxies
            .push(ModelProxy::new(&format!("joiner-{}", world.proxies.len()))),
        ScriptStep::Leave(at) => {
            if at < world.proxies.len() {
                world.proxies.remove(at);
            }
        }
        ScriptStep::Refusal(on) => {
            world.refusal = on.then(|| Obstacle::new("HostConflict", "taken"))
        }
        ScriptStep::Unresolved(on) => {
            world.unresolved = on.then(|| Obstacle::new("ServiceNotFound", "gone"))
        }
        ScriptStep::Unwritable(on) => world.unwritable = on.then(|| "no space".into()),
        ScriptStep::WallJump(minutes) => {
            world.wall += SignedDuration::from_mins(i64::from(minutes))
        }
        ScriptStep::Restart => {
            // What was not written is lost with the process; the audit counts on what was.
            world.unwritable = None;
            world.look().restart();
        }
        ScriptStep::Kill => drop(world.kill_before_next_apply()),
    }
}

/// Everything is well again.
fn heal(world: &mut ModelWorld) {
    world.proxies = vec![ModelProxy::new("healed-a"), ModelProxy::new("healed-b")];
    world.refusal = None;
    world.unresolved = None;
    world.unwritable = None;
    (world.stable_endpoints, world.gray_endpoints) = (1, 1);
    (
        world.traffic.gray_errors,
        world.traffic.stable_errors,
        world.traffic.rps,
    ) = (0.0, 0.0, 400.0);
    world.edit("{force: null, paused: null, schedule: null, health: null, targetRatio: 100}");
}

/// The arm where most users are, as the next release has to name it.
fn serving(world: &ModelWorld) -> String {
    let Some(live) = world.live.as_ref().or(world.predecessor.as_ref()) else {
        return "{version: v1}".to_owned();
    };
    let mostly_gray = match live.force {
        Some(forced) => forced == Target::Gray,
        None => live.ratio.fraction() > 0.5,
    };
    let gray = live.arms.gray.as_deref().filter(|_| mostly_gray);
    let most = gray.unwrap_or(&live.arms.stable);
    let Backend::Service(service) = &most.backend else {
        panic!("{most:?}")
    };
    format!(
        "{{service: {{name: {}}}, version: {}}}",
        service.name, most.version
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(script in prop::collection::vec(happening(), 1..40)) {
        let mut world = ModelWorld::new("steps: [{ratio: 10, hold: 15s}, {ratio: 50, hold: 15s}, {ratio: 100, hold: 15s}]");
        for what in script {
            happen(&mut world, what);
        }
    }

    #[test]
    fn once_all_is_well_again_a_retried_release_reaches_its_target(
        script in prop::collection::vec(happening(), 1..20),
    ) {
        let mut world = ModelWorld::new("steps: [{ratio: 10, hold: 15s}, {ratio: 50, hold: 15s}, {ratio: 100, hold: 15s}]");
        for what in script {
            happen(&mut world, what);
        }
        heal(&mut world);
        // Another version beside the one that serves most users begins at zero whatever went before.
        let stable = serving(&world);
        let gray = "{service: {name: checkout-v9, port: 80}, version: v9}";
        let steps = "steps: [{ratio: 20, hold: 10s}, {ratio: 100, hold: 10s}]";
        world.edit(&format!("{{stable: {stable}, gray: {gray}, {steps}}}"));
        world.run_until_phase(Phase::Promoted);
    }

    #[test]
    fn kills_between_any_two_writes_leave_the_path_as_it_is(
        kills in prop::collection::vec((1u64..40_000, any::<bool>()), 1..12),
    ) {
        let mut world = ModelWorld::new("");
        for (millis, before_apply) in kills {
            if before_apply {
                world.kill_before_next_apply();
            }
            world.run(&format!("{millis}ms"));
            world.restart();
        }
        for _ in 0..2000 {
            if world.phase() == Phase::Promoted {
                break;
            }
            world.tick(Duration::from_millis(500));
        }
        prop_assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
    }
}
