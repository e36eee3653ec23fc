//! The manifests on disk: read, watched, and read again once an edit is complete. What cannot be read leaves the
//! last good reading in place, with the reason beside it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use halftone_rollout::GrayRelease;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::manifest;

/// Two readings this far apart must agree: an editor may be in the middle of writing.
const SETTLED: Duration = Duration::from_millis(100);
/// A file that is replaced is missing for a moment; one that is missing for so long was removed.
const REMOVED: Duration = Duration::from_secs(1);
/// Events get lost on some file systems.
const POLL: Duration = Duration::from_secs(2);

/// The files that `halftone run` was given.
#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<Followed>,
    changed: Arc<Notify>,
    _watcher: Option<RecommendedWatcher>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Followed {
    /// As it was named.
    pub(crate) path: PathBuf,
    /// The releases of the last good reading.
    pub(crate) releases: Vec<GrayRelease>,
    /// Why the present content is not in effect.
    pub(crate) problem: Option<String>,
    content: Content,
    candidate: Option<(Content, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Text(String),
    Missing,
    Unreadable(String),
}

impl Content {
    fn of(path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::Text(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }

    fn settles_in(&self) -> Duration {
        if *self == Self::Missing { REMOVED } else { SETTLED }
    }
}

impl Files {
    /// Reads the files for the first time and begins to watch them.
    pub(crate) fn open(paths: &[PathBuf]) -> Self {
        let changed = Arc::new(Notify::new());
        let files = paths.iter().map(|path| Followed::open(path)).collect();
        let watcher = watch(paths, &changed);
        Self { files, changed, _watcher: watcher }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Followed> {
        self.files.iter()
    }

    /// Returns when it is time for another look.
    pub(crate) async fn wait(&self) {
        let unsettled = self.files.iter().any(|file| file.candidate.is_some());
        let pause = if unsettled { SETTLED } else { POLL };
        // Either way it is time.
        let _ = tokio::time::timeout(pause, self.changed.notified()).await;
    }

    /// Takes edits that are complete, and says whether there were any.
    pub(crate) fn look(&mut self) -> bool {
        let now = Instant::now();
        self.files.iter_mut().fold(false, |changed, file| file.look(now) | changed)
    }
}

impl Followed {
    fn open(path: &Path) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            releases: Vec::new(),
            problem: None,
            content: Content::of(path),
            candidate: None,
        };
        file.take();
        if file.content == Content::Missing {
            file.problem = Some(format!("{}: there is no such file", path.display()));
        }
        file
    }

    fn look(&mut self, now: Instant) -> bool {
        let content = Content::of(&self.path);
        if content == self.content {
            self.candidate = None;
            return false;
        }
        match self.candidate.take().filter(|(candidate, _)| *candidate == content) {
            Some((content, since)) if now.duration_since(since) >= content.settles_in() => {
                self.content = content;
                self.take();
                true
            }
            Some(candidate) => {
                self.candidate = Some(candidate);
                false
            }
            None => {
                self.candidate = Some((content, now));
                false
            }
        }
    }

    fn take(&mut self) {
        let name = self.path.display();
        match &self.content {
            Content::Missing => (self.releases, self.problem) = (Vec::new(), None),
            Content::Unreadable(why) => self.problem = Some(format!("{name}: {why}")),
            Content::Text(text) => match manifest::read(text, &name.to_string()) {
                Ok(releases) => (self.releases, self.problem) = (releases, None),
                Err(problem) => self.problem = Some(problem),
            },
        }
    }
}

/// Watches the directories, since editors replace files. Without it the poll still finds every edit.
fn watch(paths: &[PathBuf], changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let told = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(told)
        .inspect_err(|error| tracing::warn!("cannot watch files, looking every two seconds: {error}"))
        .ok()?;
    let parent = |path: &PathBuf| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let dirs: BTreeSet<PathBuf> = paths.iter().map(parent).collect();
    for dir in dirs {
        if let Err(error) = watcher.watch(&dir, RecursiveMode::NonRecursive) {
            tracing::warn!("cannot watch {}, looking every two seconds: {error}", dir.display());
        }
    }
    Some(watcher)
}
