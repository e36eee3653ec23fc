//! A release from its first step to everyone, told by the clients, who count what they get.

use std::time::Duration;

use halftone_e2e::scene::Scene;
use serde_json::{Value, json};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
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
    conditions.find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}

#[test]
fn a_good_release_reaches_everyone_step_by_step() {
    let scene = Scene::new("steps");
    let (_stable, _gray) = (scene.backend("site-v1", "v1", 2), scene.backend("site-v2", "v2", 2));
    scene.apply(&release(
        &scene,
        &json!({
            "steps": [step(10, "12s"), step(50, "12s"), step(100, "5s")],
            "health": {"minRequests": 20, "warmup": "1s"},
        }),
    ));
    scene.until("the route is there", MINUTE, || (scene.status("site")["phase"] == "Holding").then_some(()));
    let client = scene.client("clients", &scene.order(400, USERS, Duration::from_secs(300)));
    for ratio in [10_u32, 50] {
        let ratio_text = format!("{ratio}%");
        scene.wait("grayrelease/site", ".status.ratio", &ratio_text, MINUTE);
        scene.wait("grayrelease/site", ".status.phase", "Holding", MINUTE);
        // Every user comes once in two and a half seconds: those whom the step moved have been moved, and then each is
        // counted.
        std::thread::sleep(ROUND);
        client.open();
        std::thread::sleep(ROUND);
        let window = client.open();
        let share = window.share_of_users("v2") * 100.0;
        scene.tell(&format!(
            "at {ratio} %: {share:.1} % of {USERS} users got v2, {} failures",
            window.failures()
        ));
        // Four standard deviations of a fair split.
        let expected = f64::from(ratio);
        let within = 4.0 * (expected * (100.0 - expected) / f64::from(USERS)).sqrt();
        assert!((share - expected).abs() <= within, "{share} % instead of {expected} %: {window:?}");
        assert_eq!((window.failures(), window.switches), (0, 0), "{window:?}");
    }
    scene.phase("site", "Promoted", MINUTE);
    client.open();
    std::thread::sleep(Duration::from_secs(2));
    let window = client.stop();
    assert_eq!((window.answers("v1"), window.failures()), (0, 0), "{window:?}");
    assert!(window.answers("v2") > 0, "{window:?}");
}
