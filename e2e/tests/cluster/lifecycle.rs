//! What becomes of releases over the time: their Services come late, they go and come again, one follows on another.

use std::{thread::sleep, time::Duration};

use halftone_e2e::scene::Scene;
use serde_json::{Value, json};

use crate::release::{ROUND, USERS, release, step};

/// Names of the documents that releases of this scene have.
fn documents(scene: &Scene) -> Vec<String> {
    let system = scene.cluster.system.as_str();
    let all = scene.cluster.kubectl.json(&[
        "get",
        "configmaps",
        "-n",
        system,
        "-l",
        "halftone.dev/class=default",
    ]);
    let ours = |object: &&Value| {
        object["metadata"]["annotations"]["halftone.dev/release-namespace"]
            == scene.namespace.as_str()
    };
    let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
    all["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(ours)
        .filter_map(name)
        .collect()
}

fn accepted(scene: &Scene) -> Value {
    let status = scene.status("site");
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == "Accepted")
        .unwrap_or_default()
}

#[test]
fn a_release_waits_for_services_that_appear_later() {
    let scene = Scene::new("services");
    scene.apply(&release(&scene, &json!({"steps": [step(50, "10m")]})));
    let refs = || {
        let status = scene.status("site");
        let found = status["conditions"]
            .as_array()?
            .iter()
            .find(|found| found["type"] == "ResolvedRefs")?
            .clone();
        (found["status"] == "False").then_some(found)
    };
    let found = scene.until("the Services are missed", refs);
    assert_eq!(found["reason"], "ServiceNotFound", "{found:#}");
    assert!(
        found["message"].as_str().unwrap().contains("site-v"),
        "{found:#}"
    );
    let _stable = scene.backend("site-v1", "v1", 1);
    let _gray = scene.backend("site-v2", "v2", 1);
    let status = scene.phase("site", "Holding");
    assert_eq!(status["ratio"], "50%", "{status:#}");
}

#[test]
fn a_release_that_is_deleted_in_a_step_and_created_again_goes_on_from_there() {
    let scene = Scene::new("again");
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let manifest = release(
        &scene,
        &json!({"steps": [step(10, "1s"), step(50, "10m")], "health": {"enabled": false}}),
    );
    scene.apply(&manifest);
    scene.wait("grayrelease/site", ".status.ratio", "50%");
    scene.phase("site", "Holding");
    let client = scene.client("clients", &scene.order(200, USERS));
    // Every user has been seen once.
    sleep(Duration::from_secs(6));
    client.open();
    let before = documents(&scene);
    scene.delete("grayrelease/site");
    sleep(Duration::from_secs(1));
    scene.apply(&manifest);
    let status = scene.phase("site", "Holding");
    assert_eq!(status["ratio"], "50%", "{status:#}");
    scene.until("the old document is gone and there is a new one", || {
        let now = documents(&scene);
        (now.len() == 1 && now != before).then_some(())
    });
    sleep(ROUND);
    let window = client.stop();
    assert_eq!((window.failures(), window.switches), (0, 0), "{window:?}");
    assert!(
        window.answers("v1") > 0 && window.answers("v2") > 0,
        "{window:?}"
    );
}

#[test]
fn a_namespace_that_is_deleted_takes_its_releases_along_and_another_gets_its_host_after_the_reserve()
 {
    let (scene, heir) = (Scene::new("gone"), Scene::new("heir"));
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    scene.apply(&release(&scene, &json!({"steps": [step(50, "10m")]})));
    scene.phase("site", "Holding");
    assert_eq!(documents(&scene).len(), 1);
    let _one = heir.backend("site-v1", "v1", 1);
    let mut claim = release(&scene, &json!({}));
    claim["spec"]
        .as_object_mut()
        .unwrap()
        .retain(|name, _| name == "hosts" || name == "stable");
    heir.apply(&claim);
    let refused = heir.until("its host is another's", || {
        Some(accepted(&heir)).filter(|accepted| accepted["reason"] == "HostConflict")
    });
    assert_eq!(refused["status"], "False", "{refused:#}");

    let namespace = scene.namespace.as_str();
    scene
        .cluster
        .kubectl
        .run(&["delete", "namespace", namespace, "--timeout=180s"]);
    scene.tell("the namespace is gone");
    scene.until("its documents are gone", || {
        documents(&scene).is_empty().then_some(())
    });
    heir.phase("site", "Idle");
    let takes_over = [
        "get",
        "events",
        "-n",
        &heir.namespace,
        "--field-selector",
        "reason=HostTakenOver",
    ];
    let events = heir.until("it is told", || {
        let events = heir.cluster.kubectl.json(&takes_over)["items"].take();
        events
            .as_array()
            .is_some_and(|events| !events.is_empty())
            .then_some(events)
    });
    assert_eq!(events[0]["type"], "Warning", "{events:#}");
}

#[test]
fn the_next_release_takes_turns_with_the_last_and_an_edit_that_forgets_stable_moves_nobody() {
    let scene = Scene::new("turns");
    let (_one, _two) = (
        scene.backend("site-a", "v1", 1),
        scene.backend("site-b", "v2", 1),
    );
    let arm = |name: &str, version: &str| json!({"service": {"name": name, "port": 80}, "version": version});
    let quick = json!([step(100, "1s")]);
    let turn = |stable: Value, gray: Value, steps: &Value| {
        release(
            &scene,
            &json!({"stable": stable, "gray": gray, "steps": steps, "health": {"enabled": false}}),
        )
    };
    scene.apply(&turn(arm("site-a", "v1"), arm("site-b", "v2"), &quick));
    scene.phase("site", "Promoted");
    let client = scene.client("clients", &scene.order(200, USERS));
    sleep(Duration::from_secs(6));
    let window = client.open();
    assert_eq!(window.answers("v2"), window.sent, "{window:?}");

    // Everyone's edit: gray moves to v3, and stable is left as it was.
    let _three = scene.backend("site-c", "v3", 1);
    scene.apply(&turn(arm("site-a", "v1"), arm("site-c", "v3"), &quick));
    let refused = scene.until("the edit is refused", || {
        Some(accepted(&scene)).filter(|accepted| accepted["status"] == "False")
    });
    assert_eq!(refused["reason"], "StableNotServing", "{refused:#}");
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("v2 serves everyone; name it stable"),
        "{message}"
    );
    sleep(ROUND);
    let window = client.open();
    assert_eq!(
        (window.answers("v2"), window.switches),
        (window.sent, 0),
        "{window:?}"
    );

    // As it should be: stable names the version that serves everyone, and the other slot has the new one.
    let _three = scene.backend("site-a", "v3", 1);
    scene.apply(&turn(
        arm("site-b", "v2"),
        arm("site-a", "v3"),
        &json!([step(50, "8s"), step(100, "1s")]),
    ));
    scene.wait("grayrelease/site", ".status.ratio", "50%");
    sleep(Duration::from_secs(6));
    let window = client.open();
    assert_eq!(window.failures(), 0, "{window:?}");
    assert!(
        window.answers("v2") > 0 && window.answers("v3") > 0 && window.answers("v1") == 0,
        "{window:?}"
    );
    scene.phase("site", "Promoted");
    client.open();
    sleep(ROUND);
    let window = client.stop();
    assert_eq!(window.answers("v3"), window.sent, "{window:?}");
}
