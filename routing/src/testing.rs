//! Documents and requests for this crate's own tests: the least document, changed field by field.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    document::parse::{self, Format},
    fleet::FleetConfig,
    routes::{CompiledRelease, Compiler, Routes},
};

/// The least document with both arms, with fields replaced by these; `null` removes one.
pub(crate) fn document(changes: Value) -> Value {
    let mut document = json!({
        "schema": 1,
        "bucketing": "xxh3-1",
        "release": {"uid": "u-1", "namespace": "shop", "name": "checkout", "id": "0123456789abcdef",
            "createdAt": "2026-01-02T03:04:05Z"},
        "revision": 3,
        "stage": 2,
        "state": "Active",
        "ratio": 500_000,
        "hosts": ["shop.example.com"],
        "arms": {
            "stable": {"addresses": ["127.0.0.1:9001"], "version": "v1"},
            "gray": {"addresses": ["127.0.0.1:9002"], "version": "v2"},
        },
        "identity": {"from": [{"header": "X-User-Name"}]},
    });
    merge(&mut document, changes);
    document
}

/// RFC 7396.
fn merge(target: &mut Value, changes: Value) {
    match (target, changes) {
        (Value::Object(target), Value::Object(changes)) => {
            for (key, change) in changes {
                if change.is_null() {
                    target.remove(&key);
                } else {
                    merge(target.entry(key).or_insert(Value::Null), change);
                }
            }
        }
        (target, changes) => *target = changes,
    }
}

/// The routes of these documents, of a fleet that trusts 10.0.0.0/8.
pub(crate) fn routes(documents: &[Value]) -> Routes {
    let mut compiler = Compiler::default();
    let releases = documents.iter().map(|document| {
        let document =
            parse::routing(document.to_string().as_bytes(), Format::Json).expect("a good document");
        Arc::new(CompiledRelease::compile(Arc::new(document), &mut compiler).expect("compiles"))
    });
    let releases = releases.collect();
    let trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    let fleet = FleetConfig {
        trusted_proxies,
        ..FleetConfig::default()
    };
    Routes::new(releases, Arc::new(fleet), &mut compiler)
}
