//! The manifests and the fleet declaration on disk: read, watched, and read again once an edit is complete. What cannot
//! be read leaves the last good reading in place, with the reason beside it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use halftone_api::fleet::FleetDeclarations;
use halftone_api::manifest::Manifest;
use halftone_daemon::files;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::manifest;
use crate::{fleet, manifests};

/// Two readings this far apart must agree: an editor may be in the middle of writing.
const SETTLED: Duration = Duration::from_millis(100);
/// A file that is replaced is missing for a moment; one that is missing for so long was removed.
const REMOVED: Duration = Duration::from_secs(1);
/// Files that are written again and again are read no more often.
const SHORTEST: Duration = Duration::from_millis(50);
/// Events get lost on some file systems.
const POLL: Duration = Duration::from_secs(2);

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// The files that `halftone run` was given.
#[derive(Debug)]
pub(crate) struct WatchedFiles {
    manifests: Vec<WatchedFile<Vec<Manifest>>>,
    fleet: Option<WatchedFile<FleetDeclarations>>,
    changed: Arc<Notify>,
    looked: Instant,
    _watcher: Option<RecommendedWatcher>,
}

/// What a file can hold.
pub(crate) trait FileFormat: Sized {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    fn read(text: &str, file: &str) -> Result<Self, String>;
    /// Whether another reading of the file asks for nothing else.
    fn says_the_same(&self, other: &Self) -> bool;
    /// What it means that the file was removed.
    fn removed(file: &str) -> Result<Self, String>;
}

impl FileFormat for Vec<Manifest> {
    fn says_the_same(&self, other: &Self) -> bool {
        let release = |manifest: &Manifest| manifest.release.clone();
        self.iter().map(release).eq(other.iter().map(release))
    }

    fn read(text: &str, file: &str) -> Result<Self, String> {
        manifest::read(text, file)
    }

    fn removed(_file: &str) -> Result<Self, String> {
        Ok(Self::new())
    }
}

impl FileFormat for FleetDeclarations {
    fn says_the_same(&self, other: &Self) -> bool {
        self.fleets == other.fleets
    }

    fn read(text: &str, file: &str) -> Result<Self, String> {
        Self::read(file, text).map_err(|findings| fleet::lines(&findings))
    }

    /// Whose headers are believed does not change because a file is gone.
    fn removed(file: &str) -> Result<Self, String> {
        Err(format!(
            "{file}: there is no such file any more; what it said stays in effect"
        ))
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct WatchedFile<T> {
    /// As it was named.
    pub(crate) path: PathBuf,
    /// The last good reading; none if there was none since the start.
    pub(crate) holds: Option<T>,
    /// Why the present content is not in effect.
    pub(crate) problem: Option<String>,
    content: FileContent,
    candidate: Option<(FileContent, Instant)>,
    /// What an edit that says the same in other words came to, until it is told.
    comment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum FileContent {
    Text(String),
    Missing,
    Unreadable(String),
}

impl FileContent {
    fn of(path: &Path) -> Self {
        match files::read(path, LARGEST) {
            Ok(bytes) => manifests::decode(path, bytes).map_or_else(Self::Unreadable, Self::Text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreadable(manifests::unreadable(path, &error)),
        }
    }

    fn settles_in(&self) -> Duration {
        if *self == Self::Missing {
            REMOVED
        } else {
            SETTLED
        }
    }
}

impl WatchedFiles {
    /// Reads the files for the first time and begins to watch them.
    pub(crate) fn open(manifests: &[PathBuf], fleet: Option<&Path>) -> Self {
        let changed = Arc::new(Notify::new());
        let watcher = watch(
            manifests.iter().map(PathBuf::as_path).chain(fleet),
            &changed,
        );
        Self {
            manifests: manifests
                .iter()
                .map(|path| WatchedFile::open(path))
                .collect(),
            fleet: fleet.map(WatchedFile::open),
            changed,
            looked: Instant::now(),
            _watcher: watcher,
        }
    }

    /// The files with releases.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &WatchedFile<Vec<Manifest>>> {
        self.manifests.iter()
    }

    /// The file with the fleet, if one was named.
    pub(crate) fn fleet(&self) -> Option<&WatchedFile<FleetDeclarations>> {
        self.fleet.as_ref()
    }

    /// Why the present content of files is not in effect.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &str> {
        let fleet = self.fleet.iter().filter_map(|file| file.problem.as_deref());
        self.manifests
            .iter()
            .filter_map(|file| file.problem.as_deref())
            .chain(fleet)
    }

    /// What edits came to that change nothing; each once.
    pub(crate) fn comments(&mut self) -> Vec<String> {
        let fleet = self.fleet.iter_mut().filter_map(|file| file.comment.take());
        self.manifests
            .iter_mut()
            .filter_map(|file| file.comment.take())
            .chain(fleet)
            .collect()
    }

    /// Returns when it is time for another look.
    pub(crate) async fn wait(&self) {
        let unsettled = self.manifests.iter().any(|file| file.candidate.is_some())
            || self
                .fleet
                .as_ref()
                .is_some_and(|file| file.candidate.is_some());
        let pause = if unsettled { SETTLED } else { POLL };
        // Either way it is time.
        let _ = tokio::time::timeout(pause, self.changed.notified()).await;
        tokio::time::sleep_until((self.looked + SHORTEST).into()).await;
    }

    /// Takes edits that are complete, and says whether there were any.
    pub(crate) fn look(&mut self) -> bool {
        let now = Instant::now();
        self.looked = now;
        let fleet = self.fleet.as_mut().is_some_and(|file| file.look(now));
        self.manifests
            .iter_mut()
            .fold(fleet, |changed, file| file.look(now) | changed)
    }
}

impl<T: FileFormat> WatchedFile<T> {
    fn open(path: &Path) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            holds: None,
            problem: None,
            content: FileContent::of(path),
            candidate: None,
            comment: None,
        };
        file.take();
        if file.content == FileContent::Missing {
            (file.holds, file.problem) = (
                None,
                Some(format!("{}: there is no such file", path.display())),
            );
        }
        file
    }

    fn look(&mut self, now: Instant) -> bool {
        let content = FileContent::of(&self.path);
        if content == self.content {
            self.candidate = None;
            return false;
        }
        match self
            .candidate
            .take()
            .filter(|(candidate, _)| *candidate == content)
        {
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
        let name = self.path.display().to_string();
        let read = match &self.content {
            FileContent::Missing => T::removed(&name),
            FileContent::Unreadable(why) => Err(why.clone()),
            FileContent::Text(text) => T::read(text, &name),
        };
        match read {
            Ok(holds) => {
                let same = self
                    .holds
                    .as_ref()
                    .is_some_and(|before| before.says_the_same(&holds));
                self.comment = same.then(|| match self.problem {
                    Some(_) => format!("{name}: is right again, and as it was"),
                    None => format!("{name}: read; the edit changes nothing"),
                });
                (self.holds, self.problem) = (Some(holds), None);
            }
            Err(problem) => self.problem = Some(problem),
        }
    }
}

/// Watches the directories, since editors replace files, for what has the name of a file that is followed. Without it
/// the poll still finds every edit, and what a link leads to.
fn watch<'a>(
    paths: impl Iterator<Item = &'a Path>,
    changed: &Arc<Notify>,
) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let paths: Vec<&Path> = paths.collect();
    let names: BTreeSet<OsString> = paths
        .iter()
        .filter_map(|path| Some(path.file_name()?.into()))
        .collect();
    let told = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| concerns(&event, &names)) {
            changed.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(told)
        .inspect_err(|error| {
            tracing::warn!("cannot watch files, looking every two seconds: {error}")
        })
        .ok()?;
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let dirs: BTreeSet<PathBuf> = paths.into_iter().map(parent).collect();
    for dir in dirs {
        if let Err(error) = watcher.watch(&dir, RecursiveMode::NonRecursive) {
            tracing::warn!(
                "cannot watch {}, looking every two seconds: {error}",
                dir.display()
            );
        }
    }
    Some(watcher)
}

/// Whether an event may be about a file of one of these names. A mounted ConfigMap changes by its `..data` alone.
fn concerns(event: &notify::Event, names: &BTreeSet<OsString>) -> bool {
    let mut about = event.paths.iter().filter_map(|path| path.file_name());
    let followed =
        about.any(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."));
    !event.kind.is_access() && (followed || event.need_rescan())
}

#[cfg(test)]
mod tests {
    use notify::EventKind;
    use notify::event::{AccessKind, CreateKind, Flag, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn only_what_may_be_an_edit_of_a_followed_file_wakes() {
        let names = BTreeSet::from([OsString::from("release.yaml")]);
        let event = |kind: EventKind, name: &str| {
            notify::Event::new(kind).add_path(Path::new("/etc").join(name))
        };
        let created = EventKind::Create(CreateKind::File);
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        for (event, wakes) in [
            (event(created, "release.yaml"), true),
            (event(renamed, "release.yaml"), true),
            (event(renamed, "..data"), true),
            (
                event(renamed, "x.tmp").add_path("/etc/release.yaml".into()),
                true,
            ),
            (
                notify::Event::new(EventKind::Other).set_flag(Flag::Rescan),
                true,
            ),
            (event(created, "access.log"), false),
            (
                event(EventKind::Access(AccessKind::Any), "release.yaml"),
                false,
            ),
        ] {
            assert_eq!(concerns(&event, &names), wakes, "{event:?}");
        }
    }
}
