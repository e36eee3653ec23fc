//! What README.md has people type in its section about one machine, run as it stands there.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use halftone_testkit::free_port;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

use crate::world::until;

/// The commands of the section: what starts two servers, what runs the release, the users.
const BLOCKS: [&str; 3] = ["python3 -m http.server", "halftone run ", "while true; do"];

/// A script with all that it starts; it ends with its owner.
struct Script(Child);

impl Script {
    fn start(text: &str, dir: &Path) -> Self {
        let mut script = Command::new("bash");
        script
            .arg("-ec")
            .arg(text)
            .current_dir(dir)
            .process_group(0);
        Self(
            script
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // All of it may have ended already.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The readme and its example, with ports and directories that are this test's own.
fn own(text: &str, dir: &Path, ports: [u16; 3]) -> String {
    // In two passes, since a port may end like another one.
    let marked = text
        .replace("8080", "<users>")
        .replace("9001", "<v1>")
        .replace("9002", "<v2>");
    let own = |text: String, (mark, port): (&str, u16)| text.replace(mark, &port.to_string());
    let text = ["<users>", "<v1>", "<v2>"]
        .into_iter()
        .zip(ports)
        .fold(marked, own);
    let bin = Path::new(env!("CARGO_BIN_EXE_halftone")).parent().unwrap();
    text.replace("/tmp/", &format!("{}/", dir.display()))
        .replace("$PWD/target/quick", bin.to_str().unwrap())
        .replace(
            "halftone run ",
            &format!("halftone run --listen {} --admin 0 ", ports[0]),
        )
}

#[test]
fn the_readme_s_loop_of_users_reaches_both_versions_of_what_the_readme_starts() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (dir, ports) = (
        TempDir::new().unwrap(),
        [free_port(), free_port(), free_port()],
    );
    let read = |name: &str| {
        own(
            &std::fs::read_to_string(root.join(name)).unwrap(),
            dir.path(),
            ports,
        )
    };
    let (readme, example) = (read("README.md"), read("examples/local/local.yaml"));
    std::fs::create_dir_all(dir.path().join("examples/local")).unwrap();
    std::fs::write(dir.path().join("examples/local/local.yaml"), example).unwrap();
    let block = |has: &&str| {
        let fenced = readme.split("```\n").find(|block| block.contains(has));
        fenced.unwrap_or_else(|| panic!("README.md has no {has}"))
    };
    let [servers, commands, users] = BLOCKS.each_ref().map(block);
    // What else is tried first (in virtual time) is no part of what users come to.
    let run = commands
        .lines()
        .find(|line| line.starts_with("halftone run "))
        .unwrap();
    // Each in a terminal of its own, the last ones for as long as anybody looks.
    let _release = Script::start(&format!("{servers}{run}"), dir.path());
    let answers = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    let patience = Duration::from_secs(60);
    until("the release runs", patience, || {
        ports.into_iter().all(answers)
    });
    let _users = Script::start(users, dir.path());
    until("both versions answer", patience, || {
        let status = Command::new(env!("CARGO_BIN_EXE_halftone"))
            .args(["status", "site", "--json"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        let all = status["status"]["observed"]["requests"]
            .as_u64()
            .unwrap_or(0);
        let gray = status["status"]["observed"]["grayRequests"]
            .as_u64()
            .unwrap_or(0);
        gray > 0 && all > gray
    });
}
