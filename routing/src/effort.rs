//! What comparing one request with rules and `exclude` may take. Values are long because whoever sends them says so,
//! and conditions are many because whoever writes them says so; a worker serves everybody else as well. So each
//! comparison is charged before it is made, by what it takes at worst, whatever the engine then makes of it: which
//! requests are given up depends on the document and the request alone, never on what a thread has in its caches.

use std::cell::Cell;

/// Steps that the comparisons of one request may take together. A step is a byte looked at, or one place of a regular
/// expression tried at one byte: some nanoseconds.
pub(crate) const MOST: u64 = 4 << 20;

/// What is left of [`MOST`] for one request.
#[derive(Debug)]
pub(crate) struct Effort(Cell<u64>);

impl Effort {
    /// All of it.
    pub(crate) const fn new() -> Self {
        Self(Cell::new(MOST))
    }

    /// Takes so many steps; `false` if they are not left, and from then on.
    #[inline]
    pub(crate) fn spend(&self, steps: u64) -> bool {
        let left = self.0.get().saturating_sub(steps);
        self.0.set(left);
        left > 0
    }

    /// Whether the request has had all of it: nothing more is compared.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_stays_spent() {
        let effort = Effort::new();
        assert!(effort.spend(MOST - 1) && !effort.is_spent());
        assert!(!effort.spend(2) && effort.is_spent() && !effort.spend(0));
    }
}
