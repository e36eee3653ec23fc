//! Every rule by which a message is refused, and the smuggling corpus: a row each, with the error and, for
//! requests, the status. What stands beside a refused row and must be accepted is here too.

use halftone_proxy::http1::{
    BodyLength, FieldSlots, HeadSearch, HttpVersion, MAX_HEAD, MAX_REQUEST_LINE, MessageError,
    Method, RequestHead, ResponseContext, ResponseHead, Strictness, TargetForm, parse_request,
    parse_response,
};

use MessageError as E;

/// Reads one request head as forwarding does: search, then parse.
pub(crate) fn with_request<R>(
    bytes: &[u8],
    then: impl FnOnce(&RequestHead<'_, '_>, &[u8]) -> R,
) -> Result<Option<R>, MessageError> {
    let mut search = HeadSearch::request();
    let Some(length) = search.advance(bytes)? else {
        return Ok(None);
    };
    let mut slots = FieldSlots::new();
    let head = parse_request(&mut slots, &search, &bytes[..length])?;
    Ok(Some(then(&head, &bytes[length..])))
}

pub(crate) fn with_response<R>(
    bytes: &[u8],
    request: ResponseContext,
    then: impl FnOnce(&ResponseHead<'_, '_>, &[u8]) -> R,
) -> Result<Option<R>, MessageError> {
    let mut search = HeadSearch::response(request.strictness);
    let Some(length) = search.advance(bytes)? else {
        return Ok(None);
    };
    let mut slots = FieldSlots::new();
    let head = parse_response(&mut slots, &search, &bytes[..length], request)?;
    Ok(Some(then(&head, &bytes[length..])))
}

pub(crate) const GET: ResponseContext = ResponseContext {
    method: Method::Get,
    websocket: false,
    strictness: Strictness::Strict,
};

/// The request line and Host of a plain GET, and what follows.
fn get(rest: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{rest}\r\n")
}

#[test]
fn a_request_that_breaks_a_rule_is_refused_with_its_status() {
    for (bytes, error, status) in [
        // Framing: both lengths and codings, or lengths that two readers could read differently.
        (
            get("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
            E::LengthAndCoding,
            400,
        ),
        (
            get("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
            E::LengthAndCoding,
            400,
        ),
        (
            get("Content-Length: 4\r\nContent-Length: 5\r\n"),
            E::LengthsDiffer,
            400,
        ),
        (get("Content-Length: 4, 5\r\n"), E::LengthsDiffer, 400),
        (get("Content-Length: +4\r\n"), E::Length, 400),
        (get("Content-Length: -4\r\n"), E::Length, 400),
        (get("Content-Length:\r\n"), E::Length, 400),
        (get("Content-Length: ,\r\n"), E::Length, 400),
        (get("Content-Length: 4,\r\n"), E::Length, 400),
        (get("Content-Length: 0x4\r\n"), E::Length, 400),
        (get("Content-Length: 4 4\r\n"), E::Length, 400),
        (get("Content-Length: 4.0\r\n"), E::Length, 400),
        (get("Content-Length: \u{664}\r\n"), E::Length, 400),
        (
            get("Content-Length: 9223372036854775808\r\n"),
            E::Length,
            400,
        ),
        (
            get("Content-Length: 18446744073709551620\r\n"),
            E::Length,
            400,
        ),
        (get("Transfer-Encoding: identity\r\n"), E::Coding, 400),
        (get("Transfer-Encoding: gzip, chunked\r\n"), E::Coding, 400),
        (
            get("Transfer-Encoding: chunked, chunked\r\n"),
            E::Coding,
            400,
        ),
        (
            get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            E::Coding,
            400,
        ),
        (
            get("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
            E::Coding,
            400,
        ),
        (
            get("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"),
            E::Coding,
            400,
        ),
        (get("Transfer-Encoding: xchunked\r\n"), E::Coding, 400),
        (get("Transfer-Encoding: chunked;q=1\r\n"), E::Coding, 400),
        (get("Transfer-Encoding: \"chunked\"\r\n"), E::Coding, 400),
        (get("Transfer-Encoding:\r\n"), E::Coding, 400),
        (
            get("Transfer-Encoding: \x0bchunked\r\n"),
            E::FieldValue,
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            E::CodingIn10,
            400,
        ),
        // Line ends and field lines.
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), E::BareLf, 400),
        (get(&connection(33)), E::TooManyOptions, 400),
        (get(&connection(5_000)), E::TooManyOptions, 400),
        (
            get(&format!("Connection: {}\r\n", "x".repeat(1025))),
            E::TooManyOptions,
            400,
        ),
        (
            get(&format!("Connection: {0},{0}y\r\n", "x".repeat(512))),
            E::TooManyOptions,
            400,
        ),
        (
            get(&"Connection: X-A, X-B\r\n".repeat(17)),
            E::TooManyOptions,
            400,
        ),
        (get("X: a\n"), E::BareLf, 400),
        (get("X: a\rb\r\n"), E::BareCr, 400),
        (get("X: a\r\r\n"), E::BareCr, 400),
        (get("X: a\n\r\n"), E::BareLf, 400),
        (get("\r\r\n"), E::BareCr, 400),
        (get("X: a\r\n b\r\n"), E::ObsFold, 400),
        (get("X: a\r\n\tb\r\n"), E::ObsFold, 400),
        (get("Transfer-Encoding:\r\n chunked\r\n"), E::ObsFold, 400),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(), E::ObsFold, 400),
        (get("X: a\0b\r\n"), E::FieldValue, 400),
        (get("X: a\x7f\r\n"), E::FieldValue, 400),
        (get("X\0: a\r\n"), E::FieldName, 400),
        (get("X : a\r\n"), E::FieldName, 400),
        (get("X\t: a\r\n"), E::FieldName, 400),
        (get("Content-Length : 4\r\n"), E::FieldName, 400),
        (get(": a\r\n"), E::FieldName, 400),
        (get("X\r\n"), E::FieldName, 400),
        (get("X Y: a\r\n"), E::FieldName, 400),
        (get("(X): a\r\n"), E::FieldName, 400),
        (
            get("Trans\u{17f}er-Encoding: chunked\r\n"),
            E::FieldName,
            400,
        ),
        // Hosts.
        ("GET / HTTP/1.1\r\n\r\n".into(), E::NoHost, 400),
        ("GET http://a/ HTTP/1.1\r\n\r\n".into(), E::NoHost, 400),
        (get("Host: a\r\n"), E::TwoHosts, 400),
        (get("host: b\r\n"), E::TwoHosts, 400),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n".into(),
            E::TwoHosts,
            400,
        ),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), E::Host, 400),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".into(), E::Host, 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), E::Host, 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), E::Host, 400),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n".into(), E::Host, 400),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(), E::Host, 400),
        ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n".into(), E::Host, 400),
        (
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Host,
            400,
        ),
        (
            "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Host,
            400,
        ),
        (
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::HostsDiffer,
            400,
        ),
        (
            "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::HostsDiffer,
            400,
        ),
        (
            "GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n".into(),
            E::HostsDiffer,
            400,
        ),
        // First lines and targets.
        ("\x16\x03\x01\x02".into(), E::FirstLine, 400),
        (
            " GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        (
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        (
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        (
            "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        (
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        (
            "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        (
            "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), E::Version, 400),
        (
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(),
            E::MajorVersion,
            505,
        ),
        (
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(),
            E::MajorVersion,
            505,
        ),
        (
            "GET / HTTP/0.9\r\nHost: a\r\n\r\n".into(),
            E::MajorVersion,
            505,
        ),
        ("GET / HTTP/2\r\nHost: a\r\n\r\n".into(), E::Version, 400),
        (
            "GET / HTTP/1.10\r\nHost: a\r\n\r\n".into(),
            E::FirstLine,
            400,
        ),
        ("GET / http/1.1\r\nHost: a\r\n\r\n".into(), E::Version, 400),
        ("GET /\r\n\r\n".into(), E::FirstLine, 400),
        (
            "GET / b HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Version,
            400,
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            E::MajorVersion,
            505,
        ),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n".into(), E::Target, 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n".into(), E::Target, 400),
        (
            "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Target,
            400,
        ),
        (
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Target,
            400,
        ),
        (
            "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Target,
            400,
        ),
        ("GET ?q HTTP/1.1\r\nHost: a\r\n\r\n".into(), E::Target, 400),
        (
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Target,
            400,
        ),
        (
            "GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Target,
            400,
        ),
        (
            "OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Target,
            400,
        ),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n".into(), E::Path, 400),
        ("GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n".into(), E::Path, 400),
        (
            "GET /a/../.. HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Path,
            400,
        ),
        (
            "GET /%2e%2e/a HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Path,
            400,
        ),
        (
            "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            E::Method,
            405,
        ),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), E::Method, 405),
        (get("Expect: 200-ok\r\n"), E::Expectation, 417),
        (get("Expect: 100-continue, x\r\n"), E::Expectation, 417),
        (
            get("Expect: 100-continue\r\nExpect: x\r\n"),
            E::Expectation,
            417,
        ),
        (get("Expect:\r\n"), E::Expectation, 417),
    ] {
        let refused = with_request(bytes.as_bytes(), |_, _| ());
        assert_eq!(refused, Err(error), "{bytes:?}");
        assert_eq!(error.status(), status, "{bytes:?}");
    }
}

#[test]
fn what_stands_beside_a_rule_is_accepted() {
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (bytes, body) in [
        (post(""), BodyLength::Empty),
        (post("Content-Length: 0\r\n"), BodyLength::Length(0)),
        (post("Content-Length: 007\r\n"), BodyLength::Length(7)),
        (
            post("content-length:7\r\nCONTENT-LENGTH:  7 \t\r\n"),
            BodyLength::Length(7),
        ),
        (post("Content-Length: 7, 7\r\n"), BodyLength::Length(7)),
        (
            post("Content-Length: 9223372036854775807\r\n"),
            BodyLength::Length(i64::MAX.unsigned_abs()),
        ),
        (post("Transfer-Encoding: Chunked\r\n"), BodyLength::Chunked),
        (
            post("Expect: 100-Continue\r\nContent-Length: 3\r\n"),
            BodyLength::Length(3),
        ),
        (
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            BodyLength::Empty,
        ),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), BodyLength::Empty),
        (
            "GET / HTTP/1.0\r\nExpect: whatever\r\n\r\n".to_owned(),
            BodyLength::Empty,
        ),
        (get("X: a\tb\u{e9}\r\nY:\r\nZ:  \t \r\n"), BodyLength::Empty),
    ] {
        assert_eq!(
            with_request(bytes.as_bytes(), |head, _| head.body),
            Ok(Some(body)),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_target_comes_apart_into_host_path_and_query() {
    for (line, form, authority, host, path, query) in [
        (
            "GET /a/%7eb?c=d HTTP/1.1\r\nHost: A:80",
            TargetForm::Origin,
            "A:80",
            "a",
            "/a/~b",
            Some("c=d"),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.",
            TargetForm::Origin,
            "a.",
            "a",
            "/",
            None,
        ),
        (
            "GET /? HTTP/1.1\r\nHost: a",
            TargetForm::Origin,
            "a",
            "a",
            "/",
            Some(""),
        ),
        (
            "GET /a?b?c HTTP/1.1\r\nHost: a",
            TargetForm::Origin,
            "a",
            "a",
            "/a",
            Some("b?c"),
        ),
        (
            "GET /?http://b/ HTTP/1.1\r\nHost: a",
            TargetForm::Origin,
            "a",
            "a",
            "/",
            Some("http://b/"),
        ),
        (
            "GET //b/c HTTP/1.1\r\nHost: a",
            TargetForm::Origin,
            "a",
            "a",
            "//b/c",
            None,
        ),
        (
            "GET HTTP://A/b?c HTTP/1.1\r\nHost: a:80",
            TargetForm::Absolute,
            "A",
            "a",
            "/b",
            Some("c"),
        ),
        (
            "GET https://a HTTP/1.1\r\nHost: a:443",
            TargetForm::Absolute,
            "a",
            "a",
            "/",
            None,
        ),
        (
            "GET http://a?b HTTP/1.1\r\nHost: a",
            TargetForm::Absolute,
            "a",
            "a",
            "/",
            Some("b"),
        ),
        (
            "GET http://[::1]:8/b HTTP/1.1\r\nHost: [0:0::1]:8",
            TargetForm::Absolute,
            "[::1]:8",
            "[::1]",
            "/b",
            None,
        ),
        (
            "GET http://a/ HTTP/1.0",
            TargetForm::Absolute,
            "a",
            "a",
            "/",
            None,
        ),
        ("GET /x HTTP/1.0", TargetForm::Origin, "", "", "/x", None),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a",
            TargetForm::Asterisk,
            "a",
            "a",
            "/",
            None,
        ),
        (
            "OPTIONS http://a HTTP/1.1\r\nHost: a",
            TargetForm::Absolute,
            "a",
            "a",
            "/",
            None,
        ),
    ] {
        let bytes = format!("{line}\r\n\r\n");
        let seen = with_request(bytes.as_bytes(), |head, _| {
            assert_eq!(head.target.form, form, "{line}");
            assert_eq!(head.authority, authority.as_bytes(), "{line}");
            assert_eq!(head.host, host, "{line}");
            assert_eq!(&*head.path, path.as_bytes(), "{line}");
            assert_eq!(head.target.query, query.map(str::as_bytes), "{line}");
        });
        assert_eq!(seen, Ok(Some(())), "{line}");
    }
}

#[test]
fn a_client_says_what_becomes_of_its_connection() {
    for (version, connection, keep_alive) in [
        ("1.1", "X: y", true),
        ("1.1", "Connection: close", false),
        ("1.1", "Connection: a, Close", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close", false),
        ("1.1", "Proxy-Connection: close", true),
        ("1.0", "X: y", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: keep-alive, close", false),
        ("1.0", "Proxy-Connection: keep-alive", false),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n\r\n");
        let kept = with_request(bytes.as_bytes(), |head, _| head.keep_alive);
        assert_eq!(kept, Ok(Some(keep_alive)), "{bytes:?}");
    }
}

#[test]
fn a_websocket_is_asked_for_by_a_get_without_a_body_alone() {
    let ask = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    for (why, bytes, asked) in [
        ("as browsers do", get(ask), true),
        (
            "among others",
            get("Connection: upgrade\r\nUpgrade: h2c, websocket\r\n"),
            true,
        ),
        (
            "h2c",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"),
            false,
        ),
        ("no Connection", get("Upgrade: websocket\r\n"), false),
        ("no Upgrade", get("Connection: Upgrade\r\n"), false),
        (
            "no body, in so many words",
            get(&format!("{ask}Content-Length: 0\r\n")),
            true,
        ),
        ("a body", get(&format!("{ask}Content-Length: 1\r\n")), false),
        (
            "chunks",
            get(&format!("{ask}Transfer-Encoding: chunked\r\n")),
            false,
        ),
        ("POST", get(ask).replace("GET", "POST"), false),
        ("1.0", get(ask).replace("HTTP/1.1", "HTTP/1.0"), false),
    ] {
        assert_eq!(
            with_request(bytes.as_bytes(), |head, _| head.websocket),
            Ok(Some(asked)),
            "{why}"
        );
    }
}

#[test]
fn bare_line_ends_are_refused_when_they_are_read() {
    for (bytes, error) in [
        ("GET / HTTP/1.1\n", E::BareLf),
        ("GET / HTTP/1.1\r\nHost: a\n", E::BareLf),
        ("GET / HTTP/1.1\rH", E::BareCr),
        ("\n", E::BareLf),
        ("\rG", E::BareCr),
        ("\r\n\n", E::BareLf),
    ] {
        let mut search = HeadSearch::request();
        for end in 1..bytes.len() {
            assert_eq!(
                search.advance(&bytes.as_bytes()[..end]),
                Ok(None),
                "{:?}",
                &bytes[..end]
            );
        }
        assert_eq!(search.advance(bytes.as_bytes()), Err(error), "{bytes:?}");
    }
}

#[test]
fn a_head_is_refused_as_soon_as_it_is_beyond_a_limit() {
    let line = |length: usize| {
        format!(
            "GET /{} HTTP/1.1\r\n",
            "a".repeat(length - "GET / HTTP/1.1".len())
        )
    };
    let fields = |count: usize| get(&"X: y\r\n".repeat(count - 1));
    let padded = |length: usize| {
        get(&format!(
            "X: {}\r\n",
            "y".repeat(length - get("X: \r\n").len())
        ))
    };
    for (why, bytes, result) in [
        (
            "longest request line",
            line(MAX_REQUEST_LINE) + "Host: a\r\n\r\n",
            Ok(Some(())),
        ),
        (
            "request line too long",
            line(MAX_REQUEST_LINE + 1) + "Host: a\r\n\r\n",
            Err(E::RequestLineTooLong),
        ),
        (
            "request line without end",
            "G".repeat(MAX_REQUEST_LINE + 2),
            Err(E::RequestLineTooLong),
        ),
        ("most fields", fields(128), Ok(Some(()))),
        ("too many fields", fields(129), Err(E::TooManyFields)),
        ("longest head", padded(MAX_HEAD), Ok(Some(()))),
        ("head too long", padded(MAX_HEAD + 1), Err(E::HeadTooLong)),
        (
            "head without end",
            padded(MAX_HEAD + 4).trim_end().to_owned(),
            Err(E::HeadTooLong),
        ),
        (
            "nothing but empty lines",
            "\r\n".repeat(MAX_HEAD),
            Err(E::HeadTooLong),
        ),
    ] {
        assert_eq!(with_request(bytes.as_bytes(), |_, _| ()), result, "{why}");
        if let Err(error) = result {
            assert_eq!(
                error.status(),
                if error == E::RequestLineTooLong {
                    414
                } else {
                    431
                },
                "{why}"
            );
        }
    }
}

/// A Connection field that names so many fields.
pub(crate) fn connection(names: usize) -> String {
    let names: Vec<_> = (0..names).map(|n| format!("x{n}")).collect();
    format!("Connection: {}\r\n", names.join(","))
}

#[test]
fn words_for_one_hop_may_stand_in_connection_as_often_as_there_is_room() {
    let longest = get(&format!("Connection: {0},{0}\r\n", "x".repeat(512)));
    assert_eq!(with_request(longest.as_bytes(), |_, _| ()), Ok(Some(())));
    let words = format!(
        "Connection: {}close\r\n",
        "keep-alive, TE, , upgrade,".repeat(1_000)
    );
    assert_eq!(
        with_request(get(&words).as_bytes(), |head, _| head.keep_alive),
        Ok(Some(false))
    );
    assert_eq!(
        with_response(ok(&words).as_bytes(), GET, |head, _| head.keep_alive),
        Ok(Some(false))
    );
}

fn ok(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
}

#[test]
fn an_answer_that_breaks_a_rule_is_refused() {
    for (bytes, error) in [
        (
            ok("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
            E::LengthAndCoding,
        ),
        (
            ok("Content-Length: 4\r\nContent-Length: 5\r\n"),
            E::LengthsDiffer,
        ),
        (ok("Content-Length: -4\r\n"), E::Length),
        (ok("Content-Length:\r\n"), E::Length),
        (ok("Transfer-Encoding: gzip\r\n"), E::Coding),
        (ok("Transfer-Encoding: gzip, chunked\r\n"), E::Coding),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            E::CodingIn10,
        ),
        (ok("X: a\r\n b\r\n"), E::ObsFold),
        (ok("X: a\0\r\n"), E::FieldValue),
        (ok("X y: a\r\n"), E::FieldName),
        (ok(": a\r\n"), E::FieldName),
        (ok("X: a\n"), E::BareLf),
        (ok("X: a\rb\r\n"), E::BareCr),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), E::FirstLine),
        ("HTTP/1.1 099 Low\r\n\r\n".into(), E::Status),
        ("HTTP/1.1 600 High\r\n\r\n".into(), E::Status),
        ("HTTP/1.1 20 Short\r\n\r\n".into(), E::Status),
        ("HTTP/1.1 2000 Long\r\n\r\n".into(), E::Status),
        ("HTTP/1.1  200 OK\r\n\r\n".into(), E::Status),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), E::Version),
        (ok("Transfer-Encoding: chunked, chunked\r\n"), E::Coding),
        (
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            E::Coding,
        ),
        ("SSH-2.0-OpenSSH\r\n\r\n".into(), E::FirstLine),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
                .into(),
            E::UnaskedUpgrade,
        ),
        (ok(&"X: y\r\n".repeat(129)), E::TooManyFields),
        (ok(&connection(33)), E::TooManyOptions),
        (
            ok(&format!("X: {}\r\n", "y".repeat(MAX_HEAD))),
            E::HeadTooLong,
        ),
    ] {
        assert_eq!(
            with_response(bytes.as_bytes(), GET, |_, _| ()),
            Err(error),
            "{bytes:?}"
        );
    }
}

/// As `GET`, of a backend that is read leniently.
const LENIENT: ResponseContext = ResponseContext {
    strictness: Strictness::Lenient,
    ..GET
};

#[test]
fn an_answer_read_leniently_may_say_clear_things_clumsily() {
    for (bytes, status, body) in [
        (
            ok("Transfer-Encoding: chunked, Chunked\r\n"),
            200,
            BodyLength::Chunked,
        ),
        (
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            200,
            BodyLength::Chunked,
        ),
        (
            "HTTP/1.1 600 High\r\nContent-Length: 0\r\n\r\n".into(),
            600,
            BodyLength::Length(0),
        ),
        (
            "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n".into(),
            999,
            BodyLength::Length(0),
        ),
        (ok(&"X: y\r\n".repeat(2_000)), 200, BodyLength::UntilClose),
    ] {
        let seen = with_response(bytes.as_bytes(), LENIENT, |head, _| {
            (head.status, head.body)
        });
        assert_eq!(seen, Ok(Some((status, body))), "{bytes:?}");
        assert!(
            with_response(bytes.as_bytes(), GET, |_, _| ()).is_err(),
            "strictly: {bytes:?}"
        );
    }
    let many = ok(&"X: y\r\n".repeat(2_000));
    let fields = with_response(many.as_bytes(), LENIENT, |head, _| {
        head.fields.as_slice().len()
    });
    assert_eq!(fields, Ok(Some(2_000)));
}

#[test]
fn leniency_takes_nothing_that_two_readers_could_read_differently() {
    for (bytes, error) in [
        (
            ok("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
            E::LengthAndCoding,
        ),
        (
            ok("Content-Length: 4\r\nContent-Length: 5\r\n"),
            E::LengthsDiffer,
        ),
        (ok("Content-Length: +4\r\n"), E::Length),
        (ok("Transfer-Encoding: gzip, chunked\r\n"), E::Coding),
        (ok("Transfer-Encoding: chunked, identity\r\n"), E::Coding),
        (
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
            E::Coding,
        ),
        (
            ok("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"),
            E::Coding,
        ),
        (ok("Transfer-Encoding: \r\n"), E::Coding),
        (ok("Transfer-Encoding: ,\r\n"), E::Coding),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            E::CodingIn10,
        ),
        (ok("X: a\r\n b\r\n"), E::ObsFold),
        (ok("X: a\0\r\n"), E::FieldValue),
        (ok("X y: a\r\n"), E::FieldName),
        (ok("X: a\n"), E::BareLf),
        (ok("X: a\rb\r\n"), E::BareCr),
        ("HTTP/1.1 099 Low\r\n\r\n".into(), E::Status),
        ("HTTP/1.1 1000 Long\r\n\r\n".into(), E::Status),
        (ok(&"X: y\r\n".repeat(6_000)), E::HeadTooLong),
    ] {
        assert_eq!(
            with_response(bytes.as_bytes(), LENIENT, |_, _| ()),
            Err(error),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_first_line_that_begins_no_message_is_refused_when_it_is_whole() {
    for (line, error) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", E::FirstLine),
        ("EHLO mail.example.com\r\n", E::FirstLine),
        ("HELO a b\r\n", E::Version),
        ("GET /\r\n", E::FirstLine),
        ("GET / \r\n", E::Version),
        ("GET HTTP/1.1\r\n", E::FirstLine),
        ("QUIT\r\n", E::FirstLine),
        ("GET / HTTP/1.7\r\n", E::Version),
        ("PRI * HTTP/2.0\r\n", E::MajorVersion),
        ("\r\nGET /\r\n", E::FirstLine),
    ] {
        let mut search = HeadSearch::request();
        let end = line.len() - 1;
        assert_eq!(
            search.advance(&line.as_bytes()[..end]),
            Ok(None),
            "{line:?}"
        );
        assert_eq!(search.advance(line.as_bytes()), Err(error), "{line:?}");
    }
    for (line, error) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", E::FirstLine),
        ("220 mail.example.com ESMTP\r\n", E::FirstLine),
        ("-ERR unknown command 'GET'\r\n", E::FirstLine),
        ("HTTP/2.0 200 OK\r\n", E::Version),
        ("Hello\r\n", E::Version),
    ] {
        let mut search = HeadSearch::response(Strictness::Strict);
        assert_eq!(search.advance(line.as_bytes()), Err(error), "{line:?}");
    }
}

#[test]
fn an_upgrade_is_granted_by_a_101_that_names_the_same_token() {
    let asked = ResponseContext {
        method: Method::Get,
        websocket: true,
        strictness: Strictness::Strict,
    };
    for (fields, granted) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        ("Connection: upgrade\r\nUpgrade: WebSocket\r\n", true),
        ("Connection: Upgrade\r\nUpgrade: h2c\r\n", false),
        ("Connection: Upgrade\r\n", false),
        ("Upgrade: websocket\r\n", false),
    ] {
        let bytes = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
        let seen = with_response(bytes.as_bytes(), asked, |head, _| head.is_interim());
        assert_eq!(
            seen,
            if granted {
                Ok(Some(false))
            } else {
                Err(E::UnaskedUpgrade)
            },
            "{fields:?}"
        );
    }
}

#[test]
fn an_answers_body_is_framed_by_what_it_answers() {
    let head = ResponseContext {
        method: Method::Head,
        websocket: false,
        strictness: Strictness::Strict,
    };
    for (line, fields, request, body) in [
        (
            "1.1 200 OK",
            "Content-Length: 5\r\n",
            GET,
            BodyLength::Length(5),
        ),
        (
            "1.1 200",
            "Content-Length : 5\r\n",
            GET,
            BodyLength::Length(5),
        ),
        (
            "1.1 200 OK",
            "Content-Length: 0\r\n",
            GET,
            BodyLength::Length(0),
        ),
        (
            "1.1 200 OK",
            "Transfer-Encoding: chunked\r\n",
            GET,
            BodyLength::Chunked,
        ),
        ("1.1 200 OK", "", GET, BodyLength::UntilClose),
        ("1.0 200 OK", "", GET, BodyLength::UntilClose),
        (
            "1.1 200 OK",
            "Content-Length: 5\r\n",
            head,
            BodyLength::Empty,
        ),
        (
            "1.1 200 OK",
            "Transfer-Encoding: chunked\r\n",
            head,
            BodyLength::Empty,
        ),
        (
            "1.1 204 No Content",
            "Content-Length: 5\r\n",
            GET,
            BodyLength::Empty,
        ),
        (
            "1.1 304 Not Modified",
            "Content-Length: 5\r\n",
            GET,
            BodyLength::Empty,
        ),
        (
            "1.1 100 Continue",
            "Content-Length: 5\r\n",
            GET,
            BodyLength::Empty,
        ),
        (
            "1.1 103 Early Hints",
            "Transfer-Encoding: chunked\r\n",
            GET,
            BodyLength::Empty,
        ),
        (
            "1.1 599 \u{e9}",
            "Content-Length: 5\r\n",
            GET,
            BodyLength::Length(5),
        ),
    ] {
        let bytes = format!("HTTP/{line}\r\n{fields}\r\n");
        assert_eq!(
            with_response(bytes.as_bytes(), request, |head, _| head.body),
            Ok(Some(body)),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_backend_says_how_long_it_keeps_its_connection() {
    for (version, fields, keep_alive, seconds) in [
        ("1.1", "", true, None),
        ("1.1", "Connection: close\r\n", false, None),
        ("1.1", "Keep-Alive: timeout=5, max=100\r\n", true, Some(5)),
        ("1.1", "Keep-Alive: max=100, Timeout=7\r\n", true, Some(7)),
        ("1.1", "Keep-Alive: timeout=x\r\n", true, None),
        ("1.0", "", false, None),
        ("1.0", "Connection: keep-alive\r\n", true, None),
    ] {
        let bytes = format!("HTTP/{version} 200 OK\r\n{fields}\r\n");
        with_response(bytes.as_bytes(), GET, |head, _| {
            assert_eq!(head.version == HttpVersion::Http11, version == "1.1");
            assert_eq!(head.keep_alive, keep_alive, "{bytes:?}");
            assert_eq!(
                head.keep_alive_timeout.map(|timeout| timeout.as_secs()),
                seconds,
                "{bytes:?}"
            );
        })
        .unwrap();
    }
}
