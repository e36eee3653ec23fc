//! Active health checks: an endpoint that fails its check gets no requests, unless all fail it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use halftone_proxy::run::Proxy;
use serde_json::{Value, json};

use super::support::{BackgroundLoad, backend_with, get, release, start, until};

/// A backend that answers everything, and its health check only while it is well.
fn checked(name: &'static str) -> (SocketAddr, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&well);
    let status = move |path: &str| {
        if path == "/healthz?deep" && !is_well.load(SeqCst) {
            500
        } else {
            200
        }
    };
    (backend_with(name, status), well)
}

fn start_with(addresses: &[SocketAddr]) -> Proxy {
    let check =
        json!({"path": "/healthz?deep", "intervalMs": 20, "unhealthyAfter": 2, "healthyAfter": 3});
    let arms = json!({"arms": {"stable": {"addresses": addresses, "healthCheck": check}}});
    start(&[("a.json", &release("checkout", 1, addresses[0], arms))])
}

/// Waits until so many endpoints are in use, and the check is ignored or not.
fn expect(proxy: &Proxy, in_use: usize, ignored: bool) {
    let admin = proxy.admin_address().unwrap();
    let labels = r#"{namespace="shop",release="checkout",arm="stable"}"#;
    let lines = [
        format!("halftone_endpoints{labels} {in_use}.0\n"),
        format!(
            "halftone_health_check_ignored{labels} {}.0\n",
            u8::from(ignored)
        ),
    ];
    let page = || get(admin, "/metrics").into_text();
    until(&lines.concat(), page, |page| {
        lines.iter().all(|line| page.contains(line))
    });
    let page = get(admin, "/config").json();
    let told = &page["applied"][0]["endpoints"]["stable"];
    assert_eq!(
        (&told["inUse"], &told["checkIgnored"]),
        (&json!(in_use), &json!(ignored)),
        "{told}"
    );
}

fn names(proxy: &Proxy) -> Vec<String> {
    let name = |answer: String| answer.split(' ').next().unwrap().to_owned();
    (0..30)
        .map(|_| name(get(proxy.addresses()[0], "/x").into_text()))
        .collect()
}

#[test]
fn an_endpoint_that_fails_its_check_is_left_out_until_it_passes_again() {
    let ((a, a_is_well), (b, b_is_well)) = (checked("a"), checked("b"));
    // Where nobody listens the check fails, too.
    let nobody = SocketAddr::from(([127, 9, 9, 9], 1));
    let proxy = start_with(&[a, b, nobody]);
    let load = BackgroundLoad::start(2, proxy.addresses()[0], |client| {
        assert_eq!(client.get("/x").status(), 200)
    });
    expect(&proxy, 2, false);
    a_is_well.store(false, SeqCst);
    expect(&proxy, 1, false);
    assert!(names(&proxy).iter().all(|name| name == "b"));

    b_is_well.store(false, SeqCst);
    expect(&proxy, 3, true);
    let asked = names(&proxy);
    assert!(
        asked.iter().any(|name| name == "a"),
        "a check that all fail says nothing: {asked:?}"
    );

    a_is_well.store(true, SeqCst);
    expect(&proxy, 1, false);
    assert!(names(&proxy).iter().all(|name| name == "a"));
    b_is_well.store(true, SeqCst);
    expect(&proxy, 2, false);
    assert!(names(&proxy).iter().any(|name| name == "b"));
    assert!(load.end() > 0);
}

#[test]
fn a_check_that_gets_no_answer_in_time_has_failed() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let (well, _) = checked("well");
    let check =
        json!({"path": "/healthz", "intervalMs": 20, "timeoutMs": 1_000, "unhealthyAfter": 2});
    let addresses = [mute.local_addr().unwrap(), well];
    let more: Value = json!({"arms": {"stable": {"addresses": addresses, "healthCheck": check}}});
    let proxy = start(&[("a.json", &release("checkout", 1, well, more))]);
    expect(&proxy, 1, false);
    assert!(names(&proxy).iter().all(|name| name == "well"));
}
