//! From a request's bytes to what is to be done with it: parse, decide, write the head that goes upstream. All of it
//! between two reads, borrowing from the client's buffer; what is needed later is in the [`RoutedRequest`].

use std::rc::Rc;
use std::time::{Duration, Instant};

use halftone_routing::client_address::is_trusted;
use halftone_routing::decide::{Decision, Resolution, ServingArm, decide, replacement_arm, serve};
use halftone_routing::document::RoutingConfig;
use halftone_routing::fleet::FleetConfig;
use halftone_routing::request::Request;
use halftone_routing::routes::DestinationId;
use halftone_routing::sketch::UserHash;

use smallvec::SmallVec;

use super::LocalReply;
use super::log::LoggedRequest;
use crate::counters::{Arm as ArmName, CellWriter, Charge, ChosenBy};
use crate::drain::DrainPhase;
use crate::exchange::{ClientConnection, RoutedRequest};
use crate::forwarded::{Forwarding, forwarding};
use crate::http1::write::{self, RequestRewrite};
use crate::http1::{BodyLength, FieldSlots, MessageError, Method, RequestHead, parse_request};
use crate::local::Local;
use crate::local::arms::{ArmCache, WorkerArm};
use crate::local::buffers::{Buf, SMALL};
use crate::outcome::{Ending, EndingEffect, health, meaning};
use crate::snapshot::{Snapshot, is_depended_on};

/// What is to be done with a request.
pub(super) struct PreparedRequest {
    pub(super) step: RequestAction,
    /// Present if the request was drawn for the access log.
    pub(super) logged: Option<Box<LoggedRequest>>,
}

/// What a request's head led to.
pub(super) enum RequestAction {
    /// It goes to a backend, with this head.
    Forward(Box<RoutedRequest>, Buf),
    /// It is answered here.
    Answer(LocalReply),
    /// First its short body is to be received, of this length, and then it is to be prepared again: however many
    /// clients keep theirs back, no backend sees one of them, and the decision is that of the moment when it goes on.
    Receive { body: usize, since: Instant },
}

/// A request whose body was waited for.
pub(super) struct DelayedRequest {
    /// When its head had come.
    pub(super) since: Instant,
    /// Whether the body has come.
    pub(super) received: Result<(), Ending>,
}

/// Takes the head of this length out of the client's buffer and works out what to do.
pub(super) fn prepare<C>(
    worker: &Local,
    client: &mut ClientConnection<C>,
    length: usize,
    late: Option<DelayedRequest>,
) -> PreparedRequest {
    let received = Instant::now();
    let mut slots = FieldSlots::new();
    let (bytes, rest) = client.input.unread().split_at(length);
    let mut taken = length;
    let prepared = match parse_request(&mut slots, &client.search, bytes) {
        Err(error) => PreparedRequest {
            step: RequestAction::Answer(LocalReply::refusal(worker, &Ending::Refused(error))),
            logged: LoggedRequest::unknown(worker, received),
        },
        Ok(mut head) => {
            let empty = head.take_empty_chunks(rest);
            let rest = &rest[empty..];
            taken += empty;
            let mut logged = LoggedRequest::request(
                worker,
                &head,
                late.as_ref().map_or(received, |late| late.since),
            );
            let routing = RequestRouting {
                worker,
                client: &*client,
                head: &head,
                received,
                awaited: if late.is_none() {
                    awaited(&head, rest)
                } else {
                    None
                },
                unsent: late.and_then(|late| late.received.err()),
                logged: logged.as_deref_mut(),
            };
            let mut step = worker.arms.with(worker.ticker.now(), |snapshot, arms| {
                routing.step(snapshot, arms)
            });
            if let RequestAction::Answer(own) = &mut step {
                // A body that is here already need not cost the connection.
                own.request_read = at_hand(head.body, rest).is_some();
                taken += at_hand(head.body, rest).unwrap_or(0);
            }
            PreparedRequest { step, logged }
        }
    };
    drop(slots);
    if !matches!(prepared.step, RequestAction::Receive { .. }) {
        client.input.consume(taken);
    }
    prepared
}

/// The length of a body that has arrived as a whole.
fn at_hand(body: BodyLength, rest: &[u8]) -> Option<usize> {
    match body {
        BodyLength::Empty => Some(0),
        BodyLength::Length(length) => usize::try_from(length)
            .ok()
            .filter(|length| *length <= rest.len()),
        BodyLength::Chunked | BodyLength::UntilClose => None,
    }
}

/// The length of a body that is to be received first: a short one, not here yet, whose client does not wait to be asked
/// for it; also the one in chunks that may turn out to be none.
fn awaited(head: &RequestHead<'_, '_>, rest: &[u8]) -> Option<usize> {
    let length = match head.body {
        BodyLength::Length(length) => usize::try_from(length)
            .ok()
            .filter(|length| (rest.len() + 1..=SMALL).contains(length))?,
        BodyLength::Chunked => head.awaited_chunks(rest)?,
        BodyLength::Empty | BodyLength::UntilClose => return None,
    };
    (!head.expect_continue).then_some(length)
}

/// One request on its way to a decision.
struct RequestRouting<'a, C> {
    worker: &'a Local,
    client: &'a ClientConnection<C>,
    head: &'a RequestHead<'a, 'a>,
    received: Instant,
    /// What of its body is to be received before it goes on.
    awaited: Option<usize>,
    /// Why its body did not come.
    unsent: Option<Ending>,
    logged: Option<&'a mut LoggedRequest>,
}

impl<C> RequestRouting<'_, C> {
    fn step(self, snapshot: &Snapshot, arms: &ArmCache) -> RequestAction {
        let head = self.head;
        if self.asks_health(snapshot.routes.fleet()) {
            return self.own(health(self.worker.phase() == DrainPhase::Serving), None);
        }
        let request = Request {
            method: head.method_name,
            host: &head.host,
            path: &head.path,
            query: head.target.query,
            fields: head.fields.as_slice(),
            peer: self.client.peer.ip(),
        };
        let overlay = |release| snapshot.overlay(release);
        match decide(
            &snapshot.routes,
            overlay,
            &request,
            &mut rand::random::<u128>,
        ) {
            Resolution::Decided(decision) => self.decided(snapshot, arms, &decision),
            Resolution::DefaultBackend(id) => self.default_backend(snapshot, arms, id),
            Resolution::NoRoute => {
                self.answer(&self.worker.counters.unrouted(), &Ending::NoRoute, None)
            }
            Resolution::Climbs { release } => {
                let refused = Ending::Refused(MessageError::HiddenDots);
                let cell = self.worker.counters.unrouted();
                self.log_release(snapshot.routes.release(release).config())
                    .answer(&cell, &refused, None)
            }
            Resolution::Rejected { release, status } => {
                let stage = snapshot.stage(release);
                let charge = Charge::new(ArmName::Stable, ChosenBy::Missing);
                let cell = self.worker.counters.cell(stage, charge);
                let ending = Ending::Rejected(status);
                self.log_release(snapshot.routes.release(release).config())
                    .answer(&cell, &ending, None)
            }
        }
    }

    fn log_release(mut self, config: &RoutingConfig) -> Self {
        if let Some(logged) = &mut self.logged {
            logged.release(config);
        }
        self
    }

    /// A release has it: which arm serves, and how.
    fn decided(
        mut self,
        snapshot: &Snapshot,
        arms: &ArmCache,
        decision: &Decision<'_, '_>,
    ) -> RequestAction {
        let release = snapshot.routes.release(decision.release);
        let config = release.config();
        let stage = snapshot.stage(decision.release);
        let cell = self.worker.counters.cell(stage, decision.charge());
        if let Some(logged) = &mut self.logged {
            logged.release(config);
            logged.decision(decision);
        }
        let reason = self.reason(config, decision);
        if let Some(ending) = self.unsent {
            return self.answer(&cell, &ending, reason);
        }
        let has_endpoint = |arm| {
            arms.arm(snapshot, (decision.release, release), arm)
                .is_some_and(|found| found.pool.any(|| is_depended_on(release, arm)))
        };
        let served = serve(release, decision.overlay, decision.arm, has_endpoint);
        let Some(arm) = served
            .arm()
            .and_then(|arm| arms.arm(snapshot, (decision.release, release), arm))
        else {
            cell.failed(None, decision.user);
            return self.answer(&cell, &Ending::NoEndpoint, reason);
        };
        if matches!(self.head.body, BodyLength::Length(length) if length > arm.max_body) {
            return self.answer(&cell, &Ending::Refused(MessageError::BodyTooLong), reason);
        }
        if let Some(body) = self.awaited {
            return RequestAction::Receive {
                body,
                since: self.received,
            };
        }
        let fallback = matches!(served, ServingArm::Fallback(_));
        if fallback {
            cell.fallback();
            cell.outcome(meaning(&Ending::NoEndpoint, |_| false).counted);
            if let Some(logged) = &mut self.logged {
                logged.fallback = true;
            }
        }
        let other = replacement_arm(release, decision.overlay, &served)
            .and_then(|arm| arms.arm(snapshot, (decision.release, release), arm));
        let measure = CountingContext {
            cell,
            user: decision.user,
            fallback,
            abandoned_after: stage.abandoned_after(),
        };
        let set_cookie = decision.mint.as_ref().map(|mint| mint.to_string().into());
        self.forward(
            snapshot.routes.fleet(),
            (arm, other),
            measure,
            reason,
            set_cookie,
        )
    }

    /// No release has it, but the fleet names a backend for that.
    fn default_backend(
        self,
        snapshot: &Snapshot,
        arms: &ArmCache,
        id: DestinationId,
    ) -> RequestAction {
        let cell = self.worker.counters.unrouted();
        if let Some(ending) = self.unsent {
            return self.answer(&cell, &ending, None);
        }
        let arm = arms.default_backend(snapshot, id);
        let Some(arm) = arm.filter(|arm| arm.pool.any(|| true)) else {
            return self.answer(&cell, &Ending::NoEndpoint, None);
        };
        if let Some(body) = self.awaited {
            return RequestAction::Receive {
                body,
                since: self.received,
            };
        }
        let measure = CountingContext {
            cell,
            user: None,
            fallback: false,
            abandoned_after: Duration::MAX,
        };
        self.forward(snapshot.routes.fleet(), (arm, None), measure, None, None)
    }

    /// Why it goes where it goes, for who sent the release's debug field.
    fn reason(&self, config: &RoutingConfig, decision: &Decision<'_, '_>) -> Option<Box<str>> {
        let debug = config.debug.as_ref()?;
        let sent = self.head.fields.get(debug.header.as_str())?;
        (sent == debug.value.as_str().as_bytes()).then(|| {
            let (whose, arm, by) = (
                &config.release,
                decision.arm.name(),
                decision.chosen_by.name(),
            );
            let (revision, reason) = (config.revision.get(), decision.reason);
            format!(
                "{}/{} revision {revision}: {arm} by {by}, {reason}",
                whose.namespace, whose.name
            )
            .into()
        })
    }

    /// Whether it is the load balancer's question. It comes before any release: whichever host it is asked of.
    fn asks_health(&self, fleet: &FleetConfig) -> bool {
        let Some(path) = &fleet.health_path else {
            return false;
        };
        *self.head.path == *path.as_str().as_bytes()
            && matches!(self.head.method, Method::Get | Method::Head)
    }

    fn answer(
        &self,
        cell: &CellWriter,
        ending: &Ending,
        reason: Option<Box<str>>,
    ) -> RequestAction {
        let meaning = meaning(ending, |_| false);
        cell.outcome(meaning.counted);
        self.own(meaning, reason)
    }

    fn own(&self, meaning: EndingEffect, reason: Option<Box<str>>) -> RequestAction {
        RequestAction::Answer(LocalReply {
            meaning,
            version: self.head.version,
            head_only: self.head.method == Method::Head,
            keep_alive: self.head.keep_alive,
            request_read: false,
            reason,
        })
    }

    fn forward(
        &self,
        fleet: &FleetConfig,
        (arm, other): (Rc<WorkerArm>, Option<Rc<WorkerArm>>),
        measure: CountingContext,
        reason: Option<Box<str>>,
        set_cookie: Option<Box<str>>,
    ) -> RequestAction {
        let mut out = self.worker.buffers.small();
        self.write_head(out.vec(), fleet, &arm);
        let CountingContext {
            cell,
            user,
            fallback,
            abandoned_after,
        } = measure;
        let head = self.head;
        let order = Box::new(RoutedRequest {
            arm,
            other,
            cell,
            user,
            fallback,
            abandoned_after,
            received: self.received,
            method: head.method,
            version: head.version,
            body: head.body,
            keep_alive: head.keep_alive,
            websocket: head.websocket,
            expect_continue: head.expect_continue,
            asked: SmallVec::from_slice(head.authority),
            reason,
            set_cookie,
        });
        RequestAction::Forward(order, out)
    }

    fn write_head(&self, out: &mut Vec<u8>, fleet: &FleetConfig, arm: &WorkerArm) {
        let rewrite = RequestRewrite {
            path: arm.onward(),
            forwarding: self.forwarding(fleet),
            peer: self.client.peer.ip(),
            local: self.client.local,
            version_header: arm.request_version(),
            identity_fields: &arm.identity_fields,
            own_fields: &arm.chunks.request.own_fields,
        };
        write::request_head(out, self.head, &rewrite);
    }

    fn forwarding(&self, fleet: &FleetConfig) -> Forwarding {
        let trusted = &fleet.trusted_proxies;
        forwarding(
            fleet.position,
            !trusted.is_empty(),
            is_trusted(self.client.peer.ip(), trusted),
        )
    }
}

/// How a request is counted.
struct CountingContext {
    cell: CellWriter,
    user: Option<UserHash>,
    fallback: bool,
    abandoned_after: Duration,
}
