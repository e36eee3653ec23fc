//! `halftone hand-over`: has one installation of a cluster leave a class to another one. One write: an annotation on the
//! ConfigMap of the fleet, which the owner's operator follows. With `--force` the new owner is told itself.

use std::io::Write;
use std::process::ExitCode;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::failure::Doing;
use super::{Cluster, Scope, block_on};
use crate::args::HandOverArguments;
use crate::output::{self, Failure};

const MANAGER: &str = "halftone-cli";
const CONTROLLER: &str = "halftone.dev/controller";
const HAND_OVER: &str = "halftone.dev/hand-over-to";

/// Runs the command.
pub(crate) fn run(arguments: &HandOverArguments) -> Result<ExitCode, Failure> {
    block_on(async {
        let cluster = Cluster::connect(&arguments.cluster, false).await?;
        let name = format!("halftone-fleet-{}", arguments.class);
        let by_name = ListParams::default().fields(&format!("metadata.name={name}"));
        let fleets = cluster.list::<ConfigMap>(Scope::All, &by_name).await?;
        let target = choose(&fleets, arguments)?;
        if !arguments.force
            && let Some(gone) = cluster.abandoned(&arguments.class, Some(target)).await
        {
            return Err(Failure::new(format!("the owner of class {} is gone. {gone}", arguments.class))
                .advise(format!("add --force to have {} take its releases over at once", arguments.to)));
        }
        cluster.mark(target, &name, arguments).await?;
        let mut out = output::stdout();
        let (class, to) = (&arguments.class, &arguments.to);
        match arguments.force {
            true => writeln!(out, "class {class} belongs to {to} now; its operator takes the releases over")?,
            false => writeln!(
                out,
                "{to} is to look after class {class}; the operator in {target} hands its releases over"
            )?,
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The namespace whose fleet is to be told.
fn choose<'a>(fleets: &'a [ConfigMap], arguments: &'a HandOverArguments) -> Result<&'a str, Failure> {
    let HandOverArguments { class, to, force, .. } = arguments;
    let (namespace, _) = to.split_once('/').ok_or_else(|| {
        Failure::new(format!("{to} names no installation")).advise("write NAMESPACE/RELEASE of its chart")
    })?;
    if *force {
        return Ok(namespace);
    }
    let owner = |fleet: &&ConfigMap| fleet.annotations().get(CONTROLLER).is_some_and(|owner| owner != to);
    match fleets.iter().filter(owner).collect::<Vec<_>>()[..] {
        [fleet] => Ok(fleet.metadata.namespace.as_deref().unwrap_or_default()),
        [] => Err(Failure::new(format!("no other installation has the class {class}")).advise(format!(
            "if its owner is gone, {to} takes it over within ten minutes, or at once with --force"
        ))),
        ref several => {
            let places: Vec<String> = several.iter().filter_map(|fleet| fleet.namespace()).collect();
            Err(Failure::new(format!(
                "several installations have had the class {class}: in {}",
                places.join(", ")
            ))
            .advise(format!(
                "delete ConfigMap halftone-fleet-{class} of those that are gone, or use --force"
            )))
        }
    }
}

impl Cluster {
    async fn mark(&self, namespace: &str, name: &str, arguments: &HandOverArguments) -> Result<(), Failure> {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "labels": {"halftone.dev/class": arguments.class},
                "annotations": {HAND_OVER: arguments.to},
            },
        });
        let scope = Scope::Namespace(namespace);
        let patched = self.api::<ConfigMap>(scope);
        let patched = patched.patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(object)).await;
        patched.map(drop).map_err(|error| self.failed(&error, &Doing::patching::<ConfigMap>(scope)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(namespace: &str, owner: Option<&str>) -> ConfigMap {
        let annotations: serde_json::Map<_, _> =
            owner.map(|owner| (CONTROLLER.to_owned(), owner.into())).into_iter().collect();
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "annotations": annotations}}))
            .unwrap()
    }

    fn arguments(to: &str, force: bool) -> HandOverArguments {
        HandOverArguments { class: "default".into(), to: to.into(), force, cluster: Default::default() }
    }

    #[test]
    fn the_owners_fleet_is_told_and_by_force_the_new_owners() {
        let fleets =
            [fleet("old", Some("old/halftone")), fleet("new", Some("new/halftone")), fleet("x", None)];
        assert_eq!(choose(&fleets, &arguments("new/halftone", false)).unwrap(), "old");
        assert_eq!(choose(&fleets, &arguments("other/halftone", true)).unwrap(), "other");
        let told = |fleets: &[ConfigMap], to| choose(fleets, &arguments(to, false)).unwrap_err().to_string();
        assert!(told(&fleets[1..], "new/halftone").contains("no other installation has the class default"));
        assert!(told(&fleets, "third/halftone").contains("several installations"));
        assert!(told(&fleets, "halftone").contains("names no installation"));
    }
}
