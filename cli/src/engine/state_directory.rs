//! The `--state` directory: one file per release with the object, its status and the document that is live, and a
//! lock that keeps a second `run` out. A file is replaced as a whole and reaches the disk before anything acts on it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use halftone_api::plan::local_uid;
use halftone_api::spec::GrayReleaseSpec;
use halftone_api::truncated_name::shorten;
use halftone_api::{GrayRelease, GrayReleaseStatus};
use halftone_daemon::files;
use halftone_routing::document::RoutingConfig;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::output::CommandError;
use crate::summary::name_of;

/// The largest file of a release that is read, in bytes.
const LARGEST: u64 = 64 << 20;
/// More than the lock file's number of a process has.
const LONGEST_PID: u64 = 32;
/// File systems take names of 255 bytes; endings come on top.
const LONGEST_NAME: usize = 200;

/// What is kept of one release.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StateRecord {
    /// The object as it was last read, with its status.
    pub(crate) object: GrayRelease,
    /// The spec that is in effect; another one than the object's while that is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<GrayReleaseSpec>,
    /// The document that is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) document: Option<Arc<RoutingConfig>>,
    /// Since when its manifest has been gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gone_since: Option<Timestamp>,
    /// Why its status is missing, where the rest could be read.
    #[serde(skip)]
    pub(crate) lost_status: Option<String>,
}

/// The directory, locked for this process.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    releases: PathBuf,
    /// Files that cannot be read, and why. Their releases do not start, and nothing is written over them.
    damaged: BTreeMap<PathBuf, String>,
    _lock: File,
}

impl StateDirectory {
    /// Opens the directory and reads what an earlier run left. A file that cannot be read concerns its own release
    /// alone, see [`StateDirectory::damage`].
    ///
    /// # Errors
    /// It cannot be used, or another run uses it.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<StateRecord>), CommandError> {
        let lock = lock(dir)?;
        let releases = dir.join("releases");
        files::own_dir(&releases).map_err(|error| unusable(&releases, &error))?;
        let mut state = Self {
            releases: releases.clone(),
            damaged: BTreeMap::new(),
            _lock: lock,
        };
        let mut records = Vec::new();
        for entry in fs::read_dir(&releases).map_err(|error| unusable(&releases, &error))? {
            let path = entry.map_err(|error| unusable(&releases, &error))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read(&path).and_then(|record| state.check(&path, record)) {
                Ok(record) => records.push(record),
                Err(why) => drop(state.damaged.insert(path, why)),
            }
        }
        Ok((state, records))
    }

    /// What was read of a file, if it is what belongs into it.
    fn check(&self, path: &Path, record: StateRecord) -> Result<StateRecord, String> {
        let metadata = &record.object.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        local_uid(metadata.namespace.as_deref().unwrap_or("default"), name)
            .map_err(|error| damage(path, &error))?;
        let right = self.path(&name_of(&record.object));
        if right != path {
            return Err(damage(
                path,
                &format!(
                    "it holds {}, which belongs into {}",
                    name_of(&record.object),
                    right.display()
                ),
            ));
        }
        Ok(record)
    }

    /// Why a release cannot start from what was kept of it.
    pub(crate) fn damage(&self, name: &str) -> Option<&str> {
        self.damaged.get(&self.path(name)).map(String::as_str)
    }

    /// All that cannot be read.
    pub(crate) fn damages(&self) -> impl Iterator<Item = &str> {
        self.damaged.values().map(String::as_str)
    }

    /// Whether a person has taken a damaged file away since the last time: its release may start.
    pub(crate) fn is_mended(&mut self) -> bool {
        let before = self.damaged.len();
        self.damaged.retain(|path, _| path.exists());
        self.damaged.len() < before
    }

    /// Keeps a record; it is on the disk when this returns.
    pub(crate) fn write(&self, name: &str, record: &StateRecord) -> io::Result<()> {
        let path = self.path(name);
        files::replace(&path, &serde_json::to_vec_pretty(record)?)?;
        File::open(&self.releases)?.sync_all()
    }

    /// Forgets a release.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// No namespace has an underscore, so no two releases share a file.
    fn path(&self, name: &str) -> PathBuf {
        self.releases.join(format!(
            "{}.json",
            shorten(&name.replace('/', "_"), LONGEST_NAME)
        ))
    }
}

fn lock(dir: &Path) -> Result<File, CommandError> {
    files::private_dir(dir).map_err(|error| unusable(dir, &error))?;
    let path = dir.join("lock");
    let mut file = files::open_lock(&path).map_err(|error| unusable(&path, &error))?;
    let mut holder = String::new();
    // Without the number the message still says what to do.
    let _ = (&file).take(LONGEST_PID).read_to_string(&mut holder);
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let failure = CommandError::new(format!(
                "another halftone run{} keeps its progress in {}",
                holder
                    .trim()
                    .parse::<u32>()
                    .map(|pid| format!(" (process {pid})"))
                    .unwrap_or_default(),
                dir.display()
            ));
            return Err(failure
                .advise("end it first, or give this one a directory of its own with --state DIR"));
        }
        Err(TryLockError::Error(error)) => return Err(unusable(&path, &error)),
    }
    if !holder
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'\n')
        || holder.len() as u64 == LONGEST_PID
    {
        let failure =
            CommandError::new(format!("{} is not a lock of halftone run", path.display()));
        return Err(failure.advise("choose another directory with --state DIR"));
    }
    let note = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    // A disk without room is no reason not to serve; the number is only for people.
    let _ = note(&mut file);
    Ok(file)
}

/// A status that cannot be read, such as one of a newer version, leaves what of it can be, and the document, by which
/// users are served.
fn read(path: &Path) -> Result<StateRecord, String> {
    let bytes = files::read_own(path, LARGEST).map_err(|error| damage(path, &error))?;
    serde_json::from_slice(&bytes)
        .or_else(|error| without_status(&bytes, &error).ok_or_else(|| damage(path, &error)))
}

fn without_status(bytes: &[u8], error: &serde_json::Error) -> Option<StateRecord> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    let object = value.get_mut("object")?.as_object_mut()?;
    match object.get_mut("status")? {
        Value::Object(status) => status.retain(|field, value| is_readable(field, value)),
        _ => drop(object.remove("status")),
    }
    let record: StateRecord = serde_json::from_value(value).ok()?;
    Some(StateRecord {
        lost_status: Some(error.to_string()),
        ..record
    })
}

/// Whether this program reads such a field of a status.
fn is_readable(field: &str, value: &Value) -> bool {
    let alone = Value::Object([(field.to_owned(), value.clone())].into_iter().collect());
    serde_json::from_value::<GrayReleaseStatus>(alone).is_ok()
}

fn damage(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!(
        "{}: its release does not start, since its progress cannot be read: {error}. Put a good copy in its place and \
         start again, or remove it: the release then begins at its first step",
        path.display()
    )
}

fn unusable(path: &Path, error: &io::Error) -> CommandError {
    let what = match error.kind() {
        io::ErrorKind::AlreadyExists => "is no directory".to_owned(),
        _ => error.to_string(),
    };
    CommandError::new(format!("{}: {what}", path.display()))
        .advise("--state DIR says where progress is kept")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "in tests a failed assumption should end the test"
    )]

    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_called_lock_and_is_somebody_elses_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (lock, notes) = (dir.path().join("lock"), dir.path().join("notes"));
        fs::write(&notes, "do not lose this").unwrap();
        fs::copy(&notes, &lock).unwrap();
        assert!(
            StateDirectory::open(dir.path())
                .unwrap_err()
                .to_string()
                .contains("not a lock")
        );
        assert_eq!(fs::read_to_string(&lock).unwrap(), "do not lose this");
        fs::remove_file(&lock).unwrap();
        symlink(&notes, &lock).unwrap();
        assert!(
            StateDirectory::open(dir.path())
                .unwrap_err()
                .to_string()
                .contains("link")
        );
        assert_eq!(fs::read_to_string(&notes).unwrap(), "do not lose this");
        fs::remove_file(&lock).unwrap();
        StateDirectory::open(dir.path()).unwrap();
        StateDirectory::open(dir.path()).unwrap();
    }
}
