//! Whether an operator lives that looks after a release, by the Lease of its fleet. Said when nobody answers.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;

use super::Cluster;
use crate::output::span;

impl Cluster {
    /// What the Lease of the fleet of this class tells of operators, in a sentence.
    pub(super) async fn operator_of(&self, class: &str, fleet_namespace: Option<&str>) -> String {
        match self.of_fleet::<Lease>(fleet_namespace, &lease_name(class)).await {
            Ok(lease) => tell(lease.as_ref(), class, Timestamp::now()).sentence,
            Err(failure) => format!("Whether an operator is alive cannot be told: {failure}"),
        }
    }

    /// That no operator looks after the fleet, if that is so; nothing where it cannot be told.
    pub(crate) async fn abandoned(&self, class: &str, fleet_namespace: Option<&str>) -> Option<String> {
        let lease = self.of_fleet::<Lease>(fleet_namespace, &lease_name(class)).await.ok()?;
        let told = tell(lease.as_ref(), class, Timestamp::now());
        (!told.alive).then(|| format!("The status above is the last that was known. {}", told.sentence))
    }
}

fn lease_name(class: &str) -> String {
    format!("halftone-{class}")
}

/// What is told of an operator.
struct Told {
    alive: bool,
    sentence: String,
}

fn tell(lease: Option<&Lease>, class: &str, now: Timestamp) -> Told {
    let name = lease_name(class);
    let dead = |sentence| Told { alive: false, sentence };
    let Some(lease) = lease else {
        return dead(format!(
            "No operator looks after the fleet {class}: there is no Lease {name}. Is Halftone installed?"
        ));
    };
    let namespace = lease.namespace().unwrap_or_default();
    let place = format!("{namespace}/{name}");
    let look = format!("See kubectl get pods -n {namespace} -l app.kubernetes.io/name=halftone-operator");
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let renewed = spec.renew_time.map(|time| now.duration_since(time.0));
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(15).into());
    match (holder, renewed) {
        (Some(holder), Some(age)) if age <= lasts => Told {
            alive: true,
            sentence: format!(
                "An operator is alive: {holder} renewed the Lease {place} {} ago; its logs may tell more: kubectl logs -n {namespace} {holder}",
                span(age)
            ),
        },
        (Some(holder), Some(age)) => dead(format!(
            "No operator is alive: the Lease {place} was last renewed {} ago, by {holder}. {look}",
            span(age)
        )),
        _ => dead(format!("No operator is alive: nobody holds the Lease {place}. {look}")),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

    use super::*;

    fn lease(holder: Option<&str>, renewed: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { namespace: Some("halftone".into()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(renewed.parse().unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    #[test]
    fn the_lease_tells_whether_an_operator_lives() {
        let now = "2026-11-21T10:00:20Z".parse().unwrap();
        for (lease, words) in [
            (Some(lease(Some("operator-0"), "2026-11-21T10:00:18Z")), "is alive: operator-0 renewed"),
            (
                Some(lease(Some("operator-0"), "2026-11-21T09:58:00Z")),
                "last renewed 2m20s ago, by operator-0",
            ),
            (Some(lease(None, "2026-11-21T10:00:18Z")), "nobody holds the Lease halftone/halftone-default"),
            (None, "there is no Lease halftone-default"),
        ] {
            let told = tell(lease.as_ref(), "default", now);
            assert!(told.sentence.contains(words), "{}", told.sentence);
            assert_eq!(told.alive, words.starts_with("is alive"));
        }
    }
}
