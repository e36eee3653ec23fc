//! While an exchange waits for its client: what it holds is told to the worker, which ends the slowest where they hold
//! too much memory, too many backend connections of one arm beside those that have a place there, or the last places of
//! the proxy. While it waits for its backend, what is kept for its client is told as well, and given up where that is too
//! much: nobody is ended for it.

use super::Exchange;
use crate::local::capacity::ConnectionWait;
use crate::outcome::Ending;
use crate::stream::Stream;

/// What a client may send ahead however short memory is, in bytes.
const AHEAD: usize = 1024;

impl<C: Stream> Exchange<'_, C> {
    /// To be asked whenever it begins to wait for its client, which has moved so many bytes. `status`: that of the
    /// answer, once it is relayed.
    ///
    /// # Errors
    /// It was asked to leave.
    pub(super) fn wait_for_client(
        &mut self,
        moved: u64,
        status: Option<u16>,
    ) -> Result<(), Ending> {
        self.save_memory();
        let held = self.client.input.held()
            + self.upload.held()
            + self.download.held()
            + self.answer.held();
        let Some(owing) = self.place.owes(&self.order.arm, moved, held) else {
            self.client_goes_on();
            return Ok(());
        };
        // Whoever was to make room among those without a place has got one since.
        if !self.place.list() && self.client.timer.is_leaving() && !self.place.has_gained() {
            return Err(status.map_or(Ending::ClientTimeout, Ending::ClientStalled));
        }
        self.worker.wait_for(&self.client.timer, owing);
        let arm = &self.order.arm;
        if let Some(wait) = self
            .place
            .count_awaited(arm)
            .filter(|wait| arm.is_crowded(*wait))
        {
            // Where all the others are with other workers, one more of this worker stays.
            self.client.timer.displace(arm.key(), wait);
        }
        Ok(())
    }

    /// The client is not waited for, or no longer: what it has sent ahead, and what is kept for another try, is known to
    /// the worker all the same.
    pub(super) fn client_goes_on(&mut self) {
        if self.place.unlist() {
            self.download.limit_reads(false);
        }
        let short = self.worker.is_short_of_memory();
        self.upload.limit_reads(short);
        if short {
            if self.worker.exceeds_half_of_memory() {
                self.forget_ahead();
            }
            self.worker.buffers.shrink(&mut self.client.input);
        }
        self.client
            .timer
            .keep(self.client.input.held() + self.upload.held());
    }

    /// Drops what the client has sent beyond its request, but for a few requests like most. The connection closes after
    /// this answer, and a client that sends ahead is ready to ask again (RFC 9112 §9.3.2).
    fn forget_ahead(&mut self) {
        // What comes before a 101 is the tunnel's.
        if !self.upload.is_read() || self.order.websocket {
            return;
        }
        let taken = self.upload.payload();
        if self.client.input.len() > taken + AHEAD {
            self.order.keep_alive = false;
            // Its first byte tells that there was more.
            self.client.input.truncate(taken + 1);
        }
    }

    /// The exchange is over.
    pub(super) fn client_is_free(&mut self) {
        self.place.unlist();
        self.client.timer.wait(ConnectionWait::No);
    }

    fn save_memory(&mut self) {
        let buffers = &self.worker.buffers;
        if !self.place.is_held() {
            self.upload.slim(buffers);
        }
        if self.place.lasts() {
            self.download.limit_reads(true);
            self.download.slim(buffers);
            buffers.shrink(&mut self.answer);
            buffers.shrink(&mut self.client.input);
        }
    }

    /// Body bytes that the client has sent and taken.
    pub(super) fn moved_by_client(&self) -> u64 {
        self.upload.moved() + self.download.passed()
    }
}
