//! Crowds: strangers at the operator's own pages, and clients that take all places of a proxy.

use std::net::TcpStream;

use serde_json::json;

use crate::support::{FakeCluster, eventually};

/// So many times the places that there are that nobody has the patience to wait until their time is over.
const STRANGERS: usize = 256;

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_scrapes_are_answered_while_strangers_hold_every_place() {
    let cluster = FakeCluster::new().await;
    let operator = cluster.operator("a");
    eventually("readiness", || {
        (operator.page("/readyz").status() == 200).then_some(())
    })
    .await;
    let strangers: Vec<_> = (0..STRANGERS)
        .map(|_| TcpStream::connect(operator.pages).unwrap())
        .collect();
    for page in ["/livez", "/readyz", "/metrics"] {
        let answer = operator.page(page);
        assert_eq!(answer.status(), 200, "{page}: {answer:?}");
    }
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_tells_of_scarce_connections_becomes_an_event_about_the_proxy() {
    let cluster = FakeCluster::new().await;
    let _operator = cluster.operator("a");
    cluster.release("checkout", 1, "shop.example.com");
    cluster.reaches("checkout", "Holding").await;
    assert_eq!(cluster.events("ConnectionsScarce"), 0);
    cluster.proxy.fill();
    let found = || {
        cluster
            .server
            .all("events")
            .into_iter()
            .find(|e| e["reason"] == "ConnectionsScarce")
    };
    let event = eventually("the event", found).await;
    assert_eq!(
        (&event["type"], &event["regarding"]["name"]),
        (&json!("Warning"), &json!("proxy-0"))
    );
    assert!(
        event["note"]
            .as_str()
            .unwrap()
            .contains("client connections are taken"),
        "{event}"
    );
}
