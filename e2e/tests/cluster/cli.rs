//! `kubectl halftone`: what a person sees of a release and asks of it, with the plugin beside kubectl itself.

use std::collections::BTreeSet;

use halftone_e2e::scene::Scene;
use serde_json::{Value, json};

use crate::release::{USERS, release, step};

/// Whether these words come in this order.
fn in_order(text: &str, words: &[&str]) -> bool {
    let mut rest = text;
    words.iter().all(|word| {
        let found = rest.split_once(word);
        rest = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

#[test]
fn watch_tells_the_story_of_a_release_and_ends_with_it() {
    let scene = Scene::new("watch");
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let order = scene.order(300, USERS);
    let steps =
        json!([step(10, "6s"), {"ratio": 50, "hold": "2s", "approval": true}, step(100, "4s")]);
    let health = json!({"minRequests": 20, "warmup": "1s"});
    scene.apply(&release(&scene, &json!({"steps": steps, "health": health})));
    let mut watch = scene.follow_cli(&["watch", "site"]);
    let kubectl = scene.follow_kubectl(&["get", "gr", "site", "-w"]);
    let _client = scene.client("clients", &order);

    scene.phase("site", "AwaitingApproval");
    let status = scene.cli(&["status", "site"]);
    for words in [
        "AwaitingApproval step 2/3 at 50%",
        "requests, 0 errors",
        "waits for approval",
        "maxErrorRate",
    ] {
        assert!(status.out.contains(words), "{words}: {status:?}");
    }
    let approved = scene.cli(&["approve", "site"]);
    assert_eq!(
        (
            approved.code,
            approved.out.contains("site: Done: step 2 may go on")
        ),
        (Some(0), true)
    );
    scene.phase("site", "Promoted");
    let code = scene.until("watch has ended", || watch.ended());
    let told = watch.said();
    assert_eq!(code, 0, "{told}");
    let story = [
        "step 1/3 at 10%",
        "50% of users to v2",
        "waits for approval",
        "RequestDone",
        "Promoted",
    ];
    assert!(in_order(&told, &story), "{told}");
    let words = ["1/3    10%", "2/3    50%", "Promoted", "3/3    100%"];
    scene.until("kubectl get -w has told the same", || {
        in_order(&kubectl.said(), &words).then_some(())
    });

    let back = scene.cli(&["rollback", "site"]);
    assert_eq!(
        (
            back.code,
            back.out.contains("Done: everyone goes back to v1")
        ),
        (Some(0), true)
    );
    let missed = scene.cli(&["watch", "site", "--timeout", "1m"]);
    assert_eq!(
        (missed.code, missed.out.contains("RolledBack")),
        (Some(1), true)
    );
    let again = scene.cli(&["retry", "site"]);
    assert_eq!(
        (again.code, again.out.contains("attempt 2 of v2 begins")),
        (Some(0), true)
    );
    let refused = scene.cli(&["retry", "site"]);
    assert_eq!(
        (refused.code, refused.out.contains("Refused: ")),
        (Some(1), true)
    );
    let history = scene.cli(&["history", "site", "--json"]).json();
    assert_eq!(
        (&history[0]["outcome"], &history[0]["reason"]),
        (&json!("RolledBack"), &json!("Requested"))
    );
    scene.until("the events tell the same", || {
        in_order(
            &scene.cli(&["events", "site"]).out,
            &["Promoted", "RolledBack", "attempt 2"],
        )
        .then_some(())
    });
}

#[test]
fn what_is_applied_is_shown_explained_and_compared_with_the_spec() {
    let scene = Scene::new("applied");
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let steps = json!([step(50, "10m"), step(100, "1s")]);
    scene.apply(&release(
        &scene,
        &json!({"steps": steps, "health": {"enabled": false}}),
    ));
    scene.phase("site", "Holding");
    let pods = scene.cluster.kubectl.json(&[
        "get",
        "pods",
        "-n",
        &scene.cluster.system,
        "-l",
        "app.kubernetes.io/name=halftone-proxy,halftone.dev/class=default",
    ]);
    let names = |list: &Value, path: &str| {
        let all = list.as_array().into_iter().flatten();
        all.filter_map(|item| Some(item.pointer(path)?.as_str()?.to_owned()))
            .collect::<BTreeSet<_>>()
    };
    let pods = names(&pods["items"], "/metadata/name");
    let config = scene.cli(&["config", "site", "--json"]).json();
    assert_eq!(
        (
            &config["document"]["ratio"],
            names(&config["proxies"], "/name")
        ),
        (&json!(500_000), pods.clone())
    );
    assert_eq!(
        names(&config["proxies"], "/runs"),
        BTreeSet::from(["Yes".to_owned()]),
        "{config:#}"
    );
    let said = scene.cli(&[
        "proxies",
        "--class",
        "default",
        "--fleet-namespace",
        &scene.cluster.system,
        "--json",
    ]);
    assert_eq!(names(&said.json(), "/name"), pods);

    let arms = (0..10).map(|number| {
        let header = format!("X-User-Name: user-{number}");
        let explained = scene
            .cli(&["explain", "site", "--header", &header, "--json"])
            .json();
        assert_eq!(explained["ratio"], 50.0, "{explained:#}");
        explained["arm"].as_str().unwrap().to_owned()
    });
    assert_eq!(
        arms.collect::<BTreeSet<_>>(),
        BTreeSet::from(["gray".to_owned(), "stable".to_owned()])
    );

    assert_eq!(scene.cli(&["config", "diff", "site"]).code, Some(0));
    assert_eq!(scene.cli(&["promote", "site"]).code, Some(0));
    scene.phase("site", "Promoted");
    // The edit that everyone makes once: v2 serves everyone, and only gray moves on.
    scene.patch(
        "grayrelease/site",
        &json!({"spec": {"gray": {"version": "v3"}}}),
    );
    scene.phase("site", "Refused");
    let diff = scene.cli(&["config", "diff", "site"]);
    assert_eq!(diff.code, Some(1));
    for words in [
        "- arms.gray.version: \"v2\"",
        "+ arms.gray.version: \"v3\"",
        "StableNotServing",
    ] {
        assert!(diff.out.contains(words), "{words}: {diff:?}");
    }
}

#[test]
fn who_may_only_read_is_refused_a_command_and_told_why() {
    let scene = Scene::new("reader");
    let bind = |user: &str, role: &str| {
        scene.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }));
    };
    bind("reader", "view");
    bind("writer", "edit");
    scene.apply(&release(&scene, &json!({"targetRatio": 0})));
    scene.until("an operator has seen it", || {
        scene.status("site")["requestToken"].as_str().map(|_| ())
    });
    for command in [
        &["status", "site"][..],
        &["get"],
        &["history", "site"],
        &["events", "site"],
    ] {
        let said = scene.cli(&[command, &["--as", "reader"]].concat());
        assert_eq!(
            (said.code, said.err.as_str()),
            (Some(0), ""),
            "{command:?}: {said:?}"
        );
    }
    let refused = scene.cli(&["pause", "site", "--as", "reader"]);
    assert_eq!(refused.code, Some(1));
    for words in [
        "error: you may not patch grayreleases.halftone.dev",
        "can-i patch grayreleases.halftone.dev -n",
    ] {
        assert!(refused.err.contains(words), "{words}: {refused:?}");
    }
    // Who may write releases need not be allowed to steer them: the chart's admission policy asks for the verb.
    let refused = scene.cli(&["pause", "site", "--as", "writer"]);
    assert_eq!(refused.code, Some(1));
    for words in [
        "error: you may not pause grayreleases.halftone.dev",
        "can-i pause grayreleases.halftone.dev -n",
    ] {
        assert!(refused.err.contains(words), "{words}: {refused:?}");
    }
    let outside = scene.cli(&["status", "-A", "--as", "reader"]);
    assert_eq!(
        (
            outside.code,
            outside.err.contains("name one namespace with -n")
        ),
        (Some(1), true)
    );
    assert_ne!(scene.status("site")["phase"], "Paused");
    assert!(
        scene.get("grayrelease/site")["metadata"]["annotations"]["halftone.dev/request"].is_null()
    );
}
