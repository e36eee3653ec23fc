//! A release from its first step to everyone, and one that fails: told by the clients, who count what they get.

use std::time::Duration;

use halftone_e2e::{scene::Scene, wire::Fault};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const USERS: u32 = 1_000;
const ROUND: Duration = Duration::from_secs(3);

/// The least manifest, for this scene's host; `more` is merged into its spec.
fn release(scene: &Scene, more: &Value) -> Value {
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

fn step(ratio: u32, hold: &str) -> Value {
    json!({"ratio": ratio, "hold": hold})
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

#[test]
fn half_of_grays_answers_failing_sends_everyone_back_within_seconds() {
    let scene = Scene::new("fault");
    let (_stable, gray) = (scene.backend("site-v1", "v1", 1), scene.backend("site-v2", "v2", 1));
    scene.apply(&release(&scene, &json!({"steps": [step(50, "10m")]})));
    scene.until("the route is there", MINUTE, || (scene.status("site")["phase"] == "Holding").then_some(()));
    let client = scene.client("clients", &scene.order(200, USERS, Duration::from_secs(120)));
    scene.until("gray is served", MINUTE, || (client.window().answers("v2") > 200).then_some(()));
    let failing = gray.fault(&Fault::status(50, 500));
    let status = scene.phase("site", "RolledBack", MINUTE);
    assert_eq!(status["ratio"], "0%", "{status:#}");
    let window = client.window();
    let (gray, stable) = (&window.versions["v2"], &window.versions["v1"]);
    let after = gray.last_sent_ms.saturating_sub(failing);
    scene.tell(&format!(
        "from fault to rollback: the last user was sent to v2 {after} ms after it began to fail"
    ));
    assert!(stable.last_sent_ms > gray.last_sent_ms, "{window:?}");
    client.open();
    std::thread::sleep(ROUND);
    let window = client.stop();
    assert_eq!((window.answers("v2"), window.failures()), (0, 0), "{window:?}");
}
