//! What Git tools do to a release: the same manifest once more by another hand, and a request that stays in Git.

use std::time::Duration;

use halftone_e2e::scene::Scene;
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);

fn release(scene: &Scene) -> Value {
    json!({
        "apiVersion": "halftone.dev/v1alpha1",
        "kind": "GrayRelease",
        "metadata": {"name": "site", "namespace": scene.namespace},
        "spec": {
            "hosts": [scene.host()],
            "stable": {"service": {"name": "site-v1", "port": 80}, "version": "v1"},
            "gray": {"service": {"name": "site-v2", "port": 80}, "version": "v2"},
            "targetRatio": "12.5%",
            "steps": [{"ratio": 5, "hold": "10m"}],
            "health": {"maxLatency": {"p99": "500ms"}},
            "rules": [{"name": "beta", "to": "Gray", "when": [
                {"all": [{"source": "Identity", "operator": "In", "values": ["lin", "wei"]}]},
            ]}],
        },
    })
}

/// kubectl with the manifest in a file, as a tool with a field manager of its own calls it.
fn as_git(scene: &Scene, args: &[&str], manifest: &Value) -> String {
    let file = std::env::temp_dir().join(format!("{}.json", scene.namespace));
    std::fs::write(&file, manifest.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let hand = ["--server-side", "--field-manager=git", "-f", file];
    scene.cluster.kubectl.run(&[args, &hand].concat())
}

#[test]
fn the_same_manifest_by_another_hand_shows_no_conflict_and_no_drift() {
    let scene = Scene::new("drift");
    let (_stable, _gray) = (scene.backend("site-v1", "v1", 1), scene.backend("site-v2", "v2", 1));
    let manifest = release(&scene);
    scene.apply(&manifest);
    let wait = ["wait", "grayrelease/site", "--for=condition=Ready", "--timeout=60s", "-n", &scene.namespace];
    scene.cluster.kubectl.run(&wait);
    let before = scene.phase("site", "Holding", MINUTE);

    let said = as_git(&scene, &["apply"], &manifest);
    assert!(said.contains("serverside-applied"), "{said}");
    // It ends with 1, and so the test here, when anything would change.
    assert_eq!(as_git(&scene, &["diff"], &manifest), "");

    let show = ["get", "grayrelease/site", "--show-managed-fields", "-n", &scene.namespace];
    let object = scene.cluster.kubectl.json(&show);
    assert_eq!(object["metadata"]["generation"], 1, "{object:#}");
    assert_eq!(object["status"]["revision"], before["revision"], "{object:#}");
    let hands = object["metadata"]["managedFields"].as_array().unwrap();
    for hand in hands.iter().filter(|hand| !["kubectl", "git"].contains(&hand["manager"].as_str().unwrap())) {
        let owned: Vec<_> = hand["fieldsV1"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((&hand["subresource"], owned), (&json!("status"), vec!["f:status"]), "{hand:#}");
    }
}

#[test]
fn a_request_that_stays_in_git_is_carried_out_once() {
    let scene = Scene::new("request");
    let (_stable, _gray) = (scene.backend("site-v1", "v1", 1), scene.backend("site-v2", "v2", 1));
    let mut manifest = release(&scene);
    scene.apply(&manifest);
    let token = scene.phase("site", "Holding", MINUTE)["requestToken"].as_str().unwrap().to_owned();
    let request = format!("pause@{token}");
    manifest["metadata"]["annotations"] = json!({"halftone.dev/request": request});

    as_git(&scene, &["apply"], &manifest);
    let paused = scene.phase("site", "Paused", MINUTE);
    assert_eq!(paused["lastHandledRequest"]["request"], request.as_str(), "{paused:#}");
    assert_ne!(paused["requestToken"], token.as_str(), "{paused:#}");

    scene.command("site", "resume");
    scene.phase("site", "Holding", MINUTE);
    as_git(&scene, &["apply", "--force-conflicts"], &manifest);
    scene.wait("grayrelease/site", ".status.lastHandledRequest.result", "Stale", MINUTE);
    assert_eq!(scene.status("site")["phase"], "Holding");
}
