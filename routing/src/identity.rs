//! Who the user of a request is: the first source of the release that has one. An empty value counts as absent,
//! since otherwise everyone whose client sends an empty field would share one bucket.
//!
//! **Normal form** (from [`IdentityForm::Two`] on): one user has one spelling, wherever it stands. `%` and two hex digits are
//! decoded, once; in a query `+` is a space, as every form and every server has it, in headers and cookies it is a
//! plus; one pair of quotes around the result goes; all else stays byte by byte, letter case and Unicode included.

use std::{borrow::Cow, net::IpAddr};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{
    document::{
        identity::{
            ClientIpPrefix, GeneratedCookie, IdentityForm, IdentitySource, JwtClaim, RawSource,
        },
        names::Token,
    },
    facts::RequestFacts,
    request::{percent_decode, unquote},
};

mod sources;

pub use sources::Identity;
pub(crate) use sources::Sources;

/// JWTs have no padding; some issuers write it all the same.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl<'q> RequestFacts<'_, 'q> {
    /// Who the user is, by the first of the release's sources that says so.
    pub(crate) fn identity(&self) -> Option<&[u8]> {
        self.identity
            .get_or_init(|| find(self.sources, self))
            .as_deref()
    }

    /// The release's own cookie, where it decides the bucket before the identity does.
    pub(crate) fn kept(&self) -> Option<&'q [u8]> {
        kept(self.sources, self)
    }
}

/// The identity that a request carries, looked for in each source in turn. A generated cookie counts if it came
/// back; minting one is the caller's part.
fn find<'a>(sources: &Sources, facts: &RequestFacts<'_, 'a>) -> Option<Identity<'a>> {
    sources
        .from
        .iter()
        .find_map(|source| find_in(source, sources.form, facts))
}

/// The release's own cookie, where it decides the bucket before every other source: whoever got it has a place already.
fn kept<'a>(sources: &Sources, facts: &RequestFacts<'_, 'a>) -> Option<&'a [u8]> {
    match (sources.form, sources.generated()) {
        (IdentityForm::Two, Some(generated)) if facts.may_have("cookie") => facts
            .request
            .cookie_values(generated.cookie.as_str())
            .find(|value| !value.is_empty()),
        _ => None,
    }
}

fn find_in<'a>(
    source: &IdentitySource,
    form: IdentityForm,
    facts: &RequestFacts<'_, 'a>,
) -> Option<Identity<'a>> {
    let request = facts.request;
    match source {
        IdentitySource::Header(name) => spelled(form, fields(name, facts)),
        IdentitySource::Cookie(name) if form == IdentityForm::Two => spelled(
            form,
            cookies(facts).flat_map(|()| request.raw_cookie_values(name.as_str())),
        ),
        IdentitySource::Cookie(cookie)
        | IdentitySource::Generated(GeneratedCookie { cookie, .. }) => spelled(
            IdentityForm::One,
            cookies(facts).flat_map(|()| request.cookie_values(cookie.as_str())),
        ),
        IdentitySource::Query(name) if form == IdentityForm::Two => {
            present(request.query_values(name.as_str()).map(normal))
        }
        IdentitySource::Query(name) => present(request.query_values(name.as_str())),
        IdentitySource::Raw(RawSource::Header(name)) => {
            spelled(IdentityForm::One, fields(name, facts))
        }
        IdentitySource::Raw(RawSource::Cookie(name)) => spelled(
            IdentityForm::One,
            cookies(facts).flat_map(|()| request.raw_cookie_values(name.as_str())),
        ),
        IdentitySource::Raw(RawSource::Query(name)) => {
            spelled(IdentityForm::One, request.raw_query_values(name.as_str()))
        }
        IdentitySource::JwtClaim(wanted) => request
            .field_values(wanted.header.as_str())
            .find_map(|value| claim(value, wanted))
            .map(|claim| Cow::Owned(claim.into_bytes())),
        IdentitySource::ClientIp(prefix) => {
            Some(Cow::Owned(cut(facts.client_ip(), prefix).into_bytes()))
        }
    }
}

/// The values of a field, looked for only if one of its name may be there.
fn fields<'a>(name: &Token, facts: &RequestFacts<'_, 'a>) -> impl Iterator<Item = &'a [u8]> {
    let request = facts.request;
    facts
        .may_have(name.as_str())
        .then(|| request.field_values(name.as_str()))
        .into_iter()
        .flatten()
}

/// One item if the request may have cookies.
fn cookies(facts: &RequestFacts<'_, '_>) -> impl Iterator<Item = ()> + use<> {
    facts.may_have("cookie").then_some(()).into_iter()
}

/// The first value that is not empty, in the form's spelling.
fn spelled<'a>(
    form: IdentityForm,
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Option<Identity<'a>> {
    match form {
        IdentityForm::One => values.find(|value| !value.is_empty()).map(Cow::Borrowed),
        IdentityForm::Two => present(values.map(|value| normal(percent_decode(value)))),
    }
}

/// What is left of a decoded value in normal form.
fn normal(decoded: Identity<'_>) -> Identity<'_> {
    match decoded {
        Cow::Borrowed(value) => Cow::Borrowed(unquote(value)),
        Cow::Owned(value) if unquote(&value).len() < value.len() => {
            Cow::Owned(unquote(&value).to_owned())
        }
        owned => owned,
    }
}

fn present<'a>(mut values: impl Iterator<Item = Identity<'a>>) -> Option<Identity<'a>> {
    values.find(|value| !value.is_empty())
}

/// The address with all bits beyond the prefix cleared.
fn cut(address: IpAddr, prefix: &ClientIpPrefix) -> String {
    match address {
        IpAddr::V4(v4) => Ipv4Net::new(v4, prefix.v4_prefix)
            .map_or(v4, |network| network.network())
            .to_string(),
        IpAddr::V6(v6) => Ipv6Net::new(v6, prefix.v6_prefix)
            .map_or(v6, |network| network.network())
            .to_string(),
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
    let (Some(_header), Some(payload), Some(_signature)) =
        (parts.next(), parts.next(), parts.next())
    else {
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
    use crate::{document::identity::IdentityConfig, field::Field, request::Request};

    fn identity(
        sources: &serde_json::Value,
        query: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Option<String> {
        spelled_in(IdentityForm::One, sources, query, fields)
    }

    fn spelled_in(
        form: IdentityForm,
        sources: &serde_json::Value,
        query: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Option<String> {
        let config: IdentityConfig =
            serde_json::from_value(json!({"from": sources})).expect("good sources");
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        let peer = "2001:db8:1:2:3::9".parse().expect("an address");
        let query = query.map(str::as_bytes);
        let request = Request {
            method: "GET",
            host: "shop",
            path: b"/",
            query,
            fields: &fields,
            peer,
        };
        let sources = Sources {
            from: config.from.into(),
            form,
        };
        let facts = RequestFacts::new(&request, &[], &sources);
        facts
            .identity()
            .map(|found| String::from_utf8_lossy(found).into_owned())
    }

    #[test]
    fn the_first_source_that_has_somebody_wins() {
        let sources =
            json!([{"header": "X-User-Name"}, {"query": "user_name"}, {"cookie": "user_name"}]);
        let cookie = ("Cookie", "theme=dark; user_name=chen");
        for (query, fields, expected) in [
            (
                Some("user_name=wei"),
                &[("x-user-name", "lin"), cookie][..],
                Some("lin"),
            ),
            (
                Some("user_name=w%65i"),
                &[("x-user-name", ""), cookie],
                Some("wei"),
            ),
            (Some("user_name="), &[cookie], Some("chen")),
            (
                None,
                &[("Cookie", "user_name="), ("Cookie", "user_name=\"zhao\"")],
                Some("zhao"),
            ),
            (None, &[], None),
        ] {
            assert_eq!(
                identity(&sources, query, fields).as_deref(),
                expected,
                "{query:?} {fields:?}"
            );
        }
    }

    /// Never to be changed: a user who is spelled in another way is another user.
    #[test]
    fn one_user_has_one_spelling_in_header_query_and_cookie() {
        let header = |value: &str| {
            spelled_in(
                IdentityForm::Two,
                &json!([{"header": "X-User"}]),
                None,
                &[("X-User", value)],
            )
        };
        let query = |value: &str| {
            spelled_in(
                IdentityForm::Two,
                &json!([{"query": "user"}]),
                Some(&format!("user={value}")),
                &[],
            )
        };
        let cookie = |value: &str| {
            spelled_in(
                IdentityForm::Two,
                &json!([{"cookie": "user"}]),
                None,
                &[("Cookie", &format!("a=b; user={value}"))],
            )
        };
        for (written, is) in [
            ("lin", "lin"),
            ("lin%40example.com", "lin@example.com"),
            ("lin@example.com", "lin@example.com"),
            ("lin%2Btag%40example.com", "lin+tag@example.com"),
            ("lin%2btag", "lin+tag"),
            ("%E6%9E%97", "\u{6797}"),
            ("\u{6797}", "\u{6797}"),
            ("\"lin\"", "lin"),
            ("%22lin%22", "lin"),
            ("\"lin%40x\"", "lin@x"),
            ("%2540", "%40"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("Lin", "Lin"),
            ("l%00n", "l\0n"),
            ("\"", "\""),
        ] {
            for (source, found) in [
                ("header", header(written)),
                ("query", query(written)),
                ("cookie", cookie(written)),
            ] {
                assert_eq!(found.as_deref(), Some(is), "{written} in a {source}");
            }
        }
        for absent in ["", "\"\"", "%22%22"] {
            assert_eq!(
                [header(absent), query(absent), cookie(absent)],
                [None, None, None],
                "{absent}"
            );
        }
        let plus = "li+lin";
        let found = [header(plus), query(plus), cookie(plus)];
        assert_eq!(found.map(Option::unwrap), ["li+lin", "li lin", "li+lin"]);
    }

    #[test]
    fn a_source_that_is_not_to_be_decoded_is_taken_byte_by_byte() {
        for form in [IdentityForm::One, IdentityForm::Two] {
            for value in ["lin%40x", "\"lin\"", "a+b", "%22%22"] {
                let header = spelled_in(
                    form,
                    &json!([{"raw": {"header": "X-User"}}]),
                    None,
                    &[("x-user", value)],
                );
                let query = spelled_in(
                    form,
                    &json!([{"raw": {"query": "user"}}]),
                    Some(&format!("us%65r={value}")),
                    &[],
                );
                let cookies = format!("user=; user={value}");
                let cookie = spelled_in(
                    form,
                    &json!([{"raw": {"cookie": "user"}}]),
                    None,
                    &[("Cookie", &cookies)],
                );
                assert_eq!([header, query, cookie].map(Option::unwrap), [value; 3]);
            }
        }
    }

    fn token(payload: &str) -> String {
        format!(
            "eyJhbGciOiJub25lIn0.{}.c2lnbmF0dXJl",
            BASE64URL.encode(payload).trim_end_matches('=')
        )
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
        assert_eq!(
            read(&token(r#"{"sub": "l\u0069n"}"#)).as_deref(),
            Some("lin")
        );
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
        assert_eq!(
            by(json!({"v6Prefix": 128})).as_deref(),
            Some("2001:db8:1:2:3::9")
        );
        let v4 = ClientIpPrefix {
            v4_prefix: 24,
            v6_prefix: 64,
        };
        assert_eq!(
            cut("203.0.113.9".parse().expect("an address"), &v4),
            "203.0.113.0"
        );
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
