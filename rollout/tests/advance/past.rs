//! Releases that version 0.1 has left behind, in every state that it had words for: object, status and document as its
//! code wrote them. This one goes on from them, and writes nothing that 0.1 could not go on from.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use halftone_api::spec::{GrayReleaseStatus, Phase, RollbackStatus};
use halftone_routing::document::parse::{self, Format};
use halftone_routing::document::{FEATURES, RoutingConfig};
use serde_json::Value;

use crate::world::ModelWorld;

/// States of a moment: a proxy was deaf or silent, or the document on its way. They are looked at before any proxy has
/// said anything, since they are over then, and their phase is not compared.
const PASSING: [&str; 8] = [
    "frozen_for_want_of_stable",
    "new_generation_on_its_way",
    "pending_before_any_proxy_has_the_document",
    "reports_missing",
    "retried",
    "rolling_back",
    "step_with_a_straggler",
    "the_release_after_a_release",
];

struct RecordedStatus {
    name: String,
    object: Value,
    accepted: Value,
    time: String,
    document: Arc<RoutingConfig>,
    text: Value,
}

fn all() -> Vec<RecordedStatus> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = here.join("../routing/tests/recorded/0.1/documents");
    let objects = here.join("tests/advance/recorded/0.1");
    let mut paths: Vec<_> = std::fs::read_dir(objects)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: &Path| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let all = paths.iter().map(|path| {
        let mut recorded = read(path);
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = read(&documents.join(path.file_name().unwrap()))["document"].take();
        let parsed = parse::routing(text.to_string().as_bytes(), Format::Json).unwrap();
        let accepted = recorded
            .get("accepted")
            .unwrap_or(&recorded["object"]["spec"])
            .clone();
        RecordedStatus {
            accepted,
            time: recorded["time"].as_str().unwrap().to_owned(),
            object: recorded["object"].take(),
            document: Arc::new(parsed.config),
            text,
            name,
        }
    });
    let all: Vec<_> = all.collect();
    assert!(all.len() >= 35, "{}", all.len());
    all
}

impl RecordedStatus {
    fn status(&self) -> GrayReleaseStatus {
        serde_json::from_value(self.object["status"].clone()).unwrap()
    }

    /// A process of this version that finds what 0.1 has left, beside proxies that know these features.
    fn taken_over(&self, features: &[&str]) -> ModelWorld {
        let uid = self.object["metadata"]["uid"].as_str().unwrap();
        let mut world = ModelWorld::new("");
        (world.uid, world.live) = (uid.to_owned(), Some(Arc::clone(&self.document)));
        world.generation = self.object["metadata"]["generation"].as_i64().unwrap() - 1;
        world.spec = self.object["spec"].clone();
        world.write("");
        (world.status, world.accepted) = (self.status(), Some(self.accepted.clone()));
        (world.steady, world.wall) = (self.time.parse().unwrap(), self.time.parse().unwrap());
        let features: Arc<[String]> = features.iter().map(ToString::to_string).collect();
        world
            .proxies
            .iter_mut()
            .for_each(|proxy| proxy.features = Arc::clone(&features));
        if !PASSING.contains(&self.name.as_str()) {
            world.serve_document(&self.document);
        }
        if self.name == "frozen_for_want_of_stable" {
            world.stable_endpoints = 0;
        }
        world.restart();
        world
    }
}

#[test]
fn they_are_gone_on_from_without_a_new_document() {
    for recorded in all() {
        for features in [&[][..], FEATURES] {
            let mut world = recorded.taken_over(features);
            world.look();
            assert_eq!(world.live(), &*recorded.document, "{}", recorded.name);
        }
    }
}

#[test]
fn nothing_of_what_they_had_come_to_is_lost() {
    for recorded in all() {
        let mut world = recorded.taken_over(&[]);
        world.look();
        let (name, before, after) = (&recorded.name, recorded.status(), &world.status);
        assert_eq!(after.state, before.state, "{name}");
        assert_eq!(after.ratio, before.ratio, "{name}");
        assert_eq!(after.release, before.release, "{name}");
        assert_eq!(
            (after.stage, after.paused),
            (before.stage, before.paused),
            "{name}"
        );
        // When it was completed is found in the step.
        let rollback = after.rollback.clone().map(|after| RollbackStatus {
            completed_at: None,
            ..after
        });
        assert_eq!(
            (&rollback, &after.history),
            (&before.rollback, &before.history),
            "{name}"
        );
        assert_eq!(
            (&after.serving, &after.request_token),
            (&before.serving, &before.request_token),
            "{name}"
        );
        assert_eq!(
            after.last_handled_request, before.last_handled_request,
            "{name}"
        );
        // A new process collects anew what the verdict rests on, then the release waits for a person again.
        if name == "awaiting_approval" {
            world.run_until_phase(Phase::AwaitingApproval);
        } else if !PASSING.contains(&name.as_str()) {
            assert_eq!(after.phase, before.phase, "{name}");
        }
    }
}

#[test]
fn whoever_waits_in_the_middle_of_a_hold_waits_for_the_rest_of_it() {
    let recorded = all()
        .into_iter()
        .find(|recorded| recorded.name == "holding_at_50")
        .unwrap();
    let ends = |status: &GrayReleaseStatus| status.step.as_ref().unwrap().hold_ends_at;
    let mut world = recorded.taken_over(FEATURES);
    world.look();
    assert!(ends(&world.status).is_some());
    assert_eq!(ends(&world.status), ends(&recorded.status()));
}

/// The places of all values in a document, whichever item of a list they are in.
fn places(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                found.insert(at.clone());
                places(value, &at, found);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| places(item, &format!("{at}[]"), found)),
        _ => {}
    }
}

#[test]
fn a_spec_that_0_1_knew_makes_documents_in_which_it_knows_every_field() {
    let all = all();
    let mut known = BTreeSet::new();
    all.iter()
        .for_each(|recorded| places(&recorded.text, "", &mut known));
    for recorded in &all {
        let mut world = ModelWorld::new("");
        world.spec = recorded.accepted.clone();
        world.write("").run("3s");
        let live = world.live();
        assert!(
            live.requires.is_empty(),
            "{}: {:?}",
            recorded.name,
            live.requires
        );
        let text = serde_json::from_str(&live.to_json().unwrap()).unwrap();
        let mut written = BTreeSet::new();
        places(&text, "", &mut written);
        let unknown: Vec<_> = written.difference(&known).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", recorded.name);
    }
}
