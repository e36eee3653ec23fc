//! What is printed when a test fails: the scene's objects, events and logs, and those of Halftone itself.

use super::{Scene, kubectl::say};

pub(super) fn print(scene: &Scene) {
    let own = scene.namespace.as_str();
    let system = scene.cluster.system.as_str();
    say(&format!(
        "the test failed; what was in {own}, and in {system}:"
    ));
    for line in scene
        .told
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .iter()
    {
        say(line);
    }
    show(
        scene,
        &[
            "get",
            "pods,services,endpointslices,deployments",
            "-o",
            "wide",
            "-n",
            own,
        ],
    );
    show(scene, &["get", "grayreleases", "-o", "yaml", "-n", own]);
    show(
        scene,
        &[
            "get",
            "events",
            "--sort-by=.metadata.creationTimestamp",
            "-n",
            own,
        ],
    );
    show(scene, &["get", "pods", "-o", "wide", "-n", system]);
    show(
        scene,
        &[
            "get",
            "events",
            "--sort-by=.metadata.creationTimestamp",
            "-n",
            system,
        ],
    );
    // The second is an installation of the scene's own, if it has one.
    for namespace in [system, own] {
        show(
            scene,
            &[
                "get",
                "configmaps",
                "-o",
                "yaml",
                "-n",
                namespace,
                "-l",
                "halftone.dev/class",
            ],
        );
        for part in ["halftone-operator", "halftone-proxy"] {
            let selector = format!("app.kubernetes.io/name={part}");
            show(
                scene,
                &[
                    "logs",
                    "--prefix",
                    "--tail=200",
                    "-l",
                    &selector,
                    "-n",
                    namespace,
                ],
            );
        }
    }
    let found = scene
        .cluster
        .kubectl
        .try_run(&["get", "pods", "-o", "name", "-n", own])
        .unwrap_or_default();
    for pod in found.lines() {
        show(scene, &["logs", "--prefix", "--tail=50", pod, "-n", own]);
    }
}

fn show(scene: &Scene, args: &[&str]) {
    say(&format!("\n$ kubectl {}", args.join(" ")));
    match scene.cluster.kubectl.try_run(args) {
        Ok(text) => say(text.trim_end()),
        Err(failed) => say(&failed.to_string()),
    }
}
