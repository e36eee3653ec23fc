//! Both bodies at once: the answer to the client, and what is left of the request to a backend that answers before it
//! has read everything. Each side is read and written as it is ready.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::deadlines::ExpiredDeadline;
use super::flow::FlowError;
use super::{Exchange, UpstreamResponse};
use crate::outcome::Ending;
use crate::stream::Stream;
use crate::upstream::BackendStream;

impl<C: Stream> Exchange<'_, C> {
    /// Relays the answer, whose head is written already, to its end. `Err`: how it broke off.
    pub(super) async fn relay(
        &mut self,
        backend: &mut BackendStream,
        answer: &UpstreamResponse,
    ) -> Result<(), Ending> {
        poll_fn(|cx| self.poll_relay(backend, answer, cx)).await
    }

    fn poll_relay(
        &mut self,
        backend: &mut BackendStream,
        answer: &UpstreamResponse,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Ending>> {
        let status = answer.status;
        if let Err(ending) = self.poll_download(backend, answer, cx) {
            return Poll::Ready(Err(ending));
        }
        self.upload_cut |= self.answer_ends_upload && self.download.is_done();
        if let Err(ending) = self.poll_rest(backend, status, cx) {
            return Poll::Ready(Err(ending));
        }
        if self.download.is_done() && (self.upload_cut || self.upload.is_done()) {
            return Poll::Ready(Ok(()));
        }
        match self.clock_during_answer(status) {
            Ok(()) => Poll::Pending,
            Err(ExpiredDeadline::Over(ending)) => Poll::Ready(Err(ending)),
            Err(_) if self.answer_ends_upload && !self.upload_cut => {
                self.upload_cut = true;
                self.poll_relay(backend, answer, cx)
            }
            Err(_) => self.cut_upload(Ending::ClientStalled(status)),
        }
    }

    fn poll_download(
        &mut self,
        backend: &mut BackendStream,
        answer: &UpstreamResponse,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        if self.download.is_done() {
            return Ok(());
        }
        let now = self.worker.ticker.now();
        let client = &mut self.client.stream;
        match self.download.poll(
            &self.worker.buffers,
            &mut self.answer,
            backend,
            client,
            now,
            cx,
        ) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(FlowError::Sink { .. })) => Err(Ending::ClientGoneAfter(answer.status)),
            Poll::Ready(Err(FlowError::Source))
                if self.keeps_waiting() || self.client_was_slow() =>
            {
                Err(Ending::ClientStalled(answer.status))
            }
            Poll::Ready(Err(FlowError::Source)) => Err(Ending::BrokenOff(answer.status)),
            // Nobody has seen the head yet: the answer is refused as a whole.
            Poll::Ready(Err(FlowError::Malformed(rule)))
                if self.download.cut_unsent(answer.head_at) =>
            {
                Err(Ending::Malformed(rule))
            }
            Poll::Ready(Err(FlowError::Malformed(rule))) => {
                Err(Ending::MalformedBody(answer.status, rule))
            }
        }
    }

    /// The rest of the request; where there is none, whether the client is still there.
    fn poll_rest(
        &mut self,
        backend: &mut BackendStream,
        status: u16,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let gone = Ending::ClientGoneAfter(status);
        if !self.upload_cut && !self.upload.is_done() {
            self.poll_upload_rest(backend, gone, cx)?;
        }
        // Also where the rest has only just ended: nobody else would wake for the client.
        let watch = (self.upload_cut || self.upload.is_done()) && !self.download.is_done();
        if watch && self.poll_gone(cx).is_ready() {
            Err(gone)
        } else {
            Ok(())
        }
    }

    fn poll_upload_rest(
        &mut self,
        backend: &mut BackendStream,
        gone: Ending,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let now = self.worker.ticker.now();
        let client = &mut *self.client;
        match self.upload.poll(
            &self.worker.buffers,
            &mut client.input,
            &mut client.stream,
            backend,
            now,
            cx,
        ) {
            Poll::Pending | Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(FlowError::Sink { lost })) => self.lose_backend(lost),
            Poll::Ready(Err(FlowError::Source | FlowError::Malformed(_)))
                if self.download.is_done() =>
            {
                self.upload_cut = true;
            }
            Poll::Ready(Err(FlowError::Source | FlowError::Malformed(_))) => return Err(gone),
        }
        Ok(())
    }

    /// The rest of the request does not come. Where the answer is complete already, it stays complete.
    fn cut_upload(&mut self, ending: Ending) -> Poll<Result<(), Ending>> {
        self.upload_cut = true;
        Poll::Ready(if self.download.is_done() {
            Ok(())
        } else {
            Err(ending)
        })
    }
}
