//! What ten thousand releases at rest cost an operator: memory, processor time, and how long it takes to know them all.
//! The real binary against an API server and a proxy in this process, over loopback.
//!
//! `cargo bench -p halftone-operator --bench idle -- [RELEASES] [NAMESPACES] [SECONDS]`; `HALFTONE_OPERATOR` names
//! another binary than the one that cargo builds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement prints, and ends where it cannot go on"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use halftone_testkit::{ApiEndpoint, ApiServer, service};
use http_body_util::Full;
use serde_json::{Value, json};

const CONFIG: &str = "
fleets:
- {class: default, namespace: halftone, podSelector: {app: proxy}, allowAll: true}
";

struct Size {
    releases: usize,
    namespaces: usize,
    seconds: u64,
}

/// A proxy that has every document as soon as it is there.
#[derive(Default)]
struct IdleProxy {
    sequence: u64,
    /// By the name of the ConfigMap: its version and what the report says of it.
    applied: HashMap<String, (Value, Value)>,
}

struct IdleOperator(Child);

impl Drop for IdleOperator {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    let size = Size {
        releases: number(0, 10_000),
        namespaces: number(1, 100),
        seconds: number(2, 60) as u64,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&size));
}

async fn measure(size: &Size) {
    let folder = tempfile::tempdir().unwrap();
    let server = ApiServer::new().listen();
    let admin = serve_proxy(&server).await;
    fill(&server, size, admin);
    prepare(folder.path(), &server);
    println!(
        "{} releases in {} namespaces",
        size.releases, size.namespaces
    );
    for start in [
        "first start: all are taken up",
        "restart: all are as they were",
    ] {
        let (operator, began) = (start_operator(folder.path()), Instant::now());
        let busy = wait(&server, size, began).await;
        let id = operator.0.id();
        let (cpu, peak) = (processor(id), memory(id, "VmHWM"));
        tokio::time::sleep(Duration::from_secs(15)).await;
        let before = processor(id);
        tokio::time::sleep(Duration::from_secs(size.seconds)).await;
        let share = 100.0 * (processor(id) - before) / size.seconds as f64;
        let now = memory(id, "VmRSS");
        println!(
            "{start} after {busy:.1} s and {cpu:.1} s of a core; at rest {now:.0} MB (peak {peak:.0} MB), {share:.2} % of a core"
        );
    }
}

/// Waits until every release has its document and nothing is written any more.
async fn wait(server: &ApiServer, size: &Size, began: Instant) -> f64 {
    let (mut writes, mut last, mut asked) = (server.writes().len(), began, 0);
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = server.writes().len();
        if now != writes {
            (writes, last) = (now, Instant::now());
        }
        asked += 1;
        let all = asked % 10 == 0 && count(server, "configmaps") > size.releases;
        if all
            && last.elapsed() > Duration::from_secs(10)
            && began.elapsed() > Duration::from_secs(20)
        {
            return (last - began).as_secs_f64();
        }
    }
}

fn count(server: &ApiServer, resource: &str) -> usize {
    let mut count = 0;
    server.each(resource, |_| count += 1);
    count
}

fn fill(server: &ApiServer, size: &Size, admin: SocketAddr) {
    server.put(
        "pods",
        json!({
            "metadata": {"name": "proxy-0", "namespace": "halftone", "uid": "uid-proxy-0", "labels": {"app": "proxy"}},
            "spec": {"containers": [{"name": "proxy", "ports": [{"name": "admin", "containerPort": admin.port()}]}]},
            "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        }),
    );
    for at in 0..size.namespaces {
        for service in ["one", "two"] {
            backend(server, &format!("shop-{at}"), service);
        }
    }
    for at in 0..size.releases {
        server.put(
            "grayreleases",
            release(at, &format!("shop-{}", at % size.namespaces)),
        );
    }
}

fn backend(server: &ApiServer, namespace: &str, name: &str) {
    let labels = json!({"kubernetes.io/service-name": name});
    let metadata = json!({"name": name, "namespace": namespace, "labels": labels});
    server.put(
        "services",
        json!({"metadata": metadata, "spec": {"ports": [{"port": 80, "name": "http"}]}}),
    );
    let endpoint = json!({"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"uid": name}});
    let ports = json!([{"name": "http", "port": 8080}]);
    server.put(
        "endpointslices",
        json!({"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": [endpoint]}),
    );
}

/// Of three releases one is a plain route, one waits at 0 and one serves everyone.
fn release(at: usize, namespace: &str) -> Value {
    let (name, host) = (format!("checkout-{at}"), format!("shop-{at}.example.com"));
    let mut spec = json!({
        "hosts": [host], "stable": {"service": {"name": "one", "port": 80}, "version": "v1"},
    });
    let gray = json!({"service": {"name": "two", "port": 80}, "version": "v2"});
    match at % 3 {
        0 => {}
        1 => (spec["gray"], spec["targetRatio"]) = (gray, json!(0)),
        _ => {
            (spec["gray"], spec["targetRatio"]) = (gray, json!(100));
            spec["steps"] = json!([{"ratio": 100, "hold": "0s"}]);
            spec["health"] = json!({"enabled": false, "watch": "0s"});
        }
    }
    let applied = json!({"apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease", "metadata": {"name": name}, "spec": spec});
    let fields = json!({"f:spec": {"f:hosts": {}, "f:stable": {"f:service": {"f:name": {}, "f:port": {}}, "f:version": {}}}});
    let managed = json!({"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields});
    json!({
        "apiVersion": "halftone.dev/v1alpha1", "kind": "GrayRelease",
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("7c1f0e52-94a1-4d2b-8a51-{at:012}"), "generation": 1,
            "creationTimestamp": "2026-11-21T10:00:00Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied.to_string()},
            "managedFields": [managed.clone(), managed],
        },
        "spec": spec,
        "status": {"observedGeneration": -1},
    })
}

fn prepare(folder: &Path, api: &ApiEndpoint) {
    std::fs::create_dir(folder.join("tokens")).unwrap();
    std::fs::write(folder.join("tokens/default"), "secret\n").unwrap();
    std::fs::write(folder.join("operator.yaml"), CONFIG).unwrap();
    std::fs::write(folder.join("kubeconfig"), api.kubeconfig("default")).unwrap();
}

fn start_operator(folder: &Path) -> IdleOperator {
    let binary = std::env::var("HALFTONE_OPERATOR")
        .unwrap_or(env!("CARGO_BIN_EXE_halftone-operator").to_owned());
    let child = Command::new(binary)
        .args([
            "--identity",
            "bench",
            "--listen",
            "127.0.0.1:0",
            "--log-level",
            "error",
        ])
        .arg("--config")
        .arg(folder.join("operator.yaml"))
        .arg("--token-dir")
        .arg(folder.join("tokens"))
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .stdout(Stdio::null())
        .spawn();
    IdleOperator(child.unwrap())
}

async fn serve_proxy(server: &ApiServer) -> SocketAddr {
    let (server, proxy) = (server.clone(), Arc::new(Mutex::new(IdleProxy::default())));
    service::serve(move |_| {
        let report = proxy.lock().unwrap().report(&server);
        async { http::Response::new(Full::new(Bytes::from(report))) }
    })
    .await
}

impl IdleProxy {
    fn report(&mut self, server: &ApiServer) -> String {
        self.sequence += 1;
        let (mut applied, mut fleet) = (Vec::new(), Value::Null);
        server.each("configmaps", |object| {
            let version = &object["metadata"]["resourceVersion"];
            if let Some(text) = object["data"]["fleet.json"].as_str() {
                let config: Value = serde_json::from_str(text).unwrap();
                fleet = json!({"revision": config["revision"], "checksum": config["checksum"]});
                return;
            }
            // Neither are the keys of the operator a document.
            let Some(text) = object["data"]["routing.json"].as_str() else {
                return;
            };
            let name = object["metadata"]["name"].as_str().unwrap();
            let known = self.applied.get(name).filter(|(known, _)| known == version);
            let said = known.map(|(_, said)| said.clone()).unwrap_or_else(|| {
                let document: Value = serde_json::from_str(text).unwrap();
                json!({
                    "uid": document["release"]["uid"], "revision": document["revision"],
                    "checksum": document["checksum"], "openLong": 0,
                })
            });
            self.applied
                .insert(name.to_owned(), (version.clone(), said.clone()));
            applied.push(said);
        });
        json!({
            "instance": "uid-proxy-0", "epoch": "0000000000000001", "sequence": self.sequence, "version": "0",
            "features": [], "applied": applied, "fleet": fleet, "keys": [], "entries": [],
        })
        .to_string()
    }
}

/// Seconds of processor time so far.
fn processor(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    ticks as f64 / 100.0
}

/// Megabytes.
fn memory(id: u32, field: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap();
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<f64>()
        .unwrap()
        * 1024.0
        / 1e6
}
