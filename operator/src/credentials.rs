//! How the operator shows the proxies of a fleet who asks for their reports: each request is signed with the key of this
//! process, whose public half is published in the ConfigMap `halftone-keys-CLASS` as soon as we lead. Proxies of version
//! 0.1 know no keys, so the token of the fleet's Secret goes along where one is mounted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halftone_daemon::files;
use halftone_daemon::token::{self, OperatorKey, Signer, TokenClaims};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api_client::ApiClient;
use crate::error::Error;
use crate::lock::lock;
use crate::names;
use crate::objects::{self, FleetRef};

/// The page with a proxy's report.
pub const REPORT: &str = "/report";
/// Proxies hear of a new key within this time. One that refuses a request before is not lost: it is asked again.
pub const SPREADING: Duration = Duration::from_secs(5);

/// The largest token file that is read, in bytes.
const LARGEST_TOKEN: u64 = 64 << 10;

/// What this process has to show to the proxies of one fleet.
#[derive(Debug)]
pub struct Credentials {
    fleet: FleetRef,
    signer: Arc<Signer>,
    /// The name of this process, for people.
    holder: String,
    /// The file with the fleet's bearer token, if there is one.
    bearer: PathBuf,
    cluster: ApiClient,
    publication: Mutex<Publication>,
}

/// Where our key is.
#[derive(Debug, Clone, Copy)]
struct Publication {
    /// When the ConfigMap has to be looked at next; none for not before a proxy refuses us.
    due: Option<Instant>,
    /// When it was last looked at.
    looked: Instant,
    /// Since when proxies can have heard of the key: we lead, or wrote it, since then.
    since: Instant,
}

impl Publication {
    fn begin() -> Self {
        let now = Instant::now();
        Self {
            due: Some(now),
            looked: now,
            since: now,
        }
    }

    fn refused(&mut self, now: Instant) -> bool {
        let may_be_new = now.duration_since(self.since) < SPREADING;
        if !may_be_new && now.duration_since(self.looked) >= SPREADING {
            self.due = Some(now);
        }
        may_be_new
    }

    fn looked(&mut self, written: Option<bool>, now: Instant) {
        self.looked = now;
        match written {
            Some(written) => {
                self.due = None;
                if written {
                    self.since = now;
                }
            }
            None => self.due = Some(now + SPREADING),
        }
    }
}

impl Credentials {
    /// Those of a process that signs with `signer`, for one fleet.
    #[must_use]
    pub fn new(
        fleet: FleetRef,
        (signer, holder): (Arc<Signer>, &str),
        bearer: PathBuf,
        cluster: ApiClient,
    ) -> Self {
        let publication = Mutex::new(Publication::begin());
        Self {
            fleet,
            signer,
            holder: holder.to_owned(),
            bearer,
            cluster,
            publication,
        }
    }

    /// We lead from now on: whoever led before may have published its own key.
    pub fn lead(&self) {
        *lock(&self.publication) = Publication::begin();
    }

    /// Whether the ConfigMap has to be looked at.
    #[must_use]
    pub fn is_due(&self) -> bool {
        lock(&self.publication)
            .due
            .is_some_and(|due| due <= Instant::now())
    }

    /// A proxy does not know our key. Says whether it may just not have heard of it yet; if it should have, the
    /// ConfigMap is looked at again, since somebody may have deleted or edited it.
    pub fn refused(&self) -> bool {
        lock(&self.publication).refused(Instant::now())
    }

    /// Publishes the key, unless it is there as the newest.
    ///
    /// # Errors
    /// It could not be read or written; the next try is due after [`SPREADING`].
    pub async fn publish(&self) -> Result<(), Error> {
        lock(&self.publication).due = None;
        let written = self.write().await;
        lock(&self.publication).looked(written.as_ref().ok().copied(), Instant::now());
        written.map(drop)
    }

    /// Says whether it had to be written.
    async fn write(&self) -> Result<bool, Error> {
        let name = names::keys_config_map(&self.fleet.class);
        let live = self
            .cluster
            .config_map(self.fleet.namespace.as_str(), &name)
            .await?;
        let keys = live.as_ref().and_then(objects::keys);
        let ours = OperatorKey {
            public: self.signer.public(),
            holder: self.holder.clone(),
        };
        let wanted = keys.clone().unwrap_or_default().with(&ours);
        let version = live.and_then(|live| live.metadata.resource_version);
        if keys.as_ref() == Some(&wanted) {
            return Ok(false);
        }
        let object = objects::keys_config_map(&self.fleet, &wanted, version.as_deref());
        self.cluster.apply(&object).await?;
        tracing::info!(fleet = %self.fleet.class, configmap = name, "our key is published");
        Ok(true)
    }

    /// The fields of a request for the report of the proxy of this pod.
    #[must_use]
    pub fn fields(&self, pod: &str) -> HeaderMap {
        let claim = TokenClaims {
            class: self.fleet.class.as_str(),
            instance: pod,
            path: REPORT,
        };
        let signed = self.signer.sign(&claim, Timestamp::now().as_second());
        let fields = [
            (token::HEADER, Some(signed)),
            (AUTHORIZATION.as_str(), self.bearer()),
        ];
        let fields = fields.into_iter().filter_map(|(name, text)| {
            let mut value = HeaderValue::try_from(text?).ok()?;
            value.set_sensitive(true);
            Some((name.parse().ok()?, value))
        });
        fields.collect()
    }

    /// The token as it is now: it may be replaced while we run. Without a Secret there is none.
    fn bearer(&self) -> Option<String> {
        // A small file in memory: not worth a thread.
        let text = files::read_text(&self.bearer, LARGEST_TOKEN).ok()?;
        let token = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        Some(format!("Bearer {token}"))
    }
}

#[cfg(test)]
mod tests {
    use halftone_daemon::token::OperatorKeySet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_soon_after_an_election_is_patience_and_later_a_reason_to_look() {
        let mut publication = Publication::begin();
        let start = publication.since;
        publication.looked(Some(true), start);
        assert!(
            publication.refused(start + SPREADING / 2),
            "the proxy may not have heard of the key yet"
        );
        assert_eq!(publication.due, None);
        let later = start + SPREADING;
        assert!(!publication.refused(later), "it should have");
        assert_eq!(
            publication.due,
            Some(later),
            "somebody may have deleted the ConfigMap"
        );
        publication.looked(Some(false), later);
        assert!(
            !publication.refused(later + SPREADING / 2),
            "the key was there: nothing to wait for"
        );
        assert_eq!(publication.due, None, "and it was just looked at");
        publication.looked(None, later);
        assert_eq!(
            publication.due,
            Some(later + SPREADING),
            "what failed is tried again"
        );
        publication.looked(Some(true), later);
        assert!(
            publication.refused(later + SPREADING / 2),
            "it was put back just now"
        );
    }

    #[test]
    fn a_config_map_of_keys_is_read_back_and_one_that_was_edited_is_written_again() {
        let fleet = FleetRef {
            class: "default".parse().unwrap(),
            namespace: "halftone".parse().unwrap(),
        };
        let key = OperatorKey {
            public: Signer::generate().unwrap().public(),
            holder: "a".into(),
        };
        let keys = OperatorKeySet::default().with(&key);
        let mut object = objects::keys_config_map(&fleet, &keys, None);
        let labels = object.metadata.labels.clone().unwrap();
        assert_eq!(
            labels.get("halftone.dev/fleet").map(String::as_str),
            Some("default")
        );
        assert!(
            !labels.contains_key("halftone.dev/class"),
            "0.1 proxies would take it for a document"
        );
        assert_eq!(objects::keys(&object), Some(keys));
        object.metadata.labels = None;
        assert_eq!(
            objects::keys(&object),
            None,
            "without its labels no proxy finds it"
        );
        let mut object = objects::keys_config_map(&fleet, &OperatorKeySet::default(), None);
        object
            .data
            .as_mut()
            .unwrap()
            .insert(names::KEYS_KEY.to_owned(), "{".to_owned());
        assert_eq!(objects::keys(&object), None);
    }
}
