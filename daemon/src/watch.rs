//! One kind of object being watched: kube's watcher, with pauses after errors that grow and differ from process to
//! process, so that not all of them come back at once.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::runtime::watcher::{self, Config, Error, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

/// The pauses after errors, which double; the real one is between half of it and all.
#[derive(Clone, Copy, Debug)]
pub struct WatchBackoff {
    /// After the first error.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

/// A watch that never ends.
pub struct Watcher<K> {
    api: Api<K>,
    config: Config,
    pauses: WatchBackoff,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    failures: u32,
    paused_until: Option<Instant>,
}

impl<K> Watcher<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Begins to watch what the configuration selects.
    #[must_use]
    pub fn new(api: Api<K>, config: Config, pauses: WatchBackoff) -> Self {
        let events = watcher(api.clone(), config.clone()).boxed();
        Self {
            api,
            config,
            pauses,
            events,
            failures: 0,
            paused_until: None,
        }
    }

    /// The next event or error. Loses nothing when it is dropped before that.
    ///
    /// # Errors
    /// The API server is away or refuses; the next call goes on after a pause.
    pub async fn next(&mut self) -> Result<Event<K>, Error> {
        if let Some(until) = self.paused_until {
            sleep_until(until).await;
            self.paused_until = None;
        }
        match self.events.next().await {
            Some(Ok(event)) => {
                // A list that only begins proves nothing yet.
                if !matches!(event, Event::Init) {
                    self.failures = 0;
                }
                Ok(event)
            }
            Some(Err(error)) => {
                self.paused_until =
                    Some(Instant::now() + pause(self.pauses, self.failures, rand::random()));
                self.failures = self.failures.saturating_add(1);
                if is_gone(&error) {
                    self.restart();
                }
                Err(error)
            }
            None => {
                self.restart();
                Err(Error::NoResourceVersion)
            }
        }
    }

    fn restart(&mut self) {
        self.events = watcher(self.api.clone(), self.config.clone()).boxed();
    }
}

/// Whether the API server refuses to go on from where we are. Said within a watch, kube's watcher lists anew by
/// itself; said in place of a watch, it would ask again for ever.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// How long to wait after so many failures in a row; `chance` in [0, 1).
fn pause(WatchBackoff { first, longest }: WatchBackoff, failures: u32, chance: f64) -> Duration {
    let full = first.saturating_mul(1 << failures.min(16)).min(longest);
    full.mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_differ() {
        let pauses = WatchBackoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        };
        for (failures, least, most) in [
            (0, 50, 100),
            (1, 100, 200),
            (3, 400, 800),
            (4, 500, 1000),
            (99, 500, 1000),
        ] {
            assert_eq!(
                pause(pauses, failures, 0.0),
                Duration::from_millis(least),
                "{failures}"
            );
            let longest = pause(pauses, failures, 0.999_999);
            assert!(
                longest > Duration::from_millis(most - 1) && longest < Duration::from_millis(most)
            );
        }
    }
}
