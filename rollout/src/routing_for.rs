//! The document for the proxies, from the plan and where its release stands. Pure, and cannot fail: everything
//! that could be wrong was refused when the plan was made.

use halftone_api::{plan::Plan, spec::Force};
use halftone_routing::document::{
    self, Bucketing, ReleaseRef, RoutingConfig, Schema,
    identity::{IdentityForm, IdentitySource},
    names::{HostPattern, PathPrefix, Uid},
    rule::Target,
    units::{Ratio, Revision},
};

use jiff::Timestamp;

use crate::progress::{Progress, RolloutState};

/// The document of `revision`, without its checksum. `replaces` is the uid of an object of the same name that was
/// deleted, whose routes it takes over.
#[must_use]
pub fn routing_for(
    plan: &Plan,
    progress: &Progress,
    revision: Revision,
    replaces: Option<Uid>,
) -> RoutingConfig {
    RoutingConfig {
        schema: Schema,
        requires: required_features(plan, progress)
            .iter()
            .map(ToString::to_string)
            .collect(),
        bucketing: Bucketing::default(),
        release: ReleaseRef {
            uid: plan.object.uid.clone(),
            namespace: plan.object.namespace.clone(),
            name: plan.object.name.clone(),
            id: plan.id,
            created_at: plan.object.created_at,
        },
        revision,
        checksum: None,
        replaces,
        stage: progress.stage.number,
        state: state_word(&progress.state),
        moving: moving(plan, &progress.state),
        force: force(plan.force),
        ratio: progress.state.ratio(),
        hosts: plan.hosts.clone(),
        paths: plan.paths.clone(),
        claims: Vec::new(),
        arms: document::arm::Arms {
            stable: plan.stable.clone(),
            gray: plan.gray.as_ref().map(|gray| Box::new(gray.arm.clone())),
        },
        identity: plan.identity.clone(),
        rules: plan.rules.clone(),
        limits: plan.health.counting.clone(),
        max_body_bytes: plan.max_body_bytes,
        on_unavailable: plan.on_unavailable,
        debug: plan.debug.clone(),
        version_header: plan.version_header.clone(),
        on_operator_lost: plan.on_operator_lost,
    }
}

/// Since when each place of `document` is the release's, who served by `live` before. What it had from its creation on
/// needs no word.
#[must_use]
pub fn claims(
    document: &RoutingConfig,
    live: Option<&RoutingConfig>,
    now: Timestamp,
) -> Vec<document::claim::Claim> {
    let live = live.filter(|live| live.state != document::ReleaseState::Withdrawn);
    let now = Timestamp::from_second(now.as_second())
        .unwrap_or(now)
        .max(document.release.created_at);
    let since = |host: &HostPattern, path: &PathPrefix| {
        let had = live.filter(|live| live.hosts.contains(host) && live.paths.contains(path));
        had.map_or(now, |live| live.since(host, path))
    };
    let dated = document
        .places()
        .map(|(host, path)| document::claim::Claim {
            host: host.clone(),
            path: path.clone(),
            since: since(host, path),
        });
    dated
        .filter(|claim| claim.since != document.release.created_at)
        .collect()
}

/// The features that a proxy has to know for the document of this plan, those that it uses and no others. Every
/// proxy knows what schema 1 began with.
pub(crate) fn required_features(plan: &Plan, progress: &Progress) -> Vec<&'static str> {
    let from = &plan.identity.from;
    let began = progress
        .release
        .as_ref()
        .filter(|_| progress.is_about(plan))
        .map(|release| release.form);
    let raw = from
        .iter()
        .any(|source| matches!(source, IdentitySource::Raw(_)));
    let attributes = from.iter().any(
        |source| matches!(source, IdentitySource::Generated(cookie) if cookie.has_attributes()),
    );
    let uses = [
        (
            document::IDENTITY_2,
            raw || began == Some(IdentityForm::Two),
        ),
        (document::COOKIE_ATTRIBUTES, attributes),
    ];
    uses.into_iter()
        .filter(|(_, used)| *used)
        .map(|(feature, _)| feature)
        .collect()
}

/// The state as far as a proxy has to know.
pub(crate) fn state_word(state: &RolloutState) -> document::ReleaseState {
    match state {
        RolloutState::Plain => document::ReleaseState::Plain,
        RolloutState::Moving(_) | RolloutState::TargetReached { .. } => {
            document::ReleaseState::Active
        }
        RolloutState::Promoted { .. } => document::ReleaseState::Promoted,
        RolloutState::RolledBack(_) => document::ReleaseState::RolledBack,
    }
}

/// Whether the target is still ahead. A release whose target is 0 has nowhere to go.
pub(crate) fn moving(plan: &Plan, state: &RolloutState) -> bool {
    matches!(state, RolloutState::Moving(_))
        && (plan.target() > Ratio::ZERO || state.ratio() > Ratio::ZERO)
}

fn force(force: Force) -> Option<Target> {
    match force {
        Force::None => None,
        Force::Stable => Some(Target::Stable),
        Force::Gray => Some(Target::Gray),
    }
}

/// The document with its checksum.
pub(crate) fn sealed(document: RoutingConfig) -> RoutingConfig {
    RoutingConfig {
        checksum: Some(document.content_checksum()),
        ..document
    }
}
