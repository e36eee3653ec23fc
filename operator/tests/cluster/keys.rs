//! How operators make themselves known to proxies: without a secret, across elections, and whatever hands do to the keys.

use serde_json::Value;

use crate::support::{FakeCluster, eventually, keys};

fn holders(cluster: &FakeCluster) -> Vec<String> {
    let keys = keys(&cluster.server).unwrap_or_default();
    keys.keys.into_iter().map(|key| key.holder).collect()
}

async fn until_holders(cluster: &FakeCluster, wanted: &[&str]) {
    eventually("the keys", || (holders(cluster) == wanted).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_answers_whoever_leads_and_the_two_newest_keys_stay() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    assert_eq!(holders(&cluster), ["a"]);
    first.end().await;
    let second = cluster.operator("b");
    until_holders(&cluster, &["b", "a"]).await;
    second.end().await;
    let _third = cluster.operator("c");
    until_holders(&cluster, &["c", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_deleted_or_edited_by_hand_are_written_again() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster
        .server
        .remove("configmaps", "halftone", "halftone-keys-default");
    until_holders(&cluster, &["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_has_not_heard_of_a_new_key_yet_is_not_lost() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    first.end().await;
    // It goes on with the keys that it knows: the new operator's is not among them.
    cluster.proxy.know(keys(&cluster.server));
    let refused = cluster.proxy.refused();
    let _second = cluster.operator("b");
    eventually("refusals", || {
        (cluster.proxy.refused() >= refused + 4).then_some(())
    })
    .await;
    let lost = |event: &Value| event["reason"] == "ReportsMissing";
    assert!(
        !cluster.server.all("events").iter().any(lost),
        "nobody was told that a proxy is lost"
    );
    cluster.proxy.know(None);
    cluster.reaches("checkout", "Holding").await;
    let _failing = cluster.proxy.fail_gray();
    cluster.reaches("checkout", "RolledBack").await;
    assert!(!cluster.server.all("events").iter().any(lost));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_whose_clock_is_wrong_is_told_as_that() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    cluster.proxy.set_clock(3600);
    let operator = cluster.operator("a");
    let none = r#"halftone_operator_poll_errors_total{class="default",kind="clockSkew"} 0"#;
    eventually("ClockSkew", || {
        (!operator.page("/metrics").text().contains(none)).then_some(())
    })
    .await;
    cluster.proxy.set_clock(0);
    cluster.reaches("checkout", "Holding").await;
}
