//! The request of a browser, as a front-end gateway sees it: the fields that Chrome sends with a `fetch`, plus the
//! user's name. Only the name changes from request to request, in place.

use memchr::memmem;

const FIELDS: &str = "Host: shop.example.com\r\n\
Connection: keep-alive\r\n\
sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\", \"Google Chrome\";v=\"140\"\r\n\
sec-ch-ua-mobile: ?0\r\n\
sec-ch-ua-platform: \"Linux\"\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
Accept: application/json, text/plain, */*\r\n\
X-User-Name: user-00000\r\n\
Sec-Fetch-Site: same-origin\r\n\
Sec-Fetch-Mode: cors\r\n\
Sec-Fetch-Dest: empty\r\n\
Referer: https://shop.example.com/checkout?step=2\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
Cookie: session=6f1d7c0a8e5b4f6fa0b1c2d3e4f50617; theme=dark; _ga=GA1.1.1234567890.1700000000\r\n";

const DIGITS: usize = 5;

/// One request with a place for the user's number.
pub(crate) struct RequestTemplate {
    bytes: Vec<u8>,
    name: usize,
}

impl RequestTemplate {
    /// A GET, or a POST where `body` is above zero.
    pub(crate) fn new(body: usize) -> Self {
        let head = if body == 0 {
            format!("GET /api/cart/items?page=1 HTTP/1.1\r\n{FIELDS}\r\n")
        } else {
            let more = format!("Content-Type: application/json\r\nContent-Length: {body}\r\n");
            format!("POST /api/cart/items HTTP/1.1\r\n{FIELDS}{more}\r\n")
        };
        let mut bytes = head.into_bytes();
        let name = memmem::find(&bytes, b"user-0").expect("FIELDS name a user") + "user-".len();
        bytes.resize(bytes.len() + body, b'p');
        Self { bytes, name }
    }

    /// The request of user `user`.
    pub(crate) fn of(&mut self, user: usize) -> &[u8] {
        let mut rest = user;
        for place in self.bytes[self.name..self.name + DIGITS].iter_mut().rev() {
            *place = b'0' + u8::try_from(rest % 10).expect("a digit");
            rest /= 10;
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_name_of_the_same_length() {
        let mut request = RequestTemplate::new(3);
        let text = String::from_utf8(request.of(9_042).to_vec()).unwrap();
        assert!(text.contains("\r\nX-User-Name: user-09042\r\n"));
        assert!(text.ends_with("Content-Length: 3\r\n\r\nppp"));
        assert!(
            String::from_utf8(request.of(7).to_vec())
                .unwrap()
                .contains("user-00007\r\n")
        );
    }
}
