//! Routing documents and settings of fleets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use halftone_routing::decide::{Resolution, all_open, decide};
use halftone_routing::document::parse::{self, Format};
use halftone_routing::field::Field;
use halftone_routing::request::Request;
use halftone_routing::routes::Routes;
use halftone_routing::store::{Content, SourceDocument, Store};
use serde_json::{Value, json};

use crate::recorded;

/// Each document of a release, with what 0.1 decided for some requests.
fn documents() -> Vec<(String, String, Vec<Value>)> {
    let read = |(name, text): (String, String)| {
        let mut recorded: Value = serde_json::from_str(&text).unwrap();
        let Value::Array(decisions) = recorded["decisions"].take() else {
            panic!("{name}: no decisions")
        };
        (name, recorded["document"].to_string(), decisions)
    };
    recorded("documents").into_iter().map(read).collect()
}

fn routes(name: &str, document: &str) -> Arc<Routes> {
    let mut store = Store::new();
    let found = SourceDocument {
        source: name,
        content: Content::Text(Format::Json, document.as_bytes()),
    };
    let change = store.apply(&[found], None);
    assert_eq!(change.applied.len(), 1, "{name}: {:?}", store.rejected());
    Arc::clone(store.routes())
}

/// A request as it was recorded: method, host, path, query and fields.
#[derive(serde::Deserialize)]
struct RecordedRequest {
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    fields: Vec<(String, String)>,
}

fn ask(routes: &Routes, asked: &RecordedRequest) -> Value {
    let field = |(name, value): &'_ (String, String)| {
        (name.clone().into_bytes(), value.clone().into_bytes())
    };
    let texts: Vec<_> = asked.fields.iter().map(field).collect();
    let fields: Vec<_> = texts
        .iter()
        .map(|(name, value)| Field { name, value })
        .collect();
    let request = Request {
        method: &asked.method,
        host: &asked.host,
        path: asked.path.as_bytes(),
        query: asked.query.as_deref().map(str::as_bytes),
        fields: &fields,
        peer: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
    };
    match decide(routes, all_open, &request, &mut || 7 << 100) {
        Resolution::Decided(decision) => {
            let identity = decision.identity.as_deref().map(String::from_utf8_lossy);
            let bucket = decision.bucket.map(|bucket| bucket.get());
            json!([
                decision.arm.name(),
                decision.chosen_by.name(),
                identity,
                bucket,
                decision.excluded
            ])
        }
        Resolution::DefaultBackend(_) => json!("default"),
        Resolution::NoRoute => json!("none"),
        Resolution::Rejected { status, .. } => json!(status),
        Resolution::Climbs { .. } => json!("climbs"),
    }
}

#[test]
fn every_request_goes_where_0_1_sent_it() {
    let (mut all, documents) = (0, documents());
    for (name, document, decisions) in &documents {
        let routes = routes(name, document);
        for decided in decisions {
            let asked: RecordedRequest = serde_json::from_value(decided.clone()).unwrap();
            assert_eq!(ask(&routes, &asked), decided["to"], "{name}: {decided}");
        }
        all += decisions.len();
    }
    assert!(
        documents.len() >= 30 && all >= 600,
        "{} documents, {all} requests",
        documents.len()
    );
}

#[test]
fn nothing_in_a_document_of_0_1_is_passed_over_or_lost_when_it_is_written_again() {
    for (name, document, _) in documents() {
        let parsed = parse::routing(document.as_bytes(), Format::Json).unwrap();
        assert_eq!(parsed.ignored, [] as [&str; 0], "{name}");
        let again: Value = serde_json::from_str(&parsed.config.to_json().unwrap()).unwrap();
        assert_eq!(
            again,
            serde_json::from_str::<Value>(&document).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn the_settings_of_a_fleet_are_read_whole_and_are_the_same_when_written_again() {
    let fleets = recorded("fleets");
    assert!(fleets.len() >= 3);
    for (name, text) in fleets {
        let parsed = parse::fleet(text.as_bytes(), Format::Json).unwrap();
        assert_eq!(parsed.ignored, [] as [&str; 0], "{name}");
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            serde_json::to_value(&parsed.config).unwrap(),
            written,
            "{name}"
        );
    }
}

/// `uses` is read in every document. None of the features that there are is on by default, so nobody writes it yet.
#[test]
fn features_that_are_on_by_default_are_read_in_documents_of_releases_and_of_fleets_alike() {
    let fleet = json!({"schema": 1, "uses": ["shield", "identity-2"]}).to_string();
    assert_eq!(
        parse::fleet(fleet.as_bytes(), Format::Json)
            .unwrap()
            .ignored,
        ["uses shield"]
    );
    let (name, document, decisions) = documents().swap_remove(0);
    let mut newer: Value = serde_json::from_str(&document).unwrap();
    newer["uses"] = json!(["shield", "identity-2"]);
    newer.as_object_mut().unwrap().remove("checksum");
    let newer = newer.to_string();
    assert_eq!(
        parse::routing(newer.as_bytes(), Format::Json)
            .unwrap()
            .ignored,
        ["uses shield"]
    );
    let routes = routes(&name, &newer);
    for decided in decisions {
        let asked: RecordedRequest = serde_json::from_value(decided.clone()).unwrap();
        assert_eq!(
            ask(&routes, &asked),
            decided["to"],
            "a feature that is only used changes nobody's way"
        );
    }
}
