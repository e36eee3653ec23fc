//! Writes: each over the version that it names, one after the other.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::objects::{ObjectKey, Objects};
use super::request::{ApiRequest, Patch};
use super::{ApiServer, ApiServerState};
use crate::merge_patch::merge;

/// The status and why.
type WriteError = (StatusCode, &'static str);

impl ApiServer {
    pub(super) fn write(&self, asked: &ApiRequest, body: &Value) -> Result<Arc<Value>, WriteError> {
        self.change(|state| {
            let written = write(&mut state.objects, asked, body)?;
            state.note_write(asked, body);
            state.let_controller_see(asked, &written);
            Ok(written)
        })
    }
}

impl ApiServerState {
    fn note_write(&mut self, asked: &ApiRequest, body: &Value) {
        if !matches!(asked.name.resource.as_str(), "leases" | "events") {
            self.writes.push(asked.line());
        }
        if asked.verb == "patch" {
            self.patches.push(body.clone());
        }
    }

    fn let_controller_see(&mut self, asked: &ApiRequest, written: &Value) {
        let Some(controller) = self.controller.as_mut().filter(|_| asked.verb == "patch") else {
            return;
        };
        if let Some(made) = controller(written.clone()) {
            self.objects.store(&asked.name, made);
        }
    }
}

fn write(
    objects: &mut Objects,
    asked: &ApiRequest,
    body: &Value,
) -> Result<Arc<Value>, WriteError> {
    let name = &asked.name;
    let before = objects.get(name);
    check_version(asked, before.as_deref(), body)?;
    let mut after = before.as_deref().cloned().unwrap_or_default();
    match (asked.verb, &asked.patch) {
        ("patch", Patch::Merge) => merge(&mut after, body),
        ("patch", Patch::Apply(manager)) => objects.apply(name, manager, &mut after, body),
        ("create" | "update", _) => after.clone_from(body),
        ("update/status", _) => after["status"] = whole_seconds(body["status"].clone()),
        ("delete", _) => return Ok(delete(objects, name)),
        (verb, _) => panic!("{verb}"),
    }
    match before {
        Some(before) if meaning(&before) == meaning(&after) => Ok(before),
        _ => Ok(objects.store(name, after)),
    }
}

fn delete(objects: &mut Objects, name: &ObjectKey) -> Arc<Value> {
    objects.discard(name);
    Arc::new(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
}

fn check_version(
    asked: &ApiRequest,
    before: Option<&Value>,
    body: &Value,
) -> Result<(), WriteError> {
    let named = [
        "/metadata/resourceVersion",
        "/preconditions/resourceVersion",
    ];
    let named = named
        .iter()
        .find_map(|path| body.pointer(path))
        .filter(|named| !named.is_null());
    match (asked.verb, before) {
        ("create", Some(_)) => Err((StatusCode::CONFLICT, "there is one already")),
        ("create", None) => Ok(()),
        (_, None) => Err((StatusCode::NOT_FOUND, "not found")),
        (_, Some(before))
            if named.is_some_and(|named| *named != before["metadata"]["resourceVersion"]) =>
        {
            Err((StatusCode::CONFLICT, "the object has been modified"))
        }
        _ => Ok(()),
    }
}

/// What of an object makes it another one.
fn meaning(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    object
}

/// Conditions keep whole seconds only, as the types of Kubernetes do.
fn whole_seconds(mut status: Value) -> Value {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(at) = condition["lastTransitionTime"].as_str() {
            condition["lastTransitionTime"] = json!(format!("{}Z", &at[..19]));
        }
    }
    status
}
