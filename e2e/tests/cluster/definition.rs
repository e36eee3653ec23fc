//! What the API server itself refuses: the rules of the definition, each accepting and refusing, on the real one.

use std::collections::BTreeSet;

use halftone_e2e::scene::Scene;
use serde_json::{Value, json};

/// The cases that the tests of the types run with a CEL library of their own.
const CASES: &str = include_str!("../../../api/src/crd/cases.yaml");
const EVERYTHING: &str = include_str!("../../../examples/everything.yaml");

/// The example with every field, with one value below its spec replaced; null removes it.
fn with(example: &Value, case: &Value) -> Value {
    let mut object = example.clone();
    let (parent, name) = case["at"].as_str().unwrap().rsplit_once('/').unwrap();
    match object["spec"].pointer_mut(parent).unwrap() {
        Value::Object(map) if case["value"].is_null() => drop(map.remove(name)),
        Value::Object(map) => drop(map.insert(name.to_owned(), case["value"].clone())),
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = case["value"].clone(),
        other => panic!("{parent} is {other}"),
    }
    object
}

#[test]
fn every_rule_accepts_what_is_right_and_refuses_what_is_wrong() {
    let scene = Scene::new("rules");
    let mut example: Value = serde_saphyr::from_str(EVERYTHING).unwrap();
    example["metadata"] = json!({"name": "everything", "namespace": scene.namespace});
    scene.apply(&example);
    let cases: Value = serde_saphyr::from_str(CASES).unwrap();
    let (mut refusals, mut others) = (BTreeSet::new(), Vec::new());
    for case in cases["accepted"].as_array().unwrap() {
        let replaced = scene.cluster.kubectl.dry_replace(&with(&example, case));
        assert!(replaced.is_ok(), "{case}: {replaced:?}");
    }
    for case in cases["refused"].as_array().unwrap() {
        let words = scene
            .cluster
            .kubectl
            .dry_replace(&with(&example, case))
            .expect_err(&case.to_string())
            .words;
        // Of a pattern the API server says only what it is.
        let message = if case["pattern"] == true {
            "should match"
        } else {
            case["message"].as_str().unwrap()
        };
        if !words.contains(message) {
            others.push(format!("{case}: {words}"));
        }
        refusals.insert(words);
    }
    assert!(others.is_empty(), "refused with other words: {others:#?}");
    let force = json!({"at": "/force", "value": "Gray"});
    let mut plain = with(&example, &force);
    for field in ["gray", "targetRatio"] {
        plain["spec"].as_object_mut().unwrap().remove(field);
    }
    let words = scene.cluster.kubectl.dry_replace(&plain).unwrap_err().words;
    assert!(words.contains("force: Gray needs a gray arm"), "{words}");
    scene.tell(&format!(
        "{} accepted, {} refused in {} ways",
        cases["accepted"].as_array().unwrap().len(),
        cases["refused"].as_array().unwrap().len() + 1,
        refusals.len() + 1
    ));
}

#[test]
fn a_wrong_manifest_is_refused_with_what_to_change() {
    let scene = Scene::new("wrong");
    let release = |spec: Value| {
        let mut whole = json!({
            "hosts": [scene.host()], "stable": {"service": {"name": "v1", "port": 80}, "version": "v1"},
        });
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        json!({
            "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": "site"}, "spec": whole,
        })
    };
    for (spec, words) in [
        (json!({"targetRatoi": 10}), "field not declared in schema"),
        (json!({"hosts": []}), "spec.hosts"),
        (
            json!({"gray": {"service": {"name": "v2", "port": 80}, "version": "v2"}}),
            "targetRatio is required",
        ),
        (
            json!({"stable": {"service": {"name": "v1", "port": 80}}}),
            "spec.stable.version: Required value",
        ),
        (
            json!({"stable": {"service": {"name": "v1", "port": 0}, "version": "v1"}}),
            "spec.stable.service.port",
        ),
        (
            json!({"health": {"onFailure": "Explode"}}),
            "supported values",
        ),
    ] {
        let refused = scene.refused(&release(spec.clone()));
        assert!(refused.contains(words), "{spec}: {refused}");
    }
}

#[test]
fn the_folder_of_examples_is_taken_at_once() {
    let scene = Scene::new("examples");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let here = std::env::temp_dir().join(&scene.namespace);
    std::fs::create_dir_all(&here).unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|file| file.path().is_file())
    {
        let text = std::fs::read_to_string(file.path()).unwrap();
        let text = text.replace(
            "namespace: shop",
            &format!("namespace: {}", scene.namespace),
        );
        let text = text.replace(
            "metadata: {name: shop}",
            &format!("metadata: {{name: {}}}", scene.namespace),
        );
        std::fs::write(here.join(file.file_name()), text).unwrap();
        files += 1;
    }
    assert!(files > 5, "{files} examples");
    let args = [
        "apply",
        "--server-side",
        "--validate=strict",
        "-f",
        here.to_str().unwrap(),
    ];
    let applied = scene
        .cluster
        .kubectl
        .try_run(&args)
        .unwrap_or_else(|failed| panic!("{failed:?}"));
    for name in [
        "checkout",
        "everything",
        "frontend",
        "search",
        "orders",
        "accounts",
        "payments",
    ] {
        assert!(
            applied.contains(&format!("grayrelease.halftone.dev/{name} ")),
            "{name}: {applied}"
        );
    }
}
