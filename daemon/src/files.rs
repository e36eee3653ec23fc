//! Files that a program was told of, and files that it keeps: read without waiting for anybody and only up to a bound,
//! written without following what somebody else may have put in their place.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The first `at_most` bytes of a regular file, through links. What is no regular file is refused and never waited
/// for: opening a FIFO would wait for somebody who writes.
///
/// # Errors
/// It cannot be read, or is something else than a file.
pub fn read_start(path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
    read_open(&open(path, OFlags::NONBLOCK)?, at_most)
}

/// A regular file as a whole, through links.
///
/// # Errors
/// As [`read_start`], or it has more than `at_most` bytes.
pub fn read(path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
    whole(read_start(path, at_most.saturating_add(1))?, at_most)
}

/// The same as text in UTF-8.
///
/// # Errors
/// As [`read`], or it is no text.
pub fn read_text(path: &Path, at_most: u64) -> io::Result<String> {
    String::from_utf8(read(path, at_most)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not UTF-8 from byte {at} on"),
        )
    })
}

/// A file that this program has written itself: a link in its place is refused.
///
/// # Errors
/// As [`read`].
pub fn read_own(path: &Path, at_most: u64) -> io::Result<Vec<u8>> {
    let file =
        open(path, OFlags::NONBLOCK | OFlags::NOFOLLOW).map_err(|error| of_link(path, error))?;
    whole(read_open(&file, at_most.saturating_add(1))?, at_most)
}

/// Puts `bytes` in the place of whatever stands at `path`, as a whole: a crash leaves the old file or the new one. The
/// content is on the disk when this returns; that the name is, is for the caller, who syncs the directory once for
/// many. A link at `path` is replaced, and nothing is written through it.
///
/// # Errors
/// The directory cannot be written, or the disk.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = create_new(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// Whether files can be made in a directory.
///
/// # Errors
/// Why not.
pub fn probe(dir: &Path) -> io::Result<()> {
    let probe = dir.join("probe.tmp");
    create_new(&probe)?;
    fs::remove_file(probe)
}

/// A directory for this user alone, made where it is not there, with those above it.
///
/// # Errors
/// It cannot be made, or something else is in its place.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A directory within one of ours. A link in its place is refused: what is written there would go elsewhere.
///
/// # Errors
/// As [`private_dir`], or it is a link.
pub fn own_dir(path: &Path) -> io::Result<()> {
    private_dir(path)?;
    match fs::symlink_metadata(path)? {
        meta if meta.is_dir() => Ok(()),
        _ => Err(is_link()),
    }
}

/// Opens a lock file, made where it is not there, and does not touch what it holds.
///
/// # Errors
/// It cannot be opened or made, or is a link or no regular file.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600);
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = file.map_err(|error| of_link(path, error))?;
    let meta = regular(&file)?;
    if meta.nlink() > 1 {
        return Err(io::Error::other(
            "another name leads to the same file; remove it",
        ));
    }
    Ok(file)
}

/// What an earlier run left under this name goes; a link goes and not what it leads to.
fn create_new(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn read_open(file: &File, at_most: u64) -> io::Result<Vec<u8>> {
    regular(file)?;
    let mut bytes = Vec::new();
    file.take(at_most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn regular(file: &File) -> io::Result<Metadata> {
    let meta = file.metadata()?;
    if meta.is_file() {
        return Ok(meta);
    }
    let kind = if meta.is_dir() {
        io::ErrorKind::IsADirectory
    } else {
        io::ErrorKind::Other
    };
    Err(io::Error::new(kind, "not a regular file"))
}

fn whole(bytes: Vec<u8>, at_most: u64) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 <= at_most {
        return Ok(bytes);
    }
    Err(io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("it has more than {at_most} bytes"),
    ))
}

fn of_link(path: &Path, error: io::Error) -> io::Error {
    let link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    if link { is_link() } else { error }
}

fn is_link() -> io::Error {
    io::Error::other("it is a link, and nothing is read or written through one here; remove it")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "in tests a failed assumption should end the test"
    )]

    use std::os::unix::fs::symlink;

    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn fifo(path: &Path) {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
    }

    #[test]
    fn a_fifo_a_device_and_a_directory_are_refused_without_waiting() {
        let dir = dir();
        let path = dir.path().join("fifo");
        fifo(&path);
        for path in [&*path, Path::new("/dev/zero"), dir.path()] {
            assert!(
                read(path, 10).is_err() && read_own(path, 10).is_err(),
                "{}",
                path.display()
            );
        }
        assert!(
            read(&path, 10)
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
        assert!(open_lock(&path).is_err());
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_through_links_unless_it_is_ours() {
        let dir = dir();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "ten bytes!").unwrap();
        symlink(&path, &link).unwrap();
        assert_eq!(read_text(&link, 10).unwrap(), "ten bytes!");
        assert_eq!(read_start(&path, 3).unwrap(), b"ten");
        assert!(
            read(&path, 9)
                .unwrap_err()
                .to_string()
                .contains("more than 9 bytes")
        );
        assert_eq!(read_own(&path, 10).unwrap(), b"ten bytes!");
        assert!(
            read_own(&link, 10)
                .unwrap_err()
                .to_string()
                .contains("link")
        );
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = dir();
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        for name in ["kept.json", "kept.tmp", "probe.tmp", "lock"] {
            symlink(&precious, dir.path().join(name)).unwrap();
        }
        replace(&dir.path().join("kept.json"), b"new").unwrap();
        probe(dir.path()).unwrap();
        assert!(
            open_lock(&dir.path().join("lock"))
                .unwrap_err()
                .to_string()
                .contains("link")
        );
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert_eq!(read_own(&dir.path().join("kept.json"), 10).unwrap(), b"new");
    }

    #[test]
    fn a_directory_of_ours_is_no_link_to_another() {
        let (dir, other) = (dir(), dir());
        let inner = dir.path().join("documents");
        symlink(other.path(), &inner).unwrap();
        assert!(own_dir(&inner).unwrap_err().to_string().contains("link"));
        fs::remove_file(&inner).unwrap();
        own_dir(&inner).unwrap();
        own_dir(&inner).unwrap();
    }

    #[test]
    fn a_lock_keeps_what_it_holds_and_has_one_name() {
        let dir = dir();
        let lock = dir.path().join("lock");
        fs::write(&lock, "12").unwrap();
        drop(open_lock(&lock).unwrap());
        assert_eq!(fs::read(&lock).unwrap(), b"12");
        fs::hard_link(&lock, dir.path().join("other")).unwrap();
        assert!(
            open_lock(&lock)
                .unwrap_err()
                .to_string()
                .contains("another name")
        );
    }
}
