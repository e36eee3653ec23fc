//! Documents from a directory (`--config DIR`).
//!
//! A directory mounted from a ConfigMap has a `..data` link that the kubelet swaps: everything is read through the
//! link's target, so that all files come from one generation. A directory written by hand has no such moment: there a
//! file counts once two readings 100 ms apart agree. File events say when to look, and a look every 2 s finds what
//! events missed. A directory that becomes unreadable or wholly empty changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Content, SourceListing};

mod reading;

use self::reading::{DirectoryStamp, FileStamp, read, read_generation};

/// The fleet's document is the one of this name; all others are releases'.
const FLEET: &str = "fleet.yaml";

/// What files hold, by their names.
type FileTexts = BTreeMap<Arc<str>, Content>;

/// How often the directory is looked at without an event.
const POLL: Duration = Duration::from_secs(2);
/// How long a hand-written file must stay the same to count.
const SETTLE: Duration = Duration::from_millis(100);
/// How often the first list is put off because a file is still being written.
const FIRST_TRIES: usize = 20;

/// A directory being followed.
#[derive(Debug)]
pub struct DirectorySource {
    dir: PathBuf,
    events: mpsc::Receiver<()>,
    poke: mpsc::Sender<()>,
    watcher: Option<(u64, RecommendedWatcher)>,
    settled: Option<DirectoryStamp>,
    counted: Option<FileTexts>,
    first_tries: usize,
    trouble: Option<String>,
}

/// What following found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryUpdate {
    /// The directory's documents: the first, different ones, or those of before when trouble has passed.
    Listing(SourceListing),
    /// The directory cannot be used, for this reason; what was found before goes on holding.
    Trouble(String),
}

/// The documents that files of these names are.
pub fn documents(mut texts: BTreeMap<Arc<str>, Content>) -> SourceListing {
    let fleet = texts.remove_entry(FLEET);
    SourceListing {
        releases: texts,
        fleet,
    }
}

impl DirectorySource {
    /// Follows `dir`, which need not exist yet.
    pub fn follow(dir: impl Into<PathBuf>) -> Self {
        let (poke, events) = mpsc::channel(1);
        let dir = dir.into();
        Self {
            dir,
            events,
            poke,
            watcher: None,
            settled: None,
            counted: None,
            first_tries: 0,
            trouble: None,
        }
    }

    /// Waits for the next change. The first call returns what is there.
    pub async fn next(&mut self) -> DirectoryUpdate {
        loop {
            self.watch();
            match self.look().await {
                Ok(Some(texts)) => {
                    self.trouble = None;
                    return DirectoryUpdate::Listing(documents(texts));
                }
                Ok(None) => {
                    if let (Some(_), Some(counted)) = (self.trouble.take(), &self.counted) {
                        return DirectoryUpdate::Listing(documents(counted.clone()));
                    }
                }
                Err(trouble) if self.trouble.as_ref() != Some(&trouble) => {
                    self.trouble = Some(trouble.clone());
                    return DirectoryUpdate::Trouble(trouble);
                }
                Err(_) => {}
            }
            // A closed channel cannot happen, since `self` holds a sender; a time-out is the poll.
            let _ = tokio::time::timeout(POLL, self.events.recv()).await;
        }
    }

    /// (Re-)establishes the file events. They follow the directory itself and not its name, so a directory put in
    /// its place needs new ones.
    fn watch(&mut self) {
        let Ok(inode) = fs::metadata(&self.dir).map(|meta| meta.ino()) else {
            return;
        };
        if self
            .watcher
            .as_ref()
            .is_some_and(|(watched, _)| *watched == inode)
        {
            return;
        }
        let poke = self.poke.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading makes access events, too; answering those would be a loop.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = poke.try_send(());
            }
        })
        .and_then(|mut watcher| {
            watcher
                .watch(&self.dir, RecursiveMode::NonRecursive)
                .map(|()| watcher)
        });
        self.watcher = match watcher {
            Ok(watcher) => Some((inode, watcher)),
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "no file events; looking every 2 s instead");
                None
            }
        };
    }

    /// Looks once; `None`: nothing new.
    async fn look(&mut self) -> Result<Option<FileTexts>, String> {
        let look = self.blocking(DirectoryStamp::at).await?;
        if self.settled.as_ref() == Some(&look) {
            return Ok(None);
        }
        let (texts, settled) = match &look.generation {
            Some(_) => (self.blocking(read_generation).await?, true),
            None => self.settle(&look).await?,
        };
        self.settled = settled.then_some(look);
        if !settled {
            let _ = self.poke.try_send(());
        }
        match &self.counted {
            // A file that is being written at the start belongs to the first list; one that never rests does not.
            None if !settled && self.first_tries < FIRST_TRIES => {
                self.first_tries += 1;
                return Ok(None);
            }
            Some(counted) if texts.is_empty() && !counted.is_empty() => {
                // Looked at again each time, so that "nothing changed" is not mistaken for "all is well".
                self.settled = None;
                return Err(format!(
                    "{}: no *.json or *.yaml is left in it",
                    self.dir.display()
                ));
            }
            Some(counted) if *counted == texts => return Ok(None),
            _ => {}
        }
        self.counted = Some(texts.clone());
        Ok(Some(texts))
    }

    /// Reads what may have changed in a hand-written directory twice; the rest is known. The second value says whether
    /// everything has settled.
    async fn settle(&self, first: &DirectoryStamp) -> Result<(FileTexts, bool), String> {
        let none = FileTexts::new();
        let counted = self.counted.as_ref().unwrap_or(&none);
        let stamps = self.settled.as_ref().map(|settled| &settled.files);
        let known =
            |name: &Arc<str>, stamp| stamps.is_some_and(|known| known.get(name) == Some(stamp));
        let (same, changed): (Vec<_>, Vec<_>) = first
            .files
            .iter()
            .partition(|(name, stamp)| known(name, stamp));
        let names = |files: Vec<(&Arc<str>, &FileStamp)>| {
            files
                .into_iter()
                .map(|(name, _)| Arc::clone(name))
                .collect()
        };
        let (same, mut changed): (Vec<_>, Vec<_>) = (names(same), names(changed));

        let before = self.read(changed.clone()).await?;
        tokio::time::sleep(SETTLE).await;
        let second = self.blocking(DirectoryStamp::at).await?;
        changed.retain(|name| second.files.contains_key(name));
        let after = self.read(changed).await?;
        let (mut texts, agreed) = agreed(&before, &after, counted);
        let still = same.iter().filter(|name| second.files.contains_key(*name));
        texts.extend(
            still
                .filter_map(|name| counted.get_key_value(name))
                .map(|(name, text)| (name.clone(), text.clone())),
        );
        Ok((texts, agreed && second == *first))
    }

    async fn read(&self, names: Vec<Arc<str>>) -> Result<FileTexts, String> {
        let read_each = move |dir: &Path| {
            let read = names.into_iter().map(|name| {
                let content = read(&dir.join(&*name));
                (name, content)
            });
            Ok(read.collect())
        };
        self.blocking(read_each).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        let dir = self.dir.clone();
        let done = spawn_blocking(move || {
            work(&dir).map_err(|error| format!("{}: {error}", dir.display()))
        })
        .await;
        done.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// What counts after two readings: files that both found the same; one that is being written counts as it did before.
fn agreed(before: &FileTexts, after: &FileTexts, counted: &FileTexts) -> (FileTexts, bool) {
    let mut texts = FileTexts::new();
    let mut settled = before.keys().eq(after.keys());
    for (name, content) in after {
        if before.get(name) == Some(content) {
            texts.insert(Arc::clone(name), content.clone());
            continue;
        }
        settled = false;
        if let Some(old) = counted.get(name) {
            texts.insert(Arc::clone(name), old.clone());
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        // Gone between the readings: an editor may be replacing it.
        if let Some(old) = counted.get(name) {
            texts.insert(Arc::clone(name), old.clone());
        }
    }
    (texts, settled)
}

#[cfg(test)]
mod tests {
    use halftone_routing::document::parse::Format;

    use super::*;
    use std::os::unix::fs::symlink;

    fn bytes(text: &str) -> Content {
        Content::Text(Format::Yaml, text.as_bytes().into())
    }

    fn of_name(name: &str, text: &str) -> Content {
        let format = if name.ends_with(".json") {
            Format::Json
        } else {
            Format::Yaml
        };
        Content::Text(format, text.as_bytes().into())
    }

    fn texts<const N: usize>(files: [(&str, &str); N]) -> FileTexts {
        files
            .into_iter()
            .map(|(name, text)| (Arc::from(name), of_name(name, text)))
            .collect()
    }

    fn listing<const N: usize>(files: [(&str, &str); N]) -> SourceListing {
        documents(texts(files))
    }

    /// A generation as the kubelet writes it: a new directory, and a link renamed over the old one.
    fn swap(dir: &Path, generation: &str, files: &[(&str, &str)]) {
        let target = dir.join(format!("..{generation}"));
        fs::create_dir(&target).unwrap();
        for (name, text) in files {
            fs::write(target.join(name), text).unwrap();
            let _ = symlink(Path::new("..data").join(name), dir.join(name));
        }
        symlink(format!("..{generation}"), dir.join("..data_tmp")).unwrap();
        fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    }

    #[test]
    fn a_file_that_is_being_written_counts_as_it_did_before() {
        let counted = texts([("a.yaml", "old"), ("b.yaml", "b")]);
        let before = texts([("a.yaml", "ne"), ("b.yaml", "b"), ("c.yaml", "c")]);
        let after = texts([("a.yaml", "new"), ("b.yaml", "b"), ("c.yaml", "cc")]);
        let expected = texts([("a.yaml", "old"), ("b.yaml", "b")]);
        assert_eq!(agreed(&before, &after, &counted), (expected, false));
        assert_eq!(agreed(&after, &after, &counted), (after.clone(), true));
    }

    #[test]
    fn a_file_that_vanishes_between_two_readings_counts_as_it_did_before() {
        let counted = texts([("a.yaml", "a")]);
        assert_eq!(
            agreed(&counted, &FileTexts::new(), &counted),
            (counted.clone(), false)
        );
    }

    #[tokio::test]
    async fn each_swap_of_the_data_link_gives_one_generation() {
        let dir = tempfile::tempdir().unwrap();
        swap(
            dir.path(),
            "1",
            &[("a.json", "1"), ("b.json", "1"), ("notes.txt", "1")],
        );
        let mut files = DirectorySource::follow(dir.path());
        assert_eq!(
            files.next().await,
            DirectoryUpdate::Listing(listing([("a.json", "1"), ("b.json", "1")]))
        );
        swap(dir.path(), "2", &[("a.json", "2"), ("b.json", "2")]);
        assert_eq!(
            files.next().await,
            DirectoryUpdate::Listing(listing([("a.json", "2"), ("b.json", "2")]))
        );
    }

    #[tokio::test]
    async fn a_directory_that_loses_everything_or_itself_is_trouble_and_no_listing() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("config");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.yaml"), "a").unwrap();
        let mut files = DirectorySource::follow(&dir);
        assert_eq!(
            files.next().await,
            DirectoryUpdate::Listing(listing([("a.yaml", "a")]))
        );
        fs::remove_file(dir.join("a.yaml")).unwrap();
        assert!(
            matches!(files.next().await, DirectoryUpdate::Trouble(why) if why.contains("no *.json"))
        );
        fs::remove_dir(&dir).unwrap();
        assert!(
            matches!(files.next().await, DirectoryUpdate::Trouble(why) if why.contains("No such file"))
        );
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.yaml"), "b").unwrap();
        assert_eq!(
            files.next().await,
            DirectoryUpdate::Listing(listing([("a.yaml", "b")]))
        );
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_leaves_the_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "a").unwrap();
        symlink("nowhere", dir.path().join("b.yaml")).unwrap();
        let DirectoryUpdate::Listing(found) = DirectorySource::follow(dir.path()).next().await
        else {
            panic!("trouble")
        };
        assert_eq!(found.releases["a.yaml"], bytes("a"));
        assert!(
            matches!(&found.releases["b.yaml"], Content::Unreadable(why) if why.contains("No such file"))
        );
    }

    #[test]
    fn what_is_no_regular_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("a.yaml");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [&*fifo, Path::new("/dev/zero"), dir.path()] {
            assert!(
                matches!(read(path), Content::Unreadable(why) if why.contains("regular file")),
                "{path:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_empty_directory_is_an_empty_listing_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            DirectorySource::follow(dir.path()).next().await,
            DirectoryUpdate::Listing(SourceListing::default())
        );
    }
}
