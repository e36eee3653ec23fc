//! The objects of every state that the documentation tells of, whole, as an API server would hold them. The checks of
//! Git tools (`e2e/gitops`) read them. A test fails when they drift, and writes them with `UPDATE_DOCS=1`.

use std::path::Path;

use serde_json::{Value, json};

use crate::world::{ModelWorld, START};

/// Compares the world's object with the recorded one.
pub(crate) fn check(name: &str, world: &ModelWorld) {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../gitops/recorded")
        .join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&object(world)).unwrap() + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&recorded, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&recorded).unwrap_or_default() == text,
        "gitops/recorded/{name}.json is not what the release says; run UPDATE_DOCS=1 cargo test -p \
         halftone-rollout --test advance"
    );
}

fn object(world: &ModelWorld) -> Value {
    json!({
        "apiVersion": "halftone.dev/v1alpha1",
        "kind": "GrayRelease",
        "metadata": {
            "namespace": "shop", "name": "checkout", "uid": world.uid, "generation": world.generation,
            "creationTimestamp": START,
        },
        "spec": world.spec,
        "status": world.status,
    })
}

#[test]
fn an_object_that_nobody_has_seen_is_recorded_with_the_default_of_the_crd() {
    let world = ModelWorld::new("");
    assert_eq!(world.status.observed_generation, -1);
    check("not_seen_yet", &world);
}
