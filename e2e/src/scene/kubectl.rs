//! kubectl as a process: the user's own way to the API server.

use std::{
    fmt,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

/// Calls kubectl, which finds the cluster by KUBECONFIG.
#[derive(Clone, Debug, Default)]
pub struct Kubectl {
    /// Who asks, when it is not the kubeconfig's user.
    identity: Vec<String>,
}

/// kubectl said no.
#[derive(Clone, Debug)]
pub struct KubectlError {
    /// What was asked.
    pub asked: String,
    /// Its words on standard error.
    pub words: String,
}

impl fmt::Display for KubectlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kubectl {}: {}", self.asked, self.words.trim())
    }
}

impl Kubectl {
    /// The same cluster, as whoever has this token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            identity: vec![format!("--token={token}")],
        }
    }

    /// Posts a document to a path of the API server and returns its answer: reviews are questions in that form.
    ///
    /// # Errors
    /// Why the API server refused it.
    ///
    /// # Panics
    /// When the answer is no JSON.
    pub fn try_post(&self, path: &str, document: &Value) -> Result<Value, KubectlError> {
        let text = self.with_input(
            &["create", "--raw", path, "-f", "-"],
            Some(&document.to_string()),
        )?;
        Ok(serde_json::from_str(&text).expect("the API server answers in JSON"))
    }

    /// Posts a document to a path of the API server and returns its answer.
    ///
    /// # Panics
    /// When the API server refuses it.
    #[must_use]
    pub fn post(&self, path: &str, document: &Value) -> Value {
        self.try_post(path, document)
            .unwrap_or_else(|failed| fail(&failed))
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// What it said when it ended with another code than 0.
    pub fn try_run(&self, args: &[&str]) -> Result<String, KubectlError> {
        self.with_input(args, None)
    }

    /// Runs it and returns what it printed.
    ///
    /// # Panics
    /// When it fails, with its words.
    pub fn run(&self, args: &[&str]) -> String {
        self.try_run(args).unwrap_or_else(|failed| fail(&failed))
    }

    /// Runs it with `-o json`.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.run(&[args, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("kubectl -o json prints JSON")
    }

    /// Applies a manifest server-side, every field validated.
    ///
    /// # Errors
    /// Why the API server refused it.
    pub fn try_apply(&self, manifest: &Value) -> Result<String, KubectlError> {
        let args = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--validate=strict",
            "-f",
            "-",
        ];
        self.with_input(&args, Some(&manifest.to_string()))
    }

    /// Applies a manifest server-side, every field validated.
    ///
    /// # Panics
    /// When the API server refuses it.
    pub fn apply(&self, manifest: &Value) {
        self.try_apply(manifest)
            .map_or_else(|failed| fail(&failed), drop);
    }

    /// Creates objects in a namespace.
    ///
    /// # Panics
    /// When the API server refuses one, as it does one that is there already.
    pub fn create(&self, namespace: &str, objects: &[Value]) {
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let created = self.with_input(
            &["create", "-n", namespace, "-f", "-"],
            Some(&list.to_string()),
        );
        created.map_or_else(|failed| fail(&failed), drop);
    }

    /// What the API server would say to this manifest in the place of the object that is there; nothing changes.
    ///
    /// # Errors
    /// Why it would refuse it.
    pub fn dry_replace(&self, manifest: &Value) -> Result<String, KubectlError> {
        let args = [
            "replace",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        loop {
            // It reads the object's version first, and the operator may write its status in between.
            match self.with_input(&args, Some(&manifest.to_string())) {
                Err(failed) if failed.words.contains("the object has been modified") => {}
                answered => return answered,
            }
        }
    }

    /// A page of a pod's port, through the API server; with a body it is posted.
    ///
    /// # Errors
    /// What the page or the API server answered.
    pub fn page(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        path: &str,
        body: Option<&str>,
    ) -> Result<Value, KubectlError> {
        let url = format!("/api/v1/namespaces/{namespace}/pods/http:{pod}:{port}/proxy{path}");
        let answered = match body {
            None => self.try_run(&["get", "--raw", &url])?,
            Some(_) => self.with_input(&["create", "--raw", &url, "-f", "-"], body)?,
        };
        serde_json::from_str(&answered).map_err(|error| KubectlError {
            asked: url,
            words: format!("{error}: {answered}"),
        })
    }

    fn with_input(&self, args: &[&str], input: Option<&str>) -> Result<String, KubectlError> {
        let asked = args.join(" ");
        let failed = |words: String| KubectlError {
            asked: asked.clone(),
            words,
        };
        let mut command = Command::new("kubectl");
        let mut child = command
            .args(&self.identity)
            .args(args)
            .stdin(if input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("cannot be run: {error}; `make e2e` brings one")))?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            // What it has not read when it ends, it says itself.
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| failed(error.to_string()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(failed(text(&output.stderr)))
        }
    }
}

#[allow(clippy::panic, reason = "a test ends here")]
pub(super) fn fail(failed: &KubectlError) -> ! {
    panic!("{failed}")
}

/// Prints a line that the test runner keeps for failed tests.
#[allow(clippy::print_stdout, reason = "the test runner's own stream")]
pub(super) fn say(line: &str) {
    println!("{line}");
}
