//! Which stable servers of this machine's releases take connections. There is no readiness here as in a cluster, and without it
//! a rollback could send everyone to a server that is not there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use halftone_routing::config::arm::Backend;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How old an answer may be.
const FRESH: Duration = Duration::from_secs(2);
/// Whoever takes longer is there, though busy or far.
const PATIENCE: Duration = Duration::from_millis(250);
/// Addresses beyond count as there.
const MOST: usize = 256;

/// The addresses that refuse connections.
#[derive(Debug, Default)]
pub(super) struct Reach {
    asked: BTreeSet<SocketAddr>,
    dead: BTreeSet<SocketAddr>,
    looked: Option<Instant>,
}

impl Reach {
    /// Tries the addresses again, if the last answers are old or not about all of them.
    pub(super) async fn look(&mut self, addresses: BTreeSet<SocketAddr>) {
        let fresh = self.looked.is_some_and(|looked| looked.elapsed() < FRESH);
        if fresh && addresses.is_subset(&self.asked) {
            return;
        }
        let mut tries = JoinSet::new();
        for address in addresses.iter().copied().take(MOST) {
            tries.spawn(async move { refuses(address).await.then_some(address) });
        }
        self.dead = tries.join_all().await.into_iter().flatten().collect();
        (self.asked, self.looked) = (addresses, Some(Instant::now()));
    }

    /// How many servers of a backend do not refuse connections; all of a Service, which is not for this machine to ask.
    pub(super) fn count(&self, backend: &Backend) -> usize {
        match backend {
            Backend::Service(_) => usize::MAX,
            Backend::Addresses(addresses) => {
                addresses.as_ref().iter().filter(|address| !self.dead.contains(address)).count()
            }
        }
    }
}

async fn refuses(address: SocketAddr) -> bool {
    matches!(tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await, Ok(Err(_)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_server_counts_while_it_takes_connections() {
        let (there, gone) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = [there.local_addr().unwrap(), gone.local_addr().unwrap()];
        drop(gone);
        let backend = Backend::Addresses(addresses.to_vec().try_into().unwrap());
        let mut reach = Reach::default();
        assert_eq!(reach.count(&backend), 2, "nobody has looked yet");
        reach.look(addresses.into()).await;
        assert_eq!(reach.count(&backend), 1);
    }
}
