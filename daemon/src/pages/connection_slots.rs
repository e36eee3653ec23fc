//! Who is connected, and who has to make room. A newcomer always gets a place: if all are taken, or all that one
//! address may have, it is that of the connection which has done nothing for longest.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::activity::Activity;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    most: usize,
    most_of_one: usize,
    taken: Mutex<SlotTable>,
}

#[derive(Debug, Default)]
struct SlotTable {
    next: u64,
    guests: HashMap<u64, SlotHolder>,
}

#[derive(Debug)]
struct SlotHolder {
    network: IpAddr,
    activity: Arc<Activity>,
    needed: Arc<Notify>,
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    seats: Arc<ConnectionSlots>,
    number: u64,
    activity: Arc<Activity>,
    needed: Arc<Notify>,
}

impl ConnectionSlots {
    /// So many places in all, and of one address.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            most,
            most_of_one,
            taken: Mutex::default(),
        }
    }

    /// A place for a connection from this address.
    pub(super) fn take(seats: &Arc<Self>, peer: IpAddr) -> ConnectionSlot {
        let (activity, needed) = (Arc::<Activity>::default(), Arc::<Notify>::default());
        let network = network(peer);
        let mut taken = seats.lock();
        if taken.of(network).count() >= seats.most_of_one {
            let longest = taken
                .of(network)
                .max_by_key(|(_, guest)| guest.activity.still())
                .map(|(at, _)| at);
            taken.ask_to_leave(longest);
        } else if taken.guests.len() >= seats.most {
            let longest = taken
                .guests
                .iter()
                .max_by_key(|(_, guest)| guest.activity.still())
                .map(|(at, _)| *at);
            taken.ask_to_leave(longest);
        }
        let number = taken.next;
        taken.next += 1;
        let guest = SlotHolder {
            network,
            activity: Arc::clone(&activity),
            needed: Arc::clone(&needed),
        };
        taken.guests.insert(number, guest);
        drop(taken);
        ConnectionSlot {
            seats: Arc::clone(seats),
            number,
            activity,
            needed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotTable> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotTable {
    fn of(&self, network: IpAddr) -> impl Iterator<Item = (u64, &SlotHolder)> {
        self.guests
            .iter()
            .filter(move |(_, guest)| guest.network == network)
            .map(|(at, guest)| (*at, guest))
    }

    /// Its place counts as free at once, so that the next newcomer asks somebody else.
    fn ask_to_leave(&mut self, number: Option<u64>) {
        if let Some(guest) = number.and_then(|number| self.guests.remove(&number)) {
            guest.needed.notify_one();
        }
    }
}

impl ConnectionSlot {
    /// What the connection does.
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Returns when somebody else needs the place.
    pub(super) async fn is_needed(&self) {
        self.needed.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.seats.lock().guests.remove(&self.number);
    }
}

/// Whoever has one IPv6 address mostly has the 2^64 of its network.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "in tests a failed assumption should end the test"
    )]

    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn has_to_go(seat: &ConnectionSlot) -> bool {
        tokio::time::timeout(Duration::ZERO, seat.is_needed())
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_did_nothing_for_longest_makes_room_first_of_its_own_address() {
        let seats = Arc::new(ConnectionSlots::new(4, 2));
        let mut taken = Vec::new();
        for peer in ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            taken.push(ConnectionSlots::take(&seats, address(peer)));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        taken[0].activity().touch();
        let _same_address = ConnectionSlots::take(&seats, address("10.0.0.1"));
        assert!(
            !has_to_go(&taken[0]).await
                && has_to_go(&taken[1]).await
                && !has_to_go(&taken[2]).await
        );
        let _full = ConnectionSlots::take(&seats, address("10.0.0.4"));
        assert!(
            !has_to_go(&taken[0]).await
                && has_to_go(&taken[2]).await
                && !has_to_go(&taken[3]).await
        );
        assert_eq!(seats.lock().guests.len(), 4);
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_ends() {
        let seats = Arc::new(ConnectionSlots::new(2, 2));
        for _ in 0..5 {
            let seat = ConnectionSlots::take(&seats, address("::1"));
            assert!(!has_to_go(&seat).await);
        }
        assert!(seats.lock().guests.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        assert_eq!(
            network(address("2001:db8::1")),
            network(address("2001:db8::ffff:1"))
        );
        assert_ne!(
            network(address("2001:db8::1")),
            network(address("2001:db8:0:1::1"))
        );
        assert_eq!(network(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }
}
