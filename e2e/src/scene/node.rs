//! What only the owner of a cluster may do to it: stop its components, signal processes in pods, read its audit log.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use super::Scene;

/// The machine under a cluster that is ours, reached by the scripts of `e2e/cluster`.
#[derive(Clone, Debug)]
pub struct ClusterNode {
    scripts: PathBuf,
}

/// What a process in a pod is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It stops in its tracks.
    Stop,
    /// It goes on.
    Continue,
    /// It is gone, without a word.
    Kill,
}

impl Scene {
    /// The machine under the cluster; none where the cluster is not ours, and then the test says what it leaves out.
    #[must_use]
    pub fn node(&self, left_out: &str) -> Option<ClusterNode> {
        let scripts = std::env::var_os("HALFTONE_E2E_SCRIPTS").filter(|folder| !folder.is_empty());
        if scripts.is_none() {
            self.tell(&format!(
                "left out, since this cluster is not ours: {left_out}"
            ));
        }
        Some(ClusterNode {
            scripts: scripts?.into(),
        })
    }
}

impl ClusterNode {
    /// Does something to a component of the cluster, as `e2e/cluster/component` says.
    ///
    /// # Panics
    /// When it cannot be done.
    pub fn component(&self, verb: &str, component: &str) {
        self.script("component", &[verb, component]);
    }

    /// Sends a signal to the process of a pod, also while the API server is away.
    ///
    /// # Panics
    /// When no such process runs.
    pub fn signal(&self, namespace: &str, pod: &str, signal: Signal) {
        let name = match signal {
            Signal::Stop => "STOP",
            Signal::Continue => "CONT",
            Signal::Kill => "KILL",
        };
        self.script("signal", &[namespace, pod, name]);
    }

    /// The most memory in bytes that the process of a pod has had resident.
    ///
    /// # Panics
    /// When no such process runs.
    #[must_use]
    pub fn peak_memory(&self, namespace: &str, pod: &str) -> u64 {
        let bytes = self.script("peak", &[namespace, pod]);
        bytes.trim().parse().expect("a number of bytes")
    }

    /// All writes in a namespace that the API server has carried out or refused, in the order of its audit log.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn writes(&self, namespace: &str) -> Vec<Value> {
        let lines = self.script("audit", &[namespace]);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is an object"))
            .collect()
    }

    fn script(&self, script: &str, args: &[&str]) -> String {
        let output = Command::new(self.scripts.join(script)).args(args).output();
        let output = output.expect("HALFTONE_E2E_SCRIPTS is the folder e2e/cluster");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{script} {}: {words}",
            args.join(" ")
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
