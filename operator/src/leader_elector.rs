//! The Lease of a fleet: read, written and told of; `leader_election.rs` decides.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api_client::in_time;
use crate::clock::Clock;
use crate::error::Error;
use crate::leader_election::{LeaderElection, LeaderRole, LeaseAction, LeaseRecord, LeaseTiming};
use crate::leader_mandate::LeaderTerm;
use crate::metrics::Metrics;
use crate::names;
use crate::objects::FleetRef;
use crate::ownership::{ClassOwner, Ownership, OwnershipTally};

/// One candidate for one fleet.
pub struct LeaderElector {
    api: Api<Lease>,
    fleet: FleetRef,
    identity: String,
    election: LeaderElection,
    timing: LeaseTiming,
    /// The Lease as it was last read or written: what others have put into it stays.
    lease: Option<Lease>,
    clock: Clock,
    terms: watch::Sender<LeaderTerm>,
    ownership: watch::Receiver<(ClassOwner, OwnershipTally)>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for LeaderElector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderElector")
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}

impl LeaderElector {
    /// A candidate, and where it tells of its success.
    #[must_use]
    pub fn new(
        client: Client,
        fleet: FleetRef,
        identity: &str,
        clock: Clock,
        (ownership, metrics): (&Ownership, Arc<Metrics>),
    ) -> (Self, watch::Receiver<LeaderTerm>) {
        let (terms, hear) = watch::channel(LeaderTerm::Following);
        let timing = LeaseTiming::default();
        let candidate = Self {
            api: Api::namespaced(client, fleet.namespace.as_str()),
            election: LeaderElection::new(identity, timing),
            identity: identity.to_owned(),
            lease: None,
            fleet,
            timing,
            clock,
            terms,
            ownership: ownership.hear(),
            metrics,
        };
        (candidate, hear)
    }

    /// Stands for election until `ended`, then gives the Lease back.
    pub async fn run(mut self, ended: impl Future<Output = ()>) {
        let mut ended = std::pin::pin!(ended);
        let mut changes = self.ownership.clone();
        loop {
            let pause = self.round().await;
            self.tell();
            tokio::select! {
                () = &mut ended => break,
                () = tokio::time::sleep(pause) => {}
                // Our time is over before the next try.
                () = self.time_is_over() => self.tell(),
                // A class that has become ours does not wait.
                () = owner_changed(&mut changes) => {}
            }
        }
        self.release().await;
    }

    /// One try; says when the next is due.
    async fn round(&mut self) -> Duration {
        if !self.ownership.borrow().0.may_lead() {
            self.give_back().await;
            return self.timing.pause;
        }
        let tried = match self.leads() {
            true => self.step().await,
            false => match self.look().await {
                Ok(()) => self.step().await,
                Err(error) => Err(error),
            },
        };
        match tried {
            Ok(pause) => pause.mul_f64(rand::random_range(0.9..1.1)),
            Err(error) => {
                tracing::warn!(fleet = %self.fleet.class, "the Lease: {error}");
                self.metrics.failed(self.fleet.class.as_str(), error.kind());
                // What it is now has to be seen first.
                if matches!(error, Error::Conflict(_)) {
                    let _ = self.look().await;
                }
                self.timing.retry.mul_f64(rand::random_range(0.5..1.0))
            }
        }
    }

    fn leads(&self) -> bool {
        matches!(self.election.role(self.now()), LeaderRole::Leading { .. })
    }

    fn now(&self) -> Duration {
        self.clock.elapsed(Instant::now())
    }

    async fn look(&mut self) -> Result<(), Error> {
        let lease = in_time(
            "reading the Lease",
            self.api.get_opt(&names::lease(&self.fleet.class)),
        )
        .await?;
        self.election.saw(lease.as_ref().map(record), self.now());
        self.lease = lease;
        Ok(())
    }

    async fn step(&mut self) -> Result<Duration, Error> {
        let sent = self.now();
        let (transitions, over, acquired) = match self.election.step(sent) {
            LeaseAction::Wait(pause) => return Ok(pause),
            LeaseAction::Acquire { transitions, over } => (transitions, over, true),
            LeaseAction::Renew { transitions, over } => (transitions, Some(over), false),
        };
        let written = self
            .write(Some(&self.identity), transitions, over, acquired)
            .await?;
        self.election.wrote(record(&written), sent, self.now());
        self.lease = Some(written);
        Ok(self.timing.pause)
    }

    async fn write(
        &self,
        holder: Option<&str>,
        transitions: i32,
        over: Option<String>,
        acquired: bool,
    ) -> Result<Lease, Error> {
        let now = MicroTime(Timestamp::now());
        let mut lease = self.lease.clone().unwrap_or_default();
        let name = names::lease(&self.fleet.class);
        let before = lease.spec.take().unwrap_or_default();
        lease.metadata = ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(self.fleet.namespace.to_string()),
            resource_version: over.clone(),
            managed_fields: None,
            ..lease.metadata
        };
        lease.spec = Some(LeaseSpec {
            // The API server takes no empty name here; none is nobody.
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: i32::try_from(self.timing.expiry.as_secs()).ok(),
            lease_transitions: Some(transitions),
            acquire_time: if acquired {
                Some(now.clone())
            } else {
                before.acquire_time
            },
            renew_time: Some(now),
            ..before
        });
        let parameters = PostParams::default();
        match over {
            Some(_) => {
                in_time(
                    "renewing the Lease",
                    self.api.replace(&name, &parameters, &lease),
                )
                .await
            }
            None => in_time("making the Lease", self.api.create(&parameters, &lease)).await,
        }
    }

    fn term(&self) -> LeaderTerm {
        let now = self.now();
        match self.election.role(now) {
            LeaderRole::Leading { until } => LeaderTerm::Leading {
                until: Instant::now() + until.saturating_sub(now),
            },
            LeaderRole::Unsure => LeaderTerm::Unsure,
            LeaderRole::Following => LeaderTerm::Following,
        }
    }

    fn tell(&self) {
        let (term, before) = (self.term(), *self.terms.borrow());
        self.metrics.leads(
            self.fleet.class.as_str(),
            matches!(term, LeaderTerm::Leading { .. }),
        );
        let word = |term: LeaderTerm| match term {
            LeaderTerm::Leading { .. } => "leading",
            LeaderTerm::Unsure => "not leading until the Lease is renewed",
            LeaderTerm::Following => "following",
        };
        if word(term) != word(before) {
            tracing::info!(fleet = %self.fleet.class, identity = self.identity, "{}", word(term));
        }
        self.terms.send_replace(term);
    }

    async fn time_is_over(&self) {
        match self.term() {
            LeaderTerm::Leading { until } => tokio::time::sleep_until(until).await,
            LeaderTerm::Unsure | LeaderTerm::Following => std::future::pending().await,
        }
    }

    /// Lets another one begin at once. Nothing may be written any more when this is called.
    async fn release(mut self) {
        self.give_back().await;
    }

    async fn give_back(&mut self) {
        self.terms.send_replace(LeaderTerm::Following);
        if !self.leads() {
            return;
        }
        let LeaseAction::Renew { transitions, over } = self.election.step(self.now()) else {
            return;
        };
        match self.write(None, transitions, Some(over), false).await {
            Ok(written) => {
                self.election.saw(Some(record(&written)), self.now());
                tracing::info!(fleet = %self.fleet.class, "the Lease is given back");
            }
            Err(error) => {
                tracing::warn!(fleet = %self.fleet.class, "the Lease is not given back: {error}")
            }
        }
        self.lease = None;
    }
}

/// Returns when another owner is known; the tally behind it changes with every status.
async fn owner_changed(changes: &mut watch::Receiver<(ClassOwner, OwnershipTally)>) {
    let owner = changes.borrow_and_update().0.clone();
    if changes
        .wait_for(|standing| standing.0 != owner)
        .await
        .is_err()
    {
        std::future::pending::<()>().await;
    }
}

fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.clone())
        .filter(|holder| !holder.is_empty());
    LeaseRecord {
        holder,
        transitions: spec
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
    }
}
