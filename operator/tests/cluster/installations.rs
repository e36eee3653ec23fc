//! Two installations of one cluster that declare the same class: one acts, the other touches nothing until it is its turn.

use serde_json::{Value, json};

use crate::support::{FakeCluster, FakeProxy, eventually};

const OURS: &str = "halftone/ours";
const THEIRS: &str = "other/theirs";

fn controller(cluster: &FakeCluster, name: &str) -> Value {
    cluster.status(name)["controller"]["id"].clone()
}

/// Orders the installation whose fleet is in `namespace` to hand the class over, as the command does.
async fn order(cluster: &FakeCluster, namespace: &str, to: &str) {
    let settings = || {
        cluster
            .server
            .get("configmaps", namespace, "halftone-fleet-default")
    };
    eventually("its settings", settings).await;
    cluster.server.edit(
        "configmaps",
        namespace,
        "halftone-fleet-default",
        |object| {
            object["metadata"]["annotations"]["halftone.dev/hand-over-to"] = json!(to);
        },
    );
}

async fn until_forgotten(cluster: &FakeCluster, namespace: &str) {
    let settings = || {
        cluster
            .server
            .get("configmaps", namespace, "halftone-fleet-default")
    };
    eventually("it is forgotten", || {
        settings()?["metadata"]["annotations"]
            .get("halftone.dev/hand-over-to")
            .is_none()
            .then_some(())
    })
    .await;
}

async fn until_controller(cluster: &FakeCluster, name: &str, id: &str) {
    eventually(&format!("{name} is of {id}"), || {
        (controller(cluster, name) == id).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_installation_of_a_class_touches_nothing_and_says_so() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _first = cluster.operator_of(OURS, "halftone", "default");
    cluster.reaches("checkout", "Holding").await;
    assert_eq!(controller(&cluster, "checkout"), OURS);
    cluster.rest().await;
    let writes = cluster.server.writes();
    let second = cluster.operator_of(THEIRS, "other", "default");
    let page = eventually("it says so", || {
        Some(second.page("/readyz")).filter(|page| page.text().contains("ClassNotOurs"))
    })
    .await;
    assert_eq!(page.status(), 200);
    let page = page.text();
    assert!(page.contains(OURS), "{page}");
    assert!(
        page.contains("halftone hand-over --class default --to other/theirs"),
        "{page}"
    );
    assert!(
        second
            .page("/metrics")
            .text()
            .contains("halftone_operator_owns{class=\"default\"} 0")
    );
    eventually("an event on itself", || {
        let events = cluster.server.all("events");
        events
            .into_iter()
            .find(|event| event["reason"] == "ClassNotOurs" && event["regarding"]["kind"] == "Pod")
    })
    .await;
    cluster.rest().await;
    assert_eq!(
        cluster.server.writes(),
        writes,
        "nothing of the first was touched"
    );
    let _failing = cluster.proxy.fail_gray();
    cluster.reaches("checkout", "RolledBack").await;
    assert_eq!(controller(&cluster, "checkout"), OURS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stray_release_of_another_cluster_is_adopted() {
    let cluster = FakeCluster::new().await;
    cluster.release("one", 1, "one.shop.example.com");
    cluster.release("two", 2, "two.shop.example.com");
    cluster.release("three", 3, "three.shop.example.com");
    let operator = cluster.operator_of(OURS, "halftone", "default");
    until_controller(&cluster, "one", OURS).await;
    until_controller(&cluster, "two", OURS).await;
    until_controller(&cluster, "three", OURS).await;
    let stray = json!({"id": THEIRS, "seenAt": jiff::Timestamp::now().to_string()});
    cluster
        .server
        .edit("grayreleases", "shop", "two", |object| {
            object["status"]["controller"] = stray
        });
    until_controller(&cluster, "two", OURS).await;
    eventually("it is told", || {
        let events = cluster.server.all("events");
        events
            .into_iter()
            .find(|event| event["reason"] == "Adopted" && event["regarding"]["name"] == "two")
    })
    .await;
    let counted = "halftone_operator_happened_total{class=\"default\",reason=\"Adopted\"} 1";
    let metrics = operator.page("/metrics").into_text();
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_installation_that_is_gone_has_left_is_taken_over() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator_of(THEIRS, "other", "default");
    until_controller(&cluster, "checkout", THEIRS).await;
    first.end().await;
    let long_ago = json!("2026-01-01T00:00:00Z");
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["status"]["controller"]["seenAt"] = long_ago;
        });
    let _second = cluster.operator_of(OURS, "halftone", "default");
    until_controller(&cluster, "checkout", OURS).await;
    cluster.reaches("checkout", "Holding").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_is_handed_over_by_one_write() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator_of(THEIRS, "other", "default");
    until_controller(&cluster, "checkout", THEIRS).await;
    let second = cluster.operator_of(OURS, "halftone", "default");
    eventually("it waits", || {
        second
            .page("/readyz")
            .text()
            .contains("ClassNotOurs")
            .then_some(())
    })
    .await;
    let settings = eventually("its settings", || {
        cluster
            .server
            .get("configmaps", "other", "halftone-fleet-default")
    })
    .await;
    assert_eq!(
        settings["metadata"]["annotations"]["halftone.dev/controller"],
        THEIRS
    );
    order(&cluster, "other", OURS).await;
    until_controller(&cluster, "checkout", OURS).await;
    cluster.reaches("checkout", "Holding").await;
    eventually("the first lets go", || {
        first
            .page("/readyz")
            .text()
            .contains("ClassNotOurs")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_is_handed_back_stays() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _first = cluster.operator_of(OURS, "halftone", "default");
    until_controller(&cluster, "checkout", OURS).await;
    let _second = cluster.operator_of(THEIRS, "other", "default");
    for (from, to) in [("halftone", THEIRS), ("other", OURS)] {
        order(&cluster, from, to).await;
        until_controller(&cluster, "checkout", to).await;
        until_forgotten(&cluster, from).await;
    }
    cluster.reaches("checkout", "Holding").await;
    cluster.rest().await;
    assert_eq!(
        controller(&cluster, "checkout"),
        OURS,
        "it does not go on to the first it was handed to"
    );
    let _failing = cluster.proxy.fail_gray();
    cluster.reaches("checkout", "RolledBack").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_other_installation_is_there_the_owner_goes_on_judging() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator_of(OURS, "halftone", "default");
    cluster.reaches("checkout", "Holding").await;
    order(&cluster, "halftone", "other/theirz").await;
    let offered = |to: &'static str| {
        let controller = || cluster.status("checkout")["controller"].clone();
        move || (controller()["handOverTo"] == to).then(controller)
    };
    let status = eventually("it is offered", offered("other/theirz")).await;
    assert_eq!(status["id"], OURS, "the owner still looks after it");
    let second = cluster.operator_of(THEIRS, "other", "default");
    eventually("nobody else takes it", || {
        second
            .page("/readyz")
            .text()
            .contains("ClassNotOurs")
            .then_some(())
    })
    .await;
    second.end().await;
    order(&cluster, "halftone", THEIRS).await;
    eventually("the name is put right", offered(THEIRS)).await;
    assert!(
        first
            .page("/readyz")
            .text()
            .contains("HandingOver: class default is offered to the installation other/theirs")
    );
    let _failing = cluster.proxy.fail_gray();
    cluster.reaches("checkout", "RolledBack").await;
    assert_eq!(controller(&cluster, "checkout"), OURS);
    let _second = cluster.operator_of(THEIRS, "other", "default");
    until_controller(&cluster, "checkout", THEIRS).await;
    eventually("the first lets go", || {
        first
            .page("/readyz")
            .text()
            .contains("ClassNotOurs")
            .then_some(())
    })
    .await;
    until_forgotten(&cluster, "halftone").await;
    assert_eq!(
        cluster.status("checkout")["controller"]["handOverTo"],
        Value::Null
    );
    assert_eq!(cluster.events("Adopted"), 0, "it was handed over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_edit_is_refused_is_judged_by_its_owner_until_the_edit_is_mended() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _first = cluster.operator_of(OURS, "halftone", "default");
    cluster.reaches("checkout", "Holding").await;
    edit(&cluster, "checkout", |spec| {
        spec["hosts"] = json!(["no host"])
    });
    let accepted = || cluster.condition("checkout", "Accepted");
    eventually("the edit is refused", || {
        accepted().filter(|(status, _)| status == "False")
    })
    .await;
    let _second = cluster.operator_of(THEIRS, "other", "default");
    order(&cluster, "halftone", THEIRS).await;
    eventually("it is offered", || {
        (cluster.status("checkout")["controller"]["handOverTo"] == THEIRS).then_some(())
    })
    .await;
    cluster.rest().await;
    assert_eq!(controller(&cluster, "checkout"), OURS);
    let _failing = cluster.proxy.fail_gray();
    eventually("it is rolled back", || {
        cluster.status("checkout").get("rollback").map(drop)
    })
    .await;
    assert_eq!(controller(&cluster, "checkout"), OURS);
    edit(&cluster, "checkout", |spec| {
        spec["hosts"] = json!(["shop.example.com"])
    });
    until_controller(&cluster, "checkout", THEIRS).await;
    assert!(
        cluster.status("checkout").get("rollback").is_some(),
        "it stays rolled back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_by_force_that_is_carried_out_is_forgotten() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator_of(OURS, "halftone", "default");
    until_controller(&cluster, "checkout", OURS).await;
    order(
        &cluster,
        "halftone",
        &format!("{OURS}@2026-11-21T10:00:00Z"),
    )
    .await;
    until_forgotten(&cluster, "halftone").await;
}

/// Edits a release as `kubectl edit` does.
fn edit(cluster: &FakeCluster, name: &str, change: impl FnOnce(&mut Value)) {
    cluster.server.edit("grayreleases", "shop", name, |object| {
        change(&mut object["spec"]);
        object["metadata"]["generation"] =
            json!(object["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
    });
}

async fn until_ratio(cluster: &FakeCluster, name: &str, ratio: &str) {
    eventually("the ratio is lowered", || {
        (cluster.status(name)["ratio"] == ratio).then_some(())
    })
    .await;
}

async fn until_seen(cluster: &FakeCluster, name: &str, generation: i64) {
    let seen = || cluster.status(name)["observedGeneration"] == generation;
    eventually("the edit is seen", || seen().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_comes_back_goes_on_by_the_spec_in_effect_and_by_no_earlier_one() {
    let cluster = FakeCluster::new().await;
    cluster.release("edited", 1, "one.shop.example.com");
    cluster.release("untouched", 2, "two.shop.example.com");
    let _first = cluster.operator_of(OURS, "halftone", "default");
    for name in ["edited", "untouched"] {
        cluster.reaches(name, "Holding").await;
    }
    let _proxy = FakeProxy::start(&cluster.server, "other").await;
    let second = cluster.operator_of(THEIRS, "other", "default");
    order(&cluster, "halftone", THEIRS).await;
    for name in ["edited", "untouched"] {
        until_controller(&cluster, name, THEIRS).await;
    }
    edit(&cluster, "edited", |spec| spec["targetRatio"] = json!(5));
    until_ratio(&cluster, "edited", "5%").await;
    // Where the newest spec can be taken, nobody needs the one before it.
    edit(&cluster, "edited", |spec| {
        spec["hosts"] = json!(["no host"])
    });
    edit(&cluster, "untouched", |spec| {
        spec["hosts"] = json!(["no host"])
    });
    until_seen(&cluster, "edited", 3).await;
    until_seen(&cluster, "untouched", 2).await;
    until_forgotten(&cluster, "halftone").await;
    second.end().await;
    let before = [1, 2].map(|uid| cluster.document(uid).unwrap());
    for name in ["edited", "untouched"] {
        cluster.server.edit("grayreleases", "shop", name, |object| {
            object["status"]["controller"]["seenAt"] = json!("2026-01-01T00:00:00Z");
        });
    }
    for name in ["edited", "untouched"] {
        until_controller(&cluster, name, OURS).await;
        assert_eq!(cluster.condition(name, "Accepted").unwrap().0, "False");
    }
    let goes_on = || {
        cluster
            .document(2)
            .filter(|document| document["revision"] != before[1]["revision"])
    };
    eventually("the one that nobody has edited goes on", goes_on).await;
    cluster.rest().await;
    assert_eq!(
        cluster.document(1).unwrap(),
        before[0],
        "by its earlier spec it would rise to 10% again"
    );
    assert_eq!(cluster.status("edited")["ratio"], "5%");
    edit(&cluster, "edited", |spec| {
        spec["hosts"] = json!(["one.shop.example.com"])
    });
    let ratio = || {
        cluster
            .document(1)
            .map(|document| document["ratio"].clone())
    };
    eventually("it goes on where it was", || {
        ratio().filter(|ratio| *ratio == 50_000)
    })
    .await;
}
