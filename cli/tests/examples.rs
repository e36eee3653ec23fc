//! Each example is what it says: right, without a warning, and explained.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::str::contains;
use serde_json::Value;

/// The example that runs without a cluster.
const LOCAL: &str = "local/local.yaml";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn halftone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halftone"));
    command.env("NO_COLOR", "1").current_dir(examples());
    command
}

/// The files with releases, each with the declaration of the fleet that it is for.
fn releases() -> Vec<(String, &'static str)> {
    let entries = std::fs::read_dir(examples()).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.path().is_file());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    let releases = names
        .filter(|name| name != "00-shop.yaml")
        .map(|name| (name, "operator/fleet.yaml"));
    releases
        .chain([(LOCAL.to_owned(), "local/fleet.yaml")])
        .collect()
}

#[test]
fn each_example_passes_lint_without_a_warning() {
    let releases = releases();
    assert!(releases.len() >= 5, "{releases:?}");
    for (name, fleet) in releases {
        for fleet in [&[][..], &["--fleet", fleet]] {
            let output = halftone()
                .arg("lint")
                .arg(&name)
                .args(fleet)
                .assert()
                .success();
            let told = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
            assert!(
                told.ends_with("0 errors, 0 warnings\n") && !told.starts_with('0'),
                "{name}: {told}"
            );
        }
    }
}

#[test]
fn each_example_is_explained_to_an_arm() {
    for (name, fleet) in releases() {
        let explain = |more: &[&str]| -> Value {
            let output = halftone()
                .arg("explain")
                .arg(&name)
                .args(["--header", "X-User-Name: lin", "--json", "--fleet", fleet])
                .args(more)
                .assert()
                .success();
            serde_json::from_slice(&output.get_output().stdout).unwrap()
        };
        let path = if name == "everything.yaml" {
            "/checkout"
        } else {
            "/"
        };
        let told = explain(&["--path", path]);
        assert!(
            told["release"].is_string() && told["arm"].is_string(),
            "{name}: {told}"
        );
        assert!(
            !told["reason"].as_str().unwrap().is_empty(),
            "{name}: {told}"
        );
        let nowhere = explain(&["--host", "nowhere.invalid", "--path", path]);
        assert!(
            nowhere["release"].is_null() || name == LOCAL,
            "{name}: {nowhere}"
        );
    }
}

/// The blocks of YAML in a text.
fn blocks(text: &str) -> Vec<&str> {
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .filter_map(|block| Some(block.split_once("```")?.0))
        .collect()
}

#[test]
fn what_the_readme_shows_is_the_example_that_it_links() {
    let readme = std::fs::read_to_string(examples().join("../README.md")).unwrap();
    let blocks = blocks(&readme);
    for name in ["minimal.yaml", LOCAL] {
        assert!(
            readme.contains(&format!("(examples/{name})")),
            "{name} is linked"
        );
        let example = std::fs::read_to_string(examples().join(name)).unwrap();
        let plain: Vec<&str> = example
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let plain = format!("{}\n", plain.join("\n"));
        assert!(
            blocks.contains(&plain.as_str()),
            "README.md shows another release than examples/{name}:\n{plain}"
        );
    }
}

#[test]
fn the_commands_of_the_readme_are_commands_with_these_options() {
    let readme = std::fs::read_to_string(examples().join("../README.md")).unwrap();
    let lines = readme
        .lines()
        .filter_map(|line| line.strip_prefix("halftone "));
    let names: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
    assert!(
        names.contains(&"run") && names.contains(&"approve"),
        "{names:?}"
    );
    for name in names {
        halftone().args([name, "--help"]).assert().success();
    }
}

#[test]
fn the_whole_ratio_sends_everyone_to_gray_and_none_sends_nobody() {
    for (name, _) in releases()
        .into_iter()
        .filter(|(name, _)| name != "everything.yaml")
    {
        for (ratio, arm) in [("0", "stable"), ("100", "gray")] {
            let explain = halftone()
                .arg("explain")
                .arg(&name)
                .args(["--header", "X-User-Name: mei", "--ratio", ratio])
                .assert();
            explain.success().stdout(contains(format!(": {arm} (")));
        }
    }
}
