//! Another installation takes a release over: it has the object and its status, and no routing document. Nobody moves by
//! an edit that was refused before.

use halftone_api::spec::{Phase, RequestResult};
use halftone_rollout::{command_request::ReleaseCommand, events::EventReason};
use halftone_routing::document::ReleaseState;

use crate::world::ModelWorld;

fn promoted() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_phase(Phase::Promoted).run("1m");
    world
}

fn at_eighty() -> ModelWorld {
    let mut world = ModelWorld::new("steps: [{ratio: 80, hold: 10m}, {ratio: 100, hold: 10m}]");
    world.run_until_ratio("80%").run("1m");
    world
}

fn gray(world: &ModelWorld) -> &str {
    world.live().arms.gray.as_ref().unwrap().version.as_str()
}

#[test]
fn a_release_that_is_handed_over_goes_on_where_it_is() {
    let mut world = promoted();
    world.hand_over();
    world.run("1m");
    assert_eq!((world.ratio().as_str(), gray(&world)), ("100%", "v2"));
    let mut world = at_eighty();
    world.hand_over();
    world.run("1m");
    assert_eq!((world.ratio().as_str(), gray(&world)), ("80%", "v2"));
}

#[test]
fn an_edit_that_leaves_out_the_promoted_version_stays_refused() {
    let mut world = promoted();
    world.edit("gray: {version: v3}").run("1m");
    world.hand_over();
    world.run("1h");
    assert_eq!(
        (world.condition("Accepted").as_str(), &world.live),
        ("False/StableNotServing", &None)
    );
    assert_eq!(
        world.message("Accepted"),
        "v2 serves everyone; name it stable; then this edit is taken by itself"
    );
    assert_eq!(
        world.ask(ReleaseCommand::Rollback).result,
        RequestResult::Refused
    );
    world.restart().run("1h");
    assert!(world.live.is_none(), "after a restart, too");
    world.edit("gray: {version: v2}").run("1s");
    assert_eq!(
        (world.live().state, gray(&world)),
        (ReleaseState::Promoted, "v2"),
        "the edit is taken back"
    );
}

#[test]
fn an_edit_that_names_the_promoted_version_stable_is_taken_by_the_status() {
    for (edit, moved) in [
        (
            "{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v3}}}",
            0,
        ),
        ("stable: {version: v2}", 1),
    ] {
        let mut world = promoted();
        world.edit("gray: {version: v3}").hand_over();
        world.edit(edit).run("1s");
        assert_eq!(
            (
                world.live().arms.stable.version.as_str(),
                world.path().last()
            ),
            ("v2", Some(&"10%"))
        );
        assert_eq!(world.count(EventReason::StableMoved), moved, "{edit}");
    }
}

#[test]
fn a_revert_of_what_serves_everyone_is_kept_by_the_status() {
    let swapped = "{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v1}, version: v3}}";
    let reverted = "{stable: {service: {name: checkout-v1}, version: v1}, gray: {service: {name: checkout-v2}, version: v2}}";
    let mut world = promoted();
    world
        .edit(swapped)
        .run_until_ratio("10%")
        .must(ReleaseCommand::Rollback)
        .run("1m");
    world.hand_over();
    world.edit(reverted).run("1m");
    assert_eq!(
        (world.live().state, gray(&world)),
        (ReleaseState::Promoted, "v2")
    );
    assert_eq!(world.condition("Accepted"), "True/ServingKept");
}

#[test]
fn an_edit_of_identity_above_half_stays_refused() {
    let mut world = at_eighty();
    world
        .edit("identity: {from: [{header: X-Account}]}")
        .run("1m")
        .hand_over();
    world.run("1h");
    assert_eq!(
        (world.condition("Accepted").as_str(), &world.live),
        ("False/IdentityMoves", &None)
    );
}

#[test]
fn another_release_in_the_middle_of_a_split_is_weighed_by_the_status() {
    let mut world = at_eighty();
    world.edit("gray: {version: v3}").run("1m").hand_over();
    world.run("1m");
    assert_eq!(
        (world.condition("Accepted").as_str(), &world.live),
        ("False/StableNotServing", &None)
    );
    assert_eq!(
        world.message("Accepted"),
        "v2 serves 80%; name it stable; then this edit is taken by itself"
    );
    world
        .edit("{gray: {version: v2}, targetRatio: 90}")
        .run("1s");
    assert_eq!((world.ratio().as_str(), gray(&world)), ("80%", "v2"));
    let mut world = ModelWorld::new("");
    world.run_until_ratio("50%").hand_over();
    world.edit("gray: {version: v3}");
    assert_eq!(
        (world.ratio().as_str(), gray(&world)),
        ("0%", "v3"),
        "beside the version that serves"
    );
}

#[test]
fn a_force_that_stood_sends_nobody_to_a_version_that_is_written_later() {
    let mut world = at_eighty();
    world
        .edit("force: Gray")
        .run("1m")
        .edit("gray: {version: v3}")
        .hand_over();
    world.run("1h");
    assert_eq!(
        (world.condition("Accepted").as_str(), &world.live),
        ("False/ForceStands", &None)
    );
}

/// Edited and promoted by another installation, which has then met an edit that it refused.
fn handed_back(taken: &str, refused: &str) -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%").run("1s");
    let left = world.hand_over();
    world
        .edit(taken)
        .run_until_phase(Phase::Promoted)
        .run("1m")
        .edit(refused)
        .run("1m");
    world.hand_back(left).run("1m");
    world
}

#[test]
fn an_edit_that_another_installation_refused_stays_refused_where_an_older_document_is() {
    let world = handed_back("{}", "gray: {version: v3}");
    assert_eq!(world.condition("Accepted"), "False/StableNotServing");
    assert_eq!(
        (world.live().state, gray(&world)),
        (ReleaseState::Promoted, "v2"),
        "the spec before goes on"
    );
    assert_eq!(
        world.live().claims,
        [],
        "it has had its places from the beginning"
    );
}

#[test]
fn neither_an_older_document_nor_its_spec_come_back_into_effect_when_nothing_newer_can() {
    for refused in ["gray: {version: v3}", "targetRatio: 200"] {
        let mut world = handed_back("stable: {version: v1.1}", refused);
        let (live, revision) = (world.live.clone(), world.status.revision);
        world.run("1h").restart().run("1h");
        assert_eq!(
            (&world.live, world.status.revision),
            (&live, revision),
            "traffic stays exactly as it is"
        );
        world
            .edit("{targetRatio: 100, gray: {version: v2}}")
            .run("1s");
        assert_eq!(
            (
                world.ratio().as_str(),
                world.live().arms.stable.version.as_str()
            ),
            ("100%", "v1.1")
        );
    }
}

#[test]
fn a_document_of_an_object_before_the_hand_over_is_not_gone_on_from() {
    let mut world = promoted();
    let left = world.hand_over();
    world.run("1m");
    world.recreate("{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v3}, version: v3}}");
    world
        .run_until_ratio("50%")
        .run("1s")
        .hand_back(left)
        .run("1s");
    assert_eq!((world.ratio().as_str(), gray(&world)), ("50%", "v3"));
}

#[test]
fn a_spec_that_was_in_effect_before_the_hand_over_is_weighed_again() {
    let mut world = ModelWorld::new(
        "steps: [{ratio: 10, hold: 1m}, {ratio: 80, hold: 1h}, {ratio: 100, hold: 1m}]",
    );
    world.run_until_ratio("10%").run("1s");
    let left = world.hand_over();
    world
        .edit("identity: {from: [{header: X-Account}]}")
        .run_until_ratio("80%");
    world
        .edit("identity: null")
        .run("1m")
        .hand_back(left)
        .run("1m");
    assert_eq!(world.condition("Accepted"), "False/IdentityMoves");
    assert_eq!(world.status.ratio.as_deref(), Some("80%"));
}

#[test]
fn an_older_document_of_the_release_that_is_written_again_is_not_gone_on_from() {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%").run("1s");
    let left = world.hand_over();
    world.run_until_phase(Phase::Promoted).run("1m");
    let next = "{stable: {service: {name: checkout-v2}, version: v2}, gray: {service: {name: checkout-v1}, version: v3}}";
    world.edit(next).run("1s").hand_back(left);
    world.edit("{stable: {service: {name: checkout-v1}, version: v1}, gray: {service: {name: checkout-v2}, version: v2}}").run("1m");
    assert_eq!(
        (world.live().state, gray(&world)),
        (ReleaseState::Promoted, "v2"),
        "everyone stays on v2"
    );
}

#[test]
fn where_status_and_document_are_lost_nobody_is_moved_while_proxies_still_route() {
    let mut world = promoted();
    (world.status, world.highest_revision) = (Default::default(), 4);
    world.hand_over();
    world.run("1h");
    assert_eq!(
        (world.condition("Accepted").as_str(), &world.live),
        ("False/ServingUnknown", &None)
    );
    world.edit("force: Gray").run("1s");
    assert!(world.live().force.is_some());
}
