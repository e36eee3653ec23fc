//! What HTTP/1.1 costs per request beside the system calls: find the end, parse, rewrite, for a browser's
//! usual request and a usual answer. Run with `cargo bench -p halftone-proxy --bench http1`.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use halftone_proxy::{
    forwarded::{EdgePosition, forwarding},
    http1::{
        FieldSlots, HeadSearch, HttpVersion, Method, ResponseContext, Strictness, deliver,
        parse_request, parse_response,
        write::{self, PathRewrite, RequestRewrite, ResponseRewrite},
    },
};

const REQUEST: &[u8] = b"GET /checkout/cart?item=1234567&ref=home HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    Connection: keep-alive\r\n\
    X-User-Name: user-004217\r\n\
    sec-ch-ua: \"Chromium\";v=\"142\", \"Not=A?Brand\";v=\"24\"\r\n\
    sec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Dest: document\r\n\
    Referer: https://shop.example.com/checkout\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=8c1f2a77c0b54e4e9f5f3e1f7f2c9b51; theme=dark; _ga=GA1.2.1234567890.1700000000\r\n\
    \r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.26.3\r\n\
    Date: Sat, 21 Nov 2026 09:00:00 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 128\r\n\
    Connection: keep-alive\r\n\
    Cache-Control: private, max-age=0\r\n\
    ETag: \"5f2c9b51-80\"\r\n\
    Vary: Accept-Encoding\r\n\
    \r\n";

fn request(criterion: &mut Criterion) {
    let rewrite = RequestRewrite {
        path: PathRewrite::AsReceived,
        forwarding: forwarding(EdgePosition::Edge, false, false),
        peer: Ipv4Addr::new(192, 0, 2, 77).into(),
        local: (Ipv4Addr::new(192, 0, 2, 1), 8080).into(),
        version_header: Some(("X-Halftone-Version", "v2")),
        identity_fields: &["X-User-Name".into()],
        own_fields: &["X-User-Name".into(), "X-Halftone-Version".into()],
    };
    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("find the end", |bencher| {
        bencher.iter(|| HeadSearch::request().advance(black_box(REQUEST)));
    });
    let mut search = HeadSearch::request();
    search.advance(REQUEST).expect("a good request");
    group.bench_function("parse", |bencher| {
        bencher.iter(|| {
            let mut slots = FieldSlots::new();
            let head =
                parse_request(&mut slots, &search, black_box(REQUEST)).expect("a good request");
            head.fields.as_slice().len()
        });
    });
    let mut out = Vec::with_capacity(4096);
    group.bench_function("rewrite", |bencher| {
        let mut slots = FieldSlots::new();
        let head = parse_request(&mut slots, &search, REQUEST).expect("a good request");
        bencher.iter(|| {
            out.clear();
            write::request_head(&mut out, black_box(&head), black_box(&rewrite));
            out.len()
        });
    });
    group.bench_function("all", |bencher| {
        bencher.iter(|| {
            let mut search = HeadSearch::request();
            let end = search
                .advance(black_box(REQUEST))
                .expect("a good request")
                .expect("a whole one");
            let mut slots = FieldSlots::new();
            let head = parse_request(&mut slots, &search, &REQUEST[..end]).expect("a good request");
            out.clear();
            write::request_head(&mut out, &head, black_box(&rewrite));
            out.len()
        });
    });
    group.finish();
}

fn answer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("answer");
    group.throughput(Throughput::Bytes(ANSWER.len() as u64));
    let mut out = Vec::with_capacity(4096);
    group.bench_function("all", |bencher| {
        bencher.iter(|| {
            let mut search = HeadSearch::response(Strictness::Strict);
            let end = search
                .advance(black_box(ANSWER))
                .expect("a good answer")
                .expect("a whole one");
            let mut slots = FieldSlots::new();
            let answering = ResponseContext {
                method: Method::Get,
                websocket: false,
                strictness: Strictness::Strict,
            };
            let head = parse_response(&mut slots, &search, &ANSWER[..end], answering);
            let head = head.expect("a good answer");
            let rewrite = ResponseRewrite {
                client: HttpVersion::Http11,
                delivery: deliver(head.body, HttpVersion::Http11, true),
                version_header: Some(("X-Halftone-Version", "v2")),
                reason: None,
                set_cookie: None,
                homeward: None,
            };
            out.clear();
            write::response_head(&mut out, &head, &rewrite);
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, request, answer);
criterion_main!(benches);
