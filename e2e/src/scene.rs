//! What a test writes against: a namespace of its own, which it fills with manifests, backends and clients, and waits
//! in. When the test fails, everything that is needed to find out why is printed before the namespace goes.
//!
//! It speaks through kubectl, as a user does, and so needs no client of its own that could hide an incompatibility.

mod backend;
mod cli;
mod client;
pub mod helm;
mod installation;
mod kubectl;
mod node;
mod report;
mod watch;

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub use backend::BackendDeployment;
pub use cli::{CliOutput, CliProcess};
pub use client::ClientPod;
pub use installation::Installation;
pub use kubectl::{Kubectl, KubectlError};
pub use node::{ClusterNode, Signal};
pub use watch::ObjectWatch;

/// How long anything may take that should come soon. Only a failure waits so long: a busy machine must not be one.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The cluster and what was installed in it, as `make e2e` tells in the environment.
#[derive(Clone, Debug)]
pub struct TestCluster {
    /// How it is spoken to.
    pub kubectl: Kubectl,
    /// Namespace that the chart was installed in.
    pub system: String,
    /// Halftone's image.
    pub image: String,
    /// Image of backends and clients.
    pub peer_image: String,
}

impl TestCluster {
    /// The cluster that the environment names.
    ///
    /// # Panics
    /// When it names none; the message says how to run the tests.
    #[must_use]
    pub fn from_environment() -> Self {
        let want = |name: &str| {
            let value = std::env::var(name).unwrap_or_default();
            assert!(
                !value.is_empty(),
                "{name} is not set. These tests need a cluster with Halftone in it: run `make e2e`, which brings one \
                 up, or see CONTRIBUTING.md for a cluster of your own"
            );
            value
        };
        want("KUBECONFIG");
        Self {
            kubectl: Kubectl::default(),
            system: std::env::var("HALFTONE_NAMESPACE").unwrap_or_else(|_| "halftone".to_owned()),
            image: want("HALFTONE_IMAGE"),
            peer_image: want("HALFTONE_PEER_IMAGE"),
        }
    }

    /// Where clients reach a fleet: the address and port of its Service.
    ///
    /// # Panics
    /// When the fleet has no Service.
    #[must_use]
    pub fn fleet(&self, class: &str) -> String {
        let selector = format!("app.kubernetes.io/name=halftone-proxy,halftone.dev/class={class}");
        let found = self
            .kubectl
            .json(&["get", "service", "-n", &self.system, "-l", &selector]);
        let service = &found["items"][0]["spec"];
        let address = service["clusterIP"]
            .as_str()
            .expect("the fleet has a Service with an address");
        format!("{address}:{}", service["ports"][0]["port"])
    }
}

/// One test's namespace. It is deleted at the end, with everything in it; set `KEEP=1` to look at it afterwards.
#[derive(Debug)]
pub struct Scene {
    /// The cluster.
    pub cluster: TestCluster,
    /// The namespace.
    pub namespace: String,
    begun: Instant,
    told: Mutex<Vec<String>>,
}

impl Scene {
    /// A new namespace, whose name begins with the test's, which no other test may have. It allows no pod that
    /// Kubernetes' restricted profile refuses.
    ///
    /// # Panics
    /// Without a cluster, or when the namespace is there already.
    #[must_use]
    pub fn new(test: &str) -> Self {
        let cluster = TestCluster::from_environment();
        let unique = std::process::id();
        let namespace = format!("e2e-{test}-{unique}");
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {
                "halftone.dev/e2e": "true",
                "pod-security.kubernetes.io/enforce": "restricted",
            }},
        });
        cluster.kubectl.create(&namespace, &[object]);
        Self {
            cluster,
            namespace,
            begun: Instant::now(),
            told: Mutex::default(),
        }
    }

    /// The host of this scene's releases, which nobody else claims.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.example.test", self.namespace)
    }

    /// Notes something with the time since the beginning; shown at once with `--nocapture`, and when the test fails.
    pub fn tell(&self, what: &str) {
        let line = format!("[{:7.2} s] {what}", self.begun.elapsed().as_secs_f64());
        kubectl::say(&format!("{}: {line}", self.namespace));
        self.told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(line);
    }

    /// kubectl with this scene's namespace.
    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [args, &["-n", &self.namespace]].concat()
    }

    /// Applies a manifest to this namespace, server-side.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn apply(&self, manifest: &Value) {
        let mut manifest = manifest.clone();
        manifest["metadata"]["namespace"] = json!(self.namespace);
        self.cluster.kubectl.apply(&manifest);
    }

    /// Applies a manifest that should be refused, and returns why it was.
    ///
    /// # Panics
    /// When it is accepted.
    #[must_use]
    pub fn refused(&self, manifest: &Value) -> String {
        let mut manifest = manifest.clone();
        manifest["metadata"]["namespace"] = json!(self.namespace);
        let refused = self.cluster.kubectl.try_apply(&manifest);
        refused
            .expect_err("the API server should refuse this manifest")
            .words
    }

    /// Patches an object of this namespace with a merge patch.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn patch(&self, object: &str, patch: &Value) {
        let patch = patch.to_string();
        self.cluster
            .kubectl
            .run(&self.args(&["patch", object, "--type=merge", "-p", &patch]));
    }

    /// Patches an object of this namespace with a list of operations (JSON patch), which a merge cannot say of lists.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn edit(&self, object: &str, operations: &Value) {
        let operations = operations.to_string();
        self.cluster
            .kubectl
            .run(&self.args(&["patch", object, "--type=json", "-p", &operations]));
    }

    /// Deletes an object of this namespace and waits until it is gone.
    ///
    /// # Panics
    /// When it does not go.
    pub fn delete(&self, object: &str) {
        self.cluster
            .kubectl
            .run(&self.args(&["delete", object, "--timeout=180s"]));
    }

    /// Deletes an object of this namespace without asking or waiting for anything.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn delete_at_once(&self, object: &str) {
        self.cluster.kubectl.run(&self.args(&[
            "delete",
            object,
            "--grace-period=0",
            "--force",
            "--wait=false",
        ]));
    }

    /// An object of this namespace, as `kind/name`.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn get(&self, object: &str) -> Value {
        self.cluster.kubectl.json(&self.args(&["get", object]))
    }

    /// An object of this namespace, as `kind/name`; none if it is not there or cannot be had.
    #[must_use]
    pub fn try_get(&self, object: &str) -> Option<Value> {
        let text = self
            .cluster
            .kubectl
            .try_run(&self.args(&["get", object, "-o", "json"]))
            .ok()?;
        serde_json::from_str(&text).ok()
    }

    /// A release's status.
    #[must_use]
    pub fn status(&self, release: &str) -> Value {
        self.get(&format!("grayrelease/{release}"))["status"].take()
    }

    /// Waits until an object's field has a value, and returns the object.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`]; the message has what it was last.
    pub fn wait(&self, object: &str, path: &str, value: &str) -> Value {
        let until = format!("--for=jsonpath={{{path}}}={value}");
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        let waited = self
            .cluster
            .kubectl
            .try_run(&self.args(&["wait", object, &until, &timeout]));
        let now = self.get(object);
        assert!(
            waited.is_ok(),
            "{object}: {path} did not become {value} within {PATIENCE:?}; its status is {:#}",
            now["status"]
        );
        self.tell(&format!("{object}: {path} is {value}"));
        now
    }

    /// Waits for a release's phase.
    ///
    /// # Panics
    /// When it does not come within [`PATIENCE`].
    pub fn phase(&self, release: &str, phase: &str) -> Value {
        self.wait(&format!("grayrelease/{release}"), ".status.phase", phase)["status"].take()
    }

    /// Asks until the answer is yes, and returns what came with it.
    ///
    /// # Panics
    /// When it is not within [`PATIENCE`].
    pub fn until<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        self.until_within(what, PATIENCE, ask)
    }

    /// The same for what takes longer.
    ///
    /// # Panics
    /// When it is not within the time.
    pub fn until_within<T>(
        &self,
        what: &str,
        within: Duration,
        mut ask: impl FnMut() -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask() {
                self.tell(what);
                return answer;
            }
            assert!(begun.elapsed() < within, "not within {within:?}: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sends a command to a release as `kubectl annotate` would, with its present token.
    ///
    /// # Panics
    /// When the release has no token yet.
    pub fn command(&self, release: &str, verb: &str) {
        let token = self.status(release)["requestToken"]
            .as_str()
            .expect("a status with a token")
            .to_owned();
        let annotations = json!({"metadata": {"annotations": {"halftone.dev/request": format!("{verb}@{token}")}}});
        self.patch(&format!("grayrelease/{release}"), &annotations);
        self.tell(&format!("{release}: {verb}"));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report::print(self);
        }
        if std::env::var_os("KEEP").is_none_or(|keep| keep.is_empty()) {
            let _ = self.cluster.kubectl.try_run(&[
                "delete",
                "namespace",
                &self.namespace,
                "--wait=false",
            ]);
        }
    }
}
