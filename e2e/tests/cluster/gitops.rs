//! What Git tools do to a release: the same manifest once more by another hand, and a request that stays in Git.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use halftone_e2e::{scene::Scene, wire::BackendFault};
use serde_json::{Value, json};

use crate::release::{self, step};

fn release(scene: &Scene) -> Value {
    let mut manifest = release::release(
        scene,
        &json!({
            "targetRatio": "12.5%",
            "steps": [step(5, "10m")],
            "health": {"maxLatency": {"p99": "500ms"}},
            "rules": [{"name": "beta", "to": "Gray", "when": [
                {"all": [{"source": "Identity", "operator": "In", "values": ["lin", "wei"]}]},
            ]}],
        }),
    );
    manifest["metadata"]["namespace"] = json!(scene.namespace);
    manifest
}

/// kubectl with the manifest in a file, as a tool with a field manager of its own calls it.
fn as_git(scene: &Scene, args: &[&str], manifest: &Value) -> String {
    let file = std::env::temp_dir().join(format!("{}.json", scene.namespace));
    std::fs::write(&file, manifest.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let hand = ["--server-side", "--field-manager=git", "-f", file];
    scene.cluster.kubectl.run(&[args, &hand].concat())
}

/// What kstatus makes of each state of the scene's releases, from now on.
struct Kstatus {
    watch: Child,
    read: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Kstatus {
    fn watch(scene: &Scene) -> Self {
        let program = std::env::var("HALFTONE_E2E_KSTATUS").expect("e2e/run builds it");
        let mut watch = Command::new("kubectl")
            .args([
                "get",
                "grayreleases",
                "-n",
                &scene.namespace,
                "-o",
                "json",
                "--watch-only",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let objects = watch.stdout.take().unwrap();
        let mut read = Command::new(program)
            .stdin(objects)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(read.stdout.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&said);
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| into.lock().unwrap().push(line))
        });
        Self { watch, read, said }
    }

    /// What it said so far, each once in a row.
    fn said(&self) -> Vec<String> {
        let mut said = self.said.lock().unwrap().clone();
        said.dedup();
        said
    }
}

impl Drop for Kstatus {
    fn drop(&mut self) {
        for child in [&mut self.watch, &mut self.read] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn flux_sees_a_release_in_progress_then_current_and_failed_when_it_is_rolled_back() {
    let scene = Scene::new("kstatus");
    let (_stable, gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let kstatus = Kstatus::watch(&scene);
    let probe = json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "probe"},
        "spec": {"hosts": ["*"], "stable": {"service": {"name": "none", "port": 80}, "version": "v1"}, "proxyClass": "none"},
    });
    // The watch is there when it sees this one.
    scene.until("the watch has begun", || {
        scene.apply(&probe);
        scene.delete("grayrelease/probe");
        (!kstatus.said().is_empty()).then_some(())
    });
    kstatus.said.lock().unwrap().clear();

    scene.apply(&release(&scene));
    scene.phase("site", "Holding");
    scene.until("kstatus says Current", || {
        (kstatus.said().last()? == "Current").then_some(())
    });
    let said = kstatus.said();
    assert_eq!(
        (
            said.first().unwrap().as_str(),
            said.contains(&"Failed".to_owned())
        ),
        ("InProgress", false),
        "{said:?}"
    );

    let client = scene.client("clients", &scene.order(200, 1_000));
    gray.fault(&BackendFault::status(100, 500));
    scene.phase("site", "RolledBack");
    client.stop();
    scene.until("kstatus says Failed", || {
        (kstatus.said().last()? == "Failed").then_some(())
    });
    scene.tell(&format!("kstatus said {}", kstatus.said().join(", ")));
}

#[test]
fn the_same_manifest_by_another_hand_shows_no_conflict_and_no_drift() {
    let scene = Scene::new("drift");
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let manifest = release(&scene);
    scene.apply(&manifest);
    let wait = [
        "wait",
        "grayrelease/site",
        "--for=condition=Ready",
        "--timeout=180s",
        "-n",
        &scene.namespace,
    ];
    scene.cluster.kubectl.run(&wait);
    let before = scene.phase("site", "Holding");

    let said = as_git(&scene, &["apply"], &manifest);
    assert!(said.contains("serverside-applied"), "{said}");
    // It ends with 1, and so the test here, when anything would change.
    assert_eq!(as_git(&scene, &["diff"], &manifest), "");

    let show = [
        "get",
        "grayrelease/site",
        "--show-managed-fields",
        "-n",
        &scene.namespace,
    ];
    let object = scene.cluster.kubectl.json(&show);
    assert_eq!(object["metadata"]["generation"], 1, "{object:#}");
    assert_eq!(
        object["status"]["revision"], before["revision"],
        "{object:#}"
    );
    let hands = object["metadata"]["managedFields"].as_array().unwrap();
    for hand in hands
        .iter()
        .filter(|hand| !["kubectl", "git"].contains(&hand["manager"].as_str().unwrap()))
    {
        let owned: Vec<_> = hand["fieldsV1"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            (&hand["subresource"], owned),
            (&json!("status"), vec!["f:status"]),
            "{hand:#}"
        );
    }
}

#[test]
fn a_request_that_stays_in_git_is_carried_out_once() {
    let scene = Scene::new("request");
    let (_stable, _gray) = (
        scene.backend("site-v1", "v1", 1),
        scene.backend("site-v2", "v2", 1),
    );
    let mut manifest = release(&scene);
    scene.apply(&manifest);
    let token = scene.phase("site", "Holding")["requestToken"]
        .as_str()
        .unwrap()
        .to_owned();
    let request = format!("pause@{token}");
    manifest["metadata"]["annotations"] = json!({"halftone.dev/request": request});

    as_git(&scene, &["apply"], &manifest);
    let paused = scene.phase("site", "Paused");
    assert_eq!(
        paused["lastHandledRequest"]["request"],
        request.as_str(),
        "{paused:#}"
    );
    assert_ne!(paused["requestToken"], token.as_str(), "{paused:#}");

    scene.command("site", "resume");
    scene.phase("site", "Holding");
    as_git(&scene, &["apply", "--force-conflicts"], &manifest);
    scene.wait(
        "grayrelease/site",
        ".status.lastHandledRequest.result",
        "Stale",
    );
    assert_eq!(scene.status("site")["phase"], "Holding");
}
