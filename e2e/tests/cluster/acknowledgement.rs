//! A step counts from when every proxy has it: who has not is named and waited for, and who joins has everything.

use halftone_e2e::scene::{Scene, Signal};
use serde_json::{Value, json};

use crate::release::{condition, release, step};

/// Waits until a release says that it waits for exactly this proxy, and why it is not ready.
fn waits_for(scene: &Scene, proxy: &str) -> Value {
    let status = scene.until(&format!("the release waits for {proxy}"), || {
        let status = scene.status("site");
        (status["proxies"]["waitingFor"] == json!([proxy])).then_some(status)
    });
    let ready = condition(&status, "Ready");
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("ProxiesLagging")),
        "{status:#}"
    );
    assert!(
        ready["message"]
            .as_str()
            .is_some_and(|message| message.contains(proxy)),
        "{ready:#}"
    );
    assert_eq!(
        status["step"]["holdEndsAt"],
        Value::Null,
        "the hold has not begun: {status:#}"
    );
    status
}

#[test]
fn a_proxy_that_is_stopped_is_waited_for_and_named() {
    let scene = Scene::new("straggler");
    let Some(node) = scene.node("a proxy is stopped") else {
        return;
    };
    let own = scene.install(&json!({"fleetDefaults": {"stragglerTimeout": "3s"}}));
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    own.patient_proxies(2);
    let stopped = own.proxies().pop().unwrap();

    node.signal(&scene.namespace, &stopped, Signal::Stop);
    scene.apply(&release(
        &scene,
        &json!({"proxyClass": own.class, "steps": [step(10, "10m")]}),
    ));
    let status = waits_for(&scene, &stopped);
    assert_eq!(
        (&status["ratio"], &status["phase"]),
        (&json!("0%"), &json!("Programming")),
        "{status:#}"
    );
    node.signal(&scene.namespace, &stopped, Signal::Continue);
    let status = scene.phase("site", "Holding");
    assert_eq!(status["ratio"], "10%", "{status:#}");
    assert_eq!(
        status["proxies"],
        json!({"ready": 2, "acknowledged": 2, "waitingFor": []}),
        "{status:#}"
    );

    // What a person asks for is done no sooner.
    node.signal(&scene.namespace, &stopped, Signal::Stop);
    scene.command("site", "promote");
    let status = waits_for(&scene, &stopped);
    assert_eq!(status["step"]["acknowledgedAt"], Value::Null, "{status:#}");
    node.signal(&scene.namespace, &stopped, Signal::Continue);
    scene.until("the last step is acknowledged", || {
        scene.status("site")["step"]["acknowledgedAt"]
            .is_string()
            .then_some(())
    });
    scene.wait(
        "grayrelease/site",
        ".status.conditions[?(@.type==\"Ready\")].status",
        "True",
    );
}

#[test]
fn a_proxy_that_joins_is_ready_only_with_everything() {
    let scene = Scene::new("joiner");
    let own = scene.install(&json!({}));
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    // Many others, so that there is something to take up.
    for number in 0..20 {
        let more =
            json!({"proxyClass": own.class, "hosts": [format!("{number}.{}", scene.host())]});
        let mut manifest = release(&scene, &more);
        manifest["metadata"]["name"] = json!(format!("site-{number}"));
        scene.apply(&manifest);
    }
    scene.apply(&release(
        &scene,
        &json!({"proxyClass": own.class, "steps": [step(50, "10m")]}),
    ));
    scene.phase("site", "Holding");
    let client = scene.client("clients", &own.order(200, 500));
    scene.until("clients are served", || {
        (client.window().answers("v2") > 300).then_some(())
    });
    client.open();
    own.scale_proxies(4);
    // Connections are made to the new ones, too.
    let again = scene.client("more", &own.order(200, 500));
    scene.until("more clients are served", || {
        (again.window().answers("v2") > 300).then_some(())
    });
    let status = scene.status("site");
    assert_eq!(status["proxies"]["waitingFor"], json!([]), "{status:#}");
    for window in [client.stop(), again.stop()] {
        scene.tell(&format!(
            "{} requests, {} failures",
            window.sent,
            window.failures()
        ));
        assert_eq!(
            (window.failures(), window.answers(""), window.switches),
            (0, 0, 0),
            "{window:?}"
        );
    }
}
