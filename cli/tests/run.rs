//! `halftone run` and `halftone demo` as a user meets them: the real program, with nginx and Python's http.server as
//! the two versions of a service.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

#[path = "run/readme.rs"]
mod readme;
#[path = "run/starting.rs"]
mod starting;
#[path = "run/terminal.rs"]
mod terminal;
#[path = "run/world.rs"]
mod world;

use std::time::Duration;

use serde_json::Value;

use crate::world::{Nginx, Python, Run, RunWorld, TestUsers, until};

#[test]
fn the_demo_ends_as_announced() {
    let output = world::halftone().args(["demo", "--json"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let ends: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["release"].as_str().unwrap(),
                line["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        ends,
        [
            ("good", "Promoted"),
            ("failing", "RolledBack"),
            ("slow", "RolledBack")
        ]
    );
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
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(
        stable.port,
        gray.port,
        "{ratio: 20, hold: 2s}, {ratio: 60, hold: 60s}",
    ));
    let run = Run::start(&world);
    let users = TestUsers::arrive(run.listen);
    run.until("it climbs to 60%", |status| status["ratio"] == "60%");
    let status = run.until("the split is seen", |status| {
        status["observed"]["requests"].as_i64() > Some(300)
    });
    let observed: f64 = status["observed"]["ratio"]
        .as_str()
        .unwrap()
        .trim_end_matches('%')
        .parse()
        .unwrap();
    assert!((45.0..75.0).contains(&observed), "{observed}");
    drop(gray);
    let status = run.until("it is rolled back", |status| {
        status["phase"] == "RolledBack"
    });
    assert_eq!(status["ratio"], "0%");
    assert_eq!(status["rollback"]["reason"], "LimitBroken");
    users.until_all_served();
}

#[test]
fn a_killed_run_goes_on_in_the_middle_of_a_hold() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(
        stable.port,
        gray.port,
        "{ratio: 20, hold: 1s}, {ratio: 60, hold: 20s}",
    ));
    let run = Run::start(&world);
    let users = TestUsers::arrive(run.listen);
    let before = run.until("the second hold runs", |status| {
        status["ratio"] == "60%" && status["step"]["holdEndsAt"].is_string()
    });
    let listen = run.listen;
    run.kill();
    let run = Run::start_at(&world, listen);
    let after = run.until("the hold goes on", |status| {
        status["step"]["holdEndsAt"].is_string()
    });
    assert_eq!(after["ratio"], "60%");
    assert_eq!(after["stage"], before["stage"]);
    assert_eq!(after["revision"], before["revision"]);
    assert_eq!(after["step"]["startedAt"], before["step"]["startedAt"]);
    let ends = |status: &Value| {
        status["step"]["holdEndsAt"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    let later = ends(&after).duration_since(ends(&before)).as_secs_f64();
    assert!(
        (-1.0..10.0).contains(&later),
        "the hold did not start anew: {later} s"
    );
    run.steer(&["promote", "checkout"]).success();
    run.until("it ends", |status| {
        status["phase"] == "Promoted" || status["ratio"] == "100%"
    });
    drop(users);
}

#[test]
fn a_broken_edit_changes_nothing_and_says_where_it_is_wrong() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    let good = world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}");
    world.write(&good);
    let run = Run::start(&world);
    let before = run.until("it holds", |status| status["ratio"] == "20%");
    world.write(&good.replace("ratio: 20", "ratio: 120"));
    let status = run.until("the edit is refused", |status| status["phase"] == "Refused");
    assert_eq!(
        (&status["ratio"], &status["revision"]),
        (&before["ratio"], &before["revision"])
    );
    let told = status["conditions"].to_string();
    assert!(
        told.contains("release.yaml") && told.contains("steps[0].ratio"),
        "{told}"
    );
    assert_eq!(world::get(run.listen, "u"), 200);
    run.until_told("error: spec.steps[0].ratio");
    assert_eq!(
        run.count_told("error: spec.steps[0].ratio"),
        1,
        "it is told once"
    );
    world.write(&good);
    run.until("the good one is taken", |status| {
        status["phase"] == "Holding"
    });
}

#[test]
fn a_run_that_starts_amid_a_broken_edit_serves_what_was_kept_and_says_what_is_wrong() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    let good = world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}");
    world.write(&good);
    let run = Run::start(&world);
    let before = run.until("it holds", |status| status["ratio"] == "20%");
    run.kill();
    world.write("apiVersion: [");
    let run = Run::start(&world);
    let served = |listen| world::get(listen, "u");
    assert_eq!(served(run.listen), 200);
    run.until_told("release.yaml:1:");
    let status = run.until("the edit is refused", |status| status["phase"] == "Refused");
    assert_eq!(
        (&status["ratio"], &status["revision"]),
        (&before["ratio"], &before["revision"])
    );
    run.kill();
    std::fs::remove_file(world.file()).unwrap();
    let run = Run::start(&world);
    run.until_told("release.yaml: there is no such file");
    run.steer(&["rollback", "checkout"]).success();
    run.until("it is steered all the same", |status| {
        status["ratio"] == "0%"
    });
    assert_eq!(served(run.listen), 200);
    world.write(&good);
    run.until("the good one is taken", |status| {
        status["phase"] == "RolledBack"
    });
}

#[test]
fn a_run_that_has_nothing_kept_does_not_start_on_a_broken_manifest() {
    let world = RunWorld::new();
    world.write("apiVersion: [");
    let told = refused(&mut world.command());
    assert!(told.contains("release.yaml:1:"), "{told}");
}

#[test]
fn users_on_a_bad_version_do_not_wait_for_a_disk() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(
        stable.port,
        gray.port,
        "{ratio: 20, hold: 2s}, {ratio: 60, hold: 600s}",
    ));
    let run = Run::start(&world);
    let users = TestUsers::arrive(run.listen);
    run.until("it climbs to 60%", |status| status["ratio"] == "60%");
    std::fs::remove_dir_all(world.state().join("releases")).unwrap();
    run.until_told("cannot be written");
    run.steer(&["promote", "checkout"]).failure();
    drop(gray);
    run.until("it is rolled back", |status| status["ratio"] == "0%");
    users.until_all_served();
    assert_eq!(
        run.count_told("its progress cannot be written ("),
        1,
        "it is told once"
    );
}

#[test]
fn a_release_whose_next_spec_is_held_back_is_judged_after_a_kill() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    let first = world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}");
    world.write(&first);
    let run = Run::start(&world);
    let users = TestUsers::arrive(run.listen);
    run.until("it holds", |status| status["ratio"] == "20%");
    run.steer(&["promote", "checkout"]).success();
    run.until("it serves everyone", |status| status["phase"] == "Promoted");
    world.write(&first.replace("version: v2", "version: v3"));
    let held = |status: &Value| {
        status["conditions"]
            .to_string()
            .contains("StableNotServing")
    };
    run.until("the next one is held back", held);
    let listen = run.listen;
    run.kill();
    let run = Run::start_at(&world, listen);
    run.until("it is still held back", held);
    drop(gray);
    run.until("it is rolled back", |status| {
        status["history"][0]["version"] == "v2" && status["history"][0]["outcome"] == "RolledBack"
    });
    drop(users);
}

#[test]
fn a_person_steers_it() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(
        stable.port,
        gray.port,
        "{ratio: 20, hold: 500ms, approval: true}, {ratio: 60, hold: 600s}",
    ));
    let run = Run::start(&world);
    let users = TestUsers::arrive(run.listen);
    run.until("it waits for a person", |status| {
        status["phase"] == "AwaitingApproval"
    });
    run.steer(&["approve", "shop/checkout", "--step", "2"])
        .failure();
    run.steer(&["pause", "checkout"]).success();
    run.until("it is paused", |status| status["paused"] == true);
    run.steer(&["resume", "checkout"]).success();
    run.steer(&["approve", "checkout", "--step", "1"]).success();
    run.until("it goes on", |status| status["ratio"] == "60%");
    let told = run.steer(&["rollback", "checkout"]).success();
    let told = String::from_utf8_lossy(&told.get_output().stdout).into_owned();
    assert!(
        told.contains("in effect: 1 of 1 proxies have revision"),
        "{told}"
    );
    let status = run.until("it is back", |status| status["phase"] == "RolledBack");
    assert_eq!(status["rollback"]["reason"], "Requested");
    run.steer(&["retry", "checkout"]).success();
    let status = run.until("it begins again", |status| status["ratio"] == "20%");
    assert_eq!(status["release"]["attempt"], 2);
    let unknown = run.steer(&["pause", "basket"]).failure();
    assert!(String::from_utf8_lossy(&unknown.get_output().stderr).contains("shop/checkout"));
    drop(users);
}

/// A release beside the one that [`RunWorld::manifest`] has, on a host of its own.
fn another(manifest: &str, name: &str, host: &str) -> String {
    manifest
        .replace("name: checkout,", &format!("name: {name},"))
        .replace("shop.example.com", host)
}

#[test]
fn one_damaged_state_file_keeps_its_own_release_from_starting_and_no_other() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    let manifest = world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}");
    world.write(&format!(
        "{manifest}---\n{}",
        another(&manifest, "basket", "basket.example.com")
    ));
    let run = Run::start(&world);
    run.until("it holds", |status| status["ratio"] == "20%");
    run.kill();
    let file = world.state().join("releases/shop_checkout.json");
    std::fs::write(&file, "{\"object\": ").unwrap();
    let run = Run::start(&world);
    let basket = || world::get_from(run.listen, "basket.example.com", "user-1");
    assert!([200, 502].contains(&basket()), "the other one is served");
    run.until_told("shop_checkout.json: its release does not start");
    let status = run.until("it is refused", |status| status["phase"] == "Refused");
    assert!(
        status["conditions"].to_string().contains("StateUnreadable"),
        "{status}"
    );
    assert_eq!(world::get(run.listen, "u"), 404);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "{\"object\": ",
        "it is left as it is"
    );
    std::fs::remove_file(&file).unwrap();
    run.until("it starts once the file is gone", |status| {
        status["ratio"] == "20%"
    });
}

#[test]
fn a_status_that_cannot_be_read_costs_the_hold_and_nobody_a_version() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    world.write(&world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}"));
    let run = Run::start(&world);
    let before = run.until("it holds", |status| status["ratio"] == "20%");
    run.kill();
    let file = world.state().join("releases/shop_checkout.json");
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    kept["object"]["status"]["stage"] = "of a newer version".into();
    std::fs::write(&file, kept.to_string()).unwrap();
    let run = Run::start(&world);
    run.until_told("its kept status cannot be read");
    let after = run.until("it goes on", |status| status["phase"] == "Holding");
    assert_eq!(
        (&after["ratio"], &after["release"]["id"]),
        (&before["ratio"], &before["release"]["id"])
    );
}

#[test]
fn a_name_of_250_characters_is_one_like_others() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    let manifest = world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}");
    let long = "a".repeat(250);
    world.write(&format!(
        "{manifest}---\n{}",
        another(&manifest, &long, "basket.example.com")
    ));
    for _ in 0..2 {
        let run = Run::start(&world);
        run.until("the other one holds", |status| status["ratio"] == "20%");
        let told = run.steer(&["status", &long, "--json"]).success();
        let told: Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
        assert_eq!(told["status"]["ratio"], "20%");
        run.kill();
    }
}

#[test]
fn status_events_config_and_explain_answer_for_a_release_that_runs_here() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}"));
    let run = Run::start(&world);
    let users = TestUsers::arrive(run.listen);
    run.until("both arms are used", |status| {
        status["observed"]["grayRequests"].as_i64() > Some(0)
    });
    let told = |arguments: &[&str]| {
        String::from_utf8(run.steer(arguments).success().get_output().stdout.clone()).unwrap()
    };
    let status = told(&["status", "checkout"]);
    for words in [
        "requests/s",
        "p95",
        "over the last 10 s",
        "leave out requests of the warm-up",
    ] {
        assert!(status.contains(words), "{words} in\n{status}");
    }
    let json: Value = serde_json::from_str(&told(&["status", "checkout", "--json"])).unwrap();
    assert!(
        json["traffic"]["stable"]["p95Ms"].as_f64() > Some(0.0),
        "{json}"
    );
    let events = told(&["events", "checkout"]);
    assert!(events.contains("shop/checkout ReleaseStarted"), "{events}");
    assert!(told(&["config", "checkout"]).contains("Active at 20%"));
    assert!(told(&["config", "diff", "checkout"]).contains("what the spec asks for"));
    let explained = told(&["explain", "checkout", "--header", "X-User-Name: lin"]);
    assert!(
        explained.contains("as it stands now, at 20%"),
        "{explained}"
    );
    drop(users);
}

#[test]
fn a_server_that_is_dead_is_named_with_its_error_and_again_when_it_answers() {
    let world = RunWorld::new();
    let gray = Python::start(&world);
    let port = gray.port;
    world.write(&world.manifest(gray.port, 2, "{ratio: 20, hold: 600s}"));
    let run = Run::start(&world);
    run.until_told("gray (v2) at 127.0.0.1:2 cannot be reached: Connection refused");
    drop(gray);
    let users = TestUsers::arrive(run.listen);
    run.until_told(&format!(
        "stable (v1) at 127.0.0.1:{port} cannot be reached: Connection refused"
    ));
    let back = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    run.until_told(&format!("stable (v1) at 127.0.0.1:{port} answers again"));
    // It never answers: whoever waits for it is let go first.
    drop(back);
    drop(users);
}

#[test]
fn an_edit_is_confirmed_and_a_refused_file_that_is_right_again_too() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    let good = world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}");
    world.write(&good);
    let run = Run::start(&world);
    run.until("it holds", |status| status["phase"] == "Holding");
    world.write(&good.replace("hold: 600s", "hold: 500s"));
    run.until_told("shop/checkout: the edit is in effect");
    world.write(&good.replace("ratio: 20", "ratio: 120"));
    run.until_told("spec.steps[0].ratio");
    world.write(&good.replace("hold: 600s", "hold: 500s"));
    run.until_told("shop/checkout: accepted again");
    world.write(&format!(
        "# a remark\n{}",
        good.replace("hold: 600s", "hold: 500s")
    ));
    run.until_told("the edit changes nothing");
    assert_eq!(run.count_told("the edit is in effect"), 1);
}

#[test]
fn a_state_that_waits_says_what_comes_next() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    let manifest = world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}");
    world.write(&manifest.replace("minRequests: 5", "minRequests: 100"));
    let run = Run::start(&world);
    run.until("it holds", |status| status["phase"] == "Holding");
    run.until_told("0 of 100 requests to gray; about 500 more of all users at 20%");
    run.steer(&["pause", "checkout"]).success();
    run.until_told("halftone resume shop/checkout goes on");
}

#[test]
fn a_demo_that_a_program_reads_tells_lines() {
    let told = world::halftone().arg("demo").output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.contains("StepStarted") && told.contains("v2 is broken now"),
        "{told}"
    );
}

#[test]
fn a_watch_ends_with_the_code_of_what_it_saw() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    world.write(&world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}"));
    let run = Run::start(&world);
    run.until("it holds", |status| status["phase"] == "Holding");
    let code = |arguments: &[&str]| world.steer(arguments).get_output().status.code();
    assert_eq!(code(&["watch", "checkout", "--timeout", "1s"]), Some(3));
    run.steer(&["rollback", "checkout"]).success();
    run.until("it goes back", |status| status["ratio"] == "0%");
    assert_eq!(code(&["watch", "checkout", "--timeout", "60s"]), Some(1));
    assert_eq!(
        code(&["watch", "--timeout", "60s"]),
        Some(2),
        "a time-out needs a name"
    );
}

#[test]
fn a_second_run_on_the_same_state_is_refused() {
    let world = RunWorld::new();
    world.write(&world.manifest(1, 2, "{ratio: 20, hold: 600s}"));
    let _run = Run::start(&world);
    let second = world.command().assert().failure();
    let told = String::from_utf8_lossy(&second.get_output().stderr).into_owned();
    assert!(
        told.contains("another halftone run") && told.contains("--state"),
        "{told}"
    );
}

#[test]
fn a_service_is_refused_with_what_to_write_instead() {
    let world = RunWorld::new();
    let manifest = world.manifest(1, 2, "{ratio: 20, hold: 1s}");
    world.write(&manifest.replace(
        r#"addresses: ["127.0.0.1:2"]"#,
        "service: {name: checkout-v2, port: 80}",
    ));
    let refused = world.command().assert().failure();
    let told = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        told.contains("checkout-v2") && told.contains("addresses:"),
        "{told}"
    );
}

#[test]
fn a_port_that_is_taken_names_the_flag() {
    let world = RunWorld::new();
    world.write(&world.manifest(1, 2, "{ratio: 20, hold: 1s}"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = world.command();
    let refused = command.args(["--admin", &address]).assert().failure();
    let told = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        told.contains("--admin") && told.contains(&address),
        "{told}"
    );
}

#[test]
fn where_nothing_runs_the_commands_say_so() {
    let world = RunWorld::new();
    let told = world.steer(&["status"]).failure();
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("no halftone run"), "{told}");
}

#[test]
fn a_removed_manifest_goes_on_serving_for_a_while() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    world.write(
        &world
            .manifest(stable.port, 2, "{ratio: 20, hold: 600s, approval: true}")
            .replace("targetRatio: 100", "targetRatio: 0"),
    );
    let run = Run::start(&world);
    run.until("it is idle", |status| status["phase"] == "Idle");
    std::fs::remove_file(world.file()).unwrap();
    until(
        "requests for it are refused",
        Duration::from_secs(20),
        || {
            let told = world.steer(&["pause", "checkout"]);
            String::from_utf8_lossy(&told.get_output().stderr).contains("its manifest is gone")
        },
    );
    assert_eq!(world::get(run.listen, "u"), 200);
    run.until_told("its routes stay for 1m and are then withdrawn");
    assert_eq!(run.count_told("ObjectGone"), 1);
}

#[test]
fn a_document_that_is_taken_out_of_its_file_is_told_of_at_once_and_one_of_another_name_takes_over()
{
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    let one = world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}");
    let other = one
        .replace("name: checkout,", "name: basket,")
        .replace("shop.example.com", "basket.example.com");
    world.write(&format!("{one}---\n{other}"));
    let run = Run::start(&world);
    until("both serve", Duration::from_secs(60), || {
        world::get_from(run.listen, "basket.example.com", "u") == 200
    });
    world.write(&format!(
        "{one}---\n{}",
        other.replace("name: basket,", "name: renamed,")
    ));
    run.until_told("ObjectGone");
    run.until("the old one is gone at once", |_| {
        let told = world.steer(&["status", "--json"]);
        !String::from_utf8_lossy(&told.get_output().stdout).contains("\"basket\"")
    });
    assert_eq!(world::get_from(run.listen, "basket.example.com", "u"), 200);
    run.until_told("shop/basket");
}

/// What the program says when it refuses to start.
fn refused(command: &mut assert_cmd::Command) -> String {
    String::from_utf8_lossy(&command.assert().failure().get_output().stderr).into_owned()
}

#[test]
fn a_fleet_declaration_is_followed_as_it_is_edited() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    world.write(&world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}"));
    let fleet = |more: &str| {
        let text =
            format!("fleets:\n- {{class: default, allowAll: true, allowAddresses: true{more}}}\n");
        std::fs::write(world.fleet_file(), text).unwrap();
    };
    fleet("");
    let run = Run::start(&world);
    run.until("it holds", |status| status["phase"] == "Holding");
    let other = || world::get_from(run.listen, "other.example.com", "u");
    assert_eq!(other(), 404);
    let backend = format!(
        ", defaultBackend: {{addresses: [\"127.0.0.1:{}\"]}}",
        stable.port
    );
    fleet(&backend);
    until(
        "the default backend answers",
        Duration::from_secs(20),
        || other() == 200,
    );
    fleet(", trustedProxies: [nowhere]");
    run.until_told("fleet.yaml:2:75: error: fleets[0].trustedProxies[0]");
    assert_eq!(other(), 200, "the old one goes on");
    fleet(", defaultBackend: {service: {namespace: shop, name: sorry, port: 80}}");
    run.until_told("there is no cluster here that knows Service sorry");
    assert_eq!(other(), 200, "the old one goes on");
    std::fs::write(
        world.fleet_file(),
        "fleets: [{class: default, allowAll: true}]",
    )
    .unwrap();
    let status = run.until("its addresses are refused", |status| {
        status["phase"] == "Refused"
    });
    assert!(
        status["conditions"]
            .to_string()
            .contains("AddressesNotAllowed"),
        "{status}"
    );
    assert_eq!(
        world::get(run.listen, "u"),
        200,
        "what is refused changes no traffic"
    );
}

#[test]
fn what_a_fleet_does_not_allow_is_refused_with_its_place() {
    let world = RunWorld::new();
    world.write(&world.manifest(1, 2, "{ratio: 20, hold: 1s}"));
    let told = |fleet: &str| {
        std::fs::write(world.fleet_file(), fleet).unwrap();
        refused(world.command().arg("--fleet").arg(world.fleet_file()))
    };
    let told_of_addresses = told("fleets: [{class: default, allowAll: true}]");
    assert!(
        told_of_addresses.contains("release.yaml:6:"),
        "{told_of_addresses}"
    );
    assert!(
        told_of_addresses.contains("[AddressesNotAllowed]"),
        "{told_of_addresses}"
    );
    let host = "fleets: [{class: default, allowAddresses: true, allowed: [{namespaces: [shop], hosts: [x]}]}]";
    assert!(
        told(host).contains("release.yaml:5:3: error: spec.hosts"),
        "{}",
        told(host)
    );
    let class = told("fleets: [{class: edge, allowAll: true}]");
    assert!(
        class.contains("fleet.yaml:1:1: error: fleets: there is no fleet of class \"default\""),
        "{class}"
    );
    let service =
        "fleets:\n- class: default\n  defaultBackend: {service: {namespace: a, name: b, port: 80}}";
    let service = told(service);
    assert!(
        service.contains("fleet.yaml:3:3: error: fleets[0].defaultBackend: there is no cluster"),
        "{service}"
    );
    assert!(service.contains("write addresses instead"), "{service}");
}

#[test]
fn releases_of_two_fleets_need_two_runs() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    let one = world.manifest(stable.port, 2, "{ratio: 20, hold: 1s}");
    let other = one
        .replace("name: checkout,", "name: basket,")
        .replace("spec:\n", "spec:\n  proxyClass: edge\n");
    world.write(&format!("{one}---\n{other}"));
    let told = refused(&mut world.command());
    assert!(
        told.contains("shop/basket is of fleet \"edge\", and shop/checkout of \"default\""),
        "{told}"
    );
    let edge = one.replace("spec:\n", "spec:\n  proxyClass: edge\n");
    world.write(&edge);
    let run = Run::start(&world);
    run.until("a run is the fleet of its releases", |status| {
        status["phase"] == "Holding"
    });
    world.write(&format!(
        "{edge}---\n{}",
        one.replace("name: checkout,", "name: basket,")
    ));
    run.until_told("this run is the fleet");
    run.until(
        "a release that is refused takes no host from it",
        |status| status["phase"] == "Holding",
    );
    world.write(&one);
    run.until("it does not change its fleet", |status| {
        status["phase"] == "Refused" && status["conditions"].to_string().contains("ClassNotAllowed")
    });
}

#[test]
fn nobody_is_sent_back_to_a_stable_version_whose_checks_all_fail() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    let check = "healthCheck: {path: /, interval: 100ms, timeout: 1s, unhealthyAfter: 1, healthyAfter: 1}, version: v1";
    let manifest = world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}");
    world.write(&manifest.replace("version: v1", check));
    let run = Run::start(&world);
    run.until("it holds", |status| status["ratio"] == "20%");
    drop(stable);
    a_rollback_is_refused(&run);
    run.until("it stays", |status| status["ratio"] == "20%");
}

#[test]
fn nobody_is_sent_back_to_a_stable_version_that_takes_no_connections() {
    let world = RunWorld::new();
    let (stable, gray) = (Nginx::start(&world), Python::start(&world));
    world.write(&world.manifest(stable.port, gray.port, "{ratio: 20, hold: 600s}"));
    let run = Run::start(&world);
    run.until("it holds", |status| status["ratio"] == "20%");
    drop(stable);
    a_rollback_is_refused(&run);
}

/// Once it is known that stable cannot be reached, and not before: then users would go back to it.
fn a_rollback_is_refused(run: &Run<'_>) {
    let unavailable = |condition: &Value| {
        condition["type"] == "Ready" && condition["reason"] == "StableUnavailable"
    };
    run.until("it is known that stable is gone", |status| {
        status["conditions"]
            .as_array()
            .is_some_and(|conditions| conditions.iter().any(unavailable))
    });
    let answer = run.steer(&["rollback", "checkout"]).failure();
    let said = String::from_utf8_lossy(&answer.get_output().stdout).into_owned();
    assert!(
        said.contains("v1 has no ready endpoint to go back to"),
        "{said}"
    );
}

#[test]
fn a_request_in_the_manifest_counts_with_the_present_token_only() {
    let world = RunWorld::new();
    let manifest = world.manifest(1, 2, "{ratio: 20, hold: 600s}");
    let with = |request: &str| {
        let annotated =
            format!("namespace: shop, annotations: {{halftone.dev/request: \"{request}\"}}");
        world.write(&manifest.replace("namespace: shop", &annotated));
    };
    with("pause@1f0c");
    let run = Run::start(&world);
    let handled = |result: &'static str| {
        move |status: &Value| status["lastHandledRequest"]["result"] == result
    };
    let status = run.until("it is stale", handled("Stale"));
    assert_ne!(status["paused"], true);
    with(&format!(
        "pause@{}",
        status["requestToken"].as_str().unwrap()
    ));
    let status = run.until("it is done", handled("Done"));
    assert_eq!(status["paused"], true);
    run.steer(&["resume", "checkout"]).success();
    run.until("it goes on, whatever the file still says", |status| {
        status["paused"] != true
    });
}
