//! Response heads: what we accept, the grammar's own parser and httparse accept too, and take apart as we do; what
//! we write from it is one message again.
#![no_main]

use halftone_proxy::http1::{
    FieldSlots, HeadSearch, HttpVersion, MAX_FIELDS, Method, ResponseContext, Strictness, deliver,
    parse_response,
    write::{self, LocationContext, ResponseRewrite},
};
use libfuzzer_sys::fuzz_target;

#[path = "../../proxy/tests/http1/oracle.rs"]
#[allow(dead_code)]
mod oracle;

fuzz_target!(|data: &[u8]| {
    let [choice, bytes @ ..] = data else { return };
    let mut search = HeadSearch::response(Strictness::Strict);
    let Ok(Some(length)) = search.advance(bytes) else {
        return;
    };
    let method = if choice & 1 == 0 {
        Method::Get
    } else {
        Method::Head
    };
    let mut slots = FieldSlots::new();
    let request = ResponseContext {
        method,
        websocket: choice & 2 != 0,
        strictness: Strictness::Strict,
    };
    let Ok(head) = parse_response(&mut slots, &search, &bytes[..length], request) else {
        return;
    };
    // Leniency takes more, and reads nothing differently.
    let (mut lenient, mut lenient_slots) =
        (HeadSearch::response(Strictness::Lenient), FieldSlots::new());
    assert_eq!(lenient.advance(bytes), Ok(Some(length)));
    let request = ResponseContext {
        strictness: Strictness::Lenient,
        ..request
    };
    let read = parse_response(&mut lenient_slots, &lenient, &bytes[..length], request)
        .expect("strictly it stands");
    assert_eq!(
        (read.status, read.body, read.keep_alive),
        (head.status, head.body, head.keep_alive)
    );
    let theirs = oracle::response(bytes).expect("the grammar has this message too");
    assert_eq!((theirs.length, theirs.status), (length, head.status));
    let ours = head
        .fields
        .as_slice()
        .iter()
        .map(|field| (field.name, field.value));
    assert!(
        theirs
            .fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_slice()))
            .eq(ours)
    );
    as_httparse(bytes, &theirs, head.reason);

    let client = if choice & 4 == 0 {
        HttpVersion::Http11
    } else {
        HttpVersion::Http10
    };
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
            homeward: Some(LocationContext {
                prefix: "/v1",
                asked: b"a",
                backend: (std::net::Ipv4Addr::LOCALHOST, 80).into(),
                service: None,
            }),
        };
        write::response_head(&mut out, &head, &rewrite);
    }
    let sent = oracle::response(&out).expect("what we write is a message");
    assert_eq!((sent.length, sent.status), (out.len(), head.status));
    let framing = ["content-length", "transfer-encoding"];
    let framings = sent
        .fields
        .iter()
        .filter(|(name, _)| framing.iter().any(|each| name.eq_ignore_ascii_case(each)));
    assert!(framings.count() <= 1);
    let named: Vec<_> = theirs
        .fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .map(|(_, value)| value)
        .collect();
    assert_eq!(
        going_on(&sent.fields, &[]),
        going_on(&theirs.fields, &named)
    );
});

/// The fields that are neither for one hop alone nor ours to set, and not named by Connection.
fn going_on<'a>(
    fields: &'a [(String, Vec<u8>)],
    connection: &[&Vec<u8>],
) -> Vec<&'a (String, Vec<u8>)> {
    const NOT: [&str; 14] = [
        "connection",
        "content-length",
        "content-location",
        "keep-alive",
        "location",
        "refresh",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let named = |name: &str| {
        let mut members = connection
            .iter()
            .flat_map(|value| value.split(|byte| *byte == b','));
        members.any(|member| member.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    /// With `_` in their names they are dropped.
    const DISGUISED: [&str; 4] = ["authorization", "cookie", "expect", "host"];
    const STAY: [&str; 2] = ["authorization", "cookie"];
    let goes_on = |(name, _): &&(String, Vec<u8>)| {
        let name = name.to_ascii_lowercase();
        let read_as = name.replace('_', "-");
        let ours = ["x-real-ip", "x-forwarded-", "x-halftone-", "forwarded"]
            .iter()
            .any(|ours| read_as.starts_with(ours));
        let disguised =
            name.contains('_') && (NOT.contains(&&*read_as) || DISGUISED.contains(&&*read_as));
        STAY.contains(&&*name) || !ours && !disguised && !NOT.contains(&&*name) && !named(&name)
    };
    fields.iter().filter(goes_on).collect()
}

fn as_httparse(bytes: &[u8], ours: &oracle::OracleResponse, reason: &str) {
    let mut headers = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut theirs = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true);
    assert_eq!(
        config.parse_response(&mut theirs, bytes),
        Ok(httparse::Status::Complete(ours.length))
    );
    let line = (theirs.code, theirs.version, theirs.reason);
    assert_eq!(line, (Some(ours.status), Some(ours.minor), Some(reason)));
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
