//! The way up: steps, holds, approvals, windows, patience, the target and the watch after it.

use halftone_rollout::{events::Reason, request::Command, spec::Phase};

use crate::world::World;

#[test]
fn a_healthy_release_climbs_its_steps_and_is_promoted() {
    let mut world = World::new("");
    world.run_until_phase(Phase::Promoted);
    assert_eq!(world.path(), ["0%", "10%", "50%", "100%"]);
    let times: Vec<f64> = world.ratios.iter().map(|(at, _)| *at).collect();
    for pair in times[1..].windows(2) {
        let held = pair[1] - pair[0];
        assert!((60.0..62.5).contains(&held), "held for {held} s");
    }
    assert_eq!(world.count(Reason::StepStarted), 3);
    assert_eq!(world.count(Reason::Promoted), 1);
    let _ = Command::Pause;
}
