//! Files import each other in no circle but a parent's with its children, and layers import downwards only. So each file can
//! be read, and moved, with what stands below it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

mod graph;
mod source;

use std::path::Path as FilePath;

use graph::{Graph, circles};

/// All crates but those that only measure and try.
const CRATES: [&str; 8] = [
    "api", "routing", "rollout", "daemon", "operator", "proxy", "cli", "testkit",
];

/// From what stands on nothing upwards: files of a module import only what stands before it.
const LAYERS: [(&str, &[&str]); 3] = [
    (
        "rollout",
        &[
            "clock",
            "judge",
            "condition_input",
            "condition_record",
            "progress",
            "observation",
            "conditions",
            "advance",
            "withdraw",
        ],
    ),
    (
        "proxy",
        &[
            "http1", "local", "exchange", "respond", "handle", "worker", "run",
        ],
    ),
    (
        "operator",
        &[
            "names",
            "objects",
            "cluster_cache",
            "reconcile_context",
            "reconcile",
            "fleet_controller",
            "run",
        ],
    ),
];

/// What a step of a reconcile may know of the others: what one hands on to the next. The context and the order of the
/// steps are their parent's alone.
const STEPS: (&str, &[(&str, &[&str])]) = (
    "reconcile",
    &[
        ("dereference", &["live_release"]),
        ("plan", &["live_release"]),
        ("observe", &["live_release"]),
        ("apply", &["live_release", "observe", "release_writer"]),
        ("report_status", &["live_release", "release_writer"]),
        ("deletion", &["live_release", "release_writer"]),
        ("release_writer", &["live_release"]),
        ("live_release", &[]),
    ],
);

fn root() -> &'static FilePath {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn load(name: &str) -> Graph {
    Graph::load(&root().join(name).join("src"))
}

#[test]
fn no_import_circle_is_more_than_a_parent_and_its_children() {
    let mut found = Vec::new();
    for name in CRATES {
        let edges = load(name).edges();
        for circle in circles(&edges) {
            found.push(format!("{name}:"));
            for (from, to, names) in edges
                .iter()
                .flat_map(|(from, to)| to.iter().map(move |(to, names)| (from, to, names)))
            {
                if circle.contains(from) && circle.contains(to) {
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    found.push(format!(
                        "  {} needs {} for {}",
                        from.join("/"),
                        to.join("/"),
                        names.join(", ")
                    ));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "files import each other in a circle:\n{}",
        found.join("\n")
    );
}

#[test]
fn layers_import_downwards_only() {
    for (name, layers) in LAYERS {
        let level = |module: &[String]| layers.iter().position(|layer| *layer == module[0]);
        for (from, to) in load(name)
            .edges()
            .iter()
            .flat_map(|(from, to)| to.keys().map(move |to| (from, to)))
        {
            let (Some(upper), Some(lower)) = (level(from), level(to)) else {
                continue;
            };
            assert!(
                lower <= upper,
                "{name}: {} needs {}, which stands above it",
                from.join("/"),
                to.join("/")
            );
        }
    }
}

#[test]
fn a_step_of_a_reconcile_sees_neither_the_context_nor_other_steps() {
    let (parent, steps) = STEPS;
    let edges = load("operator").edges();
    let files = edges
        .iter()
        .filter(|(from, _)| from.len() == 2 && from[0] == parent);
    assert_eq!(files.clone().count(), steps.len(), "a row for each file");
    for (from, to) in files {
        let row = steps.iter().find(|(name, _)| from[1] == *name);
        let (_, may) = row.unwrap_or_else(|| panic!("no row for {}", from.join("/")));
        for needed in to.keys().filter(|needed| needed[0].starts_with(parent)) {
            let is_allowed = needed.len() == 2 && may.contains(&needed[1].as_str());
            assert!(
                is_allowed,
                "{} needs {}: give it what it needs",
                from.join("/"),
                needed.join("/")
            );
        }
    }
}

#[test]
fn no_crate_is_forgotten() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest
        .lines()
        .find(|line| line.starts_with("members"))
        .unwrap();
    let mut members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    members.retain(|member| !["bench", "e2e"].contains(member));
    let mut known = CRATES.to_vec();
    known.sort_unstable();
    members.sort_unstable();
    assert_eq!(members, known);
}

#[test]
fn a_circle_of_siblings_is_found_through_re_exports_and_private_imports() {
    let files = [
        ("", "mod a; mod b; mod c;"),
        ("a", "use crate::b::Deep; pub struct Shallow;"),
        ("b", "mod deep; pub use deep::Deep; use crate::a::Shallow;"),
        ("b/deep", "use super::Shallow; pub struct Deep;"),
        ("c", "use crate::a::Shallow;"),
    ];
    let circles = circles(&Graph::of(&files).edges());
    let names: Vec<Vec<String>> = circles
        .iter()
        .map(|circle| circle.iter().map(|file| file.join("/")).collect())
        .collect();
    assert_eq!(names, [["a", "b/deep"]]);
}

#[test]
fn a_parent_with_its_children_comments_texts_and_tests_make_no_circle() {
    let files = [
        ("", "mod a; mod b;"),
        (
            "a",
            "mod child; use child::Child; pub struct Parent; fn f() -> String { \"crate::b::B\".into() }",
        ),
        (
            "a/child",
            "use super::Parent; pub struct Child; // crate::b::B",
        ),
        (
            "b",
            "pub struct B; fn f() { crate::a::g() } #[cfg(test)] mod tests { use crate::a::Parent; }",
        ),
    ];
    assert_eq!(circles(&Graph::of(&files).edges()), []);
}
