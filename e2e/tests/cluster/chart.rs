//! The chart: what it renders is valid for the API server, what it installs runs with the least it needs.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use halftone_e2e::scene::{
    Scene, TestCluster,
    helm::{self, CHART},
};
use serde_json::{Value, json};

use crate::release::{release, step};

/// Helm's standard output; with its words when it fails.
fn helm(args: &[&str]) -> Result<String, String> {
    helm::helm(args, None)
}

/// The values files beside the chart, and none.
fn values() -> Vec<Option<String>> {
    let mut files: Vec<_> = std::fs::read_dir(format!("{CHART}/ci"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let named = files
        .into_iter()
        .map(|file| Some(file.to_str().unwrap().to_owned()));
    std::iter::once(None).chain(named).collect()
}

#[test]
fn what_the_chart_renders_is_strictly_valid_for_the_api_server() {
    let scene = Scene::new("chart");
    for file in values() {
        let name = file.as_deref().unwrap_or("values.yaml");
        let with: Vec<&str> = file
            .as_deref()
            .map_or_else(Vec::new, |file| vec!["-f", file]);
        helm(&[&["lint", "--strict", CHART], &with[..]].concat())
            .unwrap_or_else(|words| panic!("{name}: {words}"));
        // Monitors are of a kind that is not in this cluster.
        if name.ends_with("monitored.yaml") {
            continue;
        }
        let text = helm(
            &[
                &["template", "dry", CHART, "-n", &scene.namespace],
                &with[..],
            ]
            .concat(),
        )
        .unwrap();
        // The namespaces of the examples are not here.
        let here = ["shop", "blog", "pages"]
            .iter()
            .fold(text, |text, namespace| {
                text.replace(
                    &format!("  namespace: {namespace}\n"),
                    &format!("  namespace: {}\n", scene.namespace),
                )
            });
        let mut apply = Command::new("kubectl")
            .args([
                "apply",
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        apply
            .stdin
            .take()
            .unwrap()
            .write_all(here.as_bytes())
            .unwrap();
        let output = apply.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !words.contains("Warning"),
            "{name}: {words}"
        );
    }
}

#[test]
fn values_that_are_wrong_are_refused_with_their_place() {
    let refused = |set: &[&str]| {
        let args: Vec<&str> = set.iter().flat_map(|set| ["--set-json", set]).collect();
        helm(&[&["template", "wrong", CHART], &args[..]].concat())
            .expect_err("these values are wrong")
    };
    let words = refused(&["replcas=3"]);
    assert!(words.contains("'replcas'"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a"}]"#]);
    assert!(
        words.contains("nobody may use class a; set allowed"),
        "{words}"
    );
    let words =
        refused(&[r#"fleets=[{"class":"a","allowAll":true},{"class":"a","allowAll":true}]"#]);
    assert!(words.contains("class a is declared twice"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a","allowAll":true,"withdrawAfter":"soon"}]"#]);
    assert!(words.contains("/fleets/0/withdrawAfter"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a","allowAll":true,"hostReserve":"long"}]"#]);
    assert!(words.contains("/fleets/0/hostReserve"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a","allowAll":true,"position":"Inside"}]"#]);
    assert!(words.contains("/fleets/0/position"), "{words}");
    // Each of these would keep a pod from starting, or its operator from reading its configuration.
    for (set, place) in [
        (
            r#"fleetDefaults.trustedProxies=["10.0.0.0"]"#,
            "/fleetDefaults/trustedProxies/0",
        ),
        (
            r#"fleetDefaults.trustedProxies=["10.0.0.0/33"]"#,
            "/fleetDefaults/trustedProxies/0",
        ),
        (
            r#"fleetDefaults.trustedProxies=["2001:db8::/129"]"#,
            "/fleetDefaults/trustedProxies/0",
        ),
        (
            r#"fleetDefaults.trustedProxies=[":::::/64"]"#,
            "/fleetDefaults/trustedProxies/0",
        ),
        (
            r#"fleetDefaults.service.loadBalancerSourceRanges=["all"]"#,
            "/fleetDefaults/service/loadBalancerSourceRanges/0",
        ),
        (
            r#"fleetDefaults.resources.limits.memory="64 MB""#,
            "/fleetDefaults/resources/limits/memory",
        ),
        (r#"image.tag="a tag""#, "/image/tag"),
        (
            r#"image.repository="Registry/Halftone:1""#,
            "/image/repository",
        ),
        (
            r#"global.imageRegistry="https://registry.example.com""#,
            "/global/imageRegistry",
        ),
        (r#"podSecurity.id=0"#, "/podSecurity/id"),
        (
            r#"fleets=[{"class":"a","allowed":[{"namespaces":["shop"],"hosts":["https://shop.example.com"]}]}]"#,
            "/fleets/0/allowed/0/hosts/0",
        ),
        (
            r#"fleets=[{"class":"a","allowAll":true,"healthPath":"/healthz/"}]"#,
            "/fleets/0/healthPath",
        ),
        (
            r#"fleetDefaults.defaultBackend={"service":{"namespace":"shop","name":"all","port":"HTTP_80"}}"#,
            "/fleetDefaults/defaultBackend/service/port",
        ),
    ] {
        let words = refused(&[set]);
        assert!(words.contains(place), "{set}: {words}");
    }
}

#[test]
fn a_registry_for_all_charts_secrets_for_pulling_and_the_clusters_own_ids_are_honoured() {
    let rendered = |args: &[&str]| helm(&[&["template", "dry", CHART], args].concat()).unwrap();
    let shared = format!("{CHART}/ci/shared.yaml");
    let text = rendered(&["-f", &shared]);
    assert!(
        text.contains("image: registry.example.com:5000/halftone-dev/halftone:"),
        "{text}"
    );
    assert!(!text.contains("ghcr.io"), "{text}");
    assert!(
        text.contains("- name: shared\n        - name: other\n      securityContext"),
        "each once: {text}"
    );
    assert!(
        !text.contains("runAsUser") && text.contains("runAsNonRoot: true"),
        "{text}"
    );
    let text = rendered(&["--api-versions", "security.openshift.io/v1"]);
    assert!(
        !text.contains("runAsUser") && !text.contains("fsGroup"),
        "OpenShift assigns its own: {text}"
    );
    let text = rendered(&[]);
    assert!(
        text.contains("runAsUser: 65532") && text.contains("image: ghcr.io/halftone-dev/halftone:"),
        "{text}"
    );
}

#[test]
fn a_pod_monitor_keeps_the_labels_of_releases_and_can_reach_the_ports() {
    let monitored = format!("{CHART}/ci/monitored.yaml");
    let text = helm(&["template", "dry", CHART, "-f", &monitored]).unwrap();
    assert_eq!(text.matches("honorLabels: true").count(), 2, "{text}");
    assert_eq!(
        text.matches("- namespaceSelector: {}").count(),
        2,
        "the operator's port and the proxies': {text}"
    );
    let text = helm(&["template", "dry", CHART]).unwrap();
    assert!(
        !text.contains("namespaceSelector"),
        "nobody else without monitors: {text}"
    );
}

#[test]
fn everything_is_ready_and_runs_under_the_restricted_profile() {
    let cluster = TestCluster::from_environment();
    let system = cluster.system.as_str();
    let selector = "app.kubernetes.io/part-of=halftone";
    cluster.kubectl.run(&[
        "wait",
        "--for=condition=Available",
        "--timeout=180s",
        "deployment",
        "-l",
        selector,
        "-n",
        system,
    ]);
    // A dry run of the label has the API server tell which pods would be refused.
    let label = "pod-security.kubernetes.io/enforce=restricted";
    let output = Command::new("kubectl")
        .args([
            "label",
            "--dry-run=server",
            "--overwrite",
            "namespace",
            system,
            label,
        ])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !words.contains("Warning"),
        "{words}"
    );
    helm(&["test", "halftone", "-n", system, "--timeout", "180s"])
        .unwrap_or_else(|words| panic!("{words}"));
}

#[test]
fn upgraded_rolled_back_uninstalled_and_back_again_it_keeps_releases() {
    let scene = Scene::new("reinstall");
    let own = scene.install(&json!({}));
    scene.apply(&json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "site"},
        "spec": {
            "proxyClass": own.class, "hosts": [scene.host()],
            "stable": {"service": {"name": "v1", "port": 80}, "version": "v1"},
        },
    }));
    let uid = scene.get("grayrelease/site")["metadata"]["uid"].clone();
    own.upgrade(&json!({"operator": {"replicas": 2}}));
    assert_eq!(own.operators().len(), 2);
    own.rollback(1);
    assert_eq!(own.operators().len(), 1);
    let roles = scene.cluster.kubectl.json(&[
        "get",
        "clusterroles",
        "-l",
        "app.kubernetes.io/instance=own",
    ]);
    assert_eq!(
        roles["items"],
        json!([]),
        "the namespaced mode has no ClusterRole"
    );

    own.uninstall();
    own.upgrade(&json!({"operator": {"replicas": 1}}));
    assert_eq!(
        scene.get("grayrelease/site")["metadata"]["uid"],
        uid,
        "it is the same object"
    );
}

#[test]
fn an_upgrade_and_its_rollback_under_traffic_fail_nobody_and_move_no_release() {
    let scene = Scene::new("upgrade");
    let own =
        scene.install(&json!({"operator": {"replicas": 2}, "fleetDefaults": {"replicas": 2}}));
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    scene.apply(&release(
        &scene,
        &json!({"proxyClass": own.class, "steps": [step(50, "10m")]}),
    ));
    scene.phase("site", "Holding");
    let client = scene.client("clients", &own.order(200, 500));
    scene.until("clients are served", || {
        (client.window().answers("v2") > 300).then_some(())
    });
    client.open();
    let pods = || [own.operators(), own.proxies()].concat();
    let standing = || {
        let mut status = scene.status("site");
        // Its hold stands while a proxy that comes or goes does not report.
        let step = [
            status["step"]["index"].take(),
            status["step"]["startedAt"].take(),
        ];
        (
            status["revision"].take(),
            status["stage"].take(),
            status["ratio"].take(),
            step,
        )
    };
    let (mut before, stands) = (pods(), standing());
    let anew = |before: &mut Vec<String>| {
        let now = pods();
        assert!(
            now.iter().all(|pod| !before.contains(pod)),
            "every pod is another one: {before:?}, {now:?}"
        );
        *before = now;
    };

    let rolled = json!({"rolled": "yes"});
    own.upgrade(&json!({
        "operator": {"podAnnotations": rolled}, "fleetDefaults": {"podAnnotations": rolled},
    }));
    anew(&mut before);
    own.rollback(1);
    anew(&mut before);
    // The last of the old proxies drains, and the new operator has had its turn.
    std::thread::sleep(Duration::from_secs(20));
    assert_eq!(scene.status("site")["phase"], "Holding");
    assert_eq!(standing(), stands);
    let window = client.stop();
    scene.tell(&format!(
        "{} requests, {} failures",
        window.sent,
        window.failures()
    ));
    assert_eq!(
        (window.failures(), window.switches, window.answers("")),
        (0, 0, 0),
        "{window:?}"
    );
}

#[test]
fn uninstalling_leaves_the_definition_and_with_it_all_releases() {
    let rendered = helm(&[
        "template",
        "halftone",
        CHART,
        "--show-only",
        "templates/crd.yaml",
    ])
    .unwrap();
    assert!(
        rendered.contains("helm.sh/resource-policy: keep"),
        "helm would delete it"
    );
    let cluster = TestCluster::from_environment();
    let installed = cluster
        .kubectl
        .json(&["get", "crd", "grayreleases.halftone.dev"]);
    assert_eq!(
        installed["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
}

/// What a service account may do in a namespace, one line for each group, resource and names.
fn permissions(cluster: &TestCluster, account: &str, namespace: &str) -> Vec<String> {
    let token = cluster
        .kubectl
        .run(&["create", "token", account, "-n", &cluster.system]);
    let user = cluster.kubectl.with_token(token.trim());
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace},
    });
    let answer = user.post(
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        &review,
    );
    let words = |value: &Value| {
        let words = value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        words
            .map(|word| if word.is_empty() { "core" } else { word })
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut lines: Vec<String> = answer["status"]["resourceRules"]
        .as_array()
        .into_iter()
        .flatten()
        // What everybody may ask about themselves.
        .filter(|rule| {
            !matches!(
                rule["apiGroups"][0].as_str(),
                Some("authorization.k8s.io" | "authentication.k8s.io")
            )
        })
        .map(|rule| {
            let names = words(&rule["resourceNames"]);
            let named = if names.is_empty() {
                String::new()
            } else {
                format!(" [{names}]")
            };
            format!(
                "{}/{}{named}: {}",
                words(&rule["apiGroups"]),
                words(&rule["resources"]),
                words(&rule["verbs"])
            )
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn each_component_may_do_what_it_needs_and_no_more() {
    let scene = Scene::new("rbac");
    let cluster = &scene.cluster;
    let system = cluster.system.as_str();
    let everywhere = |account| permissions(cluster, account, &scene.namespace);
    let operator = [
        "core/services: get,list,watch",
        "discovery.k8s.io/endpointslices: get,list,watch",
        "events.k8s.io/events: create",
        "halftone.dev/grayreleases/status: update",
        "halftone.dev/grayreleases: get,list,watch",
    ];
    let its_fleets = [
        "coordination.k8s.io/leases [halftone-default]: get,update",
        "coordination.k8s.io/leases: create,delete",
        "core/configmaps: get,list,watch,create,patch,delete",
        "core/pods: get,list,watch",
        "events.k8s.io/events: create",
    ];
    let proxy = ["discovery.k8s.io/endpointslices: get,list,watch"];
    let its_own = ["core/configmaps: get,list,watch"];
    let sorted = |mut lines: Vec<&str>| {
        lines.sort_unstable();
        lines.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(everywhere("halftone-operator"), sorted(operator.to_vec()));
    assert_eq!(
        permissions(cluster, "halftone-operator", system),
        sorted([&operator[..], &its_fleets].concat())
    );
    assert_eq!(everywhere("halftone-proxy"), sorted(proxy.to_vec()));
    assert_eq!(
        permissions(cluster, "halftone-proxy", system),
        sorted([&proxy[..], &its_own].concat())
    );
}

#[test]
fn an_upgrade_changes_nothing_that_no_value_changes_and_makes_no_secret() {
    let cluster = TestCluster::from_environment();
    let rendered = || {
        let dry = [
            "upgrade",
            "halftone",
            CHART,
            "-n",
            &cluster.system,
            "--reuse-values",
            "--dry-run=server",
        ];
        let words = helm(&dry).unwrap_or_else(|words| panic!("{words}"));
        words
            .split_once("MANIFEST:")
            .map(|(_, manifest)| manifest.to_owned())
            .unwrap_or(words)
    };
    let manifest = rendered();
    assert_eq!(manifest, rendered());
    assert!(!manifest.contains("kind: Secret"), "{manifest}");
}

#[test]
fn who_may_edit_a_release_needs_a_permission_of_its_own_for_each_command() {
    let scene = Scene::new("commands");
    let account = |name: &str, role: &str| {
        scene.apply(
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}),
        );
        scene.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": scene.namespace}],
        }));
        let token = scene
            .cluster
            .kubectl
            .run(&["create", "token", name, "-n", &scene.namespace]);
        scene.cluster.kubectl.with_token(token.trim())
    };
    let (author, approver) = (account("author", "edit"), account("approver", "admin"));
    let release = |annotations: Value| {
        json!({
            "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease",
            "metadata": {"name": "site", "namespace": scene.namespace, "annotations": annotations},
            "spec": {"hosts": [scene.host()], "stable": {"service": {"name": "v1", "port": 80}, "version": "v1"}},
        })
    };
    // The API server may learn of the binding a moment later.
    scene.until("the binding counts", || {
        author.try_apply(&release(json!({}))).ok()
    });
    let words = author
        .try_apply(&release(json!({"halftone.dev/request": "rollback@x"})))
        .unwrap_err()
        .words;
    assert!(words.contains("may not rollback the release"), "{words}");
    assert!(
        words.contains("takes the verb rollback on grayreleases.halftone.dev"),
        "{words}"
    );
    approver.apply(&release(json!({"halftone.dev/request": "rollback@x"})));
    let forced = |force: &str| {
        let mut forced = release(json!({"halftone.dev/request": "rollback@x"}));
        forced["spec"]["force"] = json!(force);
        forced
    };
    let words = author.try_apply(&forced("Stable")).unwrap_err().words;
    assert!(
        words.contains("takes the verb force on grayreleases.halftone.dev"),
        "{words}"
    );
    approver.apply(&forced("Stable"));
    author.apply(&forced("Stable"));
    let words = author
        .try_apply(&release(json!({"halftone.dev/request": "rollback@x"})))
        .unwrap_err()
        .words;
    assert!(
        words.contains("may not change spec.force"),
        "taking it away moves users, too: {words}"
    );
    approver.apply(&release(json!({"halftone.dev/request": "rollback@x"})));
    // A command that is there already is not asked about again.
    author.apply(&release(
        json!({"halftone.dev/request": "rollback@x", "note": "an edit of something else"}),
    ));
}

#[test]
fn whoever_is_not_the_operator_sees_neither_reports_nor_what_is_applied() {
    let scene = Scene::new("pages");
    let selector = "app.kubernetes.io/name=halftone-proxy,halftone.dev/class=default";
    let pods =
        scene
            .cluster
            .kubectl
            .json(&["get", "pods", "-n", &scene.cluster.system, "-l", selector]);
    let proxy = pods["items"][0]["status"]["podIP"].as_str().unwrap();
    let mut order = scene.order(20, 1);
    order.address = format!("{proxy}:8081");
    let client = scene.client("stranger", &order);
    for (path, status) in [
        ("/report", 401),
        ("/config", 401),
        ("/explain?host=a&path=/", 401),
        ("/metrics", 200),
        ("/livez", 200),
    ] {
        order.path = path.to_owned();
        client.start(&order);
        let window = scene.until(&format!("{path} answers"), || {
            Some(client.window()).filter(|window| !window.versions.is_empty())
        });
        let statuses = window
            .versions
            .values()
            .flat_map(|seen| seen.statuses.keys());
        assert_eq!(
            statuses.collect::<Vec<_>>(),
            [&status],
            "{path}: {window:?}"
        );
    }
    client.stop();
}
