//! The other arm answers where no endpoint of the one that was meant takes a connection. Nothing has been sent then, so
//! the same request goes on, with its head changed in the two places where arms differ: path prefix and version.

use halftone_routing::report::Outcome;

use super::{Attempts, Exchange};
use crate::http1::write;
use crate::stream::Stream;

impl<C: Stream> Exchange<'_, C> {
    /// Another arm could take the request.
    pub(super) fn has_other(&self) -> bool {
        self.order
            .other
            .as_ref()
            .is_some_and(|other| !other.pool.is_empty())
    }

    /// Turns to the other arm, if there is one and the request is still whole. It is charged to the arm that was meant, as
    /// one without an endpoint, and counts nowhere else.
    pub(super) fn fall_back(&mut self) -> bool {
        if !self.has_other() || !self.upload.is_whole() {
            return false;
        }
        let Some(other) = self.order.other.take() else {
            return false;
        };
        let (from, to) = (self.order.arm.stamp(), other.stamp());
        let Some(head) = write::change_arm(self.upload.head(), &from, &to) else {
            return false;
        };
        self.upload.rewind();
        self.upload.replace_head(&head);
        self.order.cell.fallback();
        self.order.cell.outcome(Outcome::NoEndpoint);
        self.order.fallback = true;
        self.order.arm = other;
        self.place.give_up();
        self.tries = Attempts::default();
        (self.upload_cut, self.kept_waiting) = (false, false);
        self.download.mend();
        true
    }
}
