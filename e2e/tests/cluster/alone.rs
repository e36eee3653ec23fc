//! What disturbs everything that runs in the cluster; `e2e/run` runs these one at a time, after the others.

use std::{
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use halftone_e2e::{
    scene::{ClientPod, Scene, Signal},
    wire::{BackendFault, LoadSpec},
};
use serde_json::json;

use crate::release::{USERS, release, step};

/// A plain route to two backends, and clients that have been served through it.
fn served(scene: &Scene) -> ClientPod<'_> {
    let _backends = scene.backend("site-v1", "v1", 2);
    scene.apply(&json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "site"},
        "spec": {"hosts": [scene.host()], "stable": {"service": {"name": "site-v1", "port": 80}, "version": "v1"}},
    }));
    scene.cluster.kubectl.run(&[
        "wait",
        "--for=condition=Ready",
        "--timeout=180s",
        "grayrelease/site",
        "-n",
        &scene.namespace,
    ]);
    let client = scene.client("clients", &scene.order(200, 500));
    scene.until("clients are served", || {
        (client.window().answers("v1") > 400).then_some(())
    });
    client.open();
    client
}

/// Ends the clients, of whom nobody may have failed.
fn nobody_failed(scene: &Scene, client: &ClientPod<'_>) {
    let window = client.stop();
    scene.tell(&format!(
        "{} requests, {} failures",
        window.sent,
        window.failures()
    ));
    assert!(window.answers("v1") > 0, "{window:?}");
    assert_eq!(window.failures(), 0, "{window:?}");
    assert_eq!(window.answers("v1"), window.sent, "{window:?}");
}

/// A time that the programs in the cluster would tell, in milliseconds since 1970: all run on one machine.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What a pod's service port is reached at, past all Services.
fn address(scene: &Scene, pod: &str) -> String {
    let ip = scene.get(&format!("pod/{pod}"))["status"]["podIP"]
        .as_str()
        .expect("it has an address")
        .to_owned();
    format!("{ip}:8080")
}

/// Three things happen in one outage of 30 s, each to requests of its own: nothing at all; a proxy dies and is started
/// anew; gray begins to fail.
#[test]
fn while_the_api_server_is_away_proxies_serve_even_when_started_anew_and_a_rollback_follows_at_once()
 {
    let scene = Scene::new("outage");
    let Some(node) = scene.node("the API server is killed") else {
        return;
    };
    let own = scene.install(&json!({"fleetDefaults": {"replicas": 2}}));
    let (_stable, gray) = (
        scene.backend("site-v1", "v1", 2),
        scene.backend("site-v2", "v2", 2),
    );
    let calm = format!("calm.{}", scene.host());
    scene.apply(&json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "calm"},
        "spec": {
            "proxyClass": own.class, "hosts": [calm],
            "stable": {"service": {"name": "site-v1", "port": 80}, "version": "v1"},
        },
    }));
    scene.apply(&release(
        &scene,
        &json!({"proxyClass": own.class, "steps": [step(50, "10m")]}),
    ));
    scene.phase("site", "Holding");
    let proxies = own.proxies();
    let [killed, other] = proxies.as_slice() else {
        panic!("two proxies: {proxies:?}")
    };
    let clients = |name: &str, host: &str, proxy: &str| {
        let order = scene.order_through(address(&scene, proxy), 100, USERS);
        scene.client(
            name,
            &LoadSpec {
                host: host.to_owned(),
                ..order
            },
        )
    };
    let through_other = clients("through-other", &calm, other);
    let through_killed = clients("through-killed", &calm, killed);
    let split = clients("split", &scene.host(), other);
    for (client, version) in [
        (&through_other, "v1"),
        (&through_killed, "v1"),
        (&split, "v2"),
    ] {
        scene.until("clients are served", || {
            (client.window().answers(version) > 100).then_some(())
        });
    }
    for client in [&through_other, &through_killed, &split] {
        client.open();
    }
    // Nobody can be told once the API server is away.
    let failing = gray.fault(&BackendFault {
        after_ms: 20_000,
        ..BackendFault::status(50, 500)
    });

    node.component("kill", "kube-apiserver");
    let stopped = now_ms();
    scene.tell("the API server is killed");
    sleep(Duration::from_secs(5));
    let death = now_ms();
    node.signal(&scene.namespace, killed, Signal::Kill);
    scene.tell(&format!("{killed} is killed"));
    sleep(Duration::from_secs(25));
    let starts = now_ms();
    node.component("start", "kube-apiserver");
    let returned = now_ms();
    scene.tell(&format!(
        "the API server answers again after {} ms without it",
        returned - stopped
    ));
    assert!(
        (stopped..starts).contains(&failing),
        "gray began to fail while it was away"
    );

    scene.phase("site", "RolledBack");
    // Watches come back, with whatever they find.
    sleep(Duration::from_secs(10));
    let window = split.stop();
    let last = i128::from(window.versions["v2"].last_sent_ms);
    scene.tell(&format!(
        "rolled back: the last request to v2 was sent {} ms after the API server's return",
        last - i128::from(returned)
    ));
    assert!(
        last > i128::from(starts),
        "the operator cannot do without it: {window:?}"
    );

    // Requests that the killed proxy had break, and so do connections that come before it listens again; those after
    // wait until it serves from its state, while the API server is still away. No request is answered wrongly.
    let window = through_killed.stop();
    let down = window.last_unanswered_ms.saturating_sub(death);
    let lost: u64 = window.unanswered.values().sum();
    scene.tell(&format!(
        "the killed proxy: {lost} of {} requests lost, in {down} ms",
        window.sent
    ));
    assert!(
        window.last_unanswered_ms < starts,
        "it serves before the API server is back: {window:?}"
    );
    assert_eq!(window.answers("v1") + lost, window.sent, "{window:?}");
    nobody_failed(&scene, &through_other);
}

#[test]
fn while_etcd_starts_again_users_do_not_notice() {
    let scene = Scene::new("etcd");
    let Some(node) = scene.node("etcd is killed") else {
        return;
    };
    let client = served(&scene);
    node.component("kill", "etcd");
    sleep(Duration::from_secs(5));
    node.component("start", "etcd");
    sleep(Duration::from_secs(10));
    nobody_failed(&scene, &client);
}

#[test]
fn proxies_that_are_rolled_out_anew_fail_nobody() {
    let scene = Scene::new("rollout");
    let client = served(&scene);
    let (system, kubectl) = (scene.cluster.system.as_str(), &scene.cluster.kubectl);
    kubectl.run(&[
        "rollout",
        "restart",
        "deployment/halftone-proxy-default",
        "-n",
        system,
    ]);
    kubectl.run(&[
        "rollout",
        "status",
        "deployment/halftone-proxy-default",
        "-n",
        system,
        "--timeout=180s",
    ]);
    scene.tell("new proxies serve");
    // The last of the old ones drains.
    sleep(Duration::from_secs(30));
    nobody_failed(&scene, &client);
}

#[test]
fn a_proxy_that_is_evicted_fails_nobody() {
    let scene = Scene::new("evict");
    let client = served(&scene);
    let (system, kubectl) = (scene.cluster.system.as_str(), &scene.cluster.kubectl);
    let selector = "app.kubernetes.io/name=halftone-proxy,halftone.dev/class=default";
    let pods = kubectl.json(&["get", "pods", "-n", system, "-l", selector]);
    let pod = pods["items"][0]["metadata"]["name"]
        .as_str()
        .expect("the fleet has pods");
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": system},
    });
    let path = format!("/api/v1/namespaces/{system}/pods/{pod}/eviction");
    // The disruption budget refuses it while the other one is not ready.
    scene.until(&format!("{pod} is evicted"), || {
        kubectl.try_post(&path, &eviction).ok()
    });
    kubectl.run(&[
        "wait",
        "--for=delete",
        "--timeout=180s",
        &format!("pod/{pod}"),
        "-n",
        system,
    ]);
    nobody_failed(&scene, &client);
    kubectl.run(&[
        "rollout",
        "status",
        "deployment/halftone-proxy-default",
        "-n",
        system,
        "--timeout=180s",
    ]);
}

#[test]
fn backends_that_are_rolled_under_load_fail_nobody() {
    let scene = Scene::new("backends");
    let client = served(&scene);
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
        "--timeout=180s",
    ]);
    sleep(Duration::from_secs(14));
    nobody_failed(&scene, &client);
}
