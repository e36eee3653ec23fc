//! A scripted world around `advance`: virtual time, proxies, endpoints, traffic, a stored status and a live
//! document. It does what a shell does, in the order in which a shell does it.

use std::{sync::Arc, time::Duration};

use halftone_api::{
    GrayRelease, GrayReleaseStatus, Obstacle, Plan,
    spec::{HandledRequest, Phase, RequestResult},
};
use halftone_rollout::{
    advance::{AdvanceResult, advance, refuse},
    clock::Now,
    command_request::{CommandRequest, ReleaseCommand},
    events::{Event, EventReason},
    judge::{ArmBatch, LatencyCounts, RequestCounts},
    observation::{Observation, PlaceHandOver, ProxyObservation, Round},
    progress::Progress,
};
use halftone_routing::document::{self, RoutingConfig};
use halftone_routing::report::documents::DocumentVersion;
use halftone_routing::sketch::UserSketch;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::audit::{Audit, AuditedTurn};

/// A Saturday, noon in UTC.
pub(crate) const START: &str = "2026-11-21T12:00:00Z";

/// One proxy of the fleet.
#[derive(Clone, Debug)]
pub(crate) struct ModelProxy {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    /// Takes no document.
    pub(crate) deaf: bool,
    /// Answers no poll.
    pub(crate) silent: bool,
    pub(crate) stale: bool,
    pub(crate) polls: u32,
    pub(crate) missed: u32,
    /// What it knows beyond what schema 1 began with.
    pub(crate) features: Arc<[String]>,
    document: Option<Arc<RoutingConfig>>,
    told: Option<DocumentVersion>,
    asked_at: Option<Timestamp>,
}

impl ModelProxy {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ready: true,
            terminating: false,
            deaf: false,
            silent: false,
            stale: false,
            polls: 0,
            missed: 0,
            features: Arc::default(),
            document: None,
            told: None,
            asked_at: None,
        }
    }

    fn poll(&mut self, at: Timestamp) {
        self.polls += 1;
        if self.silent {
            self.missed += 1;
            return;
        }
        self.missed = 0;
        self.asked_at = Some(at);
        self.told = self.document.as_ref().map(|document| DocumentVersion {
            revision: document.revision,
            checksum: document.checksum.clone().expect("a sealed document"),
        });
    }

    fn seen(&self) -> ProxyObservation {
        ProxyObservation {
            name: self.name.clone(),
            ready: self.ready,
            terminating: self.terminating,
            polls: self.polls,
            missed: self.missed,
            asked_at: self.asked_at,
            applied: self.told.clone(),
            rejected: None,
            stale: self.stale,
            features: Arc::clone(&self.features),
        }
    }
}

/// What an installation keeps of a release that it has handed over.
pub(crate) struct PreviousInstallation {
    live: Option<Arc<RoutingConfig>>,
    accepted: Option<Value>,
    proxies: Vec<ModelProxy>,
}

/// Requests and how they fare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelTraffic {
    /// Requests a second with an identity.
    pub(crate) rps: f64,
    /// Share of gray's requests that are errors.
    pub(crate) gray_errors: f64,
    /// Share of gray's requests that take longer than its first latency limit.
    pub(crate) gray_slow: f64,
    /// Share of stable's requests that are errors.
    pub(crate) stable_errors: f64,
    /// Requests a second without identity, to stable until it is promoted.
    pub(crate) anonymous: f64,
}

/// Adds up shares without chance: after n requests the parts are right to within one.
#[derive(Clone, Copy, Debug, Default)]
struct Carry(f64);

impl Carry {
    fn take(&mut self, amount: f64) -> u64 {
        self.0 += amount;
        let whole = self.0.floor().max(0.0);
        self.0 -= whole;
        whole as u64
    }
}

pub(crate) struct ModelWorld {
    pub(crate) spec: Value,
    pub(crate) plan: Arc<Plan>,
    /// The spec makes no plan.
    pub(crate) broken: Option<Obstacle>,
    pub(crate) generation: i64,
    pub(crate) uid: String,
    pub(crate) progress: Progress,
    /// What is stored: all that a restart has, beside the live document.
    pub(crate) status: GrayReleaseStatus,
    /// The spec that is in effect, stored with the document.
    pub(crate) accepted: Option<Value>,
    pub(crate) live: Option<Arc<RoutingConfig>>,
    pub(crate) predecessor: Option<Arc<RoutingConfig>>,
    pub(crate) proxies: Vec<ModelProxy>,
    pub(crate) steady: Timestamp,
    pub(crate) wall: Timestamp,
    pub(crate) traffic: ModelTraffic,
    pub(crate) stable_endpoints: usize,
    pub(crate) gray_endpoints: usize,
    /// What the stable arm of an edit has before it is taken, where that is not what the present one has.
    pub(crate) edited_stable_endpoints: Option<usize>,
    pub(crate) refusal: Option<Obstacle>,
    pub(crate) unresolved: Option<Obstacle>,
    pub(crate) unspoken: Option<String>,
    pub(crate) unprogrammed: Option<String>,
    /// Whom failures of gray reach, each round anew.
    pub(crate) failed_users: UserSketch,
    pub(crate) unwritable: Option<String>,
    pub(crate) unreadable: Option<String>,
    pub(crate) handing_over: Option<PlaceHandOver>,
    pub(crate) taking_over: Option<String>,
    pub(crate) highest_revision: u64,
    pub(crate) request: Option<String>,
    /// Requests a second, beside the others, of users who are all on stable.
    pub(crate) heavy_stable_users: f64,
    /// Requests a second that reach stable in a promoted release.
    pub(crate) stray_to_stable: f64,
    /// Requests a second that a rule sends to gray, judged by `health.include`.
    pub(crate) by_rule: f64,
    pub(crate) events: Vec<Event>,
    /// Each ratio that went live, with the seconds at which it did.
    pub(crate) ratios: Vec<(f64, String)>,
    pub(crate) last_turn: Option<AdvanceResult>,
    audit: Audit,
    start: Timestamp,
    carries: [Carry; 9],
    fresh_process: bool,
    wake_after: Duration,
    kill_before_apply: bool,
    /// The live document is from before a hand-over: another installation's has served since.
    served_elsewhere: bool,
    /// The revision from which on this installation has the release.
    since: u64,
}

impl ModelWorld {
    /// The least release, its steps held for a minute each, with `changes` merged into its spec.
    pub(crate) fn new(changes: &str) -> Self {
        let start: Timestamp = START.parse().unwrap();
        let spec = json!({
            "hosts": ["shop.example.com"],
            "stable": {"service": {"name": "checkout-v1", "port": 80}, "version": "v1"},
            "gray": {"service": {"name": "checkout-v2", "port": 80}, "version": "v2"},
            "targetRatio": 100,
            "steps": [{"ratio": 10, "hold": "1m"}, {"ratio": 50, "hold": "1m"}, {"ratio": 100, "hold": "1m"}],
        });
        let spec = merge(spec, yaml(changes));
        let plan = plan(&spec, "uid-1", 1).unwrap();
        let now = Now::at(start);
        Self {
            spec,
            plan,
            broken: None,
            generation: 1,
            uid: "uid-1".into(),
            progress: Progress::new(now),
            status: GrayReleaseStatus::default(),
            accepted: None,
            live: None,
            predecessor: None,
            proxies: vec![ModelProxy::new("proxy-a"), ModelProxy::new("proxy-b")],
            steady: start,
            wall: start,
            traffic: ModelTraffic {
                rps: 200.0,
                gray_errors: 0.0,
                gray_slow: 0.0,
                stable_errors: 0.0,
                anonymous: 0.0,
            },
            stable_endpoints: 2,
            gray_endpoints: 2,
            edited_stable_endpoints: None,
            refusal: None,
            unresolved: None,
            unspoken: None,
            unprogrammed: None,
            failed_users: UserSketch::default(),
            unwritable: None,
            unreadable: None,
            handing_over: None,
            taking_over: None,
            highest_revision: 0,
            request: None,
            heavy_stable_users: 0.0,
            stray_to_stable: 0.0,
            by_rule: 0.0,
            events: Vec::new(),
            ratios: Vec::new(),
            last_turn: None,
            audit: Audit::default(),
            start,
            carries: Default::default(),
            fresh_process: true,
            wake_after: Duration::ZERO,
            kill_before_apply: false,
            served_elsewhere: false,
            since: 0,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            steady: self.steady,
            wall: self.wall,
        }
    }

    /// Seconds since the world began, by the steady clock.
    pub(crate) fn seconds(&self) -> f64 {
        self.steady.duration_since(self.start).as_secs_f64()
    }

    /// Lets time pass, turn by turn.
    pub(crate) fn run(&mut self, time: &str) -> &mut Self {
        let until = self.steady + duration(time);
        while self.steady < until {
            let left = Duration::try_from(until.duration_since(self.steady)).unwrap();
            self.tick(self.wake_after.min(left).max(Duration::from_millis(1)));
        }
        self
    }

    /// Lets time pass until something is so.
    pub(crate) fn run_until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) -> &mut Self {
        for _ in 0..30_000 {
            if so(self) {
                return self;
            }
            self.tick(self.wake_after.max(Duration::from_millis(1)));
        }
        panic!("never {what}; phase {:?}", self.phase());
    }

    pub(crate) fn run_until_ratio(&mut self, ratio: &str) -> &mut Self {
        self.run_until(ratio, |world| world.ratio() == ratio)
    }

    pub(crate) fn run_until_phase(&mut self, phase: Phase) -> &mut Self {
        self.run_until("in the phase", |world| world.phase() == phase)
    }

    /// One interval of traffic, one poll, one turn.
    pub(crate) fn tick(&mut self, passes: Duration) {
        let round = self.serve(passes.as_secs_f64());
        let passes = SignedDuration::try_from(passes).unwrap();
        self.steady += passes;
        self.wall += passes;
        for proxy in &mut self.proxies {
            proxy.poll(self.steady);
        }
        // A new process takes the first answers as its baseline.
        let round = round.filter(|_| !std::mem::take(&mut self.fresh_process));
        self.turn(round);
    }

    /// A turn without a poll, as after an edit or a request.
    pub(crate) fn look(&mut self) -> &mut Self {
        self.turn(None);
        self
    }

    fn turn(&mut self, round: Option<Round>) {
        let seen = self.observation(round);
        let now = self.now();
        let before = self.progress.clone();
        let turn = match &self.broken {
            None => advance(&self.plan, &self.progress, &seen, now),
            Some(obstacle) => refuse(obstacle, &self.progress, &seen, now),
        };
        let ratio = turn.routing.as_ref().map(|routing| routing.ratio);
        let moves = ratio != self.live.as_ref().map(|live| live.ratio);
        let killed =
            moves && self.unwritable.is_none() && std::mem::take(&mut self.kill_before_apply);
        let what = AuditedTurn {
            plan: &self.plan,
            before: &before,
            live: self.live.as_deref().filter(|_| !self.served_elsewhere),
            seen: &seen,
            now,
            turn: &turn,
            broken: self.broken.is_some(),
        };
        self.audit.check(&what);
        if killed {
            self.audit.killed(&what);
        } else {
            self.audit.applied(&what);
        }
        self.wake_after = turn.wake_after;
        self.progress = turn.progress.clone();
        if self.unwritable.is_none() {
            self.status = self.progress.status();
        }
        self.events.extend(turn.events.iter().cloned());
        if killed {
            self.last_turn = Some(turn);
            self.restart();
            return;
        }
        self.apply(&turn);
        self.last_turn = Some(turn);
    }

    fn apply(&mut self, turn: &AdvanceResult) {
        if turn.takes(&self.plan) && self.broken.is_none() && self.unwritable.is_none() {
            self.accepted = Some(self.spec.clone());
        }
        if let Some(routing) = &turn.routing {
            self.served_elsewhere = false;
            let ratio = routing.ratio.to_string();
            if self.ratios.last().is_none_or(|(_, last)| *last != ratio) {
                self.ratios.push((self.seconds(), ratio));
            }
            self.live = Some(Arc::clone(routing));
        }
        for proxy in self.proxies.iter_mut().filter(|proxy| !proxy.deaf) {
            proxy.document = self.live.clone().or(proxy.document.take());
        }
        if let Some(uid) = turn.replaced()
            && self
                .predecessor
                .as_ref()
                .is_some_and(|old| old.release.uid == *uid)
        {
            self.predecessor = None;
        }
    }

    pub(crate) fn observation(&self, round: Option<Round>) -> Observation {
        let edited = self
            .edited_stable_endpoints
            .unwrap_or(self.stable_endpoints);
        let mut endpoints = vec![(self.plan.stable.backend.clone(), edited)];
        endpoints.extend(
            self.plan
                .gray
                .as_ref()
                .map(|gray| (gray.arm.backend.clone(), self.gray_endpoints)),
        );
        if let Some(plan) = self.progress.plan() {
            endpoints.push((plan.stable.backend.clone(), self.stable_endpoints));
            endpoints.extend(
                plan.gray
                    .as_ref()
                    .map(|gray| (gray.arm.backend.clone(), self.gray_endpoints)),
            );
        }
        Observation {
            generation: self.generation,
            refusal: self.refusal.clone(),
            unresolved: self.unresolved.clone(),
            unwritable: self.unwritable.clone(),
            proxies: self.proxies.iter().map(ModelProxy::seen).collect(),
            endpoints,
            document: self
                .live
                .clone()
                .filter(|live| live.release.uid.as_str() == self.uid),
            since: self.since,
            predecessor: self.predecessor.clone(),
            unreadable: self.unreadable.clone(),
            highest_revision: self.highest_revision,
            round,
            request: self.request.clone(),
            handing_over: self.handing_over.clone(),
            taking_over: self.taking_over.clone(),
            taken_over: false,
            lacking: vec![(
                self.plan.stable.backend.clone(),
                "Service checkout-v1 has no endpoints".into(),
            )],
            unspoken: self.unspoken.clone(),
            unprogrammed: self.unprogrammed.clone(),
            status_unreadable: None,
            fleet: Default::default(),
        }
    }

    /// Serves requests under the document that the first proxy has.
    fn serve(&mut self, seconds: f64) -> Option<Round> {
        let document = self
            .proxies
            .iter()
            .find_map(|proxy| proxy.document.clone())?;
        let ModelTraffic {
            rps,
            gray_errors,
            gray_slow,
            stable_errors,
            anonymous,
        } = self.traffic;
        let share = if document.force.is_some() {
            0.0
        } else {
            document.ratio.fraction()
        };
        let split = if document.force.is_some() {
            0.0
        } else {
            rps * seconds
        };
        let gray = self.carries[0].take(split * share);
        let stable =
            self.carries[1].take(split * (1.0 - share) + self.heavy_stable_users * seconds);
        let stray = self.carries[5].take(self.stray_to_stable * seconds);
        let gray_bad = self.carries[2].take(gray as f64 * gray_errors).min(gray);
        let stable_bad = self.carries[3]
            .take(stable as f64 * stable_errors)
            .min(stable);
        let missing = self.carries[4].take(anonymous * seconds);
        let to_stable = if document.state == document::ReleaseState::Promoted {
            0
        } else {
            missing
        };
        let over = self.carries[6].take(gray as f64 * gray_slow).min(gray);
        let arm = |requests, errors, over| {
            let counts = RequestCounts {
                requests,
                errors,
                client_errors: 0,
            };
            let latency = vec![LatencyCounts {
                within: requests - over,
                over,
            }];
            ArmBatch {
                judged: counts,
                split: counts,
                latency,
                ..ArmBatch::default()
            }
        };
        let mut to_gray = arm(gray, gray_bad, over);
        if document.state == document::ReleaseState::Active {
            let ruled = self.carries[7].take(self.by_rule * seconds);
            let errors = self.carries[8].take(ruled as f64 * gray_errors).min(ruled);
            to_gray.judged.requests += ruled;
            to_gray.judged.errors += errors;
        }
        Some(Round {
            seconds,
            release: document.release.id,
            stage: document.stage,
            gray: to_gray,
            stable: arm(stable, stable_bad, 0),
            reached_stable: stable + to_stable + stray,
            failed_users: self.failed_users.clone(),
        })
    }

    /// Merges changes into the spec, null removing, and takes a turn.
    pub(crate) fn edit(&mut self, changes: &str) -> &mut Self {
        self.write(changes).look()
    }

    /// The same without a turn.
    pub(crate) fn write(&mut self, changes: &str) -> &mut Self {
        self.spec = merge(self.spec.take(), yaml(changes));
        self.generation += 1;
        match plan(&self.spec, &self.uid, self.generation) {
            Ok(plan) => (self.plan, self.broken) = (plan, None),
            Err(message) => self.broken = Some(Obstacle::new("Invalid", message)),
        }
        self
    }

    /// Asks for something with the present token, as the command line does, and returns the answer.
    pub(crate) fn ask(&mut self, command: ReleaseCommand) -> HandledRequest {
        let token = self.progress.request_token().to_owned();
        self.ask_as(&CommandRequest::new(command, token).to_string())
    }

    pub(crate) fn ask_as(&mut self, request: &str) -> HandledRequest {
        self.request = Some(request.to_owned());
        self.look();
        self.status.last_handled_request.clone().expect("an answer")
    }

    pub(crate) fn must(&mut self, command: ReleaseCommand) -> &mut Self {
        let answer = self.ask(command);
        assert_eq!(answer.result, RequestResult::Done, "{}", answer.message);
        self
    }

    /// Both clocks are turned, as while no process runs.
    pub(crate) fn turn_clocks(&mut self, by: SignedDuration) -> &mut Self {
        self.steady += by;
        self.wall += by;
        self.audit.forget();
        self.restart()
    }

    /// Kill -9 and a new start, from what is stored.
    pub(crate) fn restart(&mut self) -> &mut Self {
        let accepted = self
            .accepted
            .as_ref()
            .map(|spec| plan(spec, &self.uid, self.generation).unwrap());
        self.progress =
            Progress::restore(&self.status, accepted, self.now()).expect("our own status");
        self.fresh_process = true;
        self.wake_after = Duration::ZERO;
        self
    }

    /// The next status with another ratio is written, and its document not applied before a restart.
    pub(crate) fn kill_before_next_apply(&mut self) -> &mut Self {
        self.kill_before_apply = true;
        self
    }

    /// Every proxy takes this document and tells so.
    pub(crate) fn serve_document(&mut self, document: &Arc<RoutingConfig>) {
        for proxy in &mut self.proxies {
            proxy.document = Some(Arc::clone(document));
            proxy.poll(self.steady);
        }
    }

    /// Another object of the same namespace and name takes its place.
    pub(crate) fn recreate(&mut self, changes: &str) -> &mut Self {
        let earlier = self
            .uid
            .strip_prefix("uid-")
            .and_then(|number| number.parse::<u32>().ok());
        self.uid = format!("uid-{}", earlier.unwrap_or_default() + 1);
        self.since = 0;
        self.generation = 0;
        self.status = GrayReleaseStatus::default();
        self.accepted = None;
        if let Some(live) = self.live.take() {
            self.predecessor = Some(live);
        }
        self.audit = Audit::default();
        self.write(changes).restart()
    }

    /// Another installation takes over: it has the status, its own proxies, and no document. Returns what this one leaves.
    pub(crate) fn hand_over(&mut self) -> PreviousInstallation {
        let proxies = vec![ModelProxy::new("other-a"), ModelProxy::new("other-b")];
        let left = PreviousInstallation {
            live: self.live.take(),
            accepted: self.accepted.take(),
            proxies: std::mem::replace(&mut self.proxies, proxies),
        };
        self.audit = Audit::default();
        self.restart();
        left
    }

    /// The installation before has it back, with the document that it had; with its spec, if that is still in effect.
    pub(crate) fn hand_back(&mut self, left: PreviousInstallation) -> &mut Self {
        self.accepted = left
            .accepted
            .filter(|spec| Some(spec) == self.accepted.as_ref());
        (self.live, self.predecessor) = match left.live {
            Some(live) if live.release.uid.as_str() != self.uid => (None, Some(live)),
            live => (live, None),
        };
        self.proxies = left.proxies;
        (self.audit, self.served_elsewhere) = (Audit::default(), true);
        self.since = self
            .status
            .revision
            .unwrap_or_default()
            .try_into()
            .expect("our own status");
        self.restart()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.progress.phase()
    }

    pub(crate) fn ratio(&self) -> String {
        self.live
            .as_ref()
            .map_or_else(String::new, |live| live.ratio.to_string())
    }

    pub(crate) fn live(&self) -> &RoutingConfig {
        self.live.as_ref().expect("a live document")
    }

    /// The ratios that went live, in order.
    pub(crate) fn path(&self) -> Vec<&str> {
        self.ratios
            .iter()
            .map(|(_, ratio)| ratio.as_str())
            .collect()
    }

    pub(crate) fn count(&self, reason: EventReason) -> usize {
        self.events
            .iter()
            .filter(|event| event.reason == reason)
            .count()
    }

    /// The same of a request, and a condition, while nothing can be written.
    pub(crate) fn ask_now(&mut self, command: ReleaseCommand) -> HandledRequest {
        self.request =
            Some(CommandRequest::new(command, self.progress.request_token()).to_string());
        self.look();
        self.progress
            .status()
            .last_handled_request
            .expect("an answer")
    }

    pub(crate) fn condition_now(&mut self, kind: &str) -> String {
        self.status = self.progress.status();
        self.condition(kind)
    }

    /// A condition as `status/reason`, or `-` if it is not there.
    pub(crate) fn condition(&self, kind: &str) -> String {
        let found = self
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind);
        found.map_or_else(
            || "-".into(),
            |found| format!("{}/{}", found.status, found.reason),
        )
    }

    pub(crate) fn message(&self, kind: &str) -> &str {
        let found = self
            .status
            .conditions
            .iter()
            .find(|condition| condition.type_ == kind);
        found.map_or("", |found| &found.message)
    }
}

pub(crate) fn duration(text: &str) -> SignedDuration {
    let length = halftone_api::duration::parse(text)
        .expect("a duration")
        .duration();
    SignedDuration::try_from(length).unwrap()
}

fn yaml(text: &str) -> Value {
    if text.trim().is_empty() {
        json!({})
    } else {
        serde_saphyr::from_str(text).expect("YAML in a test")
    }
}

/// Changes of objects go in by field; null removes; anything else is replaced.
fn merge(base: Value, changes: Value) -> Value {
    match (base, changes) {
        (Value::Object(mut base), Value::Object(changes)) => {
            for (key, change) in changes {
                let old = base.remove(&key).unwrap_or(Value::Null);
                if !change.is_null() {
                    base.insert(key, merge(old, change));
                }
            }
            Value::Object(base)
        }
        (_, change) => change,
    }
}

fn plan(spec: &Value, uid: &str, generation: i64) -> Result<Arc<Plan>, String> {
    let object = json!({
        "apiVersion": "halftone.dev/v1alpha1",
        "kind": "GrayRelease",
        "metadata": {
            "namespace": "shop", "name": "checkout", "uid": uid, "generation": generation,
            "creationTimestamp": START,
        },
        "spec": spec,
    });
    let release: GrayRelease = serde_json::from_value(object).map_err(|error| error.to_string())?;
    Plan::try_from(&release)
        .map(Arc::new)
        .map_err(|problems| problems.to_string())
}
