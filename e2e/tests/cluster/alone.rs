//! What disturbs everything that runs in the cluster; `e2e/run` runs these one at a time, after the others.

use std::{thread::sleep, time::Duration};

use halftone_e2e::scene::{Client, Scene};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);

/// A plain route to two backends, and clients that have been served through it.
fn served<'a>(scene: &'a Scene, lasting: Duration) -> Client<'a> {
    let _backends = scene.backend("site-v1", "v1", 2);
    scene.apply(&json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "site"},
        "spec": {"hosts": [scene.host()], "stable": {"service": {"name": "site-v1", "port": 80}, "version": "v1"}},
    }));
    scene.cluster.kubectl.run(&[
        "wait",
        "--for=condition=Ready",
        "--timeout=60s",
        "grayrelease/site",
        "-n",
        &scene.namespace,
    ]);
    let client = scene.client("clients", &scene.order(200, 500, lasting));
    scene.until("clients are served", MINUTE, || (client.window().answers("v1") > 400).then_some(()));
    client.open();
    client
}

/// Ends the clients, of whom nobody may have failed.
fn nobody_failed(scene: &Scene, client: &Client<'_>) {
    let window = client.stop();
    scene.tell(&format!("{} requests, {} failures", window.sent, window.failures()));
    assert!(window.answers("v1") > 0, "{window:?}");
    assert_eq!(window.failures(), 0, "{window:?}");
    assert_eq!(window.answers("v1"), window.sent, "{window:?}");
}

#[test]
fn while_the_api_server_is_away_users_do_not_notice() {
    let scene = Scene::new("outage");
    let Some(node) = scene.node("the API server is stopped") else { return };
    let client = served(&scene, 3 * MINUTE);
    node.component("stop", "kube-apiserver");
    sleep(Duration::from_secs(30));
    node.component("start", "kube-apiserver");
    // Watches come back, with whatever they find.
    sleep(Duration::from_secs(10));
    nobody_failed(&scene, &client);
}

#[test]
fn while_etcd_starts_again_users_do_not_notice() {
    let scene = Scene::new("etcd");
    let Some(node) = scene.node("etcd is killed") else { return };
    let client = served(&scene, 3 * MINUTE);
    node.component("kill", "etcd");
    sleep(Duration::from_secs(5));
    node.component("start", "etcd");
    sleep(Duration::from_secs(10));
    nobody_failed(&scene, &client);
}

#[test]
fn proxies_that_are_rolled_out_anew_fail_nobody() {
    let scene = Scene::new("rollout");
    let client = served(&scene, 4 * MINUTE);
    let (system, kubectl) = (scene.cluster.system.as_str(), &scene.cluster.kubectl);
    kubectl.run(&["rollout", "restart", "deployment/halftone-proxy-default", "-n", system]);
    kubectl.run(&["rollout", "status", "deployment/halftone-proxy-default", "-n", system, "--timeout=120s"]);
    scene.tell("new proxies serve");
    // The last of the old ones drains.
    sleep(Duration::from_secs(20));
    nobody_failed(&scene, &client);
}

#[test]
fn a_proxy_that_is_evicted_fails_nobody() {
    let scene = Scene::new("evict");
    let client = served(&scene, 3 * MINUTE);
    let (system, kubectl) = (scene.cluster.system.as_str(), &scene.cluster.kubectl);
    let selector = "app.kubernetes.io/name=halftone-proxy,halftone.dev/class=default";
    let pods = kubectl.json(&["get", "pods", "-n", system, "-l", selector]);
    let pod = pods["items"][0]["metadata"]["name"].as_str().expect("the fleet has pods");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": system},
    });
    let _ = kubectl.post(&format!("/api/v1/namespaces/{system}/pods/{pod}/eviction"), &eviction);
    scene.tell(&format!("{pod} is evicted"));
    kubectl.run(&["wait", "--for=delete", "--timeout=120s", &format!("pod/{pod}"), "-n", system]);
    nobody_failed(&scene, &client);
    kubectl.run(&["rollout", "status", "deployment/halftone-proxy-default", "-n", system, "--timeout=120s"]);
}

#[test]
fn backends_that_are_rolled_under_load_fail_nobody() {
    let scene = Scene::new("backends");
    let client = served(&scene, 3 * MINUTE);
    scene.patch(
        "deployment/site-v1",
        &json!({"spec": {"template": {"metadata": {"labels": {"rolled": "yes"}}}}}),
    );
    scene.cluster.kubectl.run(&[
        "rollout",
        "status",
        "deployment/site-v1",
        "-n",
        &scene.namespace,
        "--timeout=60s",
    ]);
    sleep(Duration::from_secs(8));
    nobody_failed(&scene, &client);
}
