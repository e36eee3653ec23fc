//! A backend in the scene: a Deployment and a Service, and its controls.

use serde_json::{Value, json};

use super::{Scene, kubectl};
use crate::wire::BackendFault;

/// Port of the service, and of the controls.
const HTTP: u16 = 8080;
pub(super) const CONTROL: u16 = 9090;

/// One version of the service.
#[derive(Debug)]
pub struct BackendDeployment<'a> {
    scene: &'a Scene,
    /// Name of its Deployment and Service.
    pub name: String,
}

impl Scene {
    /// A Deployment of the test backend and a Service before it, ready to serve on port 80.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn backend(&self, name: &str, version: &str, replicas: u32) -> BackendDeployment<'_> {
        let backend = BackendDeployment {
            scene: self,
            name: name.to_owned(),
        };
        self.apply(&deployment(self, name, version, replicas));
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        }));
        backend.ready();
        backend
    }
}

impl BackendDeployment<'_> {
    /// Waits until all its pods are ready and no others are left.
    ///
    /// # Panics
    /// When they do not become it in time.
    pub fn ready(&self) {
        let deployment = format!("deployment/{}", self.name);
        let args = [
            "rollout",
            "status",
            &deployment,
            "--timeout=180s",
            "-n",
            &self.scene.namespace,
        ];
        self.scene.cluster.kubectl.run(&args);
    }

    /// Changes the number of its pods, and waits for them; when none are left, until the last has ended.
    ///
    /// # Panics
    /// When it does not come to that in time.
    pub fn scale(&self, replicas: u32) {
        self.scene.patch(
            &format!("deployment/{}", self.name),
            &json!({"spec": {"replicas": replicas}}),
        );
        self.ready();
        if replicas == 0 {
            let (selector, namespace) = (format!("app={}", self.name), &self.scene.namespace);
            let args = [
                "wait",
                "--for=delete",
                "pod",
                "-l",
                &selector,
                "--timeout=180s",
                "-n",
                namespace,
            ];
            self.scene.cluster.kubectl.run(&args);
        }
    }

    /// Has every pod misbehave like this from now on; `Fault::default()` ends it. Returns when the first of them began,
    /// in milliseconds since 1970.
    ///
    /// # Panics
    /// When a pod does not answer.
    pub fn fault(&self, fault: &BackendFault) -> u64 {
        let document = serde_json::to_string(fault).expect("a fault serialises");
        let page = |pod: &String| {
            let namespace = &self.scene.namespace;
            self.scene
                .cluster
                .kubectl
                .page(namespace, pod, CONTROL, "/fault", Some(&document))
        };
        let begun =
            |pod| page(pod).unwrap_or_else(|failed| kubectl::fail(&failed))["atMs"].as_u64();
        let first = self.pods().iter().filter_map(begun).min();
        self.scene.tell(&format!("{}: {fault:?}", self.name));
        first.expect("a backend has pods, and each says when")
    }

    /// How many requests its pods have had.
    ///
    /// # Panics
    /// When a pod does not answer.
    #[must_use]
    pub fn served(&self) -> u64 {
        let page = |pod: &String| {
            self.scene
                .cluster
                .kubectl
                .page(&self.scene.namespace, pod, CONTROL, "/served", None)
        };
        let served = |pod| {
            page(pod).unwrap_or_else(|failed| kubectl::fail(&failed))["served"]
                .as_u64()
                .unwrap_or(0)
        };
        self.pods().iter().map(served).sum()
    }

    /// Names of its pods, those that are ending left out.
    #[must_use]
    pub fn pods(&self) -> Vec<String> {
        pods(self.scene, &format!("app={}", self.name))
    }
}

/// Names of the scene's pods with these labels, those that are ending left out.
pub(super) fn pods(scene: &Scene, selector: &str) -> Vec<String> {
    let found =
        scene
            .cluster
            .kubectl
            .json(&["get", "pods", "-l", selector, "-n", &scene.namespace]);
    let pods = found["items"].as_array().cloned().unwrap_or_default();
    let lives = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
    pods.iter().filter(lives).filter_map(name).collect()
}

fn deployment(scene: &Scene, name: &str, version: &str, replicas: u32) -> Value {
    let args = json!(["serve", format!("--version={version}")]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod(scene, &args, true)},
        },
    })
}

/// A pod of the peers' image that the restricted profile accepts.
pub(super) fn pod(scene: &Scene, args: &Value, serves: bool) -> Value {
    let mut ports = vec![json!({"name": "control", "containerPort": CONTROL})];
    if serves {
        ports.push(json!({"name": "http", "containerPort": HTTP}));
    }
    json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "peer",
            "image": scene.cluster.peer_image,
            "imagePullPolicy": "IfNotPresent",
            "args": args,
            "ports": ports,
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "control"}, "periodSeconds": 1, "timeoutSeconds": 5},
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            },
        }],
    })
}
