//! Identity as written: where a request says who its user is.

use halftone_routing::vocabulary::{SameSite, WhenMissing};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{pattern, rules, schema};

/// Who a user is: where a request says so, and what happens when it does not.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct IdentitySpec {
    /// Where to look, in order; the first one present wins. Default: the header X-User-Name, the query
    /// parameter and the cookie user_name, and a generated cookie halftone_id.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    #[schemars(extend("x-kubernetes-validations" = rules::validations(&[rules::GENERATED_LAST])))]
    pub from: Vec<IdentitySource>,

    /// Where a request without identity goes: Stable, Gray, Split (decided request by request) or Reject
    /// (answered with `rejectStatus`). Never applies when `from` has a generated cookie.
    pub when_missing: WhenMissing,

    /// The status of the answer under `whenMissing: Reject`.
    #[schemars(range(min = 400, max = 499))]
    pub reject_status: i32,

    /// What decides, together with the identity, who comes first. Empty: the release id, so that no two
    /// releases share their first users. Services with the same salt get the same users.
    #[schemars(length(max = 63))]
    pub salt: String,
}

impl Default for IdentitySpec {
    fn default() -> Self {
        let source = IdentitySource::default;
        Self {
            from: vec![
                IdentitySource {
                    header: Some("X-User-Name".into()),
                    ..source()
                },
                IdentitySource {
                    query: Some("user_name".into()),
                    ..source()
                },
                IdentitySource {
                    cookie: Some("user_name".into()),
                    ..source()
                },
                IdentitySource {
                    generated: Some(GeneratedCookie::default()),
                    ..source()
                },
            ],
            when_missing: WhenMissing::default(),
            reject_status: 403,
            salt: String::new(),
        }
    }
}

/// One place to look for an identity. Exactly one field is given.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::validations(&[rules::ONE_SOURCE, rules::DECODE_TEXT])))]
pub struct IdentitySource {
    /// The value of a request header, percent-decoded; quotes around it are removed.
    #[schemars(schema_with = "schema::token")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,

    /// The value of a query parameter, percent-decoded with `+` as a space; quotes around it are removed.
    #[schemars(length(min = 1, max = 63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,

    /// The value of a cookie, percent-decoded; quotes around it are removed.
    #[schemars(schema_with = "schema::token")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,

    /// A cookie that the proxies mint when nothing else is there, named after the release: Path=/, HttpOnly, and by
    /// default host-only and SameSite=Lax. It counts for the request that mints it, and is not set on public answers.
    /// Who has it keeps their version when another source joins, as when they log in. Always the last source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated: Option<GeneratedCookie>,

    /// A claim of a JSON Web Token. The token is read, not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_claim: Option<JwtClaim>,

    /// The address of the client, cut to a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIp>,

    /// Whether the value of a header, query parameter or cookie is decoded, so that one user has one spelling in all of
    /// them. With false it is compared byte by byte as it came.
    #[serde(default = "yes")]
    pub decode: bool,
}

impl Default for IdentitySource {
    fn default() -> Self {
        let (header, query, cookie) = (None, None, None);
        Self {
            header,
            query,
            cookie,
            generated: None,
            jwt_claim: None,
            client_ip: None,
            decode: true,
        }
    }
}

fn yes() -> bool {
    true
}

/// A cookie that the proxies mint.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::validations(&[rules::COOKIE_SECURE])))]
pub struct GeneratedCookie {
    /// The name of the cookie. The proxies append `_` and six hex digits of the release id.
    #[schemars(schema_with = "schema::own_cookie")]
    pub cookie: String,

    /// How long browsers keep it.
    #[schemars(schema_with = "schema::max_age")]
    pub max_age: String,

    /// The domain whose hosts share the cookie, such as example.com. Every host of the release has to be in it. Without
    /// it each host has a cookie of its own, and a user may get another version on another host.
    #[schemars(schema_with = "schema::cookie_domain")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,

    /// Which requests from other sites carry the cookie: Lax (those that follow a link), Strict (none) or None (all, as
    /// for a page in a frame of another site; needs `secure`).
    pub same_site: SameSite,

    /// Browsers send the cookie over HTTPS only.
    pub secure: bool,

    /// Browsers keep one cookie for each site that embeds the page (CHIPS); needs `secure`.
    pub partitioned: bool,
}

impl Default for GeneratedCookie {
    fn default() -> Self {
        Self {
            cookie: "halftone_id".into(),
            max_age: "720h".into(),
            domain: None,
            same_site: SameSite::Lax,
            secure: false,
            partitioned: false,
        }
    }
}

/// A claim of a JSON Web Token that a header carries, `Bearer ` before it or not.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtClaim {
    /// The header that carries the token.
    #[schemars(schema_with = "schema::token")]
    pub header: String,

    /// The claim that names the user.
    #[schemars(length(max = 253), regex(pattern = pattern::VISIBLE))]
    pub claim: String,
}

impl Default for JwtClaim {
    fn default() -> Self {
        Self {
            header: "Authorization".into(),
            claim: "sub".into(),
        }
    }
}

/// The address of the client, cut to a network.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIp {
    /// Leading bits of an IPv4 address that count.
    #[schemars(range(min = 1, max = 32))]
    pub v4_prefix: i32,

    /// Leading bits of an IPv6 address that count. 64 is one customer's network.
    #[schemars(range(min = 1, max = 128))]
    pub v6_prefix: i32,
}

impl Default for ClientIp {
    fn default() -> Self {
        Self {
            v4_prefix: 32,
            v6_prefix: 64,
        }
    }
}
