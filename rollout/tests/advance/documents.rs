//! Documents: their revisions, whom they replace, and how they end.

use std::{sync::Arc, time::Duration};

use halftone_api::spec::Phase;
use halftone_rollout::{
    command_request::ReleaseCommand,
    observation::Observation,
    withdraw::{Deletion, Withdrawal, withdraw},
};
use halftone_routing::document::{ReleaseState, RoutingConfig, parse};

use crate::world::ModelWorld;

fn at_half() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("30s");
    world
}

fn revision(world: &ModelWorld) -> u64 {
    world.live().revision.get()
}

#[test]
fn a_revision_rises_only_with_the_meaning() {
    let mut world = at_half();
    let before = revision(&world);
    world
        .edit("steps: [{ratio: 50, hold: 1h}, {ratio: 100, hold: 1m}]")
        .must(ReleaseCommand::Pause)
        .edit("paused: true");
    world
        .edit("health: {patience: 2h}")
        .run("10m")
        .restart()
        .run("10m");
    assert_eq!(revision(&world), before);
    world.edit("hosts: [www.example.com]");
    assert_eq!(revision(&world), before + 1);
    assert_eq!(
        world.status.revision,
        Some(i64::try_from(before + 1).unwrap())
    );
}

#[test]
fn the_next_revision_is_above_every_one_that_was_ever_seen() {
    let mut world = at_half();
    world.highest_revision = 40;
    world.run("1s");
    assert_eq!(
        revision(&world),
        41,
        "a proxy that has seen 40 takes nothing below"
    );
    world.run_until_ratio("100%");
    assert_eq!(revision(&world), 42);
}

#[test]
fn a_document_that_somebody_edited_is_written_anew_above_it() {
    let mut world = at_half();
    let before = revision(&world);
    let ours = world.live.clone().unwrap();
    let forged = RoutingConfig {
        hosts: vec!["evil.example.com".parse().unwrap()],
        ..ours.as_ref().clone()
    };
    let forged = RoutingConfig {
        checksum: Some(forged.content_checksum()),
        ..forged
    };
    world.live = Some(Arc::new(forged));
    world.look();
    assert_eq!(
        (revision(&world), &world.live().hosts),
        (before + 1, &ours.hosts)
    );
}

#[test]
fn a_document_that_was_removed_is_written_again() {
    let mut world = at_half();
    let ours = world.live.take();
    world.look();
    assert_eq!(world.live, ours);
}

#[test]
fn the_document_says_where_the_release_stands() {
    let mut world = ModelWorld::new("targetRatio: 50");
    world.run_until_ratio("10%");
    assert_eq!(
        (world.live().state, world.live().moving),
        (ReleaseState::Active, true)
    );
    world.must(ReleaseCommand::Pause);
    assert!(world.live().moving, "paused is still moving");
    world
        .must(ReleaseCommand::Resume)
        .run_until_phase(Phase::TargetReached);
    assert_eq!(
        (world.live().state, world.live().moving),
        (ReleaseState::Active, false)
    );
    world.must(ReleaseCommand::Rollback);
    assert_eq!(
        (world.live().state, world.live().moving),
        (ReleaseState::RolledBack, false)
    );
    assert!(
        world.live().requires.is_empty(),
        "nothing that it does not use"
    );
    world.live().check().unwrap();
}

#[test]
fn an_object_created_anew_goes_on_where_the_old_document_stands() {
    let mut world = at_half();
    let stage = world.live().stage;
    world.recreate("");
    world.tick(Duration::from_millis(500));
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.live().replaces.as_ref().unwrap().as_str(), "uid-1");
    assert_eq!(world.live().stage, stage.next());
    assert!(
        world.predecessor.is_some(),
        "kept until every proxy has the new one"
    );
    world.run("1s");
    assert!(world.predecessor.is_none());
    let revision = revision(&world);
    world.run("50s");
    assert_eq!(
        (world.ratio().as_str(), self::revision(&world)),
        ("50%", revision),
        "its hold begins anew"
    );
    world.run_until_phase(Phase::Promoted);
}

#[test]
fn an_object_created_anew_keeps_what_was_promoted_or_rolled_back() {
    let mut world = ModelWorld::new("");
    world
        .run_until_phase(Phase::Promoted)
        .recreate("")
        .run("2s");
    assert_eq!(
        (world.phase(), world.live().state),
        (Phase::Promoted, ReleaseState::Promoted)
    );
    world.traffic.gray_errors = 0.5;
    world
        .run_until_phase(Phase::RolledBack)
        .recreate("")
        .run("1h");
    assert_eq!(
        (world.phase(), world.live().state),
        (Phase::RolledBack, ReleaseState::RolledBack)
    );
}

#[test]
fn an_object_created_anew_with_another_version_begins_at_zero() {
    let mut world = at_half();
    world.recreate("gray: {version: v3}");
    world.tick(Duration::from_millis(500));
    assert_eq!(world.ratio(), "0%");
    assert_eq!(world.live().replaces.as_ref().unwrap().as_str(), "uid-1");
    let mut world = ModelWorld::new("");
    world
        .run_until_phase(Phase::Promoted)
        .recreate("gray: {version: v3}")
        .run("2s");
    assert_eq!(world.condition("Accepted"), "False/StableNotServing");
    assert!(
        world.predecessor.is_some() && world.live.is_none(),
        "the old document stays"
    );
    assert!(
        !world.message("Accepted").contains("rollback"),
        "nothing of this object takes commands yet"
    );
}

#[test]
fn an_object_created_anew_after_its_routes_were_withdrawn_begins_as_the_spec_says() {
    let mut world = at_half();
    let last = RoutingConfig {
        state: ReleaseState::Withdrawn,
        moving: false,
        ..world.live().clone()
    };
    world.live = Some(Arc::new(RoutingConfig {
        checksum: Some(last.content_checksum()),
        ..last
    }));
    world.recreate("").tick(Duration::from_millis(500));
    assert_eq!(
        (world.ratio().as_str(), world.live().state),
        ("0%", ReleaseState::Active),
        "nobody was served"
    );
    assert_eq!(world.live().replaces.as_ref().unwrap().as_str(), "uid-1");
}

#[test]
fn an_object_created_anew_is_weighed_like_an_edit() {
    let mut world = ModelWorld::new("");
    world.run_until_phase(Phase::Promoted);
    let swapped = "{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v3}, version: v3}}";
    world.edit(swapped).run_until_ratio("10%");
    let reverted = "{stable: {service: {name: checkout-v1}, version: v1}, gray: {service: {name: checkout-v2}, version: v2}}";
    world.recreate(reverted).run("1m");
    assert_eq!(
        (world.phase(), world.condition("Accepted").as_str()),
        (Phase::Promoted, "True/ServingKept")
    );
    let mut world = at_half();
    world
        .recreate("identity: {from: [{header: X-Account}]}")
        .run("1s");
    assert_eq!(
        world.ratio(),
        "10%",
        "users move, so it goes back to the first step"
    );
}

#[test]
fn a_lost_status_is_found_again_in_the_live_document() {
    let mut world = at_half();
    world.status = Default::default();
    world.restart().run("2s");
    assert_eq!(world.ratio(), "50%");
    assert!(world.live().replaces.is_none());
    world.run_until_phase(Phase::Promoted);
}

#[test]
fn an_object_that_is_gone_is_withdrawn_after_a_while_and_then_removed() {
    let mut world = at_half();
    let gone_since = world.wall;
    let live = world.live.clone().unwrap();
    let ask = |world: &ModelWorld, live: &Arc<RoutingConfig>| {
        let withdrawn_since =
            (live.state == ReleaseState::Withdrawn).then(|| gone_since + Duration::from_secs(60));
        let left = Deletion {
            gone_since,
            withdrawn_since,
        };
        withdraw(live, left, &world.observation(None), world.now())
    };
    assert_eq!(
        ask(&world, &live),
        Withdrawal::Wait(Duration::from_secs(10))
    );
    world.wall += Duration::from_secs(55);
    assert_eq!(ask(&world, &live), Withdrawal::Wait(Duration::from_secs(5)));
    world.wall += Duration::from_secs(5);
    let Withdrawal::Write(last, _) = ask(&world, &live) else {
        panic!("not written")
    };
    assert_eq!(
        (last.state, last.revision),
        (ReleaseState::Withdrawn, live.revision.next())
    );
    assert_eq!(last.checksum, Some(last.content_checksum()));
    assert!(
        matches!(ask(&world, &last), Withdrawal::Write(again, _) if again == last),
        "until every proxy has it"
    );
    world.serve_document(&last);
    world.wall += Duration::from_secs(595);
    assert_eq!(
        ask(&world, &last),
        Withdrawal::Wait(Duration::from_secs(5)),
        "its hosts are kept"
    );
    world.wall += Duration::from_secs(5);
    assert_eq!(
        ask(&world, &last),
        Withdrawal::Wait(Duration::from_secs(10)),
        "who takes them sees whose they were"
    );
    world.wall += Duration::from_secs(10);
    assert_eq!(ask(&world, &last), Withdrawal::Remove);
}

#[test]
fn a_document_whose_hosts_are_taken_or_kept_for_nobody_goes_as_soon_as_it_is_withdrawn() {
    let mut world = at_half();
    let last = RoutingConfig {
        state: ReleaseState::Withdrawn,
        moving: false,
        ..world.live().clone()
    };
    let last = Arc::new(RoutingConfig {
        checksum: Some(last.content_checksum()),
        ..last
    });
    world.serve_document(&last);
    let asked = |edit: fn(&mut Observation), withdrawn_since| {
        let mut seen = world.observation(None);
        edit(&mut seen);
        withdraw(
            &last,
            Deletion {
                gone_since: world.wall,
                withdrawn_since,
            },
            &seen,
            world.now(),
        )
    };
    let now = Some(world.wall);
    assert_eq!(
        asked(|seen| seen.taken_over = true, now),
        Withdrawal::Remove
    );
    assert_eq!(
        asked(|seen| seen.fleet.host_reserve = Duration::ZERO, now),
        Withdrawal::Remove
    );
    assert!(matches!(asked(|_| {}, now), Withdrawal::Wait(_)));
    assert!(
        matches!(asked(|_| {}, None), Withdrawal::Write(..)),
        "the time is written first"
    );
}

#[test]
fn the_document_carries_all_that_the_spec_says_to_proxies() {
    let mut world = ModelWorld::new(
        r#"
        hosts: [shop.example.com, "*.shop.example.com"]
        paths: [/checkout]
        stable: {timeouts: {connect: 2s}, maxInFlight: 50, maxTunnels: 70, lenient: true, healthCheck: {path: /healthz}}
        gray: {pathPrefix: /v2}
        identity: {from: [{cookie: user}], whenMissing: Reject, salt: autumn}
        targetRatio: 12.5%
        steps: null
        health: {maxLatency: {p99: 500ms}, errorStatuses: [5xx, "429"]}
        rules: [{name: office, to: Gray, keepOnRollback: true, when: [{all: [{source: ClientIp, operator: InCidr, values: [10.1.0.0/16]}]}]}]
        maxBodyBytes: 1048576
        onUnavailable: Fail
        debug: {value: secret}
        versionHeader: {request: X-V, response: X-V}
        onOperatorLost: {action: Stable, after: 5m}
        "#,
    );
    world.look();
    insta::assert_json_snapshot!(world.live());
    let text = world.live().to_json().unwrap();
    let read = parse::routing(text.as_bytes(), parse::Format::Json).unwrap();
    assert_eq!((read.config, read.ignored), (world.live().clone(), vec![]));
}
