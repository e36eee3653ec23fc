//! Why the cluster did not do what a command asked, in words that say what to do. Pure: from errors to failures.

use halftone_api::GrayRelease;
use halftone_daemon::log::with_causes;
use kube::config::KubeconfigError;
use kube::core::Status;
use kube::{Resource, ResourceExt};

use super::{FLEET_NAMESPACE, NamespaceScope};
use crate::args::ClusterArguments;
use crate::output::CommandError;

/// What was asked of the API server.
#[derive(Debug, Clone)]
pub(super) struct ApiOperation<'a> {
    verb: &'static str,
    kind: String,
    resource: String,
    scope: NamespaceScope<'a>,
    /// What a person asks of a release, where that is why.
    command: Option<&'static str>,
}

impl<'a> ApiOperation<'a> {
    fn of<K: Resource<DynamicType = ()>>(verb: &'static str, scope: NamespaceScope<'a>) -> Self {
        let (group, plural) = (K::group(&()), K::plural(&()));
        let resource = if group.is_empty() {
            plural.into_owned()
        } else {
            format!("{plural}.{group}")
        };
        Self {
            verb,
            kind: K::kind(&()).into_owned(),
            resource,
            scope,
            command: None,
        }
    }

    /// Listing objects.
    pub(super) fn listing<K: Resource<DynamicType = ()>>(scope: NamespaceScope<'a>) -> Self {
        Self::of::<K>("list", scope)
    }

    /// Reading one.
    pub(super) fn getting<K: Resource<DynamicType = ()>>(scope: NamespaceScope<'a>) -> Self {
        Self::of::<K>("get", scope)
    }

    /// Writing a new one.
    pub(super) fn creating<K: Resource<DynamicType = ()>>(scope: NamespaceScope<'a>) -> Self {
        Self::of::<K>("create", scope)
    }

    /// Writing a request.
    pub(super) fn asking(command: &'static str, scope: NamespaceScope<'a>) -> Self {
        Self {
            command: Some(command),
            ..Self::of::<GrayRelease>("patch", scope)
        }
    }

    /// Writing an object that is no release.
    pub(super) fn patching<K: Resource<DynamicType = ()>>(scope: NamespaceScope<'a>) -> Self {
        Self::of::<K>("patch", scope)
    }

    /// Following them.
    pub(super) fn watching<K: Resource<DynamicType = ()>>(scope: NamespaceScope<'a>) -> Self {
        Self::of::<K>("watch", scope)
    }

    fn is_release(&self) -> bool {
        self.resource.ends_with(".halftone.dev")
    }
}

/// What an answer of the API server means; none if it has not answered at all.
pub(super) fn explain(error: &kube::Error, doing: &ApiOperation<'_>) -> Option<CommandError> {
    match error {
        kube::Error::Api(status) => Some(answered(status, doing)),
        kube::Error::Auth(error) => Some(
            CommandError::new(format!(
                "the kubeconfig's login does not work: {}",
                with_causes(error)
            ))
            .advise("log in again, or name another context with --context"),
        ),
        kube::Error::SerdeError(error) => Some(
            CommandError::new(format!(
                "a {} in the cluster cannot be read: {error}",
                doing.kind
            ))
            .advise("use the halftone of the operator's version: halftone --version"),
        ),
        _ => None,
    }
}

/// What the API server says when it says no.
fn answered(status: &Status, doing: &ApiOperation<'_>) -> CommandError {
    let ApiOperation {
        verb,
        kind,
        resource,
        scope,
        ..
    } = doing;
    match status.code {
        401 => CommandError::new("the API server does not know who asks")
            .advise("log in again, or name another context with --context"),
        403 => forbidden(status, doing),
        // The resource itself is not there: a missing object of a known kind is handled where it is asked for.
        404 if doing.is_release() => CommandError::new("this cluster does not know GrayReleases").advise(
            "install Halftone with its chart, or only the definition: halftone crd | kubectl apply --server-side -f -",
        ),
        404 => CommandError::new(format!("this cluster does not know {resource}: {}", status.message)),
        422 | 400 => CommandError::new(format!("the API server refuses to {verb} the {kind}: {}", status.message)),
        _ => CommandError::new(format!(
            "the API server cannot {verb} {resource}{}: {}",
            place(*scope),
            status.message
        ))
        .advise("try again; kubectl get --raw '/readyz?verbose' tells how it does"),
    }
}

fn forbidden(status: &Status, doing: &ApiOperation<'_>) -> CommandError {
    let ApiOperation {
        resource, scope, ..
    } = doing;
    // Who may write a release may be refused the command by the chart's admission policy, which asks for its verb.
    let by_policy = status.message.contains("AdmissionPolicy");
    let verb = doing.command.filter(|_| by_policy).unwrap_or(doing.verb);
    let failure = CommandError::new(format!(
        "you may not {verb} {resource}{}: {}",
        place(*scope),
        status.message
    ));
    let (flag, narrower) = match scope {
        NamespaceScope::Namespace(namespace) => (format!("-n {namespace}"), None),
        NamespaceScope::All if doing.is_release() => {
            ("-A".to_owned(), Some("name one namespace with -n"))
        }
        NamespaceScope::All => ("-A".to_owned(), Some(FLEET_NAMESPACE)),
    };
    let check = format!("check with: kubectl auth can-i {verb} {resource} {flag}");
    failure
        .advise(narrower.map_or_else(|| check.clone(), |narrower| format!("{narrower}; {check}")))
}

fn place(scope: NamespaceScope<'_>) -> String {
    match scope {
        NamespaceScope::Namespace(namespace) => format!(" in namespace {namespace}"),
        NamespaceScope::All => " in all namespaces".to_owned(),
    }
}

/// Nobody answers.
pub(super) fn unreachable(server: &str, why: &str, looked_here: bool) -> CommandError {
    let here = if looked_here {
        "; no halftone run was found in ./.halftone either"
    } else {
        ""
    };
    CommandError::new(format!(
        "the API server at {server} cannot be reached: {why}{here}"
    ))
    .advise("see kubectl cluster-info, or name another cluster with --context or --kubeconfig")
}

/// There is no cluster to speak to.
pub(super) fn no_config(
    asked: &ClusterArguments,
    error: &KubeconfigError,
    looked_here: bool,
) -> CommandError {
    let why = with_causes(error);
    if looked_here {
        return CommandError::new(format!(
            "no halftone run keeps its progress in ./.halftone, and there is no cluster to ask: {why}"
        ))
        .advise("start one with halftone run FILE, say with --state DIR where it is, or name a cluster with --kubeconfig FILE");
    }
    let which = asked.context.as_ref().map_or_else(String::new, |context| {
        format!(" with the context {context}")
    });
    CommandError::new(format!("there is no usable kubeconfig{which}: {why}"))
        .advise("see kubectl config get-contexts, or name the file with --kubeconfig")
}

/// There is no release of this name, and these are the others.
pub(super) fn no_release(name: &str, namespace: &str, others: &[GrayRelease]) -> CommandError {
    let failure = CommandError::new(format!(
        "there is no GrayRelease {name} in namespace {namespace}"
    ));
    let names: Vec<String> = others.iter().take(10).map(ResourceExt::name_any).collect();
    match others.len() {
        0 => failure
            .advise("the namespace has none at all; see halftone get -A, and name another with -n"),
        1..=10 => failure.advise(format!("there is {}", names.join(", "))),
        all => failure.advise(format!(
            "there are {}, and {} more",
            names.join(", "),
            all - names.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn told(code: u16, doing: &ApiOperation<'_>) -> String {
        let status = Status {
            code,
            message: "because".into(),
            ..Status::default()
        };
        let failure = explain(&kube::Error::Api(status.boxed()), doing).unwrap();
        format!("{failure}\n{}", failure.advice().unwrap_or_default())
    }

    #[test]
    fn every_no_of_the_api_server_says_what_to_do() {
        let release = || ApiOperation::listing::<GrayRelease>(NamespaceScope::Namespace("shop"));
        for (code, words) in [
            (401, &["log in again"][..]),
            (
                403,
                &[
                    "you may not list grayreleases.halftone.dev in namespace shop",
                    "auth can-i list",
                    "-n shop",
                ],
            ),
            (404, &["does not know GrayReleases", "halftone crd |"]),
            (500, &["cannot list", "because", "readyz"]),
        ] {
            let told = told(code, &release());
            for word in words {
                assert!(told.contains(word), "{code}: {told}");
            }
        }
    }

    #[test]
    fn who_may_not_search_for_a_fleet_is_told_to_name_its_namespace() {
        let told = told(
            403,
            &ApiOperation::listing::<ConfigMap>(NamespaceScope::All),
        );
        assert!(
            told.contains("--fleet-namespace") && told.contains("configmaps in all namespaces"),
            "{told}"
        );
    }

    #[test]
    fn who_may_write_a_release_and_not_this_command_is_told_the_verb_to_ask_for() {
        let asking = ApiOperation::asking("approve", NamespaceScope::Namespace("shop"));
        assert!(told(403, &asking).contains("may not patch grayreleases"));
        let message = "ValidatingAdmissionPolicy 'x' denied request".to_owned();
        let status = Status {
            code: 403,
            message,
            ..Status::default()
        };
        let failure = explain(&kube::Error::Api(status.boxed()), &asking).unwrap();
        assert!(
            failure
                .to_string()
                .starts_with("you may not approve grayreleases.halftone.dev in namespace shop")
        );
        assert!(
            failure
                .advice()
                .unwrap()
                .contains("can-i approve grayreleases.halftone.dev -n shop")
        );
    }

    #[test]
    fn a_release_that_is_missing_is_told_with_those_that_are_there() {
        let text = include_str!("../../../examples/minimal.yaml");
        let other = &halftone_api::manifest::read("minimal.yaml", text).manifests[0].release;
        let failure = no_release("chekout", "shop", std::slice::from_ref(other));
        assert_eq!(
            failure.to_string(),
            "there is no GrayRelease chekout in namespace shop"
        );
        assert_eq!(failure.advice(), Some("there is checkout"));
        assert!(
            no_release("x", "shop", &[])
                .advice()
                .unwrap()
                .contains("-A")
        );
    }
}
