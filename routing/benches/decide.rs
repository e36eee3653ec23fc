//! What one decision costs: a thousand releases, ten rules none of which matches, and an identity that only the
//! third source has. The fields are a browser's.

#![allow(missing_docs)]

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use halftone_routing::{
    decide::{Resolution, all_open, decide},
    document::parse::{self, Format},
    field::Field,
    request::Request,
    routes::{CompiledRelease, Compiler, Routes},
};

#[path = "common/documents.rs"]
mod documents;

const FIELDS: [(&str, &str); 14] = [
    ("Host", "service-500.example.com"),
    ("Connection", "keep-alive"),
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"142\", \"Not=A?Brand\";v=\"24\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("Upgrade-Insecure-Requests", "1"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Referer", "https://service-500.example.com/"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9"),
    (
        "Cookie",
        "session=c2Vzc2lvbg==; theme=dark; user_name=user-4711",
    ),
];

fn routes(count: usize) -> Routes {
    let mut compiler = Compiler::default();
    let releases = (0..count).map(|release| {
        let document = parse::routing(documents::document(release).as_bytes(), Format::Json)
            .expect("a good document");
        Arc::new(CompiledRelease::compile(Arc::new(document), &mut compiler).expect("compiles"))
    });
    let releases = releases.collect();
    Routes::new(releases, Arc::default(), &mut compiler)
}

fn bench(criterion: &mut Criterion) {
    let routes = routes(1000);
    let fields = FIELDS.map(|(name, value)| Field {
        name: name.as_bytes(),
        value: value.as_bytes(),
    });
    let request = Request {
        method: "GET",
        host: "service-500.example.com",
        path: b"/api/v2/orders",
        query: Some(b"page=2&sort=date"),
        fields: &fields,
        peer: "203.0.113.9".parse().expect("an address"),
    };
    let by_header = fields.map(|field| match field.name {
        b"Referer" => Field {
            name: b"X-User-Name",
            value: b"user-4711",
        },
        _ => field,
    });
    criterion.bench_function("decide/10 rules, third source", |bencher| {
        bencher.iter(
            || match decide(&routes, all_open, black_box(&request), &mut || 0) {
                Resolution::Decided(decision) => decision.bucket,
                _ => None,
            },
        );
    });
    let request = Request {
        fields: &by_header,
        ..request
    };
    criterion.bench_function("decide/10 rules, first source", |bencher| {
        bencher.iter(
            || match decide(&routes, all_open, black_box(&request), &mut || 0) {
                Resolution::Decided(decision) => decision.bucket,
                _ => None,
            },
        );
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
