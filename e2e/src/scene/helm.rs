//! Helm as a process: the user's own way to the chart.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;

/// The chart of these sources.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/halftone");

/// Runs Helm, which finds the cluster by KUBECONFIG, and returns what it printed. Values are given as a file is.
///
/// # Errors
/// What it said when it ended with another code than 0.
///
/// # Panics
/// When it cannot be run.
pub fn helm(args: &[&str], values: Option<&Value>) -> Result<String, String> {
    let from_input: &[&str] = if values.is_some() { &["-f", "-"] } else { &[] };
    let mut child = Command::new("helm")
        .args(args)
        .args(from_input)
        .stdin(if values.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("helm can be run; `make e2e` brings one");
    if let (Some(mut pipe), Some(values)) = (child.stdin.take(), values) {
        // What it has not read when it ends, it says itself.
        let _ = pipe.write_all(values.to_string().as_bytes());
    }
    let output = child.wait_with_output().expect("helm ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}
