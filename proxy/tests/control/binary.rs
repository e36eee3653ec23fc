//! The binary as a service manager runs it: flags, environment, signals, exit codes, limits.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::support::{Client, backend, breaking, get, release, until};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halftone-proxy"));
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(args: &[&str]) -> (Output, String) {
    let output = command().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

/// A running proxy; killed if the test fails.
struct ProxyBinary {
    child: Child,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    /// What it said so far.
    log: NamedTempFile,
}

impl ProxyBinary {
    /// Starts it on free ports and waits until it is ready.
    fn start(config: &Path, args: &[&str]) -> Self {
        let listen = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        Self::spawn(
            command()
                .arg("--config")
                .arg(config)
                .args(listen)
                .args(args),
        )
    }

    /// Its log says where it listens, so that no two tests need to agree on ports.
    fn spawn(command: &mut Command) -> Self {
        let log = NamedTempFile::new().unwrap();
        let child = command
            .env("HALFTONE_LOG_FORMAT", "json")
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let started = || {
            let text = std::fs::read_to_string(log.path()).unwrap();
            text.lines()
                .find(|line| line.contains("started"))
                .map(str::to_owned)
        };
        let line = until("a started proxy", started, Option::is_some).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        let addresses = text("listen")
            .split(',')
            .map(|address| address.parse().unwrap())
            .collect();
        let admin = text("admin").parse().unwrap();
        until(
            "a ready proxy",
            || get(admin, "/readyz").status(),
            |status| *status == 200,
        );
        Self {
            child,
            addresses,
            admin,
            log,
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: exit code, standard output, log.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut out = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        let code = self.child.wait().unwrap().code();
        (code, out, std::fs::read_to_string(self.log.path()).unwrap())
    }
}

impl Drop for ProxyBinary {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn config() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("a.json"),
        release("checkout", 1, backend("stable"), json!({})),
    )
    .unwrap();
    dir
}

#[test]
fn bad_flags_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().to_str().unwrap();
    for (args, told) in [
        (&[] as &[&str], "<--config <DIR>|--kubernetes>"),
        (
            &["--config", config, "--kubernetes"],
            "'--config <DIR>' cannot be used with '--kubernetes'",
        ),
        (&["--kubernetes", "--namespace", "No Such"], "--namespace"),
        (&["--kubernetes", "--pod-uid="], "--pod-uid"),
        (
            &["--config", config, "--listen", "localhost"],
            "invalid value 'localhost' for '--listen",
        ),
        (
            &["--config", config, "--listen", "127.0.0.1:0,:80"],
            "write 127.0.0.1:80 for this machine only",
        ),
        (
            &["--config", config, "--listen="],
            "write an IP address and a port",
        ),
        (
            &["--config", config, "--admin", "8081"],
            "write 127.0.0.1:8081 for this machine only",
        ),
        (
            &["--config", config, "--workers", "0"],
            "no number of workers; write 1 to 1024",
        ),
        (
            &["--config", config, "--workers", "100000"],
            "no number of workers; write 1 to 1024",
        ),
        (
            &["--config", config, "--max-connections", "0"],
            "--max-connections",
        ),
        (
            &["--config", config, "--max-connections", "many"],
            "--max-connections",
        ),
        (&["--config", config, "--instance="], "--instance"),
        (
            &["--config", config, "--tunnel-grace", "soon"],
            "write a number and a unit",
        ),
        (
            &["--config", config, "--drain-delay", "1"],
            "write a number and a unit",
        ),
        (
            &["--config", config, "--client-idle-timeout", "0s"],
            "at least 1ms",
        ),
        (
            &["--config", config, "--client-body-timeout", "0ms"],
            "at least 1ms",
        ),
        (
            &["--config", config, "--client-write-timeout", "x"],
            "write a number and a unit",
        ),
        (
            &["--config", config, "--access-log-sample", "50%"],
            "--access-log <FORMAT>",
        ),
        (
            &["--config", config, "--log-format", "xml"],
            "possible values: text, json",
        ),
        (
            &["--config", config, "--drain-timeout", "30"],
            "write a number and a unit",
        ),
        (
            &["--config", config, "--drain-timeout=-3s"],
            "write a number and a unit",
        ),
        (
            &["--config", config, "--client-head-timeout", "0s"],
            "at least 1ms",
        ),
        (
            &["--config", config, "--access-log", "csv"],
            "possible values: json",
        ),
        (
            &[
                "--config",
                config,
                "--access-log",
                "json",
                "--access-log-sample",
                "120%",
            ],
            "--access-log-sample",
        ),
        (&["--config", config, "--class", "No Such"], "--class"),
        (
            &["--config", config, "--log-level", "loud=very=much"],
            "--log-level",
        ),
        (&["--config", config, "--verbose"], "--verbose"),
    ] {
        let (output, said) = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
    }
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = &*other.local_addr().unwrap().to_string();
    let listen = format!("127.0.0.1:0,{taken}");
    for (args, told) in [
        (&["--config", "/nonexistent"] as &[&str], "/nonexistent"),
        (
            &["--config", config, "--listen", &listen],
            &format!("--listen {taken}: "),
        ),
        (
            &[
                "--config",
                config,
                "--listen",
                "127.0.0.1:0",
                "--admin",
                taken,
            ],
            &format!("--admin {taken}: "),
        ),
        (
            &["--config", config, "--state", "/dev/null"],
            "--state /dev/null: ",
        ),
        (
            &["--config", config, "--admin", "0.0.0.0:0"],
            "--token-file",
        ),
        (
            &["--config", config, "--token-file", "/nonexistent"],
            "/nonexistent",
        ),
        (&["--kubernetes"], "set KUBECONFIG, or run in a pod"),
    ] {
        let (output, said) = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains(told), "{args:?}: {said}");
    }
}

#[test]
fn who_listens_everywhere_takes_clients_of_both_families_in() {
    let dir = config();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    let token = token.to_str().unwrap();
    let proxy = ProxyBinary::start(dir.path(), &["--listen", "[::]:0", "--token-file", token]);
    let everywhere = proxy.addresses[1];
    assert!(everywhere.ip().is_unspecified());
    let ask = |ip: IpAddr| Client::connect(SocketAddr::new(ip, everywhere.port())).get("/x");
    assert_eq!(ask(Ipv4Addr::LOCALHOST.into()).into_text(), "stable /x r1");
    // The machine may have no IPv6, and then listening everywhere is listening on IPv4.
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        assert!(everywhere.is_ipv6());
        assert_eq!(ask(Ipv6Addr::LOCALHOST.into()).into_text(), "stable /x r1");
    } else {
        assert!(everywhere.is_ipv4());
    }
}

#[test]
fn the_log_names_the_rule_that_an_arms_answers_break_once_in_a_while() {
    let stable = breaking("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    let gray = breaking("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n");
    let nobody = breaking("HTTP/1.1 999 Odd\r\n\r\n");
    let rules = json!([{"name": "beta", "to": "Gray", "when": [{"all": [
        {"source": "Path", "operator": "In", "values": ["/gray"]}]}]}]);
    let more = json!({"state": "Active", "hosts": ["shop"], "rules": rules,
        "arms": {"gray": {"addresses": [gray], "version": "v2"}}});
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("a.json"),
        release("checkout", 1, stable, more),
    )
    .unwrap();
    let fleet = format!("schema: 1\nrevision: 1\ndefaultBackend: {{addresses: [\"{nobody}\"]}}\n");
    std::fs::write(dir.path().join("fleet.yaml"), fleet).unwrap();
    let proxy = ProxyBinary::start(dir.path(), &["--workers", "1"]);
    let ask = |host: &str, path: &str| {
        let mut client = Client::connect(proxy.addresses[0]).with_host(host);
        assert_eq!(client.get(path).status(), 502, "{host}{path}");
    };
    // More than the line of each arm tells: there is one in ten seconds.
    for _ in 0..3 {
        ask("shop", "/");
        ask("shop", "/gray");
        ask("other", "/");
    }
    proxy.signal(Signal::TERM);
    let (_, _, log) = proxy.end();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("malformed"))
        .collect();
    let line = |release: &str, arm: &str, upstream: SocketAddr, rule: &str, message: &str| {
        format!(
            r#","level":"WARN","message":"a malformed answer: {message}","release":"{release}","arm":"{arm}","upstream":"{upstream}","rule":"{rule}","answers":1,"target":"halftone_proxy::local::arms"}}"#
        )
    };
    let expected = [
        line(
            "shop/checkout",
            "stable",
            stable,
            "lengthsDiffer",
            "different lengths in Content-Length",
        ),
        line(
            "shop/checkout",
            "gray",
            gray,
            "coding",
            "a transfer coding other than chunked",
        ),
        line(
            "none",
            "default backend",
            nobody,
            "status",
            "the status is out of range",
        ),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(&expected) {
        assert!(
            told.starts_with(r#"{"timestamp":""#) && told.ends_with(expected),
            "{told} is not …{expected}"
        );
    }
}

#[test]
fn help_and_version_are_told() {
    let (output, _) = run(&["--help"]);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for flag in [
        "--config <DIR>",
        "--max-connections",
        "HALFTONE_LISTEN",
        "halftone-proxy",
    ] {
        assert!(help.contains(flag), "{flag} is not in\n{help}");
    }
    assert!(
        String::from_utf8_lossy(&run(&["--version"]).0.stdout).contains(env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_first_signal_drains_and_the_exit_is_clean() {
    let dir = config();
    for signal in [Signal::TERM, Signal::INT] {
        let proxy = ProxyBinary::start(dir.path(), &["--access-log", "json"]);
        let answer =
            Client::connect(proxy.addresses[0]).get_with("/x?secret=1", &[("X-User-Name", "lin")]);
        assert_eq!(answer.text(), "stable /x?secret=1 r1");
        proxy.signal(signal);
        let (code, out, err) = proxy.end();
        assert_eq!(code, Some(0), "{err}");
        let line: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
        assert_eq!(
            (&line["status"], &line["release"], &line["path"]),
            (&json!(200), &json!("shop/checkout"), &json!("/x"))
        );
        assert!(!out.contains("lin\"") && !out.contains("secret"), "{out}");
        assert!(
            err.lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok()),
            "{err}"
        );
        assert!(err.contains("drained"), "{err}");
    }
}

/// Asks until nobody listens any more. What was connected is answered, unless the answer before said close.
fn ask_to_the_end(address: SocketAddr, per_connection: usize, answers: &AtomicUsize) {
    loop {
        let mut client = match Client::try_connect(address) {
            Ok(client) => client,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
            Err(error) => panic!("{error}"),
        };
        for _ in 0..per_connection {
            let answer = client.get("/x");
            assert_eq!((answer.status(), answer.text()), (200, "stable /x r1"));
            answers.fetch_add(1, Relaxed);
            if answer.get("connection") == Some("close") {
                break;
            }
        }
    }
}

#[test]
fn a_signal_under_load_loses_nothing() {
    let dir = config();
    let proxy = ProxyBinary::start(dir.path(), &["--workers", "2"]);
    let answers = Arc::new(AtomicUsize::new(0));
    let clients =
        [1, 1, 7, 7, usize::MAX, usize::MAX, usize::MAX, usize::MAX].map(|per_connection| {
            let (address, answers) = (proxy.addresses[0], Arc::clone(&answers));
            std::thread::spawn(move || ask_to_the_end(address, per_connection, &answers))
        });
    until(
        "load",
        || answers.load(Relaxed),
        |answers| *answers >= 1_000,
    );
    proxy.signal(Signal::TERM);
    let (code, _, log) = proxy.end();
    clients
        .into_iter()
        .for_each(|client| client.join().expect("a client lost a request"));
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(r#""message":"drained","cut":0"#), "{log}");
}

#[test]
fn who_is_connected_is_served_while_descriptors_are_short_and_the_others_are_afterwards() {
    let dir = config();
    let mut limited = Command::new("sh");
    // More connections are allowed than there are descriptors for.
    let script = r#"ulimit -n 64 && exec "$@""#;
    limited.env_clear().stdout(Stdio::piped()).args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_halftone-proxy"),
    ]);
    limited.args([
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--max-connections",
        "1000",
    ]);
    // One connection to the backend is made in time, and serves everybody.
    limited.args(["--workers", "1"]);
    let proxy = ProxyBinary::spawn(limited.arg("--config").arg(dir.path()));
    let address = proxy.addresses[0];
    let mut connected = Client::connect(address);
    let mut ask = || assert_eq!(connected.get("/x").into_text(), "stable /x r1");
    ask();
    let descriptors = || {
        std::fs::read_dir(format!("/proc/{}/fd", proxy.child.id()))
            .unwrap()
            .count()
    };
    let mut crowd: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    until("every descriptor taken", descriptors, |taken| *taken >= 64);
    (0..100).for_each(|_| ask());
    let late = crowd.split_off(150);
    drop(crowd);
    for stream in late {
        assert_eq!(
            Client::over(stream).get("/x").into_text(),
            "stable /x r1",
            "it waited and is served"
        );
    }
    ask();
    assert_eq!(get(proxy.admin, "/readyz").status(), 200);
}

#[test]
fn a_second_signal_ends_at_once() {
    let dir = config();
    let proxy = ProxyBinary::start(dir.path(), &["--drain-delay", "1h"]);
    proxy.signal(Signal::TERM);
    until(
        "the drain",
        || get(proxy.admin, "/readyz").status(),
        |status| *status == 503,
    );
    proxy.signal(Signal::TERM);
    let (code, _, err) = proxy.end();
    assert_eq!(code, Some(1), "{err}");
}

#[test]
fn the_environment_is_read_and_a_flag_wins() {
    let dir = config();
    let mut command = command();
    command
        .env("HALFTONE_CONFIG", dir.path())
        .env("HALFTONE_LISTEN", "127.0.0.1:0,127.0.0.1:0");
    let proxy = ProxyBinary::spawn(
        command
            .env("HALFTONE_ADMIN", "192.0.2.1:1")
            .args(["--admin", "127.0.0.1:0"]),
    );
    assert_eq!(proxy.addresses.len(), 2);
    for address in &proxy.addresses {
        assert_eq!(get(*address, "/x").into_text(), "stable /x r1");
    }
}
