//! Whether an operator lives that looks after a release, by the Lease of its fleet. Said when nobody answers.

use halftone_api::GrayRelease;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use std::time::Duration;

use halftone_routing::document::RoutingConfig;

use super::ClusterClient;
use crate::output::{CommandError, span};

impl ClusterClient {
    /// What the Lease of the fleet of this class tells of operators, in a sentence.
    pub(super) async fn operator_of(&self, class: &str, fleet_namespace: Option<&str>) -> String {
        match self.operator_status(class, fleet_namespace).await {
            Ok(told) => told.sentence,
            Err(failure) => format!("Whether an operator is alive cannot be told: {failure}"),
        }
    }

    /// That no operator looks after the fleet, if that is so; nothing where it cannot be told.
    pub(crate) async fn abandoned(
        &self,
        class: &str,
        fleet_namespace: Option<&str>,
    ) -> Option<String> {
        let told = self.operator_status(class, fleet_namespace).await.ok()?;
        (!told.alive).then(|| {
            format!(
                "The status above is the last that was known. {}",
                told.sentence
            )
        })
    }

    /// The same of a release, and what its proxies do for want of an operator.
    pub(crate) async fn unattended(
        &self,
        release: &GrayRelease,
        fleet_namespace: Option<&str>,
    ) -> Option<String> {
        let class = release.spec.proxy_class.as_str();
        let abandoned = self.abandoned(class, fleet_namespace).await?;
        let silence = self.silence(class, fleet_namespace).await;
        let applied = self.applied(release, fleet_namespace).await.ok();
        let document = applied.and_then(|applied| applied.document.ok());
        let lost = document.is_some_and(|document| sends_to_stable(&document.config, silence));
        Some(if lost {
            format!("{LOST}. {abandoned}")
        } else {
            abandoned
        })
    }

    /// For how long no operator of this fleet has been alive; not at all where one is, or where it cannot be told.
    pub(crate) async fn silence(&self, class: &str, fleet_namespace: Option<&str>) -> Duration {
        self.operator_status(class, fleet_namespace)
            .await
            .map_or(Duration::ZERO, |told| told.silence)
    }

    /// All that the Lease tells.
    ///
    /// # Errors
    /// As for every question to the API server.
    pub(super) async fn operator_status(
        &self,
        class: &str,
        fleet_namespace: Option<&str>,
    ) -> Result<OperatorStatus, CommandError> {
        let lease = self.lease_of(class, fleet_namespace).await?;
        Ok(tell(lease.as_ref(), class, Timestamp::now()))
    }
}

impl ClusterClient {
    /// The Lease of a fleet: of several, that of whoever has led last.
    async fn lease_of(
        &self,
        class: &str,
        fleet_namespace: Option<&str>,
    ) -> Result<Option<Lease>, CommandError> {
        let found = self
            .of_fleet::<Lease>(fleet_namespace, &lease_name(class))
            .await?;
        Ok(newest(found))
    }
}

fn newest(leases: Vec<Lease>) -> Option<Lease> {
    let renewed = |lease: &Lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0);
    leases.into_iter().max_by_key(renewed)
}

fn lease_name(class: &str) -> String {
    format!("halftone-{class}")
}

/// What proxies do once no operator has been heard for as long as `onOperatorLost` waits. Judged by the Lease, which an
/// operator renews while it asks the proxies: they may be some seconds behind.
pub(crate) const LOST: &str = "Proxies send everyone to stable, since no operator has been heard for as long as onOperatorLost waits";

/// Whether that is so of this document, after so long without an operator. What `force` says goes over it.
pub(crate) fn sends_to_stable(document: &RoutingConfig, silence: Duration) -> bool {
    document.force.is_none() && document.is_operator_lost_after(silence)
}

/// What is told of an operator.
pub(super) struct OperatorStatus {
    pub(super) alive: bool,
    /// Who holds the Lease, alive or not.
    pub(super) holder: Option<String>,
    /// For how long none has been alive; zero where one is, or where nobody knows.
    silence: Duration,
    pub(super) sentence: String,
}

fn tell(lease: Option<&Lease>, class: &str, now: Timestamp) -> OperatorStatus {
    let name = lease_name(class);
    let Some(lease) = lease else {
        let sentence = format!(
            "No operator looks after the fleet {class}: there is no Lease {name}. Is Halftone installed?"
        );
        return OperatorStatus {
            alive: false,
            holder: None,
            silence: Duration::ZERO,
            sentence,
        };
    };
    let namespace = lease.namespace().unwrap_or_default();
    let place = format!("{namespace}/{name}");
    let look =
        format!("See kubectl get pods -n {namespace} -l app.kubernetes.io/name=halftone-operator");
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let renewed = spec.renew_time.map(|time| now.duration_since(time.0));
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(15).into());
    let (alive, sentence) = match (&holder, renewed) {
        (Some(holder), Some(age)) if age <= lasts => {
            let logs = format!("its logs may tell more: kubectl logs -n {namespace} {holder}");
            (
                true,
                format!(
                    "An operator is alive: {holder} renewed the Lease {place} {} ago; {logs}",
                    span(age)
                ),
            )
        }
        (Some(holder), Some(age)) => {
            let last = format!(
                "the Lease {place} was last renewed {} ago, by {holder}",
                span(age)
            );
            (false, format!("No operator is alive: {last}. {look}"))
        }
        _ => (
            false,
            format!("No operator is alive: nobody holds the Lease {place}. {look}"),
        ),
    };
    let silence = renewed.filter(|_| !alive).map_or(Duration::ZERO, silence);
    OperatorStatus {
        alive,
        holder,
        silence,
        sentence,
    }
}

fn silence(age: SignedDuration) -> Duration {
    Duration::try_from(age).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

    use super::*;

    fn lease(holder: Option<&str>, renewed: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                namespace: Some("halftone".into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(renewed.parse().unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn of_several_leases_the_one_renewed_last_tells_of_the_operator() {
        let leases = vec![
            lease(Some("now"), "2026-11-21T10:00:00Z"),
            lease(Some("before"), "2026-11-21T09:00:00Z"),
        ];
        let holder = newest(leases).unwrap().spec.unwrap().holder_identity;
        assert_eq!(holder.as_deref(), Some("now"));
    }

    #[test]
    fn the_lease_tells_whether_an_operator_lives() {
        let now = "2026-11-21T10:00:20Z".parse().unwrap();
        let (by, nobody) = (
            Some("operator-0"),
            "nobody holds the Lease halftone/halftone-default",
        );
        for (lease, words, silent) in [
            (
                Some(lease(by, "2026-11-21T10:00:18Z")),
                "is alive: operator-0 renewed",
                0,
            ),
            (
                Some(lease(by, "2026-11-21T09:58:00Z")),
                "last renewed 2m20s ago, by operator-0",
                140,
            ),
            (Some(lease(None, "2026-11-21T10:00:18Z")), nobody, 2),
            (None, "there is no Lease halftone-default", 0),
        ] {
            let told = tell(lease.as_ref(), "default", now);
            assert!(told.sentence.contains(words), "{}", told.sentence);
            assert_eq!(told.alive, words.starts_with("is alive"));
            assert_eq!(told.silence.as_secs(), silent);
        }
    }
}
