//! Who may have which host, and what an arm may not lead to.

use std::{thread::sleep, time::Duration};

use halftone_e2e::{scene::Scene, wire::CountWindow};
use serde_json::{Value, json};

use crate::release::ROUND;

fn plain(name: &str, class: &str, hosts: &[&str], stable: &Value) -> Value {
    let mut stable = stable.clone();
    stable["version"] = json!("v1");
    json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": name},
        "spec": {"proxyClass": class, "hosts": hosts, "stable": stable},
    })
}

fn service(name: &str) -> Value {
    json!({"service": {"name": name, "port": 80}})
}

/// Reason of a condition, once it has this status.
fn reason(scene: &Scene, release: &str, condition: &str, status: &str) -> String {
    let found = || {
        let now = scene.status(release);
        let is = |found: &&Value| found["type"] == condition && found["status"] == status;
        let found = now["conditions"].as_array()?.iter().find(is)?.clone();
        scene.tell(&format!(
            "{release}: {condition}={status}, {}: {}",
            found["reason"], found["message"]
        ));
        Some(found["reason"].as_str()?.to_owned())
    };
    scene.until(&format!("{release} is told"), found)
}

#[test]
fn of_two_releases_with_one_host_the_older_has_it_and_the_younger_takes_over() {
    let scene = Scene::new("conflict");
    let own = scene.install(&json!({"fleetDefaults": {"withdrawAfter": "3s"}}));
    let (_one, _two) = (
        scene.backend("one", "one", 1),
        scene.backend("two", "two", 1),
    );
    let host = scene.host();
    scene.apply(&plain("older", own.class, &[&host], &service("one")));
    scene.wait("grayrelease/older", ".status.phase", "Idle");
    // Creation times have whole seconds.
    sleep(Duration::from_millis(1_100));
    scene.apply(&plain(
        "younger",
        own.class,
        &[&host, "more.example.test"],
        &service("two"),
    ));
    assert_eq!(
        reason(&scene, "younger", "Accepted", "False"),
        "HostConflict"
    );
    let client = scene.client("clients", &own.order(100, 100));
    sleep(ROUND);
    let window = client.open();
    assert_eq!(window.answers("one"), window.sent, "{window:?}");

    scene.delete("grayrelease/older");
    scene.phase("younger", "Idle");
    scene.until("the younger serves", || {
        client.open();
        sleep(Duration::from_millis(500));
        let window = client.window();
        (window.answers("two") == window.sent && window.sent > 10).then_some(())
    });
}

#[test]
fn a_tenant_gets_only_what_its_fleet_grants() {
    let scene = Scene::new("tenants");
    let host = scene.host();
    let below = format!("*.{host}");
    let own = scene.install(&json!({
        "fleetDefaults": {"allowAll": false},
        "fleets": [
            {"class": "own", "allowed": [{"namespaces": [scene.namespace], "hosts": [host, below]}]},
            {"class": "closed", "allowed": [{"namespaces": ["elsewhere"], "hosts": ["*"]}]},
        ],
    }));
    let _backend = scene.backend("site", "v1", 1);
    let outside = format!("not-{host}");
    for (name, class, host, stable, expected) in [
        ("granted", own.class, host.as_str(), service("site"), None),
        (
            "below",
            own.class,
            &*format!("a.{host}"),
            service("site"),
            None,
        ),
        (
            "outside",
            own.class,
            outside.as_str(),
            service("site"),
            Some("HostNotAllowed"),
        ),
        (
            "everything",
            own.class,
            "*",
            service("site"),
            Some("HostNotAllowed"),
        ),
        (
            "closed",
            "closed",
            host.as_str(),
            service("site"),
            Some("ClassNotAllowed"),
        ),
        (
            "addresses",
            own.class,
            &*format!("b.{host}"),
            json!({"addresses": ["10.0.0.1:80"]}),
            Some("AddressesNotAllowed"),
        ),
    ] {
        scene.apply(&plain(name, class, &[host], &stable));
        match expected {
            Some(expected) => assert_eq!(reason(&scene, name, "Accepted", "False"), expected),
            None => drop(scene.phase(name, "Idle")),
        }
    }
    let mut order = own.order(50, 10);
    order.host = outside;
    let client = scene.client("clients", &order);
    sleep(ROUND);
    let window = client.stop();
    assert_eq!(statuses(&window), [404], "{window:?}");
}

fn statuses(window: &CountWindow) -> Vec<u16> {
    window
        .versions
        .values()
        .flat_map(|seen| seen.statuses.keys().copied())
        .collect()
}

#[test]
fn no_arm_leads_to_the_node_the_metadata_service_or_the_proxies_themselves() {
    let scene = Scene::new("inside");
    let own = scene.install(&json!({"fleetDefaults": {"allowAddresses": true}}));
    let host = |name: &str| format!("{name}.{}", scene.host());
    let proxy = own.proxies().remove(0);
    let proxy = scene.get(&format!("pod/{proxy}"))["status"]["podIP"]
        .as_str()
        .unwrap()
        .to_owned();

    // The API server takes no such endpoints; the proxy would not dial them either, wherever they come from.
    let slice = |address: &str, port: u16| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "hand-made", "labels": {"kubernetes.io/service-name": "hand-made"}},
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": port}],
        })
    };
    for address in ["169.254.169.254", "127.0.0.1"] {
        let words = scene.refused(&slice(address, 80));
        assert!(words.contains("may not be in the"), "{words}");
    }
    scene.apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hand-made"},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }));
    scene.apply(&slice(&proxy, 8081));
    scene.apply(&plain(
        "admin",
        own.class,
        &[&host("admin")],
        &service("hand-made"),
    ));
    assert_eq!(
        reason(&scene, "admin", "ResolvedRefs", "False"),
        "LoopsBack"
    );

    let mut order = own.order(20, 10);
    for (name, address) in [
        ("metadata", "169.254.169.254:80"),
        ("node", "127.0.0.1:8081"),
    ] {
        scene.apply(&plain(
            name,
            own.class,
            &[&host(name)],
            &json!({"addresses": [address]}),
        ));
    }
    let client = scene.client("clients", &order);
    for name in ["admin", "metadata", "node"] {
        scene.until(&format!("{name} is told"), || {
            scene.status(name)["phase"].as_str().map(str::to_owned)
        });
        order.host = host(name);
        order.path = "/metrics".to_owned();
        client.start(&order);
        sleep(ROUND);
        let window = client.open();
        let statuses = statuses(&window);
        assert!(
            !statuses.is_empty() && statuses.iter().all(|status| [404, 503].contains(status)),
            "{name}: {window:?}"
        );
    }
    client.stop();
}
