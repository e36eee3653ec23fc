//! When to look through a map for entries that nobody uses any more.

/// The least number of entries that is worth a look.
const LEAST: usize = 64;

/// Says when a map with weak entries is due for a sweep: each time it has doubled since the last one. So the price per
/// entry stays the same however many there are.
#[derive(Debug)]
pub struct SweepSchedule {
    due_at: usize,
}

impl Default for SweepSchedule {
    fn default() -> Self {
        Self { due_at: LEAST }
    }
}

impl SweepSchedule {
    /// Whether a map with so many entries is to be swept.
    pub fn is_due(&self, entries: usize) -> bool {
        entries >= self.due_at
    }

    /// The map was swept, and so many entries are left.
    pub fn swept(&mut self, left: usize) {
        self.due_at = LEAST.max(2 * left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_swept_each_time_it_has_doubled() {
        let mut schedule = SweepSchedule::default();
        assert!(!schedule.is_due(63) && schedule.is_due(64));
        schedule.swept(50);
        assert!(!schedule.is_due(99) && schedule.is_due(100));
        schedule.swept(3);
        assert!(!schedule.is_due(63) && schedule.is_due(64));
    }
}
