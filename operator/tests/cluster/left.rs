//! A fleet that leaves the configuration: its releases are told, its users go on being served, and what is left of it goes
//! with the last release.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{FakeCluster, TestOperator, eventually};

const OURS: &str = "halftone/ours";

/// A release of class `default` at its first step, whose fleet has left: the operator has `web` alone.
async fn left() -> (FakeCluster, TestOperator, Value) {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator_of(OURS, "halftone", "default");
    cluster.reaches("checkout", "Holding").await;
    let document = cluster.document(1).unwrap();
    eventually("the keys", || {
        of_the_fleet(&cluster)
            .contains(&"halftone-keys-default".to_owned())
            .then_some(())
    })
    .await;
    first.end().await;
    let second = cluster.operator_of(OURS, "halftone", "web");
    (cluster, second, document)
}

async fn until_told(cluster: &FakeCluster) {
    let told = || (cluster.condition("checkout", "Accepted")?.1 == "ClassUnknown").then_some(());
    eventually("ClassUnknown", told).await;
}

/// What is there in the name of the fleet: documents, settings, keys, Lease.
fn of_the_fleet(cluster: &FakeCluster) -> Vec<String> {
    let of_default = |object: &Value| {
        let labels = &object["metadata"]["labels"];
        object["metadata"]["name"] == "halftone-default"
            || labels["halftone.dev/class"] == "default"
            || labels["halftone.dev/fleet"] == "default"
    };
    let objects = cluster
        .server
        .all("configmaps")
        .into_iter()
        .chain(cluster.server.all("leases"));
    let name = |object: Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    objects.filter(of_default).map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_releases_are_told_and_everything_stays_while_they_are_there() {
    let began = Instant::now();
    let (cluster, _operator, document) = left().await;
    until_told(&cluster).await;
    assert!(began.elapsed() < Duration::from_secs(30));
    cluster.rest().await;
    assert_eq!(
        cluster.document(1),
        Some(document),
        "its users are served as before"
    );
    let there = of_the_fleet(&cluster);
    for name in [
        "gr-uid-1",
        "halftone-default",
        "halftone-fleet-default",
        "halftone-keys-default",
    ] {
        assert!(
            there.contains(&name.to_owned()),
            "{name} is not among {there:?}"
        );
    }
    assert_eq!(cluster.status("checkout")["ratio"], "10%");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_settings_keys_and_lease_go_once_its_last_release_is_deleted() {
    let (cluster, operator, _) = left().await;
    until_told(&cluster).await;
    cluster.server.remove("grayreleases", "shop", "checkout");
    eventually("nothing of it is there", || {
        of_the_fleet(&cluster).is_empty().then_some(())
    })
    .await;
    cluster.rest().await;
    assert_eq!(of_the_fleet(&cluster), [] as [&str; 0]);
    operator.end().await;
    let _third = cluster.operator_of(OURS, "halftone", "default");
    eventually("it may come back", || {
        of_the_fleet(&cluster)
            .contains(&"halftone-fleet-default".to_owned())
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_handed_over_after_it_has_left() {
    const THEIRS: &str = "other/theirs";
    let (cluster, _operator, document) = left().await;
    until_told(&cluster).await;
    cluster.server.edit(
        "configmaps",
        "halftone",
        "halftone-fleet-default",
        |object| {
            object["metadata"]["annotations"]["halftone.dev/hand-over-to"] = json!(THEIRS);
        },
    );
    let offered =
        || (cluster.status("checkout")["controller"]["handOverTo"] == THEIRS).then_some(());
    eventually("it is offered", offered).await;
    // As the other installation does.
    let theirs = json!({"id": THEIRS, "seenAt": jiff::Timestamp::now().to_string()});
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["status"]["controller"] = theirs
        });
    cluster.rest().await;
    assert_eq!(
        cluster.document(1),
        Some(document),
        "their proxies may not have it yet"
    );
    // As the other installation says once they have.
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            let condition = |kind: &str| {
                json!({
                    "type": kind, "status": "True", "reason": "Good", "message": "",
                    "lastTransitionTime": "2026-11-21T10:00:00Z",
                })
            };
            object["status"]["conditions"] =
                json!([condition("Accepted"), condition("Programmed")]);
        });
    eventually("ours goes", || {
        of_the_fleet(&cluster).is_empty().then_some(())
    })
    .await;
    assert_eq!(
        cluster.status("checkout")["controller"]["id"],
        THEIRS,
        "it stays theirs"
    );
}
