//! One client's requests, one after another: head, decision, exchange, outcome, count.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use jiff::Timestamp;

use self::log::LoggedRequest;
use self::route::{DelayedRequest, PreparedRequest, RequestAction};
use crate::exchange::{self, ClientConnection, ExchangeRecord, RoutedRequest};
use crate::http1::reuse::{self, ClientEnd, Reuse};
use crate::http1::write::LocalReplyHead;
use crate::http1::{BodyLength, HeadSearch, HttpVersion, Method};
use crate::local::Local;
use crate::local::buffers::Buf;
use crate::local::capacity::{ConnectionWait, SlowClient};
use crate::local::tick::Tick;
use crate::outcome::{Ending, EndingEffect, meaning};
use crate::respond;
use crate::stream::Stream;

mod log;
mod receive;
mod route;

/// Serves a connection until it closes.
pub(crate) async fn serve<C: Stream>(
    worker: &Local,
    stream: C,
    peer: SocketAddr,
    local: SocketAddr,
) {
    let timer = worker.timer().await;
    let mut client = ClientConnection {
        stream,
        input: Default::default(),
        search: HeadSearch::request(),
        timer,
        peer,
        local,
    };
    let mut served = false;
    let fate = loop {
        let next = next_head(worker, &mut client, std::mem::replace(&mut served, true)).await;
        client.timer.wait(ConnectionWait::No);
        let reuse = match next {
            NextHead::Head(length) => request(worker, &mut client, length).await,
            NextHead::Refused(ending) => {
                let logged = LoggedRequest::unknown(worker, Instant::now());
                Box::pin(LocalReply::refusal(worker, &ending).send(worker, &mut client, logged))
                    .await
            }
            NextHead::Closed => break Reuse::Close,
        };
        if reuse != Reuse::Keep {
            break reuse;
        }
    };
    match fate {
        Reuse::Keep | Reuse::KeepIfSilent | Reuse::Close => {}
        Reuse::CloseLingering => respond::linger(worker, &mut client).await,
        Reuse::Reset => client.stream.reset_on_close(),
    }
    worker.buffers.give_back(&mut client.input);
}

/// What a client's connection brought next.
enum NextHead {
    /// A request's head of this length stands at the start of the input.
    Head(usize),
    /// Something that is answered and ends the connection.
    Refused(Ending),
    /// Nothing more.
    Closed,
}

/// Waits for the next request, the first one unless one was `served`. Meanwhile the connection holds no buffer until
/// its first byte has come. Somebody else may need its place, or the memory of a head that does not end.
async fn next_head<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    served: bool,
) -> NextHead {
    client.search.begin(&HeadSearch::request());
    let since = worker.ticker.now();
    let idle = since.after(worker.limits().client.idle);
    let mut begun = None;
    poll_fn(|cx| {
        loop {
            if !client.input.is_empty() {
                if begun.is_none() && begins_request(client.input.unread()) {
                    begun = Some(worker.ticker.now());
                }
                match client.search.advance(client.input.unread()) {
                    Ok(Some(length)) => return Poll::Ready(NextHead::Head(length)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(NextHead::Refused(Ending::Refused(error))),
                }
            }
            match worker
                .buffers
                .poll_read(&mut client.input, &mut client.stream, cx)
            {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(NextHead::Closed),
                Poll::Ready(Ok(_)) => {}
            }
        }
        let now = worker.ticker.now();
        if begun.is_none() {
            forget_empty_lines(client);
        }
        let deadline = begun.map_or(idle, |begun: Tick| begun.after(worker.limits().client.head));
        if now >= deadline || client.timer.is_leaving() {
            return Poll::Ready(begun.map_or(NextHead::Closed, |_| {
                NextHead::Refused(Ending::ClientTimeout)
            }));
        }
        let phase = worker.phase();
        if !phase.exchange_may_go_on() || (begun.is_none() && !phase.idle_may_stay()) {
            return Poll::Ready(NextHead::Closed);
        }
        client.timer.set(deadline);
        worker.buffers.shrink(&mut client.input);
        match begun {
            Some(begun) => worker.wait_for(
                &client.timer,
                SlowClient::unsent(begun, client.input.held()),
            ),
            None if served => client.timer.wait(ConnectionWait::Next(since)),
            None => client.timer.wait(ConnectionWait::First(since)),
        }
        Poll::Pending
    })
    .await
}

/// Whether a request has begun: some clients send an empty line behind a body, and an idle connection that is told of
/// a time-out takes that for the answer to its next request.
fn begins_request(input: &[u8]) -> bool {
    input.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// What some clients send behind a body takes no memory while they are idle. The first half of an empty line stays.
fn forget_empty_lines<C>(client: &mut ClientConnection<C>) {
    let half = usize::from(client.input.unread().last() == Some(&b'\r'));
    let lines = client.input.len().saturating_sub(half);
    if lines > 0 {
        client.input.consume(lines);
        client.search.begin(&HeadSearch::request());
    }
}

/// What is left to do of a request that was looked at, and then what becomes of the connection. It is in memory of its
/// own, which an idle connection does without.
type RequestFuture<'a> = Pin<Box<dyn Future<Output = Reuse> + 'a>>;

/// One request whose head stands at the start of the input.
fn request<'a, C: Stream>(
    worker: &'a Local,
    client: &'a mut ClientConnection<C>,
    length: usize,
) -> RequestFuture<'a> {
    let prepared = route::prepare(worker, client, length, None);
    carry_out(worker, client, length, prepared)
}

/// Does what its head led to.
fn carry_out<'a, C: Stream>(
    worker: &'a Local,
    client: &'a mut ClientConnection<C>,
    length: usize,
    PreparedRequest { step, logged }: PreparedRequest,
) -> RequestFuture<'a> {
    match step {
        RequestAction::Forward(order, head) => {
            Box::pin(forward(worker, client, order, head, logged))
        }
        RequestAction::Answer(own) => Box::pin(own.send(worker, client, logged)),
        RequestAction::Receive { body, since } => {
            Box::pin(receive(worker, client, length, body, since))
        }
    }
}

/// Waits for a short body of this length behind the head, and looks at the request again: documents may have changed
/// meanwhile.
async fn receive<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    length: usize,
    body: usize,
    since: Instant,
) -> Reuse {
    let received = receive::body(worker, client, length + body).await;
    client.timer.wait(ConnectionWait::No);
    let prepared = route::prepare(
        worker,
        client,
        length,
        Some(DelayedRequest { since, received }),
    );
    carry_out(worker, client, length, prepared).await
}

/// Has it answered by a backend, or by the proxy itself where none does.
async fn forward<C: Stream>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    mut order: Box<RoutedRequest>,
    head: Buf,
    logged: Option<Box<LoggedRequest>>,
) -> Reuse {
    let ended = exchange::run(worker, client, &mut order, head).await;
    let meaning = order.meaning(&ended.ending);
    if !ended.counted {
        order.count(&ended.ending, meaning.counted);
    }
    // Tunnels close before, and a rollback closes what lasts too long.
    if ended.ending == Ending::Shutdown && !worker.phase().exchange_may_go_on() {
        worker.count_cut();
    }
    if let Some(rule) = meaning.broken_by_backend() {
        order.arm.note_malformed(rule, ended.record.upstream);
    }
    if let Some(mut logged) = logged {
        logged.fallback = order.fallback;
        logged.write(worker, &meaning, &ended.record);
    }
    match ended.client {
        Some(reuse) => reuse,
        None => {
            let own = LocalReply {
                meaning,
                version: order.version,
                head_only: order.method == Method::Head,
                keep_alive: order.keep_alive,
                request_read: ended.request_read,
                reason: order.reason,
            };
            own.send(worker, client, None).await
        }
    }
}

/// An answer of our own; what it answers is counted already.
struct LocalReply {
    meaning: EndingEffect,
    version: HttpVersion,
    head_only: bool,
    keep_alive: bool,
    /// What the client's buffer holds is the next request.
    request_read: bool,
    reason: Option<Box<str>>,
}

impl LocalReply {
    /// To something that is no request, or too slow to become one.
    fn refusal(worker: &Local, ending: &Ending) -> Self {
        let meaning = meaning(ending, |_| false);
        worker.counters.unrouted().outcome(meaning.counted);
        Self {
            meaning,
            version: HttpVersion::Http11,
            head_only: false,
            keep_alive: false,
            request_read: false,
            reason: None,
        }
    }

    async fn send<C: Stream>(
        self,
        worker: &Local,
        client: &mut ClientConnection<C>,
        logged: Option<Box<LoggedRequest>>,
    ) -> Reuse {
        if let Some(logged) = logged {
            logged.write(worker, &self.meaning, &ExchangeRecord::default());
        }
        let Some(status) = self.meaning.status else {
            return Reuse::Close;
        };
        let keep_alive = self.keep_alive && self.request_read && worker.phase().keeps_alive();
        let reason = self
            .reason
            .as_deref()
            .map(|reason| ("X-Halftone-Reason", reason));
        let answer = LocalReplyHead {
            status,
            date: Timestamp::now(),
            client: self.version,
            keep_alive,
            fields: reason.as_slice(),
            body: self.meaning.text,
            head_only: self.head_only,
        };
        let answer_written = respond::answer(worker, client, &answer).await;
        reuse::client(&ClientEnd {
            answer: Some(BodyLength::Length(self.meaning.text.len() as u64)),
            answer_written,
            keep_alive,
            request_read: self.request_read,
            pipelined: !client.input.is_empty(),
            upgraded: false,
        })
    }
}
