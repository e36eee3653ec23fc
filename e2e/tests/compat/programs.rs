//! The programs: engine and proxies of either version, and the two servers behind them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server whose answers say which version it is.
pub(crate) struct Backend {
    pub(crate) port: u16,
}

impl Backend {
    pub(crate) fn start(version: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let (mut lines, mut writer) = (BufReader::new(&stream).lines(), &stream);
                    // Connections are kept; each request ends with an empty line.
                    while let Some(Ok(line)) = lines.next() {
                        if line.is_empty() {
                            let length = version.len();
                            let _ = write!(
                                writer,
                                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{version}"
                            );
                        }
                    }
                });
            }
        });
        Self { port }
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let log = Stdio::null;
        let child = Command::new(program).args(arguments).stdout(log()).stderr(log()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{}: {error}", program.display())))
    }

    /// Asks it to end, and waits until it has.
    fn stop(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(asked.success());
        assert!(self.0.wait().unwrap().success(), "it ended by itself");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The engine, which decides and writes the document; its own proxy serves nobody here.
pub(crate) struct Engine {
    process: Running,
    admin: u16,
}

impl Engine {
    pub(crate) fn start(programs: &Path, manifest: &Path, state: &Path) -> Self {
        let (listen, admin) = (free_port(), free_port());
        let (listen, at) = (format!("127.0.0.1:{listen}"), format!("127.0.0.1:{admin}"));
        let (manifest, state) = (manifest.to_str().unwrap(), state.to_str().unwrap());
        let process = Running::start(
            &programs.join("halftone"),
            &[
                "run",
                manifest,
                "--state",
                state,
                "--listen",
                &listen,
                "--admin",
                &at,
                "--workers",
                "1",
                "--json",
            ],
        );
        Self { process, admin }
    }

    /// Its document, once half of the users are on gray and stable takes so many requests at once.
    pub(crate) fn document(&self, max_in_flight: usize) -> Value {
        until("the document", || {
            let (_, page) = http::get(self.admin, "/config?full", None).ok()?;
            let mut page: Value = serde_json::from_str(&page).ok()?;
            let document = page["applied"].get_mut(0)?["document"].take();
            let is_it = document["ratio"] == 500_000
                && document["arms"]["stable"]["maxInFlight"] == max_in_flight
                && document["checksum"].is_string();
            is_it.then_some(document)
        })
    }

    pub(crate) fn stop(mut self) {
        self.process.stop();
    }
}

/// A proxy that reads its documents from a folder, and keeps what it has over a restart.
pub(crate) struct Proxy {
    process: Running,
    pub(crate) name: String,
    pub(crate) port: u16,
    admin: u16,
}

impl Proxy {
    pub(crate) fn start(programs: &Path, root: &Path, name: &str) -> Self {
        let (port, admin) = (free_port(), free_port());
        let (listen, at) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{admin}"));
        let (documents, state) = (root.join("documents"), root.join(format!("proxy-{name}")));
        let (documents, state) = (documents.to_str().unwrap(), state.to_str().unwrap());
        let process = Running::start(
            &programs.join("halftone-proxy"),
            &["--config", documents, "--state", state, "--listen", &listen, "--admin", &at, "--workers", "1"],
        );
        until(&format!("{name} is ready"), || {
            http::get(admin, "/readyz", None).ok().filter(|(status, _)| *status == 200)
        });
        Self { process, name: name.to_owned(), port, admin }
    }

    /// The checksum of the document that it serves.
    pub(crate) fn applied(&self) -> Option<Value> {
        let (_, page) = http::get(self.admin, "/report", None).ok()?;
        let mut page: Value = serde_json::from_str(&page).ok()?;
        Some(page["applied"].get_mut(0)?["checksum"].take())
    }

    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }
}
