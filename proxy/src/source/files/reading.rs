//! Reading a directory: what tells that something may have changed, one generation of a mounted ConfigMap, one file.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use halftone_daemon::files;
use halftone_routing::document::parse::Format;

use super::FileTexts;
use crate::source::Content;

/// More than any document may have; what is longer is read no further, and refused for its size.
const READ_AT_MOST: u64 = 1 << 20;
/// Readings of a generation that vanished while it was read before we wait for the next event.
const GENERATION_TRIES: usize = 5;

/// What tells, without reading the files, whether they may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirectoryStamp {
    pub(super) generation: Option<PathBuf>,
    pub(super) files: BTreeMap<Arc<str>, FileStamp>,
}

/// What a file's every change changes. A change in the same instant as the last one, as far as the file system's clock
/// can tell, is found by the second reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds since 1970; none for what cannot be looked at.
    changed: Option<(i64, i64)>,
}

impl DirectoryStamp {
    pub(super) fn at(dir: &Path) -> io::Result<Self> {
        if let Some(generation) = generation_of(dir)? {
            return Ok(Self {
                generation: Some(generation),
                files: BTreeMap::new(),
            });
        }
        let files = documents_in(dir)?
            .into_iter()
            .map(|(name, (_, meta))| (name, FileStamp::of(meta.as_ref())))
            .collect();
        Ok(Self {
            generation: None,
            files,
        })
    }
}

impl FileStamp {
    fn of(meta: Option<&Metadata>) -> Self {
        Self {
            inode: meta.map_or(0, Metadata::ino),
            length: meta.map_or(0, Metadata::len),
            changed: meta.map(|meta| (meta.ctime(), meta.ctime_nsec())),
        }
    }
}

/// The directory that `..data` stands for now; none in a hand-written directory.
fn generation_of(dir: &Path) -> io::Result<Option<PathBuf>> {
    let link = dir.join("..data");
    match fs::symlink_metadata(&link) {
        Ok(_) => fs::canonicalize(&link).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(dir).map(|_| None),
        Err(error) => Err(error),
    }
}

/// Reads one whole generation, again if the kubelet swapped or removed it meanwhile.
pub(super) fn read_generation(dir: &Path) -> io::Result<FileTexts> {
    let mut last = io::Error::other("..data vanished while it was read");
    for _ in 0..GENERATION_TRIES {
        let Some(generation) = generation_of(dir)? else {
            return Err(last);
        };
        match read_all(&generation) {
            Ok(texts) if generation_of(dir)?.as_ref() == Some(&generation) => return Ok(texts),
            Ok(_) => last = io::Error::other("..data changes faster than it can be read"),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn read_all(dir: &Path) -> io::Result<FileTexts> {
    documents_in(dir)?
        .into_iter()
        .map(|(name, (path, _))| Ok((name, read(&path))))
        .collect()
}

/// A file that cannot be read is a fact about that file, not about the directory. It may have become a FIFO since the
/// directory was read.
pub(super) fn read(path: &Path) -> Content {
    match files::read_start(path, READ_AT_MOST + 1) {
        Ok(bytes) => Content::Text(format_of(path), bytes.into()),
        Err(error) => Content::Unreadable(error.to_string().into()),
    }
}

fn format_of(path: &Path) -> Format {
    if path
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        Format::Json
    } else {
        Format::Yaml
    }
}

/// Where a file is, and what the file system says of it.
type OnDisk = (PathBuf, Option<Metadata>);

/// Regular files (through links) with a document's name, sorted, with what the file system says of them if it says
/// anything. Hidden ones are editors' and the kubelet's own.
fn documents_in(dir: &Path) -> io::Result<BTreeMap<Arc<str>, OnDisk>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.starts_with('.') || !(name.ends_with(".json") || name.ends_with(".yaml")) {
            continue;
        }
        // A FIFO or a socket would block the reader; a dangling link must be reported.
        let meta = fs::metadata(&path).ok();
        if meta.as_ref().is_none_or(Metadata::is_file) {
            found.insert(Arc::from(name), (path, meta));
        }
    }
    Ok(found)
}
