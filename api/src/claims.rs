//! Which release of a fleet has a host and path. One rule for everyone: a run and an operator refuse by it, `lint`
//! foretells it, and proxies come to the same by the order that the documents carry.
//!
//! Whoever serves a place keeps it: no edit takes a host from the release that serves it. A release claims what its
//! newest plan names, but only while nothing else refuses that plan; an edit that claims anything of another's is
//! refused as a whole. `settle` finds what can be taken together.

mod deleted;
mod settle;
pub mod shadow;

use halftone_routing::document::{
    ReleaseState, RoutingConfig,
    names::{HostPattern, PathPrefix},
};
use jiff::Timestamp;

pub use self::{deleted::taken_from, settle::settle};
use crate::{Obstacle, plan::Plan};

/// A host and a path below it.
pub type HostPath<'a> = (&'a HostPattern, &'a PathPrefix);

/// Whether the object of a claimant is still there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ObjectPresence {
    /// It is.
    #[default]
    Here,
    /// It was deleted. What it serves is open to a release of its namespace at once, as after a rename, and to others
    /// once it is withdrawn and no longer reserved.
    Gone,
}

/// One release of the fleet.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Its newest plan; none if there is none, or if anything but a conflict keeps it from taking effect.
    pub wanted: Option<&'a Plan>,
    /// The document that is live, its own or that of the object of the same name before it.
    pub live: Option<&'a RoutingConfig>,
    /// Whether its object is still there.
    pub standing: ObjectPresence,
    /// Until when the places of a document that is withdrawn are kept for its namespace; none: they are free.
    pub reserved: Option<Timestamp>,
}

/// A host and path that another release has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict<'a> {
    /// Which of the claimants has it.
    pub owner: usize,
    /// The namespace and the name of that one.
    pub name: (&'a str, &'a str),
    /// Why it is that one's.
    pub right: ClaimReason,
    /// The host.
    pub host: &'a HostPattern,
    /// The path.
    pub path: &'a PathPrefix,
}

/// Why a place is another release's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimReason {
    /// That one has served it since then.
    Serves(Timestamp),
    /// That one served it and is deleted; until then it is kept for its namespace.
    Reserved(Timestamp),
    /// Nobody serves it, and the other one was created earlier.
    Older,
    /// Nobody serves it, both were created in the same second, and the other one's name comes first.
    First,
}

impl Conflict<'_> {
    /// What forbids the edit. `plan` is the edit, and `live` what its release serves: whatever else it holds is named.
    #[must_use]
    pub fn obstacle(&self, plan: Option<&Plan>, live: Option<&RoutingConfig>) -> Obstacle {
        let Self {
            name: (namespace, name),
            host,
            path,
            ..
        } = self;
        let owner = format!("{namespace}/{name}");
        let why = match self.right {
            ClaimReason::Serves(since) => format!("{owner} has served {host}{path} since {since}"),
            ClaimReason::Reserved(until) => {
                format!(
                    "{owner} served {host}{path} until it was deleted, and its namespace keeps it until {until}"
                )
            }
            ClaimReason::Older => format!("{owner} claims {host}{path}, too, and is older"),
            ClaimReason::First => {
                format!(
                    "{owner} claims {host}{path}, too; both are equally old, and its name comes first"
                )
            }
        };
        let rest = plan.map_or_else(String::new, |plan| also_held(plan, live));
        Obstacle::new(
            "HostConflict",
            format!("{why}; claim another host or path{rest}"),
        )
    }
}

/// What else an edit holds that is not taken either.
fn also_held(plan: &Plan, live: Option<&RoutingConfig>) -> String {
    let Some(live) = live else {
        return String::new();
    };
    let gray = plan.gray.as_ref().map(|gray| &gray.arm.version);
    let mut held = Vec::new();
    if plan.stable.version != live.arms.stable.version {
        held.push(format!("stable {}", plan.stable.version));
    }
    if let Some(gray) =
        gray.filter(|gray| live.arms.gray.as_ref().map(|arm| &arm.version) != Some(gray))
    {
        held.push(format!("gray {gray}"));
    }
    match held.len() {
        0 => String::new(),
        1 => format!("; {} of the same edit is not taken either", held[0]),
        _ => format!(
            "; {} of the same edit are not taken either",
            held.join(" and ")
        ),
    }
}

impl<'a> Claimant<'a> {
    /// Every place that it may claim, whatever others do: what it wants and what it serves.
    pub fn places(self) -> impl Iterator<Item = HostPath<'a>> {
        self.wants().chain(self.serves())
    }

    /// Whether both claim the same, whatever else may differ between them.
    #[must_use]
    pub fn claims_as(self, other: Claimant<'_>) -> bool {
        self.age() == other.age()
            && (self.standing, self.reserved) == (other.standing, other.reserved)
            && self.wanted.is_some() == other.wanted.is_some()
            && self.wants().eq(other.wants())
            && self.serves().eq(other.serves())
    }

    /// The places that it gives up and `other` takes: `other` has to have them before. In an exchange both wait for each
    /// other, and for that one of them has to have what it gives up and what it takes at once, see [`union`]; none where
    /// neither can.
    pub fn hands_over(self, other: Claimant<'a>) -> impl Iterator<Item = HostPath<'a>> {
        let wants = |claimant: Claimant<'a>, place| claimant.wants().any(|wanted| wanted == place);
        let gives = other.serves().any(|place| !wants(other, place));
        let waits = !gives || other.may_have_both() || self.may_have_both();
        let serves = self.serves().filter(move |_| !self.is_withdrawn());
        let given = serves.filter(move |place| !wants(self, *place) && wants(other, *place));
        given.filter(move |_| waits && self.wanted.is_some() && other.wanted.is_some())
    }

    fn wants(self) -> impl Iterator<Item = HostPath<'a>> {
        self.wanted
            .into_iter()
            .flat_map(|plan| pairs(&plan.hosts, &plan.paths))
    }

    /// What others may not take: what it serves, or served until its document was withdrawn a while ago.
    fn serves(self) -> impl Iterator<Item = HostPath<'a>> {
        let live = self
            .live
            .filter(|_| !self.is_withdrawn() || self.reserved.is_some());
        live.into_iter()
            .flat_map(|live| pairs(&live.hosts, &live.paths))
    }

    /// Whether one document can name what it serves and what it wants.
    fn may_have_both(self) -> bool {
        self.live.zip(self.wanted).is_some_and(|(live, plan)| {
            union((&live.hosts, &live.paths), (&plan.hosts, &plan.paths)).is_some()
        })
    }

    fn is_withdrawn(self) -> bool {
        self.live
            .is_some_and(|live| live.state == ReleaseState::Withdrawn)
    }

    /// Whether it serves nothing any more, or nobody looks after what it serves: a release that is there comes before it.
    fn is_left(self) -> bool {
        self.standing == ObjectPresence::Gone || self.is_withdrawn()
    }

    /// The oldest first; none where there is nothing to claim.
    fn age(&self) -> Option<(Timestamp, &'a str, &'a str)> {
        let plan = self.wanted.map(|plan| &plan.object);
        let plan = plan.map(|object| {
            (
                object.created_at,
                object.namespace.as_str(),
                object.name.as_str(),
            )
        });
        plan.or_else(|| {
            let release = &self.live?.release;
            Some((
                release.created_at,
                release.namespace.as_str(),
                release.name.as_str(),
            ))
        })
    }
}

/// Hosts and paths that name all places of both and no others, if there are such: a document has each of its paths on each
/// of its hosts. Those of the first come first.
#[must_use]
pub fn union(
    (hosts, paths): (&[HostPattern], &[PathPrefix]),
    (more_hosts, more_paths): (&[HostPattern], &[PathPrefix]),
) -> Option<(Vec<HostPattern>, Vec<PathPrefix>)> {
    let fits = is_same_set(paths, more_paths) || is_same_set(hosts, more_hosts);
    fits.then(|| (joined(hosts, more_hosts), joined(paths, more_paths)))
}

fn is_same_set<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.iter().all(|item| other.contains(item)) && other.iter().all(|item| one.contains(item))
}

fn joined<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Vec<T> {
    let more = other.iter().filter(|item| !one.contains(item));
    one.iter().chain(more).cloned().collect()
}

fn pairs<'a>(
    hosts: &'a [HostPattern],
    paths: &'a [PathPrefix],
) -> impl Iterator<Item = HostPath<'a>> {
    hosts
        .iter()
        .flat_map(|host| paths.iter().map(move |path| (host, path)))
}
