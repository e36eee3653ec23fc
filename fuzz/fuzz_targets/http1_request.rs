//! Request heads: what we accept, the grammar's own parser and httparse accept too, and take apart as we do; what
//! we write from it is one message again, with the same framing.
#![no_main]

use std::net::Ipv4Addr;

use halftone_proxy::{
    forwarded::{EdgePosition, forwarding},
    http1::{
        BodyLength, FieldSlots, HeadSearch, MAX_FIELDS, RequestHead, parse_request,
        write::{self, PathRewrite, RequestRewrite},
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
    let piecewise = (0..=bytes.len())
        .map(|end| pieces.advance(&bytes[..end]))
        .find(|found| *found != Ok(None));
    // Which of two errors is found first may depend on what was there when it was looked.
    assert_eq!(piecewise.unwrap_or(Ok(None)).ok(), found.ok());
    let Ok(Some(length)) = found else { return };
    let mut slots = FieldSlots::new();
    let Ok(head) = parse_request(&mut slots, &search, &bytes[..length]) else {
        return;
    };
    let ours: Vec<_> = head
        .fields
        .as_slice()
        .iter()
        .map(|field| (field.name, field.value))
        .collect();
    let theirs = oracle::request(bytes).expect("the grammar has this message too");
    assert_eq!(
        (theirs.length, theirs.method.as_str()),
        (length, head.method_name)
    );
    assert!(
        theirs
            .fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_slice()))
            .eq(ours.iter().copied())
    );
    assert!(
        theirs.target.ends_with(&received(&head)),
        "{}",
        theirs.target.escape_ascii()
    );
    as_httparse(bytes, &theirs);

    let rewrite = RequestRewrite {
        path: if choice & 1 == 0 {
            PathRewrite::WithoutDots
        } else {
            PathRewrite::Under("/v1")
        },
        forwarding: forwarding(EdgePosition::Edge, choice & 2 != 0, choice & 2 != 0),
        peer: Ipv4Addr::LOCALHOST.into(),
        local: (Ipv4Addr::LOCALHOST, 80).into(),
        version_header: (choice & 4 != 0).then_some(("X-Halftone-Version", "v2")),
        identity_fields: &["X-User-Name".into()],
        own_fields: &["X-User-Name".into(), "X-Halftone-Version".into()],
    };
    let mut out = Vec::new();
    write::request_head(&mut out, &head, &rewrite);
    let sent = oracle::request(&out).expect("what we write is a message");
    assert_eq!((sent.length, sent.minor), (out.len(), 1));
    assert_eq!(sent.values("host").count(), 1);
    let framing = (
        sent.values("content-length").count(),
        sent.values("transfer-encoding").count(),
    );
    let expected = match head.body {
        BodyLength::Length(_) => (1, 0),
        BodyLength::Chunked => (0, 1),
        BodyLength::Empty | BodyLength::UntilClose => (0, 0),
    };
    assert_eq!(framing, expected);
    assert_eq!(
        going_on(&sent.fields, &[]),
        going_on(&theirs.fields, &named(&theirs))
    );
});

/// Names in Connection fields, in lower case.
fn named(request: &oracle::OracleRequest) -> Vec<String> {
    let text = request
        .values("connection")
        .map(|value| String::from_utf8_lossy(value).to_ascii_lowercase());
    text.flat_map(|value| {
        value
            .split(',')
            .map(|name| name.trim_ascii().to_owned())
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The fields that are neither for one hop alone nor ours to set, and not named by Connection.
fn going_on<'a>(fields: &'a [(String, Vec<u8>)], named: &[String]) -> Vec<&'a (String, Vec<u8>)> {
    const NOT: [&str; 13] = [
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    const STAY: [&str; 3] = ["authorization", "cookie", "x-user-name"];
    let goes_on = |(name, _): &&(String, Vec<u8>)| {
        let name = name.to_ascii_lowercase();
        let read_as = name.replace('_', "-");
        let ours = ["x-real-ip", "x-forwarded-", "x-halftone-"]
            .iter()
            .any(|ours| read_as.starts_with(ours));
        let disguised =
            name.contains('_') && (NOT.contains(&&*read_as) || read_as == "x-user-name");
        STAY.contains(&&*name)
            || !ours && !disguised && !NOT.contains(&&*name) && !named.contains(&name)
    };
    fields.iter().filter(goes_on).collect()
}

/// Path and query as received; of an absolute target without a path what it means.
fn received(head: &RequestHead<'_, '_>) -> Vec<u8> {
    let bare = head.target.authority.is_some() && head.target.path.len() == 1;
    let path: &[u8] = if bare { b"" } else { head.target.path };
    let query = head
        .target
        .query
        .map(|query| [&b"?"[..], query].concat())
        .unwrap_or_default();
    [path, &query].concat()
}

fn as_httparse(bytes: &[u8], ours: &oracle::OracleRequest) {
    // httparse takes no target that is not UTF-8.
    let Ok(target) = std::str::from_utf8(&ours.target) else {
        return;
    };
    let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut theirs = httparse::Request::new(&mut headers);
    assert_eq!(
        theirs.parse(bytes),
        Ok(httparse::Status::Complete(ours.length))
    );
    let line = (theirs.method, theirs.path, theirs.version);
    assert_eq!(line, (Some(&*ours.method), Some(target), Some(ours.minor)));
    let fields = ours
        .fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()));
    assert!(
        theirs
            .headers
            .iter()
            .map(|header| (header.name, header.value))
            .eq(fields)
    );
}
