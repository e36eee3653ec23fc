//! Who may read the protected pages: whoever has a bearer token of `--token-file`, and in a cluster the operator, whose
//! requests are signed with a key that it publishes (`halftone_daemon::token`). Two doors, each enough by itself, so
//! that operators and proxies of two versions understand each other during an upgrade.
//!
//! Anybody may ask, and a signature takes its time: one request is checked at a time, and what can be told without is.

use std::sync::{Arc, Mutex, PoisonError};

use halftone_daemon::token::{self, OperatorKeySet, PublicKey, TokenClaims, TokenError};
use halftone_routing::document::names::ObjectName;
use hyper::Request;
use hyper::header::AUTHORIZATION;
use jiff::Timestamp;

use super::tokens::Tokens;
use super::work_limiter::{WorkError, WorkLimiter};

/// Requests that are checked at once. That is thousands in a second, and one core that strangers can keep busy.
const CHECKS: usize = 1;
const TOKEN_NEEDED: &str = "this page needs a bearer token of --token-file";

/// The keys of operators as the ConfigMap `halftone-keys-CLASS` last had them.
#[derive(Debug, Default)]
pub(crate) struct TrustedKeys(Mutex<Vec<PublicKey>>);

impl TrustedKeys {
    /// Takes the text of the ConfigMap. Text that cannot be read leaves the keys as they were.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&self, text: &str) -> Result<(), String> {
        let keys = OperatorKeySet::parse(text)?.public().copied().collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn verify(&self, claim: &TokenClaims<'_>, given: &[u8]) -> Result<(), TokenError> {
        let keys = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        token::verify(&keys, claim, given, now())
    }
}

/// In seconds since 1970.
fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Who may read the protected pages of one proxy.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Bearer tokens, for people's tools.
    tokens: Option<Tokens>,
    /// Operators' keys; none without a cluster.
    pub(crate) keys: Option<Arc<TrustedKeys>>,
    class: ObjectName,
    instance: String,
    checks: WorkLimiter,
}

/// Why a request may not read its page.
#[derive(Debug)]
pub(crate) enum AccessDenied {
    /// It does not show that it may: what to do, for whoever asks.
    Unauthorized(String),
    /// Nobody has looked.
    Unchecked(WorkError),
}

impl Guard {
    pub(crate) fn new(
        tokens: Option<Tokens>,
        keys: Option<Arc<TrustedKeys>>,
        class: ObjectName,
        instance: String,
    ) -> Self {
        Self {
            tokens,
            keys,
            class,
            instance,
            checks: WorkLimiter::new(CHECKS),
        }
    }

    /// Whether everybody may read them, which the settings allow on loopback only.
    pub(crate) fn is_open(&self) -> bool {
        self.tokens.is_none() && self.keys.is_none()
    }

    /// Whether this request may read its page.
    ///
    /// # Errors
    /// It may not, or it could not be checked in time.
    pub(crate) async fn admit(self: &Arc<Self>, asked: PageRequest) -> Result<(), AccessDenied> {
        self.glance(&asked).map_err(AccessDenied::Unauthorized)?;
        let guard = Arc::clone(self);
        // The file of tokens is read for each request, and a signature takes its time.
        let checked = self
            .checks
            .take(move || guard.check(&asked))
            .await
            .map_err(AccessDenied::Unchecked)?;
        checked.map_err(AccessDenied::Unauthorized)
    }

    /// Refuses what no check could admit.
    fn glance(&self, asked: &PageRequest) -> Result<(), String> {
        if self.is_open() || (self.tokens.is_some() && asked.bearer.is_some()) {
            return Ok(());
        }
        match (&self.keys, &asked.signed) {
            (Some(_), Some(given)) => {
                token::glance(given, now()).map_err(|refused| refused.to_string())
            }
            _ => Err(TOKEN_NEEDED.to_owned()),
        }
    }

    fn check(&self, asked: &PageRequest) -> Result<(), String> {
        if self.is_open() {
            return Ok(());
        }
        if self
            .tokens
            .as_ref()
            .is_some_and(|tokens| tokens.allow(asked.bearer.as_deref()))
        {
            return Ok(());
        }
        match (&self.keys, &asked.signed) {
            (Some(keys), Some(given)) => {
                let claim = TokenClaims {
                    class: self.class.as_str(),
                    instance: &self.instance,
                    path: &asked.path,
                };
                keys.verify(&claim, given)
                    .map_err(|refused| refused.to_string())
            }
            _ => Err(TOKEN_NEEDED.to_owned()),
        }
    }
}

/// As much of a request as says who asks, and for what.
#[derive(Debug)]
pub(crate) struct PageRequest {
    path: String,
    bearer: Option<Vec<u8>>,
    signed: Option<Vec<u8>>,
}

impl PageRequest {
    /// That of this request.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let field = |name| {
            request
                .headers()
                .get(name)
                .map(|value| value.as_bytes().to_vec())
        };
        let path = request.uri().path().to_owned();
        Self {
            path,
            bearer: field(AUTHORIZATION.as_str()),
            signed: field(token::HEADER),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use halftone_daemon::token::{OperatorKey, SKEW, Signer, VALID};

    use super::*;

    fn guard(keys: &Arc<TrustedKeys>) -> Arc<Guard> {
        Arc::new(Guard::new(
            None,
            Some(Arc::clone(keys)),
            "default".parse().unwrap(),
            "pod-1".into(),
        ))
    }

    fn published(signer: &Signer) -> String {
        OperatorKeySet::default()
            .with(&OperatorKey {
                public: signer.public(),
                holder: "a".into(),
            })
            .to_json()
    }

    fn request(signer: &Signer, page: &str, age: i64) -> PageRequest {
        let claim = TokenClaims {
            class: "default",
            instance: "pod-1",
            path: "/report",
        };
        let token = signer.sign(&claim, Timestamp::now().as_second() - age);
        PageRequest::of(
            &Request::builder()
                .uri(page)
                .header(token::HEADER, token)
                .body(())
                .unwrap(),
        )
    }

    #[test]
    fn a_signed_request_opens_its_page_once_the_key_is_known() {
        let (keys, signer) = (Arc::<TrustedKeys>::default(), Signer::generate().unwrap());
        let guard = guard(&keys);
        assert!(
            guard
                .check(&request(&signer, "/report", 0))
                .unwrap_err()
                .contains("no known operator")
        );
        keys.take(&published(&signer)).unwrap();
        assert_eq!(
            guard.check(&request(&signer, "/report?since=00000000000000ff/1", 0)),
            Ok(())
        );
        assert!(
            guard.check(&request(&signer, "/config", 0)).is_err(),
            "another page"
        );
        let stale = guard
            .check(&request(&signer, "/report", VALID + SKEW + 60))
            .unwrap_err();
        assert!(stale.starts_with("ClockSkew"), "{stale}");
        assert!(
            guard
                .check(&PageRequest::of(&Request::new(())))
                .unwrap_err()
                .contains("--token-file")
        );
        assert!(keys.take("{").is_err());
        assert_eq!(
            guard.check(&request(&signer, "/report", 0)),
            Ok(()),
            "the keys read before go on"
        );
    }

    /// Its word against the request where no check comes: all turns are taken.
    async fn unchecked(guard: &Arc<Guard>, asked: PageRequest) -> Option<String> {
        match guard.admit(asked).await {
            Ok(()) => panic!("not checked"),
            Err(AccessDenied::Unauthorized(why)) => Some(why),
            Err(AccessDenied::Unchecked(_)) => None,
        }
    }

    #[tokio::test]
    async fn signatures_are_checked_in_turn_and_what_no_signature_could_mend_is_refused_without() {
        let (keys, signer) = (Arc::<TrustedKeys>::default(), Signer::generate().unwrap());
        keys.take(&published(&signer)).unwrap();
        let guard = guard(&keys);
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let busy = guard.checks.take(move || held.recv().unwrap_or_default());
        assert!(
            tokio::time::timeout(Duration::ZERO, busy).await.is_err(),
            "at work"
        );
        let refused = unchecked(&guard, request(&signer, "/report", VALID + SKEW + 60)).await;
        assert!(refused.is_some_and(|why| why.starts_with("ClockSkew")));
        let refused = unchecked(&guard, request(&signer, "/report", -VALID - SKEW - 60)).await;
        assert!(refused.is_some_and(|why| why.starts_with("ClockSkew")));
        let refused = unchecked(&guard, PageRequest::of(&Request::new(()))).await;
        assert!(refused.is_some_and(|why| why.contains("--token-file")));
        let timely =
            tokio::time::timeout(Duration::ZERO, guard.admit(request(&signer, "/report", 0))).await;
        assert!(timely.is_err(), "it waits for its turn");
        drop(go_on);
        assert!(guard.admit(request(&signer, "/report", 0)).await.is_ok());
    }
}
