//! What the documentation says is what the code says: the field reference is generated from the CRD, every reason is
//! in docs/operations.md, and every manifest that the documentation shows is right.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

mod reference;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use halftone_api::{lint::lint, manifest};
use halftone_rollout::events::EventReason;
use regex::Regex;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(file: &str) -> String {
    let path = repository().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn docs_of_the_fields_say_what_the_types_say() {
    let page = reference::page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(repository().join("docs/reference.md"), &page).unwrap();
    }
    assert!(
        text("docs/reference.md") == page,
        "docs/reference.md is not what the types say; run UPDATE_DOCS=1 cargo test -p halftone-rollout --test documentation"
    );
}

#[test]
fn every_object_of_the_reference_has_a_section_under_its_own_name() {
    let page = text("docs/reference.md");
    let sections = all(r"(?m)^## `(.+)`$", &page);
    let links = all(r"\| (?:list of )?\[(\S+)\]\(#", &page);
    assert!(
        links.contains("spec.stable.service") && links.contains("spec.identity.from[]"),
        "{links:?}"
    );
    assert_eq!(
        links.difference(&sections).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "links that lead nowhere"
    );
    let mut section = "";
    for line in page.lines() {
        section = line
            .strip_prefix("## `")
            .map_or(section, |rest| rest.trim_end_matches('`'));
        for link in all(r"^\| `[^`]+` \| (?:list of )?\[(\S+)\]\(#", line) {
            assert!(
                link.starts_with(&format!("{section}.")),
                "{section} leads to {link}"
            );
        }
    }
}

#[test]
fn every_text_of_a_status_field_can_be_understood_alone() {
    let crd = serde_json::to_value(halftone_api::crd()).unwrap();
    let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"];
    let mut texts = Vec::new();
    descriptions(status, "status", &mut texts);
    assert!(texts.len() > 60, "{}", texts.len());
    // Words that point to a text which `kubectl explain` does not show beside this one.
    let pointing = Regex::new(
        r"^(It|Its|They|Those|These|Both|Which|Whose|All of them|Why,|When\.|Of what)\b",
    )
    .unwrap();
    let alone = |text: &str| text.split_whitespace().count() >= 5 && !pointing.is_match(text);
    let poor: Vec<_> = texts.iter().filter(|(_, text)| !alone(text)).collect();
    assert_eq!(poor, Vec::<&(String, String)>::new());
}

fn descriptions(schema: &serde_json::Value, path: &str, texts: &mut Vec<(String, String)>) {
    let inner = if schema["items"].is_object() {
        &schema["items"]
    } else {
        schema
    };
    for (name, field) in inner["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        texts.push((
            path.clone(),
            field["description"].as_str().unwrap_or_default().to_owned(),
        ));
        descriptions(field, &path, texts);
    }
}

/// The sources of the crates that give reasons, without their tests.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    let mut folders = ["api/src", "rollout/src", "operator/src", "cli/src/engine"]
        .map(|folder| repository().join(folder))
        .to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let code = std::fs::read_to_string(&path).unwrap();
                let code = code
                    .split("#[cfg(test)]")
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                sources.push((path.to_string_lossy().into_owned(), code));
            }
        }
    }
    sources
}

/// All first groups of a pattern.
fn all(pattern: &str, code: &str) -> BTreeSet<String> {
    Regex::new(pattern)
        .unwrap()
        .captures_iter(code)
        .map(|found| found[1].to_owned())
        .collect()
}

/// The variants of an enum whose names are what people read.
fn variants(file: &str, name: &str) -> BTreeSet<String> {
    let code = text(file);
    let body = code
        .split_once(&format!("enum {name} {{"))
        .unwrap()
        .1
        .split_once("\n}")
        .unwrap()
        .0;
    let found = all(r"(?m)^    ([A-Z][A-Za-z]+),", body);
    assert!(found.len() > 3, "{file}: {found:?}");
    found
}

/// A name in code marks at the beginning of a table's row.
fn documented(names: &BTreeSet<String>, page: &str, section: &str) {
    let body = page.split_once(&format!("\n## {section}\n")).unwrap().1;
    let body = body.split("\n## ").next().unwrap();
    let rows = body.lines().filter(|line| line.starts_with("| `"));
    let told: BTreeSet<String> = rows
        .flat_map(|row| {
            all(
                "`([A-Za-z_]+?)(?:_total)?`",
                row.split(" | ").next().unwrap(),
            )
        })
        .collect();
    let missing: Vec<_> = names.difference(&told).collect();
    let invented: Vec<_> = told.difference(names).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "docs/operations.md, {section}: not documented {missing:?}, not in the code {invented:?}"
    );
}

#[test]
fn every_condition_with_each_of_its_reasons_is_documented() {
    let page = text("docs/operations.md");
    let findings = text("rollout/src/conditions/builder.rs");
    let kinds = all(r"NewCondition::new\(\s*Kind::([A-Z][A-Za-z]+)", &findings);
    documented(&kinds, &page, "Conditions");

    let mut reasons = variants("rollout/src/condition_input.rs", "WaitReason");
    reasons.extend(variants("rollout/src/judge/assessment.rs", "VerdictReason"));
    reasons.extend(all(r#""([A-Z][A-Za-z]+)""#, &findings));
    for (_, code) in sources() {
        reasons.extend(all(r#"Obstacle::new\(\s*"([A-Za-z]+)""#, &code));
    }
    reasons.extend(all(
        r#""([A-Za-z]+NotAllowed|ClassUnknown)""#,
        &text("api/src/fleet.rs"),
    ));
    // It is told by another name.
    reasons.remove("Stranded");
    documented(&reasons, &page, "Reasons of conditions");
}

#[test]
fn every_reason_of_an_event_is_documented() {
    let reasons = variants("rollout/src/events.rs", "EventReason");
    let all: BTreeSet<String> = EventReason::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(all, reasons, "Reason::ALL has every reason");
    documented(&reasons, &text("docs/operations.md"), "Events");
}

#[test]
fn every_metric_of_the_operator_is_documented() {
    let code = text("operator/src/metrics.rs");
    let names = all(r#"register\(\s*"([a-z_]+)""#, &code);
    let mut names: BTreeSet<String> = names
        .iter()
        .map(|name| format!("halftone_operator_{name}"))
        .collect();
    names.extend(all(
        r#""(halftone_release_[a-z_]+)""#,
        &text("operator/src/metrics/releases.rs"),
    ));
    documented(
        &names,
        &text("docs/operations.md"),
        "Metrics of the operator",
    );
}

/// All pages that people read.
fn pages() -> Vec<PathBuf> {
    let folders = [repository(), repository().join("docs")];
    let entries = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// The names under which headings can be linked to.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars()
            .filter(|c| kept(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(slug).collect()
}

#[test]
fn every_link_in_the_documentation_leads_somewhere() {
    let links = Regex::new(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)").unwrap();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links
            .captures_iter(&text)
            .filter(|link| !link[1].contains("://"))
        {
            let target = if link[1].is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(&link[1])
            };
            assert!(target.exists(), "{}: {}", page.display(), &link[0]);
            if let Some(anchor) = link.get(2) {
                let anchors = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(
                    anchors.contains(anchor.as_str()),
                    "{}: {}",
                    page.display(),
                    &link[0]
                );
            }
        }
    }
}

#[test]
fn every_manifest_in_the_documentation_passes_lint() {
    let blocks = Regex::new(r"(?s)```yaml\n(.*?)```").unwrap();
    let mut checked = 0;
    for page in pages() {
        let name = page.file_name().unwrap().to_string_lossy().into_owned();
        for found in blocks.captures_iter(&std::fs::read_to_string(&page).unwrap()) {
            if found[1].contains("kind: GrayRelease\n") && !found[1].contains("kind: Kustomization")
            {
                let reading = manifest::read(&name, &found[1]);
                assert_eq!(
                    reading.manifests.len(),
                    1,
                    "{name}: {:?}\n{}",
                    reading.findings,
                    &found[1]
                );
                let findings = lint(&[reading], None);
                assert!(findings.is_empty(), "{name}: {findings:?}\n{}", &found[1]);
                checked += 1;
            }
        }
    }
    assert!(checked >= 5, "{checked} manifests were found");
}
