//! The ruler is measured first: clients count what backends do, without a proxy in between.

use std::{thread::sleep, time::Duration};

use halftone_e2e::{scene::Scene, wire::BackendFault};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn clients_count_what_backends_do() {
    let scene = Scene::new("harness");
    let backend = scene.backend("site-v1", "v1", 2);
    let service = scene.get("service/site-v1")["spec"]["clusterIP"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut order = scene.order(100, 50);
    order.address = format!("{service}:80");
    let client = scene.client("clients", &order);

    client.open();
    let since = client.window().since_ms;
    sleep(3 * SECOND);
    let window = client.open();
    let asked = (client.window().since_ms - since) / 10;
    assert_eq!((window.failures(), window.switches), (0, 0), "{window:?}");
    assert_eq!(window.users["v1"], 50, "{window:?}");
    assert!(
        (asked / 2..=asked * 3 / 2).contains(&window.sent),
        "{asked}, 100 a second: {window:?}"
    );

    backend.fault(&BackendFault::status(50, 503));
    client.open();
    sleep(2 * SECOND);
    let window = client.open();
    let failed = window.versions["v1"].statuses[&503];
    assert!(
        failed * 3 > window.sent && failed * 3 < window.sent * 2,
        "about half: {window:?}"
    );

    backend.fault(&BackendFault::hang());
    order.timeout_ms = 500;
    client.start(&order);
    sleep(2 * SECOND);
    let window = client.open();
    assert!(
        window.unanswered["timeout"] > 0 && window.answers("v1") == 0,
        "{window:?}"
    );

    backend.fault(&BackendFault::default());
    order.timeout_ms = 10_000;
    client.start(&order);
    // Rolled under load, the backends fail nobody: both ends drain as they should.
    scene.patch(
        "deployment/site-v1",
        &serde_json::json!({"spec": {"template": {"metadata": {"labels": {"rolled": "yes"}}}}}),
    );
    backend.ready();
    scene.until("the new pods serve", || {
        (backend.served() > 200).then_some(())
    });
    let window = client.stop();
    assert_eq!(window.failures(), 0, "{window:?}");
}
