//! The commands against a cluster, as a person or a script calls them, with an API server on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use assert_cmd::Command;
use halftone_api::{GrayRelease, Plan};
use halftone_rollout::{clock::Now, progress::Progress, routing_for::routing_for};
use halftone_routing::document::{OperatorLostAction, ReleaseState, RoutingConfig, rule::Target};
use halftone_testkit::{ApiEndpoint, ApiServer, InjectedFault};
use serde_json::{Value, json};
use tempfile::TempDir;

const UID: &str = "5d9ec6f0-2a0e-4c53-9a3b-0f3c5f4f6a01";

struct CliCluster {
    server: ApiEndpoint,
    dir: TempDir,
}

impl CliCluster {
    /// A cluster with one release, which an operator looks after.
    fn new() -> Self {
        let world = Self {
            server: ApiServer::new().listen(),
            dir: TempDir::new().unwrap(),
        };
        std::fs::write(
            world.dir.path().join("config"),
            world.server.kubeconfig("shop"),
        )
        .unwrap();
        world.server.put("grayreleases", release("checkout"));
        world
            .server
            .put("leases", lease("2999-01-01T00:00:00.000000Z"));
        world.server.controller(answers("Done"));
        world
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halftone"));
        command
            .current_dir(&self.dir)
            .env("KUBECONFIG", self.dir.path().join("config"));
        command
            .env("NO_COLOR", "1")
            .env_remove("HALFTONE_FLEET_NAMESPACE")
            .args(arguments);
        command
    }

    /// What it prints when all is well.
    fn told(&self, arguments: &[&str]) -> String {
        let assert = self.command(arguments).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    /// What it says when it ends with 1.
    fn refused(&self, arguments: &[&str]) -> String {
        let assert = self.command(arguments).assert().code(1);
        let output = assert.get_output();
        String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
    }

    /// Has an operator apply what the release asks for, at 10 %.
    fn applied(&self) {
        self.applied_with(|_| {});
    }

    /// The same, with the document changed.
    fn applied_with(&self, edit: impl FnOnce(&mut RoutingConfig)) {
        let release: GrayRelease = serde_json::from_value(release("checkout")).unwrap();
        let start = Progress::new(Now::at("2026-11-21T09:00:00Z".parse().unwrap()));
        let plan = Plan::try_from(&release).unwrap();
        let mut document = routing_for(
            &plan,
            &start,
            serde_json::from_value(json!(14)).unwrap(),
            None,
        );
        (document.state, document.moving, document.ratio) =
            (ReleaseState::Active, true, "10".parse().unwrap());
        edit(&mut document);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "halftone", "name": format!("gr-{UID}"),
                "labels": {"halftone.dev/class": "default"}},
            "data": {"routing.json": document.to_json().unwrap()}
        });
        self.server.put("configmaps", object);
    }
}

fn release(name: &str) -> Value {
    json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease",
        "metadata": {"namespace": "shop", "name": name, "uid": UID, "generation": 1,
            "creationTimestamp": "2026-11-21T08:00:00Z"},
        "spec": {"hosts": ["shop.example.com"], "targetRatio": 100,
            "stable": {"service": {"name": "checkout-v1", "port": 80}, "version": "v1"},
            "gray": {"service": {"name": "checkout-v2", "port": 80}, "version": "v2"}},
        "status": {"observedGeneration": 1, "phase": "Holding", "ratio": "10%", "requestToken": "t1",
            "revision": 14, "proxies": {"ready": 2, "acknowledged": 1, "waitingFor": ["proxy-2"]},
            "history": [{"id": "0011223344556677", "version": "v1", "outcome": "Promoted",
                "startedAt": "2026-11-20T08:00:00Z", "endedAt": "2026-11-20T09:30:00Z"}]}
    })
}

fn lease(renewed: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "halftone", "name": "halftone-default"},
        "spec": {"holderIdentity": "operator-0", "leaseDurationSeconds": 15, "renewTime": renewed}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "halftone", "name": name,
            "labels": {"app.kubernetes.io/name": "halftone-proxy", "halftone.dev/class": "default"}},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// An operator that answers every request so.
fn answers(result: &'static str) -> impl FnMut(Value) -> Option<Value> + Send + 'static {
    move |mut object| {
        let request = object["metadata"]["annotations"]["halftone.dev/request"].clone();
        object["status"]["lastHandledRequest"] = json!({"request": request, "result": result,
            "message": "so it is", "time": "2026-11-21T10:00:00Z"});
        object["status"]["requestToken"] = json!("t2");
        Some(object)
    }
}

#[test]
fn status_get_and_history_tell_of_the_cluster() {
    let world = CliCluster::new();
    assert!(world.told(&["status"]).contains("shop/checkout"));
    assert!(
        world
            .told(&["status", "checkout"])
            .contains("waits for proxy-2")
    );
    assert!(world.told(&["get", "-A"]).contains("10%"));
    assert!(
        world
            .told(&["history", "shop/checkout"])
            .contains("Promoted")
    );
    let one: Value = serde_json::from_str(&world.told(&["status", "checkout", "--json"])).unwrap();
    assert_eq!(one["status"]["requestToken"], "t1");
    let all: Value = serde_json::from_str(&world.told(&["get", "-A", "--json"])).unwrap();
    assert_eq!(all.as_array().unwrap().len(), 1);
    assert_eq!(
        world.told(&["get", "-o", "name"]),
        "grayrelease.halftone.dev/checkout\n"
    );
    assert!(
        world
            .told(&["get", "-o", "wide"])
            .contains("shop.example.com")
    );
    assert!(
        world
            .told(&["status", "-o", "wide"])
            .contains("shop.example.com")
    );
    assert!(
        world
            .told(&["status", "checkout", "-o", "yaml"])
            .contains("requestToken: t1")
    );
    assert!(
        world
            .told(&["history", "checkout", "-o", "yaml"])
            .contains("outcome: Promoted")
    );
    world
        .command(&["get", "-o", "json", "--json"])
        .assert()
        .code(2);
}

#[test]
fn a_request_carries_token_and_version_and_ends_with_the_answer() {
    let world = CliCluster::new();
    let mut conflicts = 2;
    world.server.faults(move |line| {
        let conflict = conflicts > 0 && line.starts_with("patch ");
        conflicts -= i32::from(conflict);
        conflict.then_some(InjectedFault::Conflict)
    });
    assert_eq!(
        world.told(&["pause", "checkout"]),
        "shop/checkout: Done: so it is\n"
    );
    let patches = world.server.patches();
    assert_eq!(patches.len(), 1);
    assert_eq!(
        patches[0]["metadata"]["annotations"]["halftone.dev/request"],
        "pause@t1"
    );
    assert!(patches[0]["metadata"]["resourceVersion"].is_string());
    assert!(patches[0].get("spec").is_none());
}

/// An operator that writes another revision, which no proxy has yet.
fn programs() -> impl FnMut(Value) -> Option<Value> + Send + 'static {
    let mut answer = answers("Done");
    move |object| {
        let mut object = answer(object)?;
        object["status"]["revision"] = json!(15);
        object["status"]["phase"] = json!("RollingBack");
        object["status"]["proxies"] = json!({"ready": 2, "acknowledged": 0, "waitingFor": []});
        Some(object)
    }
}

/// The release once these proxies of two lack what was asked for.
fn lacking(names: &[&str]) -> Value {
    let mut object = release("checkout");
    object["metadata"]["annotations"]["halftone.dev/request"] = json!("rollback@t1");
    object["status"]["revision"] = json!(15);
    object["status"]["proxies"] =
        json!({"ready": 2, "acknowledged": 2 - names.len(), "waitingFor": names});
    answers("Done")(object).unwrap()
}

#[test]
fn a_rollback_ends_once_every_proxy_has_it() {
    let world = CliCluster::new();
    world.server.controller(programs());
    let (server, began) = (
        ApiServer::clone(&world.server),
        Arc::new(AtomicBool::new(false)),
    );
    let acknowledges = Arc::clone(&began);
    let proxies = std::thread::spawn(move || {
        while server.patches().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        server.put("grayreleases", lacking(&["proxy-2"]));
        std::thread::sleep(Duration::from_millis(300));
        acknowledges.store(true, SeqCst);
        server.put("grayreleases", lacking(&[]));
    });
    let told = world.told(&["rollback", "checkout"]);
    assert!(began.load(SeqCst), "it ended before");
    assert_eq!(
        told,
        "shop/checkout: Done: so it is\n  in effect: 2 of 2 proxies have revision 15\n"
    );
    proxies.join().unwrap();
}

#[test]
fn a_rollback_that_a_proxy_does_not_take_up_is_written_and_ends_with_3() {
    let world = CliCluster::new();
    world.server.controller(|object| {
        let object = programs()(object)?;
        let mut lacking = lacking(&["proxy-2"]);
        lacking["metadata"] = object["metadata"].clone();
        Some(lacking)
    });
    let ended = world
        .command(&["rollback", "checkout", "--timeout", "1s"])
        .assert()
        .code(3);
    let output = ended.get_output();
    let (told, why) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(told, "shop/checkout: Done: so it is\n");
    for words in [
        "written, and not yet in effect everywhere after 1s",
        "1 of 2 proxies have revision 15",
        "waits for proxy-2",
    ] {
        assert!(why.contains(words), "{words} in\n{why}");
    }
    // What is asked for now changes nothing for proxies, or nobody is to wait.
    world.server.controller(answers("Done"));
    assert_eq!(
        world.told(&["pause", "checkout"]),
        "shop/checkout: Done: so it is\n"
    );
    world.server.put("grayreleases", release("checkout"));
    world.server.controller(programs());
    assert_eq!(
        world.told(&["rollback", "checkout", "--no-wait"]),
        "shop/checkout: Done: so it is\n"
    );
    world.server.put("grayreleases", release("checkout"));
    let ended = world
        .command(&["promote", "checkout", "--timeout", "1s", "--json"])
        .assert()
        .code(3);
    let handled: Value = serde_json::from_slice(&ended.get_output().stdout).unwrap();
    assert_eq!(
        (&handled["result"], &handled["acknowledged"]),
        (&json!("Done"), &json!(false))
    );
}

#[test]
fn a_rollback_whose_document_may_not_be_written_says_why_and_ends_with_3() {
    let world = CliCluster::new();
    world.server.controller(|object| {
        let mut object = programs()(object)?;
        object["status"]["conditions"] = json!([{
            "type": "Programmed", "status": "False", "reason": "NotPersisted",
            "message": "applying the ConfigMap: exceeded quota: none; proxies go on with the routing document before",
            "lastTransitionTime": "2026-11-21T10:00:00Z",
        }]);
        Some(object)
    });
    let ended = world
        .command(&["rollback", "checkout", "--timeout", "1s"])
        .assert()
        .code(3);
    let why = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    assert!(
        why.contains(
            "no proxy has been told of it after 1s: applying the ConfigMap: exceeded quota"
        ),
        "{why}"
    );
    assert!(!why.contains("it is written"), "{why}");
}

#[test]
fn a_class_is_handed_over_only_to_an_installation_whose_operator_is_there() {
    let world = CliCluster::new();
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "halftone", "name": "halftone-fleet-default",
            "annotations": {"halftone.dev/controller": "halftone/ours"}}});
    world.server.put("configmaps", settings);
    let mut operator = pod("operator-0");
    operator["metadata"]["namespace"] = json!("other");
    operator["metadata"]["labels"] = json!({"app.kubernetes.io/name": "halftone-operator", "app.kubernetes.io/instance": "theirs"});
    world.server.put("pods", operator);
    let order = |to: &'static str| ["hand-over", "--class", "default", "--to", to];
    let told = world.refused(&order("other/theirz"));
    for words in [
        "there is no operator of the installation other/theirz",
        "kubectl get pods -n other",
    ] {
        assert!(told.contains(words), "{words} in\n{told}");
    }
    assert!(world.server.patches().is_empty());
    let told = world.told(&order("other/theirs"));
    assert!(
        told.contains("looks after each release until other/theirs has taken it"),
        "{told}"
    );
    assert_eq!(
        world.server.patches()[0]["metadata"]["annotations"],
        json!({"halftone.dev/hand-over-to": "other/theirs"})
    );
    assert!(
        world
            .told(&order("halftone/ours"))
            .contains("halftone/ours offers no more releases")
    );
    assert_eq!(
        world.server.patches()[1]["metadata"]["annotations"],
        json!({"halftone.dev/hand-over-to": null})
    );
    world.server.forbid("list pods");
    world.told(&order("other/unseen"));
}

#[test]
fn a_request_that_is_refused_ends_with_1() {
    let world = CliCluster::new();
    world.server.controller(answers("Refused"));
    assert!(
        world
            .refused(&["promote", "checkout"])
            .contains("Refused: so it is")
    );
    assert!(
        world
            .refused(&["approve", "checkout", "--step", "2", "--json"])
            .contains("approve/2@t2")
    );
}

#[test]
fn a_request_that_waits_is_kept_except_for_pause_and_rollback() {
    let world = CliCluster::new();
    let mut waits = release("checkout");
    waits["metadata"]["annotations"]["halftone.dev/request"] = json!("approve@t1");
    world.server.put("grayreleases", waits);
    let told = world.refused(&["promote", "checkout"]);
    assert!(
        told.contains("nobody has answered yet: approve@t1"),
        "{told}"
    );
    assert!(
        told.contains("operator-0"),
        "it tells whether an operator is alive: {told}"
    );
    assert!(world.server.patches().is_empty());
    world.command(&["rollback", "checkout"]).assert().success();
}

#[test]
fn where_nobody_answers_the_lease_tells_whether_an_operator_lives() {
    let world = CliCluster::new();
    world.server.controller(|_| None);
    world
        .server
        .put("leases", lease("2026-11-21T08:00:00.000000Z"));
    let told = world.refused(&["pause", "checkout", "--timeout", "300ms"]);
    assert!(
        told.contains("No operator is alive") && told.contains("kubectl annotate"),
        "{told}"
    );
    // The very same request is waited for, not written again.
    let told = world.refused(&[
        "pause",
        "checkout",
        "--timeout",
        "100ms",
        "--fleet-namespace",
        "halftone",
    ]);
    assert!(
        told.contains("pause@t1") && world.server.patches().len() == 1,
        "{told}"
    );
}

#[test]
fn config_shows_the_document_and_who_runs_it() {
    let world = CliCluster::new();
    world.applied();
    world.server.put("pods", pod("proxy-1"));
    world.server.put("pods", pod("proxy-2"));
    let told = world.told(&["config", "checkout"]);
    for words in [
        "revision  14",
        "Active at 10%, moving",
        "proxy-1  runs it",
        "proxy-2  has not taken it",
    ] {
        assert!(told.contains(words), "{words} in\n{told}");
    }
    let proxies = world.told(&["proxies"]);
    assert!(
        proxies.contains("proxy-2") && proxies.contains("shop/checkout"),
        "{proxies}"
    );
    let json: Value = serde_json::from_str(&world.told(&["config", "checkout", "--json"])).unwrap();
    assert_eq!(
        (&json["document"]["revision"], &json["proxies"][1]["runs"]),
        (&json!(14), &json!("No"))
    );
}

#[test]
fn config_diff_ends_with_1_where_spec_and_document_differ() {
    let world = CliCluster::new();
    world.applied();
    assert!(
        world
            .told(&["config", "diff", "checkout"])
            .contains("what the spec asks for")
    );
    let mut edited = release("checkout");
    edited["metadata"]["generation"] = json!(2);
    edited["spec"]["gray"]["version"] = json!("v3");
    world.server.put("grayreleases", edited);
    let told = world.refused(&["config", "diff", "checkout"]);
    for words in [
        "- arms.gray.version: \"v2\"",
        "+ arms.gray.version: \"v3\"",
        "not seen generation 2",
    ] {
        assert!(told.contains(words), "{words} in\n{told}");
    }
}

#[test]
fn explain_from_the_cluster_decides_by_what_is_applied() {
    let world = CliCluster::new();
    world.applied();
    let told = world.told(&[
        "explain",
        "checkout",
        "--from-cluster",
        "--header",
        "X-User-Name: lin",
    ]);
    assert!(
        told.contains("shop/checkout") && told.contains("as it stands now, at 10%"),
        "{told}"
    );
    let told = world.told(&[
        "explain",
        "checkout",
        "-n",
        "shop",
        "--header",
        "X-User-Name: lin",
    ]);
    assert!(
        told.contains("as it stands now, at 10%"),
        "a cluster is named: {told}"
    );
    let told = world.refused(&["explain", "checkout", "-n", "shop", "--ratio", "5"]);
    assert!(told.contains("what is applied"), "{told}");
}

#[test]
fn while_no_operator_is_heard_the_commands_say_what_proxies_do() {
    const LOST: &str = "Proxies send everyone to stable";
    let world = CliCluster::new();
    let heeds = |document: &mut RoutingConfig| {
        document.on_operator_lost.action = OperatorLostAction::Stable
    };
    world.applied_with(heeds);
    let explain = |user: &str| -> Value {
        let header = format!("X-User-Name: {user}");
        let told = world.told(&[
            "explain",
            "checkout",
            "--from-cluster",
            "--json",
            "--header",
            &header,
        ]);
        serde_json::from_str(&told).unwrap()
    };
    let users = (0..200).map(|number| format!("user-{number}"));
    let user = users
        .into_iter()
        .find(|user| explain(user)["arm"] == "gray")
        .expect("one in ten");
    let header = format!("X-User-Name: {user}");
    let commands: [&[&str]; 3] = [
        &["status", "checkout"],
        &["config", "checkout"],
        &["explain", "checkout", "--from-cluster", "--header", &header],
    ];
    let told = |arguments: &[&str]| {
        let assert = world.command(arguments).assert().success();
        let output = assert.get_output();
        String::from_utf8([output.stdout.clone(), output.stderr.clone()].concat()).unwrap()
    };
    for command in commands {
        assert!(
            !told(command).contains(LOST),
            "an operator is there: {command:?}"
        );
    }
    world
        .server
        .put("leases", lease("2026-11-21T08:00:00.000000Z"));
    for command in commands {
        assert!(
            told(command).contains(LOST),
            "{command:?}: {}",
            told(command)
        );
    }
    let explained = explain(&user);
    assert_eq!(
        (&explained["arm"], &explained["operatorLost"]),
        (&json!("stable"), &json!(true))
    );
    assert_eq!(explained["ratio"], 0.0);
    let config = |name: &str| -> Value {
        let config: Value =
            serde_json::from_str(&world.told(&["config", "checkout", "--json"])).unwrap();
        config[name].clone()
    };
    assert_eq!(config("operatorLost"), true);
    // What the spec forces stands without an operator as well.
    world.applied_with(|document| {
        heeds(document);
        document.force = Some(Target::Gray);
    });
    for command in commands {
        assert!(
            !told(command).contains(LOST),
            "{command:?}: {}",
            told(command)
        );
    }
    assert_eq!(
        (&explain(&user)["arm"], config("operatorLost")),
        (&json!("gray"), json!(false))
    );
}

#[test]
fn events_are_told_oldest_first_and_followed() {
    let world = CliCluster::new();
    let event = |name: &str, time: &str| {
        json!({"apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": "shop", "name": name, "uid": name}, "type": "Normal", "reason": "StepStarted",
            "message": name, "eventTime": time,
            "involvedObject": {"kind": "GrayRelease", "namespace": "shop", "name": "checkout"}})
    };
    world
        .server
        .put("events", event("second", "2026-11-21T10:00:01.000000Z"));
    world
        .server
        .put("events", event("first", "2026-11-21T10:00:00.000000Z"));
    let told = world.told(&["events", "checkout"]);
    assert!(
        told.find("first").unwrap() < told.find("second").unwrap(),
        "{told}"
    );
    let mut follows = follow(&world, &["events", "checkout", "-f", "--json"]);
    let mut lines = BufReader::new(follows.0.stdout.take().unwrap()).lines();
    for note in ["first", "second"] {
        assert!(lines.next().unwrap().unwrap().contains(note));
    }
    world
        .server
        .put("events", event("third", "2026-11-21T10:00:02.000000Z"));
    assert!(
        lines.next().unwrap().unwrap().contains("third"),
        "each once"
    );
}

#[test]
fn watch_tells_every_change() {
    let world = CliCluster::new();
    let mut follows = follow(&world, &["watch", "checkout", "--json"]);
    let mut lines = BufReader::new(follows.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["ratio"], "10%");
    let mut moved = release("checkout");
    moved["status"]["ratio"] = json!("20%");
    world.server.put("grayreleases", moved.clone());
    assert_eq!(next()["ratio"], "20%");
    moved["status"]["phase"] = json!("RolledBack");
    world.server.put("grayreleases", moved);
    assert_eq!(next()["phase"], "RolledBack");
    assert_eq!(
        follows.0.wait().unwrap().code(),
        Some(1),
        "it ends with the release"
    );
}

#[test]
fn watch_gives_up_when_it_is_told_to() {
    let world = CliCluster::new();
    let told = world
        .command(&["watch", "checkout", "--timeout", "300ms"])
        .assert()
        .code(3);
    let told = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(told.contains("checkout is not done within 300ms"), "{told}");
}

#[test]
fn a_watch_that_is_interrupted_says_so_by_its_exit_code() {
    let world = CliCluster::new();
    for command in [
        &["watch", "checkout", "--json"][..],
        &["watch", "--json"],
        &["events", "checkout", "-f"],
    ] {
        let event = json!({"apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": "shop", "name": "e", "uid": "e"}, "type": "Normal", "reason": "StepStarted",
            "message": "e", "eventTime": "2026-11-21T10:00:01.000000Z",
            "involvedObject": {"kind": "GrayRelease", "namespace": "shop", "name": "checkout"}});
        world.server.put("events", event);
        let mut follows = follow(&world, command);
        let mut lines = BufReader::new(follows.0.stdout.take().unwrap()).lines();
        lines.next().expect("it has begun").unwrap();
        let pid = rustix::process::Pid::from_child(&follows.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(follows.0.wait().unwrap().code(), Some(130), "{command:?}");
    }
}

#[test]
fn status_shows_what_both_arms_do_now_and_what_its_counts_leave_out() {
    let world = CliCluster::new();
    world.applied();
    assert!(
        world
            .told(&["status", "checkout"])
            .contains("traffic  not known: no proxy of class default is ready")
    );
    world.server.put("pods", pod("proxy-1"));
    let labels = "namespace=\"shop\",release=\"checkout\",arm=\"gray\"";
    let page = format!("halftone_request_outcomes_total{{{labels},cause=\"2xx\"}} 5\n");
    world.server.page(
        "/api/v1/namespaces/halftone/pods/proxy-1:8081/proxy/metrics",
        &page,
    );
    let told = world.told(&["status", "checkout"]);
    assert!(
        told.contains("0.0 requests/s, - errors, p50 -, p95 -, p99 - over the last 2 s"),
        "{told}"
    );
    let one: Value = serde_json::from_str(&world.told(&["status", "checkout", "--json"])).unwrap();
    assert_eq!(one["traffic"]["gray"]["requestsPerSecond"], 0.0);
}

#[test]
fn a_release_that_cannot_be_read_hides_no_other() {
    let world = CliCluster::new();
    let mut newer = release("newer");
    newer["spec"]["onUnavailable"] = json!("Elsewhere");
    world.server.put("grayreleases", newer);
    for command in [&["status"][..], &["get", "-A"], &["status", "--json"]] {
        let told = world.told(command);
        for words in ["checkout", "newer", "Elsewhere", "nreadable"] {
            assert!(told.contains(words), "{command:?}: {words} in\n{told}");
        }
    }
    let told = world.refused(&["status", "newer"]);
    assert!(
        told.contains("cannot be read") && told.contains("Elsewhere"),
        "{told}"
    );
    let mut follows = follow(&world, &["watch"]);
    let mut lines = BufReader::new(follows.0.stdout.take().unwrap()).lines();
    let two = [
        lines.next().unwrap().unwrap(),
        lines.next().unwrap().unwrap(),
    ]
    .concat();
    assert!(
        two.contains("shop/checkout Holding")
            && two.contains("shop/newer: this halftone cannot read it"),
        "{two}"
    );
}

#[test]
fn a_status_that_nobody_keeps_is_told_to_be_old() {
    let world = CliCluster::new();
    let told = |arguments: &[&str]| {
        let assert = world.command(arguments).assert().success();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert_eq!(told(&["status", "checkout"]), "");
    world
        .server
        .put("leases", lease("2026-11-21T08:00:00.000000Z"));
    assert!(
        told(&["status", "checkout"]).contains("the last that was known. No operator is alive")
    );
    // Who may not see the Lease is told the status all the same.
    world.server.forbid("list leases *");
    assert_eq!(told(&["status", "checkout"]), "");
}

#[test]
fn long_lists_are_asked_for_in_pages() {
    let world = CliCluster::new();
    for number in 0..700 {
        world
            .server
            .put("grayreleases", release(&format!("r{number:03}")));
    }
    let all = world.told(&["status"]);
    assert_eq!(
        all.lines().count(),
        1 + 701 + 1,
        "a header, each release, the sum"
    );
    assert!(all.ends_with("701 releases: 701 Holding\n"), "{all}");
}

/// A command that goes on until its owner ends.
struct FollowingCommand(Child);

impl Drop for FollowingCommand {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn follow(world: &CliCluster, arguments: &[&str]) -> FollowingCommand {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_halftone"));
    command
        .current_dir(&world.dir)
        .env("KUBECONFIG", world.dir.path().join("config"))
        .args(arguments);
    FollowingCommand(command.stdout(Stdio::piped()).spawn().unwrap())
}

#[test]
fn what_is_missing_or_forbidden_is_told_with_what_to_do() {
    let world = CliCluster::new();
    let told = world.refused(&["status", "chekout"]);
    assert!(
        told.contains("no GrayRelease chekout in namespace shop") && told.contains("checkout"),
        "{told}"
    );
    world.server.forbid("list grayreleases *");
    assert!(
        world
            .refused(&["get", "-A"])
            .contains("name one namespace with -n")
    );
    world.server.forbid("list configmaps *");
    assert!(
        world
            .refused(&["config", "checkout"])
            .contains("--fleet-namespace")
    );
    world.applied();
    world.told(&["config", "checkout", "--fleet-namespace", "halftone"]);
    world.server.forbid("patch grayreleases");
    assert!(
        world
            .refused(&["pause", "checkout"])
            .contains("may not patch grayreleases.halftone.dev")
    );
    let no_definition = |line: &str| {
        line.starts_with("list grayreleases/")
            .then_some(InjectedFault::UnknownResource)
    };
    world.server.faults(no_definition);
    assert!(world.refused(&["status"]).contains("halftone crd"));
}

#[test]
fn without_run_and_without_cluster_both_are_named() {
    let world = CliCluster::new();
    let told = |command: &mut Command| {
        let assert = command.assert().code(1);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    let nothing = told(
        world
            .command(&["status"])
            .env("KUBECONFIG", "/nonexistent")
            .env("HOME", "/nonexistent"),
    );
    assert!(
        nothing.contains("./.halftone") && nothing.contains("--kubeconfig"),
        "{nothing}"
    );
    let other = told(&mut world.command(&["status", "--context", "prod"]));
    assert!(
        other.contains("context prod") && !other.contains("./.halftone"),
        "{other}"
    );
    let gone = world.dir.path().join("gone");
    let text = std::fs::read_to_string(world.dir.path().join("config")).unwrap();
    std::fs::write(
        &gone,
        text.replace(&world.server.address.port().to_string(), "1"),
    )
    .unwrap();
    let away = told(world.command(&["status", "--kubeconfig"]).arg(&gone));
    assert!(away.contains("cannot be reached"), "{away}");
    world
        .command(&["status", "--state", "x", "-n", "shop"])
        .assert()
        .code(2);
}

/// What any API server has beside objects: a version, and the right to do everything.
fn complete(world: &CliCluster) {
    let version = json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
    world.server.page("/version", &version.to_string());
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "metadata": {}, "spec": {}, "status": {"allowed": true}});
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    world.server.page(reviews, &review.to_string());
    operator_may(world, true);
    let definition = serde_json::to_string(&halftone_api::crd()).unwrap();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    world.server.page(
        &format!("{definitions}/grayreleases.halftone.dev"),
        &definition,
    );
}

/// What the API server says of the operator's service account.
fn operator_may(world: &CliCluster, allowed: bool) {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "metadata": {}, "spec": {}, "status": {"allowed": allowed}});
    world.server.page(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        &review.to_string(),
    );
}

const TRAFFIC: &str = "/api/v1/namespaces/halftone/pods/proxy-1:8080/proxy/";

/// A fleet with one proxy and the operator that leads it.
fn installed(world: &CliCluster) {
    complete(world);
    let object = |name: &str, labels: Value, data: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "halftone", "name": name, "labels": labels}, "data": data})
    };
    let fleet = object(
        "halftone-fleet-default",
        json!({"halftone.dev/class": "default"}),
        json!({}),
    );
    world.server.put("configmaps", fleet);
    let keys = json!({"keys": [{"public": "00".repeat(32), "holder": "operator-0"}]}).to_string();
    let labels = json!({"halftone.dev/fleet": "default", "halftone.dev/kind": "Keys"});
    world.server.put(
        "configmaps",
        object(
            "halftone-keys-default",
            labels,
            json!({ "keys.json": keys }),
        ),
    );
    let mut operator = pod("operator-0");
    operator["metadata"]["labels"] = json!({"app.kubernetes.io/name": "halftone-operator"});
    operator["spec"] = json!({"serviceAccountName": "halftone-operator", "containers": []});
    world.server.put("pods", operator);
    world.server.put("pods", pod("proxy-1"));
    world.server.page(TRAFFIC, "hello");
}

/// The checks that ended so, with what they found.
fn ended(world: &CliCluster, result: &str) -> Vec<(String, String)> {
    let output = world.command(&["check", "-o", "json"]).output().unwrap();
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let ended = checks.iter().filter(|check| check["result"] == result);
    ended
        .map(|check| (text(&check["name"]), text(&check["found"])))
        .collect()
}

#[test]
fn check_calls_nothing_well_that_it_could_not_see() {
    let world = CliCluster::new();
    installed(&world);
    world.server.forbid("list grayreleases");
    world.server.forbid("list leases");
    let told = world.told(&["check"]);
    assert!(
        told.contains("2 could not be checked") && !told.contains("all is well"),
        "{told}"
    );
    let unknown: Vec<String> = ended(&world, "Unknown")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(unknown, ["operator of default", "releases"]);
    let told = world.refused(&["check", "--downgrade", "0.1"]);
    assert!(
        told.contains("1 could not be checked"),
        "going back is not left to luck: {told}"
    );
}

#[test]
fn check_names_what_keeps_an_operator_from_its_work() {
    let world = CliCluster::new();
    installed(&world);
    assert_eq!(ended(&world, "Failed"), []);
    operator_may(&world, false);
    let failed = ended(&world, "Failed");
    assert_eq!(
        (failed.len(), failed[0].0.as_str()),
        (1, "rights of the operator of default")
    );
    for words in [
        "create configmaps in namespace halftone",
        "update grayreleases/status in namespace shop",
    ] {
        assert!(failed[0].1.contains(words), "{words} in {}", failed[0].1);
    }
    operator_may(&world, true);
    let mut taken_over = lease("2999-01-01T00:00:00.000000Z");
    taken_over["spec"]["holderIdentity"] = json!("operator-1");
    world.server.put("leases", taken_over);
    let failed = ended(&world, "Failed");
    assert_eq!((failed.len(), failed[0].0.as_str()), (1, "keys of default"));
    assert!(
        failed[0]
            .1
            .contains("that of operator-0, not of operator-1"),
        "{}",
        failed[0].1
    );
}

#[test]
fn check_fails_where_a_proxy_answers_with_a_failure() {
    let world = CliCluster::new();
    installed(&world);
    world.server.failing_page(TRAFFIC, 404, "no route");
    assert_eq!(ended(&world, "Failed"), []);
    world
        .server
        .failing_page(TRAFFIC, 503, "no endpoint is ready");
    let answered = (
        "a request through default".to_owned(),
        "proxy-1 answers 503".to_owned(),
    );
    assert_eq!(ended(&world, "Failed"), [answered]);
    world
        .server
        .failing_page(TRAFFIC, 503, "error trying to reach service: i/o timeout");
    assert_eq!(
        (
            ended(&world, "Failed").len(),
            ended(&world, "Unknown").len()
        ),
        (0, 1)
    );
}

#[test]
fn check_says_of_an_installation_what_has_to_be_done() {
    let world = CliCluster::new();
    complete(&world);
    let told = world.refused(&["check"]);
    assert!(
        told.contains("no fleet was set up by an operator") && told.contains("install the chart"),
        "{told}"
    );
    installed(&world);
    let told = world.told(&["check"]);
    for words in [
        "Kubernetes 1.33",
        "1 of 1 ready",
        "proxy-1 answers",
        "all is well",
    ] {
        assert!(told.contains(words), "{words} in\n{told}");
    }
    world
        .server
        .put("leases", lease("2026-11-21T08:00:00.000000Z"));
    let told = world.refused(&["check", "-o", "json"]);
    let checks: Value = serde_json::from_str(&told).unwrap();
    let failed: Vec<&Value> = checks
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["result"] == "Failed")
        .collect();
    assert_eq!(
        (failed.len(), &failed[0]["name"]),
        (1, &json!("operator of default")),
        "{told}"
    );
    assert!(
        failed[0]["advice"]
            .as_str()
            .unwrap()
            .contains("kubectl logs"),
        "{told}"
    );
}

#[test]
fn check_before_installing_finds_who_is_there_already() {
    let world = CliCluster::new();
    complete(&world);
    let told = world.refused(&["check", "--pre"]);
    assert!(
        told.contains("operators look after the classes default"),
        "{told}"
    );
    assert!(
        told.contains("you may create all that the chart creates"),
        "{told}"
    );
}

#[test]
fn version_tells_of_client_operators_and_proxies() {
    let world = CliCluster::new();
    assert!(world.told(&["version"]).contains("no operator runs"));
    let mut operator = pod("operator-0");
    operator["metadata"]["labels"] = json!({"app.kubernetes.io/name": "halftone-operator", "app.kubernetes.io/version": "9.9.0"});
    world.server.put("pods", operator);
    let told: Value = serde_json::from_str(&world.told(&["version", "-o", "json"])).unwrap();
    assert_eq!(
        (&told["client"], &told["operators"]["9.9.0"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(1))
    );
    assert!(
        told["skew"]
            .to_string()
            .contains("use the halftone of the operator's version"),
        "{told}"
    );
    assert!(world.told(&["version", "--client"]).starts_with("client"));
}

#[test]
fn a_server_alone_is_enough_and_takes_the_place_of_the_kubeconfig() {
    let world = CliCluster::new();
    let server = format!("http://{}", world.server.address);
    let told = world
        .command(&[
            "get",
            "-n",
            "shop",
            "--server",
            &server,
            "--token",
            "t",
            "--request-timeout",
            "30",
        ])
        .env("KUBECONFIG", "/nonexistent")
        .env("HOME", "/nonexistent")
        .assert()
        .success();
    assert!(String::from_utf8_lossy(&told.get_output().stdout).contains("checkout"));
    let away = world.refused(&["get", "--server", "http://127.0.0.1:1"]);
    assert!(away.contains("http://127.0.0.1:1"), "{away}");
}

#[test]
fn kubectl_finds_its_plugin_by_that_name() {
    let world = CliCluster::new();
    let plugin = world.dir.path().join("kubectl-halftone");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_halftone"), &plugin).unwrap();
    let help = Command::new(&plugin)
        .args(["rollback", "--help"])
        .assert()
        .success();
    let help = String::from_utf8(help.get_output().stdout.clone()).unwrap();
    assert!(help.contains("Usage: kubectl halftone rollback"), "{help}");
    let completion = world.dir.path().join("kubectl_complete-halftone");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_halftone"), &completion).unwrap();
    let completed = Command::new(&completion)
        .args(["rollback", "-n", "shop", "che"])
        .env("KUBECONFIG", world.dir.path().join("config"))
        .assert()
        .success();
    assert_eq!(
        String::from_utf8_lossy(&completed.get_output().stdout),
        "checkout\tHolding\n:4\n"
    );
}

#[test]
fn what_keeps_releases_from_an_earlier_version_is_listed_before_going_back() {
    let world = CliCluster::new();
    assert!(
        world
            .told(&["check", "--downgrade", "0.1"])
            .contains("all is well")
    );
    let mut split = release("checkout");
    split["spec"]["maxBodyBytes"] = json!(1000);
    split["status"]["state"] = json!("Moving");
    split["status"]["release"] = json!({"id": "0011223344556677", "version": "v2", "attempt": 1,
        "startedAt": "2026-11-21T10:00:00Z", "features": ["identity-2"]});
    world.server.put("grayreleases", split);
    let told = world.refused(&["check", "--downgrade", "0.1"]);
    for words in [
        "shop/checkout",
        "spec.maxBodyBytes",
        "identity-2",
        "promote it or roll it back first",
    ] {
        assert!(told.contains(words), "{told}");
    }
    world
        .command(&["check", "--downgrade", "0.0"])
        .assert()
        .code(2);
    let mut newer = release("checkout");
    newer["spec"]["onUnavailable"] = json!("Elsewhere");
    world.server.put("grayreleases", newer);
    let told = world.refused(&["check", "--downgrade", "0.1"]);
    assert!(
        told.contains("Elsewhere") && told.contains("1 could not be checked"),
        "{told}"
    );
}
