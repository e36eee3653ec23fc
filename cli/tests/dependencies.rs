//! The crates that decide stay pure: what they are built from has no runtime, no HTTP and no source of chance. That
//! they read no clock and no file is clippy's to say, by their own `clippy.toml`. And what tests stand on stays in tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use std::process::Command;

/// The names of everything that a crate of this workspace is built from.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "-p",
            package,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // With features of the whole workspace unified, cargo shows the whole workspace.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_crates_that_decide_are_built_without_a_runtime_without_http_and_without_chance() {
    for package in ["halftone-api", "halftone-routing", "halftone-rollout"] {
        let tree = tree(package);
        assert!(
            tree.iter().any(|name| name == "serde"),
            "{package} is built from {tree:?}"
        );
        let beginnings = [
            "tokio",
            "hyper",
            "rand",
            "getrandom",
            "fastrand",
            "rustix",
            "socket2",
            "mio",
        ];
        let impure: Vec<_> = tree
            .iter()
            .filter(|name| beginnings.iter().any(|begins| name.starts_with(begins)))
            .collect();
        assert!(impure.is_empty(), "{package} is built from {impure:?}");
    }
    assert!(
        tree("halftone-proxy").iter().any(|name| name == "tokio"),
        "the test sees what is there"
    );
}

#[test]
fn the_kit_of_the_tests_is_built_from_no_crate_of_ours_and_is_part_of_no_program() {
    let is_ours = |name: &&String| name.starts_with("halftone");
    let kit = tree("halftone-testkit");
    assert_eq!(
        kit.iter().filter(is_ours).collect::<Vec<_>>(),
        ["halftone-testkit"]
    );
    for program in ["halftone", "halftone-proxy", "halftone-operator"] {
        let tree = tree(program);
        assert!(
            tree.iter().filter(is_ours).count() > 1,
            "{program} is built from {tree:?}"
        );
        assert!(
            tree.iter().all(|name| name != "halftone-testkit"),
            "{program} is built from {tree:?}"
        );
    }
}
