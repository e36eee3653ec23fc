//! The overlay words of all releases: how much of each one's gray is open, whatever its document says. The applier writes
//! them, which compiles and swaps nothing; each request loads its release's word once, before it is decided.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use halftone_routing::document::names::Uid;
use halftone_routing::document::units::ReleaseId;
use halftone_routing::document::{ReleaseState, RoutingConfig};
use halftone_routing::overlay::Overlay;
use halftone_routing::routes::ReleaseIndex;
use halftone_routing::sweep::SweepSchedule;

/// The overlay of one attempt of one release. Snapshots share it, as they share its counters.
#[derive(Debug)]
pub struct OverlayWord(AtomicU64);

impl Default for OverlayWord {
    fn default() -> Self {
        Self(AtomicU64::new(Overlay::OPEN.encode()))
    }
}

impl OverlayWord {
    /// What it says now.
    pub fn load(&self) -> Overlay {
        Overlay::decode(self.0.load(Relaxed))
    }

    /// Writes it; one thread does. True: it said something else.
    pub fn store(&self, overlay: Overlay) -> bool {
        let word = overlay.encode();
        let flipped = self.0.load(Relaxed) != word;
        if flipped {
            self.0.store(word, Relaxed);
        }
        flipped
    }
}

/// Counts flips of all words, so that workers notice without looking at each.
#[derive(Debug, Default)]
pub struct OverlayFlips(AtomicU64);

impl OverlayFlips {
    /// Words were written. To be called after that: who sees the number sees them.
    pub fn raise(&self) {
        self.0.fetch_add(1, Release);
    }

    /// A number that has risen if words were written.
    pub fn get(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// The words of all releases in use.
#[derive(Debug)]
pub struct Overlays {
    words: HashMap<Uid, OverlayEntry>,
    sweeps: SweepSchedule,
    flips: Arc<OverlayFlips>,
    /// Those of which something is closed, or may come to be.
    watched: BTreeSet<ReleaseIndex>,
    /// Some word may close something.
    closed: bool,
    /// How long no operator has spoken.
    silence: Duration,
}

/// The newest attempt of one uid. It ends where a rollback does, since a document does not give its number.
#[derive(Debug)]
struct OverlayEntry {
    release: ReleaseId,
    state: ReleaseState,
    word: Arc<OverlayWord>,
}

impl Default for Overlays {
    fn default() -> Self {
        Self {
            words: HashMap::new(),
            sweeps: SweepSchedule::default(),
            flips: Arc::default(),
            watched: BTreeSet::new(),
            closed: false,
            silence: Duration::ZERO,
        }
    }
}

impl Overlays {
    /// The word for requests that this document decides from the next snapshot on. A new release id or attempt begins
    /// open, a new revision goes on. What the document asks for is closed at once; what it opens, its predecessor may
    /// still need closed, and [`Overlays::settle`] opens after the swap.
    pub fn enter(&mut self, config: &RoutingConfig) -> Arc<OverlayWord> {
        self.sweep();
        let of = &config.release;
        let known = self.words.get_mut(&of.uid);
        let word = match known.filter(|entry| entry.goes_on(config)) {
            Some(entry) => {
                entry.state = config.state;
                Arc::clone(&entry.word)
            }
            None => self.begin(config),
        };
        let overlay = word.load().and(self.wanted(config));
        word.store(overlay);
        self.closed |= overlay != Overlay::OPEN;
        word
    }

    fn begin(&mut self, config: &RoutingConfig) -> Arc<OverlayWord> {
        let word = Arc::<OverlayWord>::default();
        let entry = OverlayEntry {
            release: config.release.id,
            state: config.state,
            word: Arc::clone(&word),
        };
        self.words.insert(config.release.uid.clone(), entry);
        word
    }

    /// Says how long no operator has spoken.
    pub fn operator_silent_for(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// The release at an index is another now, with its word, or gone.
    pub fn watch(&mut self, index: ReleaseIndex, release: Option<(&RoutingConfig, &OverlayWord)>) {
        let may_close = |(config, word): (&RoutingConfig, &OverlayWord)| {
            word.load() != Overlay::OPEN || closes_ever(config)
        };
        if release.is_some_and(may_close) {
            self.watched.insert(index);
        } else {
            self.watched.remove(&index);
        }
    }

    /// The releases whose words may have to be written: all others are open, and stay so until they change.
    pub fn watched(&self) -> Vec<ReleaseIndex> {
        self.watched.iter().copied().collect()
    }

    /// Writes what is wanted now into the words of these documents, which decide requests and are all that are watched;
    /// true: some flipped. To be reported only then.
    pub fn settle<'a>(
        &mut self,
        releases: impl Iterator<Item = (&'a RoutingConfig, &'a OverlayWord)>,
    ) -> bool {
        let (mut flipped, mut closed) = (false, false);
        for (config, word) in releases {
            let overlay = self.wanted(config);
            flipped |= word.store(overlay);
            closed |= overlay != Overlay::OPEN;
        }
        self.closed = closed;
        if flipped {
            self.flips.raise();
        }
        flipped
    }

    /// Whether anything may be closed, so that a swap may have to open it.
    pub fn is_any_closed(&self) -> bool {
        self.closed
    }

    /// What workers watch.
    pub fn flips(&self) -> &Arc<OverlayFlips> {
        &self.flips
    }

    /// What a release's overlay is to be: all that may close gray, together.
    fn wanted(&self, config: &RoutingConfig) -> Overlay {
        Overlay::after_silence(config, self.silence)
    }

    /// Forgets words that nobody holds.
    fn sweep(&mut self) {
        if self.sweeps.is_due(self.words.len()) {
            self.words
                .retain(|_, entry| Arc::strong_count(&entry.word) > 1);
            self.sweeps.swept(self.words.len());
        }
    }
}

/// Whether anything but another document may close gray.
fn closes_ever(config: &RoutingConfig) -> bool {
    Overlay::after_silence(config, Duration::MAX) != Overlay::OPEN
}

impl OverlayEntry {
    fn goes_on(&self, config: &RoutingConfig) -> bool {
        let retried = self.state == ReleaseState::RolledBack && config.state != self.state;
        self.release == config.release.id && !retried
    }
}

#[cfg(test)]
mod tests {
    use halftone_routing::document::parse::{self, Format};
    use serde_json::json;

    use super::*;

    const ID: &str = "0123456789abcdef";

    fn document(id: &str, revision: u64, state: &str, moving: bool) -> RoutingConfig {
        let document = json!({
            "schema": 1,
            "bucketing": "xxh3-1",
            "release": {"uid": "u-1", "namespace": "shop", "name": "checkout", "id": id,
                "createdAt": "2026-01-02T03:04:05Z"},
            "revision": revision,
            "stage": 2,
            "state": state,
            "moving": moving,
            "ratio": if state == "Active" { 500_000 } else { 0 },
            "hosts": ["shop.example.com"],
            "arms": {
                "stable": {"addresses": ["127.0.0.1:9001"], "version": "v1"},
                "gray": {"addresses": ["127.0.0.1:9002"], "version": "v2"},
            },
            "identity": {"from": [{"header": "X-User-Name"}]},
            "onOperatorLost": {"action": "Stable", "afterMs": 60_000},
        });
        let parsed = parse::routing(document.to_string().as_bytes(), Format::Json);
        parsed.expect("a good document").config
    }

    #[test]
    fn a_new_revision_keeps_the_word_and_a_new_release_or_attempt_begins_open() {
        let mut overlays = Overlays::default();
        let first = overlays.enter(&document(ID, 1, "Active", false));
        first.store(Overlay {
            recall: true,
            ..Overlay::OPEN
        });
        let same = |overlays: &mut Overlays, next: &RoutingConfig| {
            let word = overlays.enter(next);
            (Arc::ptr_eq(&word, &first), word.load() == Overlay::OPEN)
        };
        for next in [
            document(ID, 2, "Active", true),
            document(ID, 3, "RolledBack", false),
            document(ID, 4, "RolledBack", false),
        ] {
            assert_eq!(same(&mut overlays, &next), (true, false), "{next:?}");
        }
        let retried = document(ID, 5, "Active", true);
        assert_eq!(same(&mut overlays, &retried), (false, true));
        let other = document("fedcba9876543210", 6, "Active", true);
        assert_eq!(same(&mut overlays, &other), (false, true));
    }

    #[test]
    fn a_document_that_comes_while_no_operator_is_heard_is_closed_before_the_swap_and_opened_after_it()
     {
        let mut overlays = Overlays::default();
        overlays.operator_silent_for(Duration::from_secs(60));
        let moving = document(ID, 1, "Active", true);
        let word = overlays.enter(&moving);
        assert!(word.load().is_operator_lost());
        let rests = document(ID, 2, "Active", false);
        overlays.enter(&rests);
        assert!(
            word.load().is_operator_lost(),
            "its predecessor decides still"
        );
        let flips = overlays.flips().get();
        assert!(overlays.settle([(&rests, &*word)].into_iter()));
        assert!(word.load() == Overlay::OPEN && overlays.flips().get() > flips);
        assert!(
            !overlays.settle([(&rests, &*word)].into_iter()),
            "nothing more to change"
        );
    }

    #[test]
    fn a_release_is_watched_while_it_is_closed_or_silence_may_close_it() {
        let mut overlays = Overlays::default();
        let mut is_watched = |config: &RoutingConfig, word: &OverlayWord| {
            overlays.watch(ReleaseIndex::FIRST, Some((config, word)));
            !overlays.watched().is_empty()
        };
        let (moving, rests) = (
            document(ID, 1, "Active", true),
            document(ID, 2, "Active", false),
        );
        let word = OverlayWord::default();
        assert!(is_watched(&moving, &word));
        assert!(!is_watched(&rests, &word));
        word.store(Overlay::after_silence(&moving, Duration::MAX));
        assert!(is_watched(&rests, &word), "it is to be opened");
        overlays.watch(ReleaseIndex::FIRST, None);
        assert!(overlays.watched().is_empty(), "it is gone");
    }
}
