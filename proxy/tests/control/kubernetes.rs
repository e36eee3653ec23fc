//! Proxies that take their documents and endpoints from an API server, which is slow, refuses, forgets or goes away.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use halftone_daemon::token::{self, OperatorKey, OperatorKeySet, Signer, TokenClaims};
use halftone_proxy::run::{DocumentSource, Proxy};
use halftone_proxy::settings::Settings;
use halftone_proxy::source::kubernetes::{GRACE, KubernetesConfig};
use halftone_routing::report::TrafficReport;
use halftone_testkit::{ApiEndpoint, ApiServer, InjectedFault};
use serde_json::{Value, json};

use super::support::{
    BackgroundLoad, Client, Message, backend, get, release, settings, start_backend, until,
};

const CONFIG_MAPS: &str = "configmaps";
const SLICES: &str = "endpointslices";

/// Where the proxy and its documents are.
const GRAY: &str = "gray";

/// Every list of three has a second page, and watches are told of each version.
fn start_api() -> ApiEndpoint {
    let server = ApiServer::new();
    server.limit_pages(2);
    server.send_bookmarks();
    server.listen()
}

pub(super) fn put(
    api: &ApiEndpoint,
    resource: &str,
    namespace: &str,
    name: &str,
    mut object: Value,
) {
    object["metadata"]["namespace"] = namespace.into();
    object["metadata"]["name"] = name.into();
    api.put(resource, object);
}

/// Lets lists of this resource wait.
fn hold(api: &ApiEndpoint, resource: &'static str) {
    api.faults(move |line| {
        line.starts_with(&format!("list {resource}/"))
            .then_some(InjectedFault::Held)
    });
}

/// Refuses everything that is asked of EndpointSlices.
fn refuse_slices(api: &ApiEndpoint) {
    api.faults(|line| {
        line.contains(" endpointslices/")
            .then_some(InjectedFault::Forbidden)
    });
}

fn cluster(api: &ApiEndpoint) -> KubernetesConfig {
    KubernetesConfig {
        api: kube::Config::new(format!("http://{}", api.address).parse().unwrap()),
        namespace: GRAY.parse().unwrap(),
        pod: Some("pod-me".to_owned()),
        loopback: true,
        grace: GRACE,
    }
}

pub(super) fn start(api: &ApiEndpoint) -> Proxy {
    start_with(api, &settings())
}

fn start_with(api: &ApiEndpoint, settings: &Settings) -> Proxy {
    Proxy::start(settings, DocumentSource::Kubernetes(Box::new(cluster(api)))).unwrap()
}

fn with_state(dir: &Path) -> Settings {
    Settings {
        state: Some(dir.to_owned()),
        ..settings()
    }
}

pub(super) fn document_of_class(class: &str, key: &str, text: &str) -> Value {
    json!({"metadata": {"labels": {"halftone.dev/class": class}}, "data": {key: text}})
}

/// Puts a release's document, whose stable arm is a Service of its own name in `namespace`.
fn put_release(api: &ApiEndpoint, name: &str, namespace: &str, revision: u64, more: Value) {
    let service = json!({"namespace": namespace, "name": name, "port": 80});
    let mut document: Value =
        serde_json::from_str(&release(name, revision, ([127, 0, 0, 1], 1).into(), more)).unwrap();
    let stable = &mut document["arms"]["stable"];
    stable.as_object_mut().unwrap().remove("addresses");
    stable["service"] = service;
    let text = document.to_string();
    put(
        api,
        CONFIG_MAPS,
        GRAY,
        &format!("gr-{name}"),
        document_of_class("default", "routing.json", &text),
    );
}

fn endpoint(address: SocketAddr) -> Value {
    json!({"addresses": [address.ip()], "conditions": {"ready": true, "serving": true, "terminating": false}})
}

fn slice(service: &str, port: u16, endpoints: &[Value]) -> Value {
    json!({
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

/// A slice for each backend, since each has a port of its own.
fn put_backend(api: &ApiEndpoint, namespace: &str, service: &str, address: SocketAddr) {
    let name = format!("{service}-{}", address.port());
    put(
        api,
        SLICES,
        namespace,
        &name,
        slice(service, address.port(), &[endpoint(address)]),
    );
}

fn ready(proxy: &Proxy) -> Message {
    get(proxy.admin_address().unwrap(), "/readyz")
}

pub(super) fn until_ready(proxy: &Proxy) {
    until(
        "readiness",
        || ready(proxy),
        |answer| answer.status() == 200,
    );
}

fn ask(proxy: &Proxy) -> String {
    get(proxy.addresses()[0], "/x").into_text()
}

fn config(proxy: &Proxy) -> Value {
    get(proxy.admin_address().unwrap(), "/config").json()
}

fn revision(report: &TrafficReport) -> Option<u64> {
    report
        .applied
        .first()
        .map(|document| document.revision.get())
}

/// An API with one release on one backend.
fn shop() -> (ApiEndpoint, SocketAddr) {
    let (api, stable) = (start_api(), backend("stable"));
    put_backend(&api, "shop", "checkout", stable);
    put_release(&api, "checkout", "shop", 1, json!({}));
    (api, stable)
}

#[test]
fn what_the_api_says_is_served_and_other_classes_are_not() {
    let (api, stable) = shop();
    let other = release("other", 9, stable, json!({"hosts": ["other.example.com"]}));
    put(
        &api,
        CONFIG_MAPS,
        GRAY,
        "gr-other",
        document_of_class("web", "routing.json", &other),
    );
    let fleet = r#"{"schema": 1, "revision": 4, "trustedProxies": ["10.0.0.0/8"]}"#;
    put(
        &api,
        CONFIG_MAPS,
        GRAY,
        "halftone-fleet-default",
        document_of_class("default", "fleet.json", fleet),
    );
    let proxy = start(&api);
    until_ready(&proxy);
    assert_eq!(ask(&proxy), "stable /x r1");
    let report = proxy.report(None);
    assert_eq!(
        (report.applied.len(), report.fleet.unwrap().revision.get()),
        (1, 4)
    );

    put_release(&api, "checkout", "shop", 2, json!({}));
    until(
        "the second document",
        || ask(&proxy),
        |body| body == "stable /x r2",
    );
    put(
        &api,
        CONFIG_MAPS,
        GRAY,
        "gr-checkout",
        document_of_class("default", "routing.json", "{broken"),
    );
    let page = until(
        "the refusal",
        || config(&proxy),
        |page| page["rejected"] != json!([]),
    );
    assert_eq!(page["rejected"][0]["source"], "configmap/gray/gr-checkout");
    assert_eq!(page["rejected"][0]["reason"], "Malformed");
    assert_eq!(ask(&proxy), "stable /x r2", "the last good one goes on");
    api.remove(CONFIG_MAPS, GRAY, "gr-checkout");
    until(
        "an orphan",
        || config(&proxy),
        |page| page["orphaned"] == json!(["local/shop/checkout"]),
    );
    assert_eq!(
        ask(&proxy),
        "stable /x r2",
        "only a withdrawal ends a route"
    );
}

#[test]
fn changes_are_applied_as_they_come() {
    const CHANGES: u64 = 200;
    let (api, _) = shop();
    let proxy = start(&api);
    until_ready(&proxy);
    let mut took: Vec<Duration> = Vec::new();
    for next in 2..CHANGES + 2 {
        let began = Instant::now();
        put_release(&api, "checkout", "shop", next, json!({}));
        until(
            "the next revision",
            || revision(&proxy.report(None)),
            |applied| *applied == Some(next),
        );
        took.push(began.elapsed());
    }
    took.sort_unstable();
    println!(
        "ConfigMap changed to applied: median {:?}, p99 {:?}",
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
}

#[test]
fn while_the_api_is_away_traffic_stays_as_it_was_and_then_catches_up() {
    let (api, _) = shop();
    let proxy = start(&api);
    until_ready(&proxy);
    let load = BackgroundLoad::start(2, proxy.addresses()[0], |client: &mut Client| {
        assert_eq!(client.get("/x").status(), 200);
    });
    api.down();
    until(
        "trouble",
        || config(&proxy),
        |page| page["sourceTrouble"].is_string(),
    );
    assert_eq!(
        ready(&proxy).status(),
        200,
        "losing the API loses no traffic"
    );
    assert_eq!(ask(&proxy), "stable /x r1");
    let successor = backend("successor");
    put_release(&api, "checkout", "shop", 2, json!({}));
    put_backend(&api, "shop", "checkout", successor);
    let first = api.address;
    api.up();
    assert_eq!(api.address, first);
    until(
        "what changed meanwhile",
        || ask(&proxy),
        |body| body == "successor /x r2",
    );
    until(
        "no trouble",
        || config(&proxy),
        |page| page.get("sourceTrouble").is_none(),
    );
    assert!(load.end() > 0);
}

#[test]
fn a_watch_that_breaks_or_expires_misses_nothing() {
    let (api, _) = shop();
    put_release(
        &api,
        "second",
        "shop",
        1,
        json!({"hosts": ["second.example.com"]}),
    );
    put_release(
        &api,
        "third",
        "shop",
        1,
        json!({"hosts": ["third.example.com"]}),
    );
    let proxy = start(&api);
    until_ready(&proxy);
    until(
        "the watches of documents, endpoints and keys",
        || api.watches(),
        |watches| *watches == 3,
    );
    let applied = |page: &Value| page["applied"].as_array().unwrap().len();
    assert_eq!(
        applied(&config(&proxy)),
        3,
        "a list of more than one page is whole"
    );

    for round in 1..4 {
        let (revision, gone) = (1 + round, backend("next"));
        if round == 2 {
            api.break_watches()
        } else {
            api.compact()
        };
        // Whether the watch is back by now or not, none of this is missed.
        put_release(&api, "checkout", "shop", revision, json!({}));
        put_backend(&api, "shop", "checkout", gone);
        let told = format!("next /x r{revision}");
        until("the change", || ask(&proxy), |body| *body == told);
        api.remove(SLICES, "shop", &format!("checkout-{}", gone.port()));
        let told = format!("stable /x r{revision}");
        until(
            "only stable",
            || (0..20).all(|_| ask(&proxy) == told),
            |all| *all,
        );
    }
    api.compact();
    api.remove(CONFIG_MAPS, GRAY, "gr-second");
    until(
        "an orphan",
        || config(&proxy),
        |page| page["orphaned"] == json!(["local/shop/second"]),
    );
    assert_eq!(applied(&config(&proxy)), 3);
}

#[test]
fn a_proxy_is_ready_only_once_documents_and_their_endpoints_are_listed() {
    let (api, _) = shop();
    hold(&api, CONFIG_MAPS);
    let proxy = start(&api);
    until(
        "the reason",
        || ready(&proxy),
        |answer| answer.text().contains("first list of documents"),
    );
    hold(&api, SLICES);
    until(
        "the documents",
        || ready(&proxy).into_text(),
        |body| body.contains("EndpointSlices of namespace shop are not listed"),
    );
    refuse_slices(&api);
    until(
        "what is missing",
        || ready(&proxy).into_text(),
        |body| {
            body.contains("EndpointSlices of namespace shop are not listed")
                && body.contains("Forbidden")
        },
    );
    api.no_faults();
    until_ready(&proxy);
    assert_eq!(ask(&proxy), "stable /x r1");
    // Once ready, whatever is lost later changes nothing.
    put_release(
        &api,
        "second",
        "elsewhere",
        1,
        json!({"hosts": ["second.example.com"]}),
    );
    refuse_slices(&api);
    api.compact();
    until(
        "both documents",
        || proxy.report(None).applied.len(),
        |applied| *applied == 2,
    );
    assert_eq!(ready(&proxy).status(), 200);
    assert_eq!(ask(&proxy), "stable /x r1");
}

#[test]
fn a_document_that_names_a_new_namespace_waits_for_its_endpoints_and_others_do_not() {
    let (api, _) = shop();
    let cluster = KubernetesConfig {
        grace: Duration::from_secs(60),
        ..cluster(&api)
    };
    let proxy = Proxy::start(&settings(), DocumentSource::Kubernetes(Box::new(cluster))).unwrap();
    until_ready(&proxy);
    hold(&api, SLICES);
    put_backend(&api, "elsewhere", "second", backend("second"));
    put_release(
        &api,
        "second",
        "elsewhere",
        1,
        json!({"hosts": ["shop.example.com"]}),
    );
    put_release(&api, "checkout", "shop", 2, json!({}));
    until(
        "the other document",
        || ask(&proxy),
        |body| body.contains("r2"),
    );
    assert_eq!(
        ask(&proxy),
        "stable /x r2",
        "the new one would have no endpoint"
    );
    api.no_faults();
    let seen = until(
        "the new document",
        || ask(&proxy),
        |body| body != "stable /x r2",
    );
    assert_eq!(
        seen, "second /x r1",
        "no request met it before its endpoints"
    );
}

#[test]
fn a_namespace_that_cannot_be_listed_holds_its_documents_back_only_so_long() {
    let (api, _) = shop();
    let proxy = start(&api);
    until_ready(&proxy);
    refuse_slices(&api);
    put_release(
        &api,
        "second",
        "elsewhere",
        1,
        json!({"paths": ["/second"]}),
    );
    until(
        "both",
        || proxy.report(None).applied.len(),
        |applied| *applied == 2,
    );
    assert_eq!(ready(&proxy).status(), 200);
    api.no_faults();
    put_backend(&api, "elsewhere", "second", backend("second"));
    let second = || get(proxy.addresses()[0], "/second").into_text();
    until("its endpoints", second, |body| body == "second /second r1");
}

#[test]
fn a_proxy_that_starts_while_the_api_is_away_serves_what_it_kept() {
    let state = tempfile::tempdir().unwrap();
    let (api, stable) = shop();
    drop({
        let proxy = start_with(&api, &with_state(state.path()));
        until_ready(&proxy);
        assert_eq!(ask(&proxy), "stable /x r1");
        let kept = || {
            std::fs::read_to_string(state.path().join("documents/endpoints.json"))
                .unwrap_or_default()
        };
        until("kept endpoints", kept, |text| {
            text.contains(&stable.to_string())
        });
        proxy
    });
    api.down();
    let proxy = start_with(&api, &with_state(state.path()));
    assert_eq!(
        ask(&proxy),
        "stable /x r1",
        "a client waits a few seconds and is served"
    );
    until_ready(&proxy);
    assert!(proxy.report(None).stale);

    put_release(&api, "checkout", "shop", 2, json!({}));
    put_release(
        &api,
        "second",
        "shop",
        1,
        json!({"hosts": ["second.example.com"]}),
    );
    api.up();
    let report = until(
        "the first list",
        || proxy.report(None),
        |report| !report.stale,
    );
    assert_eq!(report.applied.len(), 2);
    until(
        "the second document",
        || ask(&proxy),
        |body| body == "stable /x r2",
    );
}

#[test]
fn endpoints_that_come_and_go_under_load_lose_no_request() {
    let (api, first) = (start_api(), start_backend("first", |_| 200));
    put_backend(&api, "shop", "checkout", first.address);
    put_release(&api, "checkout", "shop", 1, json!({}));
    let proxy = start(&api);
    until_ready(&proxy);
    let load = BackgroundLoad::start(4, proxy.addresses()[0], |client: &mut Client| {
        let answer = client.get("/x");
        assert_eq!(answer.status(), 200, "{answer:?}");
    });
    let mut present = first;
    for round in 0..30 {
        let next = start_backend("next", |_| 200);
        put_backend(&api, "shop", "checkout", next.address);
        let name = format!("checkout-{}", present.address.port());
        let mut leaving = endpoint(present.address);
        leaving["conditions"] = json!({"ready": false, "serving": true, "terminating": true});
        put(
            &api,
            SLICES,
            "shop",
            &name,
            slice("checkout", present.address.port(), &[leaving]),
        );
        until(
            "requests at the next one",
            || next.open_connections(),
            |open| *open > 0,
        );
        if round % 2 == 0 {
            api.remove(SLICES, "shop", &name);
        }
        until(
            "idle connections closed",
            || present.open_connections(),
            |open| *open == 0,
        );
        present = next;
    }
    assert!(load.is_running());
    assert!(load.end() > 0);
}

#[test]
fn a_service_that_selects_the_proxy_itself_is_not_forwarded_to() {
    let (api, _) = shop();
    let mut me = endpoint(([127, 0, 0, 1], 1).into());
    me["targetRef"] = json!({"kind": "Pod", "namespace": GRAY, "name": "me", "uid": "pod-me"});
    put(
        &api,
        SLICES,
        "shop",
        "checkout-me",
        slice("checkout", 1, &[me]),
    );
    let proxy = start(&api);
    until_ready(&proxy);
    assert_eq!(get(proxy.addresses()[0], "/x").status(), 503);
    assert_eq!(
        config(&proxy)["applied"][0]["endpoints"]["stable"]["trouble"],
        "LoopsBack"
    );
    api.remove(SLICES, "shop", "checkout-me");
    until(
        "the other endpoint",
        || ask(&proxy),
        |body| body == "stable /x r1",
    );
    let own = proxy.addresses()[0];
    put_backend(&api, "shop", "checkout", own);
    until(
        "no endpoint",
        || get(own, "/x").status(),
        |status| *status == 503,
    );
}

#[test]
fn in_a_pod_loopback_is_never_dialled() {
    let (api, stable) = shop();
    let direct = release(
        "direct",
        1,
        stable,
        json!({"hosts": ["direct.example.com"]}),
    );
    put(
        &api,
        CONFIG_MAPS,
        GRAY,
        "gr-direct",
        document_of_class("default", "routing.json", &direct),
    );
    let cluster = KubernetesConfig {
        loopback: false,
        ..cluster(&api)
    };
    let proxy = Proxy::start(&settings(), DocumentSource::Kubernetes(Box::new(cluster))).unwrap();
    until_ready(&proxy);
    assert_eq!(get(proxy.addresses()[0], "/x").status(), 503);
    let page = config(&proxy);
    for applied in page["applied"].as_array().unwrap() {
        assert_eq!(
            applied["endpoints"]["stable"]["trouble"], "ForbiddenAddress",
            "{applied:#}"
        );
    }
}

#[test]
fn a_signed_request_is_answered_once_the_key_is_published_and_after_a_restart_without_the_api() {
    let ((api, _), state) = (shop(), tempfile::tempdir().unwrap());
    let settings = Settings {
        admin: Some("0.0.0.0:0".parse().unwrap()),
        instance: "pod-me".to_owned(),
        ..with_state(state.path())
    };
    let signer = Signer::generate().unwrap();
    let ask = |proxy: &Proxy, instance: &str| {
        let admin = ([127, 0, 0, 1], proxy.admin_address().unwrap().port()).into();
        let claim = TokenClaims {
            class: "default",
            instance,
            path: "/report",
        };
        let token = signer.sign(&claim, jiff::Timestamp::now().as_second());
        Client::connect(admin).get_with("/report", &[(token::HEADER, &*token)])
    };
    let proxy = start_with(&api, &settings);
    let refused = ask(&proxy, "pod-me");
    assert_eq!(
        (
            refused.status(),
            refused.text().contains("no known operator")
        ),
        (401, true),
        "{}",
        refused.text()
    );
    let keys = OperatorKeySet::default().with(&OperatorKey {
        public: signer.public(),
        holder: "operator-0".to_owned(),
    });
    let labels = json!({"halftone.dev/fleet": "default", "halftone.dev/kind": "Keys"});
    let object = json!({"metadata": {"labels": labels}, "data": {"keys.json": keys.to_json()}});
    put(&api, CONFIG_MAPS, GRAY, "halftone-keys-default", object);
    until(
        "the key",
        || ask(&proxy, "pod-me").status(),
        |status| *status == 200,
    );
    assert_eq!(
        ask(&proxy, "another-pod").status(),
        401,
        "a token opens one pod"
    );
    drop(proxy);

    let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let away = KubernetesConfig {
        api: nowhere,
        ..cluster(&api)
    };
    let proxy = Proxy::start(&settings, DocumentSource::Kubernetes(Box::new(away))).unwrap();
    assert_eq!(
        ask(&proxy, "pod-me").status(),
        200,
        "it knows the operators that it knew before"
    );
}
