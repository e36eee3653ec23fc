//! What the operator writes, in which order, and what it makes of what happens in between.

use std::time::Duration;

use halftone_rollout::advance::FIGURES;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{FakeCluster, InjectedFault, eventually, eventually_within};

const STATUS: &str = "update/status grayreleases/shop/checkout";
const DOCUMENT: &str = "configmaps/halftone/gr-uid-1";

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_in_the_status_before_it_is_with_the_proxies() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    let status = cluster.reaches("checkout", "Holding").await;
    let document = cluster.document(1).unwrap();
    assert_eq!(
        (&document["ratio"], &status["ratio"]),
        (&json!(100_000), &json!("10%"))
    );
    assert_eq!(document["revision"], status["revision"]);
    let of_release = |line: &String| line == STATUS || line.ends_with(DOCUMENT);
    let writes: Vec<String> = cluster
        .server
        .writes()
        .into_iter()
        .filter(of_release)
        .collect();
    assert_eq!(
        writes[..2],
        [STATUS.to_owned(), format!("create {DOCUMENT}")]
    );
    let patch = writes
        .iter()
        .position(|line| line.starts_with("patch"))
        .expect("the step up");
    assert_eq!(writes[patch - 1], STATUS, "each step, too: {writes:?}");
    assert_eq!(cluster.condition("checkout", "Ready").unwrap().0, "True");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_writes_nothing() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster.rest().await;
    let writes = cluster.server.writes();
    for address in ["10.0.0.3", "10.0.0.4", "10.0.0.5"] {
        cluster.service("one", address);
    }
    cluster.rest().await;
    assert_eq!(cluster.server.writes(), writes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_status_and_document_is_repaired() {
    for fault in [InjectedFault::Lost, InjectedFault::AnswerLost] {
        let cluster = FakeCluster::new().await;
        cluster.release("checkout", 1, "shop.example.com");
        let (met, mut meet) = tokio::sync::mpsc::unbounded_channel();
        cluster.server.faults(move |line| {
            let hit = line == format!("patch {DOCUMENT}");
            hit.then(|| {
                let _ = met.send(());
                fault
            })
        });
        let operator = cluster.operator("a");
        meet.recv().await.unwrap();
        eventually("the status is ahead", || {
            (cluster.status("checkout")["ratio"] == "10%").then_some(())
        })
        .await;
        operator.kill();
        cluster.server.no_faults();
        let stage = cluster.status("checkout")["stage"].clone();
        let _operator = cluster.operator("a");
        let status = cluster.reaches("checkout", "Holding").await;
        eventually("acknowledged", || {
            Some(()).filter(|()| cluster.status("checkout")["step"]["acknowledgedAt"].is_string())
        })
        .await;
        let document = cluster.document(1).unwrap();
        assert_eq!(
            (&document["ratio"], &document["stage"]),
            (&json!(100_000), &stage),
            "{fault:?}: {status}"
        );
        assert_eq!(document["revision"], cluster.status("checkout")["revision"]);
        assert_eq!(status["history"], json!(null), "nothing began anew");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_conflict_everything_is_observed_again() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let mut status = 0;
    let mut document = 0;
    cluster.server.faults(move |line| {
        status += usize::from(line == STATUS);
        document += usize::from(line == format!("patch {DOCUMENT}"));
        let hit = (line == STATUS && status <= 2) || (line.starts_with("patch") && document <= 2);
        hit.then_some(InjectedFault::Conflict)
    });
    let _operator = cluster.operator("a");
    let status = cluster.reaches("checkout", "Holding").await;
    let document = cluster.document(1).unwrap();
    assert_eq!(
        (&document["ratio"], &document["revision"]),
        (&json!(100_000), &status["revision"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_costs_neither_a_step_nor_a_second_one() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let mut lost = 0;
    cluster.server.faults(move |line| {
        lost += usize::from(line == STATUS);
        (line == STATUS && lost == 2).then_some(InjectedFault::AnswerLost)
    });
    let _operator = cluster.operator("a");
    let status = cluster.reaches("checkout", "Holding").await;
    assert_eq!(
        (&status["step"]["display"], &status["ratio"]),
        (&json!("1/2"), &json!("10%"))
    );
    assert_eq!(cluster.document(1).unwrap()["stage"], status["stage"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_somebody_edits_or_deletes_is_put_right() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster.rest().await;
    let before = cluster.document(1).unwrap();
    let edit = |text: &str| {
        let text = text.to_owned();
        cluster
            .server
            .edit("configmaps", "halftone", "gr-uid-1", |object| {
                object["data"]["routing.json"] = json!(text)
            });
    };
    edit("{");
    eventually("a broken one is put right", || {
        (cluster.document(1) == Some(before.clone())).then_some(())
    })
    .await;
    cluster.server.remove("configmaps", "halftone", "gr-uid-1");
    eventually("a deleted one is back", || {
        (cluster.document(1) == Some(before.clone())).then_some(())
    })
    .await;
    let mut bold = before.clone();
    bold["ratio"] = json!(1_000_000);
    bold.as_object_mut().unwrap().remove("checksum");
    edit(&bold.to_string());
    let after = eventually("another ratio is taken back", || {
        cluster
            .document(1)
            .filter(|document| document["ratio"] == before["ratio"])
    })
    .await;
    assert!(
        after["revision"].as_u64() > before["revision"].as_u64(),
        "proxies have taken the other one up"
    );
    cluster
        .server
        .edit("configmaps", "halftone", "gr-uid-1", |object| {
            object["metadata"]["labels"] = json!({})
        });
    let label = || {
        cluster
            .server
            .get("configmaps", "halftone", "gr-uid-1")
            .map(|object| object["metadata"]["labels"].clone())
    };
    eventually("its label is back", || {
        label().filter(|labels| *labels == json!({"halftone.dev/class": "default"}))
    })
    .await;
    assert_eq!(cluster.reaches("checkout", "Holding").await["ratio"], "10%");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_in_gray_sends_everyone_back() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    let proxy = cluster.proxy.clone();
    let traffic = tokio::spawn(async move {
        loop {
            proxy.serve_requests([5, 5], 90);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    cluster.reaches("checkout", "RolledBack").await;
    traffic.abort();
    let document = cluster.document(1).unwrap();
    assert_eq!(
        (&document["state"], &document["ratio"]),
        (&json!("RolledBack"), &json!(0))
    );
    assert_eq!(cluster.condition("checkout", "Stalled").unwrap().0, "True");
    let events = || {
        cluster
            .server
            .all("events")
            .into_iter()
            .find(|event| event["reason"] == "RolledBack")
    };
    let event = eventually("an event", events).await;
    assert_eq!(
        (&event["regarding"]["name"], &event["type"]),
        (&json!("checkout"), &json!("Warning"))
    );
}

/// Half of gray's answers are errors until the release is rolled back.
async fn fails_until_rolled_back(cluster: &FakeCluster) {
    let proxy = cluster.proxy.clone();
    let traffic = tokio::spawn(async move {
        loop {
            proxy.serve_requests([5, 5], 90);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    eventually("back at 0", || {
        cluster
            .document(1)
            .filter(|document| document["ratio"] == 0)
    })
    .await;
    traffic.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_starts_while_the_newest_spec_is_held_back_judges_by_the_one_in_effect() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    let accepted = || {
        let object = cluster.server.get("configmaps", "halftone", "gr-uid-1")?;
        serde_json::from_str::<Value>(object["data"]["accepted.json"].as_str()?).ok()
    };
    let spec = eventually("the spec beside the document", accepted).await;
    assert_eq!(spec["hosts"], json!(["shop.example.com"]));
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["metadata"]["generation"] = json!(2);
            object["spec"]["hosts"] = json!(["other.example.com"]);
            object["spec"]["health"] = json!({"enabled": false});
        });
    cluster.reaches("checkout", "Refused").await;
    assert_eq!(
        accepted(),
        Some(spec.clone()),
        "what is held back is not in effect"
    );
    operator.kill();
    let _operator = cluster.operator("a");
    fails_until_rolled_back(&cluster).await;
    let status = cluster.status("checkout");
    assert_eq!(
        (&status["rollback"]["reason"], &status["observedGeneration"]),
        (&json!("LimitBroken"), &json!(2))
    );
    assert_eq!(accepted(), Some(spec));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_changes_nothing_in_the_document_is_kept_all_the_same() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    let revision = cluster.document(1).unwrap()["revision"].clone();
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["metadata"]["generation"] = json!(2);
            object["spec"]["steps"] = json!([{"ratio": 10, "hold": "2h"}]);
        });
    let kept = || {
        let object = cluster.server.get("configmaps", "halftone", "gr-uid-1")?;
        let spec: Value = serde_json::from_str(object["data"]["accepted.json"].as_str()?).ok()?;
        (spec["steps"][0]["hold"] == "2h").then_some(())
    };
    eventually("the new steps", kept).await;
    assert_eq!(cluster.document(1).unwrap()["revision"], revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_cannot_be_written_stops_no_rollback_and_lets_nothing_rise() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster.server.faults(|line| {
        line.starts_with("update/status")
            .then_some(InjectedFault::Unavailable)
    });
    let token = cluster.status("checkout")["requestToken"]
        .as_str()
        .unwrap()
        .to_owned();
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["metadata"]["annotations"] =
                json!({"halftone.dev/request": format!("promote@{token}")});
        });
    fails_until_rolled_back(&cluster).await;
    assert_eq!(cluster.document(1).unwrap()["state"], "RolledBack");
    assert_eq!(
        cluster.status("checkout")["ratio"],
        "10%",
        "it is not in the status"
    );
    let ratio =
        r#"halftone_release_ratio{namespace="shop",release="checkout",class="default"} 0.0"#;
    eventually("metrics", || {
        operator
            .page("/metrics")
            .text()
            .contains(ratio)
            .then_some(())
    })
    .await;
    cluster.server.no_faults();
    cluster.reaches("checkout", "RolledBack").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_deleted_is_withdrawn_and_then_removed() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    // Else the document might be withdrawn, acknowledged and removed between two looks at it.
    cluster.proxy.stop(&cluster.server, true);
    cluster.server.remove("grayreleases", "shop", "checkout");
    let since = || {
        cluster.server.get("configmaps", "halftone", "gr-uid-1")?["metadata"]["annotations"]["halftone.dev/gone-since"].as_str().map(str::to_owned)
    };
    eventually("the time is noted", since).await;
    // Whoever comes next goes on from the note.
    operator.kill();
    let _operator = cluster.operator("a");
    eventually("withdrawn", || {
        cluster
            .document(1)
            .filter(|document| document["state"] == "Withdrawn")
    })
    .await;
    cluster.proxy.stop(&cluster.server, false);
    eventually("removed", || cluster.document(1).is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_told_once_by_an_event_about_the_object_that_is_gone() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster.proxy.stop(&cluster.server, true);
    cluster.server.remove("grayreleases", "shop", "checkout");
    let told = || {
        cluster
            .server
            .all("events")
            .into_iter()
            .find(|event| event["reason"] == "ObjectGone")
    };
    let event = eventually("an event", told).await;
    let regarding = &event["regarding"];
    assert_eq!(
        (&regarding["namespace"], &regarding["name"]),
        (&json!("shop"), &json!("checkout"))
    );
    assert_eq!(
        (&regarding["uid"], &event["type"]),
        (&json!("uid-1"), &json!("Warning"))
    );
    let note = "it is deleted: its routes stay for 1s and are then withdrawn; create it again to keep them";
    assert_eq!(event["note"], note);
    operator.end().await;
    let _operator = cluster.operator("b");
    eventually("withdrawn", || {
        cluster
            .document(1)
            .filter(|document| document["state"] == "Withdrawn")
    })
    .await;
    cluster.rest().await;
    assert_eq!(cluster.events("ObjectGone"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_the_same_name_goes_on_where_the_deleted_one_was() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster.server.remove("grayreleases", "shop", "checkout");
    cluster.release("checkout", 2, "shop.example.com");
    eventually("the old document is removed", || {
        cluster.document(1).is_none().then_some(())
    })
    .await;
    let document = cluster.document(2).unwrap();
    assert_eq!(
        (&document["replaces"], &document["ratio"]),
        (&json!("uid-1"), &json!(100_000))
    );
    cluster.reaches("checkout", "Holding").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_on_one_host_the_older_wins_and_the_other_follows_when_it_goes() {
    let cluster = FakeCluster::new().await;
    cluster.release("younger", 2, "shop.example.com");
    cluster.release("older", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("older", "Holding").await;
    cluster.reaches("younger", "Refused").await;
    assert_eq!(
        cluster.condition("younger", "Accepted").unwrap(),
        ("False".into(), "HostConflict".into())
    );
    assert_eq!(cluster.document(2), None);
    cluster.server.remove("grayreleases", "shop", "older");
    cluster.reaches("younger", "Holding").await;
    assert_eq!(
        cluster.document(2).unwrap()["hosts"],
        json!(["shop.example.com"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fleet_does_not_allow_changes_nothing_and_says_why() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "other.example.com");
    cluster.release("stray", 2, "shop.example.com");
    cluster
        .server
        .edit("grayreleases", "shop", "stray", |object| {
            object["spec"]["proxyClass"] = json!("edge")
        });
    // One that was made just now may be another operator's, who has not seen it yet.
    cluster.release("young", 3, "shop.example.com");
    cluster
        .server
        .edit("grayreleases", "shop", "young", |object| {
            object["spec"]["proxyClass"] = json!("edge");
            let made = Timestamp::now() + SignedDuration::from_hours(1);
            object["metadata"]["creationTimestamp"] = json!(made.to_string());
        });
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Refused").await;
    assert_eq!(
        cluster.condition("checkout", "Accepted").unwrap(),
        ("False".into(), "HostNotAllowed".into())
    );
    cluster.reaches("stray", "Refused").await;
    assert_eq!(
        cluster.condition("stray", "Accepted").unwrap(),
        ("False".into(), "ClassUnknown".into())
    );
    assert_eq!((cluster.document(1), cluster.document(2)), (None, None));
    cluster.rest().await;
    assert_eq!(cluster.status("young"), json!({"observedGeneration": -1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_takes_nothing_up_keeps_the_step_from_starting() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    cluster.proxy.stop(&cluster.server, true);
    let _operator = cluster.operator("a");
    eventually("the document", || cluster.document(1)).await;
    cluster.rest().await;
    assert_eq!(cluster.document(1).unwrap()["ratio"], 0);
    cluster.proxy.stop(&cluster.server, false);
    cluster.reaches("checkout", "Holding").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_operator_ends_the_other_goes_on_at_once() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let first = cluster.operator("first");
    cluster.reaches("checkout", "Holding").await;
    let _second = cluster.operator("second");
    cluster.rest().await;
    let holder = || {
        cluster
            .server
            .get("leases", "halftone", "halftone-default")
            .map(|lease| lease["spec"]["holderIdentity"].clone())
    };
    assert_eq!(holder(), Some(json!("first")));
    first.end().await;
    eventually("the Lease", || holder().filter(|holder| holder == "second")).await;
    cluster.release("basket", 2, "basket.shop.example.com");
    cluster.reaches("basket", "Holding").await;
    let status = cluster.status("checkout");
    assert_eq!(
        (&status["phase"], &status["ratio"]),
        (&json!("Holding"), &json!("10%"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_falls_into_an_outage_follows_its_end_at_once() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster
        .server
        .faults(|line| (!line.starts_with("watch")).then_some(InjectedFault::Unavailable));
    for _ in 0..24 {
        cluster.proxy.serve_requests([25, 25], 450);
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    assert_eq!(cluster.document(1).unwrap()["state"], "Active");
    cluster.server.no_faults();
    let back = tokio::time::Instant::now();
    cluster.reaches("checkout", "RolledBack").await;
    println!("{:?} after the end of the outage", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_at_rest_wakes_when_something_is_done_to_it() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            let spec = object["spec"].as_object_mut().unwrap();
            for field in ["gray", "targetRatio", "steps"] {
                spec.remove(field);
            }
        });
    let _operator = cluster.operator("a");
    cluster.reaches("checkout", "Idle").await;
    cluster.rest().await;
    let before = cluster.document(1).unwrap();
    cluster.server.remove("configmaps", "halftone", "gr-uid-1");
    eventually("a deleted one is back", || {
        (cluster.document(1) == Some(before.clone())).then_some(())
    })
    .await;
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            object["metadata"]["generation"] = json!(2);
            object["spec"]["hosts"] = json!(["new.shop.example.com"]);
        });
    let renamed = || {
        cluster
            .document(1)
            .filter(|document| document["hosts"] == json!(["new.shop.example.com"]))
    };
    eventually("another host", renamed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_operator_says_of_its_release_is_left_alone() {
    let cluster = FakeCluster::new().await;
    for (name, uid) in [("theirs", 1), ("stray", 2)] {
        cluster.release(name, uid, "shop.example.com");
        cluster.server.edit("grayreleases", "shop", name, |object| {
            object["spec"]["proxyClass"] = json!("edge")
        });
    }
    let said = json!({"phase": "Holding", "conditions": [{
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }]});
    cluster
        .server
        .edit("grayreleases", "shop", "theirs", |object| {
            object["status"] = said.clone()
        });
    let _operator = cluster.operator("a");
    // Both are looked at in one go, the other one last.
    cluster.reaches("stray", "Refused").await;
    assert_eq!(cluster.status("theirs"), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_may_not_be_written_is_told_in_the_servers_own_words_and_nobody_is_called_back()
 {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster.server.faults(|line| {
        line.starts_with("patch configmaps/")
            .then_some(InjectedFault::Forbidden)
    });
    cluster.ask("checkout", "rollback");
    let told = || {
        let status = cluster.status("checkout");
        let ready = status["conditions"]
            .as_array()?
            .iter()
            .find(|condition| condition["type"] == "Ready")?
            .clone();
        (ready["reason"] == "NotPersisted").then_some(ready)
    };
    let ready = eventually("NotPersisted", told).await;
    let sentence =
        "applying the ConfigMap: as planned; proxies go on with the routing document before";
    assert_eq!(
        (&ready["status"], &ready["message"]),
        (&json!("False"), &json!(sentence))
    );
    assert_eq!(cluster.condition("checkout", "Stalled"), None);
    eventually("an event", || {
        (cluster.events("NotPersisted") > 0).then_some(())
    })
    .await;
    let metric = |line: &str| {
        operator
            .page("/metrics")
            .text()
            .contains(line)
            .then_some(())
    };
    let of = r#"namespace="shop",release="checkout",class="default""#;
    eventually("an alert", || {
        metric(&format!("halftone_release_ready{{{of}}} 0"))
    })
    .await;
    eventually("its phase", || {
        metric(&format!(
            r#"halftone_release_info{{{of},phase="RollingBack""#
        ))
    })
    .await;
    let proxies = || cluster.status("checkout")["proxies"]["ready"].clone();
    assert_eq!(proxies(), 1);
    let mut second = cluster.server.get("pods", "halftone", "proxy-0").unwrap();
    (second["metadata"]["name"], second["metadata"]["uid"]) =
        (json!("proxy-1"), json!("uid-proxy-1"));
    cluster.server.put("pods", second);
    let patience = FIGURES + Duration::from_secs(10);
    eventually_within("figures", patience, || (proxies() == 2).then_some(())).await;
    cluster.server.remove("pods", "halftone", "proxy-1");
    assert_eq!(
        (cluster.events("RollingBack"), cluster.events("RolledBack")),
        (0, 0)
    );
    assert_eq!(cluster.document(1).unwrap()["ratio"], 100_000);
    cluster.server.no_faults();
    cluster.reaches("checkout", "RolledBack").await;
    eventually("both events", || {
        ((cluster.events("RollingBack"), cluster.events("RolledBack")) == (1, 1)).then_some(())
    })
    .await;
    assert_eq!(
        cluster.condition("checkout", "Ready").unwrap().1,
        "RolledBack"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_over_asks_the_proxies_before_anything_is_told() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    operator.end().await;
    let told = cluster.server.all("events").len();
    // Long enough for many a turn before the first answer.
    cluster.proxy.take(std::time::Duration::from_millis(700));
    let _operator = cluster.operator("b");
    let holder = || cluster.server.get("leases", "halftone", "halftone-default");
    eventually("the Lease", || {
        holder().filter(|lease| lease["spec"]["holderIdentity"] == "b")
    })
    .await;
    // A turn that is given in any case.
    cluster.ask("checkout", "pause");
    cluster.reaches("checkout", "Paused").await;
    let events: Vec<Value> = cluster
        .server
        .all("events")
        .split_off(told.min(cluster.server.all("events").len()));
    let warnings: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "Warning")
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    assert_eq!(cluster.events("NotProgrammed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_route_is_ready_once_its_service_has_an_endpoint_that_proxies_can_use() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    cluster
        .server
        .edit("grayreleases", "shop", "checkout", |object| {
            let spec = object["spec"].as_object_mut().unwrap();
            for field in ["gray", "targetRatio", "steps"] {
                spec.remove(field);
            }
        });
    // A port number with both protocols, and endpoints for the one that is not forwarded.
    let ports = |ports: Value| {
        cluster
            .server
            .edit("endpointslices", "shop", "one", |slice| {
                slice["ports"] = ports
            });
    };
    cluster.server.edit("services", "shop", "one", |service| {
        service["spec"]["ports"] =
            json!([{"name": "dns", "port": 80, "protocol": "UDP"}, {"name": "web", "port": 80, "protocol": "TCP"}]);
    });
    ports(json!([{"name": "dns", "port": 53, "protocol": "UDP"}]));
    let _operator = cluster.operator("a");
    let ready = |status: &'static str, reason: &'static str| {
        let condition = || cluster.condition("checkout", "Ready");
        move || condition().filter(|found| *found == (status.to_owned(), reason.to_owned()))
    };
    eventually("nobody answers", ready("False", "StableUnavailable")).await;
    ports(json!([{"name": "web", "port": 8080, "protocol": "TCP"}]));
    eventually("somebody does", ready("True", "Idle")).await;
    assert_eq!(
        cluster.document(1).unwrap()["arms"]["stable"]["service"]["portName"],
        "web"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_cannot_be_read_is_repaired_and_the_release_is_judged_on() {
    let cluster = FakeCluster::new().await;
    cluster.release("checkout", 1, "shop.example.com");
    let operator = cluster.operator("a");
    cluster.reaches("checkout", "Holding").await;
    cluster.rest().await;
    let break_it = || {
        cluster
            .server
            .edit("grayreleases", "shop", "checkout", |object| {
                object["status"]["stage"] = json!(-5)
            });
    };
    let repaired = || {
        let status = cluster.status("checkout");
        (status["stage"].as_i64() > Some(0) && status["phase"] == "Holding").then_some(status)
    };
    break_it();
    let status = eventually("repaired from memory", repaired).await;
    assert_eq!(status["ratio"], "10%");
    operator.end().await;
    break_it();
    let _operator = cluster.operator("b");
    let status = eventually("repaired from the document", repaired).await;
    assert_eq!(
        (&status["ratio"], &cluster.document(1).unwrap()["ratio"]),
        (&json!("10%"), &json!(100_000))
    );
    eventually("two events", || {
        (cluster.events("StatusUnreadable") == 2).then_some(())
    })
    .await;
    fails_until_rolled_back(&cluster).await;
    cluster.reaches("checkout", "RolledBack").await;
}
