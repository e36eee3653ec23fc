//! What the access log keeps of a request that was drawn for it: copied while its head is still in the buffer.

use std::time::Instant;

use halftone_routing::decide::Decision;
use halftone_routing::document::RoutingConfig;

use crate::access_log::LogEntry;
use crate::counters::{Arm, ChosenBy};
use crate::exchange::ExchangeRecord;
use crate::http1::{MessageError, RequestHead};
use crate::local::Local;
use crate::outcome::EndingEffect;

/// A request that will be logged when it has ended.
#[derive(Debug)]
pub(super) struct LoggedRequest {
    started: Instant,
    method: Box<str>,
    host: Box<str>,
    path: Box<str>,
    release: Option<Box<str>>,
    revision: Option<u64>,
    arm: Option<Arm>,
    chosen_by: Option<ChosenBy>,
    identity: Option<Box<[u8]>>,
    pub(super) fallback: bool,
}

impl LoggedRequest {
    /// Something that is no request, if it is drawn.
    pub(super) fn unknown(worker: &Local, started: Instant) -> Option<Box<Self>> {
        let logged = || Self {
            started,
            method: Box::default(),
            host: Box::default(),
            path: Box::default(),
            release: None,
            revision: None,
            arm: None,
            chosen_by: None,
            identity: None,
            fallback: false,
        };
        worker.log.borrow_mut().wants().then(|| Box::new(logged()))
    }

    /// A request before it is decided, if it is drawn.
    pub(super) fn request(
        worker: &Local,
        head: &RequestHead<'_, '_>,
        started: Instant,
    ) -> Option<Box<Self>> {
        let mut logged = Self::unknown(worker, started)?;
        logged.method = head.method_name.into();
        logged.host = (&*head.host).into();
        logged.path = legible(head.target.path);
        Some(logged)
    }

    /// The release that took it.
    pub(super) fn release(&mut self, config: &RoutingConfig) {
        self.release = Some(format!("{}/{}", config.release.namespace, config.release.name).into());
        self.revision = Some(config.revision.get());
    }

    /// How it was decided.
    pub(super) fn decision(&mut self, decision: &Decision<'_, '_>) {
        self.arm = Some(decision.arm);
        self.chosen_by = Some(decision.chosen_by);
        self.identity = decision.identity.as_deref().map(Into::into);
    }

    /// Writes its line.
    pub(super) fn write(&self, worker: &Local, meaning: &EndingEffect, record: &ExchangeRecord) {
        worker.log.borrow_mut().write(&LogEntry {
            started: self.started,
            method: &self.method,
            host: &self.host,
            path: &self.path,
            release: self.release.as_deref(),
            revision: self.revision,
            arm: self.arm,
            chosen_by: self.chosen_by,
            identity: self.identity.as_deref(),
            fallback: self.fallback,
            upstream: record.upstream,
            status: meaning.status,
            request_bytes: record.request_bytes,
            response_bytes: record.response_bytes,
            wait: record.wait,
            duration: self.started.elapsed(),
            retries: record.retries,
            outcome: meaning.counted,
            rule: meaning.rule.map(MessageError::word),
        });
    }
}

/// A path as text: bytes that are not UTF-8 are written as percent-escapes, which is how such a path is asked for.
fn legible(path: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_utf_8_is_logged_in_escapes() {
        assert_eq!(&*legible(b"/a%20b/\xe4\xb8\xad"), "/a%20b/\u{4e2d}");
        assert_eq!(&*legible(b"/\xd6\xd0x"), "/%D6%D0x");
    }
}
