//! Who has a host, and how it goes from one release to another.

use serde_json::{Value, json};

use crate::support::{Cluster, eventually};

/// Moves a release, its Service and its endpoints to another namespace.
fn move_to(cluster: &Cluster, namespace: &str, name: &str) {
    for (resource, object) in [("services", "one"), ("endpointslices", "one"), ("grayreleases", name)] {
        let mut moved = cluster.server.get(resource, "shop", object).unwrap();
        moved["metadata"]["namespace"] = json!(namespace);
        if resource == "grayreleases" {
            cluster.server.remove(resource, "shop", object);
            for field in ["gray", "targetRatio", "steps"] {
                moved["spec"].as_object_mut().unwrap().remove(field);
            }
        }
        cluster.server.put(resource, &moved);
    }
}

fn conflict(cluster: &Cluster, namespace: &str, name: &str) -> Option<String> {
    let release = cluster.server.get("grayreleases", namespace, name)?;
    let conditions = release["status"]["conditions"].as_array()?.clone();
    let found = conditions.into_iter().find(|found| found["reason"] == "HostConflict")?;
    Some(found["message"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_release_had_is_its_namespaces_until_the_reserve_is_over() {
    let cluster = Cluster::new().await;
    cluster.release("checkout", 2, "shop.example.com");
    cluster.release("stranger", 1, "other.example.com");
    move_to(&cluster, "market", "stranger");
    let edits = [
        ("namespaces: [shop], hosts: [", "namespaces: ['*'], hosts: ['*', "),
        ("hostReserve: 0s", "hostReserve: 4s"),
    ];
    let operator = cluster.operator_with(&edits);
    cluster.reaches("checkout", "Holding").await;
    eventually("the stranger serves", || cluster.document(1)).await;
    cluster.server.edit("grayreleases", "market", "stranger", |object| {
        object["metadata"]["generation"] = json!(2);
        object["spec"]["hosts"] = json!(["shop.example.com"]);
    });
    eventually("the stranger is refused", || conflict(&cluster, "market", "stranger")).await;
    cluster.server.remove("grayreleases", "shop", "checkout");
    let withdrawn = || cluster.document(2).filter(|document| document["state"] == "Withdrawn");
    eventually("withdrawn", withdrawn).await;
    let kept =
        || conflict(&cluster, "market", "stranger").filter(|message| message.contains("keeps it until"));
    eventually("the host is kept", kept).await;
    // Whoever comes next goes on from what is written.
    operator.kill();
    let _operator = cluster.operator_with(&edits);
    let hosts = |uid| cluster.document(uid).map(|document| document["hosts"].clone());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(hosts(1), Some(json!(["other.example.com"])));
    eventually("the stranger has it", || hosts(1).filter(|hosts| *hosts == json!(["shop.example.com"])))
        .await;
    let told = || {
        let events: Vec<Value> = cluster.server.all("events");
        events.into_iter().find(|event| event["reason"] == "HostTakenOver")
    };
    let event = eventually("an event", told).await;
    assert_eq!(event["regarding"]["name"], "stranger");
    eventually("the last document is removed", || cluster.document(2).is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_the_same_namespace_takes_a_withdrawn_host_over_at_once() {
    let cluster = Cluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator_with(&[("hostReserve: 0s", "hostReserve: 10m")]);
    cluster.reaches("checkout", "Holding").await;
    cluster.server.remove("grayreleases", "shop", "checkout");
    let withdrawn = || cluster.document(1).filter(|document| document["state"] == "Withdrawn");
    eventually("withdrawn", withdrawn).await;
    cluster.rest().await;
    assert!(withdrawn().is_some(), "it is kept for its namespace");
    cluster.release("renamed", 2, "shop.example.com");
    cluster.reaches("renamed", "Holding").await;
    eventually("the last document is removed", || cluster.document(1).is_none().then_some(())).await;
    assert_eq!(cluster.events("HostTakenOver"), 0);
}
