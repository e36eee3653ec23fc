//! `halftone check --downgrade 0.1`: what in each release an earlier version does not know, and what to do before going
//! back. The earlier version's fields and words lie beside this file, as its definition had them.

use halftone_api::GrayRelease;
use halftone_api::spec::{GrayReleaseSpec, GrayReleaseStatus, StateName};
use serde_json::Value;

use super::super::{ClusterClient, NamespaceScope};
use super::CheckResult;
use crate::output::CommandError;
use crate::status::{ReleaseList, UnreadableRelease};
use crate::summary::name_of;

/// `spec` as 0.1 knew it: `fields` by name, `items` of lists, `words` where only some will do.
const SPEC_OF_0_1: &str = include_str!("spec-0.1.json");

impl ClusterClient {
    /// What has to be done before 0.1 can take over.
    pub(super) async fn downgrade(&self, version: &str) -> Vec<CheckResult> {
        let listing = match self.releases(NamespaceScope::All, None).await {
            Ok(listing) => listing,
            Err(failure) => return vec![CheckResult::unknown("releases", &failure)],
        };
        checks(&listing, version)
    }
}

fn checks(listing: &ReleaseList, version: &str) -> Vec<CheckResult> {
    let readable = listing
        .releases
        .iter()
        .filter_map(|release| check(release, version));
    let mut checks: Vec<CheckResult> = readable
        .chain(listing.unreadable.iter().map(unread))
        .collect();
    if checks.is_empty() {
        let found = format!(
            "{version} knows all that the {} releases need",
            listing.releases.len()
        );
        checks.push(CheckResult::passed("releases", found));
    }
    checks
}

/// What nobody has read may need anything.
fn unread(object: &UnreadableRelease) -> CheckResult {
    let advice = "ask with the halftone of the operator's version";
    let failure = CommandError::new(object.sentence()).advise(advice);
    CheckResult::unknown(object.full_name(), &failure)
}

/// What of one release `version` does not know, if there is anything.
fn check(release: &GrayRelease, version: &str) -> Option<CheckResult> {
    let fields = unknown_fields(release);
    let features = release
        .status
        .as_ref()
        .and_then(|status| status.release.as_ref());
    let features = features
        .map(|release| release.features.join(", "))
        .filter(|features| !features.is_empty());
    let name = name_of(release);
    match (fields.as_slice(), features) {
        ([], None) => None,
        ([], Some(features)) if !is_split(release.status.as_ref()) => Some(CheckResult::passed(
            name,
            format!(
                "{features}, which moves nobody now: {version} writes its document anew when it takes over"
            ),
        )),
        (fields, features) => {
            let (mut found, mut advice) = (Vec::new(), Vec::new());
            if !fields.is_empty() {
                found.push(fields.join(", "));
                advice.push(format!(
                    "take {} out of the release, or {version} refuses it or goes on without",
                    if fields.len() == 1 { "it" } else { "these" }
                ));
            }
            if let Some(features) = features.filter(|_| is_split(release.status.as_ref())) {
                found.push(format!("{features} while users are split"));
                advice.push(format!(
                    "promote it or roll it back first: {version} spells identities in another way, and some users \
                     would change version"
                ));
            }
            Some(CheckResult::failed(
                name,
                found.join("; "),
                advice.join("; "),
            ))
        }
    }
}

/// Whether some users are on one version and some on the other.
fn is_split(status: Option<&GrayReleaseStatus>) -> bool {
    let state = status.and_then(|status| status.state.as_ref()?.known());
    let ratio = status
        .and_then(|status| status.ratio.as_deref())
        .unwrap_or("0%");
    matches!(state, Some(StateName::Moving | StateName::TargetReached))
        && ratio != "0%"
        && ratio != "100%"
}

/// The fields and words of the spec that 0.1 does not know, but for fields that say what is so without them.
fn unknown_fields(release: &GrayRelease) -> Vec<String> {
    let known: Value = serde_json::from_str(SPEC_OF_0_1).expect("it is written beside this file");
    let spec = serde_json::to_value(&release.spec).unwrap_or_default();
    let mut unknown = Vec::new();
    compare(&spec, &known, &SpecPath::default(), &mut unknown);
    let is_as_without = |place: &SpecPath| {
        let mut without = spec.clone();
        let (parent, name) = place.pointer.rsplit_once('/').unwrap_or_default();
        let removed = without
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .and_then(|map| map.remove(name));
        removed.is_some()
            && serde_json::from_value(without)
                .is_ok_and(|spec: GrayReleaseSpec| spec == release.spec)
    };
    let mut told: Vec<String> = unknown
        .into_iter()
        .filter(|place| !is_as_without(place))
        .map(|place| place.told)
        .collect();
    told.dedup();
    told
}

/// Where something stands in the spec.
#[derive(Debug, Clone)]
struct SpecPath {
    /// As RFC 6901 has it, but for escapes, which no field needs.
    pointer: String,
    /// For people.
    told: String,
}

impl Default for SpecPath {
    fn default() -> Self {
        Self {
            pointer: String::new(),
            told: "spec".to_owned(),
        }
    }
}

impl SpecPath {
    fn field(&self, name: &str) -> Self {
        Self {
            pointer: format!("{}/{name}", self.pointer),
            told: format!("{}.{name}", self.told),
        }
    }

    fn item(&self, at: usize) -> Self {
        Self {
            pointer: format!("{}/{at}", self.pointer),
            told: self.told.clone(),
        }
    }
}

fn compare(value: &Value, known: &Value, place: &SpecPath, unknown: &mut Vec<SpecPath>) {
    match value {
        Value::Object(fields) if known["fields"].is_object() => {
            for (name, value) in fields {
                let (known, place) = (&known["fields"][name], place.field(name));
                if known.is_object() {
                    compare(value, known, &place, unknown);
                } else {
                    unknown.push(place);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                compare(item, &known["items"], &place.item(at), unknown);
            }
        }
        Value::String(word) => {
            let words = known["words"].as_array();
            if words.is_some_and(|words| !words.iter().any(|known| known == word)) {
                unknown.push(SpecPath {
                    pointer: String::new(),
                    told: format!("{}: {word}", place.told),
                });
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::CheckStatus;
    use super::*;

    fn release(changes: &Value, status: Value) -> GrayRelease {
        let text = include_str!("../../../../examples/minimal.yaml");
        let release = halftone_api::manifest::read("minimal.yaml", text).manifests[0]
            .release
            .clone();
        let mut value = serde_json::to_value(release).unwrap();
        value["spec"]
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        value["status"] = status;
        serde_json::from_value(value).unwrap()
    }

    fn standing(state: &str, ratio: &str) -> Value {
        json!({
            "observedGeneration": 1, "state": state, "ratio": ratio,
            "release": {"id": "0011223344556677", "version": "v2", "attempt": 1,
                "startedAt": "2026-11-21T10:00:00Z", "features": ["identity-2"]},
        })
    }

    #[test]
    fn what_0_1_knew_needs_nothing_and_defaults_of_later_fields_need_nothing_either() {
        let defaults = json!({"initial": "Stable", "identity": {"from": [{"header": "X-User", "decode": true}]}});
        for spec in [json!({}), defaults] {
            assert_eq!(
                check(&release(&spec, json!({"observedGeneration": -1})), "0.1"),
                None,
                "{spec}"
            );
        }
    }

    #[test]
    fn everything_that_0_1_had_an_example_of_is_known() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../rollout/tests/advance/recorded/0.1"
        );
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let recorded: Value = serde_json::from_str(&text).unwrap();
            let Ok(release) = serde_json::from_value::<GrayRelease>(recorded["object"].clone())
            else {
                continue;
            };
            assert_eq!(unknown_fields(&release), [] as [&str; 0]);
        }
    }

    #[test]
    fn an_object_of_a_later_version_is_not_passed_over() {
        let newer = UnreadableRelease {
            namespace: "shop".into(),
            name: "newer".into(),
            why: "Elsewhere".into(),
        };
        let checks = checks(
            &ReleaseList {
                unreadable: vec![newer],
                ..ReleaseList::default()
            },
            "0.1",
        );
        let told: Vec<_> = checks
            .iter()
            .map(|check| (check.name.as_str(), check.result))
            .collect();
        assert_eq!(told, [("shop/newer", CheckStatus::Unknown)]);
    }

    #[test]
    fn a_later_field_is_named_with_its_place_and_what_to_do() {
        let from = json!([{"header": "X-User", "decode": false}, {"generated": {"secure": true}}]);
        let spec = json!({"maxBodyBytes": 1000, "initial": "Gray", "identity": {"from": from}});
        let check = check(&release(&spec, json!({"observedGeneration": -1})), "0.1").unwrap();
        assert_eq!(check.result, CheckStatus::Failed);
        for field in [
            "spec.maxBodyBytes",
            "spec.initial",
            "spec.identity.from.decode",
            "generated.secure",
        ] {
            assert!(check.found.contains(field), "{}", check.found);
        }
        assert!(check.advice.unwrap().contains("take these out"));
    }

    #[test]
    fn users_that_are_split_in_a_later_form_keep_from_going_back_and_others_do_not() {
        for (state, ratio, result) in [
            ("Moving", "10%", CheckStatus::Failed),
            ("TargetReached", "50%", CheckStatus::Failed),
            ("Moving", "0%", CheckStatus::Passed),
            ("Promoted", "100%", CheckStatus::Passed),
            ("RolledBack", "0%", CheckStatus::Passed),
        ] {
            let check = check(&release(&json!({}), standing(state, ratio)), "0.1").unwrap();
            assert_eq!(check.result, result, "{state} {ratio}: {}", check.found);
        }
    }
}
