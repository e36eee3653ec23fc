//! The admin pages as their readers use them.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use halftone_proxy::run::{DocumentSource, Proxy};
use halftone_proxy::settings::{DrainSettings, Settings};
use halftone_routing::report::TrafficReport;
use serde_json::{Value, json};

use super::support::{
    BackgroundLoad, Client, apply, backend, breaking, get, listing, release, settings, start,
    until, wait,
};

fn active(revision: u64, stage: u64, more: Value) -> String {
    let (stable, gray) = (backend("stable"), backend("gray"));
    let mut document: Value =
        serde_json::from_str(&release("checkout", revision, stable, more)).unwrap();
    document["state"] = json!("Active");
    document["stage"] = json!(stage);
    document["arms"]["gray"] = json!({"addresses": [gray], "version": "v2"});
    document.to_string()
}

#[test]
fn probes_and_pages_answer_as_documented() {
    let proxy = start(&[]);
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    assert_eq!(get(admin, "/livez").status(), 200);
    let missing = get(admin, "/");
    assert_eq!(missing.status(), 404);
    assert!(missing.text().contains("/explain"), "it says what there is");
    let mut client = Client::connect(admin);
    assert_eq!(client.ask("HEAD", "/readyz", &[]).status(), 200);
    let refused = client.ask("POST", "/config", &[]);
    assert_eq!(
        (refused.status(), refused.get("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(client.get("/report?since=yesterday").status(), 400);
    assert_eq!(client.get("/explain?host=").status(), 400);
    assert_eq!(get(proxy.addresses()[0], "/x").status(), 404);
    let counted = r#"halftone_unrouted_requests_total{cause="refused404"} 1"#;
    until(
        counted,
        || get(admin, "/metrics").into_text(),
        |page| page.contains(counted),
    );
}

#[test]
fn protected_pages_need_one_of_two_tokens_that_can_be_replaced() {
    let tokens = tempfile::NamedTempFile::new().unwrap();
    fs::write(tokens.path(), "first-token\nsecond-token\n").unwrap();
    let any = "0.0.0.0:0".parse().unwrap();
    let settings = Settings {
        token_file: Some(tokens.path().to_owned()),
        admin: Some(any),
        ..settings()
    };
    let proxy = Proxy::start(&settings, DocumentSource::Memory(listing(&[]))).unwrap();
    let admin = ([127, 0, 0, 1], proxy.admin_address().unwrap().port()).into();
    let status = |page: &str, token: &str| {
        let value = format!("Bearer {token}");
        let fields = [("Authorization", &*value)];
        Client::connect(admin)
            .get_with(page, if token.is_empty() { &[] } else { &fields })
            .status()
    };
    for page in ["/report", "/config", "/config?full", "/explain?host=a"] {
        assert_eq!(
            [status(page, ""), status(page, "wrong")],
            [401, 401],
            "{page}"
        );
        assert_eq!(
            [status(page, "first-token"), status(page, "second-token")],
            [200, 200],
            "{page}"
        );
    }
    for page in ["/livez", "/readyz", "/metrics"] {
        until(page, || status(page, ""), |status| *status == 200);
    }
    fs::write(tokens.path(), "second-token\nthird-token\n").unwrap();
    assert_eq!(
        ["first-token", "second-token", "third-token"].map(|token| status("/config", token)),
        [401, 200, 200]
    );
}

#[test]
fn a_pull_with_the_token_is_a_word_from_the_operator_and_one_without_is_not() {
    let open = start(&[]);
    let heard = |answer: &str| {
        serde_json::from_str::<TrafficReport>(answer)
            .unwrap()
            .operator_last_heard
    };
    let admin = open.admin_address().unwrap();
    get(admin, "/report");
    assert_eq!(heard(&get(admin, "/report").into_text()), None);
    assert!(
        open.report(None).operator_last_heard.is_some(),
        "the engine in this process is one"
    );
    let tokens = tempfile::NamedTempFile::new().unwrap();
    fs::write(tokens.path(), "token").unwrap();
    let settings = Settings {
        token_file: Some(tokens.path().to_owned()),
        ..settings()
    };
    let proxy = Proxy::start(&settings, DocumentSource::Memory(listing(&[]))).unwrap();
    let mut client = Client::connect(proxy.admin_address().unwrap());
    assert!(
        heard(
            &client
                .get_with("/report", &[("Authorization", "Bearer token")])
                .into_text()
        )
        .is_some()
    );
}

#[test]
fn a_report_tells_each_request_once_and_builds_on_the_last_one() {
    let document = active(1, 1, json!({"ratio": 1_000_000}));
    let proxy = start(&[("a.json", &document)]);
    let admin = proxy.admin_address().unwrap();
    let mut client = Client::connect(proxy.addresses()[0]);
    let pull = |since: &str| {
        TrafficReport::parse(get(admin, &format!("/report{since}")).text().as_bytes()).unwrap()
    };
    let requests = |report: &TrafficReport| {
        report
            .entries
            .iter()
            .map(|entry| entry.counts.requests())
            .sum::<u64>()
    };
    (0..3).for_each(|_| {
        assert_eq!(
            client.get_with("/x", &[("X-User-Name", "lin")]).into_text(),
            "gray /x v2"
        )
    });
    let since = |report: &TrafficReport| format!("?since={}/{}", report.epoch, report.sequence);
    // A report may come between the count of a request and that of its latency; the next one then tells of it again.
    let told = || {
        let first = pull("");
        let again = requests(&pull(&since(&first)));
        (first, again)
    };
    let (first, _) = until(
        "three requests, and then nothing new",
        told,
        |(first, again)| (requests(first), *again) == (3, 0),
    );
    assert_eq!(first.applied[0].revision.get(), 1);
    client.get("/x");
    let second = until(
        "one more",
        || pull(&since(&first)),
        |report| requests(report) > 0,
    );
    assert_eq!(
        (requests(&second), second.keys.unwrap().len()),
        (1, 2),
        "anonymous on stable is another key; each is listed"
    );
    assert_eq!(
        requests(&pull("?since=0000000000000000/1")),
        4,
        "another life's position gets everything"
    );
    assert_eq!(
        requests(&pull(&format!(
            "?since={}/{}",
            first.epoch,
            second.sequence + 1
        ))),
        4
    );
}

#[test]
fn what_lasts_on_gray_after_a_rollback_is_told_until_it_ends() {
    let (listener, stable) = (TcpListener::bind("127.0.0.1:0").unwrap(), backend("stable"));
    let gray = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The proxy closes it; until then the answer goes on.
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                assert!(stream.read(&mut head).unwrap() > 0);
                stream
                    .write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",
                    )
                    .unwrap();
                stream.read(&mut head).unwrap_or(0)
            });
        }
    });
    let document = |revision, state: &str, ratio: u64| {
        let arms = json!({"gray": {"addresses": [gray], "version": "v2"}});
        release(
            "checkout",
            revision,
            stable,
            json!({"state": state, "ratio": ratio, "arms": arms}),
        )
    };
    let short = DrainSettings {
        tunnel_grace: Duration::from_secs(5),
        ..DrainSettings::default()
    };
    let first = listing(&[("a.json", &document(1, "Active", 1_000_000))]);
    let proxy = Proxy::start(
        &Settings {
            drain: short,
            ..settings()
        },
        DocumentSource::Memory(first),
    )
    .unwrap();
    let admin = proxy.admin_address().unwrap();
    let open_long = || {
        let report = TrafficReport::parse(get(admin, "/report").text().as_bytes()).unwrap();
        report.applied.first().map(|applied| applied.open_long)
    };
    let clients: [TcpStream; 8] = std::array::from_fn(|_| {
        let mut client = TcpStream::connect(proxy.addresses()[0]).unwrap();
        client
            .write_all(b"GET /events HTTP/1.1\r\nHost: shop\r\nX-User-Name: lin\r\n\r\n")
            .unwrap();
        client
    });
    let metric = r#"halftone_open_long{namespace="shop",release="checkout",arm="gray"} 8"#;
    // They are long after ten seconds.
    until(
        metric,
        || get(admin, "/metrics").into_text(),
        |page| page.contains(metric),
    );
    assert_eq!(
        open_long(),
        Some(0),
        "nothing is asked of them while gray is in use"
    );
    apply(&proxy, &[("a.json", &document(2, "RolledBack", 0))]);
    assert!(open_long() > Some(0), "not all close at once");
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(
            answer.ends_with("data: 1\n\n\r\n"),
            "an answer that is cut gets no last chunk: {answer:?}"
        );
    }
    until("the end of them", open_long, |open| *open == Some(0));
}

#[test]
fn explain_tells_where_a_request_goes_and_why() {
    let rules = json!([{"name": "office", "to": "Gray", "when": [{"all": [
        {"source": "ClientIp", "operator": "InCidr", "values": ["10.1.0.0/16"]}]}]}]);
    let proxy = start(&[(
        "a.json",
        &active(4, 1, json!({"rules": rules, "hosts": ["shop.example.com"]})),
    )]);
    let admin = proxy.admin_address().unwrap();
    let explain = |query: &str| get(admin, &format!("/explain?{query}")).json();
    let until_ready = || get(admin, "/readyz").status();
    until("readiness", until_ready, |status| *status == 200);
    let by_rule = explain("host=shop.example.com&peer=10.1.2.3");
    assert_eq!(
        [&by_rule["arm"], &by_rule["chosenBy"], &by_rule["served"]],
        ["gray", "Rule", "gray"]
    );
    assert!(by_rule["reason"].as_str().unwrap().contains("office"));
    assert_eq!(by_rule["trace"][0]["point"], "host");
    let by_split = explain("host=Shop.example.com:8080&path=/a/../b&header=X-User-Name:%20lin");
    assert_eq!(
        [
            &by_split["arm"],
            &by_split["chosenBy"],
            &by_split["identity"]
        ],
        ["stable", "Split", "lin"]
    );
    assert_eq!(
        (&by_split["release"], &by_split["revision"]),
        (&json!("shop/checkout"), &json!(4))
    );
    assert_eq!(explain("host=elsewhere.example.com")["result"], "NoRoute");
    let counted = proxy.report(None).entries;
    assert_eq!(counted, [], "asking counts nothing");
}

#[test]
fn explain_knows_the_health_path() {
    let fleet = "schema: 1\nrevision: 1\nhealthPath: /healthz\n";
    let document = active(1, 1, json!({"hosts": ["shop.example.com"]}));
    let proxy = start(&[("fleet.yaml", fleet), ("a.json", &document)]);
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    let explain =
        |query: &str| get(admin, &format!("/explain?host=shop.example.com&{query}")).json();
    let told = explain("path=/healthz");
    assert_eq!(
        (&told["result"], &told["release"]),
        (&json!("HealthPath"), &json!(null))
    );
    assert!(
        told["reason"]
            .as_str()
            .unwrap()
            .contains("503 once they drain"),
        "{told}"
    );
    assert_eq!(explain("path=/healthz&method=POST")["result"], "Decided");
}

#[test]
fn a_malformed_answer_is_told_with_the_rule_that_it_broke() {
    let broken = breaking("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    let arms = json!({"arms": {"stable": {"addresses": [broken]}}});
    let proxy = start(&[("a.json", &active(1, 1, arms))]);
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    assert_eq!(get(proxy.addresses()[0], "/").status(), 502);
    let last = || {
        get(admin, "/config").json()["applied"][0]["endpoints"]["stable"]["lastMalformed"].clone()
    };
    until("the rule", last, |last| {
        (&last["rule"], &last["upstream"]) == (&json!("lengthsDiffer"), &json!(broken.to_string()))
    });
    let counted = "halftone_malformed_answers_total{namespace=\"shop\",release=\"checkout\",arm=\"stable\",cause=\"lengthsDiffer\"} 1";
    until(
        counted,
        || get(admin, "/metrics").into_text(),
        |page| page.contains(counted),
    );
}

#[test]
fn explain_tells_of_dots_that_only_backends_see() {
    let proxy = start(&[(
        "a.json",
        &active(
            4,
            1,
            json!({"paths": ["/pub"], "hosts": ["shop.example.com"]}),
        ),
    )]);
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    let told = get(
        admin,
        "/explain?host=shop.example.com&path=/pub/..%252fsecret",
    )
    .json();
    assert_eq!(
        (&told["result"], &told["release"]),
        (&json!("Refused"), &json!("shop/checkout"))
    );
    assert!(told["reason"].as_str().unwrap().contains("400"), "{told}");
}

#[test]
fn config_tells_values_of_conditions_only_when_asked() {
    let rules = json!([{"name": "beta", "to": "Gray", "when": [{"all": [
        {"source": "Identity", "operator": "In", "values": ["lin", "wei"]}]}]}]);
    let more = json!({"rules": rules, "debug": {"header": "X-Debug", "value": "hush"}});
    let proxy = start(&[("a.json", &active(1, 1, more))]);
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    let page = get(admin, "/config").into_text();
    assert!(
        !["lin", "wei", "hush"]
            .iter()
            .any(|secret| page.contains(secret)),
        "{page}"
    );
    assert!(page.contains("\"values\":2"), "{page}");
    let full = get(admin, "/config?full").into_text();
    assert!(
        ["lin", "wei", "hush"]
            .iter()
            .all(|secret| full.contains(secret)),
        "{full}"
    );
}

#[test]
fn users_hosts_paths_and_revisions_make_no_new_series() {
    let (stable, gray) = (backend("stable"), backend("gray"));
    let document = |revision: u64| {
        let more = json!({"state": "Active", "stage": revision, "ratio": 500_000, "arms": {"gray": {"addresses": [gray], "version": "g"}}});
        release("checkout", revision, stable, more)
    };
    let proxy = start(&[("a.json", &document(1))]);
    let admin = proxy.admin_address().unwrap();
    let series = || {
        let page = get(admin, "/metrics").into_text();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let mut client = Client::connect(proxy.addresses()[0]);
    let mut ask = |from: u64| {
        for n in from..from + 50 {
            let answer = client.get_with(
                &format!("/p{n}?q={n}"),
                &[("X-User-Name", &format!("user-{n}"))],
            );
            assert_eq!(answer.status(), 200);
        }
    };
    ask(0);
    let before = until("both arms", series, |series| {
        series.iter().any(|name| name.contains("gray"))
    });
    for revision in 2..10 {
        apply(&proxy, &[("a.json", &document(revision))]);
        ask(revision * 100);
    }
    assert_eq!(series(), before);
    assert!(
        before
            .iter()
            .all(|name| !name.contains("user-") && !name.contains("/p")),
        "{before:#?}"
    );
}

#[test]
fn a_draining_proxy_is_not_ready_finishes_what_it_has_and_answers_until_it_is_gone() {
    let drain = DrainSettings {
        delay: Duration::from_secs(5),
        ..DrainSettings::default()
    };
    let settings = Settings {
        drain,
        ..settings()
    };
    let document = release("checkout", 1, backend("stable"), json!({}));
    let proxy = Proxy::start(
        &settings,
        DocumentSource::Memory(listing(&[("a.json", &document)])),
    )
    .unwrap();
    let (address, admin) = (proxy.addresses()[0], proxy.admin_address().unwrap());
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    let load = BackgroundLoad::start(2, address, |client| {
        assert_eq!(client.get("/x").status(), 200)
    });
    until(
        "load",
        || load.answers.load(std::sync::atomic::Ordering::SeqCst),
        |answers| *answers > 10,
    );
    load.end();
    proxy.begin_drain();
    until(
        "the drain",
        || get(admin, "/readyz").status(),
        |status| *status == 503,
    );
    let ask = || Client::connect(address).get("/x");
    let told = until("a word to clients", ask, |answer| {
        answer.get("connection") == Some("close")
    });
    assert_eq!(told.status(), 200, "accepting goes on");
    assert_eq!(get(admin, "/report").status(), 200);
    assert_eq!(wait(proxy.drain()).unwrap().cut, 0);
    assert!(std::net::TcpStream::connect(address).is_err());
    assert!(std::net::TcpStream::connect(admin).is_err());
}
