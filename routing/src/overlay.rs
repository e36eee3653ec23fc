//! What changes without a document where a release sends its requests: how much of gray is open at this moment. A
//! proxy keeps one word for each release; its control thread alone writes it, a request reads it once and goes by the
//! copy to its end. Here is what the word says; the document says what would be open without it.

use std::time::Duration;

use serde::Serialize;

use crate::document::{RoutingConfig, units::Ratio};

/// How much of gray is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlay {
    /// The split sends no larger share of users to gray.
    pub cap: Ratio,
    /// The ways to gray that are open.
    pub open: GrayPaths,
    /// What lasts on gray (tunnels, long answers) is to end, as after a rollback.
    pub recall: bool,
    /// Why it is not as the document says, if it is not.
    pub reason: Option<OverlayReason>,
}

/// Why gray is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum OverlayReason {
    /// No operator has spoken for as long as `onOperatorLost` waits.
    OperatorLost,
}

impl OverlayReason {
    const ALL: [Self; 1] = [Self::OperatorLost];

    /// Its number in the word; 0 is none.
    const fn code(self) -> u64 {
        match self {
            Self::OperatorLost => 1,
        }
    }

    fn of(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// Ways in which a request can come to gray, as a set. `force` is none of them: nothing but a document takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrayPaths(u8);

impl GrayPaths {
    /// No way.
    pub const NONE: Self = Self(0);
    /// Rules to gray.
    pub const RULES: Self = Self(1);
    /// Lanes.
    pub const LANES: Self = Self(1 << 1);
    /// Bindings of sessions.
    pub const BINDINGS: Self = Self(1 << 2);
    /// The split, whether by identity, by chance or by `whenMissing`; and standing in for stable.
    pub const SPLIT: Self = Self(1 << 3);
    /// Every way.
    pub const ALL: Self = Self(0b1111);

    /// Whether all of these are in the set.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Bits of the word, from the lowest: 20 for the cap, 4 for what is open, 1 for the recall, 4 for the reason.
const OPEN_AT: u32 = 20;
const RECALL_AT: u32 = OPEN_AT + 4;
const REASON_AT: u32 = RECALL_AT + 1;

const fn bits(word: u64, at: u32, count: u32) -> u64 {
    (word >> at) & ((1 << count) - 1)
}

impl Overlay {
    /// Everything is as the document says.
    pub const OPEN: Self = Self {
        cap: Ratio::FULL,
        open: GrayPaths::ALL,
        recall: false,
        reason: None,
    };

    /// Nobody comes to gray: what a lost operator asks for. What lasts there may go on.
    const OPERATOR_LOST: Self = Self {
        cap: Ratio::ZERO,
        open: GrayPaths::NONE,
        recall: false,
        reason: Some(OverlayReason::OperatorLost),
    };

    /// What a release asks for in its `onOperatorLost` once no operator has spoken for so long.
    pub fn after_silence(config: &RoutingConfig, silence: Duration) -> Self {
        if config.is_operator_lost_after(silence) {
            Self::OPERATOR_LOST
        } else {
            Self::OPEN
        }
    }

    /// What both leave open. Of two reasons the first one's is told.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cap: self.cap.min(other.cap),
            open: self.open.intersection(other.open),
            recall: self.recall || other.recall,
            reason: self.reason.or(other.reason),
        }
    }

    /// Whether all of these ways to gray are open.
    pub const fn lets(self, paths: GrayPaths) -> bool {
        self.open.contains(paths)
    }

    /// The share of users that the split sends to gray where the document says `ratio`.
    pub fn ratio(self, ratio: Ratio) -> Ratio {
        if self.lets(GrayPaths::SPLIT) {
            ratio.min(self.cap)
        } else {
            Ratio::ZERO
        }
    }

    /// Whether gray is closed for want of an operator.
    pub fn is_operator_lost(self) -> bool {
        self.reason == Some(OverlayReason::OperatorLost)
    }

    /// As one word.
    pub fn encode(self) -> u64 {
        u64::from(self.cap.millionths())
            | u64::from(self.open.0) << OPEN_AT
            | u64::from(self.recall) << RECALL_AT
            | self.reason.map_or(0, OverlayReason::code) << REASON_AT
    }

    /// From one word. Any word says something: a cap beyond everybody is none, and so is a reason that nobody gives.
    pub fn decode(word: u64) -> Self {
        let cap = Ratio::from_millionths(bits(word, 0, OPEN_AT) as u32);
        Self {
            cap: cap.unwrap_or(Ratio::FULL),
            open: GrayPaths(bits(word, OPEN_AT, 4) as u8),
            recall: bits(word, RECALL_AT, 1) == 1,
            reason: OverlayReason::of(bits(word, REASON_AT, 4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        document::parse::{self, Format},
        testing::document,
    };

    fn overlays() -> impl Strategy<Value = Overlay> {
        let reason = prop::option::of(prop::sample::select(&OverlayReason::ALL[..]));
        (0..=1_000_000_u32, 0..16_u8, any::<bool>(), reason).prop_map(
            |(cap, open, recall, reason)| Overlay {
                cap: Ratio::from_millionths(cap).expect("no more than everybody"),
                open: GrayPaths(open),
                recall,
                reason,
            },
        )
    }

    proptest! {
        #[test]
        fn a_word_says_what_was_written(overlay in overlays()) {
            prop_assert_eq!(Overlay::decode(overlay.encode()), overlay);
        }

        #[test]
        fn any_word_is_read_and_stays_as_it_was_read(word: u64) {
            let read = Overlay::decode(word);
            prop_assert_eq!(Overlay::decode(read.encode()), read);
        }

        #[test]
        fn two_overlays_let_pass_what_both_do(one in overlays(), two in overlays(), ratio in 0..=1_000_000_u32) {
            let both = one.and(two);
            let ratio = Ratio::from_millionths(ratio).expect("no more than everybody");
            for path in [GrayPaths::RULES, GrayPaths::LANES, GrayPaths::BINDINGS, GrayPaths::SPLIT] {
                prop_assert_eq!(both.lets(path), one.lets(path) && two.lets(path));
            }
            prop_assert_eq!(both.ratio(ratio), one.ratio(ratio).min(two.ratio(ratio)));
            prop_assert_eq!(both.recall, one.recall || two.recall);
            prop_assert_eq!((one.and(Overlay::OPEN), Overlay::OPEN.and(one)), (one, one));
        }
    }

    #[test]
    fn a_silent_operator_closes_moving_releases_that_ask_for_it() {
        for (moving, action, closes) in [
            (true, "Stable", true),
            (false, "Stable", false),
            (true, "Hold", false),
        ] {
            let lost = json!({"action": action, "afterMs": 60_000});
            let document = document(json!({"moving": moving, "onOperatorLost": lost}));
            let parsed = parse::routing(document.to_string().as_bytes(), Format::Json);
            let config = parsed.expect("a good document").config;
            let after = |seconds| Overlay::after_silence(&config, Duration::from_secs(seconds));
            assert_eq!(after(59), Overlay::OPEN);
            assert_eq!(after(60) != Overlay::OPEN, closes, "{document}");
            assert_eq!(after(60).is_operator_lost(), closes);
            assert!(!after(60).recall, "what lasts on gray goes on");
        }
    }
}
