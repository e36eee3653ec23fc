//! A parser written letter by letter from the grammar of RFC 9112 and RFC 9110, with no regard to speed.
//! It knows no limits and no meaning of fields: only what a message may look like.

/// A request head as the grammar takes it to pieces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OracleRequest {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    /// Digits after `HTTP/1.`
    pub(crate) minor: u8,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    /// Bytes of the head, empty lines before it included.
    pub(crate) length: usize,
}

/// A response head likewise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OracleResponse {
    pub(crate) status: u16,
    pub(crate) minor: u8,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) length: usize,
}

impl OracleRequest {
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |(given, _): &&(String, Vec<u8>)| given.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_slice())
    }
}

/// `HTTP-message` up to its body, for requests; `None` when the grammar has no such message.
pub(crate) fn request(bytes: &[u8]) -> Option<OracleRequest> {
    let mut rest = bytes;
    while let Some(after) = rest.strip_prefix(b"\r\n") {
        rest = after; // RFC 9112 §2.2: empty lines before the request line are ignored
    }
    let line = take_line(&mut rest)?;
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || method.is_empty() || !method.iter().copied().all(tchar) {
        return None;
    }
    let minor = http_1(version)?;
    let method = String::from_utf8(method.to_vec()).ok()?;
    // A letter for each byte: the grammar's own are ASCII.
    let letters: String = target.iter().copied().map(char::from).collect();
    if !request_target(&method, &letters) {
        return None;
    }
    let target = target.to_vec();
    let fields = take_fields(&mut rest, false)?;
    Some(OracleRequest {
        method,
        target,
        minor,
        fields,
        length: bytes.len() - rest.len(),
    })
}

/// `HTTP-message` up to its body, for responses. As RFC 9112 asks of recipients and of proxies, it takes a
/// status line without the last space and a space before a colon.
pub(crate) fn response(bytes: &[u8]) -> Option<OracleResponse> {
    let mut rest = bytes;
    let line = take_line(&mut rest)?;
    let (version, after) = line.split_at_checked(8)?;
    let minor = http_1(version)?;
    let (digits, reason) = after.strip_prefix(b" ")?.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let vchars = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    let reason_stands = reason.is_empty() || reason[0] == b' ' && reason.iter().all(vchars);
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if !reason_stands || !(100..=599).contains(&status) {
        return None;
    }
    let fields = take_fields(&mut rest, true)?;
    Some(OracleResponse {
        status,
        minor,
        fields,
        length: bytes.len() - rest.len(),
    })
}

/// The bytes before the next CRLF; none when a CR or LF stands alone before it.
fn take_line<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let (line, after) = rest.split_at(end);
    *rest = after.strip_prefix(b"\r\n")?;
    Some(line)
}

fn http_1(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.0" => Some(0),
        b"HTTP/1.1" => Some(1),
        _ => None,
    }
}

/// `*( field-line CRLF ) CRLF`
fn take_fields(rest: &mut &[u8], space_before_colon: bool) -> Option<Vec<(String, Vec<u8>)>> {
    let mut fields = Vec::new();
    loop {
        let line = take_line(rest)?;
        if line.is_empty() {
            return Some(fields);
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (mut name, value) = (&line[..colon], trim_ows(&line[colon + 1..]));
        if space_before_colon {
            name = trim_end_ows(name);
        }
        let field_vchar = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        if name.is_empty() || !name.iter().copied().all(tchar) || !value.iter().all(field_vchar) {
            return None;
        }
        fields.push((String::from_utf8(name.to_vec()).ok()?, value.to_vec()));
    }
}

fn trim_ows(value: &[u8]) -> &[u8] {
    let start = value
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t'))
        .unwrap_or(value.len());
    trim_end_ows(&value[start..])
}

fn trim_end_ows(value: &[u8]) -> &[u8] {
    let end = value
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t'))
        .map_or(0, |last| last + 1);
    &value[..end]
}

fn tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// origin-form, absolute-form of http(s), or asterisk-form.
fn request_target(method: &str, target: &str) -> bool {
    if target == "*" {
        return method == "OPTIONS";
    }
    let lower = target.to_ascii_lowercase();
    let (authority, path_and_query) = match lower
        .strip_prefix("http://")
        .or(lower.strip_prefix("https://"))
    {
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, lower.as_str()),
    };
    let (path, query) = path_and_query
        .split_once('?')
        .unwrap_or((path_and_query, ""));
    let path_stands = match authority {
        Some(_) => path.is_empty() || path.starts_with('/'),
        None => path.starts_with('/'),
    };
    path_stands
        && authority.is_none_or(self::authority)
        && path.chars().all(path_or_query_char)
        && query.chars().all(path_or_query_char)
}

/// pchar, `/` and `?`, and what clients send beyond the grammar and every server takes: brackets, quotes,
/// braces, carets, bars, backslashes and bytes that are not ASCII. Never `#`, space or control characters.
fn path_or_query_char(letter: char) -> bool {
    letter != '#' && letter > ' ' && letter != '\u{7f}'
}

/// `uri-host [ ":" port ]` without user information.
pub(crate) fn authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("x", port),
            _ => return false,
        },
        None => authority
            .find(':')
            .map_or((authority, ""), |colon| authority.split_at(colon)),
    };
    let port_stands = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let reg_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    port_stands && !host.is_empty() && host.bytes().all(reg_name)
}
