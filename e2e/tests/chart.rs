//! What can be said of the chart without a cluster. Everything else is in `cluster/chart.rs`.

#![allow(clippy::unwrap_used, reason = "in tests a failed assumption should end the test")]

use std::{fs, path::PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_chart_carries_the_definition_of_the_types() {
    let generated = fs::read_to_string(repository().join("crds/grayreleases.halftone.dev.yaml")).unwrap();
    let charts =
        fs::read_to_string(repository().join("charts/halftone/files/grayreleases.halftone.dev.yaml"))
            .unwrap();
    assert!(
        generated == charts,
        "the chart's CustomResourceDefinition has drifted; `make crd` writes it again"
    );
    let name = "metadata:\n  name: grayreleases.halftone.dev\n";
    assert_eq!(
        charts.matches(name).count(),
        1,
        "templates/crd.yaml puts its labels in place of exactly this"
    );
    assert!(!charts.contains("{{"), "helm would take it for a template");
}

#[test]
fn the_charts_version_is_the_crates() {
    let chart = fs::read_to_string(repository().join("charts/halftone/Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for line in [format!("version: {version}"), format!("appVersion: {version}")] {
        assert!(chart.lines().any(|has| has == line), "Chart.yaml wants the line {line}");
    }
}
