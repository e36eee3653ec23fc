//! `halftone run` and `halftone demo` as a user meets them: the real program, with nginx and Python's http.server as
//! the two versions of a service.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in tests a failed assumption should end the test")]

#[path = "run/world.rs"]
mod world;

use std::time::Duration;

use serde_json::Value;

use crate::world::{Nginx, Python, Run, Users, World, until};

#[test]
fn the_demo_ends_as_announced() {
    let output = world::halftone().args(["demo", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let ends: Vec<_> = lines
        .iter()
        .map(|line| (line["release"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(ends, [("good", "Promoted"), ("failing", "RolledBack"), ("slow", "RolledBack")]);
    assert!(lines.iter().all(|line| line["expected"] == line["outcome"]));
    assert_eq!(lines[0]["faultToZeroSeconds"], Value::Null);
    assert_eq!(lines[0]["requestsHit"], 0);
    for broken in &lines[1..] {
        assert!(broken["faultToZeroSeconds"].as_f64().unwrap() > 0.0);
        assert!(broken["requestsHit"].as_u64().unwrap() >= broken["usersHit"].as_u64().unwrap());
    }
}

#[test]
fn a_gray_version_that_is_stopped_on_its_way_is_rolled_back() {
    let world = World::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(stable.port, gray.port, "{ratio: 20, hold: 2s}, {ratio: 60, hold: 60s}"));
    let run = Run::start(&world);
    let users = Users::arrive(run.listen);
    run.until("it climbs to 60%", |status| status["ratio"] == "60%");
    let status = run.until("the split is seen", |status| status["observed"]["requests"].as_i64() > Some(300));
    let observed: f64 = status["observed"]["ratio"].as_str().unwrap().trim_end_matches('%').parse().unwrap();
    assert!((45.0..75.0).contains(&observed), "{observed}");
    drop(gray);
    let status = run.until("it is rolled back", |status| status["phase"] == "RolledBack");
    assert_eq!(status["ratio"], "0%");
    assert_eq!(status["rollback"]["reason"], "LimitBroken");
    users.until_all_served();
}

#[test]
fn a_killed_run_goes_on_in_the_middle_of_a_hold() {
    let world = World::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(stable.port, gray.port, "{ratio: 20, hold: 1s}, {ratio: 60, hold: 20s}"));
    let run = Run::start(&world);
    let users = Users::arrive(run.listen);
    let before = run.until("the second hold runs", |status| {
        status["ratio"] == "60%" && status["step"]["holdEndsAt"].is_string()
    });
    let listen = run.listen;
    run.kill();
    let run = Run::start_at(&world, listen);
    let after = run.until("the hold goes on", |status| status["step"]["holdEndsAt"].is_string());
    assert_eq!(after["ratio"], "60%");
    assert_eq!(after["stage"], before["stage"]);
    assert_eq!(after["revision"], before["revision"]);
    assert_eq!(after["step"]["startedAt"], before["step"]["startedAt"]);
    let ends =
        |status: &Value| status["step"]["holdEndsAt"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let later = ends(&after).duration_since(ends(&before)).as_secs_f64();
    assert!((-1.0..10.0).contains(&later), "the hold did not start anew: {later} s");
    run.steer(&["promote", "checkout"]).success();
    run.until("it ends", |status| status["phase"] == "Promoted" || status["ratio"] == "100%");
    drop(users);
}

#[test]
fn a_broken_edit_changes_nothing_and_says_where_it_is_wrong() {
    let world = World::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    let good = world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}");
    world.write(&good);
    let run = Run::start(&world);
    let before = run.until("it holds", |status| status["ratio"] == "20%");
    world.write(&good.replace("ratio: 20", "ratio: 120"));
    let status = run.until("the edit is refused", |status| status["phase"] == "Refused");
    assert_eq!((&status["ratio"], &status["revision"]), (&before["ratio"], &before["revision"]));
    let told = status["conditions"].to_string();
    assert!(told.contains("release.yaml") && told.contains("steps[0].ratio"), "{told}");
    assert_eq!(world::get(run.listen, "u").0, 200);
    world.write(&good);
    run.until("the good one is taken", |status| status["phase"] == "Holding");
}

#[test]
fn a_person_steers_it() {
    let world = World::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(
        stable.port,
        gray.port,
        "{ratio: 20, hold: 500ms, approval: true}, {ratio: 60, hold: 600s}",
    ));
    let run = Run::start(&world);
    let users = Users::arrive(run.listen);
    run.until("it waits for a person", |status| status["phase"] == "AwaitingApproval");
    run.steer(&["approve", "shop/checkout", "--step", "2"]).failure();
    run.steer(&["pause", "checkout"]).success();
    run.until("it is paused", |status| status["paused"] == true);
    run.steer(&["resume", "checkout"]).success();
    run.steer(&["approve", "checkout", "--step", "1"]).success();
    run.until("it goes on", |status| status["ratio"] == "60%");
    run.steer(&["rollback", "checkout"]).success();
    let status = run.until("it is back", |status| status["phase"] == "RolledBack");
    assert_eq!(status["rollback"]["reason"], "Requested");
    run.steer(&["retry", "checkout"]).success();
    let status = run.until("it begins again", |status| status["ratio"] == "20%");
    assert_eq!(status["release"]["attempt"], 2);
    let unknown = run.steer(&["pause", "basket"]).failure();
    assert!(String::from_utf8_lossy(&unknown.get_output().stderr).contains("shop/checkout"));
    drop(users);
}

#[test]
fn a_second_run_on_the_same_state_is_refused() {
    let world = World::new();
    world.write(&world.manifest(1, 2, "{ratio: 20, hold: 600s}"));
    let _run = Run::start(&world);
    let second = world.command().assert().failure();
    let told = String::from_utf8_lossy(&second.get_output().stderr).into_owned();
    assert!(told.contains("another halftone run") && told.contains("--state"), "{told}");
}

#[test]
fn a_service_is_refused_with_what_to_write_instead() {
    let world = World::new();
    let manifest = world.manifest(1, 2, "{ratio: 20, hold: 1s}");
    world.write(&manifest.replace(r#"addresses: ["127.0.0.1:2"]"#, "service: {name: checkout-v2, port: 80}"));
    let refused = world.command().assert().failure();
    let told = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(told.contains("checkout-v2") && told.contains("addresses:"), "{told}");
}

#[test]
fn a_port_that_is_taken_names_the_flag() {
    let world = World::new();
    world.write(&world.manifest(1, 2, "{ratio: 20, hold: 1s}"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = world.command();
    let refused = command.args(["--admin", &address]).assert().failure();
    let told = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(told.contains("--admin") && told.contains(&address), "{told}");
}

#[test]
fn where_nothing_runs_the_commands_say_so() {
    let world = World::new();
    let told = world.steer(&["status"]).failure();
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("no halftone run"), "{told}");
}

#[test]
fn a_removed_manifest_goes_on_serving_for_a_while() {
    let world = World::new();
    let stable = Nginx::start(&world);
    world.write(
        &world
            .manifest(stable.port, 2, "{ratio: 20, hold: 600s, approval: true}")
            .replace("targetRatio: 100", "targetRatio: 0"),
    );
    let run = Run::start(&world);
    run.until("it is idle", |status| status["phase"] == "Idle");
    std::fs::remove_file(world.file()).unwrap();
    until("requests for it are refused", Duration::from_secs(20), || {
        let told = world.steer(&["pause", "checkout"]);
        String::from_utf8_lossy(&told.get_output().stderr).contains("its manifest is gone")
    });
    assert_eq!(world::get(run.listen, "u").0, 200);
}
