//! Who may do what, as the API server's access reviews say: this person, and the operator's service account. What the
//! operator needs stands once, beside the code that both it and this command are built from.

use std::collections::BTreeSet;
use std::fmt::Debug;

use halftone_api::spec::ControllerStatus;
use halftone_daemon::rbac::{PERMISSIONS, Permission, PermissionScope as Place};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::api_error::ApiOperation;
use super::super::{ClusterClient, NamespaceScope};
use super::CheckResult;
use super::fleet::InstalledFleet;
use crate::output::CommandError;
use crate::status::ReleaseList;

const OPERATORS: &str = "app.kubernetes.io/name=halftone-operator";

impl ClusterClient {
    /// Whether this person may read and steer releases in their namespace.
    pub(super) async fn rights(&self) -> CheckResult {
        let mut missing = Vec::new();
        for verb in ["get", "list", "watch", "patch"] {
            match self.may(verb, "halftone.dev", "grayreleases").await {
                Ok(true) => {}
                Ok(false) => missing.push(verb),
                Err(failure) => return CheckResult::unknown("rights", &failure),
            }
        }
        let namespace = self.namespace();
        match missing.as_slice() {
            [] => CheckResult::passed(
                "rights",
                format!("you may read and steer releases in namespace {namespace}"),
            ),
            missing => CheckResult::failed(
                "rights",
                format!(
                    "you may not {} grayreleases in namespace {namespace}",
                    missing.join(", ")
                ),
                "ask for the role view to read or admin to steer, which the chart extends, or name another namespace with -n",
            ),
        }
    }

    /// Whether this person may do this in their namespace.
    pub(super) async fn may(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
    ) -> Result<bool, CommandError> {
        let resource_attributes = Some(attributes(verb, group, resource, Some(self.namespace())));
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes,
            ..Default::default()
        };
        let review = SelfSubjectAccessReview {
            spec,
            ..SelfSubjectAccessReview::default()
        };
        let answer = self.reviewed(&review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn reviewed<K>(&self, review: &K) -> Result<K, CommandError>
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let answer = Api::<K>::all(self.client())
            .create(&PostParams::default(), review)
            .await;
        answer
            .map_err(|error| self.failed(&error, &ApiOperation::creating::<K>(NamespaceScope::All)))
    }

    /// Whether the service account of a fleet's operator may do all that an operator does.
    pub(super) async fn rights_of_operator(
        &self,
        fleet: &InstalledFleet,
        releases: Option<&ReleaseList>,
    ) -> CheckResult {
        let name = format!("rights of the operator of {}", fleet.class);
        match self.lacks(fleet, releases).await {
            Err(failure) => CheckResult::unknown(name, &failure),
            Ok(missing) if missing.is_empty() => {
                CheckResult::passed(name, "it may do all that it does")
            }
            Ok(missing) => CheckResult::failed(
                name,
                format!("it may not {}", missing.join("; ")),
                "the chart grants it (rbac.create; watchNamespaces names the namespaces of releases): upgrade the chart, or \
                 grant it the same by hand",
            ),
        }
    }

    async fn lacks(
        &self,
        fleet: &InstalledFleet,
        releases: Option<&ReleaseList>,
    ) -> Result<Vec<String>, CommandError> {
        let scope = NamespaceScope::Namespace(&fleet.namespace);
        let pods = self
            .list::<Pod>(scope, &ListParams::default().labels(OPERATORS))
            .await?;
        let accounts: BTreeSet<&str> = pods.iter().map(account).collect();
        if accounts.is_empty() {
            let found = format!(
                "there is no pod of an operator in namespace {}",
                fleet.namespace
            );
            return Err(CommandError::new(found)
                .advise("see kubectl get pods -A -l app.kubernetes.io/name=halftone-operator"));
        }
        let namespaces = releases.map(|releases| looked_after(fleet, releases));
        let mut missing = Vec::new();
        for account in accounts {
            for (permission, verb) in each() {
                let asked = AccessCheck {
                    fleet,
                    account,
                    permission,
                    verb,
                };
                missing.extend(self.find_missing(&asked, namespaces.as_ref()).await?);
            }
        }
        Ok(missing)
    }

    /// Where one permission is missing. Of releases: whoever may in all namespaces may in each.
    async fn find_missing(
        &self,
        asked: &AccessCheck<'_>,
        namespaces: Option<&BTreeSet<String>>,
    ) -> Result<Option<String>, CommandError> {
        let mut missing = Vec::new();
        match asked.permission.scope {
            Place::Fleets => {
                let namespace = asked.fleet.namespace.as_str();
                missing.extend((!self.allows(asked, Some(namespace)).await?).then_some(namespace));
            }
            Place::Releases if self.allows(asked, None).await? => {}
            Place::Releases => {
                let unseen = || {
                    CommandError::new(
                        "the operator works in some namespaces only, and you may not list releases in all",
                    )
                    .advise("ask for leave to list grayreleases in all namespaces")
                };
                for namespace in namespaces.ok_or_else(unseen)? {
                    missing.extend(
                        (!self.allows(asked, Some(namespace)).await?).then_some(namespace.as_str()),
                    );
                }
            }
        }
        let AccessCheck {
            permission, verb, ..
        } = asked;
        Ok((!missing.is_empty()).then(|| {
            format!(
                "{verb} {} in namespace {}",
                permission.resource,
                missing.join(", ")
            )
        }))
    }

    async fn allows(
        &self,
        asked: &AccessCheck<'_>,
        namespace: Option<&str>,
    ) -> Result<bool, CommandError> {
        let review = SubjectAccessReview {
            spec: asked.review(namespace),
            ..SubjectAccessReview::default()
        };
        let answer = self.reviewed(&review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// One thing that the operator of a fleet does.
struct AccessCheck<'a> {
    fleet: &'a InstalledFleet,
    account: &'a str,
    permission: &'static Permission,
    verb: &'static str,
}

impl AccessCheck<'_> {
    fn review(&self, namespace: Option<&str>) -> SubjectAccessReviewSpec {
        let Self {
            fleet:
                InstalledFleet {
                    class,
                    namespace: home,
                },
            account,
            permission,
            verb,
        } = self;
        let mut attributes = attributes(verb, permission.group, permission.resource, namespace);
        if permission.resource == "leases" {
            // The chart grants Leases by name.
            attributes.name = Some(format!("halftone-{class}"));
        }
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{home}"),
            "system:authenticated".to_owned(),
        ];
        SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{home}:{account}")),
            groups: Some(groups.into()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        }
    }
}

fn attributes(
    verb: &str,
    group: &str,
    resource: &str,
    namespace: Option<&str>,
) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    ResourceAttributes {
        namespace: namespace.map(str::to_owned),
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        ..ResourceAttributes::default()
    }
}

/// Every verb of every permission.
fn each() -> impl Iterator<Item = (&'static Permission, &'static str)> {
    PERMISSIONS
        .iter()
        .flat_map(|permission| permission.verbs.iter().map(move |verb| (permission, *verb)))
}

fn account(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.as_deref())
        .unwrap_or("default")
}

/// The namespaces with releases of this fleet: not those that another installation of the class looks after.
fn looked_after(fleet: &InstalledFleet, releases: &ReleaseList) -> BTreeSet<String> {
    let ours = |release: &&halftone_api::GrayRelease| {
        let home = release.controller().and_then(ControllerStatus::namespace);
        release.spec.proxy_class == fleet.class && home.is_none_or(|home| home == fleet.namespace)
    };
    releases
        .releases
        .iter()
        .filter(ours)
        .filter_map(|release| release.metadata.namespace.clone())
        .collect()
}
