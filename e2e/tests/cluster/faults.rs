//! Versions that fail in each way that they can: who is sent back, how soon, and what users notice.

use std::thread::sleep;

use halftone_e2e::{
    scene::{BackendDeployment, ClientPod, Scene},
    wire::BackendFault,
};
use serde_json::{Value, json};

use crate::release::{ROUND, USERS, release, step};

/// A release at 50 % with clients on both sides.
struct Halfway<'a> {
    stable: BackendDeployment<'a>,
    gray: BackendDeployment<'a>,
    client: ClientPod<'a>,
}

fn halfway<'a>(scene: &'a Scene, more: &Value) -> Halfway<'a> {
    let (stable, gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let mut manifest = release(scene, &json!({"steps": [step(50, "10m")]}));
    for (key, value) in more.as_object().into_iter().flatten() {
        manifest["spec"][key] = value.clone();
    }
    scene.apply(&manifest);
    scene.phase("site", "Holding");
    let client = scene.client("clients", &scene.order(200, USERS));
    scene.until("gray is served", || {
        (client.window().answers("v2") > 300).then_some(())
    });
    Halfway {
        stable,
        gray,
        client,
    }
}

impl Halfway<'_> {
    /// Waits for the rollback, and sees that nobody is sent to gray afterwards. Says, and returns in milliseconds, how
    /// long after the fault began a request was last sent that gray answered, or should have answered and did not.
    fn rolled_back(&self, scene: &Scene, failing: u64) -> u64 {
        let status = scene.phase("site", "RolledBack");
        assert_eq!(status["ratio"], "0%", "{status:#}");
        // Requests that hang are answered by the proxy in the end, and it names no version.
        sleep(ROUND);
        let window = self.client.open();
        let last = ["v2", ""]
            .iter()
            .filter_map(|version| window.versions.get(*version));
        let last = last.map(|seen| seen.last_sent_ms).max().unwrap_or(0);
        let after = last.max(window.last_unanswered_ms).saturating_sub(failing);
        scene.tell(&format!(
            "the last request to v2 was sent {after} ms after the fault began"
        ));
        sleep(ROUND);
        let window = self.client.open();
        assert_eq!(
            (window.answers("v2"), window.failures()),
            (0, 0),
            "{window:?}"
        );
        assert_eq!(window.answers("v1"), window.sent, "{window:?}");
        after
    }
}

#[test]
fn half_of_grays_answers_failing_sends_everyone_back_within_seconds() {
    let scene = Scene::new("fault");
    let half = halfway(&scene, &json!({}));
    let mut took = Vec::new();
    for run in 1..=5 {
        let failing = half.gray.fault(&BackendFault::status(50, 500));
        took.push(half.rolled_back(&scene, failing));
        half.gray.fault(&BackendFault::default());
        if run < 5 {
            scene.command("site", "retry");
            scene.phase("site", "Holding");
            scene.until("gray is served again", || {
                (half.client.window().answers("v2") > 200).then_some(())
            });
        }
    }
    scene.tell(&format!(
        "from the fault to the last request to v2, in ms: {took:?}; at worst {:?}",
        took.iter().max()
    ));
}

#[test]
fn a_gray_that_knows_no_page_is_told_from_a_stable_that_does() {
    let scene = Scene::new("notfound");
    let half = halfway(&scene, &json!({}));
    let failing = half.gray.fault(&BackendFault::status(100, 404));
    half.rolled_back(&scene, failing);
}

#[test]
fn a_slow_gray_is_rolled_back_by_its_percentile() {
    let scene = Scene::new("slow");
    let half = halfway(
        &scene,
        &json!({"health": {"maxLatency": {"p99": "500ms"}, "warmup": "1s"}}),
    );
    let failing = half.gray.fault(&BackendFault::slow(1_500));
    half.rolled_back(&scene, failing);
}

#[test]
fn a_gray_that_hangs_is_rolled_back_soon_after_its_limit() {
    let scene = Scene::new("hang");
    let gray = json!({
        "service": {"name": "site-v2", "port": 80}, "version": "v2", "timeouts": {"responseHead": "2s"},
    });
    let half = halfway(&scene, &json!({"gray": gray}));
    let failing = half.gray.fault(&BackendFault::hang());
    half.rolled_back(&scene, failing);
}

#[test]
fn without_a_gray_pod_users_are_served_by_stable_and_it_is_rolled_back() {
    let scene = Scene::new("nogray");
    let half = halfway(&scene, &json!({}));
    half.client.open();
    half.gray.scale(0);
    scene.phase("site", "RolledBack");
    let window = half.client.window();
    assert_eq!(window.failures(), 0, "{window:?}");
    half.client.open();
    sleep(ROUND);
    let window = half.client.stop();
    assert_eq!(window.answers("v1"), window.sent, "{window:?}");
}

#[test]
fn nobody_is_rolled_back_into_a_stable_that_is_not_there() {
    let scene = Scene::new("nostable");
    let half = halfway(&scene, &json!({}));
    half.stable.scale(0);
    half.client.open();
    sleep(ROUND);
    let window = half.client.open();
    assert_eq!(
        window.answers("v2"),
        window.sent,
        "gray helps out: {window:?}"
    );
    half.gray.fault(&BackendFault::status(50, 500));
    sleep(2 * ROUND);
    scene.command("site", "rollback");
    let handled = ".status.lastHandledRequest.result";
    let release = scene.wait("grayrelease/site", handled, "Refused");
    assert_eq!(release["status"]["ratio"], "50%", "{:#}", release["status"]);
    half.gray.fault(&BackendFault::default());
    half.stable.scale(1);
    scene.until("stable serves again", || {
        (half.stable.served() > 100).then_some(())
    });
    scene.command("site", "rollback");
    scene.phase("site", "RolledBack");
}

#[test]
fn a_document_that_someone_edits_or_deletes_is_written_again_and_users_notice_nothing() {
    let scene = Scene::new("byhand");
    let half = halfway(&scene, &json!({}));
    let (system, kubectl) = (scene.cluster.system.as_str(), &scene.cluster.kubectl);
    let uid = scene.get("grayrelease/site")["metadata"]["uid"]
        .as_str()
        .expect("objects have uids")
        .to_owned();
    let name = format!("gr-{uid}");
    let document = || {
        let found = kubectl
            .try_run(&["get", "configmap", &name, "-n", system, "-o", "json"])
            .ok()?;
        let object: Value = serde_json::from_str(&found).ok()?;
        let document: Value =
            serde_json::from_str(object["data"]["routing.json"].as_str()?).ok()?;
        (object["metadata"]["deletionTimestamp"].is_null()
            && document["release"]["uid"] == uid.as_str())
        .then_some(document)
    };
    let before = document().expect("the release has a document");
    half.client.open();
    let broken =
        json!({"data": {"routing.json": "{\"schema\": 1, \"everyone\": \"to gray\"}"}}).to_string();
    kubectl.run(&[
        "patch",
        "configmap",
        &name,
        "-n",
        system,
        "--type=merge",
        "-p",
        &broken,
    ]);
    scene.until("the edited document is as it was", || {
        document().filter(|now| now["arms"] == before["arms"])
    });
    kubectl.run(&["delete", "configmap", &name, "-n", system]);
    scene.until("the deleted document is back", || {
        document().filter(|now| now["arms"] == before["arms"])
    });
    sleep(ROUND);
    let window = half.client.stop();
    assert_eq!((window.failures(), window.switches), (0, 0), "{window:?}");
}
