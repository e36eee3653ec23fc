//! Bodies held against hyper: the same bytes go to a hyper server, or a hyper client, and every message we
//! frame must be one that it frames, with the same body. The chunk decoder's own rules are a table.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use bytes::Bytes;
use halftone_proxy::http1::{
    BodyLength, ChunkRules, DecodedPart, Decoder, Field, FieldKind, MAX_TRAILERS, MessageError,
    Method, RequestHead, RequestTarget, ResponseContext, Strictness,
    chunked::{MAX_SIZE_LINE, append_end, size_line},
};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, http::uri::PathAndQuery, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    messages::{mutate, mutations},
    refusals::{with_request, with_response},
};

/// A message's first line and its body.
type ReceivedMessage = (String, Vec<u8>);

/// All whole requests in `bytes`, up to the first that is refused, asks to close, is not complete, or is one
/// that we take and hyper does not.
fn our_requests(mut bytes: &[u8]) -> Vec<ReceivedMessage> {
    let mut seen = Vec::new();
    loop {
        let next = with_request(bytes, |head, rest| {
            let first = format!(
                "{} {}",
                head.method_name,
                String::from_utf8_lossy(head.target.path)
            );
            hyper_takes(head).then(|| (first, read_body(head.body, rest), head.keep_alive))
        });
        let Ok(Some(Some((first, Some((body, used)), keep_alive)))) = next else {
            return seen;
        };
        seen.push((first, body));
        if !keep_alive {
            return seen;
        }
        bytes = &bytes[bytes.len() - used..];
    }
}

/// Whether hyper's types can hold what we took: its `Uri` has no room for `<` and `>`, which clients send and
/// which we, like nginx, hand on as they came; and of a Content-Length that was joined into a list (`8, 8`,
/// RFC 9110 §8.6) it wants one field for each member.
fn hyper_takes(head: &RequestHead<'_, '_>) -> bool {
    let RequestTarget { path, query, .. } = head.target;
    let path_and_query = query.map_or_else(|| path.to_vec(), |query| [path, b"?", query].concat());
    let listed = |(kind, field): (FieldKind, &Field<'_>)| {
        kind == FieldKind::ContentLength && field.value.contains(&b',')
    };
    PathAndQuery::try_from(path_and_query).is_ok() && !head.fields.iter().any(listed)
}

/// The body and how many bytes are left after it; `None` when it is not whole or malformed.
fn read_body(body: BodyLength, rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    match body {
        BodyLength::Empty => Some((Vec::new(), rest.len())),
        BodyLength::Length(length) => {
            let length = usize::try_from(length).ok()?;
            Some((rest.get(..length)?.to_vec(), rest.len() - length))
        }
        BodyLength::Chunked => decode(rest, usize::MAX)
            .ok()
            .flatten()
            .map(|(body, _, left)| (body, left)),
        BodyLength::UntilClose => Some((rest.to_vec(), 0)),
    }
}

type Decoding = Option<(Vec<u8>, Vec<u8>, usize)>;

/// Decodes a chunked body that arrives `step` bytes at a time: data, trailers, bytes left.
fn decode(bytes: &[u8], step: usize) -> Result<Decoding, MessageError> {
    let mut decoder = Decoder::new();
    let (mut data, mut at) = (Vec::new(), 0_usize);
    loop {
        let end = bytes.len().min(at.saturating_add(step));
        let mut input = &bytes[at..end];
        at = end;
        loop {
            let (used, decoded) = decoder.next(input)?;
            input = &input[used..];
            match decoded {
                DecodedPart::Data(piece) => data.extend_from_slice(piece),
                DecodedPart::End => {
                    return Ok(Some((
                        data,
                        decoder.trailers().to_vec(),
                        input.len() + bytes.len() - at,
                    )));
                }
                DecodedPart::More => break,
            }
        }
        assert!(
            input.is_empty(),
            "the decoder left input although it wants more"
        );
        if at == bytes.len() {
            return Ok(None);
        }
    }
}

/// The requests that a hyper server reads from `bytes`.
fn hypers_requests(bytes: &[u8]) -> Vec<ReceivedMessage> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let seen = seen.clone();
        async move {
            let first = format!("{} {}", request.method(), path(request.uri()));
            let Ok(body) = request.into_body().collect().await else {
                return Ok(refused());
            };
            seen.borrow_mut().push((first, body.to_bytes().to_vec()));
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let served = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .max_headers(200)
        .serve_connection(TokioIo::new(server), service);
    block_on(async {
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let _ = served.await;
        let mut answers = Vec::new();
        let _ = client.read_to_end(&mut answers).await;
    });
    seen.take()
}

fn path(uri: &hyper::Uri) -> String {
    uri.path().to_owned()
}

fn refused() -> Response<Empty<Bytes>> {
    Response::builder()
        .status(400)
        .body(Empty::new())
        .expect("a status alone makes an answer")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Requests one after the other, with every kind of body, as clients write them.
fn request_stream() -> impl Strategy<Value = Vec<u8>> {
    vec(request(), 1..4).prop_map(|requests| requests.concat())
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = (
        select(vec!["POST", "PUT", "GET", "HEAD", "DELETE"]),
        "/[a-z]{1,3}",
        select(vec!["1.1", "1.1", "1.1", "1.0"]),
    );
    let body = prop_oneof![
        2 => Just("\r\n".to_owned()),
        3 => "[a-z\r\n]{0,9}".prop_map(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        1 => ("[+-]?[0-9 ,]{0,3}", "[a-z]{0,9}").prop_map(|(length, body)| format!("Content-Length: {length}\r\n\r\n{body}")),
        1 => "[a-z]{0,9}".prop_map(|body| format!("Content-Length: {0}\r\nContent-Length: {0}\r\n\r\n{body}", body.len())),
        3 => chunked_body().prop_map(|body| format!("Transfer-Encoding: chunked\r\n\r\n{body}")),
        1 => chunked_body().prop_map(|body| format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{body}")),
        1 => chunked_body().prop_map(|body| format!("Transfer-Encoding: x, chunked\r\n\r\n{body}")),
    ];
    let connection = select(vec![
        "",
        "",
        "",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
    ]);
    (line, connection, body).prop_map(|((method, path, version), connection, body)| {
        format!("{method} {path} HTTP/{version}\r\nHost: a\r\n{connection}{body}").into_bytes()
    })
}

fn chunked_body() -> impl Strategy<Value = String> {
    let chunk = (
        "[a-z\r\n]{1,20}",
        select(vec![
            "",
            "",
            "",
            ";a",
            " ;a=b",
            ";a=\"b;c\"",
            "; \t",
            ";\u{e9}",
        ]),
    )
        .prop_map(|(data, extension)| format!("{:x}{extension}\r\n{data}\r\n", data.len()));
    let last = select(vec!["0\r\n", "0\r\n", "000\r\n", "0;a\r\n"]);
    let trailers = select(vec!["", "", "X-Sum: a\r\n", "A: b\r\nC:d\r\n"]);
    (vec(chunk, 0..4), last, trailers)
        .prop_map(|(chunks, last, trailers)| format!("{}{last}{trailers}\r\n", chunks.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn hyper_finds_every_request_that_we_find(stream in request_stream(), changes in mutations()) {
        let bytes = mutate(stream, &changes);
        let (ours, theirs) = (our_requests(&bytes), hypers_requests(&bytes));
        prop_assert!(theirs.starts_with(&ours), "ours {ours:?}, hyper's {theirs:?}");
    }

    #[test]
    fn hyper_reads_an_answer_as_we_do(
        head in select(vec![false, false, false, true]),
        line in select(vec!["1.1 200 OK", "1.1 404 Not Found", "1.1 204 No Content", "1.1 304 Not Modified", "1.0 200 OK"]),
        body in prop_oneof![
            Just("\r\nabc".to_owned()),
            "[0-9]".prop_map(|length| format!("Content-Length: {length}\r\n\r\nabcdef")),
            chunked_body().prop_map(|body| format!("Transfer-Encoding: chunked\r\n\r\n{body}")),
        ],
        changes in mutations(),
    ) {
        let bytes = mutate(format!("HTTP/{line}\r\n{body}").into_bytes(), &changes);
        let method = if head { Method::Head } else { Method::Get };
        let ours = with_response(&bytes, ResponseContext { method, websocket: false, strictness: Strictness::Strict }, |head, rest| {
            (!head.is_interim()).then(|| read_body(head.body, rest).map(|(body, _)| (head.status, body)))
        });
        if let Ok(Some(Some(Some(ours)))) = ours {
            prop_assert_eq!(Some(ours), hypers_answer(&bytes, head));
        }
    }

    #[test]
    fn a_chunked_body_does_not_depend_on_how_its_bytes_arrive(
        body in chunked_body(),
        changes in mutations(),
        rest in "[a-z]{0,3}",
        step in 1_usize..9,
    ) {
        let bytes = mutate((body + &rest).into_bytes(), &changes);
        prop_assert_eq!(decode(&bytes, step), decode(&bytes, usize::MAX));
    }

    #[test]
    fn what_we_write_in_chunks_is_read_as_it_was(pieces in vec(vec(any::<u8>(), 0..300), 0..6)) {
        let mut out = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            out.extend_from_slice(size_line(piece.len(), &mut [0; MAX_SIZE_LINE]));
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        append_end(&mut out, b"X-Sum: a\r\n");
        prop_assert_eq!(decode(&out, usize::MAX), Ok(Some((pieces.concat(), b"X-Sum: a\r\n".to_vec(), 0))));
    }
}

fn hypers_answer(bytes: &[u8], head: bool) -> Option<(u16, Vec<u8>)> {
    let (mut server, client) = tokio::io::duplex(1 << 20);
    block_on(async {
        // RFC 9112 §5.1 has proxies take the space before a colon out of answers.
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .allow_spaces_after_header_name_in_responses(true)
            .handshake(TokioIo::new(client))
            .await
            .ok()?;
        let request = Request::builder()
            .method(if head { "HEAD" } else { "GET" })
            .header("Host", "a");
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?);
        let exchange = async {
            let answer = answer.await.ok()?;
            let status = answer.status().as_u16();
            Some((
                status,
                answer.into_body().collect().await.ok()?.to_bytes().to_vec(),
            ))
        };
        let serve = async {
            // hyper takes bytes that come before its request for an answer nobody asked for.
            let _ = server.read_u8().await;
            let _ = server.write_all(bytes).await;
            let _ = server.shutdown().await;
        };
        let (seen, _, ()) = tokio::join!(exchange, connection, serve);
        seen
    })
}

#[test]
fn a_chunked_body_that_breaks_a_rule_is_refused() {
    use MessageError as E;
    let long =
        |start: &str, length: usize, end: &str| format!("{start}{}{end}", "x".repeat(length));
    for (bytes, error) in [
        ("\r\n".to_owned(), E::ChunkSize),
        ("x\r\n".into(), E::ChunkSize),
        ("-1\r\n".into(), E::ChunkSize),
        ("+1\r\n".into(), E::ChunkSize),
        (" 1\r\n".into(), E::ChunkSize),
        (";a\r\n".into(), E::ChunkSize),
        ("0x1\r\n".into(), E::ChunkSize),
        ("1g\r\n".into(), E::ChunkSize),
        ("1_0\r\n".into(), E::ChunkSize),
        ("8000000000000000\r\n".into(), E::ChunkSize),
        ("10000000000000000\r\n".into(), E::ChunkSize),
        ("00000000000000001\r\n".into(), E::ChunkSize),
        ("1\n".into(), E::ChunkSize),
        ("1\r\r\n".into(), E::BareCr),
        ("1 \r\n".into(), E::ChunkExtension),
        ("1 a\r\n".into(), E::ChunkExtension),
        ("1;a\nb\r\n".into(), E::ChunkExtension),
        ("1;a\0\r\n".into(), E::ChunkExtension),
        ("1;a\rb\r\n".into(), E::BareCr),
        (long("1;", 17_000, "\r\n"), E::ChunkExtension),
        (
            long("1;", 9_000, "\r\na\r\n") + &long("1;", 9_000, "\r\na\r\n"),
            E::ChunkExtension,
        ),
        ("1\r\nab\r\n".into(), E::ChunkEnd),
        ("1\r\na\n".into(), E::ChunkEnd),
        ("1\r\na\rb".into(), E::ChunkEnd),
        ("1\r\na0\r\n\r\n".into(), E::ChunkEnd),
        ("0\r\n\n".into(), E::BareLf),
        ("0\r\nA: b\n\r\n".into(), E::BareLf),
        ("0\r\nA: b\rc\r\n\r\n".into(), E::BareCr),
        ("0\r\n\ra".into(), E::BareCr),
        ("0\r\nA\r\n\r\n".into(), E::FieldName),
        ("0\r\nA : b\r\n\r\n".into(), E::FieldName),
        ("0\r\nA: b\r\n c\r\n\r\n".into(), E::ObsFold),
        ("0\r\nA: \0\r\n\r\n".into(), E::FieldValue),
        (
            format!("0\r\n{}\r\n", "A: b\r\n".repeat(129)),
            E::TooManyFields,
        ),
        (
            long("0\r\nA: ", MAX_TRAILERS - 6, "\r\n\r\n"),
            E::TrailersTooLong,
        ),
    ] {
        assert_eq!(
            decode(bytes.as_bytes(), usize::MAX),
            Err(error),
            "{:?}",
            &bytes[..bytes.len().min(60)]
        );
    }
}

#[test]
fn sizes_and_extensions_and_trailers_have_room_up_to_their_bounds() {
    let data = "d".repeat(0x4000);
    let signed =
        format!("4000;chunk-signature={}\r\n{data}\r\n", "f".repeat(64)).repeat(300) + "0\r\n\r\n";
    let decoded = decode(signed.as_bytes(), 5000).unwrap().unwrap();
    assert_eq!(
        decoded.0.len(),
        300 * 0x4000,
        "extensions in proportion to the data pass however long it is"
    );
    let trailers = format!("A: {}\r\n", "x".repeat(MAX_TRAILERS - 7));
    let decoded = decode(format!("0\r\n{trailers}\r\n").as_bytes(), usize::MAX)
        .unwrap()
        .unwrap();
    assert_eq!(decoded.1, trailers.as_bytes());
    let mut huge = Decoder::new();
    let (used, decoded) = huge.next(b"7fffffffffffffff\r\nabc").unwrap();
    assert_eq!((used, decoded), (21, DecodedPart::Data(b"abc")));
}

#[test]
fn trailers_go_on_without_what_only_a_head_may_say() {
    let section = "Content-Length: 1\r\nTransfer-Encoding: x\r\nHost: b\r\nAuthorization: c\r\nCookie: d\r\nSet-Cookie: e\r\n\
        X-Forwarded-For: f\r\nx_forwarded_host: g\r\nForwarded: h\r\nX-Halftone-Version: i\r\nX_Halftone_Any: j\r\n\
        Connection: k\r\nTrailer: l\r\nTE: m\r\nContent-Type: n\r\nWWW-Authenticate: o\r\nProxy-Authenticate: p\r\n\
        X-Real-IP: q\r\nX-Checksum:  r \r\nServer-Timing: s\r\n";
    let decoded = decode(format!("1\r\nz\r\n0\r\n{section}\r\nnext").as_bytes(), 7).unwrap();
    let kept = b"X-Checksum: r\r\nServer-Timing: s\r\n".to_vec();
    assert_eq!(decoded, Some((b"z".to_vec(), kept, 4)));
}

#[test]
fn what_a_release_decides_by_and_conditions_come_too_late_in_a_trailer() {
    let rules = ChunkRules {
        strictness: Strictness::Strict,
        own_fields: ["X-User-Name".into(), "X-Release".into()].into(),
    };
    for (name, goes_on) in [
        ("X-User-Name", false),
        ("x_user_name", false),
        ("X-Release", false),
        ("If-Match", false),
        ("If-None-Match", false),
        ("If_None_Match", false),
        ("If-Modified-Since", false),
        ("If-Unmodified-Since", false),
        ("If-Range", false),
        ("Content_Length", false),
        ("X-User", true),
        ("X_Checksum", true),
    ] {
        let mut decoder = Decoder::by(&rules);
        let body = format!("0\r\n{name}: x\r\n\r\n");
        assert_eq!(
            decoder.next(body.as_bytes()),
            Ok((body.len(), DecodedPart::End)),
            "{name}"
        );
        assert_eq!(!decoder.trailers().is_empty(), goes_on, "{name}");
    }
}

#[test]
fn a_size_line_is_hexadecimal_without_leading_zeros() {
    let mut line = [0; MAX_SIZE_LINE];
    for (length, expected) in [
        (1, "1\r\n"),
        (0xabc0, "abc0\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        assert_eq!(size_line(length, &mut line), expected.as_bytes());
    }
}

#[test]
fn sizes_read_leniently_may_be_padded() {
    let rules = ChunkRules {
        strictness: Strictness::Lenient,
        ..ChunkRules::default()
    };
    let usual = "0000000000000001\r\nz\r\n".repeat(5_000);
    let mut decoder = Decoder::by(&rules);
    let mut input = usual.as_bytes();
    while !input.is_empty() {
        let (used, _) = decoder
            .next(input)
            .expect("what is taken strictly is taken leniently");
        input = &input[used..];
    }
    for (body, data) in [
        ("5   \r\nhello\r\n0\r\n\r\n", Ok("hello")),
        ("5\t\r\nhello\r\n0  \r\n\r\n", Ok("hello")),
        (
            "00000000000000000000000005\r\nhello\r\n0000000000000000000\r\n\r\n",
            Ok("hello"),
        ),
        ("5 ;a=b\r\nhello\r\n0\r\n\r\n", Ok("hello")),
        (" 5\r\nhello\r\n0\r\n\r\n", Err(MessageError::ChunkSize)),
        (
            "5 5\r\nhello\r\n0\r\n\r\n",
            Err(MessageError::ChunkExtension),
        ),
        ("0x5\r\nhello\r\n0\r\n\r\n", Err(MessageError::ChunkSize)),
        ("5\nhello\r\n0\r\n\r\n", Err(MessageError::ChunkSize)),
        ("5 \nhello\r\n0\r\n\r\n", Err(MessageError::ChunkExtension)),
        ("00010000000000000000\r\n", Err(MessageError::ChunkSize)),
        ("5\r\nhello!\r\n0\r\n\r\n", Err(MessageError::ChunkEnd)),
    ] {
        let mut decoder = Decoder::by(&rules);
        let (mut input, mut seen) = (body.as_bytes(), Vec::new());
        let result = loop {
            match decoder.next(input) {
                Ok((used, DecodedPart::Data(data))) => {
                    seen.extend_from_slice(data);
                    input = &input[used..];
                }
                Ok((used, DecodedPart::End)) => break Ok(input.len() - used),
                Ok((_, DecodedPart::More)) => panic!("{body:?} ends"),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(
            result.map(|_| std::str::from_utf8(&seen).unwrap()),
            data,
            "{body:?}"
        );
    }
}
