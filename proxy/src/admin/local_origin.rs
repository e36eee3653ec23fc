//! Pages that are open because only this machine reaches them must not be opened by a web page: a browser sends a name
//! that somebody has pointed at 127.0.0.1 (DNS rebinding) in Host, and that name is not ours.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;

/// Told with the refusal.
pub(super) const ADVICE: &str = "without --token-file these pages answer to localhost and loopback addresses only; ask \
                                 for http://127.0.0.1:PORT, or give a token file\n";

/// Whether everything in a request that names a host names this machine. No browser leaves Host out.
pub(super) fn is_meant<B>(request: &Request<B>) -> bool {
    let asked = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let fields = request
        .headers()
        .get_all(HOST)
        .iter()
        .map(|value| value.to_str().unwrap_or_default());
    asked.into_iter().chain(fields).all(is_local)
}

/// `localhost`, names below it (RFC 6761, section 6.3) and loopback addresses, with any port.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_meant_by_localhost_and_loopback_addresses_only() {
        for (host, local) in [
            ("localhost", true),
            ("LocalHost:8081", true),
            ("localhost.", true),
            ("a.localhost:1", true),
            ("127.0.0.1", true),
            ("127.9.9.9:8081", true),
            ("[::1]:8081", true),
            ("[::ffff:127.0.0.1]", true),
            ("", false),
            ("evil.example", false),
            ("evil.example:8081", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("evillocalhost", false),
            ("10.0.0.1", false),
            ("0.0.0.0:8081", false),
            ("user@localhost", false),
        ] {
            assert_eq!(is_local(host), local, "{host}");
        }
    }

    #[test]
    fn every_name_in_a_request_has_to_be_local() {
        let request = |uri: &str, hosts: &[&str]| {
            let hosts = hosts.iter();
            let request = hosts.fold(Request::get(uri), |request, host| {
                request.header(HOST, *host)
            });
            is_meant(&request.body(()).unwrap())
        };
        assert!(request("/config", &["localhost"]) && request("/config", &[]));
        assert!(!request("/config", &["localhost", "evil.example"]));
        assert!(!request("http://evil.example/config", &["localhost"]));
    }
}
