//! Who the user of a request is: the first source of the release that has one. An empty value counts as absent,
//! since otherwise everyone whose client sends an empty field would share one bucket.

use std::{borrow::Cow, net::IpAddr};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{
    config::identity::{ClientIpPrefix, GeneratedCookie, IdentitySource, JwtClaim},
    facts::Facts,
};

/// JWTs have no padding; some issuers write it all the same.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The string that stands for a user.
pub type Identity<'a> = Cow<'a, [u8]>;

/// The identity that a request carries, looked for in each source in turn. A generated cookie counts if it came
/// back; minting one is the caller's part.
pub(crate) fn find<'a>(sources: &[IdentitySource], facts: &Facts<'_, 'a>) -> Option<Identity<'a>> {
    sources.iter().find_map(|source| find_in(source, facts))
}

fn find_in<'a>(source: &IdentitySource, facts: &Facts<'_, 'a>) -> Option<Identity<'a>> {
    let request = facts.request;
    match source {
        IdentitySource::Header(name) if facts.may_have(name.as_str()) => {
            not_empty(request.field_values(name.as_str())).map(Cow::Borrowed)
        }
        IdentitySource::Cookie(cookie) | IdentitySource::Generated(GeneratedCookie { cookie, .. })
            if facts.may_have("cookie") =>
        {
            not_empty(request.cookie_values(cookie.as_str())).map(Cow::Borrowed)
        }
        IdentitySource::Header(_) | IdentitySource::Cookie(_) | IdentitySource::Generated(_) => None,
        IdentitySource::Query(name) => request.query_values(name.as_str()).find(|value| !value.is_empty()),
        IdentitySource::JwtClaim(wanted) => request
            .field_values(wanted.header.as_str())
            .find_map(|value| claim(value, wanted))
            .map(|claim| Cow::Owned(claim.into_bytes())),
        IdentitySource::ClientIp(prefix) => Some(Cow::Owned(cut(facts.client_ip(), prefix).into_bytes())),
    }
}

fn not_empty<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    values.find(|value| !value.is_empty())
}

/// The address with all bits beyond the prefix cleared.
fn cut(address: IpAddr, prefix: &ClientIpPrefix) -> String {
    match address {
        IpAddr::V4(v4) => {
            Ipv4Net::new(v4, prefix.v4_prefix).map_or(v4, |network| network.network()).to_string()
        }
        IpAddr::V6(v6) => {
            Ipv6Net::new(v6, prefix.v6_prefix).map_or(v6, |network| network.network()).to_string()
        }
    }
}

/// A claim of the JWT (RFC 7519) in a field's value. The signature is not looked at: the split needs to know who
/// somebody says they are, and the backend checks it.
fn claim(value: &[u8], wanted: &JwtClaim) -> Option<String> {
    let token = match value.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => value,
    };
    let mut parts = token.split(|&byte| byte == b'.');
    let (Some(_header), Some(payload), Some(_signature)) = (parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let payload = BASE64URL.decode(payload).ok()?;
    serde_json::Deserializer::from_slice(&payload)
        .deserialize_map(ClaimVisitor(wanted.claim.as_str()))
        .ok()?
}

/// Takes one claim out of the payload without building the rest.
struct ClaimVisitor<'w>(&'w str);

impl<'de> Visitor<'de> for ClaimVisitor<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut claims: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = claims.next_key::<Cow<'de, str>>()? {
            if name == self.0 {
                found = match claims.next_value()? {
                    serde_json::Value::String(text) => Some(text).filter(|text| !text.is_empty()),
                    serde_json::Value::Number(number) => Some(number.to_string()),
                    _ => None,
                };
            } else {
                claims.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{config::identity::IdentityConfig, field::Field, request::Request};

    fn identity(sources: &serde_json::Value, query: Option<&str>, fields: &[(&str, &str)]) -> Option<String> {
        let config: IdentityConfig = serde_json::from_value(json!({"from": sources})).expect("good sources");
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| Field { name: name.as_bytes(), value: value.as_bytes() })
            .collect();
        let peer = "2001:db8:1:2:3::9".parse().expect("an address");
        let query = query.map(str::as_bytes);
        let request = Request { method: "GET", host: "shop", path: b"/", query, fields: &fields, peer };
        let facts = Facts::new(&request, &[], &config.from);
        facts.identity().map(|found| String::from_utf8_lossy(found).into_owned())
    }

    #[test]
    fn the_first_source_that_has_somebody_wins() {
        let sources = json!([{"header": "X-User-Name"}, {"query": "user_name"}, {"cookie": "user_name"}]);
        let cookie = ("Cookie", "theme=dark; user_name=chen");
        for (query, fields, expected) in [
            (Some("user_name=wei"), &[("x-user-name", "lin"), cookie][..], Some("lin")),
            (Some("user_name=w%65i"), &[("x-user-name", ""), cookie], Some("wei")),
            (Some("user_name="), &[cookie], Some("chen")),
            (None, &[("Cookie", "user_name="), ("Cookie", "user_name=\"zhao\"")], Some("zhao")),
            (None, &[], None),
        ] {
            assert_eq!(identity(&sources, query, fields).as_deref(), expected, "{query:?} {fields:?}");
        }
    }

    fn token(payload: &str) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.c2lnbmF0dXJl", BASE64URL.encode(payload).trim_end_matches('='))
    }

    #[test]
    fn a_claim_is_read_from_a_token_without_verifying_it() {
        let sources = json!([{"jwtClaim": {"header": "Authorization", "claim": "sub"}}]);
        let read = |value: &str| identity(&sources, None, &[("authorization", value)]);
        let good = token(r#"{"iat": 1, "nested": {"sub": "no"}, "sub": "lin"}"#);
        assert_eq!(read(&good).as_deref(), Some("lin"));
        assert_eq!(read(&format!("Bearer {good}")).as_deref(), Some("lin"));
        assert_eq!(read(&format!("bearer  {good}")).as_deref(), Some("lin"));
        assert_eq!(read(&token(r#"{"sub": 4711}"#)).as_deref(), Some("4711"));
        assert_eq!(read(&token(r#"{"sub": "l\u0069n"}"#)).as_deref(), Some("lin"));
        let (header, rest) = good.split_once('.').expect("three parts");
        let (payload, _) = rest.split_once('.').expect("three parts");
        for broken in [
            token(r#"{"sub": ""}"#),
            token(r#"{"sub": true}"#),
            token(r#"{"sub": ["lin"]}"#),
            token(r#"{"other": "lin"}"#),
            token("[]"),
            token("{"),
            format!("{header}.{payload}"),
            format!("{header}.!!.x"),
            "Basic bGluOnNlY3JldA==".into(),
            String::new(),
        ] {
            assert_eq!(read(&broken), None, "{broken}");
        }
    }

    #[test]
    fn an_address_is_cut_to_its_prefix() {
        let by = |prefix: serde_json::Value| identity(&json!([{"clientIp": prefix}]), None, &[]);
        assert_eq!(by(json!({})).as_deref(), Some("2001:db8:1:2::"));
        assert_eq!(by(json!({"v6Prefix": 48})).as_deref(), Some("2001:db8:1::"));
        assert_eq!(by(json!({"v6Prefix": 128})).as_deref(), Some("2001:db8:1:2:3::9"));
        let v4 = ClientIpPrefix { v4_prefix: 24, v6_prefix: 64 };
        assert_eq!(cut("203.0.113.9".parse().expect("an address"), &v4), "203.0.113.0");
    }

    proptest! {
        #[test]
        fn no_token_panics(value in prop::collection::vec(any::<u8>(), 0..80), payload in prop::collection::vec(any::<u8>(), 0..60)) {
            let wanted = JwtClaim { header: "A".parse().expect("token"), claim: "sub".parse().expect("name") };
            let _ = claim(&value, &wanted);
            let _ = claim(format!("a.{}.c", BASE64URL.encode(payload)).as_bytes(), &wanted);
        }
    }
}
