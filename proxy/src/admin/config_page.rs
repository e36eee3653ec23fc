//! `/config`: what is applied, what was refused and why. Values of conditions may name users, so they appear as
//! counts unless `?full` asks for them; so does the secret of `debug`.

use std::collections::BTreeMap;

use halftone_routing::document::RoutingConfig;
use halftone_routing::document::units::Ratio;
use halftone_routing::endpoints::EndpointIssue;
use halftone_routing::report::{AppliedFleet, RejectedDocument};
use serde::Serialize;
use serde_json::{Value, json};

use crate::report::Documents;
use crate::snapshot::{Snapshot, SnapshotDestination, UsableEndpoints};
use crate::upstream::violations::ProtocolViolation;

/// The page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConfigPage<'a> {
    ready: bool,
    /// Why not, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_ready: Option<&'a str>,
    stale: bool,
    /// Why documents cannot be read at present, if they cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_trouble: Option<&'a str>,
    /// Rises with every swap.
    generation: u64,
    fleet: FleetSection<'a>,
    applied: Vec<AppliedRelease<'a>>,
    rejected: &'a [RejectedDocument],
    orphaned: Vec<String>,
    /// Hosts and paths that an older release has already.
    shadowed: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct FleetSection<'a> {
    #[serde(flatten)]
    document: Option<&'a AppliedFleet>,
    settings: Value,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AppliedRelease<'a> {
    /// Fields unknown to this build.
    ignored_fields: &'a [String],
    /// It sends everyone to stable because no operator has spoken for too long.
    operator_lost: bool,
    /// The share of users that this proxy sends to gray: that of the document, or 0 while the operator is lost.
    ratio_in_effect: Ratio,
    /// By arm.
    endpoints: BTreeMap<&'static str, ArmEndpoints>,
    document: Value,
}

/// Where an arm's requests can go at present.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArmEndpoints {
    in_use: usize,
    ready: usize,
    /// Every ready endpoint fails the health check.
    all_fail: bool,
    /// They are used all the same.
    check_ignored: bool,
    /// Why there are fewer than the Service's EndpointSlices name, if there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<EndpointIssue>,
    /// Its last answer that broke a rule of HTTP, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_malformed: Option<ProtocolViolation>,
}

impl ArmEndpoints {
    fn new(destination: &SnapshotDestination, usable: UsableEndpoints) -> Self {
        let table = &destination.table;
        Self {
            in_use: usable.endpoints,
            ready: table.ready().len(),
            all_fail: table.load().all_fail,
            check_ignored: usable.check_ignored,
            trouble: table.trouble(),
            last_malformed: destination.counters.violations.last(),
        }
    }
}

/// What the control thread knows beside documents and routes.
#[derive(Clone, Debug)]
pub(crate) struct ControlSnapshot<'a> {
    pub(crate) not_ready: Option<&'a str>,
    pub(crate) source_trouble: Option<&'a str>,
}

/// Makes the page; with `full` every value is told.
pub(crate) fn page<'a>(
    snapshot: &'a Snapshot,
    documents: &'a Documents,
    standing: &ControlSnapshot<'a>,
    full: bool,
) -> ConfigPage<'a> {
    let applied = snapshot
        .routes
        .by_age()
        .into_iter()
        .map(|(index, release)| {
            let overlay = snapshot.overlay(index);
            AppliedRelease {
                ignored_fields: release.ignored(),
                operator_lost: overlay.is_operator_lost(),
                ratio_in_effect: release.ratio_in_effect(overlay),
                endpoints: release
                    .destinations()
                    .filter_map(|(arm, id)| {
                        let usable = snapshot.usable(release, arm)?;
                        let endpoints = ArmEndpoints::new(snapshot.destination(id)?, usable);
                        Some((arm.name(), endpoints))
                    })
                    .collect(),
                document: document(release.config(), full),
            }
        });
    let shadowed = snapshot.routes.shadowed().into_iter().map(|claim| {
        let uid = |index| snapshot.routes.release(index).config().release.uid.to_string();
        json!({"host": claim.host, "path": claim.path, "release": uid(claim.release), "by": uid(claim.by)})
    });
    ConfigPage {
        ready: standing.not_ready.is_none(),
        not_ready: standing.not_ready,
        stale: documents.stale,
        source_trouble: standing.source_trouble,
        generation: snapshot.generation,
        fleet: FleetSection {
            document: documents.fleet.as_ref(),
            settings: json!(**snapshot.routes.fleet()),
        },
        applied: applied.collect(),
        rejected: &documents.rejected,
        orphaned: documents.orphaned.iter().map(ToString::to_string).collect(),
        shadowed: shadowed.collect(),
    }
}

fn document(config: &RoutingConfig, full: bool) -> Value {
    let mut document = json!(config);
    if !full {
        count_values(&mut document);
        if let Some(secret) = document.pointer_mut("/debug/value") {
            *secret = json!("(set)");
        }
    }
    document
}

/// Replaces every list called `values` by its length.
fn count_values(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match value {
            Value::Array(values) if name == "values" => *value = json!(values.len()),
            _ => count_values(value),
        }),
        Value::Array(items) => items.iter_mut().for_each(count_values),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_conditions_become_counts_wherever_they_are() {
        let mut document = json!({
            "rules": [{"when": [{"all": [{"source": "Identity", "operator": "In", "values": ["lin", "wei"]}]}]}],
            "limits": {"exclude": [{"all": [{"source": "Path", "operator": "Prefix", "values": ["/export"]}]}]},
        });
        count_values(&mut document);
        assert_eq!(
            document.pointer("/rules/0/when/0/all/0/values"),
            Some(&json!(2))
        );
        assert_eq!(
            document.pointer("/limits/exclude/0/all/0/values"),
            Some(&json!(1))
        );
    }
}
