//! What thousands of releases cost, with the real API server: `make e2e-scale`. It prints a table for
//! docs/performance.md; nothing here has a limit, since machines differ.

use std::{
    collections::BTreeMap,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use halftone_e2e::scene::{ClusterNode, Installation, Scene};
use jiff::Timestamp;
use serde_json::{Value, json};

const IDLE: usize = 10_000;
const SERVED: usize = 1_000;
const CHANGES: usize = 200;
const HOUR: Duration = Duration::from_secs(3_600);
const REST: Duration = Duration::from_secs(30);

#[test]
#[ignore = "takes a quarter of an hour and the whole machine; `make e2e-scale` runs it"]
fn thousands_of_releases_and_what_they_cost() {
    let scene = Scene::new("scale");
    let Some(node) = scene.node("the audit log, which tells when a ConfigMap changed") else {
        return;
    };
    let much = json!({"requests": {"cpu": "10m"}, "limits": {"memory": "2Gi"}});
    let own = scene.install(&json!({
        "operator": {"resources": much}, "fleetDefaults": {"replicas": 3, "resources": much},
    }));
    let _backend = scene.backend("site", "v1", 1);
    let began = Instant::now();
    create(&scene, &(0..SERVED).map(service).collect::<Vec<_>>());
    let served = (0..SERVED).map(|at| release(&own, &scene, at, &format!("site-{at}")));
    let idle = (SERVED..SERVED + IDLE).map(|at| release(&own, &scene, at, "site"));
    create(&scene, &served.chain(idle).collect::<Vec<_>>());
    scene.tell(&format!(
        "{} releases are created after {:.0} s",
        SERVED + IDLE,
        began.elapsed().as_secs_f64()
    ));
    all_applied(&scene, &own);
    scene.tell(&format!(
        "all are applied by all proxies {:.0} s after the first was created",
        began.elapsed().as_secs_f64()
    ));

    operator_starts(&scene, &own, &node);
    costs_at_rest(&scene, &own);
    changes(&scene, &own, &node);
}

/// A Service of its own for each release, all before the same pod.
fn service(at: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("site-{at}")},
        "spec": {"selector": {"app": "site"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

fn release(own: &Installation<'_>, scene: &Scene, at: usize, service: &str) -> Value {
    json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": format!("r{at}")},
        "spec": {
            "proxyClass": own.class, "hosts": [format!("r{at}.{}", scene.host())],
            "stable": {"service": {"name": service, "port": 80}, "version": "v1"},
        },
    })
}

/// kubectl is held to some fifty requests a second each; four are quicker than one.
fn create(scene: &Scene, objects: &[Value]) {
    scope(|threads| {
        for part in objects.chunks(objects.len().div_ceil(4)) {
            threads.spawn(|| scene.cluster.kubectl.create(&scene.namespace, part));
        }
    });
}

/// All values of a metric of a pod.
fn metric(scene: &Scene, pod: &str, port: u16, name: &str) -> Vec<f64> {
    let url = format!(
        "/api/v1/namespaces/{}/pods/http:{pod}:{port}/proxy/metrics",
        scene.namespace
    );
    let text = scene
        .cluster
        .kubectl
        .try_run(&["get", "--raw", &url])
        .unwrap_or_default();
    let of_name = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    text.lines()
        .filter(of_name)
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect()
}

fn all_applied(scene: &Scene, own: &Installation<'_>) {
    for proxy in own.proxies() {
        scene.until_within(&format!("{proxy} has applied everything"), HOUR, || {
            // It has thousands of lines.
            sleep(Duration::from_secs(1));
            (metric(scene, &proxy, 8081, "halftone_applied_revision").len() >= SERVED + IDLE)
                .then_some(())
        });
    }
}

fn operator_starts(scene: &Scene, own: &Installation<'_>, node: &ClusterNode) {
    let before = own.operators().remove(0);
    scene.tell(&format!(
        "the operator that took all of them up as they were created: at most {:.0} MB resident",
        node.peak_memory(&scene.namespace, &before) as f64 / 1e6
    ));
    scene.cluster.kubectl.run(&[
        "delete",
        "pod",
        &before,
        "-n",
        &scene.namespace,
        "--wait=true",
    ]);
    let pod = scene.until_within("another operator is there", HOUR, || {
        own.operators().into_iter().find(|pod| *pod != before)
    });
    let started = scene.until_within("it has started", HOUR, || {
        let pod = scene.get(&format!("pod/{pod}"));
        pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
            .as_str()
            .map(str::to_owned)
    });
    let started: Timestamp = started.parse().unwrap();
    scene.until_within("every release had its first turn", HOUR, || {
        let turns: f64 = metric(scene, &pod, 8082, "halftone_operator_reconciles_total")
            .iter()
            .sum();
        (turns >= (SERVED + IDLE) as f64).then_some(())
    });
    let took = Timestamp::now().duration_since(started);
    scene.tell(&format!(
        "time to the first turn of all: {:.0} s (the take-over of the Lease included), at most {:.0} MB resident until then",
        took.as_secs_f64(),
        node.peak_memory(&scene.namespace, &pod) as f64 / 1e6
    ));
}

/// Memory and CPU of each pod, as the kubelet counts them.
fn used(scene: &Scene) -> BTreeMap<String, (f64, f64)> {
    let summary =
        scene
            .cluster
            .kubectl
            .run(&["get", "--raw", "/api/v1/nodes/node/proxy/stats/summary"]);
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let pods = summary["pods"].as_array().unwrap().iter();
    let ours = pods.filter(|pod| pod["podRef"]["namespace"] == scene.namespace.as_str());
    ours.flat_map(|pod| {
        let name = pod["podRef"]["name"].as_str().unwrap().to_owned();
        let container = &pod["containers"][0];
        let memory = container["memory"]["rssBytes"].as_f64()?;
        Some((
            name,
            (memory, container["cpu"]["usageCoreNanoSeconds"].as_f64()?),
        ))
    })
    .collect()
}

fn costs_at_rest(scene: &Scene, own: &Installation<'_>) {
    sleep(REST);
    let (before, at) = (used(scene), Instant::now());
    sleep(REST);
    let (after, over) = (used(scene), at.elapsed());
    for pod in own.operators().into_iter().chain(own.proxies()) {
        let Some(((memory, cpu), (_, earlier))) = after.get(&pod).zip(before.get(&pod)) else {
            continue;
        };
        let share = (cpu - earlier) / 1e9 / over.as_secs_f64() * 100.0;
        scene.tell(&format!(
            "{pod} at rest: {:.0} MB resident, {share:.1} % of a core",
            memory / 1e6
        ));
    }
}

fn changes(scene: &Scene, own: &Installation<'_>, node: &ClusterNode) {
    let uid = scene.get("grayrelease/r0")["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let revision = || scene.status("r0")["revision"].as_u64().unwrap();
    let first = revision();
    for change in 1..=CHANGES {
        let idle = if change % 2 == 0 { "31s" } else { "32s" };
        scene.patch(
            "grayrelease/r0",
            &json!({"spec": {"stable": {"timeouts": {"idle": idle}}}}),
        );
        let begun = Instant::now();
        while revision() < first + change as u64 {
            assert!(
                begun.elapsed() < REST,
                "change {change} is not in the status"
            );
        }
    }
    sleep(Duration::from_secs(5));
    let name = format!("gr-{uid}");
    let writes = node.writes(&scene.namespace);
    let of_document = |line: &&Value| {
        line["objectRef"]["name"] == name.as_str() && line["responseStatus"]["code"] == 200
    };
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    let mut changed: Vec<Timestamp> = writes
        .iter()
        .filter(of_document)
        .map(|line| time(&line["requestReceivedTimestamp"]))
        .collect();
    changed.drain(..changed.len().saturating_sub(CHANGES));
    let mut took = Vec::new();
    for proxy in own.proxies() {
        let log =
            scene
                .cluster
                .kubectl
                .run(&["logs", &proxy, "-n", &scene.namespace, "--tail=2000"]);
        let lines = log
            .lines()
            .filter(|line| line.contains("\"applied\"") && line.contains(&uid));
        let applied: Vec<Timestamp> = lines
            .map(|line| time(&serde_json::from_str::<Value>(line).unwrap()["timestamp"]))
            .collect();
        // The first one applied after each write: two writes in a row may be applied at once.
        took.extend(changed.iter().filter_map(|at| {
            let applied = applied.iter().find(|applied| *applied >= at)?;
            Some(applied.duration_since(*at).as_secs_f64() * 1e3)
        }));
    }
    took.sort_by(f64::total_cmp);
    let percentile = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    scene.tell(&format!(
        "from the API server's receiving a change to a proxy's having applied it, {} of {CHANGES} changes on {} proxies: \
         p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms",
        took.len(),
        own.proxies().len(),
        percentile(0.5),
        percentile(0.99),
        percentile(1.0),
    ));
}
