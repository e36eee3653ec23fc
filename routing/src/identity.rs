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
    request::Request,
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
pub fn find<'a>(
    sources: &[IdentitySource],
    request: &Request<'a>,
    client_ip: impl Fn() -> IpAddr,
) -> Option<Identity<'a>> {
    sources.iter().find_map(|source| find_in(source, request, &client_ip))
}

fn find_in<'a>(
    source: &IdentitySource,
    request: &Request<'a>,
    client_ip: &impl Fn() -> IpAddr,
) -> Option<Identity<'a>> {
    match source {
        IdentitySource::Header(name) => not_empty(request.field_values(name.as_str())).map(Cow::Borrowed),
        IdentitySource::Query(name) => request.query_values(name.as_str()).find(|value| !value.is_empty()),
        IdentitySource::Cookie(cookie) | IdentitySource::Generated(GeneratedCookie { cookie, .. }) => {
            not_empty(request.cookie_values(cookie.as_str())).map(Cow::Borrowed)
        }
        IdentitySource::JwtClaim(wanted) => request
            .field_values(wanted.header.as_str())
            .find_map(|value| claim(value, wanted))
            .map(|claim| Cow::Owned(claim.into_bytes())),
        IdentitySource::ClientIp(prefix) => Some(Cow::Owned(cut(client_ip(), prefix).into_bytes())),
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
                    serde_json::Value::String(text) => Some(text),
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
