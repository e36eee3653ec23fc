//! Who has a host, and how it goes from one release to another.

use serde_json::{Value, json};

use crate::support::{FakeCluster, InjectedFault, eventually};

/// Moves a release, its Service and its endpoints to another namespace.
fn move_to(cluster: &FakeCluster, namespace: &str, name: &str) {
    for (resource, object) in [
        ("services", "one"),
        ("endpointslices", "one"),
        ("grayreleases", name),
    ] {
        let mut moved = cluster.server.get(resource, "shop", object).unwrap();
        moved["metadata"]["namespace"] = json!(namespace);
        if resource == "grayreleases" {
            cluster.server.remove(resource, "shop", object);
            for field in ["gray", "targetRatio", "steps"] {
                moved["spec"].as_object_mut().unwrap().remove(field);
            }
        }
        cluster.server.put(resource, moved);
    }
}

fn conflict(cluster: &FakeCluster, namespace: &str, name: &str) -> Option<String> {
    let release = cluster.server.get("grayreleases", namespace, name)?;
    let conditions = release["status"]["conditions"].as_array()?.clone();
    let found = conditions
        .into_iter()
        .find(|found| found["reason"] == "HostConflict")?;
    Some(found["message"].as_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_release_had_is_its_namespaces_until_the_reserve_is_over() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 2, "shop.example.com");
    cluster.release("stranger", 1, "other.example.com");
    move_to(&cluster, "market", "stranger");
    let edits = [
        (
            "namespaces: [shop], hosts: [",
            "namespaces: ['*'], hosts: ['*', ",
        ),
        ("hostReserve: 0s", "hostReserve: 4s"),
    ];
    let operator = cluster.operator_with(&edits);
    cluster.reaches("checkout", "Holding").await;
    eventually("the stranger serves", || cluster.document(1)).await;
    cluster
        .server
        .edit("grayreleases", "market", "stranger", |object| {
            object["metadata"]["generation"] = json!(2);
            object["spec"]["hosts"] = json!(["shop.example.com"]);
        });
    eventually("the stranger is refused", || {
        conflict(&cluster, "market", "stranger")
    })
    .await;
    cluster.server.remove("grayreleases", "shop", "checkout");
    let withdrawn = || {
        cluster
            .document(2)
            .filter(|document| document["state"] == "Withdrawn")
    };
    eventually("withdrawn", withdrawn).await;
    let kept = || {
        conflict(&cluster, "market", "stranger")
            .filter(|message| message.contains("keeps it until"))
    };
    eventually("the host is kept", kept).await;
    // Whoever comes next goes on from what is written.
    operator.kill();
    let _operator = cluster.operator_with(&edits);
    let hosts = |uid| {
        cluster
            .document(uid)
            .map(|document| document["hosts"].clone())
    };
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(hosts(1), Some(json!(["other.example.com"])));
    eventually("the stranger has it", || {
        hosts(1).filter(|hosts| *hosts == json!(["shop.example.com"]))
    })
    .await;
    let told = || {
        let events: Vec<Value> = cluster.server.all("events");
        events
            .into_iter()
            .find(|event| event["reason"] == "HostTakenOver")
    };
    let event = eventually("an event", told).await;
    assert_eq!(event["regarding"]["name"], "stranger");
    eventually("the last document is removed", || {
        cluster.document(2).is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_the_same_namespace_takes_a_withdrawn_host_over_at_once() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator_with(&[("hostReserve: 0s", "hostReserve: 10m")]);
    cluster.reaches("checkout", "Holding").await;
    cluster.server.remove("grayreleases", "shop", "checkout");
    let withdrawn = || {
        cluster
            .document(1)
            .filter(|document| document["state"] == "Withdrawn")
    };
    eventually("withdrawn", withdrawn).await;
    cluster.rest().await;
    assert!(withdrawn().is_some(), "it is kept for its namespace");
    cluster.release("renamed", 2, "shop.example.com");
    cluster.reaches("renamed", "Holding").await;
    eventually("the last document is removed", || {
        cluster.document(1).is_none().then_some(())
    })
    .await;
    assert_eq!(cluster.events("HostTakenOver"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_is_not_watched_any_more_keeps_its_hosts() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let open = (
        "namespaces: [shop], hosts: [",
        "namespaces: ['*'], hosts: ['*', ",
    );
    let operator = cluster.operator_with(&[open]);
    cluster.reaches("checkout", "Holding").await;
    operator.end().await;
    let _operator =
        cluster.operator_with(&[open, ("fleets:", "watchNamespaces: [market]\nfleets:")]);
    cluster.release("first", 2, "first.example.com");
    move_to(&cluster, "market", "first");
    eventually("it looks after what is watched", || cluster.document(2)).await;
    cluster.rest().await;
    cluster.release("stranger", 3, "shop.example.com");
    move_to(&cluster, "market", "stranger");
    let told = eventually("the stranger is told", || {
        conflict(&cluster, "market", "stranger")
    })
    .await;
    assert!(
        told.contains("shop/checkout has served shop.example.com/"),
        "{told}"
    );
    assert_eq!(cluster.document(3), None);
    assert_eq!(
        cluster.document(1).unwrap()["state"],
        "Active",
        "it is not gone"
    );
}

/// Has a release claim these hosts from now on.
/// Gives each of these releases one host, all at once.
fn claim(cluster: &FakeCluster, claims: &[(&str, &str)]) {
    let names: Vec<&str> = claims.iter().map(|(name, _)| *name).collect();
    let host_of = |name: &str| claims.iter().find(|(of, _)| *of == name).unwrap().1;
    cluster
        .server
        .edit_all("grayreleases", "shop", &names, |name, object| {
            let generation = object["metadata"]["generation"].as_i64().unwrap();
            object["metadata"]["generation"] = json!(generation + 1);
            object["spec"]["hosts"] = json!([host_of(name)]);
        });
}

fn hosts(cluster: &FakeCluster, uid: u32) -> Option<Value> {
    Some(cluster.document(uid)?["hosts"].clone())
}

const SHOP: &str = "shop.example.com";
const WWW: &str = "www.shop.example.com";
const NEW: &str = "new.shop.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn two_that_exchange_their_hosts_both_have_both_until_every_proxy_knows() {
    let cluster = FakeCluster::new().await;
    cluster.release("one", 1, SHOP);
    cluster.release("other", 2, WWW);
    let _operator = cluster.operator("a");
    cluster.reaches("one", "Holding").await;
    cluster.reaches("other", "Holding").await;
    cluster.proxy.stop(&cluster.server, true);
    claim(&cluster, &[("one", WWW), ("other", SHOP)]);
    let both = |first, second| json!([first, second]);
    eventually("one has both", || {
        (hosts(&cluster, 1) == Some(both(SHOP, WWW))).then_some(())
    })
    .await;
    eventually("the other has both", || {
        (hosts(&cluster, 2) == Some(both(WWW, SHOP))).then_some(())
    })
    .await;
    cluster.rest().await;
    assert_eq!(
        hosts(&cluster, 1),
        Some(both(SHOP, WWW)),
        "no proxy has the other's document"
    );
    assert_eq!(
        cluster.condition("one", "Reconciling").unwrap().1,
        "HandingOver"
    );
    let since = |uid: u32, at: &str| {
        let document = cluster.document(uid).unwrap();
        let claim = document["claims"]
            .as_array()
            .unwrap()
            .iter()
            .find(|claim| claim["host"] == at)
            .cloned();
        claim.map(|claim| claim["since"].as_str().unwrap().to_owned())
    };
    assert!(
        since(1, WWW) > since(2, WWW),
        "whoever had it first has it still"
    );
    cluster.proxy.stop(&cluster.server, false);
    eventually("one has the other's", || {
        (hosts(&cluster, 1) == Some(json!([WWW]))).then_some(())
    })
    .await;
    eventually("and the other has its", || {
        (hosts(&cluster, 2) == Some(json!([SHOP]))).then_some(())
    })
    .await;
    assert_eq!(cluster.events("HandOverLate"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_that_pass_a_host_on_each_waits_for_the_next() {
    let cluster = FakeCluster::new().await;
    for (uid, name, host) in [(1, "first", SHOP), (2, "second", WWW), (3, "third", NEW)] {
        cluster.release(name, uid, host);
    }
    let _operator = cluster.operator("a");
    for name in ["first", "second", "third"] {
        cluster.reaches(name, "Holding").await;
    }
    cluster.proxy.stop(&cluster.server, true);
    // Whoever is to have a host asks for it before the other leaves it, in whatever parts the operator sees this.
    claim(
        &cluster,
        &[
            ("first", WWW),
            ("second", NEW),
            ("third", "last.shop.example.com"),
        ],
    );
    eventually("the second goes ahead", || {
        (hosts(&cluster, 2) == Some(json!([WWW, NEW]))).then_some(())
    })
    .await;
    cluster.rest().await;
    assert_eq!(
        hosts(&cluster, 3),
        Some(json!([NEW])),
        "no proxy has the second's document"
    );
    cluster.proxy.stop(&cluster.server, false);
    for (uid, host) in [(1, WWW), (2, NEW), (3, "last.shop.example.com")] {
        eventually(host, || {
            (hosts(&cluster, uid) == Some(json!([host]))).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_to_a_release_whose_document_cannot_be_written_ends_after_a_while_and_says_so()
{
    let cluster = FakeCluster::new().await;
    cluster.release("giver", 1, SHOP);
    let _operator = cluster.operator_with(&[("withdrawAfter: 1s", "stragglerTimeout: 3s")]);
    cluster.reaches("giver", "Holding").await;
    cluster.server.faults(|line| {
        (line == "create configmaps/halftone/gr-uid-2").then_some(InjectedFault::Forbidden)
    });
    cluster.release("taker", 2, SHOP);
    claim(&cluster, &[("giver", WWW)]);
    let held = || {
        cluster
            .condition("giver", "Reconciling")
            .filter(|(_, reason)| reason == "HandingOver")
    };
    eventually("it waits", held).await;
    assert_eq!(hosts(&cluster, 1), Some(json!([SHOP])));
    eventually("it goes on", || {
        (hosts(&cluster, 1) == Some(json!([WWW]))).then_some(())
    })
    .await;
    eventually("an event", || {
        (cluster.events("HandOverLate") == 1).then_some(())
    })
    .await;
}
