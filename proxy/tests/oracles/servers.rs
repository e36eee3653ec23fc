//! The servers: started on ports of their own, each writing a line for every request that it sees. They write to a
//! file, since HAProxy drops lines when a pipe is full or another of its threads is writing.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use halftone_testkit::free_port;
use tempfile::TempDir;

use crate::support::{Client, PATIENCE};

/// The target of the request that comes last.
const LAST: &str = "/last";

/// A server and what it has seen.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
    /// Lines of method, target and status.
    log: PathBuf,
    _directory: TempDir,
}

impl Server {
    pub(crate) fn nginx() -> Self {
        Self::start("nginx", |address, directory| {
            let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {};", directory.join(kind).display()))
                .join(" ");
            let configuration = format!(
                "worker_processes 1; daemon off; master_process off; pid {pid}; error_log /dev/null;
                events {{ worker_connections 1024; }}
                http {{
                    {temporary}
                    log_format seen escape=none '$request_method $request_uri $status';
                    access_log /dev/stdout seen;
                    client_max_body_size 0;
                    keepalive_requests 1000000;
                    server {{ listen {address}; location / {{ return 200 ok; }} }}
                }}",
                pid = directory.join("pid").display(),
            );
            let path = directory.join("nginx.conf");
            std::fs::write(&path, configuration).unwrap();
            let mut command = program("nginx");
            command
                .arg("-e")
                .arg("/dev/null")
                .arg("-p")
                .arg(directory)
                .arg("-c")
                .arg(path);
            command
        })
    }

    pub(crate) fn haproxy() -> Self {
        Self::start("haproxy", |address, directory| {
            let configuration = format!(
                "global
    log stdout format raw local0
    nbthread 1
    maxconn 1000
defaults
    mode http
    log global
    log-format \"%HM %HU %ST\"
    timeout client 30s
    timeout http-keep-alive 30s
frontend seen
    bind {address}
    http-request wait-for-body time 20s
    http-request return status 200 content-type text/plain string ok
"
            );
            let path = directory.join("haproxy.cfg");
            std::fs::write(&path, configuration).unwrap();
            let mut command = program("haproxy");
            command.arg("-db").arg("-f").arg(path);
            command
        })
    }

    pub(crate) fn python() -> Self {
        Self::start("python3", |address, directory| {
            let path = directory.join("server.py");
            std::fs::write(&path, include_str!("server.py")).unwrap();
            let mut command = program("python3");
            command.arg("-u").arg(path).arg(address.port().to_string());
            command
        })
    }

    pub(crate) fn start(name: &str, command: impl Fn(SocketAddr, &Path) -> Command) -> Self {
        let directory = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let log = directory.path().join("seen");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut process = command(address, directory.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name} cannot be started ({error}); scripts/setup test installs it")
            });
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(
                process.try_wait().unwrap().is_none(),
                "{name} has ended at once"
            );
            assert!(Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            address,
            process,
            log,
            _directory: directory,
        }
    }

    /// Ends the server. How often it answered 200 to each method and path.
    pub(crate) fn requests(self) -> BTreeMap<String, u64> {
        self.settle();
        let mut requests = BTreeMap::new();
        for line in as_logged(&std::fs::read(&self.log).unwrap()).lines() {
            let (request, status) = line.rsplit_once(' ').unwrap_or((line, ""));
            if status == "200" && request != format!("GET {LAST}") {
                // HAProxy writes `#` so, and there is no other way for these to come into a request.
                let name = request
                    .split('?')
                    .next()
                    .unwrap_or_default()
                    .replace("#23", "#");
                *requests.entry(name).or_default() += 1;
            }
        }
        requests
    }

    /// nginx and HAProxy write a line when its answer has been sent; with one thread for all, they have written all
    /// lines before this request's when it is over. Python writes it before the answer.
    fn settle(&self) {
        let mut client = Client::connect(self.address);
        client.get_with(LAST, &[("Connection", "close")]);
        client.rest().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a server wrote, with bytes that are not UTF-8 as the proxy's log has them: nginx writes them as they are, HAProxy
/// behind `#`, Python as letters of Latin-1.
fn as_logged(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    ["#80", "#FF", "\u{80}", "\u{ff}"]
        .into_iter()
        .zip(["%80", "%FF"].into_iter().cycle())
        .fold(text, |text, (theirs, ours)| text.replace(theirs, ours))
}

/// Debian keeps servers where an ordinary user's path does not look.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    command
}
