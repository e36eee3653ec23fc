//! The checks themselves: what is asked of the API server, and what an answer means.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};

use super::super::failure::Doing;
use super::super::proxies::Proxy;
use super::super::{Cluster, Scope, failure};
use super::Check;
use crate::course::Course;
use crate::output::Failure;

/// `isIP` in the CRD's rules exists from here on.
const OLDEST_MINOR: u32 = 30;
const CRD: &str = "grayreleases.halftone.dev";
/// What an installation by the chart creates: verb, group, resource.
const NEEDED: [(&str, &str); 7] = [
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("apps", "deployments"),
    ("", "services"),
    ("", "configmaps"),
];
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

impl Cluster {
    /// Whether this cluster takes Halftone, and this person may install it.
    pub(super) async fn before_installing(&self) -> Vec<Check> {
        let mut checks = vec![self.api_version().await, self.definition(true).await];
        let mut missing = Vec::new();
        for (group, resource) in NEEDED {
            match self.may("create", group, resource).await {
                Ok(true) => {}
                Ok(false) => missing.push(resource),
                Err(failure) => return [checks, vec![Check::unknown("rights", &failure)]].concat(),
            }
        }
        checks.push(if missing.is_empty() {
            Check::passed("rights", "you may create all that the chart creates")
        } else {
            let found = format!("you may not create {}", missing.join(", "));
            Check::failed("rights", found, "install as a cluster administrator, or with --as one")
        });
        checks.push(match self.list::<Lease>(Scope::All, &ListParams::default()).await {
            Err(failure) => Check::unknown("other installations", &failure),
            Ok(leases) => match classes(&leases).as_slice() {
                [] => Check::passed("other installations", "none"),
                taken => Check::failed(
                    "other installations",
                    format!("operators look after the classes {}", taken.join(", ")),
                    "upgrade that installation, or give this one other classes (fleets[].class of the chart)",
                ),
            },
        });
        checks
    }

    /// Whether an installation does its work.
    pub(super) async fn installed(&self, fleet_namespace: Option<&str>) -> Vec<Check> {
        let mut checks = vec![self.api_version().await, self.definition(false).await, self.rights().await];
        let scope = fleet_namespace.map_or(Scope::All, Scope::Namespace);
        let fleets = match self.fleets(scope).await {
            Ok(fleets) if fleets.is_empty() => {
                let advice = "install the chart, or name the namespace of the proxies with --fleet-namespace";
                vec![Check::failed("fleets", "no fleet was set up by an operator", advice)]
            }
            Ok(fleets) => {
                let mut found = Vec::new();
                for (class, namespace) in fleets {
                    found.extend(self.fleet_checks(&class, &namespace).await);
                }
                found
            }
            Err(failure) => vec![Check::unknown("fleets", &failure)],
        };
        checks.extend(fleets);
        checks.push(self.standing_releases().await);
        checks.push(self.orphans(scope).await);
        checks.push(self.policies().await);
        checks
    }

    async fn api_version(&self) -> Check {
        match self.client().apiserver_version().await {
            Err(error) => {
                Check::unknown("API server", &self.failed(&error, &Doing::getting::<ConfigMap>(Scope::All)))
            }
            Ok(info) => {
                let minor =
                    info.minor.trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap_or(0);
                let found = format!("Kubernetes {}.{}", info.major, info.minor);
                if info.major == "1" && minor < OLDEST_MINOR {
                    let advice = format!("upgrade it to 1.{OLDEST_MINOR} or later");
                    return Check::failed("API server", found, advice);
                }
                Check::passed("API server", found)
            }
        }
    }

    /// The CustomResourceDefinition, compared with this program's.
    async fn definition(&self, may_be_missing: bool) -> Check {
        let write = "halftone crd | kubectl apply --server-side -f -";
        let found = Api::<CustomResourceDefinition>::all(self.client()).get_opt(CRD).await;
        match found {
            Err(error) => Check::unknown(
                "definition",
                &self.failed(&error, &Doing::getting::<CustomResourceDefinition>(Scope::All)),
            ),
            Ok(None) if may_be_missing => Check::passed("definition", "not there yet; the chart installs it"),
            Ok(None) => Check::failed(
                "definition",
                "this cluster does not know GrayReleases",
                format!("install it: {write}"),
            ),
            Ok(Some(there)) => match lacking(&there) {
                lacking if lacking.is_empty() => {
                    Check::passed("definition", "has every field that this program knows")
                }
                lacking => Check::failed(
                    "definition",
                    format!("lacks the fields {}: it is of an older version", lacking.join(", ")),
                    format!("renew it: {write}"),
                ),
            },
        }
    }

    /// Whether this person may read and steer releases in their namespace.
    async fn rights(&self) -> Check {
        let mut missing = Vec::new();
        for verb in ["get", "list", "watch", "patch"] {
            match self.may(verb, "halftone.dev", "grayreleases").await {
                Ok(true) => {}
                Ok(false) => missing.push(verb),
                Err(failure) => return Check::unknown("rights", &failure),
            }
        }
        let namespace = self.namespace();
        match missing.as_slice() {
            [] => {
                Check::passed("rights", format!("you may read and steer releases in namespace {namespace}"))
            }
            missing => Check::failed(
                "rights",
                format!("you may not {} grayreleases in namespace {namespace}", missing.join(", ")),
                "ask for the role view to read or admin to steer, which the chart extends, or name another namespace with -n",
            ),
        }
    }

    async fn may(&self, verb: &str, group: &str, resource: &str) -> Result<bool, Failure> {
        let attributes = ResourceAttributes {
            namespace: Some(self.namespace().to_owned()),
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let answer = Api::all(self.client()).create(&PostParams::default(), &review).await;
        let doing = Doing::getting::<SelfSubjectAccessReview>(Scope::All);
        let answer = answer.map_err(|error| self.failed(&error, &doing))?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// The fleets that operators have set up: class and namespace.
    async fn fleets(&self, scope: Scope<'_>) -> Result<Vec<(String, String)>, Failure> {
        let labelled = ListParams::default().labels("halftone.dev/class");
        let objects = self.list::<ConfigMap>(scope, &labelled).await?;
        let fleet = |object: &ConfigMap| {
            let class = object.name_any().strip_prefix("halftone-fleet-")?.to_owned();
            Some((class, object.namespace()?))
        };
        Ok(objects.iter().filter_map(fleet).collect())
    }

    async fn fleet_checks(&self, class: &str, namespace: &str) -> Vec<Check> {
        let of = |what: &str| format!("{what} of {class}");
        let alive = self.abandoned(class, Some(namespace)).await;
        let mut checks = vec![match alive {
            None => Check::passed(of("operator"), format!("renews its Lease in namespace {namespace}")),
            Some(sentence) => {
                let advice =
                    format!("kubectl logs -n {namespace} -l app.kubernetes.io/name=halftone-operator");
                Check::failed(of("operator"), sentence, advice)
            }
        }];
        let proxies = match self.proxies_of(class, namespace).await {
            Ok(proxies) => proxies,
            Err(failure) => return [checks, vec![Check::unknown(of("proxies"), &failure)]].concat(),
        };
        checks.push(proxies_ready(class, namespace, &proxies));
        checks.push(self.one_request(class, namespace, proxies.iter().find(|proxy| proxy.ready)).await);
        checks
    }

    /// One request through a proxy, as a user's would come: any answer below 500 will do.
    async fn one_request(&self, class: &str, namespace: &str, proxy: Option<&Proxy>) -> Check {
        let name = format!("a request through {class}");
        let Some(proxy) = proxy else {
            return Check::failed(
                name,
                "there is no ready proxy to send it through",
                "see the check of its proxies",
            );
        };
        let request = hyper::Request::get(proxy.traffic_path()).body(Vec::new());
        let Ok(request) = request else { return Check::passed(name, "not sent") };
        let sent = tokio::time::timeout(ANSWERED_WITHIN, self.client().request_text(request)).await;
        match sent {
            Ok(Ok(_)) => Check::passed(name, format!("{} answers", proxy.name)),
            // The proxy's own answer comes back as the API server's.
            Ok(Err(kube::Error::Api(status)))
                if status.code == 404 || (400..500).contains(&status.code) && status.code != 403 =>
            {
                Check::passed(name, format!("{} answers {}", proxy.name, status.code))
            }
            Ok(Err(error)) => {
                let doing = Doing::getting::<k8s_openapi::api::core::v1::Pod>(Scope::Namespace(namespace));
                let failure = failure::explain(&error, &doing).unwrap_or_else(|| Failure::new(&error));
                let advice = "a network policy may keep the API server out; from a pod, try halftone probe";
                Check::unknown(name, &failure.advise(advice))
            }
            Err(_) => {
                let failure =
                    Failure::new(format!("no answer within {ANSWERED_WITHIN:?} by way of the API server"));
                let advice = "a network policy may keep the API server out; from a pod, try halftone probe";
                Check::unknown(name, &failure.advise(advice))
            }
        }
    }

    async fn standing_releases(&self) -> Check {
        match self.releases(Scope::All, None).await {
            Err(failure) => Check::unknown("releases", &failure),
            Ok(listing) => {
                let want = |release: &&halftone_rollout::GrayRelease| {
                    release.status.as_ref().is_some_and(|status| Course::of(status) == Course::WantsYou)
                };
                let waiting: Vec<String> =
                    listing.releases.iter().filter(want).map(crate::engine::release::name_of).collect();
                let silent = listing.releases.iter().filter(|release| is_without_reports(release)).count();
                let unserved: Vec<String> = listing
                    .releases
                    .iter()
                    .filter(|release| is_behind(release, jiff::Timestamp::now()))
                    .map(crate::engine::release::name_of)
                    .collect();
                let found = format!("{} in all, {} want a person", listing.releases.len(), waiting.len());
                if silent > 0 {
                    return Check::failed(
                        "reports",
                        format!("{silent} releases get no reports of a proxy"),
                        "proxies refuse the operator's signature, or a network policy keeps it out: see docs/operations.md, ReportsMissing",
                    );
                }
                if !unserved.is_empty() {
                    return Check::failed(
                        "releases",
                        format!("proxies do not have what these ask for: {}", unserved.join(", ")),
                        "their condition Programmed says why: kubectl halftone status NAME",
                    );
                }
                Check::passed("releases", found)
            }
        }
    }

    /// Whether commands, `force` and `health.enabled` are guarded; that is a choice, so either is well.
    async fn policies(&self) -> Check {
        let all = Api::<ValidatingAdmissionPolicy>::all(self.client()).list(&ListParams::default()).await;
        match all {
            Err(error) => Check::unknown(
                "admission policy",
                &self.failed(&error, &Doing::getting::<ValidatingAdmissionPolicy>(Scope::All)),
            ),
            Ok(all) if all.items.iter().any(|policy| policy.name_any().contains("halftone")) => {
                Check::passed("admission policy", "commands are asked for by verb")
            }
            Ok(_) => Check::passed(
                "admission policy",
                "off: whoever may edit a release may also steer it (admissionPolicy.enabled of the chart)",
            ),
        }
    }
}

fn proxies_ready(class: &str, namespace: &str, proxies: &[Proxy]) -> Check {
    let name = format!("proxies of {class}");
    let ready = proxies.iter().filter(|proxy| proxy.ready).count();
    let found = format!("{ready} of {} ready in namespace {namespace}", proxies.len());
    let look = format!(
        "kubectl get pods -n {namespace} -l app.kubernetes.io/name=halftone-proxy,halftone.dev/class={class}"
    );
    match (proxies.len(), ready) {
        (0, _) => Check::failed(name, format!("there is none in namespace {namespace}"), look),
        (all, ready) if ready < all => Check::failed(name, found, look),
        _ => Check::passed(name, found),
    }
}

fn is_without_reports(release: &halftone_rollout::GrayRelease) -> bool {
    let conditions = release.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.reason == "ReportsMissing")
}

/// What proxies lack for longer than this is not on its way any more.
const ON_ITS_WAY: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Whether proxies have gone without what the release asks for, for longer than that takes.
fn is_behind(release: &halftone_rollout::GrayRelease, now: jiff::Timestamp) -> bool {
    let conditions = release.status.iter().flat_map(|status| &status.conditions);
    conditions
        .filter(|condition| condition.type_ == "Programmed" && condition.status == "False")
        .any(|condition| now.duration_since(condition.last_transition_time.0) > ON_ITS_WAY)
}

/// The classes that the Leases of operators name.
fn classes(leases: &[Lease]) -> Vec<String> {
    leases.iter().filter_map(|lease| Some(lease.name_any().strip_prefix("halftone-")?.to_owned())).collect()
}

/// Fields of `spec` that this program's definition has and the cluster's has not.
fn lacking(there: &CustomResourceDefinition) -> Vec<String> {
    let ours = fields(&serde_json::to_value(halftone_rollout::crd()).unwrap_or_default());
    let theirs = fields(&serde_json::to_value(there).unwrap_or_default());
    ours.difference(&theirs).cloned().collect()
}

fn fields(definition: &serde_json::Value) -> BTreeSet<String> {
    let spec =
        &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_definition_is_told_by_the_fields_it_lacks() {
        let mut older = halftone_rollout::crd();
        assert_eq!(lacking(&older), Vec::<String>::new());
        let schema = older.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
        let spec = schema.properties.as_mut().unwrap().get_mut("spec").unwrap();
        spec.properties.as_mut().unwrap().remove("onUnavailable");
        assert_eq!(lacking(&older), ["onUnavailable"]);
    }
}
