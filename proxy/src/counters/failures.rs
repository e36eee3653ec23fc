//! What is told of failures beside their number: statuses of error answers, and how many users gray's failures reached.
//! Nothing of it is made before the first failure, so that ordinary requests pay nothing.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use halftone_routing::sketch::{REGISTERS, UserHash, UserSketch};

use super::Counter;

/// Statuses that can be errors: 100..=599.
const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 500;

/// The failures of one cell. As with every count, one thread writes and any may read.
#[derive(Debug, Default)]
pub(super) struct Failures {
    statuses: OnceLock<Box<[Counter; STATUSES]>>,
    users: OnceLock<Box<[AtomicU8; REGISTERS]>>,
}

impl Failures {
    /// An answer with a status that is one of the release's `errorStatuses`.
    pub(super) fn add_status(&self, status: u16) {
        let statuses = self
            .statuses
            .get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
        let at = usize::from(status.wrapping_sub(FIRST_STATUS));
        statuses.get(at).into_iter().for_each(|count| count.add(1));
    }

    /// A failure reached this user.
    pub(super) fn add_user(&self, user: UserHash) {
        let registers = self
            .users
            .get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU8::default())));
        let (register, rank) = user.register();
        let register = &registers[usize::from(register)];
        if register.load(Relaxed) < rank {
            register.store(rank, Relaxed);
        }
    }

    pub(super) fn statuses(&self) -> BTreeMap<u16, u64> {
        let counts = self
            .statuses
            .get()
            .into_iter()
            .flat_map(|statuses| statuses.iter());
        (FIRST_STATUS..)
            .zip(counts.map(Counter::get))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    pub(super) fn users(&self) -> UserSketch {
        let mut users = UserSketch::default();
        let registers = self
            .users
            .get()
            .into_iter()
            .flat_map(|registers| registers.iter());
        (0..=u8::MAX)
            .zip(registers)
            .for_each(|(register, rank)| users.raise(register, rank.load(Relaxed)));
        users
    }
}
