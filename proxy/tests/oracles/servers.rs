//! The servers: started on ports of their own, each writing a line for every request that it sees.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::PATIENCE;

/// A server and what it has seen.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
    /// Lines of method, target and status.
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
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
            command.arg("-e").arg("/dev/null").arg("-p").arg(directory).arg("-c").arg(path);
            command
        })
    }

    pub(crate) fn haproxy() -> Self {
        Self::start("haproxy", |address, directory| {
            let configuration = format!(
                "global
    log stdout format raw local0
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

    fn start(name: &str, command: impl Fn(SocketAddr, &Path) -> Command) -> Self {
        let directory = TempDir::new().unwrap();
        // Another program may take the port between our giving it up and the server's taking it; then it ends at once.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut process = command(address, directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name} cannot be started ({error}); scripts/setup test installs it")
            });
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (into, out) = (Arc::clone(&lines), process.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                into.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "{name} has ended at once");
            assert!(Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { address, process, lines, reader: Some(reader), _directory: directory }
    }

    /// Ends the server. How often it answered 200 to each method and path.
    pub(crate) fn requests(mut self) -> BTreeMap<String, u64> {
        self.stop();
        let mut requests = BTreeMap::new();
        for line in self.lines.lock().unwrap().iter() {
            let (request, status) = line.rsplit_once(' ').unwrap_or((line, ""));
            if status == "200" {
                // HAProxy writes `#` so, and there is no other way for these to come into a request.
                let name = request.split('?').next().unwrap_or_default().replace("#23", "#");
                *requests.entry(name).or_default() += 1;
            }
        }
        requests
    }

    fn stop(&mut self) {
        // What was written to a pipe by then is still read to its end.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Debian keeps servers where an ordinary user's path does not look.
fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    command
}
