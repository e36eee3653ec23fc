//! Ready means that requests are served, and whoever was not called back is not said to be back.

use std::thread::sleep;

use halftone_e2e::scene::Scene;
use serde_json::{Value, json};

use crate::release::{ROUND, USERS, condition, release, step};

/// Waits until Ready has this status and reason, and returns the condition.
fn ready(scene: &Scene, status: &str, reason: &str) -> Value {
    scene.until(&format!("Ready is {status}, {reason}"), || {
        let ready = condition(&scene.status("site"), "Ready");
        (ready["status"] == status && ready["reason"] == reason).then_some(ready)
    })
}

#[test]
fn a_route_is_ready_while_its_service_has_an_endpoint_that_proxies_can_use() {
    let scene = Scene::new("served");
    let stable = scene.backend("site-v1", "v1", 1);
    stable.scale(0);
    let mut route = release(&scene, &json!({}));
    for field in ["gray", "targetRatio"] {
        route["spec"].as_object_mut().unwrap().remove(field);
    }
    scene.apply(&route);
    let told = ready(&scene, "False", "StableUnavailable");
    assert!(
        told["message"]
            .as_str()
            .unwrap_or_default()
            .contains("site-v1"),
        "{told:#}"
    );
    stable.scale(1);
    ready(&scene, "True", "Idle");
    let client = scene.client("clients", &scene.order(100, USERS));
    // The same number for UDP, before the port that is forwarded to.
    let udp = json!({"name": "dns", "port": 80, "protocol": "UDP", "targetPort": 5353});
    scene.edit(
        "service/site-v1",
        &json!([{"op": "add", "path": "/spec/ports/0", "value": udp}]),
    );
    sleep(ROUND);
    client.open();
    sleep(ROUND);
    let window = client.open();
    assert_eq!(
        (window.answers("v1"), window.failures()),
        (window.sent, 0),
        "{window:?}"
    );
    ready(&scene, "True", "Idle");
    // Only the UDP port is left, and with it nobody who could answer.
    scene.edit(
        "service/site-v1",
        &json!([{"op": "remove", "path": "/spec/ports/1"}]),
    );
    ready(&scene, "False", "ServicePortNotFound");
}

/// Refuses every change of a routing document in the scene's namespace while it is bound.
fn freeze(scene: &Scene) -> [Value; 2] {
    let (kind, name) = ("admissionregistration.k8s.io/v1", scene.namespace.as_str());
    let rules = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]}]);
    let validations = json!([{
        "expression": "!object.metadata.name.startsWith('gr-')", "message": "configmaps are frozen today",
    }]);
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    [
        json!({
            "apiVersion": kind, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {"matchConstraints": {"resourceRules": rules}, "validations": validations},
        }),
        json!({
            "apiVersion": kind, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}},
        }),
    ]
}

#[test]
fn a_rollback_that_may_not_be_written_is_not_called_one() {
    let scene = Scene::new("frozen");
    let installation = scene.install(&json!({}));
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let steps = json!({"proxyClass": installation.class, "steps": [step(50, "10m")]});
    scene.apply(&release(&scene, &steps));
    scene.phase("site", "Holding");
    let uid = scene.get("grayrelease/site")["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let document = format!("configmap/gr-{uid}");
    let kubectl = &scene.cluster.kubectl;
    freeze(&scene)
        .iter()
        .for_each(|object| kubectl.apply(object));
    let touch = [
        "annotate",
        &document,
        "e2e=touched",
        "--dry-run=server",
        "-n",
        &scene.namespace,
    ];
    scene.until("the policy is in force", || {
        kubectl.try_run(&touch).err().map(drop)
    });
    scene.command("site", "rollback");
    let told = ready(&scene, "False", "NotPersisted");
    assert!(
        told["message"]
            .as_str()
            .unwrap_or_default()
            .contains("configmaps are frozen today"),
        "{told:#}"
    );
    assert_eq!(scene.status("site")["phase"], "RollingBack");
    let events = |reason: &str| {
        let found = kubectl.json(&["get", "events.events.k8s.io", "-n", &scene.namespace]);
        let events = found["items"].as_array().cloned().unwrap_or_default();
        events
            .iter()
            .filter(|event| event["reason"] == reason)
            .count()
    };
    assert_eq!((events("RollingBack"), events("RolledBack")), (0, 0));
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        kubectl.run(&["delete", kind, &scene.namespace]);
    }
    scene.phase("site", "RolledBack");
    scene.until("it is told", || (events("RolledBack") > 0).then_some(()));
}
