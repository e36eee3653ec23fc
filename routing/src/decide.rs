//! Where a request goes: the points of the decision in their order, each a function of the document and the request
//! alone. The proxy's hot path and `halftone explain` run this same code; the latter listens in through a [`Trace`].
//! Nothing here looks at endpoints: which arm can serve is asked afterwards, by [`serve`].

use std::{borrow::Cow, fmt};

use crate::{
    bucket::Bucket,
    condition,
    document::{
        OnUnavailable,
        arm::Arm,
        identity::{GeneratedCookie, MissingIdentity},
        units::Ratio,
    },
    facts::RequestFacts,
    identity::Identity,
    overlay::Overlay,
    report::{Charge, ChosenBy},
    request::Request,
    routes::{CompiledRelease, DestinationId, ReleaseIndex, Routes, Split},
    sketch::UserHash,
};

mod serve;
#[cfg(test)]
mod tests;
mod trace;

pub use self::{
    serve::{ServingArm, replacement_arm, serve},
    trace::{Point, Trace, TraceEntry},
};

/// Why [`Resolution::Climbs`] is refused, for people.
pub const CLIMBS: &str =
    "some backends would read a .. in this path, which leads out of what the release has";

/// What the rules say of a request that would be compared for too long.
const TOO_LONG: &str = "given up: its values are too long to be compared with so many conditions, and no further rule \
                        is asked (docs/security.md)";

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution<'r, 'q> {
    /// A release has it.
    Decided(Decision<'r, 'q>),
    /// No release has it, and the fleet names a backend for that.
    DefaultBackend(DestinationId),
    /// No release has it: 404.
    NoRoute,
    /// A release has it and takes nobody without an identity.
    Rejected {
        /// Which release.
        release: ReleaseIndex,
        /// The status to answer with, 400..=499.
        status: u16,
    },
    /// A release has it, but its path may lead a backend out of what the release has: 400. See
    /// [`crate::path::has_hidden_dot_segments`].
    Climbs {
        /// Which release.
        release: ReleaseIndex,
    },
}

/// Where a release sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'r, 'q> {
    /// Which release, in the routes that were asked.
    pub release: ReleaseIndex,
    /// How much of its gray was open. Whatever follows goes by this copy.
    pub overlay: Overlay,
    /// The arm that is meant.
    pub arm: Arm,
    /// What decided it.
    pub chosen_by: ChosenBy,
    /// Who the user is, if the decision came to that.
    pub identity: Option<Identity<'q>>,
    /// The user's place, or that of a request split by chance.
    pub bucket: Option<Bucket>,
    /// The user whose bucket that is; none where no identity decided.
    pub user: Option<UserHash>,
    /// Why, in one value; its text goes into `X-Halftone-Reason`.
    pub reason: RoutingReason<'r>,
    /// A cookie to set on the response, unless that is public.
    pub mint: Option<MintedCookie<'r>>,
    /// Whether a condition of `exclude` holds: counted, not judged.
    pub excluded: bool,
}

impl Decision<'_, '_> {
    /// What the request is charged to in the release's stage.
    pub const fn charge(&self) -> Charge {
        Charge {
            excluded: self.excluded,
            ..Charge::new(self.arm, self.chosen_by)
        }
    }
}

/// Why a request goes to its arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingReason<'r> {
    /// `force` sends everyone there.
    Forced(Arm),
    /// The rule of this name.
    Rule(&'r str),
    /// A user's place is, or is not, below the ratio.
    Bucket(Bucket, Ratio),
    /// The place that chance gave this request is, or is not, below the ratio.
    Chance(Bucket, Ratio),
    /// There is no identity.
    Missing,
    /// A CORS preflight, with which browsers send no identity.
    Preflight,
    /// Nobody is sent to gray: there is none, or it was rolled back, or the operator is lost.
    Closed,
}

impl fmt::Display for RoutingReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |bucket: Bucket, ratio| {
            if bucket.is_gray(ratio) {
                "below"
            } else {
                "not below"
            }
        };
        match *self {
            Self::Forced(arm) => write!(f, "forced to {}", arm.name()),
            Self::Rule(name) => write!(f, "rule {name}"),
            Self::Bucket(bucket, ratio) => {
                write!(
                    f,
                    "bucket {} {} {}",
                    bucket.get(),
                    side(bucket, ratio),
                    ratio.millionths()
                )
            }
            Self::Chance(bucket, ratio) => {
                write!(
                    f,
                    "no identity, by chance {} {} {}",
                    bucket.get(),
                    side(bucket, ratio),
                    ratio.millionths()
                )
            }
            Self::Missing => f.write_str("no identity"),
            Self::Preflight => f.write_str("no identity, as a CORS preflight has none"),
            Self::Closed => f.write_str("gray is closed"),
        }
    }
}

/// A cookie that stands for a user from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintedCookie<'r> {
    /// Name and age.
    pub cookie: &'r GeneratedCookie,
    /// 32 hex digits.
    pub value: String,
}

/// `name=value; Max-Age=…; Path=/; HttpOnly; SameSite=Lax`, and what the release has chosen beside that. Host-only
/// unless it names a domain (RFC 6265).
impl fmt::Display for MintedCookie<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GeneratedCookie {
            cookie,
            max_age_ms,
            domain,
            same_site,
            secure,
            partitioned,
        } = self.cookie;
        let (seconds, same_site) = (max_age_ms.millis() / 1000, same_site.name());
        write!(
            f,
            "{cookie}={}; Max-Age={seconds}; Path=/; HttpOnly; SameSite={same_site}",
            self.value
        )?;
        if let Some(domain) = domain {
            write!(f, "; Domain={domain}")?;
        }
        f.write_str(if *secure { "; Secure" } else { "" })?;
        f.write_str(if *partitioned { "; Partitioned" } else { "" })
    }
}

/// For whom nothing is closed but what documents close.
pub const fn all_open(_: ReleaseIndex) -> Overlay {
    Overlay::OPEN
}

/// Decides a request. `overlay` says how much of a release's gray is open, and is asked once at most. `chance` gives 128
/// evenly distributed bits, and is asked only for a generated cookie and for `whenMissing: Split`.
pub fn decide<'r, 'q>(
    routes: &'r Routes,
    overlay: impl FnOnce(ReleaseIndex) -> Overlay,
    request: &Request<'q>,
    chance: &mut impl FnMut() -> u128,
) -> Resolution<'r, 'q> {
    decide_traced(routes, overlay, request, chance, &mut ())
}

/// Decides a request as [`decide`] does, and tells what each point said.
pub fn decide_traced<'r, 'q>(
    routes: &'r Routes,
    overlay: impl FnOnce(ReleaseIndex) -> Overlay,
    request: &Request<'q>,
    chance: &mut impl FnMut() -> u128,
    trace: &mut impl Trace,
) -> Resolution<'r, 'q> {
    let Some(index) = find(routes, request, trace) else {
        return routes
            .default_destination()
            .map_or(Resolution::NoRoute, Resolution::DefaultBackend);
    };
    let release = &**routes.release(index);
    if release.refuses(request.path) {
        trace.says(Point::Host, || CLIMBS.into());
        return Resolution::Climbs { release: index };
    }
    let overlay = overlay(index);
    let facts = RequestFacts::new(request, &routes.fleet().trusted_proxies, &release.sources);
    let choice = force(release, trace)
        .or_else(|| rules(release, overlay, &facts, trace))
        // The lane has its place here.
        // A session's binding has its place here.
        .map_or_else(|| split(release, overlay, &facts, chance, trace), Ok);
    // The gate has its place here.
    match choice {
        Ok(choice) => {
            let excluded = excluded(release, &facts, trace);
            Resolution::Decided(choice.decision(index, overlay, facts.into_identity(), excluded))
        }
        Err(status) => Resolution::Rejected {
            release: index,
            status,
        },
    }
}

/// What one of the points settled.
struct ArmChoice<'r> {
    arm: Arm,
    chosen_by: ChosenBy,
    reason: RoutingReason<'r>,
    user: Option<UserHash>,
    mint: Option<MintedCookie<'r>>,
}

impl<'r> ArmChoice<'r> {
    const fn new(arm: Arm, chosen_by: ChosenBy, reason: RoutingReason<'r>) -> Self {
        Self {
            arm,
            chosen_by,
            reason,
            user: None,
            mint: None,
        }
    }

    fn decision<'q>(
        self,
        release: ReleaseIndex,
        overlay: Overlay,
        found: Option<Identity<'q>>,
        excluded: bool,
    ) -> Decision<'r, 'q> {
        let Self {
            arm,
            chosen_by,
            reason,
            user,
            mint,
        } = self;
        let minted = || {
            mint.as_ref()
                .map(|minted| Cow::Owned(minted.value.clone().into_bytes()))
        };
        let bucket = match reason {
            RoutingReason::Bucket(bucket, _) | RoutingReason::Chance(bucket, _) => Some(bucket),
            _ => None,
        };
        let identity = found.or_else(minted);
        Decision {
            release,
            overlay,
            arm,
            chosen_by,
            identity,
            bucket,
            user,
            reason,
            mint,
            excluded,
        }
    }
}

fn find(routes: &Routes, request: &Request<'_>, trace: &mut impl Trace) -> Option<ReleaseIndex> {
    let found = routes.find(request.host, request.path);
    trace.says(Point::Host, || match found {
        Some(index) => {
            let whose = &routes.release(index).config().release;
            format!(
                "{}/{} has {}{}",
                whose.namespace,
                whose.name,
                request.host,
                request.path.escape_ascii()
            )
        }
        None => format!(
            "no release has {}{}",
            request.host,
            request.path.escape_ascii()
        ),
    });
    found
}

fn force<'r>(release: &'r CompiledRelease, trace: &mut impl Trace) -> Option<ArmChoice<'r>> {
    let forced = release.forced();
    trace.says(Point::Force, || {
        forced.map_or("none".into(), |arm| format!("everyone to {}", arm.name()))
    });
    forced.map(|arm| ArmChoice::new(arm, ChosenBy::Force, RoutingReason::Forced(arm)))
}

fn rules<'r>(
    release: &'r CompiledRelease,
    overlay: Overlay,
    facts: &RequestFacts<'_, '_>,
    trace: &mut impl Trace,
) -> Option<ArmChoice<'r>> {
    let matched = release
        .rules(overlay)
        .find(|rule| condition::holds(&rule.when, facts));
    let name = |index: usize| release.config().rules[index].name.as_str();
    trace.says(Point::Rules, || match matched {
        Some(rule) => format!("{} matches: to {}", name(rule.index), rule.to.name()),
        None if facts.effort.is_spent() => TOO_LONG.into(),
        None if release.rules(overlay).count() < release.config().rules.len() => {
            "none in force matches".into()
        }
        None => "none matches".into(),
    });
    matched.map(|rule| {
        ArmChoice::new(
            rule.to,
            ChosenBy::Rule,
            RoutingReason::Rule(name(rule.index)),
        )
    })
}

/// By identity, or by what the release does without one; the error is the status to reject with.
fn split<'r>(
    release: &'r CompiledRelease,
    overlay: Overlay,
    facts: &RequestFacts<'_, '_>,
    chance: &mut impl FnMut() -> u128,
    trace: &mut impl Trace,
) -> Result<ArmChoice<'r>, u16> {
    let (identity, kept) = (facts.identity(), facts.kept());
    trace.says(Point::Identity, || {
        match (identity, kept, release.generated()) {
            (Some(identity), Some(kept), Some(generated)) if identity != kept => format!(
                "\"{}\", who keeps the place of the cookie {} from before",
                identity.escape_ascii(),
                generated.cookie
            ),
            (Some(identity), ..) => format!("\"{}\"", identity.escape_ascii()),
            (None, ..) => "none".into(),
        }
    });
    let split = release.split(overlay);
    let choice = match (kept.or(identity), release.generated()) {
        (Some(place), _) => by_bucket(release, split, place),
        (None, _) if facts.request.is_preflight() => ArmChoice::new(
            release.preflight,
            ChosenBy::Missing,
            RoutingReason::Preflight,
        ),
        (None, Some(cookie)) => by_minted(release, split, cookie, chance),
        (None, None) => without_identity(release.missing(overlay), split, chance)?,
    };
    trace.says(Point::Split, || {
        format!("{}: to {}", choice.reason, choice.arm.name())
    });
    Ok(choice)
}

fn by_bucket<'r>(release: &'r CompiledRelease, split: Split, identity: &[u8]) -> ArmChoice<'r> {
    match split {
        Split::Closed => ArmChoice::new(Arm::Stable, ChosenBy::Split, RoutingReason::Closed),
        Split::At(ratio) => {
            let user = release.salt.user(identity);
            let bucket = Bucket::of(user);
            let choice = ArmChoice::new(
                side(bucket, ratio),
                ChosenBy::Split,
                RoutingReason::Bucket(bucket, ratio),
            );
            ArmChoice {
                user: Some(user),
                ..choice
            }
        }
    }
}

/// The cookie counts for this request already. Where nobody reaches gray no cookie is needed, and none is set.
fn by_minted<'r>(
    release: &'r CompiledRelease,
    split: Split,
    cookie: &'r GeneratedCookie,
    chance: &mut impl FnMut() -> u128,
) -> ArmChoice<'r> {
    if split == Split::Closed {
        return ArmChoice::new(Arm::Stable, ChosenBy::Split, RoutingReason::Closed);
    }
    let value = format!("{:032x}", chance());
    let choice = by_bucket(release, split, value.as_bytes());
    ArmChoice {
        mint: Some(MintedCookie { cookie, value }),
        ..choice
    }
}

fn without_identity<'r>(
    missing: MissingIdentity,
    split: Split,
    chance: &mut impl FnMut() -> u128,
) -> Result<ArmChoice<'r>, u16> {
    let always = |arm| ArmChoice::new(arm, ChosenBy::Missing, RoutingReason::Missing);
    match (missing, split) {
        (MissingIdentity::Stable, _) => Ok(always(Arm::Stable)),
        (MissingIdentity::Gray, _) => Ok(always(Arm::Gray)),
        (MissingIdentity::Split, Split::Closed) => Ok(ArmChoice::new(
            Arm::Stable,
            ChosenBy::Split,
            RoutingReason::Closed,
        )),
        (MissingIdentity::Split, Split::At(ratio)) => {
            let bucket = Bucket::by_chance(chance());
            Ok(ArmChoice::new(
                side(bucket, ratio),
                ChosenBy::Split,
                RoutingReason::Chance(bucket, ratio),
            ))
        }
        (MissingIdentity::Reject(status), _) => Err(status),
    }
}

const fn side(bucket: Bucket, ratio: Ratio) -> Arm {
    if bucket.is_gray(ratio) {
        Arm::Gray
    } else {
        Arm::Stable
    }
}

fn excluded(
    release: &CompiledRelease,
    facts: &RequestFacts<'_, '_>,
    trace: &mut impl Trace,
) -> bool {
    let excluded = condition::holds(&release.exclude, facts);
    if !release.exclude.is_empty() {
        trace.says(Point::Exclude, || {
            if excluded {
                "counted, not judged"
            } else {
                "judged"
            }
            .into()
        });
    }
    excluded
}

/// The other arm may serve in its place; see [`serve`].
pub(crate) fn may_fall_back(release: &CompiledRelease, overlay: Overlay, intended: Arm) -> bool {
    let other = intended.other();
    release.config().on_unavailable == OnUnavailable::OtherArm
        && release.destination(other).is_some()
        && !(other == Arm::Gray && release.shuns_gray(overlay))
}
