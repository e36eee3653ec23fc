//! An installation of its own for a scene: the chart in the scene's namespace, for releases of that namespace only, beside
//! the one that all scenes share. Whoever kills operators or stops proxies does it here and disturbs nobody.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    PATIENCE, Scene, backend,
    helm::{CHART, helm},
};
use crate::wire::LoadSpec;

/// Name of the Helm release, and of its one fleet's class.
const NAME: &str = "own";

/// The chart in the scene's namespace. What it was last installed with is kept, as what an upgrade begins with.
#[derive(Debug)]
pub struct Installation<'a> {
    scene: &'a Scene,
    values: RefCell<Value>,
    /// Class of its fleet, for `spec.proxyClass`.
    pub class: &'static str,
}

impl Scene {
    /// Installs the chart in this namespace and waits until it is ready. `values` are laid over those that make it
    /// small: one operator, one proxy; what they want for the fleet they say in `fleetDefaults`.
    ///
    /// # Panics
    /// When Helm refuses it, or it does not become ready.
    #[must_use]
    pub fn install(&self, values: &Value) -> Installation<'_> {
        let (repository, tag) = self
            .cluster
            .image
            .rsplit_once(':')
            .expect("an image has a tag");
        let small = json!({"requests": {"cpu": "10m", "memory": "16Mi"}});
        let base = json!({
            // Beside another one: with a definition that is there already, and nothing that is the whole cluster's.
            "watchNamespaces": [self.namespace],
            "crds": {"install": false},
            "rbac": {"userRoles": false},
            "image": {"repository": repository, "tag": tag},
            "operator": {"replicas": 1, "resources": small},
            "fleetDefaults": {
                "allowAll": true, "position": "Edge", "replicas": 1, "workers": 1, "resources": small,
                "drain": {"delaySeconds": 10, "timeoutSeconds": 5},
            },
            "fleets": [{"class": NAME}],
        });
        let installation = Installation {
            scene: self,
            values: RefCell::new(base),
            class: NAME,
        };
        installation.upgrade(values);
        installation
    }
}

impl Installation<'_> {
    /// `helm upgrade --install` with these values laid over those before, until everything is ready.
    ///
    /// # Panics
    /// When Helm refuses it, or it does not become ready.
    pub fn upgrade(&self, values: &Value) {
        lay_over(&mut self.values.borrow_mut(), values);
        self.helm(
            &["upgrade", "--install", NAME, CHART],
            Some(&self.values.borrow()),
        );
        self.scene.tell("installed or upgraded, and ready");
    }

    /// `helm rollback` to a revision, counted from 1, until everything is ready. The next upgrade begins with the values
    /// of the last one all the same.
    ///
    /// # Panics
    /// When Helm refuses it, or it does not become ready.
    pub fn rollback(&self, revision: u32) {
        self.helm(&["rollback", NAME, &revision.to_string()], None);
        self.scene
            .tell(&format!("rolled back to revision {revision}, and ready"));
    }

    /// `helm uninstall`, until everything is gone.
    ///
    /// # Panics
    /// When Helm refuses it.
    pub fn uninstall(&self) {
        self.helm(&["uninstall", NAME], None);
        self.scene.tell("uninstalled");
    }

    fn helm(&self, args: &[&str], values: Option<&Value>) {
        let common = ["-n", &self.scene.namespace, "--wait", "--timeout", "300s"];
        let done = helm(&[args, &common].concat(), values);
        assert!(done.is_ok(), "helm {}: {done:?}", args.join(" "));
    }

    /// The name of an object of the chart, as in `own-halftone-operator`.
    #[must_use]
    pub fn name(&self, part: &str) -> String {
        format!("{NAME}-halftone-{part}")
    }

    /// The Deployment of the proxies, as in `deployment/NAME`.
    #[must_use]
    pub fn proxy_deployment(&self) -> String {
        format!("deployment/{}", self.name(&format!("proxy-{}", self.class)))
    }

    /// Waits until a Deployment has only ready pods of its present template.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn ready(&self, deployment: &str) {
        let args = [
            "rollout",
            "status",
            deployment,
            "--timeout=180s",
            "-n",
            &self.scene.namespace,
        ];
        self.scene.cluster.kubectl.run(&args);
    }

    /// Runs so many proxies, with probes so patient that one which is stopped stays ready, and so counts: by default it
    /// is taken out after two seconds, and nobody waits for it any more.
    ///
    /// # Panics
    /// When they do not become ready.
    pub fn patient_proxies(&self, replicas: u32) {
        let probe =
            |kind: &str| format!("/spec/template/spec/containers/0/{kind}/failureThreshold");
        let operations = json!([
            {"op": "replace", "path": "/spec/replicas", "value": replicas},
            {"op": "add", "path": probe("readinessProbe"), "value": 600},
            {"op": "add", "path": probe("livenessProbe"), "value": 600},
        ]);
        self.scene.edit(&self.proxy_deployment(), &operations);
        self.ready(&self.proxy_deployment());
        // Those of the template before are on their way out, and do not count.
        self.scene
            .tell(&format!("{replicas} proxies with patient probes"));
    }

    /// Runs so many proxies from now on, and waits until they are ready.
    ///
    /// # Panics
    /// When they do not become ready.
    pub fn scale_proxies(&self, replicas: u32) {
        self.scene.patch(
            &self.proxy_deployment(),
            &json!({"spec": {"replicas": replicas}}),
        );
        self.ready(&self.proxy_deployment());
        self.scene.tell(&format!("{replicas} proxies are ready"));
    }

    /// Names of the operators' pods, those that are ending left out.
    #[must_use]
    pub fn operators(&self) -> Vec<String> {
        backend::pods(self.scene, "app.kubernetes.io/name=halftone-operator")
    }

    /// Names of the proxies' pods, those that are ending left out.
    #[must_use]
    pub fn proxies(&self) -> Vec<String> {
        backend::pods(self.scene, "app.kubernetes.io/name=halftone-proxy")
    }

    /// The operator that acts on the fleet, by name of its pod; waits until there is one.
    ///
    /// # Panics
    /// When nobody takes the Lease within [`PATIENCE`].
    #[must_use]
    pub fn leader(&self) -> String {
        let begun = Instant::now();
        loop {
            let lease = self
                .scene
                .try_get(&format!("lease/halftone-{}", self.class))
                .unwrap_or_default();
            let holder = lease["spec"]["holderIdentity"].as_str().map(str::to_owned);
            if let Some(holder) = holder.filter(|holder| self.operators().contains(holder)) {
                return holder;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "nobody holds the Lease: {lease:#}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// An order for the scene's host through this fleet.
    ///
    /// # Panics
    /// When the fleet has no Service.
    #[must_use]
    pub fn order(&self, rate: u32, users: u32) -> LoadSpec {
        let service = self.scene.get(&format!(
            "service/{}",
            self.name(&format!("proxy-{}", self.class))
        ));
        let address = service["spec"]["clusterIP"]
            .as_str()
            .expect("the fleet's Service has an address");
        self.scene
            .order_through(format!("{address}:80"), rate, users)
    }
}

/// Sets in the first what the second says, object by object; lists are replaced.
fn lay_over(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_laid_over_object_by_object() {
        let mut base = json!({"operator": {"replicas": 1, "logLevel": "info"}, "list": [1, 2]});
        lay_over(
            &mut base,
            &json!({"operator": {"replicas": 2}, "list": [3], "more": {"a": 1}}),
        );
        let expected =
            json!({"operator": {"replicas": 2, "logLevel": "info"}, "list": [3], "more": {"a": 1}});
        assert_eq!(base, expected);
    }
}
