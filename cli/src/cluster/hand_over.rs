//! `halftone hand-over`: has one installation of a cluster leave a class to another one. One write: an annotation on the
//! ConfigMap of the fleet, which the owner's operator follows. With `--force` the new owner is told itself, and when: it
//! takes over what was last seen before.

use std::io::Write;
use std::process::ExitCode;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::api_error::ApiOperation;
use super::proxies::is_ready;
use super::{ClusterClient, NamespaceScope, block_on};
use crate::args::HandOverArguments;
use crate::output::{self, CommandError};

const MANAGER: &str = "halftone-cli";
const CONTROLLER: &str = "halftone.dev/controller";
const HAND_OVER: &str = "halftone.dev/hand-over-to";

/// What is to be written, in which namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandOverStep<'a> {
    /// The owner there is to offer its releases.
    Offer(&'a str),
    /// The new owner there is to take the releases over.
    Take(&'a str),
    /// The owner there is to keep what it was to hand over.
    Keep(&'a str),
}

/// Runs the command.
pub(crate) fn run(arguments: &HandOverArguments) -> Result<ExitCode, CommandError> {
    block_on(async {
        let cluster = ClusterClient::connect(&arguments.cluster, false).await?;
        let by_name =
            ListParams::default().fields(&format!("metadata.name={}", fleet_name(arguments)));
        let fleets = cluster
            .list::<ConfigMap>(NamespaceScope::All, &by_name)
            .await?;
        let step = choose(&fleets, arguments)?;
        match step {
            HandOverStep::Offer(owner) => {
                cluster.has_owner(owner, arguments).await?;
                cluster.check_recipient(&arguments.to).await?;
            }
            HandOverStep::Take(_) => cluster.check_recipient(&arguments.to).await?,
            HandOverStep::Keep(_) => {}
        }
        cluster.carry_out(step, arguments).await?;
        let mut out = output::stdout();
        let HandOverArguments { class, to, .. } = arguments;
        match step {
            HandOverStep::Take(_) => writeln!(
                out,
                "the operator of {to} takes the releases of class {class} over, unless their owner shows itself"
            )?,
            HandOverStep::Offer(owner) => writeln!(
                out,
                "{to} is to look after class {class}; the operator in {owner} looks after each release until {to} has taken it"
            )?,
            HandOverStep::Keep(_) => writeln!(
                out,
                "{to} offers no more releases of class {class}; if the other installation has most of them by now, it \
                 takes the rest: run the command again then, and it hands them back"
            )?,
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    })
}

fn fleet_name(arguments: &HandOverArguments) -> String {
    format!("halftone-fleet-{}", arguments.class)
}

/// What to do.
fn choose<'a>(
    fleets: &'a [ConfigMap],
    arguments: &'a HandOverArguments,
) -> Result<HandOverStep<'a>, CommandError> {
    let HandOverArguments {
        class, to, force, ..
    } = arguments;
    let (namespace, _) = parts(to)?;
    if *force {
        return Ok(HandOverStep::Take(namespace));
    }
    let of_owner = |fleet: &&ConfigMap| fleet.annotations().get(CONTROLLER) == Some(to);
    let gives = |fleet: &&ConfigMap| {
        let order = fleet.annotations().get(HAND_OVER);
        order.is_some_and(|order| order.split('@').next() != Some(to))
    };
    if let Some(own) = fleets.iter().filter(of_owner).find(gives) {
        return Ok(HandOverStep::Keep(
            own.metadata.namespace.as_deref().unwrap_or_default(),
        ));
    }
    let owner = |fleet: &&ConfigMap| {
        fleet
            .annotations()
            .get(CONTROLLER)
            .is_some_and(|owner| owner != to)
    };
    match fleets.iter().filter(owner).collect::<Vec<_>>()[..] {
        [fleet] => Ok(HandOverStep::Offer(fleet.metadata.namespace.as_deref().unwrap_or_default())),
        [] => Err(CommandError::new(format!("no other installation has the class {class}")).advise(format!(
            "if its owner is gone, {to} takes it over within ten minutes, or at once with --force"
        ))),
        ref several => {
            let places: Vec<String> = several.iter().filter_map(|fleet| fleet.namespace()).collect();
            Err(CommandError::new(format!(
                "several installations have had the class {class}: in {}",
                places.join(", ")
            ))
            .advise(format!(
                "delete ConfigMap halftone-fleet-{class} of those that are gone, or use --force"
            )))
        }
    }
}

/// Namespace and release of an installation's chart.
fn parts(to: &str) -> Result<(&str, &str), CommandError> {
    to.split_once('/').ok_or_else(|| {
        CommandError::new(format!("{to} names no installation"))
            .advise("write NAMESPACE/RELEASE of its chart")
    })
}

/// That no operator of the installation is there, if `pods` says so.
fn nobody(pods: &[Pod], to: &str, selector: &str) -> Option<CommandError> {
    if pods.iter().any(is_ready) {
        return None;
    }
    let (namespace, _) = parts(to).ok()?;
    let look = format!("kubectl get pods -n {namespace} -l {selector}");
    Some(match pods.len() {
        0 => CommandError::new(format!(
            "there is no operator of the installation {to}; nothing was ordered"
        ))
        .advise(format!(
            "write NAMESPACE/RELEASE of its chart, as helm list -A has them; see {look}"
        )),
        _ => CommandError::new(format!(
            "no operator of the installation {to} is ready; nothing was ordered"
        ))
        .advise(format!("see {look}")),
    })
}

impl ClusterClient {
    /// Whether there is somebody who hands over.
    async fn has_owner(
        &self,
        owner: &str,
        arguments: &HandOverArguments,
    ) -> Result<(), CommandError> {
        let HandOverArguments { class, to, .. } = arguments;
        match self.abandoned(class, Some(owner)).await {
            None => Ok(()),
            Some(gone) => Err(CommandError::new(format!(
                "the owner of class {class} is gone. {gone}"
            ))
            .advise(format!(
                "add --force to have {to} take its releases over at once"
            ))),
        }
    }

    /// Whether there is somebody who takes. Whoever cannot be seen is taken to be there: until the new owner takes a
    /// release, the present one looks after it.
    async fn check_recipient(&self, to: &str) -> Result<(), CommandError> {
        let (namespace, release) = parts(to)?;
        let selector = format!(
            "app.kubernetes.io/name=halftone-operator,app.kubernetes.io/instance={release}"
        );
        let only = ListParams::default().labels(&selector);
        match self
            .list::<Pod>(NamespaceScope::Namespace(namespace), &only)
            .await
        {
            Ok(pods) => nobody(&pods, to, &selector).map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
    }

    async fn carry_out(
        &self,
        step: HandOverStep<'_>,
        arguments: &HandOverArguments,
    ) -> Result<(), CommandError> {
        let to = &arguments.to;
        match step {
            HandOverStep::Offer(namespace) => self.mark(namespace, arguments, to).await,
            // Whoever has written a status since then is not gone.
            HandOverStep::Take(namespace) => {
                self.mark(namespace, arguments, &format!("{to}@{}", Timestamp::now()))
                    .await
            }
            HandOverStep::Keep(namespace) => {
                let scope = NamespaceScope::Namespace(namespace);
                let parameters = PatchParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let patch = Patch::Merge(json!({"metadata": {"annotations": {HAND_OVER: null}}}));
                let api = self.api::<ConfigMap>(scope);
                let patched = api.patch(&fleet_name(arguments), &parameters, &patch).await;
                self.done(patched, scope)
            }
        }
    }

    async fn mark(
        &self,
        namespace: &str,
        arguments: &HandOverArguments,
        order: &str,
    ) -> Result<(), CommandError> {
        let name = fleet_name(arguments);
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "labels": {"halftone.dev/class": arguments.class},
                "annotations": {HAND_OVER: order},
            },
        });
        let scope = NamespaceScope::Namespace(namespace);
        let api = self.api::<ConfigMap>(scope);
        let patched = api
            .patch(&name, &PatchParams::apply(MANAGER), &Patch::Apply(object))
            .await;
        self.done(patched, scope)
    }

    fn done(
        &self,
        patched: kube::Result<ConfigMap>,
        scope: NamespaceScope<'_>,
    ) -> Result<(), CommandError> {
        patched
            .map(drop)
            .map_err(|error| self.failed(&error, &ApiOperation::patching::<ConfigMap>(scope)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(namespace: &str, owner: Option<&str>) -> ConfigMap {
        let annotations: serde_json::Map<_, _> = owner
            .map(|owner| (CONTROLLER.to_owned(), owner.into()))
            .into_iter()
            .collect();
        serde_json::from_value(
            json!({"metadata": {"namespace": namespace, "annotations": annotations}}),
        )
        .unwrap()
    }

    fn arguments(to: &str, force: bool) -> HandOverArguments {
        HandOverArguments {
            class: "default".into(),
            to: to.into(),
            force,
            cluster: Default::default(),
        }
    }

    #[test]
    fn the_owners_fleet_is_told_and_by_force_the_new_owners() {
        let fleets = [
            fleet("old", Some("old/halftone")),
            fleet("new", Some("new/halftone")),
            fleet("x", None),
        ];
        assert_eq!(
            choose(&fleets, &arguments("new/halftone", false)).unwrap(),
            HandOverStep::Offer("old")
        );
        assert_eq!(
            choose(&fleets, &arguments("other/halftone", true)).unwrap(),
            HandOverStep::Take("other")
        );
        let told = |fleets: &[ConfigMap], to| {
            choose(fleets, &arguments(to, false))
                .unwrap_err()
                .to_string()
        };
        assert!(
            told(&fleets[1..], "new/halftone")
                .contains("no other installation has the class default")
        );
        assert!(told(&fleets, "third/halftone").contains("several installations"));
        assert!(told(&fleets, "halftone").contains("names no installation"));
    }

    #[test]
    fn an_owner_that_is_named_keeps_what_it_was_to_hand_over() {
        let mut fleets = [
            fleet("old", Some("old/halftone")),
            fleet("new", Some("new/halftone")),
        ];
        fleets[0]
            .annotations_mut()
            .insert(HAND_OVER.into(), "new/halftonne".into());
        assert_eq!(
            choose(&fleets, &arguments("old/halftone", false)).unwrap(),
            HandOverStep::Keep("old")
        );
        assert_eq!(
            choose(&fleets, &arguments("new/halftone", false)).unwrap(),
            HandOverStep::Offer("old")
        );
    }

    #[test]
    fn only_an_installation_whose_operator_is_ready_is_named() {
        let pod = |ready: &str| -> Pod {
            let status = json!({"conditions": [{"type": "Ready", "status": ready}]});
            serde_json::from_value(json!({"metadata": {}, "status": status})).unwrap()
        };
        let told =
            |pods: &[Pod]| nobody(pods, "new/halftonne", "x=y").map(|failure| failure.to_string());
        assert!(
            told(&[])
                .unwrap()
                .contains("there is no operator of the installation new/halftonne")
        );
        assert!(told(&[pod("False")]).unwrap().contains("is ready"));
        assert_eq!(told(&[pod("False"), pod("True")]), None);
    }
}
