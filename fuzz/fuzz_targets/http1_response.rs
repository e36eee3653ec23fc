//! Response heads: what we accept, the grammar's own parser accepts too, and takes apart as we do; what we
//! write from it is one message again.
#![no_main]

use halftone_proxy::http1::{
    Answering, FieldSlots, HeadSearch, Method, Version, deliver, parse_response,
    write::{self, ResponseRewrite},
};
use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/tests/http1/oracle.rs"]
#[allow(dead_code)]
mod oracle;

fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else { return };
    let mut search = HeadSearch::response();
    let Ok(Some(length)) = search.advance(bytes) else { return };
    let method = if choice & 1 == 0 { Method::Get } else { Method::Head };
    let mut slots = FieldSlots::new();
    let request = Answering { method, websocket: choice & 2 != 0 };
    let Ok(head) = parse_response(&mut slots, &search, &bytes[..length], request) else { return };
    let theirs = oracle::response(bytes).expect("the grammar has this message too");
    assert_eq!((theirs.length, theirs.status), (length, head.status));
    let ours: Vec<_> =
        head.fields.as_slice().iter().map(|field| (String::from_utf8(field.name.to_vec()).expect("a token"), field.value.to_vec())).collect();
    assert_eq!(theirs.fields, ours);

    let client = if choice & 4 == 0 { Version::Http11 } else { Version::Http10 };
    let mut out = Vec::new();
    if head.is_interim() {
        write::interim_head(&mut out, &head);
    } else {
        let rewrite = ResponseRewrite {
            client,
            delivery: deliver(head.body, client, choice & 8 != 0),
            version_header: Some(("X-Halftone-Version", "v2")),
            reason: None,
            set_cookie: Some("halftone_id=1"),
        };
        write::response_head(&mut out, &head, &rewrite);
    }
    let sent = oracle::response(&out).expect("what we write is a message");
    assert_eq!((sent.length, sent.status), (out.len(), head.status));
    let framing = ["content-length", "transfer-encoding"];
    let framings =
        sent.fields.iter().filter(|(name, _)| framing.iter().any(|each| name.eq_ignore_ascii_case(each)));
    assert!(framings.count() <= 1);
});
