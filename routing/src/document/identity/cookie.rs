//! The cookie that proxies mint for users who say nothing about themselves: its name, its age, and who gets it back.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use crate::vocabulary::SameSite;

use crate::document::{
    arm::Positive,
    names::{HostPattern, Token},
    units::{InvalidValue, text},
};

/// A cookie of our own: `Path=/`, `HttpOnly`, and by default host-only and `SameSite=Lax`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "CookieDocument")]
pub struct GeneratedCookie {
    /// Its name.
    pub cookie: Token,
    /// How long the browser keeps it.
    pub max_age_ms: Positive,
    /// The domain whose hosts share it; none: only the host that set it gets it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<CookieDomain>,
    /// Whether requests that come from other sites carry it.
    #[serde(skip_serializing_if = "SameSite::is_lax")]
    pub same_site: SameSite,
    /// Over HTTPS only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub secure: bool,
    /// Kept apart for each top-level site (CHIPS).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partitioned: bool,
}

/// Second-level names under which whole countries register. A browser refuses a cookie for `co.uk`, and a user without
/// the cookie is a new user at every request.
const SHARED: [&str; 8] = ["ac", "co", "com", "edu", "gov", "mil", "net", "org"];

text!(
    /// A domain whose hosts share a cookie, such as `example.com`: at least two labels of lower-case letters, digits
    /// and `-`, and not a name under which strangers register.
    CookieDomain,
    |text| {
        let labels: Vec<&str> = text.split('.').collect();
        if text.len() > 253 || labels.len() < 2 || !labels.iter().all(|label| is_label(label)) {
            Err("is not a cookie's domain; write it like example.com, in lower case, without a leading dot".into())
        } else if !labels.last().is_some_and(|top| top.starts_with(|first: char| first.is_ascii_lowercase())) {
            Err("ends like an address; only names share cookies".into())
        } else if matches!(labels[..], [second, top] if top.len() == 2 && SHARED.contains(&second)) {
            Err("belongs to many, so browsers refuse cookies for it; put your own label before it".into())
        } else {
            Ok(Cow::Borrowed(text))
        }
    }
);

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let outer = !label.starts_with('-') && !label.ends_with('-');
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && outer
}

impl CookieDomain {
    /// Whether a browser takes the cookie from every host of a pattern (RFC 6265, section 5.1.3).
    pub fn covers(&self, hosts: &HostPattern) -> bool {
        let name = hosts.wildcard_suffix().unwrap_or(hosts.as_str());
        let rest = name.strip_suffix(self.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CookieDocument {
    cookie: Token,
    max_age_ms: Positive,
    #[serde(default)]
    domain: Option<CookieDomain>,
    #[serde(default)]
    same_site: SameSite,
    #[serde(default)]
    secure: bool,
    #[serde(default)]
    partitioned: bool,
}

impl TryFrom<CookieDocument> for GeneratedCookie {
    type Error = InvalidValue;

    fn try_from(document: CookieDocument) -> Result<Self, InvalidValue> {
        let CookieDocument {
            cookie,
            max_age_ms,
            domain,
            same_site,
            secure,
            partitioned,
        } = document;
        if !secure && same_site == SameSite::None {
            return Err(InvalidValue::new(
                "sameSite: None needs secure: true, or browsers refuse the cookie",
            ));
        }
        if !secure && partitioned {
            return Err(InvalidValue::new(
                "partitioned: true needs secure: true, or browsers refuse the cookie",
            ));
        }
        Ok(Self {
            cookie,
            max_age_ms,
            domain,
            same_site,
            secure,
            partitioned,
        })
    }
}

impl GeneratedCookie {
    /// The cookie without any attribute that can be chosen.
    pub fn plain(cookie: Token, max_age_ms: Positive) -> Self {
        let same_site = SameSite::Lax;
        Self {
            cookie,
            max_age_ms,
            domain: None,
            same_site,
            secure: false,
            partitioned: false,
        }
    }

    /// Whether an attribute is chosen, which only builds with [`COOKIE_ATTRIBUTES`](crate::document::COOKIE_ATTRIBUTES)
    /// understand.
    pub fn has_attributes(&self) -> bool {
        *self != Self::plain(self.cookie.clone(), self.max_age_ms)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_domain_is_one_that_browsers_take_and_strangers_do_not_share() {
        for good in [
            "example.com",
            "shop.example.com",
            "example.co.uk",
            "t.co",
            "a-b.example",
        ] {
            assert!(good.parse::<CookieDomain>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "com",
            ".example.com",
            "example.com.",
            "Example.com",
            "co.uk",
            "com.cn",
            "10.0.0.1",
            "a..b",
            "-a.com",
            "*.example.com",
            "example.com:80",
            "[::1]",
        ] {
            assert!(bad.parse::<CookieDomain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_domain_covers_its_own_hosts_only() {
        let domain: CookieDomain = "example.com".parse().unwrap();
        for (hosts, covered) in [
            ("example.com", true),
            ("shop.example.com", true),
            ("*.example.com", true),
            ("*.shop.example.com", true),
            ("badexample.com", false),
            ("example.org", false),
            ("*", false),
            ("*.com", false),
            ("com", false),
        ] {
            assert_eq!(domain.covers(&hosts.parse().unwrap()), covered, "{hosts}");
        }
    }

    #[test]
    fn attributes_that_browsers_refuse_together_are_refused() {
        let read = |fields: serde_json::Value| {
            let mut cookie = json!({"cookie": "id", "maxAgeMs": 1000});
            cookie
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            serde_json::from_value::<GeneratedCookie>(cookie)
        };
        let plain = read(json!({})).unwrap();
        assert!(!plain.has_attributes());
        assert_eq!(
            serde_json::to_value(plain).unwrap(),
            json!({"cookie": "id", "maxAgeMs": 1000})
        );
        let chosen = json!({"sameSite": "None", "secure": true, "partitioned": true, "domain": "example.com"});
        assert!(read(chosen).unwrap().has_attributes());
        for wrong in [
            json!({"sameSite": "None"}),
            json!({"partitioned": true}),
            json!({"domain": "com"}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
