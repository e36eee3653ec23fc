//! Words of a status that only a later version knows, met after going back to this one.

use halftone_api::spec::{Phase, RequestResult};
use halftone_rollout::{command_request::ReleaseCommand, events::EventReason, progress::Progress};
use serde_json::{Value, json};

use crate::world::ModelWorld;

/// A release at 10 %, whose status a later version has written on in words of its own.
fn written_on(change: impl FnOnce(&mut Value)) -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%");
    let mut status = serde_json::to_value(&world.status).unwrap();
    change(&mut status);
    world.status = serde_json::from_value(status).unwrap();
    world
}

#[test]
fn what_tells_of_the_past_is_written_back_as_it_is() {
    let mut world = written_on(|status| {
        status["phase"] = json!("Migrating");
        status["verdict"]["result"] = json!("Doubtful");
        status["lastHandledRequest"] = json!({"request": "merge@x", "result": "Merged", "message": "", "time": "2026-11-21T11:00:00Z"});
        status["history"] = json!([{
            "id": "0011223344556677", "version": "v1", "outcome": "Merged",
            "startedAt": "2026-11-21T10:00:00Z", "endedAt": "2026-11-21T11:00:00Z",
        }]);
    });
    let (history, handled) = (
        world.status.history.clone(),
        world.status.last_handled_request.clone(),
    );
    let document = world.live().clone();
    world.restart().look();
    assert_eq!(
        (&world.status.history, &world.status.last_handled_request),
        (&history, &handled)
    );
    assert_eq!(*world.live(), document, "nobody moves");
    world.run_until_ratio("100%");
    assert_eq!(
        serde_json::to_value(&world.status.history).unwrap()[0]["outcome"],
        "Merged"
    );
}

#[test]
fn a_state_that_is_unknown_is_read_from_the_document_instead() {
    for change in [
        |status: &mut Value| status["state"] = json!("Merging"),
        |status: &mut Value| {
            status["basis"]["force"] = json!("Both");
        },
    ] {
        let mut world = written_on(change);
        let error = Progress::restore(&world.status, None, world.now())
            .unwrap_err()
            .to_string();
        assert!(error.contains("a word of a later version"), "{error}");
        let document = world.live().clone();
        world.progress = Progress::salvage(&world.status, None, world.now());
        world.look();
        assert_eq!(
            (world.live().ratio, world.live().state),
            (document.ratio, document.state)
        );
        world.run_until_ratio("50%");
    }
}

/// A release at 10 % after `happened`, whose status is then read by a version that cannot go on from it.
fn unreadable(happened: impl FnOnce(&mut ModelWorld) -> &mut ModelWorld) -> ModelWorld {
    let mut world = ModelWorld::new("");
    world.run_until_ratio("10%").run("5s");
    happened(&mut world);
    let mut status = serde_json::to_value(&world.status).unwrap();
    status["state"] = json!("Merging");
    world.status = serde_json::from_value(status).unwrap();
    world.progress = Progress::salvage(&world.status, None, world.now());
    world
}

#[test]
fn a_release_that_was_paused_stays_paused_until_a_person_resumes_it() {
    let mut world = unreadable(|world| world.must(ReleaseCommand::Pause));
    world.run("10m").restart().run("10m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Paused, "10%")
    );
    world.must(ReleaseCommand::Resume).run_until_ratio("50%");
}

#[test]
fn a_pause_is_not_lost_while_no_spec_can_be_taken() {
    let mut world = unreadable(|world| world.must(ReleaseCommand::Pause));
    let live = world.live.take();
    world.run("1m").restart().run("1m");
    assert_eq!(
        (world.condition("Accepted").as_str(), &world.live),
        ("False/ServingUnknown", &None)
    );
    world.live = live;
    world.restart().run("10m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::Paused, "10%")
    );
}

#[test]
fn a_rollback_that_proxies_have_not_heard_of_is_carried_out() {
    let mut world = unreadable(|world| {
        world
            .kill_before_next_apply()
            .must(ReleaseCommand::Rollback)
    });
    assert_eq!(world.ratio(), "10%", "written, not applied");
    world.run("10m");
    assert_eq!(
        (world.phase(), world.ratio().as_str()),
        (Phase::RolledBack, "0%")
    );
    assert_eq!(world.status.rollback.as_ref().unwrap().reason, "Requested");
}

#[test]
fn a_request_of_before_is_not_carried_out_again() {
    let mut world = unreadable(|world| {
        world
            .must(ReleaseCommand::Pause)
            .must(ReleaseCommand::Resume)
    });
    let token = world.status.request_token.clone().unwrap();
    world.run("1m");
    assert_ne!(world.progress.request_token(), token);
    assert_eq!(world.count(EventReason::RequestDone), 2);
    assert_eq!(
        world.ask_as(&format!("promote@{token}")).result,
        RequestResult::Stale
    );
}
