//! `halftone proxies`: the proxy pods of the fleets, and the releases that wait for each. What a pod's proxy runs is
//! known by the status of the releases: the operator has asked every proxy, and names those that lag behind.

use std::io::Write;
use std::process::ExitCode;

use halftone_api::GrayRelease;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use super::{ClusterClient, NamespaceScope, block_on};
use crate::args::ProxiesArguments;
use crate::output::{self, CommandError, span};
use crate::summary::name_of;

const PROXIES: &str = "app.kubernetes.io/name=halftone-proxy";
const CLASS_LABEL: &str = "halftone.dev/class";

/// Runs the command.
pub(crate) fn run(arguments: &ProxiesArguments) -> Result<ExitCode, CommandError> {
    block_on(async {
        let cluster = ClusterClient::connect(&arguments.cluster, false).await?;
        // The namespace of a proxy is its fleet's, not that of a release.
        let named = arguments
            .fleet
            .fleet_namespace
            .as_ref()
            .or(arguments.cluster.namespace.as_ref());
        let scope = named.map_or(NamespaceScope::All, |namespace| {
            NamespaceScope::Namespace(namespace)
        });
        let selector = match &arguments.class {
            Some(class) => format!("{PROXIES},{CLASS_LABEL}={class}"),
            None => PROXIES.to_owned(),
        };
        let pods = cluster
            .list::<Pod>(scope, &ListParams::default().labels(&selector))
            .await?;
        // Who may not see all releases still sees the proxies.
        let releases = cluster
            .releases(NamespaceScope::All, None)
            .await
            .ok()
            .map(|listing| listing.releases);
        let proxies: Vec<ProxyStatus> = pods
            .iter()
            .map(ProxyStatus::of)
            .map(|proxy| proxy.awaited(releases.as_deref()))
            .collect();
        if proxies.is_empty() {
            return Err(nobody(scope, arguments.class.as_deref()));
        }
        let mut out = output::stdout();
        match arguments.printed.is_data() {
            true => arguments.printed.write(&mut out, &proxies)?,
            false => writeln!(out, "{}", table(&proxies, Timestamp::now()).trim_fmt())?,
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    })
}

fn nobody(scope: NamespaceScope<'_>, class: Option<&str>) -> CommandError {
    let class = class.map_or_else(String::new, |class| format!(" of class {class}"));
    let place = match scope {
        NamespaceScope::All => "in any namespace".to_owned(),
        NamespaceScope::Namespace(namespace) => format!("in namespace {namespace}"),
    };
    CommandError::new(format!("there is no proxy{class} {place}")).advise(format!(
        "proxies are pods with the label {PROXIES}; the chart makes them"
    ))
}

impl ClusterClient {
    /// The proxies of a fleet.
    ///
    /// # Errors
    /// As for every question to the API server.
    pub(super) async fn proxies_of(
        &self,
        class: &str,
        namespace: &str,
    ) -> Result<Vec<ProxyStatus>, CommandError> {
        let selector = format!("{PROXIES},{CLASS_LABEL}={class}");
        let pods = self
            .list::<Pod>(
                NamespaceScope::Namespace(namespace),
                &ListParams::default().labels(&selector),
            )
            .await?;
        Ok(pods.iter().map(ProxyStatus::of).collect())
    }
}

/// A proxy pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProxyStatus {
    namespace: String,
    /// The pod's name.
    pub(crate) name: String,
    class: String,
    /// Whether it serves.
    pub(crate) ready: bool,
    /// Phase of the pod; `Draining` while it ends.
    state: String,
    restarts: i32,
    started_at: Option<Timestamp>,
    node: Option<String>,
    image: Option<String>,
    /// The releases that wait for it; none where releases may not be listed.
    awaited_by: Option<Vec<String>>,
    /// The port of its pages.
    #[serde(skip)]
    admin_port: i32,
    /// The port of users' requests.
    #[serde(skip)]
    http_port: i32,
}

/// The port of users where the pod does not name it.
const HTTP_PORT: i32 = 8080;

/// The port of the pages where the pod does not name it.
const ADMIN_PORT: i32 = 8081;

/// Whether a proxy runs the present document of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum DocumentMatch {
    /// It has said so.
    Yes,
    /// It is named as the one that is waited for.
    No,
    /// Some proxy has not said so yet, and none is named.
    Unknown,
    /// It counts for nothing.
    NotReady,
}

/// Whether a pod's containers are ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

impl ProxyStatus {
    fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let ending = pod.metadata.deletion_timestamp.is_some();
        let containers = status.container_statuses.unwrap_or_default();
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            class: pod.labels().get(CLASS_LABEL).cloned().unwrap_or_default(),
            ready: is_ready(pod) && !ending,
            state: if ending {
                "Draining".to_owned()
            } else {
                status.phase.unwrap_or_else(|| "Unknown".to_owned())
            },
            restarts: containers
                .iter()
                .map(|container| container.restart_count)
                .sum(),
            started_at: status.start_time.map(|time| time.0),
            node: spec.and_then(|spec| spec.node_name.clone()),
            image: spec.and_then(|spec| spec.containers.first()?.image.clone()),
            awaited_by: None,
            admin_port: spec
                .and_then(|spec| port(spec, "admin"))
                .unwrap_or(ADMIN_PORT),
            http_port: spec
                .and_then(|spec| port(spec, "http"))
                .unwrap_or(HTTP_PORT),
        }
    }

    /// Where the API server leads to one of its pages.
    pub(super) fn page(&self, page: &str) -> String {
        let Self {
            namespace,
            name,
            admin_port,
            ..
        } = self;
        format!("/api/v1/namespaces/{namespace}/pods/{name}:{admin_port}/proxy/{page}")
    }

    /// Where the API server leads to what users reach.
    pub(super) fn traffic_path(&self) -> String {
        let Self {
            namespace,
            name,
            http_port,
            ..
        } = self;
        format!("/api/v1/namespaces/{namespace}/pods/{name}:{http_port}/proxy/")
    }

    fn awaited(self, releases: Option<&[GrayRelease]>) -> Self {
        let waits = |release: &&GrayRelease| self.runs(release) == DocumentMatch::No;
        let awaited_by =
            releases.map(|releases| releases.iter().filter(waits).map(name_of).collect());
        Self { awaited_by, ..self }
    }

    /// Whether it runs the present document of a release of its fleet.
    pub(super) fn runs(&self, release: &GrayRelease) -> DocumentMatch {
        let Some(proxies) = release
            .status
            .as_ref()
            .and_then(|status| status.proxies.as_ref())
        else {
            return DocumentMatch::Unknown;
        };
        if release.spec.proxy_class == self.class && proxies.waiting_for.contains(&self.name) {
            return DocumentMatch::No;
        }
        let named = i64::try_from(proxies.waiting_for.len()).unwrap_or(i64::MAX);
        match (
            self.ready,
            proxies.acknowledged.saturating_add(named) >= proxies.ready,
        ) {
            (false, _) => DocumentMatch::NotReady,
            (true, true) => DocumentMatch::Yes,
            (true, false) => DocumentMatch::Unknown,
        }
    }
}

fn port(spec: &PodSpec, name: &str) -> Option<i32> {
    let ports = spec.containers.first()?.ports.as_ref()?;
    ports
        .iter()
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}

fn table(proxies: &[ProxyStatus], now: Timestamp) -> comfy_table::Table {
    let header = [
        "NAMESPACE",
        "CLASS",
        "PROXY",
        "READY",
        "STATE",
        "RESTARTS",
        "AGE",
        "IMAGE",
        "NODE",
        "AWAITED BY",
    ];
    let mut table = output::table(&header);
    for proxy in proxies {
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let awaited = match proxy.awaited_by.as_deref() {
            None => "?".to_owned(),
            Some([]) => "-".to_owned(),
            Some(releases) => releases.join(", "),
        };
        table.add_row([
            proxy.namespace.clone(),
            proxy.class.clone(),
            proxy.name.clone(),
            if proxy.ready { "yes" } else { "no" }.to_owned(),
            proxy.state.clone(),
            proxy.restarts.to_string(),
            proxy
                .started_at
                .map_or_else(|| "-".to_owned(), |at| span(now.duration_since(at))),
            text(&proxy.image),
            text(&proxy.node),
            awaited,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config_maps::tests::release;
    use super::*;

    fn pod(name: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "halftone", "name": name, "labels": {"halftone.dev/class": "default"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "proxy", "image": "halftone:0.1.0"}]},
            "status": {"phase": "Running", "startTime": "2026-11-21T10:00:00Z",
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "proxy", "ready": true, "restartCount": 2, "image": "", "imageID": ""}]}
        }))
        .unwrap()
    }

    fn reported(ready: i64, acknowledged: i64, waiting_for: &[&str]) -> GrayRelease {
        let proxies =
            json!({"ready": ready, "acknowledged": acknowledged, "waitingFor": waiting_for});
        let status = serde_json::from_value(json!({"proxies": proxies})).unwrap();
        GrayRelease {
            status: Some(status),
            ..release()
        }
    }

    #[test]
    fn who_runs_a_release_is_what_the_operator_was_told() {
        let [one, two] = ["proxy-1", "proxy-2"].map(|name| ProxyStatus::of(&pod(name, "True")));
        assert_eq!(one.runs(&reported(2, 2, &[])), DocumentMatch::Yes);
        assert_eq!(
            one.runs(&reported(2, 1, &[])),
            DocumentMatch::Unknown,
            "nobody is named yet"
        );
        let named = reported(2, 1, &["proxy-2"]);
        assert_eq!(
            (one.runs(&named), two.runs(&named)),
            (DocumentMatch::Yes, DocumentMatch::No)
        );
        assert_eq!(
            ProxyStatus::of(&pod("proxy-3", "False")).runs(&reported(2, 2, &[])),
            DocumentMatch::NotReady
        );
    }

    #[test]
    fn the_list_names_the_releases_that_wait_for_a_proxy() {
        let proxy =
            ProxyStatus::of(&pod("proxy-2", "True")).awaited(Some(&[reported(2, 1, &["proxy-2"])]));
        let told = table(&[proxy], "2026-11-21T12:00:00Z".parse().unwrap()).to_string();
        for words in [
            "proxy-2",
            "yes",
            "Running",
            "2h",
            "halftone:0.1.0",
            "node-1",
            "shop/checkout",
        ] {
            assert!(told.contains(words), "{told}");
        }
    }
}
