//! Places over sequences of edits, deletions, withdrawals and turns, each release taking its turn by itself, as an operator
//! gives them.

use halftone_api::{Plan, claims::*};
use halftone_rollout::{
    clock::Now,
    progress::Progress,
    routing_for::{claims, routing_for},
};
use halftone_routing::document::{
    ReleaseState, RoutingConfig, names::HostPattern, units::Revision,
};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::{at_second, plan};

const HOSTS: [&str; 3] = ["a", "b", "c"];
const RELEASES: usize = 5;
/// When no place that is reserved now is reserved any more.
const LATER: i64 = 1_000_000;

#[derive(Debug, Clone)]
enum SequenceStep {
    /// Creates the release, or edits its hosts.
    Claim(usize, Vec<usize>),
    Delete(usize),
    /// The routes of a deleted release are withdrawn.
    Withdraw(usize),
    /// Its hosts are free, and its document is gone or not.
    Lapse(usize, bool),
    /// Something else refuses its newest spec, or does no longer.
    Hold(usize, bool),
    Turn(usize),
}

fn happening() -> impl Strategy<Value = SequenceStep> {
    use SequenceStep::*;
    let hosts = prop::collection::btree_set(0..HOSTS.len(), 1..3);
    prop_oneof![
        5 => (0..RELEASES, hosts).prop_map(|(at, hosts)| Claim(at, hosts.into_iter().collect())),
        2 => (0..RELEASES).prop_map(Delete),
        1 => (0..RELEASES).prop_map(Withdraw),
        1 => (0..RELEASES, any::<bool>()).prop_map(|(at, removed)| Lapse(at, removed)),
        1 => (0..RELEASES, any::<bool>()).prop_map(|(at, on)| Hold(at, on)),
        8 => (0..RELEASES).prop_map(Turn),
    ]
}

#[derive(Default)]
struct SequenceRelease {
    /// The newest spec; none once it is deleted.
    spec: Option<Plan>,
    /// The spec in effect.
    accepted: Option<Plan>,
    document: Option<RoutingConfig>,
    reserved: Option<Timestamp>,
    held: bool,
}

impl SequenceRelease {
    fn claimant(&self) -> Claimant<'_> {
        Claimant {
            wanted: self.spec.as_ref().filter(|_| !self.held),
            live: self.document.as_ref(),
            standing: if self.spec.is_some() {
                ObjectPresence::Here
            } else {
                ObjectPresence::Gone
            },
            reserved: self.reserved,
        }
    }

    fn wants(&self, host: &str) -> bool {
        self.spec
            .as_ref()
            .is_some_and(|spec| is_among(host, &spec.hosts))
    }

    fn has_accepted(&self, host: &str) -> bool {
        self.accepted
            .as_ref()
            .is_some_and(|spec| is_among(host, &spec.hosts))
    }

    fn has(&self, host: &str) -> bool {
        self.document
            .as_ref()
            .is_some_and(|document| is_among(host, &document.hosts))
    }

    fn serves(&self, host: &str) -> bool {
        self.has(host) && !self.is_withdrawn()
    }

    fn is_withdrawn(&self) -> bool {
        self.document
            .as_ref()
            .is_some_and(|document| document.state == ReleaseState::Withdrawn)
    }
}

fn is_among(host: &str, hosts: &[HostPattern]) -> bool {
    hosts.iter().any(|other| other.as_str() == host)
}

fn namespace(at: usize) -> usize {
    at % 2
}

struct SequenceState {
    releases: Vec<SequenceRelease>,
    now: i64,
    /// The straggler time-out of every hand-over is over.
    late: bool,
}

impl SequenceState {
    fn new() -> Self {
        Self {
            releases: (0..RELEASES).map(|_| SequenceRelease::default()).collect(),
            now: 1,
            late: false,
        }
    }

    fn happens(&mut self, what: &SequenceStep) {
        self.now += 1;
        match what {
            SequenceStep::Claim(at, hosts) => self.claim(*at, hosts),
            SequenceStep::Delete(at) => {
                (self.releases[*at].spec, self.releases[*at].accepted) = (None, None)
            }
            SequenceStep::Withdraw(at) => {
                let release = &mut self.releases[*at];
                if let Some(document) = release.document.as_mut().filter(|_| release.spec.is_none())
                {
                    document.state = ReleaseState::Withdrawn;
                    release.reserved = Some(at_second(LATER));
                }
            }
            SequenceStep::Lapse(at, removed) => {
                let release = &mut self.releases[*at];
                release.reserved = None;
                if *removed && release.is_withdrawn() {
                    release.document = None;
                }
            }
            SequenceStep::Hold(at, on) => self.releases[*at].held = *on,
            SequenceStep::Turn(at) => self.turn(*at),
        }
    }

    fn claim(&mut self, at: usize, hosts: &[usize]) {
        let created = self.releases[at]
            .spec
            .as_ref()
            .map_or(self.now, |spec| spec.object.created_at.as_second());
        let hosts: Vec<&str> = hosts.iter().map(|host| HOSTS[*host]).collect();
        let text = format!("n{}/r{at}@{created} {} /", namespace(at), hosts.join(","));
        self.releases[at].spec = Some(plan(&text));
    }

    fn settled(&self) -> Vec<bool> {
        let claimants: Vec<_> = self
            .releases
            .iter()
            .map(SequenceRelease::claimant)
            .collect();
        settle(&claimants).iter().map(Option::is_none).collect()
    }

    /// As an operator gives it: an edit that hands a place over waits, with its own places in the document if it is awaited.
    fn turn(&mut self, at: usize) {
        let Some(wanted) = self.releases[at].claimant().wanted.cloned() else {
            return;
        };
        let taken = self.settled();
        let hands_over = |from: usize, to: usize| {
            let (from, to) = (self.releases[from].claimant(), self.releases[to].claimant());
            from.hands_over(to)
                .map(|(host, _)| host.to_string())
                .collect::<Vec<_>>()
        };
        let others = || (0..RELEASES).filter(|other| *other != at && taken[*other]);
        let waits = taken[at]
            && !self.late
            && others().any(|other| {
                hands_over(at, other)
                    .iter()
                    .any(|host| !self.releases[other].serves(host))
            });
        let awaited = others().any(|other| !hands_over(other, at).is_empty());
        let release = &self.releases[at];
        let in_effect = if taken[at] && !waits {
            Some(wanted.clone())
        } else {
            release.accepted.clone()
        };
        let Some(in_effect) = in_effect else { return };
        let progress = Progress::new(Now::at(at_second(self.now)));
        let mut document = routing_for(&in_effect, &progress, Revision::FIRST, None);
        if waits && awaited {
            let places = (&document.hosts[..], &document.paths[..]);
            (document.hosts, document.paths) =
                union(places, (&wanted.hosts, &wanted.paths)).expect("all have one path");
        }
        document.claims = claims(&document, release.document.as_ref(), at_second(self.now));
        let release = &mut self.releases[at];
        (release.accepted, release.document, release.reserved) =
            (Some(in_effect), Some(document), None);
    }

    /// Who serves a host by what the documents say, as proxies see it.
    fn owner(&self, host: &str) -> Option<usize> {
        self.first(host, |at| self.releases[*at].serves(host))
    }

    /// Whoever of these has had a host for longest.
    fn first(&self, host: &str, which: impl Fn(&usize) -> bool) -> Option<usize> {
        let serving = (0..RELEASES).filter(which);
        let (host, path) = (host.parse().expect("a host"), "/".parse().expect("a path"));
        serving.min_by_key(|at| {
            let document = self.releases[*at].document.as_ref().expect("it serves");
            (
                document.since(&host, &path),
                document.release.created_at,
                *at,
            )
        })
    }
}

/// What has to hold of a host after something has happened.
fn check(before: &SequenceState, after: &SequenceState, host: &str) -> Result<(), TestCaseError> {
    let (was, is) = (before.owner(host), after.owner(host));
    let Some(was) = was.filter(|was| Some(*was) != is) else {
        return Ok(());
    };
    let lost = &after.releases[was];
    // What it has for the time of an exchange alone goes when another edit calls the exchange off.
    let lent = !lost.has_accepted(host);
    prop_assert!(
        !lost.wants(host) || lost.is_withdrawn() || lent,
        "r{was} lost {host} to {is:?}"
    );
    match is {
        // What it may take of a deleted one `gains` says.
        Some(_) => {}
        None if lost.spec.is_none() => {}
        None => {
            // Whoever is accepted only now takes what was given up with nobody to take it.
            let (first, taken) = (before.settled(), after.settled());
            let next = (0..RELEASES).find(|at| {
                *at != was
                    && first[*at]
                    && taken[*at]
                    && after.releases[*at].claimant().wanted.is_some()
                    && after.releases[*at].wants(host)
            });
            prop_assert_eq!(next, None, "nobody serves {} meanwhile", host);
        }
    }
    Ok(())
}

/// What a deleted release has is taken by its namespace alone, and by nobody from one that was created again.
fn gains(
    before: &SequenceState,
    after: &SequenceState,
    at: usize,
    host: &str,
) -> Result<(), TestCaseError> {
    if before.releases[at].has(host) || !after.releases[at].serves(host) {
        return Ok(());
    }
    for (other, left) in before
        .releases
        .iter()
        .enumerate()
        .filter(|(other, left)| *other != at && left.has(host))
    {
        let kept = !left.is_withdrawn() || left.reserved.is_some();
        let foreign = left.spec.is_none() && namespace(other) != namespace(at);
        let again = left.is_withdrawn() && left.wants(host) && !left.held;
        prop_assert!(
            !kept || !foreign,
            "r{at} took {host} of r{other}, which is deleted"
        );
        prop_assert!(
            !kept || !again,
            "r{at} took {host} of r{other}, which is there again"
        );
    }
    Ok(())
}

impl SequenceState {
    fn copy(&self) -> Self {
        let copied = |release: &SequenceRelease| SequenceRelease {
            spec: release.spec.clone(),
            accepted: release.accepted.clone(),
            document: release.document.clone(),
            reserved: release.reserved,
            held: release.held,
        };
        Self {
            releases: self.releases.iter().map(copied).collect(),
            now: self.now,
            late: self.late,
        }
    }

    /// Gives everybody turns until nothing changes. False: it never ends.
    fn comes_to_rest(&mut self) -> bool {
        (0..12).any(|_| {
            let before = self.documents();
            (0..RELEASES).for_each(|at| self.happens(&SequenceStep::Turn(at)));
            before == self.documents()
        })
    }

    fn documents(&self) -> Vec<Option<(Vec<HostPattern>, ReleaseState)>> {
        let said = |document: &RoutingConfig| (document.hosts.clone(), document.state);
        self.releases
            .iter()
            .map(|release| release.document.as_ref().map(said))
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nobody_loses_a_host_but_by_its_own_edit_or_deletion(
        script in prop::collection::vec(happening(), 1..50),
    ) {
        let mut site = SequenceState::new();
        for what in &script {
            let before = site.copy();
            site.happens(what);
            for host in HOSTS {
                check(&before, &site, host)?;
                if let SequenceStep::Turn(at) = what {
                    gains(&before, &site, *at, host)?;
                }
            }
        }
    }

    #[test]
    fn after_a_few_turns_each_host_is_with_one_release_and_nothing_moves_any_more(
        script in prop::collection::vec(happening(), 1..50),
    ) {
        let mut site = SequenceState::new();
        script.iter().for_each(|what| site.happens(what));
        // Releases that were created again may wait for each other, until they have waited for too long.
        for late in [false, true] {
            site.late = late;
            prop_assert!(site.comes_to_rest(), "it goes on and on");
        }
        let taken = site.settled();
        for host in HOSTS {
            let there = |at: &usize| site.releases[*at].spec.is_some() && site.releases[*at].serves(host);
            let owner = site.first(host, there);
            let wants = |at: &usize| taken[*at] && site.releases[*at].claimant().wanted.is_some();
            let accepted: Vec<usize> = (0..RELEASES).filter(there).filter(wants).collect();
            prop_assert!(accepted.iter().all(|at| Some(*at) == owner), "{host} is r{owner:?}'s, not {accepted:?}'s");
        }
    }
}
