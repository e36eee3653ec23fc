//! Which servers of this machine's releases take connections. There is no readiness here as in a cluster: without it a
//! rollback could send everyone to a server that is not there, and nobody would be told which one is missing. One
//! prober for both, so that what is decided and what is told never differ.
//!
//! Dead is what the proxy cannot reach either: an address that refuses, or takes no connection within a second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use halftone_routing::document::arm::Backend;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// As long as the proxy waits for a connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
/// From one try of an address to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// How old an answer may be that is decided by.
const FRESH: Duration = Duration::from_secs(2);
/// How long a decision waits for answers; of who takes longer the last answer stands.
const PATIENCE: Duration = Duration::from_millis(250);
/// Addresses beyond are not looked at, and count as there.
const MOST: usize = 256;

/// What is known of addresses.
#[derive(Debug)]
pub(super) struct Prober {
    known: BTreeMap<SocketAddr, ProbeRecord>,
    answers: (
        mpsc::UnboundedSender<ProbeResult>,
        mpsc::UnboundedReceiver<ProbeResult>,
    ),
}

/// What is known of one address.
#[derive(Debug)]
struct ProbeRecord {
    /// When the last try began.
    began: Instant,
    under_way: bool,
    /// Why it cannot be reached.
    dead: Option<String>,
    /// The same as it was last told.
    told: Option<String>,
}

/// What came of a try: why the address is dead, if it is.
type ProbeResult = (SocketAddr, Option<String>);

impl Prober {
    pub(super) fn new() -> Self {
        Self {
            known: BTreeMap::new(),
            answers: mpsc::unbounded_channel(),
        }
    }

    /// Tries an address, unless that was done just now.
    pub(super) fn try_now(&mut self, address: SocketAddr) {
        self.try_after(address, PAUSE);
    }

    /// Tries those addresses whose last answers are old, and waits a moment for the new ones.
    pub(super) async fn look(&mut self, addresses: &BTreeSet<SocketAddr>) {
        for address in addresses.iter().take(MOST) {
            self.try_after(*address, FRESH);
        }
        let over = tokio::time::sleep(PATIENCE);
        tokio::pin!(over);
        while addresses
            .iter()
            .any(|address| self.known.get(address).is_some_and(|known| known.under_way))
        {
            tokio::select! {
                Some(tried) = self.answers.1.recv() => self.take(tried),
                () = &mut over => return,
            }
        }
    }

    /// Whether an address was dead when it was last tried.
    pub(super) fn is_dead(&self, address: &SocketAddr) -> bool {
        self.known
            .get(address)
            .is_some_and(|known| known.dead.is_some())
    }

    /// How many servers of a backend are not dead; all of a Service, which is not for this machine to ask.
    pub(super) fn count(&self, backend: &Backend) -> usize {
        match backend {
            Backend::Service(_) => usize::MAX,
            Backend::Addresses(addresses) => addresses
                .as_ref()
                .iter()
                .filter(|address| !self.is_dead(address))
                .count(),
        }
    }

    /// What has changed since this was last asked: which addresses are dead, and why, or answer again. Nothing is
    /// remembered of others than those that are `named`.
    pub(super) fn news(&mut self, named: &BTreeSet<SocketAddr>) -> Vec<ProbeResult> {
        while let Ok(tried) = self.answers.1.try_recv() {
            self.take(tried);
        }
        self.known.retain(|address, _| named.contains(address));
        let mut news = Vec::new();
        for (address, known) in &mut self.known {
            if known.dead != known.told {
                known.told.clone_from(&known.dead);
                news.push((*address, known.dead.clone()));
            }
        }
        news
    }

    fn try_after(&mut self, address: SocketAddr, pause: Duration) {
        let now = Instant::now();
        let rests =
            |known: &ProbeRecord| known.under_way || now.duration_since(known.began) < pause;
        if self.known.get(&address).is_some_and(rests) {
            return;
        }
        let unknown = ProbeRecord {
            began: now,
            under_way: true,
            dead: None,
            told: None,
        };
        let known = self.known.entry(address).or_insert(unknown);
        (known.began, known.under_way) = (now, true);
        let answers = self.answers.0.clone();
        tokio::spawn(async move {
            // Who asked has ended.
            let _ = answers.send((address, connect(address).await.err()));
        });
    }

    fn take(&mut self, (address, dead): ProbeResult) {
        if let Some(known) = self.known.get_mut(&address) {
            (known.dead, known.under_way) = (dead, false);
        }
    }
}

async fn connect(address: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(drop).map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {CONNECTED_WITHIN:?}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn two() -> (TcpListener, [SocketAddr; 2]) {
        let (there, gone) = (
            TcpListener::bind("127.0.0.1:0").unwrap(),
            TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        let addresses = [there.local_addr().unwrap(), gone.local_addr().unwrap()];
        (there, addresses)
    }

    #[tokio::test]
    async fn what_is_decided_by_and_what_is_told_are_the_same() {
        let (_there, addresses) = two();
        let (backend, named) = (
            Backend::Addresses(addresses.to_vec().try_into().unwrap()),
            BTreeSet::from(addresses),
        );
        let mut probes = Prober::new();
        assert_eq!(probes.count(&backend), 2, "nobody has looked yet");
        probes.look(&named).await;
        assert_eq!(probes.count(&backend), 1);
        let news = probes.news(&named);
        assert!(
            matches!(&news[..], [(address, Some(why))] if *address == addresses[1] && why.contains("refused")),
            "{news:?}"
        );
        assert_eq!(probes.news(&named), [], "told once");
        tokio::time::sleep(FRESH).await;
        let _again = TcpListener::bind(addresses[1]).unwrap();
        probes.look(&named).await;
        assert_eq!(probes.count(&backend), 2);
        assert_eq!(probes.news(&named), [(addresses[1], None)]);
    }

    /// A listener whose queue is full takes no further connection.
    #[tokio::test]
    async fn a_server_that_takes_no_connection_in_time_is_dead_to_both_and_holds_nobody_up() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let address = full.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queued.push(stream);
        }
        let (backend, named) = (
            Backend::Addresses(vec![address].try_into().unwrap()),
            BTreeSet::from([address]),
        );
        let mut probes = Prober::new();
        probes.look(&named).await;
        assert_eq!(
            (probes.count(&backend), probes.news(&named).len()),
            (1, 0),
            "not known yet"
        );
        tokio::time::sleep(CONNECTED_WITHIN).await;
        probes.look(&named).await;
        assert_eq!(probes.count(&backend), 0);
        assert_eq!(
            probes.news(&named),
            [(address, Some("no answer within 1s".to_owned()))]
        );
    }

    #[tokio::test]
    async fn an_address_that_nobody_names_any_more_is_forgotten() {
        let (_there, addresses) = two();
        let mut probes = Prober::new();
        probes.look(&addresses.into()).await;
        assert_eq!(probes.news(&BTreeSet::new()), []);
        assert!(probes.known.is_empty());
    }
}
