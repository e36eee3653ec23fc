//! What the proxies of a fleet have said: which documents each has, how often it was asked in vain, and what was counted
//! since a release last looked. Pure; `report_collector.rs` asks them.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halftone_rollout::observation::{PATIENT_POLLS, ProxyObservation};
use halftone_routing::document::{Checksum, names::Uid, units::Revision};
use halftone_routing::report::baseline::Delta;
use halftone_routing::report::reader::ReportReader;
use halftone_routing::report::{CounterKey, Counts, TrafficReport};
use jiff::Timestamp;
use tokio::time::Instant;

/// A pod of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPod {
    /// Its name.
    pub name: String,
    /// Its uid, which its reports name.
    pub uid: String,
    /// Its addresses, for telling it from a backend.
    pub addresses: Vec<String>,
    /// Where its reports are; none before it has an address.
    pub admin: Option<SocketAddr>,
    /// Its condition `Ready`.
    pub ready: bool,
    /// It has a deletion time.
    pub terminating: bool,
}

impl ProxyPod {
    /// Whether it is asked for reports: ready, or draining.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.ready || self.terminating
    }
}

/// What the latest report says of the proxy itself.
#[derive(Debug, Default)]
struct ReportedState {
    fleet: Option<(Revision, Checksum)>,
    stale: bool,
    features: Arc<[String]>,
}

#[derive(Debug)]
struct ProxyRecord {
    pod: Arc<ProxyPod>,
    polls: u32,
    missed: u32,
    asked_at: Option<Timestamp>,
    told: ReportedState,
    reader: ReportReader,
}

/// The proxies of a fleet.
#[derive(Debug)]
pub struct ProxyRoster {
    proxies: HashMap<String, ProxyRecord>,
    counted: HashMap<Uid, HashMap<CounterKey, Counts>>,
    round_at: Instant,
    news: RosterChanges,
}

/// Whom the proxies have given a reason to take a turn.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RosterChanges {
    /// Every release: proxies have come, gone, fallen silent or learnt something.
    pub everyone: bool,
    /// Those whose document a proxy has taken up, dropped or refused.
    pub documents: BTreeSet<Uid>,
    /// Those for which something was counted.
    pub counted: BTreeSet<Uid>,
}

impl ProxyRoster {
    /// Nobody is known.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            proxies: HashMap::new(),
            counted: HashMap::new(),
            round_at: now,
            news: RosterChanges::default(),
        }
    }

    /// These are the pods of the fleet now. One that becomes ready is a joiner.
    pub fn follow(&mut self, pods: &[Arc<ProxyPod>]) {
        let same = |proxy: &ProxyRecord| pods.contains(&proxy.pod);
        self.news.everyone |= self.proxies.len() != pods.len() || !self.proxies.values().all(same);
        self.proxies
            .retain(|uid, _| pods.iter().any(|pod| pod.uid == *uid));
        for pod in pods {
            match self.proxies.get_mut(&pod.uid) {
                Some(proxy) => {
                    if pod.ready && !proxy.pod.ready {
                        (proxy.polls, proxy.missed) = (0, 0);
                    }
                    proxy.pod = Arc::clone(pod);
                }
                None => {
                    let proxy = ProxyRecord {
                        pod: Arc::clone(pod),
                        polls: 0,
                        missed: 0,
                        asked_at: None,
                        told: ReportedState::default(),
                        reader: ReportReader::new(),
                    };
                    self.proxies.insert(pod.uid.clone(), proxy);
                }
            }
        }
    }

    /// Whether each of these pods that can be asked was asked once, whatever came of it. One that does not answer takes no
    /// longer than a report may.
    #[must_use]
    pub fn has_asked(&self, pods: &[Arc<ProxyPod>]) -> bool {
        let asked = |pod: &Arc<ProxyPod>| {
            self.proxies
                .get(&pod.uid)
                .is_some_and(|proxy| proxy.polls > 0)
        };
        pods.iter()
            .filter(|pod| pod.is_asked() && pod.admin.is_some())
            .all(asked)
    }

    /// What to ask a proxy for.
    #[must_use]
    pub fn since(&self, pod: &str) -> Option<String> {
        let (epoch, sequence) = self.proxies.get(pod)?.reader.since()?;
        Some(format!("{epoch}/{sequence}"))
    }

    /// A proxy has answered what it was asked at `asked_at`.
    pub fn answered(&mut self, pod: &str, report: &TrafficReport, asked_at: Timestamp) {
        let Some(proxy) = self.proxies.get_mut(pod) else {
            return;
        };
        // One that does not follow the last says nothing that can be relied on; the proxy is asked again. If it goes on
        // like that, what is known of it is forgotten, and it is read from the beginning.
        let Some(changes) = proxy.reader.take(report) else {
            if self.missed(pod) >= PATIENT_POLLS
                && let Some(proxy) = self.proxies.get_mut(pod)
            {
                proxy.reader = ReportReader::new();
            }
            return;
        };
        let before = proxy.standing();
        proxy.polls = proxy.polls.saturating_add(1);
        (proxy.missed, proxy.asked_at) = (0, Some(asked_at));
        self.news.everyone |= proxy.standing() != before;
        let told = ReportedState::of(report);
        self.news.everyone |= proxy.told.differs_for_everyone(&told);
        proxy.told = told;
        self.news.documents.extend(changes.documents);
        self.count(changes.counts);
    }

    fn count(&mut self, delta: Delta) {
        for (key, counts) in delta {
            self.news.counted.insert(key.uid.clone());
            self.counted
                .entry(key.uid.clone())
                .or_default()
                .entry(key)
                .or_default()
                .merge(&counts);
        }
    }

    /// A proxy has not answered, so many times in a row by now.
    pub fn missed(&mut self, pod: &str) -> u32 {
        let Some(proxy) = self.proxies.get_mut(pod) else {
            return 0;
        };
        let before = proxy.standing();
        proxy.polls = proxy.polls.saturating_add(1);
        proxy.missed = proxy.missed.saturating_add(1);
        self.news.everyone |= proxy.standing() != before;
        proxy.missed
    }

    /// Whom anything since the last time concerns.
    pub fn news(&mut self) -> RosterChanges {
        std::mem::take(&mut self.news)
    }

    /// A round of asking is over. What is counted for objects that nobody looks after is dropped.
    pub fn end_round(&mut self, now: Instant, is_looked_after: impl Fn(&Uid) -> bool) {
        self.round_at = now;
        self.counted.retain(|uid, _| is_looked_after(uid));
    }

    /// When the latest round was over.
    #[must_use]
    pub fn round_at(&self) -> Instant {
        self.round_at
    }

    /// What was counted for a release in the rounds since `since`, and how long they took together. None if there was
    /// no round. What is taken and not used has to be given back.
    pub fn take(&mut self, uid: &Uid, since: Instant) -> Option<(Duration, Delta)> {
        let took = self
            .round_at
            .checked_duration_since(since)
            .filter(|took| !took.is_zero())?;
        Some((
            took,
            self.counted
                .remove(uid)
                .unwrap_or_default()
                .into_iter()
                .collect(),
        ))
    }

    /// What was taken could not be used.
    pub fn give_back(&mut self, delta: Delta) {
        self.count(delta);
    }

    /// The proxies as a release sees them, by name.
    #[must_use]
    pub fn seen(&self, uid: &Uid) -> Vec<ProxyObservation> {
        let mut seen: Vec<ProxyObservation> =
            self.proxies.values().map(|proxy| proxy.seen(uid)).collect();
        seen.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        seen
    }

    /// The highest revision of an object's document that any report names; 0 without any.
    #[must_use]
    pub fn highest_revision(&self, uid: &Uid) -> u64 {
        let applied = self
            .proxies
            .values()
            .filter_map(|proxy| proxy.reader.documents().applied(uid));
        applied
            .map(|applied| applied.revision.get())
            .max()
            .unwrap_or(0)
    }

    /// The highest revision of the fleet's settings that any report names; 0 without any.
    #[must_use]
    pub fn highest_fleet_revision(&self) -> u64 {
        let revisions = self
            .proxies
            .values()
            .filter_map(|proxy| proxy.told.fleet.as_ref());
        revisions
            .map(|(revision, _)| revision.get())
            .max()
            .unwrap_or(0)
    }

    /// The ready proxies that do not have these settings of the fleet.
    #[must_use]
    pub fn lacking_fleet(&self, revision: Revision, checksum: &Checksum) -> Vec<String> {
        let has =
            |proxy: &&ProxyRecord| proxy.told.fleet.as_ref() == Some(&(revision, checksum.clone()));
        let counting = self
            .proxies
            .values()
            .filter(|proxy| proxy.pod.ready && !proxy.pod.terminating);
        let mut lacking: Vec<String> = counting
            .filter(|proxy| !has(proxy))
            .map(|proxy| proxy.pod.name.clone())
            .collect();
        lacking.sort_unstable();
        lacking
    }
}

impl ReportedState {
    fn of(report: &TrafficReport) -> Self {
        Self {
            fleet: report
                .fleet
                .as_ref()
                .map(|fleet| (fleet.revision, fleet.checksum.clone())),
            stale: report.stale,
            features: report.features.as_slice().into(),
        }
    }

    fn differs_for_everyone(&self, other: &Self) -> bool {
        (self.stale, &self.features) != (other.stale, &other.features)
    }
}

impl ProxyRecord {
    /// Joiner or not, silent or not.
    fn standing(&self) -> (bool, bool) {
        (self.polls < PATIENT_POLLS, self.missed >= PATIENT_POLLS)
    }

    fn seen(&self, uid: &Uid) -> ProxyObservation {
        ProxyObservation {
            name: self.pod.name.clone(),
            ready: self.pod.ready,
            terminating: self.pod.terminating,
            polls: self.polls,
            missed: self.missed,
            asked_at: self.asked_at,
            applied: self.reader.documents().applied(uid).cloned(),
            rejected: self.reader.documents().rejected(uid).map(str::to_owned),
            stale: self.told.stale,
            features: Arc::clone(&self.told.features),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pod(name: &str, ready: bool) -> Arc<ProxyPod> {
        Arc::new(ProxyPod {
            name: name.into(),
            uid: format!("uid-{name}"),
            addresses: Vec::new(),
            admin: None,
            ready,
            terminating: false,
        })
    }

    fn uid() -> Uid {
        "7c1f".parse().unwrap()
    }

    /// So many requests of the release, all in all.
    fn report(pod: &str, sequence: u64, requests: u64) -> TrafficReport {
        let key = json!({"uid": "7c1f", "release": "00000000000000aa", "stage": 1, "arm": "gray", "chosenBy": "Split"});
        let mut entry = key.clone();
        entry["outcomes"] = json!({"2xx": requests});
        let report = json!({
            "instance": format!("uid-{pod}"), "epoch": "0000000000000001", "sequence": sequence, "version": "0",
            "applied": [{"uid": "7c1f", "revision": 3, "checksum": format!("sha256:{}", "0".repeat(64))}],
            "keys": [key], "entries": [entry],
        });
        TrafficReport::parse(report.to_string().as_bytes()).unwrap()
    }

    fn requests(delta: &Delta) -> u64 {
        delta.iter().map(|(_, counts)| counts.requests()).sum()
    }

    #[test]
    fn counts_are_handed_over_once_and_wait_for_who_could_not_use_them() {
        let start = Instant::now();
        let mut roster = ProxyRoster::new(start);
        roster.follow(&[pod("a", true), pod("b", true)]);
        let poll = |roster: &mut ProxyRoster, at: u64, counts: [u64; 2]| {
            for (pod, count) in ["a", "b"].into_iter().zip(counts) {
                roster.answered(
                    &format!("uid-{pod}"),
                    &report(pod, at, count),
                    Timestamp::UNIX_EPOCH,
                );
            }
            roster.end_round(
                start + SECOND.saturating_mul(u32::try_from(at).unwrap()),
                |_| true,
            );
        };
        poll(&mut roster, 1, [100, 100]);
        poll(&mut roster, 2, [110, 105]);
        let (took, delta) = roster.take(&uid(), start).unwrap();
        assert_eq!((took, requests(&delta)), (2 * SECOND, 15));
        roster.give_back(delta);
        poll(&mut roster, 3, [111, 105]);
        let (took, delta) = roster.take(&uid(), start).unwrap();
        assert_eq!((took, requests(&delta)), (3 * SECOND, 16));
        assert_eq!(
            roster.take(&uid(), start + 3 * SECOND),
            None,
            "no round since"
        );
        poll(&mut roster, 4, [111, 105]);
        assert_eq!(
            requests(&roster.take(&uid(), start + 3 * SECOND).unwrap().1),
            0
        );
    }

    #[test]
    fn everyone_was_asked_once_each_has_answered_or_let_its_time_pass() {
        let at = |name| {
            Arc::new(ProxyPod {
                admin: Some(SocketAddr::from(([10, 0, 0, 1], 8081))),
                ..ProxyPod::clone(&pod(name, true))
            })
        };
        let pods = [
            at("a"),
            at("b"),
            pod("without-address", true),
            pod("unready", false),
        ];
        let mut roster = ProxyRoster::new(Instant::now());
        assert!(roster.has_asked(&pods[2..]), "nobody can be asked");
        assert!(!roster.has_asked(&pods), "not known yet");
        roster.follow(&pods);
        roster.answered("uid-a", &report("a", 1, 0), Timestamp::UNIX_EPOCH);
        assert!(!roster.has_asked(&pods));
        roster.missed("uid-b");
        assert!(roster.has_asked(&pods));
    }

    #[test]
    fn documents_that_a_report_does_not_name_have_not_changed() {
        let mut roster = ProxyRoster::new(Instant::now());
        roster.follow(&[pod("a", true)]);
        roster.answered("uid-a", &report("a", 1, 5), Timestamp::UNIX_EPOCH);
        assert_eq!(roster.news().documents, BTreeSet::from([uid()]));
        let at_rest = json!({
            "instance": "uid-a", "epoch": "0000000000000001", "sequence": 1, "since": 1, "version": "0",
        });
        let at_rest = TrafficReport::parse(at_rest.to_string().as_bytes()).unwrap();
        roster.answered("uid-a", &at_rest, Timestamp::UNIX_EPOCH);
        assert!(roster.news().documents.is_empty());
        assert_eq!(roster.highest_revision(&uid()), 3);
        let mut dropped = at_rest;
        (dropped.sequence, dropped.dropped) = (2, vec![uid()]);
        roster.answered("uid-a", &dropped, Timestamp::UNIX_EPOCH);
        assert_eq!(roster.news().documents, BTreeSet::from([uid()]));
        assert_eq!(roster.highest_revision(&uid()), 0);
    }

    #[test]
    fn a_proxy_that_becomes_ready_again_is_a_joiner_again() {
        let mut roster = ProxyRoster::new(Instant::now());
        roster.follow(&[pod("a", true)]);
        for sequence in 1..4 {
            roster.answered("uid-a", &report("a", sequence, 0), Timestamp::UNIX_EPOCH);
        }
        let seen = roster.seen(&uid());
        assert!(!seen[0].is_joiner());
        assert_eq!(
            seen[0]
                .applied
                .as_ref()
                .map(|applied| applied.revision.get()),
            Some(3)
        );
        roster.follow(&[pod("a", false)]);
        roster.follow(&[pod("a", true)]);
        assert!(roster.seen(&uid())[0].is_joiner());
    }

    #[test]
    fn who_does_not_answer_falls_silent_until_it_does() {
        let mut roster = ProxyRoster::new(Instant::now());
        roster.follow(&[pod("a", true)]);
        assert_eq!([(); 3].map(|()| roster.missed("uid-a")), [1, 2, 3]);
        assert!(roster.seen(&uid())[0].is_silent());
        roster.answered("uid-a", &report("a", 1, 0), Timestamp::UNIX_EPOCH);
        assert!(!roster.seen(&uid())[0].is_silent());
        roster.follow(&[]);
        assert!(roster.seen(&uid()).is_empty());
        assert_eq!(roster.highest_revision(&uid()), 0);
    }

    #[test]
    fn whoever_may_sleep_is_told_of_what_concerns_it_and_of_nothing_else() {
        let mut roster = ProxyRoster::new(Instant::now());
        let nobody = RosterChanges::default;
        let everyone = || RosterChanges {
            everyone: true,
            ..nobody()
        };
        let answer = |sequence| report("a", sequence, sequence);
        let mut news =
            |what: &str, expected: RosterChanges, change: &mut dyn FnMut(&mut ProxyRoster)| {
                change(&mut roster);
                assert_eq!(roster.news(), expected, "{what}");
            };
        let at = Timestamp::UNIX_EPOCH;
        let (documents, counted) = (BTreeSet::from([uid()]), BTreeSet::from([uid()]));
        news("a pod", everyone(), &mut |roster| {
            roster.follow(&[pod("a", true)])
        });
        news("the same pod", nobody(), &mut |roster| {
            roster.follow(&[pod("a", true)])
        });
        news(
            "its documents",
            RosterChanges {
                documents,
                ..nobody()
            },
            &mut |roster| roster.answered("uid-a", &answer(1), at),
        );
        news(
            "requests",
            RosterChanges {
                counted: counted.clone(),
                ..nobody()
            },
            &mut |roster| roster.answered("uid-a", &answer(2), at),
        );
        news(
            "no joiner now",
            RosterChanges {
                counted: counted.clone(),
                ..everyone()
            },
            &mut |roster| roster.answered("uid-a", &answer(3), at),
        );
        news("one miss", nobody(), &mut |roster| {
            roster.missed("uid-a");
        });
        news("silence", everyone(), &mut |roster| {
            (0..2).for_each(|_| assert!(roster.missed("uid-a") > 1));
        });
        news(
            "its return",
            RosterChanges {
                counted,
                ..everyone()
            },
            &mut |roster| roster.answered("uid-a", &answer(4), at),
        );
        news("not ready", everyone(), &mut |roster| {
            roster.follow(&[pod("a", false)])
        });
        news("no pod", everyone(), &mut |roster| roster.follow(&[]));
    }

    #[test]
    fn counts_of_what_nobody_looks_after_are_dropped() {
        let start = Instant::now();
        let mut roster = ProxyRoster::new(start);
        roster.follow(&[pod("a", true)]);
        roster.answered("uid-a", &report("a", 1, 1), Timestamp::UNIX_EPOCH);
        roster.answered("uid-a", &report("a", 2, 5), Timestamp::UNIX_EPOCH);
        roster.end_round(start + SECOND, |_| false);
        assert_eq!(requests(&roster.take(&uid(), start).unwrap().1), 0);
    }
}
