//! Generated requests: one to four on a connection, in every framing, most of them with something wrong. The same for
//! the same number.

/// Bytes that mean something to somebody.
const SHARP: &[u8] = b"\r\n\0 \t:;,=0123456789abfxX+-\"\\/%?#\x0b\x0c\x7f\x80\xff";

/// Lines that are put in where they do harm.
const LINES: &[&str] = &[
    "Content-Length: 0\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length : 5\r\n",
    "content-length:\t7\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding:chunked\r\n",
    "Transfer-Encoding: CHUNKED\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Transfer-Encoding: chunked;x=y\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: Content-Length\r\n",
    "Connection: Transfer-Encoding, Host\r\n",
    "Expect: 100-continue\r\n",
    "Host: other\r\n",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "Trailer: X-Sum\r\nTE: trailers\r\n",
    "\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n",
];

/// A sequence of even numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

/// The bytes of one connection.
pub(crate) fn case(number: u64) -> Vec<u8> {
    let mut numbers = Numbers(number);
    let mut bytes = Vec::new();
    for nth in 0..=numbers.below(4) {
        request(&mut bytes, &mut numbers, number, nth);
    }
    for _ in 0..numbers.below(4).saturating_sub(1) {
        mutate(&mut bytes, &mut numbers);
    }
    bytes
}

/// A request in order.
fn request(bytes: &mut Vec<u8>, numbers: &mut Numbers, case: u64, nth: usize) {
    let method = numbers.of(&[
        "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH",
    ]);
    let tail = numbers.of(&[
        "",
        "?a=b",
        "?a=/../&b=%00",
        "%20x",
        "/./y",
        "//z",
        ";p=1",
        "/%2e%2e/w",
    ]);
    let version = numbers.of(&["1.1", "1.1", "1.1", "1.0"]);
    let connection = numbers.of(&[
        "",
        "",
        "Connection: keep-alive\r\n",
        "Connection: close\r\n",
        "Connection: X-A\r\nX-A: b\r\n",
    ]);
    bytes.extend(
        format!("{method} /c{case}/r{nth}{tail} HTTP/{version}\r\nHost: h{nth}\r\n{connection}")
            .bytes(),
    );
    let body: Vec<u8> = (0..numbers.below(60))
        .map(|_| b'a' + (numbers.next() % 26) as u8)
        .collect();
    match numbers.below(4) {
        0 | 1 if matches!(method, "GET" | "HEAD" | "OPTIONS") => bytes.extend(b"\r\n"),
        0 | 1 => {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
        }
        2 if version == "1.1" => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            let sizes = 1 + numbers.below(20);
            for piece in body.chunks(sizes) {
                let extension = numbers.of(&["", "", ";a", ";a=b", " ; a=\"b;c\""]);
                bytes.extend(format!("{:x}{extension}\r\n", piece.len()).bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(
                numbers
                    .of(&["0\r\n\r\n", "0;x\r\n\r\n", "000\r\nX-Sum: 1\r\n\r\n"])
                    .bytes(),
            );
        }
        _ => bytes.extend(b"Content-Length: 0\r\n\r\n"),
    }
}

/// Something wrong with it.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    if bytes.is_empty() {
        return;
    }
    let at = numbers.below(bytes.len());
    match numbers.below(7) {
        0 => bytes[at] = SHARP[numbers.below(SHARP.len())],
        1 => bytes.insert(at, SHARP[numbers.below(SHARP.len())]),
        2 => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        4 => {
            let end = (at + 1 + numbers.below(40)).min(bytes.len());
            let slice = bytes[at..end].to_vec();
            bytes.splice(at..at, slice);
        }
        _ => {
            // At the beginning of a line, where it is most likely to be taken for one.
            let line = numbers.of(LINES).as_bytes();
            let start = bytes[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |n| at + n + 1);
            bytes.splice(start..start, line.iter().copied());
        }
    }
}
