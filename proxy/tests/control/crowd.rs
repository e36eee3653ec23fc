//! Strangers at the admin port: what they hold or leave unread keeps nobody else out.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;

use halftone_proxy::run::{DocumentSource, Proxy};
use halftone_proxy::settings::Settings;
use serde_json::json;

use super::support::{Client, backend, get, listing, release, settings, start, until};

/// More than there are places.
const STRANGERS: usize = 300;

/// A page of metrics of some hundred kilobytes, more than sockets hold.
fn many_releases() -> Vec<(String, String)> {
    let stable = backend("stable");
    let document = |n: usize| {
        let name = format!("release-{n:03}");
        (
            format!("{name}.json"),
            release(
                &name,
                1,
                stable,
                json!({"hosts": [format!("{name}.example.com")]}),
            ),
        )
    };
    (0..200).map(document).collect()
}

/// How many clients were asked to leave, as the metrics tell it.
fn closed_for_room(admin: SocketAddr) -> usize {
    let metrics = get(admin, "/metrics").into_text();
    let mut lines = metrics.lines();
    let value =
        lines.find_map(|line| line.strip_prefix("halftone_connections_closed_for_room_total "));
    value.expect("it is there from the start").parse().unwrap()
}

fn probes_answer(admin: SocketAddr) {
    for _ in 0..20 {
        assert_eq!(
            [
                get(admin, "/livez").status(),
                get(admin, "/readyz").status()
            ],
            [200, 200]
        );
    }
}

#[test]
fn probes_and_scrapes_are_answered_while_strangers_hold_every_place_or_read_nothing() {
    let documents = many_releases();
    let documents: Vec<_> = documents
        .iter()
        .map(|(name, text)| (&**name, &**text))
        .collect();
    let proxy = start(&documents);
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    let mut held: Vec<_> = (0..STRANGERS)
        .map(|_| TcpStream::connect(admin).unwrap())
        .collect();
    probes_answer(admin);
    let page = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    for _ in 0..STRANGERS {
        let mut stream = TcpStream::connect(admin).unwrap();
        // Whoever had to make room already does not take it.
        let _ = stream.write_all(page.as_bytes());
        held.push(stream);
    }
    probes_answer(admin);
    let scraped = get(admin, "/metrics");
    assert!(
        scraped.status() == 200 && scraped.text().contains("release-199"),
        "{}",
        scraped.status()
    );
    drop(held);
}

#[test]
fn a_page_that_a_foreign_name_led_to_this_machine_reads_nothing_of_an_open_admin_address() {
    let ask =
        |admin, page: &str, host: &str| Client::connect(admin).with_host(host).get(page).status();
    let open = start(&[]);
    let admin = open.admin_address().unwrap();
    for page in [
        "/config?full",
        "/config",
        "/report",
        "/explain?host=a",
        "/metrics",
    ] {
        assert_eq!(ask(admin, page, "evil.example"), 421, "{page}");
        assert_eq!(ask(admin, page, &admin.to_string()), 200, "{page}");
    }
    assert_eq!(ask(admin, "/livez", "evil.example"), 200);
    let tokens = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(tokens.path(), "token").unwrap();
    let settings = Settings {
        token_file: Some(tokens.path().to_owned()),
        ..settings()
    };
    let proxy = Proxy::start(&settings, DocumentSource::Memory(listing(&[]))).unwrap();
    assert_eq!(
        ask(proxy.admin_address().unwrap(), "/config", "proxy.example"),
        401,
        "a token is asked for"
    );
}

#[test]
fn a_proxy_without_room_for_clients_says_so_in_report_and_metrics_and_stays_ready() {
    let settings = Settings {
        max_connections: 10,
        workers: NonZeroUsize::MIN,
        ..settings()
    };
    let document = release("checkout", 1, backend("stable"), json!({}));
    let proxy = Proxy::start(
        &settings,
        DocumentSource::Memory(listing(&[("a.json", &document)])),
    )
    .unwrap();
    let admin = proxy.admin_address().unwrap();
    until(
        "readiness",
        || get(admin, "/readyz").status(),
        |status| *status == 200,
    );
    let client = |_| {
        let mut client = Client::connect(proxy.addresses()[0]);
        assert_eq!(client.get("/x").status(), 200);
        client
    };
    let mut held: Vec<_> = (0..9).map(client).collect();
    until(
        "a word about it",
        || proxy.report(None).crowded,
        |crowded| *crowded,
    );
    assert_eq!(
        get(admin, "/readyz").status(),
        200,
        "a stranger must not take it out of its Service"
    );
    let metrics = get(admin, "/metrics").into_text();
    assert!(metrics.contains("halftone_max_connections 10"), "{metrics}");
    assert_eq!(closed_for_room(admin), 0, "there is a place left");
    held.push(client(9));
    until(
        "the longest idle makes room",
        || closed_for_room(admin),
        |closed| *closed > 0,
    );
    let ended = || held.iter().filter(|client| client.has_ended()).count();
    until(
        "each that made room is counted",
        || (closed_for_room(admin), ended()),
        |(told, ended)| told == ended,
    );
    drop(held);
    until(
        "room again",
        || proxy.report(None).crowded,
        |crowded| !crowded,
    );
}
