//! One release ready for `decide`: everything that depends only on its document is worked out here, so that a
//! request compares and never interprets. What the state closes (rules to gray after a rollback, stable after a
//! promotion) is closed here once; what is closed without a document says the [`Overlay`] that each request brings.

use std::sync::Arc;

use super::{Compiler, DestinationId, DestinationKey};
use crate::{
    bucket::Salt,
    condition::{self, AnyOf},
    document::{
        Checksum, ReleaseState, RoutingConfig,
        arm::{Arm, PerArm},
        identity::{GeneratedCookie, MissingIdentity},
        parse::{DocumentError, DocumentErrorReason, ParsedDocument},
        rule::{AllOf, Rule, Target},
        units::Ratio,
    },
    expression::Budget,
    identity::Sources,
    overlay::{GrayPaths, Overlay},
    path,
};

/// One release ready for `decide`.
#[derive(Debug)]
pub struct CompiledRelease {
    document: Arc<ParsedDocument<RoutingConfig>>,
    destinations: PerArm<Option<DestinationId>>,
    pub(crate) salt: Salt,
    split: Split,
    pub(crate) sources: Sources,
    missing: MissingIdentity,
    /// Where a CORS preflight goes that nobody's identity comes with.
    pub(crate) preflight: Arm,
    rules: Box<[CompiledRule]>,
    pub(crate) exclude: AnyOf,
    confines: bool,
}

/// How the split stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// Nobody reaches gray by it, and nobody needs an identity.
    Closed,
    /// Identities below this ratio go to gray.
    At(Ratio),
}

/// A rule that is in force.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    /// Its place in the document.
    pub(crate) index: usize,
    /// Where its requests go, as things stand.
    pub(crate) to: Arm,
    /// It holds while rules to gray are closed, too.
    stays: bool,
    pub(crate) when: AnyOf,
}

impl CompiledRelease {
    /// Makes a document ready.
    ///
    /// # Errors
    /// A regular expression that does not compile, is too large, or is too much beside the others, with its field.
    pub fn compile(
        document: Arc<ParsedDocument<RoutingConfig>>,
        compiler: &mut Compiler,
    ) -> Result<Self, DocumentError> {
        let config = &document.config;
        let closed = matches!(
            config.state,
            ReleaseState::Plain | ReleaseState::RolledBack | ReleaseState::Withdrawn
        );
        let split = match config.state {
            _ if closed => Split::Closed,
            ReleaseState::Promoted => Split::At(Ratio::FULL),
            _ => Split::At(config.ratio),
        };
        let mut budget = Budget::default();
        let mut compile = |field: String, any_of: &[AllOf]| {
            condition::compile(any_of, &mut compiler.patterns, &mut budget).map_err(
                |(outer, inner, why)| DocumentError {
                    reason: DocumentErrorReason::Invalid,
                    place: None,
                    field: format!("{field}[{outer}].all[{inner}].values"),
                    message: why.to_string(),
                },
            )
        };
        let mut rules = Vec::new();
        for (index, rule) in config.rules.iter().enumerate() {
            let when = compile(format!("rules[{index}].when"), &rule.when)?;
            if let Some(to) = in_force(config, closed, rule) {
                let stays = in_force(config, true, rule).is_some();
                rules.push(CompiledRule {
                    index,
                    to,
                    stays,
                    when,
                });
            }
        }
        let exclude = compile("limits.exclude".into(), &config.limits.exclude)?;
        let salt = config
            .identity
            .salt
            .clone()
            .unwrap_or_else(|| config.release.id.to_string());
        Ok(Self {
            destinations: PerArm::from_fn(|arm| {
                config.arms.get(arm)?;
                let key = DestinationKey::Arm(config.release.uid.clone(), arm);
                Some(compiler.destinations.id(key))
            }),
            salt: Salt::new(&salt),
            split,
            sources: Sources::of(config),
            missing: when_missing(config, closed),
            preflight: if config.state == ReleaseState::Promoted {
                Arm::Gray
            } else {
                Arm::Stable
            },
            rules: rules.into(),
            exclude,
            confines: config.confines(),
            document,
        })
    }

    /// The document it was made from.
    pub fn config(&self) -> &RoutingConfig {
        &self.document.config
    }

    /// The checksum of its document.
    pub fn checksum(&self) -> &Checksum {
        &self.document.checksum
    }

    /// Paths of fields of its document that this build ignores.
    pub fn ignored(&self) -> &[String] {
        &self.document.ignored
    }

    /// Where the requests of an arm go; none for gray in a plain route.
    pub fn destination(&self, arm: Arm) -> Option<DestinationId> {
        *self.destinations.get(arm)
    }

    /// Every destination that it has, with whose requests go there.
    pub fn destinations(&self) -> impl Iterator<Item = (Arm, DestinationId)> {
        self.destinations
            .iter()
            .filter_map(|(arm, id)| Some((arm, (*id)?)))
    }

    /// Whether it refuses this path, given in normal form: it has only part of the paths, and some backend may find a
    /// `..` in this one that leads out of it.
    pub(crate) fn refuses(&self, path: &[u8]) -> bool {
        self.confines && path::has_hidden_dot_segments(path)
    }

    /// The share of users that the split sends to gray: that of the document, as far as it is open.
    pub fn ratio_in_effect(&self, overlay: Overlay) -> Ratio {
        overlay.ratio(self.config().ratio)
    }

    /// Whether gray is to be left: nobody new reaches it, and what lasts there is to end.
    pub fn is_recalled(&self, overlay: Overlay) -> bool {
        let config = self.config();
        overlay.recall
            || config.state == ReleaseState::RolledBack
            || config.force == Some(Target::Stable)
    }

    pub(crate) fn split(&self, overlay: Overlay) -> Split {
        match self.split {
            Split::At(ratio) if overlay.lets(GrayPaths::SPLIT) => Split::At(overlay.ratio(ratio)),
            Split::At(_) | Split::Closed => Split::Closed,
        }
    }

    /// What becomes of a request without an identity.
    pub(crate) fn missing(&self, overlay: Overlay) -> MissingIdentity {
        match overlay.lets(GrayPaths::SPLIT) {
            true => self.missing,
            false => when_missing(self.config(), true),
        }
    }

    /// The rules in force.
    pub(crate) fn rules(&self, overlay: Overlay) -> impl Iterator<Item = &CompiledRule> {
        let open = overlay.lets(GrayPaths::RULES);
        self.rules.iter().filter(move |rule| open || rule.stays)
    }

    /// The arm that `force` sends everyone to, if it does.
    pub(crate) fn forced(&self) -> Option<Arm> {
        self.config().force.map(Target::arm)
    }

    /// Whether nobody may reach gray for want of stable endpoints either.
    pub(crate) fn shuns_gray(&self, overlay: Overlay) -> bool {
        self.split(overlay) == Split::Closed || self.config().force == Some(Target::Stable)
    }

    /// The cookie to mint for a request without an identity.
    pub(crate) fn generated(&self) -> Option<&GeneratedCookie> {
        self.sources.generated()
    }
}

/// Where a rule sends its requests, as things stand; none when it is off.
fn in_force(config: &RoutingConfig, closed: bool, rule: &Rule) -> Option<Arm> {
    match rule.to {
        Target::Stable if config.state == ReleaseState::Promoted => Some(Arm::Gray),
        Target::Stable => Some(Arm::Stable),
        Target::Gray if !closed => Some(Arm::Gray),
        Target::Gray => {
            (config.state == ReleaseState::RolledBack && rule.keep_on_rollback).then_some(Arm::Gray)
        }
    }
}

/// What becomes of a request without an identity, as things stand.
fn when_missing(config: &RoutingConfig, closed: bool) -> MissingIdentity {
    match config.identity.when_missing {
        MissingIdentity::Stable if config.state == ReleaseState::Promoted => MissingIdentity::Gray,
        MissingIdentity::Gray if closed => MissingIdentity::Stable,
        other => other,
    }
}
