//! Generated messages: heads that are mostly well-formed, and the mutations that make them interesting.

use proptest::{collection::vec, prelude::*, sample::select};

/// Methods, targets, names and values that something in the proxy looks at, and some that nothing does.
pub(crate) fn request_head() -> impl Strategy<Value = Vec<u8>> {
    (
        method(),
        target(),
        select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]),
        hosts(),
        vec(field(), 0..8),
    )
        .prop_map(|(method, target, version, hosts, fields)| {
            let mut head = format!("{method} {target} {version}\r\n");
            for line in hosts.into_iter().chain(fields) {
                head.push_str(&line);
                head.push_str("\r\n");
            }
            head.push_str("\r\n");
            head.into_bytes()
        })
}

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]).prop_map(str::to_owned),
        1 => select(vec!["get", "PROPFIND", "CONNECT", "TRACE", "M-SEARCH"]).prop_map(str::to_owned),
        1 => "[!#$%&'*+.^_`|~A-Za-z0-9-]{1,6}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "/[a-z0-9/._~%A-F-]{0,12}(\\?[a-z0-9=&/?%\\[\\]{}|\"]{0,8})?",
        2 => "https?://(a|b\\.example|A|a:80)(/[a-z/.]{0,6})?(\\?[a-z=]{0,4})?",
        1 => Just("*".to_owned()),
        1 => select(vec!["/", "//", "a", "/a#b", "http://", "http:/a", "http://u@a/", "ftp://a/", "/..", "/%00", "/\u{e9}", "a:80", "?"])
            .prop_map(str::to_owned),
    ]
}

fn hosts() -> impl Strategy<Value = Vec<String>> {
    let value = select(vec![
        "a",
        "a:80",
        "A",
        "b.example",
        "b.example.",
        "10.0.0.1:8080",
        "[::1]:80",
        "",
        "a b",
        "u@a",
        "a:b",
        "a/b",
        "[::1",
    ]);
    let host = value.prop_map(|value| format!("Host: {value}"));
    prop_oneof![1 => Just(Vec::new()), 8 => vec(host.clone(), 1), 1 => vec(host, 2)]
}

fn field() -> impl Strategy<Value = String> {
    (
        name(),
        select(vec![":", ": ", ":\t", ":  "]),
        value(),
        select(vec!["", "", " ", "\t"]),
    )
        .prop_map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}"))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec![
            "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "TE", "Trailer", "Keep-Alive",
            "Cookie", "Authorization", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X_Forwarded_Port",
            "Forwarded", "X-Real-IP", "X-Halftone-Version", "x_halftone_debug", "Proxy-Connection", "X-User-Name",
        ]).prop_map(str::to_owned),
        2 => "[A-Za-z0-9_-]{1,8}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(vec![
            "5", "0", "05", "5, 5", "5, 6", "+5", "-5", "9223372036854775808", "99999999999999999999", "0x5", "5 5",
            "chunked", "Chunked", "chunked, chunked", "gzip, chunked", "identity", "xchunked",
            "close", "keep-alive", "Upgrade", "upgrade, TE", "X-User-Name, host, cookie", "websocket", "h2c, websocket",
            "100-continue", "200-ok", "trailers", "a, b", "",
        ]).prop_map(str::to_owned),
        1 => "[!-~]([ -~]{0,10}[!-~])?",
    ]
}

/// One change to a byte string: a byte replaced, inserted or taken out, or a stretch doubled.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Double(prop::sample::Index, usize),
}

pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    vec(mutation(), 0..3)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<prop::sample::Index>;
    let byte = || {
        prop_oneof![
            select(b"\r\n \t:\0,;/#\x0b\x7f\x80=+-0aZ".to_vec()),
            any::<u8>()
        ]
    };
    prop_oneof![
        (place(), byte()).prop_map(|(at, byte)| Mutation::Replace(at, byte)),
        (place(), byte()).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        place().prop_map(Mutation::Remove),
        (place(), 1_usize..40).prop_map(|(at, length)| Mutation::Double(at, length)),
    ]
}

pub(crate) fn mutate(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        match mutation {
            _ if bytes.is_empty() => {}
            Mutation::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Mutation::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
            Mutation::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Mutation::Double(at, length) => {
                let start = at.index(bytes.len());
                let end = bytes.len().min(start + length);
                let stretch = bytes[start..end].to_vec();
                bytes.splice(end..end, stretch);
            }
        }
    }
    bytes
}
