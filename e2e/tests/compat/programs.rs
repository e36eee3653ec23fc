//! The programs: engine and proxies of either version, and the two servers behind them.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use halftone_testkit::{Backend, Client, Message};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// A user who waits longer has not been served.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A server whose answers say which version it is.
pub(crate) fn backend(version: &'static str) -> Backend {
    Backend::start(move |incoming, _| {
        // However long a proxy keeps a connection, it is the proxy that closes it.
        incoming.reader.get_ref().set_read_timeout(None).unwrap();
        while incoming.request().is_some() {
            incoming.ok(version);
        }
    })
}

/// The answer to one request, on a connection of its own.
pub(crate) fn get(port: u16, target: &str, user: Option<&str>) -> io::Result<Message> {
    let fields: Vec<_> = user
        .map(|user| ("X-User-Name", user))
        .into_iter()
        .chain([("Connection", "close")])
        .collect();
    let client = Client::try_connect((Ipv4Addr::LOCALHOST, port).into())?;
    let answer = client
        .with_patience(ANSWERED_WITHIN)
        .try_ask("GET", target, &fields)?;
    answer.ok_or_else(|| io::Error::other("no answer"))
}

/// A process that ends with the test.
struct ProgramProcess(Child);

impl ProgramProcess {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let log = Stdio::null;
        let child = Command::new(program)
            .args(arguments)
            .stdout(log())
            .stderr(log())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{}: {error}", program.display())))
    }

    /// Asks it to end, and waits until it has.
    fn stop(&mut self) {
        let asked = Command::new("kill")
            .arg(self.0.id().to_string())
            .status()
            .unwrap();
        assert!(asked.success());
        assert!(self.0.wait().unwrap().success(), "it ended by itself");
    }
}

impl Drop for ProgramProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The engine, which decides and writes the document; its own proxy serves nobody here.
pub(crate) struct EngineProcess {
    process: ProgramProcess,
    admin: u16,
}

impl EngineProcess {
    pub(crate) fn start(programs: &Path, manifest: &Path, state: &Path) -> Self {
        let (listen, admin) = (free_port(), free_port());
        let (listen, at) = (format!("127.0.0.1:{listen}"), format!("127.0.0.1:{admin}"));
        let (manifest, state) = (manifest.to_str().unwrap(), state.to_str().unwrap());
        let process = ProgramProcess::start(
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
            let page = get(self.admin, "/config?full", None).ok()?;
            let mut page: Value = serde_json::from_slice(&page.body).ok()?;
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
pub(crate) struct ProxyProcess {
    process: ProgramProcess,
    pub(crate) name: String,
    pub(crate) port: u16,
    admin: u16,
}

impl ProxyProcess {
    pub(crate) fn start(programs: &Path, root: &Path, name: &str) -> Self {
        let (port, admin) = (free_port(), free_port());
        let (listen, at) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{admin}"));
        let (documents, state) = (root.join("documents"), root.join(format!("proxy-{name}")));
        let (documents, state) = (documents.to_str().unwrap(), state.to_str().unwrap());
        let process = ProgramProcess::start(
            &programs.join("halftone-proxy"),
            &[
                "--config",
                documents,
                "--state",
                state,
                "--listen",
                &listen,
                "--admin",
                &at,
                "--workers",
                "1",
            ],
        );
        until(&format!("{name} is ready"), || {
            get(admin, "/readyz", None)
                .ok()
                .filter(|answer| answer.status() == 200)
        });
        Self {
            process,
            name: name.to_owned(),
            port,
            admin,
        }
    }

    /// The checksum of the document that it serves.
    pub(crate) fn applied(&self) -> Option<Value> {
        let page = get(self.admin, "/report", None).ok()?;
        let mut page: Value = serde_json::from_slice(&page.body).ok()?;
        Some(page["applied"].get_mut(0)?["checksum"].take())
    }

    pub(crate) fn stop(&mut self) {
        self.process.stop();
    }
}
