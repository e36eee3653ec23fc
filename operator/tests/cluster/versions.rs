//! Objects that a later version has written, met by this one.

use serde_json::json;

use crate::support::{FakeCluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_only_a_later_version_knows_is_refused_and_the_one_before_goes_on_and_is_judged()
 {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    let document = cluster.document(1).unwrap();
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["spec"]["onUnavailable"] = json!("Queue");
            object["metadata"]["generation"] = json!(2);
        });
    eventually("SpecTooNew", || {
        (cluster.condition("checkout", "Accepted")?.1 == "SpecTooNew").then_some(())
    })
    .await;
    let status = cluster.status("checkout");
    let conditions = status["conditions"].as_array().unwrap();
    let accepted = conditions
        .iter()
        .find(|condition| condition["type"] == "Accepted")
        .unwrap();
    let words = accepted["message"].as_str().unwrap();
    assert!(
        words.contains("spec.onUnavailable") && words.contains("upgrade the operator"),
        "{words}"
    );
    assert_eq!(cluster.document(1).unwrap()["hosts"], document["hosts"]);
    assert_eq!(
        cluster
            .server
            .get("grayreleases", "shop", "checkout")
            .unwrap()["spec"]["onUnavailable"],
        "Queue",
        "what is written there stays"
    );
    let _failing = cluster.proxy.fail_gray();
    eventually("the rollback", || {
        (cluster.document(1)?["ratio"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_with_a_word_that_only_a_later_version_knows_does_not_take_the_release_away() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    first.end().await;
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["status"]["phase"] = json!("Migrating");
        });
    let _second = cluster.operator("b");
    let status = cluster.reaches("checkout", "Holding").await;
    assert_eq!(status["ratio"], "10%", "it goes on where it was");
}
