//! Whether this process may act on a fleet at this moment. `leader_elector.rs` says so, and every write asks first: a process
//! that was stopped for a while finds out here that its time is over.

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Error;

/// Where this process stands in the election of a fleet; see [`Role`](crate::leader_election::LeaderRole).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaderTerm {
    /// Somebody else acts.
    Following,
    /// We act, until then.
    Leading {
        /// When our time is over unless it is renewed.
        until: Instant,
    },
    /// Our time is over and nobody else has begun to act as far as we know.
    Unsure,
}

/// Leave to act on one fleet, while there is any.
#[derive(Debug, Clone)]
pub struct LeaderMandate(watch::Receiver<LeaderTerm>);

impl LeaderMandate {
    /// What the election says from now on.
    #[must_use]
    pub fn new(terms: watch::Receiver<LeaderTerm>) -> Self {
        Self(terms)
    }

    /// When the present leave ends.
    ///
    /// # Errors
    /// There is none.
    pub fn check(&self) -> Result<Instant, Error> {
        match *self.0.borrow() {
            LeaderTerm::Leading { until } if Instant::now() < until => Ok(until),
            _ => Err(Error::NotLeading),
        }
    }

    /// Where we stand.
    #[must_use]
    pub fn term(&self) -> LeaderTerm {
        *self.0.borrow()
    }

    /// Returns when that has changed; never once the election is over.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
