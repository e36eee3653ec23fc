//! What a shell has seen since the last turn: the object, the proxies of its fleet, the endpoints of both arms,
//! the document that is live, and what one poll of the proxies has added. Input of `advance`.
//!
//! A shell builds one for every turn, its counts by [`Round::of`]. Counts are handed over once: they are differences between answers, so a
//! second look at the same round would count its requests twice.

use std::sync::Arc;

use halftone_api::{
    Obstacle,
    fleet::FleetTimes,
    health_limits::Limit,
    plan::{Health, Plan},
    spec::IncludedTraffic,
};
use halftone_routing::{
    document::{
        RoutingConfig,
        arm::{Arm, Backend},
        units::{ReleaseId, Stage},
    },
    report::{Charge, ChosenBy, CounterKey, Counts, documents::DocumentVersion},
    sketch::UserSketch,
};
use jiff::Timestamp;

use crate::{
    judge::{self, ArmBatch, LatencyCounts},
    progress::Progress,
};

/// How many polls a proxy may miss before it counts as silent, and how many a joiner gets before it can cost an
/// acknowledgement that was already reached.
pub const PATIENT_POLLS: u32 = 3;

/// Everything that a turn may look at, beside plan, progress and clocks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// `metadata.generation` of the object; in files mode a number that rises with every edit.
    pub generation: i64,
    /// What forbids the object as it is written, as far as other objects decide it: a conflict of hosts, a host
    /// or class or address that the fleet does not allow. Traffic stays as it is.
    pub refusal: Option<Obstacle>,
    /// References that lead nowhere, such as a Service that does not exist, or arms that share a pod. The ratio
    /// does not rise until they do.
    pub unresolved: Option<Obstacle>,
    /// A Service of the spec that says that its port speaks a protocol which proxies do not: told, and nothing else.
    pub unspoken: Option<String>,
    /// The proxies of the fleet, ready or not.
    pub proxies: Vec<ProxyObservation>,
    /// Ready endpoints of the arms, as proxies count them: those of the newest spec and those of [`Progress::plan`], which
    /// differ while the newest is refused. Where addresses are not listed, each of them is one ready endpoint.
    pub endpoints: Vec<(Backend, usize)>,
    /// Why an arm has no ready endpoint, where the shell knows: a clause for people, without figures that move.
    pub lacking: Vec<(Backend, String)>,
    /// The document of this very object that is live (in the ConfigMap, or with the proxy of this process).
    pub document: Option<Arc<RoutingConfig>>,
    /// The revision from which on this installation has the release; 0 where no other one had it. A document below it is
    /// what its proxies still serve, and does not say who serves users now: the status does.
    pub since: u64,
    /// The live document of an earlier object of the same namespace and name.
    pub predecessor: Option<Arc<RoutingConfig>>,
    /// Why the live document of this object, or of the one before it, cannot be read, if there is one that cannot: it
    /// may say who serves users, and nobody knows.
    pub unreadable: Option<String>,
    /// The highest revision of this object's document that any report names; 0 without any.
    pub highest_revision: u64,
    /// What the latest poll of the proxies added; none if there was no poll since the last turn.
    pub round: Option<Round>,
    /// Why what has to outlive the process cannot be written now, if it cannot. Evidence is gathered and users go
    /// back all the same, but nothing rises on progress that a restart would not know. A shell whose write has failed
    /// takes the same turn once more with this set, and takes what comes of it without a write.
    pub unwritable: Option<String>,
    /// Why the document could not be written when it was last tried, in the words of whoever refused it: proxies go on with
    /// the one before, whatever the status says.
    pub unprogrammed: Option<String>,
    /// Why the status as it was found cannot be gone on from, if it cannot. It is told once; the write that tells it has
    /// repaired the status.
    pub status_unreadable: Option<String>,
    /// The annotation `halftone.dev/request`, if there is one.
    pub request: Option<String>,
    /// The edit gives up a place that another release takes over, and not every proxy has that one's document yet.
    pub handing_over: Option<PlaceHandOver>,
    /// A place of the newest spec that was a deleted release's of another namespace, and whose, in a sentence: told once the
    /// spec is taken.
    pub taking_over: Option<String>,
    /// Of an object that is gone: other releases of its namespace have all its places, and every proxy has their
    /// documents.
    pub taken_over: bool,
    /// Times that the fleet sets.
    pub fleet: FleetTimes,
}

/// Whether every proxy that counts has `document`, and there is one.
#[must_use]
pub fn is_acknowledged(proxies: &[ProxyObservation], document: &RoutingConfig) -> bool {
    let has = |proxy: &ProxyObservation| {
        proxy.applied.as_ref().is_some_and(|applied| {
            applied.revision == document.revision
                && Some(&applied.checksum) == document.checksum.as_ref()
        })
    };
    let mut counting = proxies.iter().filter(|proxy| proxy.counts()).peekable();
    counting.peek().is_some() && counting.all(has)
}

impl Observation {
    /// The document of this very object, unless it is from before another installation had the release.
    #[must_use]
    pub fn present(&self) -> Option<&Arc<RoutingConfig>> {
        self.document
            .as_ref()
            .filter(|document| document.revision.get() >= self.since)
    }

    /// How many ready endpoints an arm has.
    #[must_use]
    pub fn ready_endpoints(&self, backend: &Backend) -> usize {
        let seen = self
            .endpoints
            .iter()
            .find(|(of, _)| of == backend)
            .map(|(_, ready)| *ready);
        seen.unwrap_or(match backend {
            Backend::Service(_) => 0,
            Backend::Addresses(addresses) => addresses.as_ref().len(),
        })
    }

    /// Why an arm has no ready endpoint, where that is known.
    #[must_use]
    pub fn why_unready(&self, backend: &Backend) -> Option<&str> {
        self.lacking
            .iter()
            .find(|(of, _)| of == backend)
            .map(|(_, why)| why.as_str())
    }
}

/// An edit that gives up a place to another release waits until that one is everywhere, so that nobody meets a place
/// without a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceHandOver {
    /// Which place it is, who takes it over, and how far that is, in a sentence.
    pub message: String,
    /// It was waited for as long as a fleet waits: the edit is taken all the same.
    pub late: bool,
    /// Another release waits for this one in the same way, as in an exchange: the document has the places of the edit
    /// already while it waits, and proxies keep to whoever had them first.
    pub awaited: bool,
}

/// One proxy, as its last answer told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyObservation {
    /// Its name, for people: the pod's.
    pub name: String,
    /// Ready, as its pod says.
    pub ready: bool,
    /// On its way out: it has a deletion time.
    pub terminating: bool,
    /// Polls since it became ready.
    pub polls: u32,
    /// Polls in a row that it has not answered.
    pub missed: u32,
    /// Steady time at which its last answer was asked for.
    pub asked_at: Option<Timestamp>,
    /// Revision and checksum of this object's document that it has applied.
    pub applied: Option<DocumentVersion>,
    /// Why it refused the newest document, if it did.
    pub rejected: Option<String>,
    /// It serves from its disk, not from the present documents.
    pub stale: bool,
    /// Features that it knows.
    pub features: Arc<[String]>,
}

impl ProxyObservation {
    /// Whether it counts: ready, and not on its way out.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.ready && !self.terminating
    }

    /// Whether it has missed so many polls that nothing can be said of it.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.missed >= PATIENT_POLLS
    }

    /// Whether it is so new that it does not cost an acknowledgement that was already reached.
    #[must_use]
    pub fn is_joiner(&self) -> bool {
        self.polls < PATIENT_POLLS
    }
}

/// What one poll of all proxies added for this object.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// Seconds since the round before, by the steady clock.
    pub seconds: f64,
    /// The release that the counts below belong to.
    pub release: ReleaseId,
    /// The stage that they belong to. Counts of another stage are no evidence and are passed over.
    pub stage: Stage,
    /// What gray did.
    pub gray: ArmBatch,
    /// What stable did.
    pub stable: ArmBatch,
    /// Requests that reached stable at all, whatever sent them there and under whichever stage.
    pub reached_stable: u64,
    /// The users whom failures of this release's gray reached, under whichever stage.
    pub failed_users: UserSketch,
}

impl Round {
    /// Sorts what the reports of one poll added into what counts for the release of `progress` and what does not.
    /// `added` are the differences of all proxies; those of other objects are passed over. `seconds` is the time
    /// since the poll before. None before a first plan.
    #[must_use]
    pub fn of<'a>(
        progress: &Progress,
        seconds: f64,
        added: impl IntoIterator<Item = &'a (CounterKey, Counts)>,
    ) -> Option<Self> {
        let plan = progress.plan()?;
        let mut round = Self {
            seconds,
            release: plan.id,
            stage: progress.stage(),
            gray: ArmBatch::default(),
            stable: ArmBatch::default(),
            reached_stable: 0,
            failed_users: UserSketch::default(),
        };
        for (key, counts) in added {
            if key.uid == plan.object.uid {
                round.add(plan, key, counts);
            }
        }
        Some(round)
    }

    fn add(&mut self, plan: &Plan, key: &CounterKey, counts: &Counts) {
        let arm = key.charge.arm();
        let reached = match arm {
            Arm::Stable => counts.requests().saturating_sub(counts.fallbacks),
            Arm::Gray => counts.fallbacks,
        };
        self.reached_stable = self.reached_stable.saturating_add(reached);
        if key.release == self.release && arm == Arm::Gray {
            self.failed_users.merge(&counts.failed_users);
        }
        if key.release != self.release || key.stage != self.stage {
            return;
        }
        // What a newer proxy decided in a way that is unknown here is no evidence.
        let Some(charge) = key.charge.known().filter(|charge| !charge.excluded) else {
            return;
        };
        let batch = match arm {
            Arm::Stable => &mut self.stable,
            Arm::Gray => &mut self.gray,
        };
        add_to_arm(batch, &plan.health, charge, counts);
    }
}

/// The judge sees all strata and cohorts of an arm as one.
fn add_to_arm(arm: &mut ArmBatch, health: &Health, charge: Charge, counts: &Counts) {
    let outcomes = judge::RequestCounts {
        requests: counts.charged(),
        errors: counts.errors(),
        client_errors: counts.client_errors(),
    };
    if charge.chosen_by == ChosenBy::Split {
        arm.split.merge(outcomes);
        let mut limits = health.limits.iter().flat_map(|limits| &limits.limits);
        if limits.any(|limit| matches!(limit, Limit::RelativeP99 { .. })) {
            arm.latencies.merge(&counts.latency);
        }
    }
    if !is_judged(health, charge.chosen_by) {
        return;
    }
    arm.judged.merge(outcomes);
    arm.faults.count(counts);
    // The judge's latency limits stand in the order in which the proxies were told them.
    for (at, quantile) in health.counting.latency.keys().enumerate() {
        if arm.latency.len() <= at {
            arm.latency.push(LatencyCounts::default());
        }
        if let Some(events) = counts.limits.get(quantile) {
            arm.latency[at].within = arm.latency[at].within.saturating_add(events.within);
            arm.latency[at].over = arm.latency[at].over.saturating_add(events.over);
        }
    }
}

/// Traffic of the split, and what `health.include` adds. Forced traffic never.
fn is_judged(health: &Health, chosen_by: ChosenBy) -> bool {
    match chosen_by {
        ChosenBy::Split => true,
        ChosenBy::Rule => health.include.contains(&IncludedTraffic::Rule),
        ChosenBy::Missing => health.include.contains(&IncludedTraffic::Missing),
        ChosenBy::Force => false,
    }
}
