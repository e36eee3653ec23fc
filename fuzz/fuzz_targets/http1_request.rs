//! Request heads: what we accept, the grammar's own parser accepts too, and takes apart as we do; what we
//! write from it is one message again, with the same framing.
#![no_main]

use std::net::Ipv4Addr;

use halftone_proxy::{
    forwarded::{Position, forwarding},
    http1::{
        Body, FieldSlots, HeadSearch, parse_request,
        write::{self, RequestRewrite},
    },
};
use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/tests/http1/oracle.rs"]
#[allow(dead_code)]
mod oracle;

fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else { return };
    let mut search = HeadSearch::request();
    let found = search.advance(bytes);
    let mut pieces = HeadSearch::request();
    let piecewise =
        (0..=bytes.len()).map(|end| pieces.advance(&bytes[..end])).find(|found| *found != Ok(None));
    // Which of two errors is found first may depend on what was there when it was looked.
    assert_eq!(piecewise.unwrap_or(Ok(None)).ok(), found.ok());
    let Ok(Some(length)) = found else { return };
    let mut slots = FieldSlots::new();
    let Ok(head) = parse_request(&mut slots, &search, &bytes[..length]) else { return };
    let theirs = oracle::request(bytes).expect("the grammar has this message too");
    assert_eq!((theirs.length, theirs.method.as_str()), (length, head.method_name));
    let ours: Vec<_> =
        head.fields.as_slice().iter().map(|field| (String::from_utf8(field.name.to_vec()).expect("a token"), field.value.to_vec())).collect();
    assert_eq!(theirs.fields, ours);

    let rewrite = RequestRewrite {
        path_prefix: if choice & 1 == 0 { "" } else { "/v1" },
        forwarding: forwarding(Position::Edge, choice & 2 != 0, choice & 2 != 0),
        peer: Ipv4Addr::LOCALHOST.into(),
        local: (Ipv4Addr::LOCALHOST, 80).into(),
        version_header: (choice & 4 != 0).then_some(("X-Halftone-Version", "v2")),
        identity_fields: &["X-User-Name".into()],
    };
    let mut out = Vec::new();
    write::request_head(&mut out, &head, &rewrite);
    let sent = oracle::request(&out).expect("what we write is a message");
    assert_eq!((sent.length, sent.minor), (out.len(), 1));
    assert_eq!(sent.values("host").count(), 1);
    let framing = (sent.values("content-length").count(), sent.values("transfer-encoding").count());
    let expected = match head.body {
        Body::Length(_) => (1, 0),
        Body::Chunked => (0, 1),
        Body::Empty | Body::UntilClose => (0, 0),
    };
    assert_eq!(framing, expected);
});
