//! Decisions: whatever the request, `decide` ends, listening in changes nothing, nobody is known by an empty
//! identity, and asking again gives the same answer. The input's lines are the host, the path, the query, the
//! peer's last byte, and then fields as `name: value`.
#![no_main]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, LazyLock},
};

use halftone_routing::{
    decide::{Resolution, TraceEntry, all_open, decide, decide_traced},
    document::parse::{self, Format},
    field::Field,
    host, path,
    request::Request,
    routes::{CompiledRelease, Compiler, Routes},
};
use libfuzzer_sys::fuzz_target;

const FLEET: &str = r#"{"schema": 1, "trustedProxies": ["10.0.0.0/25"]}"#;

static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let mut compiler = Compiler::default();
    let document = parse::routing(include_bytes!("../seeds/decide.json"), Format::Json)
        .expect("a good document");
    let release = CompiledRelease::compile(Arc::new(document), &mut compiler).expect("compiles");
    let fleet = parse::fleet(FLEET.as_bytes(), Format::Json)
        .expect("a good document")
        .config;
    Routes::new(vec![Arc::new(release)], Arc::new(fleet), &mut compiler)
});

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (host, path, query, peer) = (
        line(),
        line(),
        line(),
        line().first().copied().unwrap_or_default(),
    );
    let (Ok(host), Ok(path)) = (host::normalise(host), path::normalise(path)) else {
        return;
    };
    let fields: Vec<Field<'_>> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some(Field {
                name: &line[..colon],
                value: line[colon + 1..].trim_ascii(),
            })
        })
        .collect();
    let request = Request {
        method: "GET",
        host: &host,
        path: &path,
        query: (!query.is_empty()).then_some(query),
        fields: &fields,
        peer: IpAddr::V4(Ipv4Addr::new(10, 0, 0, peer)),
    };
    let first = decide(&ROUTES, all_open, &request, &mut || 7);
    let mut told: Vec<TraceEntry> = Vec::new();
    assert_eq!(
        decide_traced(&ROUTES, all_open, &request, &mut || 7, &mut told),
        first
    );
    assert!(!told.is_empty());
    if let Resolution::Decided(decision) = first {
        assert!(
            decision
                .identity
                .is_none_or(|identity| !identity.is_empty())
        );
    }
});
