//! From the request to the head of its answer. A request that is here as a whole, as most are, goes out with its first
//! write; then only the answer and the client's leaving are waited for.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::deadlines::ExpiredDeadline;
use super::flow::{FlowError, FlowWait};
use super::{AttemptError, Exchange, UpstreamConnection, UpstreamResponse};
use crate::http1::write::{self, ResponseRewrite};
use crate::http1::{
    BodyLength, FieldSlots, HeadSearch, HttpVersion, MAX_INTERIM, MessageError, ResponseContext,
    ResponseHead, deliver, parse_response,
};
use crate::outcome::Ending;
use crate::retry::{AttemptFailure, RetryDecision};
use crate::stream::Stream;
use crate::upstream::BackendStream;

/// The answers' heads on one connection.
struct Heads {
    /// Bytes of interim answers.
    interim: usize,
    received: bool,
    reused: bool,
}

impl<C: Stream> Exchange<'_, C> {
    /// Sends the request and waits for the head of the final answer. Interim answers go to the client meanwhile.
    pub(super) async fn until_answer(
        &mut self,
        connection: &mut UpstreamConnection,
    ) -> Result<UpstreamResponse, AttemptError> {
        self.client
            .search
            .begin(&HeadSearch::response(self.order.arm.strictness()));
        let mut heads = Heads {
            interim: 0,
            received: false,
            reused: connection.reused,
        };
        poll_fn(|cx| self.poll_answer(&mut heads, &mut connection.stream, cx)).await
    }

    fn poll_answer(
        &mut self,
        heads: &mut Heads,
        backend: &mut BackendStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<UpstreamResponse, AttemptError>> {
        if let Err(ending) = self.poll_upload(backend, cx) {
            return Poll::Ready(Err(AttemptError::Over(ending)));
        }
        loop {
            match self.take_heads(heads) {
                Ok(Some(answer)) => return Poll::Ready(Ok(answer)),
                Ok(None) => {}
                Err(failed) => return Poll::Ready(Err(failed)),
            }
            match self.worker.buffers.poll_read(&mut self.answer, backend, cx) {
                Poll::Pending => break,
                // A backend that gives up on a request whose client keeps the rest of it back, or sends it in drops.
                Poll::Ready(Ok(0) | Err(_)) if self.keeps_waiting() => {
                    return Poll::Ready(Err(AttemptError::Over(Ending::ClientTimeout)));
                }
                Poll::Ready(Ok(0) | Err(_)) => {
                    return Poll::Ready(Err(heads.failed(AttemptFailure::Lost, Ending::Reset)));
                }
                Poll::Ready(Ok(_)) => heads.received = true,
            }
        }
        if self.poll_client(cx).is_ready() {
            return Poll::Ready(Err(AttemptError::Over(self.gone())));
        }
        match self.clock_before_answer() {
            Ok(()) => Poll::Pending,
            Err(ExpiredDeadline::Over(ending)) => Poll::Ready(Err(AttemptError::Over(ending))),
            Err(ExpiredDeadline::Continue) => {
                self.ask_for_body();
                self.poll_answer(heads, backend, cx)
            }
            Err(_) if self.kept_waiting => {
                Poll::Ready(Err(AttemptError::Over(Ending::ClientTimeout)))
            }
            Err(_) => Poll::Ready(Err(
                heads.failed(AttemptFailure::HeadTimeout, Ending::HeadTimeout)
            )),
        }
    }

    /// Sends what there is of the request. `Err`: the exchange is over.
    fn poll_upload(
        &mut self,
        backend: &mut BackendStream,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        if self.upload_cut || self.upload.is_done() {
            return Ok(());
        }
        let now = self.worker.ticker.now();
        let was_read = self.upload.is_read();
        let (buffers, client) = (&self.worker.buffers, &mut *self.client);
        let moved = match self.upload.poll_to_end(
            buffers,
            &mut client.input,
            &mut client.stream,
            backend,
            now,
            cx,
        ) {
            Poll::Ready(Ok(())) => {
                if !was_read {
                    self.clock.body_received(now);
                    self.place.ask_to_finish(&self.order.arm)?;
                }
                self.upload.poll_sink(&client.input, backend, now, cx)
            }
            moved => moved,
        };
        match moved {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(FlowError::Source)) => Err(self.gone()),
            Poll::Ready(Err(FlowError::Malformed(error))) => Err(Ending::Refused(error)),
            // The backend may have answered before it closed; that answer is still to be read.
            Poll::Ready(Err(FlowError::Sink { lost })) => {
                self.lose_backend(lost);
                Ok(())
            }
        }
    }

    /// The backend takes no more of the request.
    pub(super) fn lose_backend(&mut self, lost: bool) {
        self.kept_waiting |= self.is_slow_client();
        self.upload_cut = true;
        if lost {
            self.download.tear();
        }
    }

    /// Writes interim heads and looks whether the client is still there.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.download.waiting() == FlowWait::ForSink {
            let now = self.worker.ticker.now();
            if let Poll::Ready(Err(_)) =
                self.download
                    .poll_flush(&self.answer, &mut self.client.stream, now, cx)
            {
                return Poll::Ready(());
            }
        }
        if !self.upload_cut && !self.upload.is_done() {
            return Poll::Pending;
        }
        self.poll_gone(cx)
    }

    /// Takes complete heads out of what was received, up to and with the final one.
    fn take_heads(&mut self, heads: &mut Heads) -> Result<Option<UpstreamResponse>, AttemptError> {
        while !self.answer.is_empty() {
            let length = match self.client.search.advance(self.answer.unread()) {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(None),
                Err(error) => return Err(heads.malformed(error)),
            };
            let answer = self.take_head(heads, length)?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }

    fn take_head(
        &mut self,
        heads: &mut Heads,
        length: usize,
    ) -> Result<Option<UpstreamResponse>, AttemptError> {
        // Out of `self`, so that the head can be borrowed from it while the rest of `self` changes.
        let mut received = std::mem::take(&mut self.answer);
        let mut search = std::mem::replace(&mut self.client.search, HeadSearch::request());
        let mut slots = FieldSlots::new();
        let answering = ResponseContext {
            method: self.order.method,
            websocket: self.order.websocket,
            strictness: self.order.arm.strictness(),
        };
        let taken =
            match parse_response(&mut slots, &search, &received.unread()[..length], answering) {
                Err(error) => Err(heads.malformed(error)),
                Ok(head) if head.is_interim() => self.interim(heads, &head, length).map(|()| None),
                Ok(head) if self.is_stale(heads, &head) => Err(AttemptError::Try {
                    failure: AttemptFailure::StaleTimeout,
                    received: false,
                    ending: Ending::Reset,
                }),
                Ok(head) => Ok(Some(self.begin_answer(&head))),
            };
        drop(slots);
        search.begin(&HeadSearch::response(self.order.arm.strictness()));
        self.client.search = search;
        received.consume(length);
        self.answer = received;
        taken
    }

    /// A 408 as the first thing on a connection used before: the backend was closing it when we took it.
    fn is_stale(&self, heads: &Heads, head: &ResponseHead<'_, '_>) -> bool {
        head.status == 408
            && heads.reused
            && heads.interim == 0
            && self.again(AttemptFailure::StaleTimeout, false) != RetryDecision::No
    }

    /// However many there are: a backend may say `102 Processing` for as long as it works.
    fn interim(
        &mut self,
        heads: &mut Heads,
        head: &ResponseHead<'_, '_>,
        length: usize,
    ) -> Result<(), AttemptError> {
        heads.interim += length;
        if heads.interim > MAX_INTERIM {
            return Err(heads.malformed(MessageError::InterimTooLong));
        }
        self.continued |= head.status == 100;
        let said_already = self.asked && head.status == 100;
        if self.order.version == HttpVersion::Http11 && !said_already {
            write::interim_head(
                self.download
                    .before(&self.worker.buffers, self.worker.ticker.now()),
                head,
            );
        }
        Ok(())
    }

    /// The final answer: from here on nothing is tried again.
    fn begin_answer(&mut self, head: &ResponseHead<'_, '_>) -> UpstreamResponse {
        let waited = self.waited_for_answer();
        self.clock.count_answer(self.order, waited);
        self.order.count_latency(waited);
        self.record.wait = Some(waited);
        let buffers = &self.worker.buffers;
        if self.upload.is_done() {
            self.upload.release(buffers, &mut self.client.input);
        } else {
            // An early answer. A client that was not asked for its body has been told not to send it; else the
            // backend may need the rest to answer to the end. Beyond that only who keeps the connection gets it.
            self.upload_cut |= self.awaits_continue();
            self.answer_ends_upload = self.upload_cut || !head.keep_alive || head.status >= 400;
        }
        let keep_alive =
            self.order.keep_alive && self.worker.phase().keeps_alive() && !self.answer_ends_upload;
        let delivery = deliver(head.body, self.order.version, keep_alive);
        let rewrite = ResponseRewrite {
            client: self.order.version,
            delivery,
            version_header: self.order.arm.response_version(),
            reason: self.order.reason.as_deref(),
            set_cookie: self.order.set_cookie.as_deref(),
            homeward: self
                .record
                .upstream
                .map(|backend| self.order.arm.homeward(&self.order.asked, backend)),
        };
        let before = self.download.before(buffers, self.worker.ticker.now());
        let head_at = before.len();
        write::response_head(before, head, &rewrite);
        self.download
            .begin(head.body, delivery.body == BodyLength::Chunked);
        self.download.read_by(&self.order.arm.chunks.response);
        UpstreamResponse {
            status: head.status,
            head_at,
            body: head.body,
            declares_body: head.declares_body,
            delivered: delivery.body,
            excused: !self.upload.is_read() && self.keeps_waiting(),
            keep_alive: delivery.keep_alive,
            backend_keeps: head.keep_alive,
            backend_timeout: head.keep_alive_timeout,
        }
    }

    /// How long the backend has taken for its answer: since the last byte of the request, or the last that has come.
    fn waited_for_answer(&self) -> Duration {
        let since = self.upload.progress();
        if !self.upload.is_read() && since > self.clock.since_tick() {
            return self.worker.ticker.now().since(since);
        }
        self.clock.waited(Instant::now())
    }

    /// Says 100 in the backend's place (RFC 9110 §10.1.1), which many backends leave to their first read of the body, or
    /// never do. From here on the client is waited for.
    fn ask_for_body(&mut self) {
        let now = self.worker.ticker.now();
        (self.continued, self.asked) = (true, true);
        self.download
            .before(&self.worker.buffers, now)
            .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.upload.received(now);
    }

    /// The client waits for the backend's word before it sends the body.
    pub(super) fn awaits_continue(&self) -> bool {
        self.order.expect_continue && !self.continued && self.upload.moved() == 0
    }
}

impl Heads {
    fn failed(&self, failure: AttemptFailure, ending: Ending) -> AttemptError {
        AttemptError::Try {
            failure,
            received: self.received,
            ending,
        }
    }

    fn malformed(&self, error: MessageError) -> AttemptError {
        self.failed(AttemptFailure::Malformed, Ending::Malformed(error))
    }
}
