//! Which rules of HTTP the answers of an arm broke: for `/config`, `/metrics`, and a log line now and then. Written
//! only when an answer is refused, by all workers; it goes on from one snapshot to the next.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use crate::http1::MessageError;

/// One log line in this time for each arm.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The malformed answers of one destination.
#[derive(Debug, Default)]
pub struct ProtocolViolations(Mutex<ViolationCounts>);

#[derive(Debug, Default)]
struct ViolationCounts {
    by_rule: BTreeMap<MessageError, u64>,
    last: Option<ProtocolViolation>,
    last_line: Option<Instant>,
    unlogged: u64,
}

/// One malformed answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolViolation {
    /// The rule's word.
    pub rule: &'static str,
    /// What is wrong, in a few words.
    pub message: &'static str,
    /// Which endpoint answered so.
    pub upstream: Option<SocketAddr>,
    /// When.
    pub at: Timestamp,
}

impl ProtocolViolations {
    /// Counts a malformed answer. If it is time for a log line: how many came since the last one, this one included.
    pub fn count(
        &self,
        rule: MessageError,
        upstream: Option<SocketAddr>,
        now: Instant,
    ) -> Option<u64> {
        let mut counted = self.lock();
        *counted.by_rule.entry(rule).or_default() += 1;
        counted.last = Some(ProtocolViolation {
            rule: rule.word(),
            message: rule.text(),
            upstream,
            at: Timestamp::now(),
        });
        counted.unlogged += 1;
        let due = counted
            .last_line
            .is_none_or(|last| now.saturating_duration_since(last) >= BETWEEN_LINES);
        due.then(|| {
            counted.last_line = Some(now);
            std::mem::take(&mut counted.unlogged)
        })
    }

    /// The last one.
    pub fn last(&self) -> Option<ProtocolViolation> {
        self.lock().last.clone()
    }

    /// How many broke each rule.
    pub fn by_rule(&self) -> BTreeMap<MessageError, u64> {
        self.lock().by_rule.clone()
    }

    fn lock(&self) -> MutexGuard<'_, ViolationCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_counted_and_some_are_logged() {
        let faults = ProtocolViolations::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let rule = MessageError::ChunkSize;
        for (now, line) in [
            (0, Some(1)),
            (1, None),
            (9, None),
            (10, Some(3)),
            (11, None),
            (30, Some(2)),
        ] {
            assert_eq!(faults.count(rule, None, at(now)), line, "after {now} s");
        }
        faults.count(
            MessageError::Coding,
            Some("10.0.0.5:80".parse().unwrap()),
            at(31),
        );
        assert_eq!(
            faults.by_rule(),
            [(MessageError::Coding, 1), (rule, 6)].into()
        );
        let last = faults.last().unwrap();
        assert_eq!(
            (last.rule, last.upstream),
            ("coding", Some("10.0.0.5:80".parse().unwrap()))
        );
    }
}
