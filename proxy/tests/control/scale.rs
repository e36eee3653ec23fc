//! How long a change takes among thousands of documents, from the API server's having it to a request's being decided by
//! it. It prints figures and asserts none: `cargo test --release -p halftone-proxy --test control -- --ignored
//! --nocapture among_11000`.

use std::time::{Duration, Instant};

use halftone_testkit::{ApiEndpoint, ApiServer};
use serde_json::json;

use super::kubernetes::{document_of_class, put, start, until_ready};
use super::support::{Client, backend, release};

const DOCUMENTS: usize = 11_000;
const CHANGES: u64 = 200;

/// Puts the document of one of many releases, each with a host of its own.
fn put_document(api: &ApiEndpoint, number: usize, revision: u64, stable: std::net::SocketAddr) {
    let name = format!("service-{number}");
    let more = json!({"hosts": [format!("{name}.example.com")], "rules": rules(&name)});
    let text = release(&name, revision, stable, more);
    let object = document_of_class("default", "routing.json", &text);
    put(api, "configmaps", "gray", &format!("gr-{name}"), object);
}

fn rules(name: &str) -> serde_json::Value {
    let rule = |header: &str, value: &str| {
        json!({"name": format!("{header}-{value}").to_lowercase(), "to": "Stable", "when": [{"all": [
            {"source": "Header", "name": header, "operator": "In", "values": [value]}]}]})
    };
    json!([rule("X-Tenant", name), rule("X-Region", "north")])
}

#[test]
#[ignore = "takes minutes and prints figures"]
fn a_change_among_11000_documents() {
    let (api, stable) = (ApiServer::new().listen(), backend("stable"));
    (0..DOCUMENTS).for_each(|number| put_document(&api, number, 1, stable));
    let proxies: Vec<_> = (0..3).map(|_| start(&api)).collect();
    proxies.iter().for_each(until_ready);
    let mut taken = Vec::new();
    let spent = cpu();
    for revision in 2..2 + CHANGES {
        let number = revision as usize * 37 % DOCUMENTS;
        put_document(&api, number, revision, stable);
        let begun = Instant::now();
        for proxy in &proxies {
            let host = format!("service-{number}.example.com");
            let mut client = Client::connect(proxy.addresses()[0]).with_host(&host);
            let expected = format!("stable /x r{revision}");
            while client.get("/x").into_text() != expected {
                assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "{expected} did not come"
                );
                std::thread::sleep(Duration::from_micros(200));
            }
            taken.push(begun.elapsed());
        }
    }
    let spent = (cpu() - spent) / CHANGES as f64;
    taken.sort_unstable();
    let at = |share: f64| taken[(taken.len() as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{CHANGES} changes among {DOCUMENTS} documents on 3 proxies: p50 {:.1} ms, p99 {:.1} ms; {spent:.1} ms of CPU for a \
         change, API server, proxies and client together",
        at(0.5),
        at(0.99),
    );
}

/// What this process has taken of the processors so far, in milliseconds.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
