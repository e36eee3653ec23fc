//! The commands that need nothing running, as a person or a script calls them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in tests a failed assumption should end the test"
)]

use std::io::Write;
use std::path::PathBuf;

use assert_cmd::Command;
use halftone_testkit::Backend;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use tempfile::NamedTempFile;

const LEAST: &str = r#"apiVersion: halftone.dev/v1alpha1
kind: GrayRelease
metadata: {name: checkout, namespace: shop}
spec:
  hosts: [shop.example.com]
  stable: {service: {name: checkout-v1, port: 80}, version: v1}
  gray:   {service: {name: checkout-v2, port: 80}, version: v2}
  targetRatio: 100
"#;

fn halftone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halftone"));
    command.env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

fn file(text: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

fn users(count: u32) -> String {
    (0..count).map(|user| format!("user-{user}\n")).collect()
}

#[test]
fn split_says_how_identities_divide_in_percent() {
    let manifest = file(LEAST);
    let sum = json(
        halftone()
            .args(["split", "--ratio", "12.5%", "--identities", "-", "--json"])
            .arg(manifest.path())
            .write_stdin(users(100_000)),
    );
    assert_eq!(sum["identities"], 100_000);
    assert_eq!(sum["target"], 12.5);
    let share = sum["share"].as_f64().unwrap();
    assert!((share - 12.5).abs() < 0.42, "{share}");
    assert_eq!(sum["gray"].as_f64().unwrap() / 1000.0, share);
}

#[test]
fn split_lists_the_arm_of_each_identity_and_a_higher_ratio_only_adds() {
    let manifest = file(LEAST);
    let gray = |ratio: &str| -> Vec<String> {
        let output = halftone()
            .args(["split", "--ratio", ratio, "--identities", "-", "--list"])
            .arg(manifest.path())
            .write_stdin(users(2_000))
            .assert()
            .success();
        let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
        assert_eq!(text.lines().count(), 2_000);
        text.lines()
            .filter_map(|line| line.strip_prefix("gray\t"))
            .map(str::to_owned)
            .collect()
    };
    let (few, many) = (gray("1"), gray("10"));
    assert!(
        few.len() < many.len() && few.iter().all(|user| many.contains(user)),
        "{few:?}"
    );
}

#[test]
fn explain_and_split_agree_on_every_user() {
    let manifest = file(LEAST);
    let list = halftone()
        .args(["split", "--ratio", "50", "--identities", "-", "--list"])
        .arg(manifest.path())
        .write_stdin(users(10))
        .assert()
        .success();
    for line in String::from_utf8(list.get_output().stdout.clone())
        .unwrap()
        .lines()
    {
        let (arm, user) = line.split_once('\t').unwrap();
        let header = format!("X-User-Name: {user}");
        let told = json(
            halftone()
                .args(["explain", "--ratio", "50", "--json", "--header", &header])
                .arg(manifest.path()),
        );
        assert_eq!(
            (told["arm"].as_str(), told["identity"].as_str()),
            (Some(arm), Some(user))
        );
        assert_eq!(told["release"], "shop/checkout");
        assert!(
            told["bucket"].is_u64() && told["reason"].is_string(),
            "{told}"
        );
    }
}

#[test]
fn explain_says_that_proxies_answer_the_health_path_themselves() {
    let (manifest, fleet) = (
        file(LEAST),
        file("fleets:\n- class: default\n  allowAll: true\n  healthPath: /healthz\n"),
    );
    let explain = |path: &str, method: &str| {
        let mut command = halftone();
        command
            .args(["explain", "--path", path, "--method", method, "--fleet"])
            .arg(fleet.path());
        command.arg(manifest.path()).assert().success()
    };
    for method in ["GET", "HEAD"] {
        let told = contains(
            "→ no release: answered with 200, it is the fleet's healthPath, which proxies answer",
        );
        explain("/healthz?a", method).stdout(told);
    }
    explain("/healthz", "POST").stdout(contains("→ shop/checkout: gray (v2)"));
    explain("/healthz/x", "GET").stdout(contains("→ shop/checkout: gray (v2)"));
}

#[test]
fn explain_tells_a_person_what_each_point_said() {
    let manifest = file(LEAST);
    halftone()
        .args(["explain", "--query", "user_name=lin", "--ratio", "100"])
        .arg(manifest.path())
        .assert()
        .success()
        .stdout(contains("identity  \"lin\"").and(contains("→ shop/checkout: gray (v2)")));
    halftone()
        .args(["explain", "--host", "other.example.com"])
        .arg(manifest.path())
        .assert()
        .success()
        .stdout(contains("answered with 404"));
}

#[test]
fn simulate_rolls_a_fault_back_and_promotes_a_good_release() {
    let manifest = file(&LEAST.replace(
        "targetRatio: 100",
        "targetRatio: 100\n  steps: [{ratio: 10, hold: 1m}]",
    ));
    let run = |more: &[&str]| {
        json(
            halftone()
                .args(["simulate", "--runs", "40", "--rps", "300", "--json"])
                .args(more)
                .arg(manifest.path()),
        )
    };
    let good = run(&[]);
    assert_eq!(
        (&good["runs"], &good["promoted"], &good["detectionSeconds"]),
        (&40.into(), &40.into(), &Value::Null)
    );
    let bad = run(&["--fault-at", "20s", "--fault-error-rate", "50%"]);
    assert_eq!(bad["rolledBack"], 40, "{bad}");
    let by: u64 = bad["rolledBackBy"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .sum();
    assert!(
        by == 40 && bad["rolledBackBy"]["maxErrorRate"].is_u64(),
        "{bad}"
    );
    assert_eq!(good["rolledBackBy"], serde_json::json!({}));
    assert!(
        bad["detectionSeconds"]["p99"].as_f64().unwrap() < 30.0,
        "{bad}"
    );
}

#[test]
fn the_same_seed_gives_the_same_releases() {
    let manifest = file(LEAST);
    let run = |seed: &str| {
        let mut command = halftone();
        command
            .args([
                "simulate",
                "--runs",
                "4",
                "--fault-at",
                "1m",
                "--json",
                "--seed",
                seed,
            ])
            .arg(manifest.path());
        json(&mut command)
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn crd_prints_what_the_repository_holds() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crds/grayreleases.halftone.dev.yaml");
    halftone()
        .arg("crd")
        .assert()
        .success()
        .stdout(std::fs::read_to_string(path).unwrap());
}

#[test]
fn completions_are_printed_for_a_shell() {
    halftone()
        .args(["completions", "bash"])
        .assert()
        .success()
        .stdout(contains("_halftone"));
}

#[test]
fn wrong_usage_is_refused_with_advice() {
    let manifest = file(LEAST);
    let refused: &[(&[&str], i32, &str)] = &[
        (
            &["split", "--ratio", "101", "--identities", "-"],
            2,
            "percent from 0 to 100",
        ),
        (
            &["split", "--ratio", "-1", "--identities", "-"],
            2,
            "percent from 0 to 100",
        ),
        (
            &["split", "--identities", "/nowhere"],
            1,
            "/nowhere: there is no such file",
        ),
        (
            &["split", "--identities", "."],
            1,
            ".: is a directory; name the files in it",
        ),
        (&["lint", "/nowhere"], 1, "/nowhere: there is no such file"),
        (&["lint", "."], 1, ".: is a directory; name the files in it"),
        (&["run", "-"], 1, "cannot be watched for edits"),
        (
            &["explain", "--header", "nonsense"],
            1,
            "write 'Name: value'",
        ),
        (
            &["explain", "--header", "Name: a\nb"],
            1,
            "write 'Name: value'",
        ),
        (&["explain", "--cookie", "nonsense"], 1, "write name=value"),
        (&["explain", "--method", "G T"], 1, "write one such as GET"),
        (&["explain", "--path", "/%00"], 1, "--path /%00"),
        (&["simulate", "--gray-latency", "slow"], 1, "x2"),
        (&["simulate", "--fault-at", "soon"], 2, "90s"),
        (&["simulate", "--fault-at", "5 min"], 2, "write 5m"),
        (
            &["run", "--listen", ":8080"],
            2,
            "127.0.0.1:8080 for this machine only, or [::]:8080",
        ),
        (&["run", "--admin", "shop:1"], 2, "is not an address"),
    ];
    for (arguments, code, says) in refused {
        halftone()
            .args(*arguments)
            .arg(manifest.path())
            .assert()
            .code(*code)
            .stderr(contains(*says));
    }
}

#[test]
fn lint_tells_errors_with_their_place_and_exits_with_1() {
    let good = file(LEAST);
    halftone()
        .arg("lint")
        .arg(good.path())
        .assert()
        .success()
        .stdout(contains("1 sound release, 0 errors"));
    let bad = file(&LEAST.replace("targetRatio: 100", "targetRatio: 12.5"));
    let place = format!("{}:8:", bad.path().display());
    halftone()
        .arg("lint")
        .arg(bad.path())
        .assert()
        .code(1)
        .stdout(contains(place).and(contains("spec.targetRatio")));
    let output = halftone()
        .args(["lint", "--json"])
        .arg(bad.path())
        .assert()
        .code(1);
    let findings: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(
        (&findings[0]["severity"], &findings[0]["line"]),
        (&"error".into(), &8.into()),
        "{findings}"
    );
}

#[test]
fn what_lint_says_to_a_program_is_json_whatever_is_wrong() {
    let (empty, good) = (file("# nothing yet\n"), file(LEAST));
    let paths = [
        empty.path().to_str().unwrap(),
        "/nowhere",
        good.path().to_str().unwrap(),
    ];
    for (arguments, codes) in [
        (&paths[..1], &["NoRelease"][..]),
        (&paths[1..], &["Unreadable"]),
        (&paths[1..2], &["Unreadable"]),
        (&[paths[2], "--fleet", "/nowhere"], &["Unreadable"]),
    ] {
        let output = halftone()
            .args(["lint", "--json"])
            .args(arguments)
            .assert()
            .code(1);
        let findings: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
        let told: Vec<&str> = findings
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["code"].as_str().unwrap())
            .collect();
        assert_eq!(told, codes, "{findings}");
    }
}

#[test]
fn an_error_is_called_one_once() {
    let bad = file(&LEAST.replace("targetRatio: 100", "targetRatio: 12.5"));
    for command in [
        &["explain"][..],
        &["simulate"],
        &["split", "--identities", "-"],
        &["run"],
    ] {
        let output = halftone().args(command).arg(bad.path()).assert().code(1);
        let told = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        let first = told.lines().next().unwrap();
        assert_eq!(first.matches("error:").count(), 1, "{command:?}: {told}");
    }
}

#[test]
fn a_file_without_a_release_is_refused_by_every_command_that_wants_one() {
    let (empty, service) = (
        file("# nothing yet\n"),
        file("apiVersion: v1\nkind: Service\n"),
    );
    let (fleet, binary) = (file("fleets: [{class: default}]\n"), file(""));
    std::fs::write(binary.path(), b"kind: GrayRelease\n\xff").unwrap();
    for (file, says) in [
        (&empty, "no GrayRelease is there"),
        (&service, "no GrayRelease is there"),
        (&fleet, "name it with --fleet"),
        (&binary, ":2: is no text in UTF-8 from here on"),
    ] {
        for command in [
            &["lint"][..],
            &["explain"],
            &["split", "--identities", "-"],
            &["simulate"],
            &["run"],
        ] {
            let output = halftone().args(command).arg(file.path()).assert().code(1);
            let output = output.get_output();
            let told = [&output.stdout[..], &output.stderr].concat();
            let told = String::from_utf8_lossy(&told).into_owned();
            assert!(told.contains(says), "{command:?}: {told}");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_without_a_word() {
    let manifest = file(LEAST);
    let path = manifest.path().to_str().unwrap();
    for arguments in [
        &["lint", path][..],
        &["explain", path],
        &["simulate", "--runs", "1", path],
        &["split", "--list", "--identities", path, path],
        &["crd"],
        &["completions", "zsh"],
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_halftone"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command
            .args(arguments)
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .output();
        let output = output.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn probe_takes_any_answer_below_500_and_waits_for_one() {
    const ANSWERS: [&str; 3] = [
        "HTTP/1.1 503 Service Unavailable",
        "HTTP/1.1 404 Not Found",
        "HTTP/1.1 200 OK",
    ];
    let backend = Backend::start(|incoming, number| {
        let request = incoming.request().unwrap();
        assert_eq!(request.start, "GET / HTTP/1.1");
        assert!(request.get("host").unwrap().starts_with("127.0.0.1:"));
        incoming.send(format!("{}\r\ncontent-length: 0\r\n\r\n", ANSWERS[number]));
    });
    let port = backend.address.port();
    // A manifest that does not know the family of an address writes the brackets in any case.
    for (host, answer) in [("127.0.0.1", 404), ("[127.0.0.1]", 200)] {
        let url = format!("http://{host}:{port}/");
        halftone()
            .args(["probe", &url])
            .assert()
            .success()
            .stdout(format!("{url} answers {answer}\n"));
    }
    assert_eq!(backend.connections(), ANSWERS.len());
}

#[test]
fn probe_says_what_does_not_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let told = halftone()
        .args(["probe", "--timeout", "100ms", &url])
        .assert()
        .code(1);
    told.stderr(contains(&url).and(contains("refused")));
    halftone()
        .args(["probe", "https://example.test/"])
        .assert()
        .code(2)
        .stderr(contains("expected a URL such as http://"));
}
