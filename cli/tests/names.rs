//! One word, one meaning: how often a type name is defined in the workspace.

#![allow(
    clippy::unwrap_used,
    reason = "in tests a failed assumption should end the test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names with two definitions that mean the same.
const PAIRS: &[&str] = &[
    "Backend",
    "Clock",
    "Content",
    "GeneratedCookie",
    "IdentitySource",
    "JwtClaim",
    "MatchCondition",
    "ServiceRef",
];
/// Words that do not say what a type is.
const VAGUE: &[&str] = &[
    "Answer", "Applied", "Asked", "Ended", "Found", "Handed", "Held", "Kept", "Known", "Left",
    "Live", "News", "Observed", "Order", "Own", "Packed", "Place", "Recorded", "Seen", "Standing",
    "State", "Step", "Taken", "Told", "Tracked", "Turn", "Wanted", "Word", "Written",
];
/// `Step` is a step of the spec, once.
const EXCEPTIONS: &[(&str, &str)] = &[("Step", "api/src/plan/steps.rs")];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// The type that a line defines. An indented `type` is an associated one.
fn defined(line: &str) -> Option<&str> {
    let mut code = line.trim_start();
    let indented = code.len() < line.len();
    if let Some(rest) = code.strip_prefix("pub") {
        code = rest
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .map_or(rest, |(_, rest)| rest)
            .trim_start();
    }
    let (kind, rest) = code.split_once(' ')?;
    let is_type =
        matches!(kind, "struct" | "enum" | "trait" | "union") || kind == "type" && !indented;
    Some(word(rest)).filter(|name| is_type && name.starts_with(char::is_uppercase))
}

/// Types that `text!` and `number!` make: the first line of the macro that is no comment.
fn made_by_macros(text: &str) -> impl Iterator<Item = &str> {
    let calls = text
        .split("text!(\n")
        .skip(1)
        .chain(text.split("number!(\n").skip(1));
    calls.filter_map(|call| {
        call.lines()
            .map(str::trim)
            .find(|line| !line.starts_with("//"))
            .map(word)
    })
}

#[test]
fn no_type_name_has_more_than_one_meaning() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for member in [
        "api", "routing", "rollout", "daemon", "operator", "proxy", "cli", "bench", "e2e",
        "testkit",
    ] {
        rust_files(&root.join(member), &mut files);
    }
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let place = file.strip_prefix(&root).unwrap().display().to_string();
        for name in text
            .lines()
            .filter_map(defined)
            .chain(made_by_macros(&text))
        {
            places
                .entry(name.to_owned())
                .or_default()
                .push(place.clone());
        }
    }
    assert!(
        places.len() > 800,
        "the files are no longer where this test looks"
    );
    let shared = |name: &String, at: &Vec<String>| {
        at.len() > 1 && !(at.len() == 2 && PAIRS.contains(&name.as_str()))
    };
    let wrong: Vec<_> = places
        .iter()
        .filter(|(name, at)| shared(name, at))
        .collect();
    assert!(
        wrong.is_empty(),
        "give each meaning a name of its own: {wrong:#?}"
    );
    for pair in PAIRS {
        assert!(
            places.get(*pair).is_some_and(|at| at.len() == 2),
            "{pair} is no pair any more: take it off the list"
        );
    }
    for name in VAGUE {
        let at = places.get(*name).into_iter().flatten();
        let at: Vec<_> = at
            .filter(|at| !EXCEPTIONS.contains(&(name, at.as_str())))
            .collect();
        assert!(
            at.is_empty(),
            "{name} says nothing; name it for what it is: {at:?}"
        );
    }
}
