//! How a run starts: where it listens, and what it says first.

use halftone_testkit::free_port;

use crate::world::{Nginx, Run, RunWorld, get};

#[test]
fn a_bare_port_is_one_of_this_machine() {
    let world = RunWorld::new();
    world.write(&world.manifest(1, 2, "{ratio: 20, hold: 600s}"));
    let port = free_port();
    let run = Run::start_with(&world, &port.to_string());
    assert_eq!(run.listen.to_string(), format!("127.0.0.1:{port}"));
    assert_ne!(get(run.listen, "u"), 0, "it answers there");
}

#[test]
fn a_start_tells_of_nothing_that_is_not_programmed() {
    let world = RunWorld::new();
    let stable = Nginx::start(&world);
    world.write(&world.manifest(stable.port, 2, "{ratio: 20, hold: 600s}"));
    for started in ["ReleaseStarted", "checkout"] {
        let run = Run::start(&world);
        run.until("it holds", |status| status["phase"] == "Holding");
        run.until_told(started);
        let events = run.steer(&["events", "checkout"]).success();
        let events = String::from_utf8_lossy(&events.get_output().stdout).into_owned();
        assert!(!events.contains("NotProgrammed"), "{events}");
        assert_eq!(run.count_told("NotProgrammed"), 0);
        run.kill();
    }
}
