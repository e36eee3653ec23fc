//! Which servers cannot be reached, by address and error. The proxy counts that connections fail; of what and why a
//! person is told here, each change once. An address is tried only while requests to its arm fail to connect, or until
//! one that was dead answers again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use halftone_rollout::clock::Now;
use halftone_routing::config::arm::{Arm, Backend};
use halftone_routing::report::{Counts, Outcome};
use jiff::SignedDuration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::release::Release;

/// From one try of an address to the next.
const PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// Servers on the way to an answer take no longer; who does is told as such.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);

/// What is known of the addresses of all releases. [`super::reach`] decides by those of stable; this tells of all.
#[derive(Debug)]
pub(super) struct Unreachable {
    /// Those that are dead, and why.
    dead: BTreeMap<SocketAddr, String>,
    /// Those that are being tried, and when they may be again.
    tried: BTreeMap<SocketAddr, jiff::Timestamp>,
    answers: (mpsc::UnboundedSender<Tried>, mpsc::UnboundedReceiver<Tried>),
}

/// What came of a try.
type Tried = (SocketAddr, Result<(), String>);

impl Unreachable {
    pub(super) fn new() -> Self {
        Self { dead: BTreeMap::new(), tried: BTreeMap::new(), answers: mpsc::unbounded_channel() }
    }

    /// Tries the addresses of an arm whose requests `counts` failed to connect, and those known dead.
    pub(super) fn suspect<'a>(
        &mut self,
        release: &Release,
        counts: impl Iterator<Item = (Arm, &'a Counts)>,
        now: Now,
    ) {
        let failed: BTreeSet<Arm> = counts
            .filter(|(_, counts)| {
                [Outcome::ConnectFailure, Outcome::NoEndpoint]
                    .iter()
                    .any(|outcome| counts.outcomes.get(outcome).is_some_and(|count| *count > 0))
            })
            .map(|(arm, _)| arm)
            .collect();
        for arm in Arm::ALL {
            for address in addresses(release, arm) {
                if failed.contains(&arm) || self.dead.contains_key(&address) {
                    self.try_now(address, now);
                }
            }
        }
    }

    /// Tries all addresses of a release, as at the start.
    pub(super) fn try_all(&mut self, release: &Release, now: Now) {
        for arm in Arm::ALL {
            addresses(release, arm).into_iter().for_each(|address| self.try_now(address, now));
        }
    }

    fn try_now(&mut self, address: SocketAddr, now: Now) {
        if self.tried.get(&address).is_some_and(|until| now.steady < *until) {
            return;
        }
        self.tried.insert(address, now.steady.saturating_add(PAUSE).unwrap_or(now.steady));
        let answers = self.answers.0.clone();
        tokio::spawn(async move {
            let tried = match tokio::time::timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await {
                Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {CONNECTED_WITHIN:?}")),
            };
            // Who asked has ended.
            let _ = answers.send((address, tried));
        });
    }

    /// What has changed since the last time, in the words of a person who looks after these releases.
    pub(super) fn news(&mut self, releases: &BTreeMap<String, Release>) -> Vec<String> {
        let mut news = Vec::new();
        while let Ok((address, tried)) = self.answers.1.try_recv() {
            let was = self.dead.get(&address).cloned();
            match tried {
                Ok(()) if was.is_some() => {
                    self.dead.remove(&address);
                    news.push(format!("{}{address} answers again", whose(releases, address)));
                }
                Err(why) if was.as_ref() != Some(&why) => {
                    news.push(format!("{}{address} cannot be reached: {why}", whose(releases, address)));
                    self.dead.insert(address, why);
                }
                _ => {}
            }
        }
        news
    }
}

/// The addresses of an arm as it is live.
fn addresses(release: &Release, arm: Arm) -> Vec<SocketAddr> {
    let arm = release.document.as_ref().and_then(|document| document.arms.get(arm));
    match arm.map(|arm| &arm.backend) {
        Some(Backend::Addresses(addresses)) => addresses.as_ref().to_vec(),
        _ => Vec::new(),
    }
}

/// Which arm of which release has an address.
fn whose(releases: &BTreeMap<String, Release>, address: SocketAddr) -> String {
    let of = |release: &Release| {
        let arm = Arm::ALL.into_iter().find(|arm| addresses(release, *arm).contains(&address))?;
        let version = &release.document.as_ref()?.arms.get(arm)?.version;
        Some(format!("{}: {} ({version}) at ", release.name(), arm.name()))
    };
    releases.values().find_map(of).unwrap_or_default()
}
