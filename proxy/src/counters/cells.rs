//! The counts of one worker in one stage: a cell for each charge, made when the first request is charged there.

use std::collections::BTreeMap;
use std::iter::successors;
use std::sync::{Arc, OnceLock};

use halftone_routing::document::limits::Quantile;
use halftone_routing::report::{Charge, ChosenBy, Counts, LimitEvents, Outcome};

use super::failures::Failures;
use super::{Arm, AtomicHistogram, Counter};

/// Absolute latency limits a document may carry: p50 p90 p95 p99 p999.
const LIMITS: usize = Quantile::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
/// One for each arm and `chosenBy`.
const SLOTS: usize = ChosenBy::ALL.len() * 2;

/// One worker's cells of one stage. That worker alone adds cells.
#[derive(Debug, Default)]
pub(super) struct CellTable {
    /// In each the cell of the charge that came first; further ones hang on it.
    slots: [OnceLock<Arc<Cell>>; SLOTS],
}

impl CellTable {
    /// The cell of a charge. Arm and `chosenBy` tell nearly all charges apart, so the first look finds it.
    #[inline]
    pub(super) fn cell(&self, charge: Charge) -> &Arc<Cell> {
        let mut place = &self.slots[slot(charge)];
        loop {
            let cell = place.get_or_init(|| Arc::new(Cell::new(charge)));
            if cell.charge == charge {
                return cell;
            }
            place = &cell.next;
        }
    }

    /// Every cell made so far.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.slots
            .iter()
            .flat_map(|slot| successors(slot.get(), |cell| cell.next.get()))
    }
}

fn slot(charge: Charge) -> usize {
    charge.chosen_by as usize * 2 + usize::from(charge.arm == Arm::Gray)
}

/// The counts of one charge of one worker. The worker that writes it has allocated it, among memory of its own, so it
/// shares no cache line with what another one writes.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) charge: Charge,
    pub(super) outcomes: [Counter; OUTCOMES],
    pub(super) within: [Counter; LIMITS],
    pub(super) over: [Counter; LIMITS],
    pub(super) retries: Counter,
    pub(super) fallbacks: Counter,
    pub(super) open_long: Counter,
    pub(super) answers: Counter,
    pub(super) latency: AtomicHistogram,
    pub(super) failures: Failures,
    next: OnceLock<Arc<Cell>>,
}

impl Cell {
    pub(super) fn new(charge: Charge) -> Self {
        Self {
            charge,
            outcomes: Default::default(),
            within: Default::default(),
            over: Default::default(),
            retries: Counter::default(),
            fallbacks: Counter::default(),
            open_long: Counter::default(),
            answers: Counter::default(),
            latency: AtomicHistogram::default(),
            failures: Failures::default(),
            next: OnceLock::new(),
        }
    }

    /// Each of these only rises, so their sum stays the same only if each does.
    pub(super) fn activity(&self) -> u64 {
        let counts = self.outcomes.iter().chain(&self.within).chain(&self.over);
        let counts = counts.chain([&self.retries, &self.fallbacks, &self.answers]);
        counts.map(Counter::get).fold(0, u64::wrapping_add)
    }

    pub(super) fn add_to(&self, sum: &mut Counts) {
        let outcomes = Outcome::ALL
            .iter()
            .zip(&self.outcomes)
            .map(|(&outcome, count)| (outcome, count.get()));
        let outcomes: BTreeMap<_, _> = outcomes.filter(|(_, count)| *count > 0).collect();
        let events = |limit: usize| LimitEvents {
            within: self.within[limit].get(),
            over: self.over[limit].get(),
        };
        let limits = Quantile::ALL
            .iter()
            .enumerate()
            .map(|(index, &limit)| (limit, events(index)));
        let limits = limits
            .filter(|(_, events)| *events != LimitEvents::default())
            .collect();
        sum.merge(&Counts {
            outcomes,
            error_statuses: self.failures.statuses(),
            failed_users: self.failures.users(),
            retries: self.retries.get(),
            fallbacks: self.fallbacks.get(),
            latency: self.latency.read(),
            limits,
            ..Counts::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use halftone_routing::report::{Cohort, Stratum};

    use super::*;

    #[test]
    fn a_cell_is_made_at_first_use_and_found_again_however_many_share_its_slot() {
        let table = CellTable::default();
        assert_eq!(table.iter().count(), 0);
        let split = Charge::new(Arm::Gray, ChosenBy::Split);
        let began = |number: u64| Stratum::Began(number.try_into().unwrap());
        let strata = [Stratum::Present, began(1), began(2), Stratum::Older];
        let of = |stratum, cohort| Charge {
            stratum,
            cohort,
            ..split
        };
        let charges =
            strata.map(|stratum| [of(stratum, Cohort::Next), of(stratum, Cohort::Everyone)]);
        let charges = charges.concat();
        let cells: Vec<_> = charges
            .iter()
            .map(|&charge| Arc::as_ptr(table.cell(charge)))
            .collect();
        let again: Vec<_> = charges
            .iter()
            .map(|&charge| Arc::as_ptr(table.cell(charge)))
            .collect();
        assert_eq!(cells, again);
        let made: Vec<_> = table.iter().map(|cell| cell.charge).collect();
        assert_eq!(made, charges);
    }
}
