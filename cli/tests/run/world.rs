//! What the tests of `run` stand on: a directory, two real HTTP servers, users, and the program itself.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use assert_cmd::assert::Assert;
use halftone_testkit::{Client, free_port};
use serde_json::Value;
use tempfile::TempDir;

/// Beyond what a busy machine needs; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn halftone() -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_halftone"));
    command.timeout(Duration::from_secs(120));
    command
}

/// Waits for a condition.
pub(crate) fn until(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < patience, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One GET; its status, or 0 where there was no answer.
pub(crate) fn get(proxy: SocketAddr, user: &str) -> u16 {
    get_from(proxy, "shop.example.com", user)
}

/// The same of another host.
pub(crate) fn get_from(proxy: SocketAddr, host: &str, user: &str) -> u16 {
    let ask = || {
        let mut client = Client::try_connect(proxy)?
            .with_host(host)
            .with_patience(PATIENCE);
        client.try_ask(
            "GET",
            "/index.html",
            &[("X-User-Name", user), ("Connection", "close")],
        )
    };
    ask().ok().flatten().map_or(0, |answer| answer.status())
}

pub(crate) struct RunWorld {
    dir: TempDir,
}

impl RunWorld {
    pub(crate) fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("release.yaml")
    }

    pub(crate) fn fleet_file(&self) -> PathBuf {
        self.dir.path().join("fleet.yaml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn write(&self, manifest: &str) {
        std::fs::write(self.file(), manifest).unwrap();
    }

    pub(crate) fn manifest(&self, stable: u16, gray: u16, steps: &str) -> String {
        format!(
            r#"apiVersion: halftone.dev/v1alpha1
kind: GrayRelease
metadata: {{name: checkout, namespace: shop}}
spec:
  hosts: [shop.example.com]
  stable: {{addresses: ["127.0.0.1:{stable}"], version: v1}}
  gray: {{addresses: ["127.0.0.1:{gray}"], version: v2}}
  targetRatio: 100
  steps: [{steps}]
  health: {{minRequests: 5, warmup: 0s}}
"#
        )
    }

    pub(crate) fn command(&self) -> assert_cmd::Command {
        let mut command = halftone();
        command
            .arg("run")
            .arg(self.file())
            .arg("--state")
            .arg(self.state());
        command.args(["--listen", "127.0.0.1:0"]);
        command
    }

    pub(crate) fn steer(&self, arguments: &[&str]) -> Assert {
        halftone()
            .args(arguments)
            .arg("--state")
            .arg(self.state())
            .assert()
    }
}

/// A child process that ends with its owner.
pub(crate) struct ChildProcess(pub(crate) Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn accepts(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// The stable version.
pub(crate) struct Nginx {
    pub(crate) port: u16,
    _process: ChildProcess,
}

impl Nginx {
    pub(crate) fn start(world: &RunWorld) -> Self {
        let (port, dir) = (free_port(), world.dir.path().join("nginx"));
        std::fs::create_dir(&dir).unwrap();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {0}/pid; error_log {0}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 'nginx\\n'; }} }} }}\n",
            dir.display()
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let program = if std::path::Path::new("/usr/sbin/nginx").exists() {
            "/usr/sbin/nginx"
        } else {
            "nginx"
        };
        let process = Command::new(program)
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn();
        let process = ChildProcess(process.expect("scripts/setup test installs nginx"));
        until("nginx accepts", PATIENCE, || accepts(port));
        Self {
            port,
            _process: process,
        }
    }
}

/// The gray version.
pub(crate) struct Python {
    pub(crate) port: u16,
    _process: ChildProcess,
}

impl Python {
    pub(crate) fn start(world: &RunWorld) -> Self {
        let (port, dir) = (free_port(), world.dir.path().join("python"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("index.html"), "python\n").unwrap();
        let process = Command::new("python3")
            .args([
                "-m",
                "http.server",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--directory",
            ])
            .arg(&dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = ChildProcess(process.expect("scripts/setup test installs python3"));
        until("python accepts", PATIENCE, || accepts(port));
        Self {
            port,
            _process: process,
        }
    }
}

/// The program, and where its users come in.
pub(crate) struct Run<'a> {
    world: &'a RunWorld,
    pub(crate) listen: SocketAddr,
    process: ChildProcess,
    told: Arc<Mutex<String>>,
}

impl<'a> Run<'a> {
    pub(crate) fn start(world: &'a RunWorld) -> Self {
        Self::start_at(world, "127.0.0.1:0".parse().unwrap())
    }

    pub(crate) fn start_at(world: &'a RunWorld, listen: SocketAddr) -> Self {
        Self::start_with(world, &listen.to_string())
    }

    /// With its flag `--listen` as a person writes it.
    pub(crate) fn start_with(world: &'a RunWorld, listen: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halftone"));
        command
            .arg("run")
            .arg(world.file())
            .arg("--state")
            .arg(world.state());
        if world.fleet_file().exists() {
            command.arg("--fleet").arg(world.fleet_file());
        }
        let mut child = command
            .args([
                "--json",
                "--admin",
                "127.0.0.1:0",
                "--workers",
                "1",
                "--listen",
                listen,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = ChildProcess(child);
        let first: Value =
            serde_json::from_str(&lines.next().expect("it started").unwrap()).unwrap();
        let listen = first["listening"].as_str().unwrap().parse().unwrap();
        let told = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&told);
        // Its lines are read to the end, or it would stop at a full pipe.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| heard.lock().unwrap().push_str(&line));
        });
        Self {
            world,
            listen,
            process,
            told,
        }
    }

    /// Waits until it has said something.
    pub(crate) fn until_told(&self, what: &str) {
        until(&format!("it tells of {what}"), PATIENCE, || {
            self.told.lock().unwrap().contains(what)
        });
    }

    /// How often it has said something.
    pub(crate) fn count_told(&self, what: &str) -> usize {
        self.told.lock().unwrap().matches(what).count()
    }

    /// kill -9
    pub(crate) fn kill(self) {
        drop(self.process);
    }

    pub(crate) fn steer(&self, arguments: &[&str]) -> Assert {
        self.world.steer(arguments)
    }

    fn status(&self) -> Value {
        let assert = self.steer(&["status", "checkout", "--json"]).success();
        serde_json::from_slice::<Value>(&assert.get_output().stdout).unwrap()["status"].take()
    }

    /// Waits for a status that is as wanted.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "waited in vain until {what}: {status:#}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// People who ask again and again, each under a name.
pub(crate) struct TestUsers {
    stop: Arc<AtomicBool>,
    good_in_a_row: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl TestUsers {
    pub(crate) fn arrive(proxy: SocketAddr) -> Self {
        let (stop, good_in_a_row) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let threads = (0..4).map(|thread| {
            let (stop, good) = (Arc::clone(&stop), Arc::clone(&good_in_a_row));
            std::thread::spawn(move || {
                for user in (thread..500).step_by(4).cycle() {
                    if stop.load(SeqCst) {
                        return;
                    }
                    match get(proxy, &format!("user-{user}")) {
                        200 => drop(good.fetch_add(1, SeqCst)),
                        _ => good.store(0, SeqCst),
                    }
                    // The load, not a wait.
                    std::thread::sleep(Duration::from_millis(20));
                }
            })
        });
        let threads = threads.collect();
        Self {
            stop,
            good_in_a_row,
            threads,
        }
    }

    /// Waits until every one of them was served once more.
    pub(crate) fn until_all_served(&self) {
        self.good_in_a_row.store(0, SeqCst);
        until("everyone is served", PATIENCE, || {
            self.good_in_a_row.load(SeqCst) > 600
        });
    }
}

impl Drop for TestUsers {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
