//! While an exchange waits for its client: what it holds is told to the worker, which ends the slowest where they hold
//! too much memory, too many backend connections of one arm beside those that have a place there, or the last places of
//! the proxy.

use super::Exchange;
use crate::outcome::Ending;
use crate::stream::Stream;
use crate::worker::room::Waiting;

impl<C: Stream> Exchange<'_, C> {
    /// To be asked whenever it begins to wait for its client, which has moved so many bytes. `status`: that of the
    /// answer, once it is relayed.
    ///
    /// # Errors
    /// It was asked to leave, or there is no room for it.
    pub(super) fn wait_for_client(&mut self, moved: u64, status: Option<u16>) -> Result<(), Ending> {
        self.save_memory();
        let held = self.client.input.held() + self.upload.held() + self.download.held() + self.answer.held();
        let Some(owing) = self.place.owes(&self.order.arm, moved, held) else {
            self.client_goes_on();
            return Ok(());
        };
        if !self.place.list() && self.client.timer.is_leaving() {
            return Err(status.map_or(Ending::ClientTimeout, Ending::ClientStalled));
        }
        self.client.timer.wait(Waiting::Client(owing));
        self.worker.bound_held();
        let arm = &self.order.arm;
        if self.place.count_awaited(arm)
            && arm.is_crowded()
            && !self.client.timer.displace(arm.key())
            && status.is_none()
        {
            return Err(Ending::Crowded);
        }
        Ok(())
    }

    /// The client is not waited for any more.
    pub(super) fn client_goes_on(&mut self) {
        if self.place.unlist() {
            self.download.be_thrifty(false);
            self.client.timer.wait(Waiting::No);
        }
    }

    fn save_memory(&mut self) {
        let buffers = &self.worker.buffers;
        if !self.place.is_held() {
            self.upload.slim(buffers);
        }
        if self.place.lasts() {
            self.download.be_thrifty(true);
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
