//! GrayReleases that a later version has written, read by this one: a word that is unknown here must not make the object
//! vanish. What cannot be read is left out, and an unknown value in the spec is noted: such a spec is refused
//! (`SpecTooNew`), and the one that was accepted before stays in effect and judged.

use halftone_api::GrayRelease;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Annotation of an object in this process, never in the cluster: what of its spec is unknown here.
pub const TOO_NEW: &str = "halftone.dev/spec-too-new";
/// With more than this many unknown values the object is not read at all.
const MOST: usize = 64;

/// Reads an object as far as it can be read.
///
/// # Errors
/// It is no GrayRelease of any version.
pub fn release(mut object: DynamicObject) -> Result<GrayRelease, String> {
    object.annotations_mut().remove(TOO_NEW);
    let mut value = serde_json::to_value(&object).map_err(|error| error.to_string())?;
    let mut unknown: Vec<String> = Vec::new();
    for _ in 0..MOST {
        let error = match serde_path_to_error::deserialize::<_, GrayRelease>(&value) {
            Ok(release) => return Ok(noted(release, &unknown)),
            Err(error) => error,
        };
        let told = format!("{}: {}", error.path(), error.inner());
        if !remove_path(&mut value, error.path()) {
            return Err(told);
        }
        if told.starts_with("spec.") {
            unknown.push(told);
        } else {
            tracing::debug!("of a GrayRelease of another version this is left out: {told}");
        }
    }
    Err(format!(
        "more than {MOST} values are unknown here, {}",
        unknown.join("; ")
    ))
}

fn noted(mut release: GrayRelease, unknown: &[String]) -> GrayRelease {
    if !unknown.is_empty() {
        release
            .annotations_mut()
            .insert(TOO_NEW.to_owned(), unknown.join("; "));
    }
    release
}

/// Removes what the path leads to, or whatever around it can be removed. Says whether anything was.
fn remove_path(value: &mut Value, path: &Path) -> bool {
    let segments: Vec<&Segment> = path.iter().collect();
    (1..=segments.len())
        .rev()
        .any(|length| remove(value, &segments[..length]))
}

fn remove(value: &mut Value, segments: &[&Segment]) -> bool {
    let Some((last, parents)) = segments.split_last() else {
        return false;
    };
    let parent = parents
        .iter()
        .try_fold(value, |value, segment| match segment {
            Segment::Map { key } => value.get_mut(key),
            Segment::Seq { index } => value.get_mut(index),
            Segment::Enum { .. } | Segment::Unknown => Some(value),
        });
    match (parent, last) {
        (Some(Value::Object(map)), Segment::Map { key }) => map.remove(key).is_some(),
        (Some(Value::Array(items)), Segment::Seq { index }) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(change: impl FnOnce(&mut Value)) -> DynamicObject {
        let mut value = json!({
            "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease",
            "metadata": {"name": "checkout", "namespace": "shop", "uid": "u", "annotations": {TOO_NEW: "a lie"}},
            "spec": {
                "hosts": ["shop.example.com"], "proxyClass": "web", "targetRatio": 100, "onUnavailable": "Fail",
                "stable": {"service": {"name": "one", "port": 80}, "version": "v1"},
                "gray": {"service": {"name": "two", "port": 80}, "version": "v2"},
                "rules": [{"name": "a", "to": "Gray", "when": [{"all": [{"source": "Path", "operator": "Exists"}]}]}],
            },
            "status": {"observedGeneration": 3, "phase": "Holding", "stage": 4},
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_this_version_knows_is_read_whole() {
        let release = release(object(|_| {})).unwrap();
        assert_eq!(release.annotations().get(TOO_NEW), None, "only we say so");
        assert_eq!(
            (&*release.spec.proxy_class, release.spec.rules.len()),
            ("web", 1)
        );
    }

    #[test]
    fn an_unknown_value_of_the_spec_is_left_out_and_noted_with_its_place() {
        let newer = object(|value| {
            value["spec"]["onUnavailable"] = json!("Queue");
            value["spec"]["rules"][0]["when"][0]["all"][0]["source"] = json!("Weather");
        });
        let release = release(newer).unwrap();
        let note = &release.annotations()[TOO_NEW];
        assert!(
            note.contains("spec.onUnavailable") && note.contains("Queue"),
            "{note}"
        );
        assert!(note.contains("Weather"), "{note}");
        assert_eq!(&*release.spec.proxy_class, "web", "the rest is there");
        assert_eq!(release.status.unwrap().stage, Some(4));
    }

    #[test]
    fn an_unknown_word_of_the_status_is_kept() {
        let newer = object(|value| {
            value["status"]["phase"] = json!("Migrating");
            value["status"]["history"] = json!([{
                "id": "0011223344556677", "version": "v1", "outcome": "Merged",
                "startedAt": "2026-11-21T10:00:00Z", "endedAt": "2026-11-21T11:00:00Z",
            }]);
        });
        let written = newer.data["status"].clone();
        let release = release(newer).unwrap();
        assert_eq!(release.annotations().get(TOO_NEW), None);
        let read = serde_json::to_value(release.status.unwrap()).unwrap();
        assert_eq!(
            (&read["phase"], &read["history"]),
            (&written["phase"], &written["history"])
        );
    }

    #[test]
    fn what_has_another_form_in_the_status_takes_neither_the_object_nor_its_spec_away() {
        let release = release(object(|value| {
            value["status"]["phase"] = json!({"name": "Migrating"})
        }))
        .unwrap();
        let status = release.status.unwrap();
        assert_eq!(
            (status.phase, status.stage, status.observed_generation),
            (None, Some(4), 3)
        );
    }

    #[test]
    fn what_is_no_release_is_refused() {
        assert!(release(object(|value| value["spec"] = json!(7))).is_err());
        assert!(
            release(object(|value| drop(
                value.as_object_mut().unwrap().remove("spec")
            )))
            .is_err()
        );
    }
}
