//! The checks themselves: what is asked of the API server, and what an answer means.

use halftone_api::crd::{missing, name_few};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::super::api_error::ApiOperation;
use super::super::{ClusterClient, NamespaceScope};
use super::fleet::InstalledFleet;
use super::{CheckResult, releases};
use crate::output::CommandError;

/// `isIP` in the CRD's rules exists from here on.
const OLDEST_MINOR: u32 = 30;
const CRD: &str = "grayreleases.halftone.dev";
/// The version of it that this program reads.
const VERSION: &str = "v1alpha1";
/// What an installation by the chart creates: group, resource.
const NEEDED: [(&str, &str); 7] = [
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("apps", "deployments"),
    ("", "services"),
    ("", "configmaps"),
];

impl ClusterClient {
    /// Whether this cluster takes Halftone, and this person may install it.
    pub(super) async fn before_installing(&self) -> Vec<CheckResult> {
        let mut checks = vec![self.api_version().await, self.definition(true).await];
        let mut missing = Vec::new();
        for (group, resource) in NEEDED {
            match self.may("create", group, resource).await {
                Ok(true) => {}
                Ok(false) => missing.push(resource),
                Err(failure) => {
                    return [checks, vec![CheckResult::unknown("rights", &failure)]].concat();
                }
            }
        }
        checks.push(if missing.is_empty() {
            CheckResult::passed("rights", "you may create all that the chart creates")
        } else {
            let found = format!("you may not create {}", missing.join(", "));
            CheckResult::failed(
                "rights",
                found,
                "install as a cluster administrator, or with --as one",
            )
        });
        checks.push(match self.list::<Lease>(NamespaceScope::All, &ListParams::default()).await {
            Err(failure) => CheckResult::unknown("other installations", &failure),
            Ok(leases) => match classes(&leases).as_slice() {
                [] => CheckResult::passed("other installations", "none"),
                taken => CheckResult::failed(
                    "other installations",
                    format!("operators look after the classes {}", taken.join(", ")),
                    "upgrade that installation, or give this one other classes (fleets[].class of the chart)",
                ),
            },
        });
        checks
    }

    /// Whether an installation does its work.
    pub(super) async fn installed(&self, fleet_namespace: Option<&str>) -> Vec<CheckResult> {
        let mut checks = vec![
            self.api_version().await,
            self.definition(false).await,
            self.rights().await,
        ];
        let scope = fleet_namespace.map_or(NamespaceScope::All, NamespaceScope::Namespace);
        let releases = self.releases(NamespaceScope::All, None).await;
        let fleets = match self.fleets(scope).await {
            Ok(fleets) if fleets.is_empty() => {
                let advice = "install the chart, or name the namespace of the proxies with --fleet-namespace";
                vec![CheckResult::failed(
                    "fleets",
                    "no fleet was set up by an operator",
                    advice,
                )]
            }
            Ok(fleets) => {
                let mut found = Vec::new();
                for fleet in fleets {
                    found.extend(self.fleet_checks(&fleet, releases.as_ref().ok()).await);
                }
                found
            }
            Err(failure) => vec![CheckResult::unknown("fleets", &failure)],
        };
        checks.extend(fleets);
        match &releases {
            Ok(releases) => {
                checks.push(releases::standing(releases, jiff::Timestamp::now()));
                checks.push(self.orphans(scope, releases).await);
            }
            Err(failure) => checks.push(CheckResult::unknown("releases", failure)),
        }
        checks.push(self.policies().await);
        checks
    }

    async fn api_version(&self) -> CheckResult {
        match self.client().apiserver_version().await {
            Err(error) => CheckResult::unknown(
                "API server",
                &self.failed(
                    &error,
                    &ApiOperation::getting::<ConfigMap>(NamespaceScope::All),
                ),
            ),
            Ok(info) => {
                let minor = info
                    .minor
                    .trim_end_matches(|letter: char| !letter.is_ascii_digit())
                    .parse()
                    .unwrap_or(0);
                let found = format!("Kubernetes {}.{}", info.major, info.minor);
                if info.major == "1" && minor < OLDEST_MINOR {
                    let advice = format!("upgrade it to 1.{OLDEST_MINOR} or later");
                    return CheckResult::failed("API server", found, advice);
                }
                CheckResult::passed("API server", found)
            }
        }
    }

    /// The CustomResourceDefinition, compared with this program's.
    async fn definition(&self, may_be_missing: bool) -> CheckResult {
        let write = "halftone crd | kubectl apply --server-side -f -";
        let found = Api::<CustomResourceDefinition>::all(self.client())
            .get_opt(CRD)
            .await;
        match found {
            Err(error) => CheckResult::unknown(
                "definition",
                &self.failed(
                    &error,
                    &ApiOperation::getting::<CustomResourceDefinition>(NamespaceScope::All),
                ),
            ),
            Ok(None) if may_be_missing => {
                CheckResult::passed("definition", "not there yet; the chart installs it")
            }
            Ok(None) => CheckResult::failed(
                "definition",
                "this cluster does not know GrayReleases",
                format!("install it: {write}"),
            ),
            Ok(Some(there)) => match lacking(&there) {
                lacking if lacking.is_empty() => {
                    CheckResult::passed("definition", "has every field that this program knows")
                }
                lacking => CheckResult::failed(
                    "definition",
                    format!("lacks {}: it is of an older version", name_few(&lacking)),
                    format!("renew it: {write}"),
                ),
            },
        }
    }

    /// The fleets that operators have set up.
    async fn fleets(&self, scope: NamespaceScope<'_>) -> Result<Vec<InstalledFleet>, CommandError> {
        let labelled = ListParams::default().labels("halftone.dev/class");
        let objects = self.list::<ConfigMap>(scope, &labelled).await?;
        let fleet = |object: &ConfigMap| {
            let class = object
                .name_any()
                .strip_prefix("halftone-fleet-")?
                .to_owned();
            Some(InstalledFleet {
                class,
                namespace: object.namespace()?,
            })
        };
        Ok(objects.iter().filter_map(fleet).collect())
    }

    /// Whether commands, `force` and `health.enabled` are guarded; that is a choice, so either is well.
    async fn policies(&self) -> CheckResult {
        let all = Api::<ValidatingAdmissionPolicy>::all(self.client())
            .list(&ListParams::default())
            .await;
        match all {
            Err(error) => CheckResult::unknown(
                "admission policy",
                &self.failed(
                    &error,
                    &ApiOperation::getting::<ValidatingAdmissionPolicy>(NamespaceScope::All),
                ),
            ),
            Ok(all)
                if all
                    .items
                    .iter()
                    .any(|policy| policy.name_any().contains("halftone")) =>
            {
                CheckResult::passed("admission policy", "commands are asked for by verb")
            }
            Ok(_) => CheckResult::passed(
                "admission policy",
                "off: whoever may edit a release may also steer it (admissionPolicy.enabled of the chart)",
            ),
        }
    }
}

/// The classes that the Leases of operators name.
fn classes(leases: &[Lease]) -> Vec<String> {
    leases
        .iter()
        .filter_map(|lease| Some(lease.name_any().strip_prefix("halftone-")?.to_owned()))
        .collect()
}

/// What this program's definition has and the cluster's has not.
fn lacking(there: &CustomResourceDefinition) -> Vec<String> {
    let there = there
        .spec
        .versions
        .iter()
        .find(|version| version.name == VERSION);
    let schema = there.and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    missing(&serde_json::to_value(schema).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_definition_is_told_by_the_fields_it_lacks() {
        let mut older = halftone_api::crd();
        assert_eq!(lacking(&older), Vec::<String>::new());
        let schema = older.spec.versions[0]
            .schema
            .as_mut()
            .unwrap()
            .open_api_v3_schema
            .as_mut()
            .unwrap();
        let mut remove = |path: &[&str], field: &str| {
            let place = path.iter().fold(&mut *schema, |schema, name| {
                schema.properties.as_mut().unwrap().get_mut(*name).unwrap()
            });
            place.properties.as_mut().unwrap().remove(field).unwrap();
        };
        remove(&["spec"], "onUnavailable");
        remove(&["spec", "stable"], "maxTunnels");
        remove(&["status"], "controller");
        assert_eq!(
            lacking(&older),
            [
                "spec.onUnavailable",
                "spec.stable.maxTunnels",
                "status.controller"
            ]
        );
    }
}
