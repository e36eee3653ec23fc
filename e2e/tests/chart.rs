//! What can be said of the chart without a cluster. Everything else is in `cluster/chart.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "in tests a failed assumption should end the test"
)]

use std::{fs, path::PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_chart_carries_the_definition_of_the_types() {
    let generated =
        fs::read_to_string(repository().join("crds/grayreleases.halftone.dev.yaml")).unwrap();
    let charts = fs::read_to_string(
        repository().join("charts/halftone/files/grayreleases.halftone.dev.yaml"),
    )
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

/// Argo CD renders without a cluster, and compares what it gets with what is there.
#[test]
fn rendered_twice_the_chart_is_the_same_and_it_makes_no_secret() {
    let folder = repository().join("charts/halftone/templates");
    let mut templates: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    templates.sort();
    assert!(templates.len() > 5, "{templates:?}");
    for template in templates {
        let text = fs::read_to_string(&template).unwrap();
        for chance in [
            "rand",
            "uuidv4",
            "genCA",
            "genSelfSigned",
            "genPrivateKey",
            "lookup",
            "now |",
            "htpasswd",
        ] {
            assert!(
                !text.contains(chance),
                "{}: {chance} differs from one rendering to the next",
                template.display()
            );
        }
        assert!(
            !text.contains("kind: Secret"),
            "{}: a Secret would hold what is in the chart",
            template.display()
        );
    }
}

#[test]
fn the_charts_version_is_the_crates() {
    let chart = fs::read_to_string(repository().join("charts/halftone/Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        format!("version: {version}"),
        format!("appVersion: {version}"),
    ] {
        assert!(
            chart.lines().any(|has| has == line),
            "Chart.yaml wants the line {line}"
        );
    }
}
