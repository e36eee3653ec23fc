//! Kill -9 at any moment: the status alone, with the live document, is enough to go on.

use halftone_api::{
    GrayReleaseStatus, Obstacle,
    spec::{Phase, RequestResult},
};
use halftone_rollout::{command_request::ReleaseCommand, progress::Progress};
use halftone_routing::document::ReleaseState;
use jiff::SignedDuration;

use crate::world::ModelWorld;

#[test]
fn a_restart_in_the_middle_of_a_hold_goes_on_with_the_rest() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("30s").restart().run("29s");
    assert_eq!(world.ratio(), "50%");
    world.run("3s");
    assert_eq!(world.ratio(), "100%");
}

#[test]
fn what_a_clock_says_after_a_restart_is_kept_within_the_hold() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("30s");
    world
        .turn_clocks(SignedDuration::from_hours(-500))
        .run("59s");
    assert_eq!(world.ratio(), "50%");
    world.run("4s");
    assert_eq!(world.ratio(), "100%", "never more than the whole");
}

#[test]
fn a_kill_between_status_and_document_is_repaired() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%").kill_before_next_apply();
    let revision = world.live().revision;
    world.run_until("written", |world| {
        world.status.ratio.as_deref() == Some("50%")
    });
    assert_eq!(
        world.live().ratio.to_string(),
        "10%",
        "written, not applied"
    );
    world.run("1s");
    assert_eq!(world.ratio(), "50%");
    assert!(world.live().revision > revision);
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
}

#[test]
fn a_kill_on_the_way_back_moves_nobody_to_a_stable_arm_that_has_gone_since() {
    let mut world = ModelWorld::new("");
    world
        .run_until_ratio("50%")
        .kill_before_next_apply()
        .edit("targetRatio: 20");
    assert_eq!(
        world.status.ratio.as_deref(),
        Some("20%"),
        "written, not applied"
    );
    world.stable_endpoints = 0;
    world.run("10m");
    assert_eq!(world.ratio(), "50%");
    assert_eq!(world.condition("Stalled"), "True/StableUnavailable");
    world.stable_endpoints = 1;
    world.run("1s");
    assert_eq!(world.ratio(), "20%");
}

#[test]
fn a_kill_at_every_turn_skips_no_step_and_repeats_none() {
    let mut world = ModelWorld::new("health: {enabled: false}");
    world.kill_before_next_apply();
    for _ in 0..2000 {
        world.tick(std::time::Duration::from_millis(500));
        world.restart();
    }
    assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
    assert_eq!(world.phase(), Phase::Promoted);
}

#[test]
fn a_status_survives_its_way_through_json() {
    let mut world = ModelWorld::new("health: {onInconclusive: Pause}");
    world
        .run_until_ratio("50%")
        .run("20s")
        .must(ReleaseCommand::Pause);
    let text = serde_json::to_string(&world.status).unwrap();
    let read: GrayReleaseStatus = serde_json::from_str(&text).unwrap();
    assert_eq!(read, world.status);
    let restored = Progress::restore(&read, None, world.now()).unwrap();
    assert_eq!(
        restored.status().without_figures(),
        world.status.without_figures()
    );
}

#[test]
fn figures_alone_are_no_reason_to_write_before_the_document() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("20s");
    let before = world.status.without_figures();
    world.run("5s");
    assert_ne!(world.status.verdict, None);
    assert_eq!(world.status.without_figures(), before);
    world.must(ReleaseCommand::Pause);
    assert_ne!(world.status.without_figures(), before);
}

#[test]
fn a_status_that_somebody_else_wrote_is_refused_with_its_field() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").run("20s");
    type Spoil = fn(&mut GrayReleaseStatus);
    let wrong: [(&str, Spoil); 5] = [
        ("status.ratio: ", |status| {
            status.ratio = Some("many".into())
        }),
        ("status.stage: ", |status| status.stage = Some(-4)),
        ("status.release.id: ", |status| {
            status.release.as_mut().unwrap().id = "x".into()
        }),
        ("status.step: is missing", |status| status.step = None),
        ("status.step.holdLeft: ", |status| {
            let step = status.step.as_mut().unwrap();
            (step.hold_ends_at, step.hold_left) = (None, Some("soon".into()));
        }),
    ];
    for (place, spoil) in wrong {
        let mut status = world.status.clone();
        spoil(&mut status);
        let error = Progress::restore(&status, None, world.now())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(place), "{error}");
    }
}

/// A promoted release whose next spec is held back, each for another reason, after a restart.
fn held_after_a_restart() -> [ModelWorld; 3] {
    let promoted = || {
        let mut world = ModelWorld::new("health: {watch: 1h}");
        world.run_until_phase(Phase::Promoted).run("1m");
        world
    };
    let mut not_serving = promoted();
    not_serving.edit("gray: {version: v3}");
    let mut broken = promoted();
    broken.edit("targetRatio: 200");
    let mut refused = promoted();
    refused.refusal = Some(Obstacle::new("HostConflict", "taken"));
    refused.edit("hosts: [www.example.com]");
    let mut worlds = [not_serving, broken, refused];
    for world in &mut worlds {
        world.run("1m").restart().run("10s");
        assert_eq!(
            (world.phase(), world.ratio().as_str()),
            (Phase::Refused, "100%")
        );
    }
    worlds
}

#[test]
fn a_release_whose_next_spec_is_held_back_is_judged_after_a_restart() {
    for mut world in held_after_a_restart() {
        world.traffic.gray_errors = 0.5;
        world.run("5s");
        assert_eq!(
            (world.ratio().as_str(), world.live().state),
            ("0%", ReleaseState::RolledBack)
        );
    }
}

#[test]
fn a_release_whose_next_spec_is_held_back_is_steered_after_a_restart() {
    for mut world in held_after_a_restart() {
        world.must(ReleaseCommand::Rollback);
        assert_eq!(world.live().state, ReleaseState::RolledBack);
    }
}

#[test]
fn where_the_spec_in_effect_is_lost_the_live_document_is_enough_to_go_back() {
    for mut world in held_after_a_restart() {
        world.accepted = None;
        let (live, revision) = (world.live.clone(), world.status.revision);
        world.restart().run("10m");
        assert_eq!(
            (&world.live, world.status.revision),
            (&live, revision),
            "traffic stays exactly as it is"
        );
        assert_eq!(
            world.ask(ReleaseCommand::Promote).result,
            RequestResult::Refused
        );
        world.must(ReleaseCommand::Rollback);
        assert_eq!(world.live().state, ReleaseState::RolledBack);
    }
}

#[test]
fn a_moving_release_whose_spec_is_lost_stays_where_it_is_until_a_spec_is_taken() {
    let mut world = ModelWorld::new("");
    world
        .run_until_ratio("50%")
        .run("5s")
        .edit("targetRatio: 200");
    world.accepted = None;
    world.restart().run("10m");
    assert_eq!(world.ratio(), "50%");
    world.edit("targetRatio: 100").run("1m");
    assert_eq!(world.ratio(), "100%", "its hold has run on");
}

#[test]
fn where_status_and_spec_are_lost_the_live_document_is_enough_to_go_back() {
    let mut world = ModelWorld::new("");
    world
        .run_until_ratio("50%")
        .run("5s")
        .edit("targetRatio: 200");
    (world.accepted, world.status) = (None, GrayReleaseStatus::default());
    world.restart().run("10s");
    assert_eq!(world.ratio(), "50%");
    world.must(ReleaseCommand::Rollback);
    assert_eq!(world.ratio(), "0%");
}

#[test]
fn where_nothing_was_ever_accepted_a_request_is_refused() {
    let mut world = ModelWorld::new("");
    world.refusal = Some(Obstacle::new("HostConflict", "taken"));
    world.run("1s");
    let answer = world.ask_as("rollback@1f0c");
    assert_eq!(answer.result, RequestResult::Refused);
    assert!(
        answer
            .message
            .contains("nothing of this release is in effect"),
        "{}",
        answer.message
    );
}
