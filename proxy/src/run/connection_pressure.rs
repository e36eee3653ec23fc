//! Tells people when client connections become scarce, once, and when there is room again: in the log, and by the
//! report, from which the operator makes an event.

use crate::local::capacity::is_scarce;

/// There is room again below this share of the places, in percent: lower than where it became scarce, so that a count
/// that wavers is told once.
const AMPLE_PERCENT: usize = 80;

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct ConnectionPressure {
    scarce: bool,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PressureChange {
    Scarce,
    RoomAgain,
}

impl ConnectionPressure {
    /// Whether places are scarce, as it was last told.
    pub(super) fn is_scarce(&self) -> bool {
        self.scarce
    }

    /// What so many connections in so many places make to tell.
    pub(super) fn look(&mut self, connections: usize, places: usize) -> Option<PressureChange> {
        let ample = connections.saturating_mul(100) < places.saturating_mul(AMPLE_PERCENT);
        match self.scarce {
            false if is_scarce(connections, places) => {
                self.scarce = true;
                Some(PressureChange::Scarce)
            }
            true if ample => {
                self.scarce = false;
                Some(PressureChange::RoomAgain)
            }
            _ => None,
        }
    }

    /// Looks, and logs what is new.
    pub(super) fn log(&mut self, connections: usize, places: usize) {
        match self.look(connections, places) {
            Some(PressureChange::Scarce) => tracing::warn!(
                connections,
                max_connections = places,
                "client connections are scarce: those that send nothing are closed after 10 s, and when all are \
                 taken the longest idle make room; see who connects, or raise --max-connections and the memory limit"
            ),
            Some(PressureChange::RoomAgain) => {
                tracing::info!(
                    connections,
                    max_connections = places,
                    "there is room for client connections again"
                );
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scarcity_is_told_once_and_again_only_after_there_was_room() {
        let mut crowd = ConnectionPressure::default();
        for (connections, news) in [
            (89, None),
            (90, Some(PressureChange::Scarce)),
            (100, None),
            (85, None),
            (90, None),
            (79, Some(PressureChange::RoomAgain)),
            (85, None),
            (95, Some(PressureChange::Scarce)),
        ] {
            assert_eq!(crowd.look(connections, 100), news, "{connections}");
        }
    }
}
