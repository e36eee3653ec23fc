//! What happened to a release since this process began to look after it, for `halftone events`.

use std::collections::VecDeque;

use halftone_rollout::events::{Event, EventType};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// As many of a release are remembered: beyond what a release brings about in a day.
const MOST: usize = 200;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PastEvent {
    /// When.
    pub(crate) time: Timestamp,
    /// `Normal` or `Warning`, as for Kubernetes events.
    #[serde(rename = "type")]
    pub(crate) type_: String,
    /// What, in one word.
    pub(crate) reason: String,
    /// The same in a sentence.
    pub(crate) message: String,
}

/// The last events of a release, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct EventLog(VecDeque<PastEvent>);

impl EventLog {
    /// Remembers events of a turn.
    pub(super) fn add(&mut self, events: &[Event], time: Timestamp) {
        for event in events {
            let type_ = match event.reason.severity() {
                EventType::Normal => "Normal",
                EventType::Warning => "Warning",
            };
            self.0.push_back(PastEvent {
                time,
                type_: type_.to_owned(),
                reason: event.reason.to_string(),
                message: event.message.clone(),
            });
        }
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<PastEvent> {
        self.0.iter().cloned().collect()
    }
}
