//! The chart: what it renders is valid for the API server, what it installs runs with the least it needs.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use halftone_e2e::scene::{Cluster, Scene};
use serde_json::{Value, json};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/halftone");

/// Helm's standard output; with its words when it fails.
fn helm(args: &[&str]) -> Result<String, String> {
    let output = Command::new("helm").args(args).output().expect("helm can be run; `make e2e` brings one");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The values files beside the chart, and none.
fn values() -> Vec<Option<String>> {
    let mut files: Vec<_> =
        std::fs::read_dir(format!("{CHART}/ci")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let named = files.into_iter().map(|file| Some(file.to_str().unwrap().to_owned()));
    std::iter::once(None).chain(named).collect()
}

#[test]
fn what_the_chart_renders_is_strictly_valid_for_the_api_server() {
    let scene = Scene::new("chart");
    for file in values() {
        let name = file.as_deref().unwrap_or("values.yaml");
        let with: Vec<&str> = file.as_deref().map_or_else(Vec::new, |file| vec!["-f", file]);
        helm(&[&["lint", "--strict", CHART], &with[..]].concat())
            .unwrap_or_else(|words| panic!("{name}: {words}"));
        // Monitors are of a kind that is not in this cluster.
        if name.ends_with("monitored.yaml") {
            continue;
        }
        let text = helm(&[&["template", "dry", CHART, "-n", &scene.namespace], &with[..]].concat()).unwrap();
        // The namespaces of the examples are not here.
        let here = ["shop", "blog", "pages"].iter().fold(text, |text, namespace| {
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
        apply.stdin.take().unwrap().write_all(here.as_bytes()).unwrap();
        let output = apply.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !words.contains("Warning"), "{name}: {words}");
    }
}

#[test]
fn values_that_are_wrong_are_refused_with_their_place() {
    let refused = |set: &[&str]| {
        let args: Vec<&str> = set.iter().flat_map(|set| ["--set-json", set]).collect();
        helm(&[&["template", "wrong", CHART], &args[..]].concat()).expect_err("these values are wrong")
    };
    let words = refused(&["replcas=3"]);
    assert!(words.contains("'replcas'"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a"}]"#]);
    assert!(words.contains("nobody may use class a; set allowed"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a","allowAll":true},{"class":"a","allowAll":true}]"#]);
    assert!(words.contains("class a is declared twice"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a","allowAll":true,"withdrawAfter":"soon"}]"#]);
    assert!(words.contains("/fleets/0/withdrawAfter"), "{words}");
    let words = refused(&[r#"fleets=[{"class":"a","allowAll":true,"position":"Inside"}]"#]);
    assert!(words.contains("/fleets/0/position"), "{words}");
}

#[test]
fn everything_is_ready_and_runs_under_the_restricted_profile() {
    let cluster = Cluster::from_environment();
    let system = cluster.system.as_str();
    let selector = "app.kubernetes.io/part-of=halftone";
    cluster.kubectl.run(&[
        "wait",
        "--for=condition=Available",
        "--timeout=60s",
        "deployment",
        "-l",
        selector,
        "-n",
        system,
    ]);
    // A dry run of the label has the API server tell which pods would be refused.
    let label = "pod-security.kubernetes.io/enforce=restricted";
    let output = Command::new("kubectl")
        .args(["label", "--dry-run=server", "--overwrite", "namespace", system, label])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !words.contains("Warning"), "{words}");
    helm(&["test", "halftone", "-n", system, "--timeout", "60s"]).unwrap_or_else(|words| panic!("{words}"));
}

#[test]
fn an_upgrade_keeps_the_tokens() {
    let cluster = Cluster::from_environment();
    let rendered = |args: &[&str]| {
        let base =
            ["upgrade", "halftone", CHART, "-n", &cluster.system, "--reuse-values", "--dry-run=server"];
        helm(&[&base[..], args].concat()).unwrap_or_else(|words| panic!("{words}"))
    };
    let secret =
        cluster.kubectl.json(&["get", "secret", "halftone-proxy-default-token", "-n", &cluster.system]);
    let token = secret["data"]["token"].as_str().unwrap();
    assert!(rendered(&[]).contains(&format!("token: {token:?}")), "the upgrade would make another token");
}

#[test]
fn who_may_edit_a_release_needs_a_permission_of_its_own_for_each_command() {
    let scene = Scene::new("commands");
    let account = |name: &str, role: &str| {
        scene.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}));
        scene.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": scene.namespace}],
        }));
        let token = scene.cluster.kubectl.run(&["create", "token", name, "-n", &scene.namespace]);
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
    author.apply(&release(json!({})));
    let words = author.try_apply(&release(json!({"halftone.dev/request": "rollback@x"}))).unwrap_err().words;
    assert!(words.contains("may not rollback the release"), "{words}");
    assert!(words.contains("takes the verb rollback on grayreleases.halftone.dev"), "{words}");
    approver.apply(&release(json!({"halftone.dev/request": "rollback@x"})));
    // A command that is there already is not asked about again.
    author
        .apply(&release(json!({"halftone.dev/request": "rollback@x", "note": "an edit of something else"})));
}
