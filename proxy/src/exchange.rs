//! The bytes of one request and its answer: tries until a backend's answer begins (`straight`), then both bodies
//! (`duplex`) or a tunnel (`tunnel`). What to do after a failed try is `retry`'s word, whether a connection may be used
//! again `reuse`'s; what it all means for counters and client is told by the [`Ending`].

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use halftone_routing::report::{Fault, Outcome};
use halftone_routing::sketch::UserHash;
use smallvec::SmallVec;

use self::concurrency_slot::ConcurrencySlot;
use self::flow::Flow;
use crate::counters::CellWriter;
use crate::http1::reuse::{self, ClientEnd, Reuse, UpstreamEnd};
use crate::http1::{BodyLength, HeadSearch, HttpVersion, Method};
use crate::local::Local;
use crate::local::arms::{LatencyThreshold, TunnelSlot, WorkerArm};
use crate::local::buffers::{Buf, LARGE, SMALL};
use crate::local::ticker::ConnectionTimer;
use crate::outcome::{Ending, EndingEffect, meaning};
use crate::retry::{self, Attempt, AttemptFailure, BodyAtHand, RetryDecision};
use crate::stream::Stream;
use crate::upstream::BackendStream;
use crate::upstream::connect::{UNACKNOWLEDGED, connect, is_own_fault, set_user_timeout};
use crate::upstream::pool::{EndpointLease, IdleState, LastResort, ReusePolicy};

mod concurrency_slot;
mod deadlines;
mod duplex;
mod fallback;
mod fast_path;
pub(crate) mod flow;
mod slow_client;
mod tunnel;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct ClientConnection<C> {
    pub(crate) stream: C,
    /// Received and not used: the request being read, its body, the next request.
    pub(crate) input: Buf,
    /// Of the head being read: a request's, then those of its answers.
    pub(crate) search: HeadSearch,
    pub(crate) timer: ConnectionTimer,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl<C: Stream> ClientConnection<C> {
    /// Reads ahead while an answer is awaited or sent, at most one buffer beyond what it holds of the request under
    /// way, or one read where memory is short. Ready when the client has gone; the end of its sending counts as that.
    fn poll_gone(&mut self, held: usize, worker: &Local, cx: &mut Context<'_>) -> Poll<()> {
        while self.input.len() < (held + SMALL).min(LARGE)
            && self.stream.poll_readable(cx).is_ready()
        {
            if self.input.len() > held && worker.is_short_of_memory() {
                break;
            }
            worker.buffers.lend_small(&mut self.input);
            match ready!(
                worker
                    .buffers
                    .poll_read(&mut self.input, &mut self.stream, cx)
            ) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        worker.buffers.settle(&mut self.input);
        Poll::Pending
    }
}

/// One request, decided: where it goes and what its answer gets. The head that goes upstream is written already.
#[derive(Debug)]
pub(crate) struct RoutedRequest {
    pub(crate) arm: Rc<WorkerArm>,
    /// Who answers if no endpoint of `arm` takes a connection.
    pub(crate) other: Option<Rc<WorkerArm>>,
    pub(crate) cell: CellWriter,
    /// Who is told of, should it fail.
    pub(crate) user: Option<UserHash>,
    /// The other arm answers for want of an endpoint: the request was charged to `cell` when that was decided, and
    /// what follows is not counted.
    pub(crate) fallback: bool,
    /// A client that leaves after waiting this long has been kept waiting.
    pub(crate) abandoned_after: Duration,
    /// When its head was complete.
    pub(crate) received: Instant,
    pub(crate) method: Method,
    pub(crate) version: HttpVersion,
    pub(crate) body: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) websocket: bool,
    pub(crate) expect_continue: bool,
    /// Host and port that the client asked for, as received; a host longer than this is rare enough to be allocated.
    pub(crate) asked: SmallVec<[u8; 64]>,
    /// Value of `X-Halftone-Reason`, for who may know it.
    pub(crate) reason: Option<Box<str>>,
    /// The cookie generated for this request.
    pub(crate) set_cookie: Option<Box<str>>,
}

impl RoutedRequest {
    /// The absolute latency limits that this request gives events for, shortest first.
    fn limits(&self) -> &[LatencyThreshold] {
        if self.fallback { &[] } else { &self.arm.limits }
    }

    /// Its body may be more than a window, the least of which is 64 KiB.
    fn is_long(&self) -> bool {
        match self.body {
            BodyLength::Empty => false,
            BodyLength::Length(length) => length > SMALL as u64,
            BodyLength::Chunked | BodyLength::UntilClose => true,
        }
    }

    fn count_latency(&self, waited: Duration) {
        if !self.fallback {
            self.cell.latency(waited);
        }
    }

    fn count_retry(&self) {
        if !self.fallback {
            self.cell.retry();
        }
    }

    /// What an ending means to its release.
    pub(crate) fn meaning(&self, ending: &Ending) -> EndingEffect {
        meaning(ending, |status| self.arm.error_statuses.contains(status))
    }

    /// Counts the request's one outcome, which is what its ending means.
    pub(crate) fn count(&self, ending: &Ending, counted: Outcome) {
        if self.fallback {
            return;
        }
        if counted.fault() == Fault::Error {
            self.cell.failed(error_status(ending), self.user);
        }
        self.cell.outcome(counted);
    }
}

/// The status of an answer that is an error by its status.
fn error_status(ending: &Ending) -> Option<u16> {
    match *ending {
        Ending::Answered(status) => Some(status),
        _ => None,
    }
}

/// How an exchange ended.
#[derive(Debug)]
pub(crate) struct ExchangeResult {
    pub(crate) ending: Ending,
    /// Its outcome is counted already, since it was known when a tunnel was granted.
    pub(crate) counted: bool,
    /// What becomes of the client's connection; `None`: no answer was begun, one of ours is due.
    pub(crate) client: Option<Reuse>,
    /// The request was received to its last byte; what the client's buffer holds is the next one.
    pub(crate) request_read: bool,
    pub(crate) record: ExchangeRecord,
}

/// What the access log wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExchangeRecord {
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) wait: Option<Duration>,
    pub(crate) retries: u32,
}

/// The final answer's head, as far as it matters afterwards.
#[derive(Clone, Copy, Debug)]
struct UpstreamResponse {
    status: u16,
    /// Where its head begins in what goes to the client, behind interim ones.
    head_at: usize,
    /// As received.
    body: BodyLength,
    /// Its fields declare a body that it does not have.
    declares_body: bool,
    /// The backend has answered without the rest of a request that its client keeps back, or sends in drops: an error
    /// that it tells may be about that.
    excused: bool,
    /// As sent to the client.
    delivered: BodyLength,
    /// As told to the client.
    keep_alive: bool,
    backend_keeps: bool,
    backend_timeout: Option<Duration>,
}

/// A connection to the backend, with its place there.
#[derive(Debug)]
struct UpstreamConnection {
    stream: BackendStream,
    lease: EndpointLease<BackendStream>,
    reused: bool,
    /// It is not given up while the backend leaves unread what it is sent.
    patient: bool,
}

impl UpstreamConnection {
    /// For what may be more than a backend's window takes while it reads nothing.
    fn be_patient(&mut self, unread: Duration) {
        self.patient = true;
        set_user_timeout(&self.stream, unread);
    }
}

/// One request under way.
struct Exchange<'a, C> {
    worker: &'a Local,
    client: &'a mut ClientConnection<C>,
    order: &'a mut RoutedRequest,
    /// Client to backend; begins with the head.
    upload: Flow,
    /// The rest of the request is not sent: the backend has answered without waiting for it, or takes no more.
    upload_cut: bool,
    /// The backend closed while the client was slow with the rest of its request.
    kept_waiting: bool,
    /// Once the answer is complete, what is left of the request is not sent.
    answer_ends_upload: bool,
    /// An interim answer has come, or the proxy has asked for the body itself.
    continued: bool,
    /// The proxy has asked for the body itself.
    asked: bool,
    tries: Attempts,
    place: ConcurrencySlot,
    /// Where a tunnel was asked for: its place, from before the handshake.
    tunnel: Option<TunnelSlot>,
    /// Backend to client; begins with the heads of answers.
    download: Flow,
    /// Received from the backend and not used.
    answer: Buf,
    clock: deadlines::ExchangeDeadlines,
    record: ExchangeRecord,
}

/// What was tried so far.
#[derive(Debug, Default)]
struct Attempts {
    endpoints: SmallVec<[SocketAddr; 4]>,
    reconnects: u8,
    resent: bool,
}

/// Why a try did not bring a final answer.
enum AttemptError {
    /// It may be tried again.
    Try {
        failure: AttemptFailure,
        received: bool,
        ending: Ending,
    },
    /// The exchange is over.
    Over(Ending),
}

/// Sends the request whose head is in `head`, and relays the answer.
pub(crate) async fn run<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    order: &mut RoutedRequest,
    head: Buf,
) -> ExchangeResult {
    let now = worker.ticker.now();
    // Apart from the future, so that both are small enough for the allocator's fast path.
    let mut exchange = Box::new(Exchange {
        upload: Flow::new(head, order.body, order.body == BodyLength::Chunked, now)
            .at_most(order.arm.max_body),
        clock: deadlines::ExchangeDeadlines::new(order, now),
        worker,
        client,
        order,
        upload_cut: false,
        kept_waiting: false,
        answer_ends_upload: false,
        continued: false,
        asked: false,
        tries: Attempts::default(),
        place: ConcurrencySlot::none(),
        tunnel: None,
        download: Flow::new(Buf::default(), BodyLength::Empty, false, now),
        answer: Buf::default(),
        record: ExchangeRecord::default(),
    });
    exchange.upload.read_by(&exchange.order.arm.chunks.request);
    let ended = exchange.run().await;
    exchange.close(ended)
}

/// What [`Exchange::run`] leaves to be closed.
struct Teardown {
    ending: Ending,
    answer: Option<UpstreamResponse>,
    connection: Option<UpstreamConnection>,
    upgraded: bool,
}

impl<C: Stream> Exchange<'_, C> {
    async fn run(&mut self) -> Teardown {
        let left = |ending| Teardown {
            ending,
            answer: None,
            connection: None,
            upgraded: false,
        };
        let (mut connection, answer) = loop {
            match self.tries().await {
                Ok(begun) => break begun,
                Err(Ending::Connect | Ending::NoEndpoint) if self.fall_back() => {}
                Err(ending) => return left(ending),
            }
        };
        let upgraded = answer.status == 101;
        let ending = if upgraded {
            connection.be_patient(self.order.arm.timeouts.unread());
            self.place.give_up();
            self.tunnel(&mut connection.stream).await
        } else {
            self.tunnel = None;
            self.relay(&mut connection.stream, &answer)
                .await
                .err()
                .unwrap_or(Ending::Answered(answer.status))
        };
        if let Ending::Malformed(_) = ending {
            // Its head was taken back.
            return left(ending);
        }
        Teardown {
            ending,
            answer: Some(answer),
            connection: Some(connection),
            upgraded,
        }
    }

    /// What there is of the body, and a place at the arm.
    fn begin(&mut self) -> Result<(), Ending> {
        self.upload
            .prime(&mut self.client.input)
            .map_err(Ending::Refused)?;
        let arm = &self.order.arm;
        // Held through the handshake: however slow it is, no more tunnels are asked for than may be open.
        self.tunnel = None;
        if self.order.websocket {
            self.tunnel = Some(arm.enter_tunnel().ok_or(Ending::Crowded)?);
        }
        self.place = ConcurrencySlot::begin(arm, self.upload.is_read(), self.worker.ticker.now())?;
        Ok(())
    }

    /// Until an answer begins or there is nothing left to try at the order's arm.
    async fn tries(&mut self) -> Result<(UpstreamConnection, UpstreamResponse), Ending> {
        self.begin()?;
        let mut last = Ending::NoEndpoint;
        while let Some((lease, stream)) = self.place() {
            let address = lease.address();
            self.record.upstream = Some(address);
            if !self.tries.endpoints.is_empty() {
                self.order.count_retry();
                self.record.retries += 1;
            }
            let (failure, received) = match self.attempt(lease, stream).await {
                Ok(begun) => return Ok(begun),
                Err(AttemptError::Over(ending)) => return Err(ending),
                Err(AttemptError::Try {
                    failure,
                    received,
                    ending,
                }) => {
                    last = ending;
                    (failure, received)
                }
            };
            match self.again(failure, received) {
                RetryDecision::No => break,
                RetryDecision::OtherEndpoint => self.tries.reconnects += 1,
                RetryDecision::FreshConnection => self.tries.resent = true,
            }
            self.tries.endpoints.push(address);
            self.upload.rewind();
            self.upload_cut = false;
            self.download.mend();
        }
        Err(last)
    }

    /// The next endpoint to try, with a pooled connection where this request may take one. A request that is sent
    /// once more goes to an endpoint it was at already if there is no other.
    fn place(&self) -> Option<(EndpointLease<BackendStream>, Option<BackendStream>)> {
        let (now, tries) = (self.worker.ticker.now(), &self.tries);
        let last = if self.has_other() {
            LastResort::OtherArm
        } else {
            LastResort::Resort
        };
        let take = |tried: &[SocketAddr]| {
            self.order
                .arm
                .pool
                .take(now, self.worker.random(), self.pooled(), (tried, last))
        };
        take(&tries.endpoints).or_else(|| if tries.resent { take(&[]) } else { None })
    }

    /// What the table says about another try.
    fn again(&self, failure: AttemptFailure, received: bool) -> RetryDecision {
        retry::again(&Attempt {
            failure,
            method: self.order.method,
            body: if self.upload.is_whole() {
                BodyAtHand::Whole
            } else {
                BodyAtHand::Gone
            },
            sent: self.upload.is_begun(),
            received,
            client_gone: false,
            reconnects: self.tries.reconnects,
            resent: self.tries.resent,
        })
    }

    /// Which pooled connections this request may take.
    fn pooled(&self) -> ReusePolicy {
        if self.tries.resent {
            return ReusePolicy::No;
        }
        // A body that may be dropped to save memory cannot be sent a second time.
        let body = if self.upload.is_read() && !self.is_dear() {
            BodyAtHand::Whole
        } else {
            BodyAtHand::Gone
        };
        if retry::needs_fresh_pooled(self.order.method, body) {
            ReusePolicy::Recent
        } else {
            ReusePolicy::Any
        }
    }

    /// One try at one endpoint.
    async fn attempt(
        &mut self,
        lease: EndpointLease<BackendStream>,
        stream: Option<BackendStream>,
    ) -> Result<(UpstreamConnection, UpstreamResponse), AttemptError> {
        let mut connection = match stream {
            Some(stream) => UpstreamConnection {
                stream,
                lease,
                reused: true,
                patient: false,
            },
            None => Box::pin(self.connect(lease)).await?,
        };
        if self.order.is_long() {
            connection.be_patient(self.order.arm.timeouts.unread());
        }
        match self.until_answer(&mut connection).await {
            Ok(answer) => {
                if !(answer.excused && answer.status >= 500) {
                    connection
                        .lease
                        .answered(answer.status, self.worker.ticker.now());
                }
                Ok((connection, answer))
            }
            Err(failed) => {
                let now = self.worker.ticker.now();
                match failed {
                    AttemptError::Try {
                        failure: AttemptFailure::Lost,
                        received: false,
                        ..
                    } if !connection.reused => {
                        connection.lease.hung_up(now);
                    }
                    AttemptError::Try {
                        failure: AttemptFailure::HeadTimeout,
                        ..
                    } => connection.lease.timed_out(now),
                    _ => {}
                }
                self.worker.buffers.give_back(&mut self.answer);
                Err(failed)
            }
        }
    }

    /// A new connection, within the arm's time-out.
    async fn connect(
        &mut self,
        lease: EndpointLease<BackendStream>,
    ) -> Result<UpstreamConnection, AttemptError> {
        let failed = AttemptError::Try {
            failure: AttemptFailure::Connect,
            received: false,
            ending: Ending::Connect,
        };
        let mut connecting = std::pin::pin!(connect(lease.address()));
        let deadline = self
            .worker
            .ticker
            .now()
            .after(self.order.arm.timeouts.connect);
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                return Poll::Ready(Ok(result));
            }
            if self.upload.is_read() && self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(self.gone()));
            }
            match self.clock_while_connecting(deadline) {
                Ok(()) => Poll::Pending,
                Err(deadlines::ExpiredDeadline::Over(ending)) => Poll::Ready(Err(ending)),
                Err(_) => Poll::Ready(Ok(Err(io::ErrorKind::TimedOut.into()))),
            }
        });
        match result.await {
            Ok(Ok(stream)) => Ok(UpstreamConnection {
                stream,
                lease,
                reused: false,
                patient: false,
            }),
            Ok(Err(error)) if is_own_fault(&error) => Err(AttemptError::Over(Ending::OwnResources)),
            Ok(Err(_)) => {
                lease.refused(self.worker.ticker.now());
                Err(failed)
            }
            Err(ending) => Err(AttemptError::Over(ending)),
        }
    }

    /// Looks whether the client is still there. What is not sent again need not be held meanwhile.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.upload.is_done() && !self.keeps_request() {
            self.upload
                .release(&self.worker.buffers, &mut self.client.input);
        }
        self.client
            .poll_gone(self.upload.payload(), self.worker, cx)
    }

    /// A request that was sent is kept, since it may be sent once more; a body only where there is memory for it.
    fn keeps_request(&self) -> bool {
        !self.is_dear() && self.again(AttemptFailure::Lost, false) != RetryDecision::No
    }

    /// It has a body, and there is no memory to keep that.
    fn is_dear(&self) -> bool {
        self.upload.payload() > 0 && self.worker.exceeds_half_of_memory()
    }

    /// The client has left before the answer's head. As long as its request was not complete, nobody but itself has
    /// kept it waiting.
    fn gone(&mut self) -> Ending {
        if !self.upload.is_read() {
            return Ending::ClientGone;
        }
        let waited = self.clock.waited(Instant::now());
        self.clock.count_over(self.order, waited);
        if waited > self.order.abandoned_after {
            Ending::Abandoned
        } else {
            Ending::ClientGone
        }
    }

    /// Gives everything back and says what becomes of both connections.
    fn close(&mut self, left: Teardown) -> ExchangeResult {
        let Teardown {
            ending,
            answer,
            connection,
            upgraded,
        } = left;
        self.client_is_free();
        let answered = matches!(ending, Ending::Answered(_));
        self.record.request_bytes = self.upload.moved();
        self.record.response_bytes = self.download.moved();
        if let (Some(connection), Some(answer)) = (connection, answer) {
            self.give_back(connection, &answer, upgraded, !answered);
        }
        let request_read = self.upload.is_read() && !upgraded;
        self.upload
            .release(&self.worker.buffers, &mut self.client.input);
        // Where part of an interim answer has gone out, nothing of ours can follow it.
        let interim_cut = self.download.is_head_cut() || matches!(ending, Ending::ClientStalled(_));
        let client = (answer.is_some() || interim_cut).then(|| {
            reuse::client(&ClientEnd {
                answer: answer.map(|answer| answer.delivered),
                answer_written: self.download.is_done() && answered,
                keep_alive: self.order.keep_alive && answer.is_some_and(|answer| answer.keep_alive),
                request_read,
                pipelined: !self.client.input.is_empty(),
                upgraded,
            })
        });
        self.download
            .release(&self.worker.buffers, &mut self.answer);
        self.worker.buffers.give_back(&mut self.answer);
        let excused = answer.is_some_and(|answer| answer.excused)
            && matches!(ending, Ending::Answered(status) if self.order.arm.error_statuses.contains(status));
        let ending = match ending {
            Ending::Answered(status) if excused => Ending::ClientStalled(status),
            ending => ending,
        };
        ExchangeResult {
            ending,
            counted: upgraded,
            client,
            request_read,
            record: self.record,
        }
    }

    /// Puts the backend's connection into the pool, or closes it.
    fn give_back(
        &self,
        connection: UpstreamConnection,
        answer: &UpstreamResponse,
        upgraded: bool,
        aborted: bool,
    ) {
        let UpstreamConnection {
            stream,
            lease,
            patient,
            ..
        } = connection;
        let end = UpstreamEnd {
            request_written: self.upload.is_done(),
            answer: Some(answer.body),
            declares_body: answer.declares_body,
            answer_read: self.download.is_read(),
            surplus: self.answer.len() > self.download.payload(),
            keep_alive: answer.backend_keeps,
            upgraded,
            aborted,
            listed: lease.is_listed(),
        };
        let kept = match reuse::upstream(&end) {
            Reuse::Keep => IdleState::AtHand,
            Reuse::KeepIfSilent => IdleState::IfSilent,
            Reuse::Close | Reuse::CloseLingering | Reuse::Reset => return,
        };
        if patient {
            set_user_timeout(&stream, UNACKNOWLEDGED);
        }
        lease.put(
            stream,
            kept,
            self.worker.ticker.now(),
            answer.backend_timeout,
        );
    }
}
