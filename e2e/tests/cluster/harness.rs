//! The ruler is measured first: clients count what backends do, without a proxy in between.

use std::{thread::sleep, time::Duration};

use halftone_e2e::{scene::Scene, wire::Fault};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn clients_count_what_backends_do() {
    let scene = Scene::new("harness");
    let backend = scene.backend("site-v1", "v1", 2);
    let service = scene.get("service/site-v1")["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let mut order = scene.order(100, 50, Duration::from_secs(60));
    order.address = format!("{service}:80");
    order.timeout_ms = 500;
    let client = scene.client("clients", &order);

    client.open();
    sleep(3 * SECOND);
    let window = client.open();
    assert_eq!((window.failures(), window.switches), (0, 0), "{window:?}");
    assert_eq!(window.users["v1"], 50, "{window:?}");
    assert!((200..=400).contains(&window.sent), "100 a second for about three seconds: {window:?}");

    backend.fault(&Fault::status(50, 503));
    client.open();
    sleep(2 * SECOND);
    let window = client.open();
    let failed = window.versions["v1"].statuses[&503];
    assert!(failed * 3 > window.sent && failed * 3 < window.sent * 2, "about half: {window:?}");

    backend.fault(&Fault::hang());
    client.open();
    sleep(2 * SECOND);
    let window = client.open();
    assert!(window.unanswered["timeout"] > 0 && window.answers("v1") == 0, "{window:?}");

    backend.fault(&Fault::default());
    sleep(SECOND);
    client.open();
    // Rolled under load, the backends fail nobody: both ends drain as they should.
    scene.patch(
        "deployment/site-v1",
        &serde_json::json!({"spec": {"template": {"metadata": {"labels": {"rolled": "yes"}}}}}),
    );
    backend.ready();
    scene.until("the new pods serve", 20 * SECOND, || (backend.served() > 200).then_some(()));
    let window = client.stop();
    assert_eq!(window.failures(), 0, "{window:?}");
}
