//! The plan: a GrayRelease parsed once, into types that cannot be wrong. Afterwards nobody checks again:
//! `advance` decides by it, `routing_for` writes it into the routing document.
//!
//! Everything that is wrong is told at once, each with its path. What one object alone decides is refused by the
//! API server in the same cases; beyond that the plan knows which regular expressions compile and which time
//! zones exist.

mod arms;
mod from_document;
mod health;
pub(crate) mod hosts;
mod identity;
mod reader;
mod rules;
mod schedule;
mod steps;
mod zone;

use std::num::NonZeroU64;

use halftone_routing::document::{
    DebugHeader, OnOperatorLost, OnUnavailable, VersionHeader,
    arm::{ArmConfig, Backend},
    identity::{IdentityConfig, MissingIdentity},
    names::{HostPattern, ObjectName, PathPrefix, TAKEN_FIELDS, Uid},
    rule::{Rule, Target},
    units::{InvalidValue, Ratio, ReleaseId},
};
use jiff::Timestamp;

use self::reader::distinct;
pub(crate) use self::{
    arms::{addresses, service},
    health::quantile_limit,
    reader::{SpecReader, ratio},
    rules::parse as condition,
};
pub use self::{
    health::Health,
    schedule::{Schedule, WindowState},
    steps::Step,
};
use crate::{
    crd,
    problem::{Problem, Problems, field},
    release_id::release_id,
    spec::{Force, GrayRelease, GrayReleaseSpec, IncludedTraffic, Initial, rules as checks},
    structural,
    truncated_name::shorten,
};

/// The most characters of a uid.
const LONGEST_UID: usize = 253;

/// A GrayRelease, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whose plan this is.
    pub object: ObjectRef,
    /// The generation of the object; 0 where nobody counts them.
    pub generation: i64,
    /// The release id; also where there is no gray.
    pub id: ReleaseId,
    /// The fleet that serves it.
    pub proxy_class: String,
    /// The hosts that it claims, at least one, no two equal.
    pub hosts: Vec<HostPattern>,
    /// The path prefixes that it claims on each of them, at least one, no two equal.
    pub paths: Vec<PathPrefix>,
    /// The version that serves everyone today.
    pub stable: ArmConfig,
    /// The version on its way in, and the way. Boxed: most releases at rest have none.
    pub gray: Option<Box<GrayPlan>>,
    /// Who a user is.
    pub identity: IdentityConfig,
    /// When the ratio may rise; at any time without one.
    pub schedule: Option<Schedule>,
    /// What health means.
    pub health: Health,
    /// Rules before the split. Without gray there is none to gray.
    pub rules: Vec<Rule>,
    /// Most bytes of a request's body; none: no limit.
    pub max_body_bytes: Option<NonZeroU64>,
    /// What happens when an arm has no endpoint.
    pub on_unavailable: OnUnavailable,
    /// Who sees why a request went where it went.
    pub debug: Option<DebugHeader>,
    /// Headers that carry the version.
    pub version_header: VersionHeader,
    /// Everyone to one arm. Never `Gray` without gray.
    pub force: Force,
    /// Who serves everyone where nothing is known of the object.
    pub initial: Initial,
    /// By spec; a command may pause as well.
    pub paused: bool,
    /// What proxies do without an operator.
    pub on_operator_lost: OnOperatorLost,
}

/// The gray arm and its way to the target.
#[derive(Clone, Debug, PartialEq)]
pub struct GrayPlan {
    /// Which release this is.
    pub id: ReleaseId,
    /// The version on its way in.
    pub arm: ArmConfig,
    /// The share of users that it gets in the end.
    pub target: Ratio,
    /// The way: rising, none above the target, the target last.
    pub steps: Vec<Step>,
}

/// Which object a plan is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    /// Its uid; that of [`local_uid`] where there is no API server.
    pub uid: Uid,
    /// Its namespace; `default` where it names none.
    pub namespace: ObjectName,
    /// Its name.
    pub name: ObjectName,
    /// When it was created: of two objects that claim the same host and path the older one keeps it. The oldest
    /// of all where it does not say; a shell that keeps state sets it before planning.
    pub created_at: Timestamp,
}

impl Plan {
    /// The uid of the object.
    pub fn uid(&self) -> &str {
        self.object.uid.as_str()
    }

    /// The share of users that gray gets in the end; nobody without gray.
    pub fn target(&self) -> Ratio {
        self.gray.as_ref().map_or(Ratio::ZERO, |gray| gray.target)
    }

    /// Whether such traffic goes to gray at any ratio, 0 included, until the release is rolled back.
    fn sends_to_gray(&self, traffic: IncludedTraffic) -> bool {
        self.gray.is_some()
            && match traffic {
                IncludedTraffic::Rule => self.rules.iter().any(|rule| rule.to == Target::Gray),
                IncludedTraffic::Missing => self.identity.when_missing == MissingIdentity::Gray,
            }
    }

    /// Whether users may be on gray whom the split has not sent there.
    pub fn reaches_gray_beside_the_split(&self) -> bool {
        [IncludedTraffic::Rule, IncludedTraffic::Missing]
            .into_iter()
            .any(|traffic| self.sends_to_gray(traffic))
    }

    /// Whether rules to gray hold after a rollback, too.
    pub fn keeps_gray_on_rollback(&self) -> bool {
        self.gray.is_some()
            && self
                .rules
                .iter()
                .any(|rule| rule.to == Target::Gray && rule.keep_on_rollback)
    }

    /// Whether users may be on stable at a ratio of 100 %, until the release is promoted.
    pub fn reaches_stable_beside_the_split(&self) -> bool {
        self.identity.when_missing == MissingIdentity::Stable
            || self.rules.iter().any(|rule| rule.to == Target::Stable)
    }

    /// Whether some of them are judged, by `health.include`.
    pub fn is_judged_beside_the_split(&self) -> bool {
        self.health
            .include
            .iter()
            .any(|&traffic| self.sends_to_gray(traffic))
    }

    /// The way to the target; empty without gray.
    pub fn steps(&self) -> &[Step] {
        self.gray.as_ref().map_or(&[], |gray| &gray.steps)
    }
}

/// Where an arm is, as people write it: the name of its Service, or its addresses joined by commas.
pub fn backend_name(backend: &Backend) -> String {
    match backend {
        Backend::Service(service) => service.name.to_string(),
        Backend::Addresses(addresses) => addresses
            .as_ref()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
    }
}

impl TryFrom<&GrayRelease> for Plan {
    type Error = Problems;

    fn try_from(release: &GrayRelease) -> Result<Self, Problems> {
        let mut problems = check_structure(&release.spec);
        let mut reader = SpecReader::default();
        let plan = read(&mut reader, release);
        // Where the schema has spoken already, what follows from it would only repeat it.
        let structural: Vec<String> = problems
            .iter()
            .map(|problem| problem.path.clone())
            .collect();
        problems.extend(
            reader
                .problems
                .into_iter()
                .filter(|problem| !structural.contains(&problem.path)),
        );
        Problems::none_or(problems)?;
        Ok(plan.expect("a plan without problems has all its parts"))
    }
}

fn check_structure(spec: &GrayReleaseSpec) -> Vec<Problem> {
    let value = serde_json::to_value(spec).expect("a spec is plain data");
    structural::check(&value, &crd::schema()["properties"]["spec"], "spec")
}

fn read(reader: &mut SpecReader, release: &GrayRelease) -> Option<Plan> {
    let spec = &release.spec;
    let object = object(reader, release);
    let namespace = object.as_ref().map(|object| &object.namespace);
    arms::compare(reader, spec);
    let stable = arms::read(reader, "spec.stable", &spec.stable, namespace);
    let gray = match &spec.gray {
        Some(_) => gray(reader, spec, namespace).map(Some),
        None => Some(None),
    };
    let hosts = hosts::read(reader, &spec.hosts);
    let paths = reader.each("spec.paths", &spec.paths, |reader, path, text| {
        self::path(reader, path, text)
    });
    let identity = identity::read(reader, "spec.identity", &spec.identity, spec.gray.is_some());
    identity::covers(reader, spec);
    let schedule = match &spec.schedule {
        Some(schedule) => schedule::read(reader, "spec.schedule", schedule).map(Some),
        None => Some(None),
    };
    let health = health::read(reader, "spec.health", &spec.health);
    let rules = rules::read(reader, "spec.rules", &spec.rules, spec.gray.is_some());
    let forced = spec.force != Force::Gray || spec.gray.is_some();
    reader.require(forced, "spec.force", checks::FORCE_NEEDS_GRAY);
    let max_body_bytes = max_body_bytes(spec);
    let debug = debug(reader, spec);
    let version_header = version_header(reader, spec);
    let on_operator_lost = on_operator_lost(reader, spec);
    Some(Plan {
        object: object?,
        generation: release.metadata.generation.unwrap_or_default(),
        id: release_id(spec),
        proxy_class: spec.proxy_class.clone(),
        hosts: distinct(hosts?),
        paths: distinct(paths?),
        stable: stable?,
        gray: gray?,
        identity: identity?,
        schedule: schedule?,
        health: health?,
        rules: rules?,
        max_body_bytes: max_body_bytes?,
        on_unavailable: spec.on_unavailable,
        debug: debug?,
        version_header: version_header?,
        force: spec.force,
        initial: spec.initial,
        paused: spec.paused,
        on_operator_lost: on_operator_lost?,
    })
}

fn object(reader: &mut SpecReader, release: &GrayRelease) -> Option<ObjectRef> {
    let metadata = &release.metadata;
    let name = reader.text::<ObjectName>(
        "metadata.name",
        metadata.name.as_deref().unwrap_or_default(),
    );
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    let namespace = reader.text::<ObjectName>("metadata.namespace", namespace);
    let (name, namespace) = (name?, namespace?);
    let uid = match &metadata.uid {
        Some(uid) => reader.text("metadata.uid", uid),
        None => reader.valid(
            "metadata.name",
            local_uid(namespace.as_str(), name.as_str()),
        ),
    };
    let created_at = metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(ObjectRef {
        uid: uid?,
        namespace,
        name,
        created_at,
    })
}

/// The uid of an object that no API server gave one.
///
/// # Errors
/// One of the two is not the name of an object.
pub fn local_uid(namespace: &str, name: &str) -> Result<Uid, InvalidValue> {
    let (namespace, name): (ObjectName, ObjectName) = (namespace.parse()?, name.parse()?);
    shorten(&format!("local/{namespace}/{name}"), LONGEST_UID).parse()
}

fn gray(
    reader: &mut SpecReader,
    spec: &GrayReleaseSpec,
    namespace: Option<&ObjectName>,
) -> Option<Box<GrayPlan>> {
    let arm = arms::read(reader, "spec.gray", spec.gray.as_ref()?, namespace);
    let target = spec
        .target_ratio
        .as_ref()
        .and_then(|ratio| reader.ratio("spec.targetRatio", ratio));
    let steps = steps::read(reader, "spec.steps", spec.steps.as_deref());
    let target = target?;
    Some(Box::new(GrayPlan {
        id: release_id(spec),
        arm: arm?,
        target,
        steps: steps::toward(target, steps?),
    }))
}

/// A path that is matched or put before others.
fn path(reader: &mut SpecReader, path: &str, text: &str) -> Option<PathPrefix> {
    let decoded = text.to_ascii_lowercase().replace("%2e", ".");
    let plain = !text.contains("%00")
        && !decoded
            .split('/')
            .any(|segment| matches!(segment, "." | ".."));
    reader.require(plain, path, checks::PATH_IS_PLAIN)?;
    reader.text(path, text)
}

/// Its range was checked with the schema.
fn max_body_bytes(spec: &GrayReleaseSpec) -> Option<Option<NonZeroU64>> {
    let Some(most) = spec.max_body_bytes else {
        return Some(None);
    };
    u64::try_from(most).ok().and_then(NonZeroU64::new).map(Some)
}

fn debug(reader: &mut SpecReader, spec: &GrayReleaseSpec) -> Option<Option<DebugHeader>> {
    let Some(debug) = &spec.debug else {
        return Some(None);
    };
    let header = reader.text("spec.debug.header", &debug.header);
    let value = reader.text("spec.debug.value", &debug.value);
    Some(Some(DebugHeader {
        header: header?,
        value: value?,
    }))
}

fn version_header(reader: &mut SpecReader, spec: &GrayReleaseSpec) -> Option<VersionHeader> {
    let mut name = |name: &str, text: &str| {
        let path = field("spec.versionHeader", name);
        let free = !TAKEN_FIELDS.contains(&text.to_ascii_lowercase().as_str());
        reader.require(free, &path, checks::FIELD_IS_FREE)?;
        reader.text(&path, text)
    };
    let request = name("request", &spec.version_header.request);
    let response = name("response", &spec.version_header.response);
    Some(VersionHeader {
        request: request?,
        response: response?,
    })
}

fn on_operator_lost(reader: &mut SpecReader, spec: &GrayReleaseSpec) -> Option<OnOperatorLost> {
    let lost = &spec.on_operator_lost;
    let after = reader.at_least(
        "spec.onOperatorLost.after",
        &lost.after,
        30_000,
        checks::OPERATOR_LOST_AFTER,
    )?;
    Some(OnOperatorLost {
        action: lost.action,
        after_ms: after.into(),
    })
}
