//! A release from its first step to everyone, told by the clients, who count what they get.

use std::time::Duration;

use halftone_e2e::scene::Scene;
use serde_json::{Value, json};

pub(crate) const USERS: u32 = 1_000;
pub(crate) const ROUND: Duration = Duration::from_secs(3);

/// The least manifest, for this scene's host; `more` is merged into its spec.
pub(crate) fn release(scene: &Scene, more: &Value) -> Value {
    let mut spec = json!({
        "hosts": [scene.host()],
        "stable": {"service": {"name": "site-v1", "port": 80}, "version": "v1"},
        "gray": {"service": {"name": "site-v2", "port": 80}, "version": "v2"},
        "targetRatio": 100,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "site"}, "spec": spec})
}

pub(crate) fn step(ratio: u32, hold: &str) -> Value {
    json!({"ratio": ratio, "hold": hold})
}

/// One condition of a status.
pub(crate) fn condition(status: &Value, kind: &str) -> Value {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .find(|condition| condition["type"] == kind)
        .cloned()
        .unwrap_or_default()
}

#[test]
fn a_good_release_reaches_everyone_step_by_step() {
    let scene = Scene::new("steps");
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 2),
        scene.backend("site-v2", "v2", 2),
    );
    // Before there is a release nobody routes them, so that nobody is counted too early.
    let client = scene.client("clients", &scene.order(400, USERS));
    // Whoever counts takes as long as the machine needs: the steps wait for it.
    let counted = |ratio: u32| json!({"ratio": ratio, "hold": "1s", "approval": true});
    scene.apply(&release(
        &scene,
        &json!({
            "steps": [counted(10), counted(50), step(100, "5s")],
            "health": {"minRequests": 20, "warmup": "1s"},
        }),
    ));
    for ratio in [10_u32, 50] {
        scene.wait("grayrelease/site", ".status.ratio", &format!("{ratio}%"));
        scene.phase("site", "AwaitingApproval");
        // Every user comes once in two and a half seconds: those whom the step moved have been moved, and then each is
        // counted.
        std::thread::sleep(2 * ROUND);
        client.open();
        std::thread::sleep(2 * ROUND);
        let window = client.open();
        let share = window.share_of_users("v2") * 100.0;
        scene.tell(&format!(
            "at {ratio} %: {share:.1} % of {USERS} users got v2, {} failures",
            window.failures()
        ));
        // Four standard deviations of a fair split.
        let expected = f64::from(ratio);
        let within = 4.0 * (expected * (100.0 - expected) / f64::from(USERS)).sqrt();
        assert!(
            (share - expected).abs() <= within,
            "{share} % instead of {expected} %: {window:?}"
        );
        assert_eq!((window.failures(), window.switches), (0, 0), "{window:?}");
        scene.command("site", "approve");
    }
    scene.phase("site", "Promoted");
    client.open();
    std::thread::sleep(Duration::from_secs(2));
    let window = client.stop();
    assert_eq!(
        (window.answers("v1"), window.failures()),
        (0, 0),
        "{window:?}"
    );
    assert!(window.answers("v2") > 0, "{window:?}");
}
