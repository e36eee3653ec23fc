//! `halftone version`: the versions of this program, of the operators and of the proxies, and whether they fit together.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use super::{ClusterClient, NamespaceScope, block_on};
use crate::args::{CommandTarget, VersionArguments};
use crate::local_run;
use crate::output::{self, CommandError};

const CLIENT: &str = env!("CARGO_PKG_VERSION");
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// Runs the command. What is no cluster, or may not be seen, leaves the version of this program.
pub(crate) fn run(arguments: &VersionArguments) -> Result<ExitCode, CommandError> {
    let versions = match local_run::place(&arguments.running, false) {
        CommandTarget::Local(state) => Versions {
            run: Some(local_run::applied(&state)?.version),
            ..Versions::client()
        },
        CommandTarget::Cluster { .. } if arguments.client => Versions::client(),
        CommandTarget::Cluster { looked_here } => block_on(of_cluster(arguments, looked_here))?,
    };
    let mut out = output::stdout();
    match arguments.printed.is_data() {
        true => arguments.printed.write(&mut out, &versions)?,
        false => write!(out, "{}", versions.text())?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn of_cluster(
    arguments: &VersionArguments,
    looked_here: bool,
) -> Result<Versions, CommandError> {
    let seen = async {
        let cluster = ClusterClient::connect(&arguments.running.cluster, looked_here).await?;
        let scope = arguments
            .fleet
            .fleet_namespace
            .as_deref()
            .map_or(NamespaceScope::All, NamespaceScope::Namespace);
        let operators = cluster.versions(scope, "halftone-operator").await?;
        Ok((operators, cluster.versions(scope, "halftone-proxy").await?))
    };
    Ok(match seen.await {
        Ok((operators, proxies)) => Versions {
            operators,
            proxies,
            ..Versions::client()
        }
        .compared(),
        Err(failure) => {
            let failure: CommandError = failure;
            Versions {
                problem: Some(failure.to_string()),
                ..Versions::client()
            }
        }
    })
}

impl ClusterClient {
    /// How many pods of a part there are of each version.
    async fn versions(
        &self,
        scope: NamespaceScope<'_>,
        part: &str,
    ) -> Result<BTreeMap<String, usize>, CommandError> {
        let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={part}"));
        let mut versions = BTreeMap::new();
        for pod in self.list::<Pod>(scope, &selector).await? {
            *versions.entry(version(&pod)).or_default() += 1;
        }
        Ok(versions)
    }
}

/// The version that a pod's label names, else the tag of its image.
fn version(pod: &Pod) -> String {
    let image = || pod.spec.as_ref()?.containers.first()?.image.clone();
    let tag = || {
        let image = image()?;
        let last = image.rsplit('/').next()?.to_owned();
        let name = last.split('@').next()?.to_owned();
        name.split_once(':').map(|(_, tag)| tag.to_owned())
    };
    pod.labels()
        .get(VERSION_LABEL)
        .cloned()
        .or_else(tag)
        .unwrap_or_else(|| "unknown".to_owned())
}

/// What `-o json` prints.
#[derive(Debug, Default, Serialize)]
struct Versions {
    client: String,
    /// That of the `halftone run` on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    /// How many there are of each version.
    operators: BTreeMap<String, usize>,
    proxies: BTreeMap<String, usize>,
    /// What does not fit together, and what to do.
    skew: Vec<String>,
    /// Why nothing of a cluster is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Versions {
    fn client() -> Self {
        Self {
            client: CLIENT.to_owned(),
            ..Self::default()
        }
    }

    fn compared(mut self) -> Self {
        let mut skew = Vec::new();
        if self.operators.is_empty() {
            skew.push(
                "no operator runs; install Halftone with its chart, or see halftone check"
                    .to_owned(),
            );
        }
        if self.operators.len() > 1 {
            skew.push(
                "operators of several versions run: an upgrade is under way, or two installations are there"
                    .to_owned(),
            );
        }
        if self.proxies.len() > 1 {
            skew.push("proxies of several versions run: an upgrade is under way".to_owned());
        }
        let minor = |version: &str| {
            version
                .trim_start_matches('v')
                .splitn(3, '.')
                .take(2)
                .collect::<Vec<_>>()
                .join(".")
        };
        let others = self
            .operators
            .keys()
            .filter(|version| minor(version) != minor(&self.client));
        for operator in others {
            skew.push(format!(
                "this program is {}, the operator {operator}: use the halftone of the operator's version",
                self.client
            ));
        }
        let ahead = self.proxies.keys().filter(|proxy| {
            !self
                .operators
                .keys()
                .any(|operator| minor(operator) == minor(proxy))
        });
        for proxy in ahead.filter(|_| !self.operators.is_empty()) {
            skew.push(format!(
                "proxies are {proxy} and no operator is: see docs/upgrade.md for the order"
            ));
        }
        self.skew = skew;
        self
    }

    fn text(&self) -> String {
        let mut text = format!("client     {}\n", self.client);
        if let Some(run) = &self.run {
            text.push_str(&format!("run        {run}\n"));
        }
        for (name, versions) in [("operators", &self.operators), ("proxies", &self.proxies)] {
            for (version, count) in versions {
                text.push_str(&format!("{name:<10} {version} ({count})\n"));
            }
        }
        let notes = self.skew.iter().chain(&self.problem);
        notes.for_each(|note| text.push_str(&format!("note       {note}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(labels: &serde_json::Value, image: &str) -> Pod {
        let spec = json!({"containers": [{"name": "c", "image": image}]});
        serde_json::from_value(json!({"metadata": {"labels": labels}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_has_the_version_of_its_label_or_else_of_its_image() {
        for (pod, says) in [
            (
                pod(&json!({VERSION_LABEL: "0.2.0"}), "a/halftone:x"),
                "0.2.0",
            ),
            (
                pod(&json!({}), "registry:5000/halftone:0.1.0@sha256:00"),
                "0.1.0",
            ),
            (pod(&json!({}), "halftone"), "unknown"),
        ] {
            assert_eq!(version(&pod), says);
        }
    }

    #[test]
    fn versions_that_do_not_fit_are_told_with_what_to_do() {
        let some = |versions: &[&str]| {
            versions
                .iter()
                .map(|version| ((*version).to_owned(), 1))
                .collect()
        };
        let told = |client: &str, operators: &[&str], proxies: &[&str]| {
            let versions = Versions {
                operators: some(operators),
                proxies: some(proxies),
                ..Versions::client()
            };
            Versions {
                client: client.to_owned(),
                ..versions
            }
            .compared()
            .skew
            .join("\n")
        };
        assert_eq!(told("0.1.0", &["0.1.3"], &["0.1.3"]), "");
        assert!(
            told("0.1.0", &["0.2.0"], &["0.2.0"])
                .contains("use the halftone of the operator's version")
        );
        assert!(told("0.1.0", &["0.1.0"], &["0.1.0", "0.2.0"]).contains("an upgrade is under way"));
        assert!(told("0.1.0", &[], &[]).contains("no operator runs"));
    }
}
