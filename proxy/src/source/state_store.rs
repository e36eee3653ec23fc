//! The last good documents on disk (`--state DIR`), and in a cluster where the Services' endpoints were: what a
//! restarted proxy serves until its source answers.
//!
//! One file per document, replaced by rename after fsync, so that a crash leaves the old or the new one and never
//! half of either. A thread of its own writes, since a disk may hang; of several changes to one document that wait,
//! the last is written. A file that is damaged all the same is told and left out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use halftone_daemon::files;
use halftone_routing::document::names::Uid;
use halftone_routing::document::parse::Format;
use halftone_routing::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const FLEET_FILE: &str = "fleet.json";
const ENDPOINTS_FILE: &str = "endpoints.json";
const KEYS_FILE: &str = "keys.json";
/// The largest file that is read: the endpoints of many thousand Services, in bytes.
const LARGEST: u64 = 256 << 20;

/// What is kept: one document as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedDocument {
    /// The name it was found under.
    pub source: String,
    /// How its text is written.
    pub format: Format,
    /// Its text.
    pub text: String,
}

/// A saved document on disk. The digest finds what rename and fsync cannot prevent: a failing disk, a person's edit.
#[derive(Serialize, Deserialize)]
struct StoredDocument {
    sha256: String,
    #[serde(flatten)]
    saved: SavedDocument,
}

/// Which document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateKey {
    /// A release's.
    Release(Uid),
    /// The fleet's.
    Fleet,
    /// No document: the endpoints of all Services in use.
    Endpoints,
    /// No document: the keys of the operators.
    Keys,
}

impl StateKey {
    /// A uid may be longer than a file's name.
    fn file_name(&self) -> String {
        match self {
            Self::Release(uid) => format!("release-{}.json", &digest(uid.as_str())[..32]),
            Self::Fleet => FLEET_FILE.to_owned(),
            Self::Endpoints => ENDPOINTS_FILE.to_owned(),
            Self::Keys => KEYS_FILE.to_owned(),
        }
    }
}

/// Everything that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedState {
    /// The releases' documents.
    pub releases: Vec<SavedDocument>,
    /// The fleet's.
    pub fleet: Option<SavedDocument>,
    /// The endpoints of all Services in use, as [`crate::upstream::endpoints::Tables`] writes and reads them.
    pub endpoints: Option<SavedDocument>,
    /// The keys of the operators.
    pub keys: Option<SavedDocument>,
}

/// The directory and its writer.
#[derive(Debug)]
pub struct StateStore {
    inbox: Arc<Inbox>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<PendingWrites>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct PendingWrites {
    /// `None`: to be removed.
    changes: BTreeMap<StateKey, Option<SavedDocument>>,
    closed: bool,
}

impl StateStore {
    /// Opens the directory, made if it is not there, and reads what it holds.
    ///
    /// # Errors
    /// It cannot be made, read or written.
    pub fn open(dir: &Path) -> io::Result<(Self, SavedState)> {
        let dir = dir.join("documents");
        files::own_dir(&dir)?;
        let restored = read_all(&dir)?;
        // Told now and not at the first change: a state that cannot be written is no state.
        files::probe(&dir)?;
        let inbox = Arc::<Inbox>::default();
        let writer = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn({
                let inbox = Arc::clone(&inbox);
                move || write_until_closed(&dir, &inbox)
            })?;
        Ok((
            Self {
                inbox,
                writer: Some(writer),
            },
            restored,
        ))
    }

    /// Keeps a document from now on. Returns at once.
    pub fn keep(&self, key: StateKey, saved: SavedDocument) {
        self.change(key, Some(saved));
    }

    /// Keeps a document no longer. Returns at once.
    pub fn forget(&self, key: StateKey) {
        self.change(key, None);
    }

    fn change(&self, key: StateKey, saved: Option<SavedDocument>) {
        self.inbox.lock().changes.insert(key, saved);
        self.inbox.more.notify_one();
    }
}

/// Writes what still waits.
impl Drop for StateStore {
    fn drop(&mut self) {
        self.inbox.lock().closed = true;
        self.inbox.more.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, PendingWrites> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next changes, all that wait at once; none when closed.
    fn next(&self) -> Option<BTreeMap<StateKey, Option<SavedDocument>>> {
        let idle = |waiting: &mut PendingWrites| waiting.changes.is_empty() && !waiting.closed;
        let mut waiting = self
            .more
            .wait_while(self.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        let changes = std::mem::take(&mut waiting.changes);
        (!changes.is_empty()).then_some(changes)
    }
}

fn write_until_closed(dir: &Path, inbox: &Inbox) {
    let mut failing = false;
    while let Some(changes) = inbox.next() {
        let written = write(dir, &changes);
        if let Err(error) = &written
            && !failing
        {
            tracing::error!(dir = %dir.display(), %error, "the last good documents cannot be kept");
        }
        failing = written.is_err();
    }
}

fn write(dir: &Path, changes: &BTreeMap<StateKey, Option<SavedDocument>>) -> io::Result<()> {
    for (key, saved) in changes {
        let path = dir.join(key.file_name());
        match saved {
            Some(saved) => replace_file(&path, saved)?,
            None => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            },
        }
    }
    // One fsync of the directory makes all renames of this round last.
    File::open(dir)?.sync_all()
}

fn replace_file(path: &Path, saved: &SavedDocument) -> io::Result<()> {
    let kept = StoredDocument {
        sha256: digest(&saved.text),
        saved: saved.clone(),
    };
    files::replace(path, &serde_json::to_vec_pretty(&kept)?)
}

fn read_all(dir: &Path) -> io::Result<SavedState> {
    let mut restored = SavedState::default();
    let mut paths = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    for path in paths.iter().filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    }) {
        match read(path) {
            Ok(saved) if path.ends_with(FLEET_FILE) => restored.fleet = Some(saved),
            Ok(saved) if path.ends_with(ENDPOINTS_FILE) => restored.endpoints = Some(saved),
            Ok(saved) if path.ends_with(KEYS_FILE) => restored.keys = Some(saved),
            Ok(saved) => restored.releases.push(saved),
            Err(why) => {
                tracing::warn!(file = %path.display(), why, "a kept document is damaged and left out");
            }
        }
    }
    Ok(restored)
}

fn read(path: &Path) -> Result<SavedDocument, String> {
    let bytes = files::read_own(path, LARGEST).map_err(|error| error.to_string())?;
    let kept: StoredDocument = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if kept.sha256 == digest(&kept.saved.text) {
        Ok(kept.saved)
    } else {
        Err("its text is not what its sha256 was made of".to_owned())
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(name: &str, text: &str) -> SavedDocument {
        SavedDocument {
            source: format!("{name}.yaml"),
            format: Format::Yaml,
            text: text.to_owned(),
        }
    }

    fn release(name: &str) -> StateKey {
        StateKey::Release(format!("local/shop/{name}").parse().unwrap())
    }

    fn sorted(mut saved: Vec<SavedDocument>) -> Vec<SavedDocument> {
        saved.sort_by(|a, b| a.source.cmp(&b.source));
        saved
    }

    fn reopen(dir: &Path) -> SavedState {
        StateStore::open(dir).unwrap().1
    }

    #[test]
    fn what_was_kept_last_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (state, restored) = StateStore::open(dir.path()).unwrap();
        assert_eq!(restored, SavedState::default());
        for revision in 0..100 {
            state.keep(release("a"), saved("a", &format!("revision {revision}")));
        }
        state.keep(release("b"), saved("b", "b"));
        state.keep(release("c"), saved("c", "c"));
        state.keep(StateKey::Fleet, saved("fleet", "f"));
        state.forget(release("b"));
        drop(state);
        let restored = reopen(dir.path());
        assert_eq!(
            sorted(restored.releases),
            [saved("a", "revision 99"), saved("c", "c")]
        );
        assert_eq!(restored.fleet, Some(saved("fleet", "f")));
    }

    #[test]
    fn a_damaged_file_is_left_out_and_the_others_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = StateStore::open(dir.path()).unwrap();
        for name in ["a", "b", "c", "d"] {
            state.keep(release(name), saved(name, "a good text"));
        }
        drop(state);
        let file = |name| dir.path().join("documents").join(release(name).file_name());
        let text = fs::read_to_string(file("a")).unwrap();
        fs::write(file("a"), &text[..text.len() / 2]).unwrap();
        fs::write(file("b"), text.replace("good", "evil")).unwrap();
        fs::write(file("c"), [0xff, 0xfe]).unwrap();
        // What a crash in the middle of a write leaves.
        fs::write(file("d").with_extension("tmp"), "{").unwrap();
        assert_eq!(reopen(dir.path()).releases, [saved("d", "a good text")]);
    }

    #[test]
    fn links_that_somebody_put_there_are_neither_followed_nor_believed() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let precious = other.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        let documents = dir.path().join("documents");
        fs::create_dir(&documents).unwrap();
        let kept = documents.join(release("a").file_name());
        for link in [
            &kept,
            &kept.with_extension("tmp"),
            &documents.join("probe.tmp"),
        ] {
            std::os::unix::fs::symlink(&precious, link).unwrap();
        }
        let (state, restored) = StateStore::open(dir.path()).unwrap();
        assert_eq!(restored, SavedState::default());
        state.keep(release("a"), saved("a", "a"));
        drop(state);
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert_eq!(reopen(dir.path()).releases, [saved("a", "a")]);
        fs::remove_dir_all(&documents).unwrap();
        std::os::unix::fs::symlink(other.path(), &documents).unwrap();
        assert!(
            StateStore::open(dir.path())
                .unwrap_err()
                .to_string()
                .contains("link")
        );
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(StateStore::open(file.path()).is_err());
    }
}
