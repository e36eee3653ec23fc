//! Report tokens: how an operator shows a proxy who asks. The operator signs each request with a key that it makes in
//! memory when it starts, and publishes the public half in the ConfigMap `halftone-keys-CLASS`. Proxies watch that
//! ConfigMap. There is no shared secret: a token that somebody reads on the wire opens one page of one pod for 30 s.
//!
//! Pure: the time is an argument. Signatures are Ed25519 (RFC 8032).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use halftone_routing::hex;
use serde::{Deserialize, Serialize};

/// The field that carries a token.
pub const HEADER: &str = "x-halftone-token";
/// A token is good for this many seconds after it was signed.
pub const VALID: i64 = 30;
/// The clocks of operator and proxy may differ by this many seconds.
pub const SKEW: i64 = 20;
/// This many keys count: the present operator's and its predecessor's.
pub const KEYS: usize = 2;

/// What a token is for. A token for one of these opens no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenClaims<'a> {
    /// The class of the fleet.
    pub class: &'a str,
    /// The proxy that is asked; in a cluster the UID of its pod.
    pub instance: &'a str,
    /// The path of the page.
    pub path: &'a str,
}

impl TokenClaims<'_> {
    /// What is signed. No field can hold a line break, so no two claims look alike.
    fn signed_text(&self, expires: i64) -> String {
        let Self {
            class,
            instance,
            path,
        } = self;
        format!("halftone-report-1\n{class}\n{instance}\n{path}\n{expires}")
    }
}

/// The private key of an operator process. It never leaves the process.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Makes a new key. None: the system gives no random bytes.
    #[must_use]
    pub fn generate() -> Option<Self> {
        Ed25519KeyPair::generate().ok().map(Self)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        let bytes = self.0.public_key().as_ref();
        key[..bytes.len().min(32)].copy_from_slice(&bytes[..bytes.len().min(32)]);
        PublicKey(key)
    }

    /// A token for this claim: `1.EXPIRES.SIGNATURE`, the signature in hex. `now` in seconds since 1970.
    #[must_use]
    pub fn sign(&self, claim: &TokenClaims<'_>, now: i64) -> String {
        let expires = now.saturating_add(VALID);
        let signature = self.0.sign(claim.signed_text(expires).as_bytes());
        format!("1.{expires}.{}", hex::encode(signature))
    }
}

/// The public key of an operator; written as 64 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = hex::decode(text);
        let wrong = || format!("\"{text}\" is not a public key; it has 64 hex digits");
        key.map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// The keys of a fleet as its ConfigMap has them (key `keys.json`), newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorKeySet {
    /// The keys. Only the first [`KEYS`] count.
    pub keys: Vec<OperatorKey>,
}

/// One key and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorKey {
    /// The key.
    pub public: PublicKey,
    /// The operator process, for people.
    #[serde(default)]
    pub holder: String,
}

impl OperatorKeySet {
    /// Reads the text of a ConfigMap. Fields that a later version adds are ignored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The text for a ConfigMap.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("keys are plain data")
    }

    /// These keys with `key` as the newest, and no more than count.
    #[must_use]
    pub fn with(&self, key: &OperatorKey) -> Self {
        let others = self
            .keys
            .iter()
            .filter(|other| other.public != key.public)
            .cloned();
        Self {
            keys: std::iter::once(key.clone())
                .chain(others)
                .take(KEYS)
                .collect(),
        }
    }

    /// Those that count.
    pub fn public(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().take(KEYS).map(|key| &key.public)
    }
}

/// Why a token does not open a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It is not written as a token.
    Malformed,
    /// No key that counts has signed it for this page of this proxy.
    Unsigned,
    /// It is not good at the time that this clock shows, whoever has signed it.
    ClockSkew {
        /// How many seconds the signer's clock is ahead of this one, at least; negative: behind.
        ahead: i64,
    },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the token is malformed"),
            Self::Unsigned => {
                f.write_str("no known operator has signed the token for this page of this proxy")
            }
            Self::ClockSkew { ahead } => {
                let (by, which) = (
                    ahead.unsigned_abs(),
                    if *ahead > 0 { "ahead of" } else { "behind" },
                );
                write!(
                    f,
                    "ClockSkew: the operator's clock is {by} s {which} the clock of this proxy; set both by NTP"
                )
            }
        }
    }
}

/// Whether a token opens the page of this claim at `now`, in seconds since 1970.
///
/// # Errors
/// It does not, and why.
pub fn verify<'a>(
    keys: impl IntoIterator<Item = &'a PublicKey>,
    claim: &TokenClaims<'_>,
    token: &[u8],
    now: i64,
) -> Result<(), TokenError> {
    let (expires, signature) = timely(token, now)?;
    let text = claim.signed_text(expires);
    let signed_by = |key: &PublicKey| {
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(text.as_bytes(), &signature)
            .is_ok()
    };
    if keys.into_iter().any(signed_by) {
        Ok(())
    } else {
        Err(TokenError::Unsigned)
    }
}

/// Whether a token could open any page at `now`, as far as can be told without verifying its signature, which takes far
/// longer than all the rest.
///
/// # Errors
/// It could not, and why.
pub fn glance(token: &[u8], now: i64) -> Result<(), TokenError> {
    timely(token, now).map(drop)
}

/// The expiry, if that is neither past nor further away than a token is good for, and the signature.
fn timely(token: &[u8], now: i64) -> Result<(i64, [u8; 64]), TokenError> {
    let (expires, signature) = parse(token).ok_or(TokenError::Malformed)?;
    let left = expires.saturating_sub(now);
    if !(-SKEW..=VALID + SKEW).contains(&left) {
        return Err(TokenError::ClockSkew {
            ahead: left.saturating_sub(VALID),
        });
    }
    Ok((expires, signature))
}

fn parse(token: &[u8]) -> Option<(i64, [u8; 64])> {
    let text = std::str::from_utf8(token).ok()?.trim();
    let (expires, signature) = text.strip_prefix("1.")?.split_once('.')?;
    Some((expires.parse().ok()?, hex::decode(signature)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const CLAIM: TokenClaims<'static> = TokenClaims {
        class: "default",
        instance: "pod-1",
        path: "/report",
    };

    #[test]
    fn a_token_opens_the_page_of_the_proxy_that_it_was_signed_for_and_no_other() {
        let (signer, other) = (Signer::generate().unwrap(), Signer::generate().unwrap());
        let (key, stranger) = (signer.public(), other.public());
        let token = signer.sign(&CLAIM, NOW);
        assert_eq!(verify([&key], &CLAIM, token.as_bytes(), NOW), Ok(()));
        assert_eq!(
            verify([&stranger, &key], &CLAIM, token.as_bytes(), NOW),
            Ok(()),
            "either of two keys"
        );
        for (what, claim) in [
            (
                "class",
                TokenClaims {
                    class: "web",
                    ..CLAIM
                },
            ),
            (
                "pod",
                TokenClaims {
                    instance: "pod-2",
                    ..CLAIM
                },
            ),
            (
                "path",
                TokenClaims {
                    path: "/config",
                    ..CLAIM
                },
            ),
        ] {
            assert_eq!(
                verify([&key], &claim, token.as_bytes(), NOW),
                Err(TokenError::Unsigned),
                "{what}"
            );
        }
        assert_eq!(
            verify([&stranger], &CLAIM, token.as_bytes(), NOW),
            Err(TokenError::Unsigned)
        );
        assert_eq!(
            verify([], &CLAIM, token.as_bytes(), NOW),
            Err(TokenError::Unsigned)
        );
        let longer = token.replacen(
            &(NOW + VALID).to_string(),
            &(NOW + VALID + 9).to_string(),
            1,
        );
        assert_eq!(
            verify([&key], &CLAIM, longer.as_bytes(), NOW),
            Err(TokenError::Unsigned),
            "the expiry is signed"
        );
    }

    #[test]
    fn a_token_ends_and_clocks_that_differ_too_much_are_told_as_that() {
        let signer = Signer::generate().unwrap();
        let token = signer.sign(&CLAIM, NOW);
        for (clock, expected) in [
            (0, Ok(())),
            (VALID, Ok(())),
            (VALID + SKEW, Ok(())),
            (
                VALID + SKEW + 1,
                Err(TokenError::ClockSkew {
                    ahead: -(VALID + SKEW + 1),
                }),
            ),
            (-SKEW, Ok(())),
            (-SKEW - 1, Err(TokenError::ClockSkew { ahead: SKEW + 1 })),
            (
                i64::MAX - NOW,
                Err(TokenError::ClockSkew {
                    ahead: NOW - i64::MAX,
                }),
            ),
        ] {
            let found = verify([&signer.public()], &CLAIM, token.as_bytes(), NOW + clock);
            assert_eq!(found, expected, "{clock}");
        }
        let told = TokenError::ClockSkew { ahead: -51 }.to_string();
        assert!(
            told.starts_with("ClockSkew: the operator's clock is 51 s behind"),
            "{told}"
        );
    }

    #[test]
    fn a_token_that_is_good_at_no_time_near_is_refused_before_its_signature_is_looked_at() {
        let (signer, key) = (
            Signer::generate().unwrap(),
            Signer::generate().unwrap().public(),
        );
        for (age, timely) in [
            (0, true),
            (VALID + SKEW, true),
            (VALID + SKEW + 1, false),
            (-SKEW - 1, false),
        ] {
            let token = signer.sign(&CLAIM, NOW - age);
            assert_eq!(glance(token.as_bytes(), NOW).is_ok(), timely, "{age}");
            let refused = verify([&key], &CLAIM, token.as_bytes(), NOW).unwrap_err();
            assert_eq!(
                refused == TokenError::Unsigned,
                timely,
                "{age}: {refused:?}"
            );
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let signer = Signer::generate().unwrap();
        let good = signer.sign(&CLAIM, NOW);
        for bad in [
            "",
            "1",
            "1.",
            "1.5",
            "1.5.zz",
            &good[..good.len() - 1],
            &format!("{good}00"),
            &good.replacen('1', "2", 1),
        ] {
            assert_eq!(
                verify([&signer.public()], &CLAIM, bad.as_bytes(), NOW),
                Err(TokenError::Malformed),
                "{bad}"
            );
        }
        assert_eq!(
            verify([&signer.public()], &CLAIM, b"1.5.\xff", NOW),
            Err(TokenError::Malformed)
        );
    }

    #[test]
    fn the_two_newest_keys_are_kept_and_later_fields_are_ignored() {
        let key = |holder: &str| OperatorKey {
            public: Signer::generate().unwrap().public(),
            holder: holder.to_owned(),
        };
        let (a, b, c) = (key("a"), key("b"), key("c"));
        let keys = OperatorKeySet::default()
            .with(&a)
            .with(&b)
            .with(&b)
            .with(&c);
        assert_eq!(keys.keys, [c.clone(), b.clone()]);
        assert_eq!(
            keys.with(&b).keys,
            [b, c],
            "whoever leads again is the newest"
        );
        assert_eq!(OperatorKeySet::parse(&keys.to_json()), Ok(keys));
        let later = format!(
            r#"{{"keys": [{{"public": "{}", "since": 7}}], "schema": 2}}"#,
            a.public
        );
        assert_eq!(
            OperatorKeySet::parse(&later)
                .unwrap()
                .public()
                .collect::<Vec<_>>(),
            [&a.public]
        );
        assert!(
            OperatorKeySet::parse(r#"{"keys": [{"public": "00"}]}"#)
                .unwrap_err()
                .contains("64 hex digits")
        );
    }
}
