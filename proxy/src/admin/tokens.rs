//! Who may read what is not for everyone: the bearer tokens of `--token-file`.
//!
//! The file is read again for each request that needs one (a pull every 500 ms at most), so that a replaced Secret
//! counts at once; a FIFO or an endless device in its place is refused, and nobody waits for
//! it. Two tokens at a time let old and new overlap.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use halftone_daemon::files;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The largest token file that is read, in bytes.
const LARGEST: u64 = 64 << 10;

/// The tokens that open the protected pages.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    /// Of the last good reading. Digests, since comparing those takes the same time for every length.
    known: Mutex<Vec<[u8; 32]>>,
}

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("token file {}: {why}", path.display())]
pub struct TokenFileError {
    path: PathBuf,
    why: String,
    is_missing: bool,
}

impl Tokens {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// It cannot be read, or holds no, more than two, or malformed tokens.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, TokenFileError> {
        let path = path.into();
        let known = read(&path)?.iter().map(digest).collect();
        Ok(Self {
            path,
            known: Mutex::new(known),
        })
    }

    /// As [`Tokens::open`], but a file that is not there holds no token yet: in a cluster the operator needs none, and
    /// the Secret behind the file may be made later.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub fn open_if_there(path: impl Into<PathBuf>) -> Result<Self, TokenFileError> {
        let path = path.into();
        match Self::open(path.clone()) {
            Err(error) if error.is_missing => Ok(Self {
                path,
                known: Mutex::default(),
            }),
            opened => opened,
        }
    }

    /// Whether the value of an Authorization field opens the protected pages.
    pub fn allow(&self, authorization: Option<&[u8]>) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&self.path) {
            Ok(tokens) => *known = tokens.iter().map(digest).collect(),
            Err(error) if error.is_missing && known.is_empty() => return false,
            // A Secret that is being replaced must not lock the operator out.
            Err(error) => tracing::warn!(%error, "keeping the tokens read before"),
        }
        let Some((scheme, token)) =
            authorization.and_then(|value| value.split_at_checked("Bearer ".len()))
        else {
            return false;
        };
        let given = digest(token.trim_ascii());
        let matches = known.iter().fold(Choice::from(0), |matches, token| {
            matches | token.ct_eq(&given)
        });
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(matches)
    }
}

/// The first token of a file, as a secret that all proxies of a fleet share; none without the file.
///
/// # Errors
/// It is there and cannot be used.
pub fn first(path: &Path) -> Result<Option<String>, TokenFileError> {
    match read(path) {
        Err(error) if error.is_missing => Ok(None),
        tokens => Ok(Some(tokens?.swap_remove(0))),
    }
}

/// One or two tokens, one a line; empty lines do not count.
fn read(path: &Path) -> Result<Vec<String>, TokenFileError> {
    let error = |why: String| TokenFileError {
        path: path.to_owned(),
        why,
        is_missing: false,
    };
    let text = files::read_text(path, LARGEST).map_err(|cause| TokenFileError {
        is_missing: cause.kind() == io::ErrorKind::NotFound,
        ..error(cause.to_string())
    })?;
    let tokens: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if tokens
        .iter()
        .any(|token| !token.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(error(
            "a token has characters other than visible ASCII; write one token a line".to_owned(),
        ));
    }
    match tokens.len() {
        1 | 2 => Ok(tokens),
        0 => Err(error("it holds no token; write one a line".to_owned())),
        more => Err(error(format!(
            "it holds {more} tokens; keep the new one and the one it replaces"
        ))),
    }
}

fn digest(token: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn both_tokens_open_and_nothing_else_does() {
        let file = file("old-token\n\nnew-token\n");
        let tokens = Tokens::open(file.path()).unwrap();
        for good in ["Bearer old-token", "bearer new-token", "Bearer  new-token"] {
            assert!(tokens.allow(Some(good.as_bytes())), "{good}");
        }
        for bad in [
            "",
            "old-token",
            "Basic old-token",
            "Bearer ",
            "Bearer old-toke",
            "Bearer old-token,new-token",
        ] {
            assert!(!tokens.allow(Some(bad.as_bytes())), "{bad}");
        }
        assert!(!tokens.allow(None));
    }

    #[test]
    fn a_replaced_token_counts_at_the_next_request() {
        let file = file("one");
        let tokens = Tokens::open(file.path()).unwrap();
        fs::write(file.path(), "two").unwrap();
        assert!(tokens.allow(Some(b"Bearer two")));
        assert!(!tokens.allow(Some(b"Bearer one")));
    }

    #[test]
    fn a_file_that_may_come_later_opens_nothing_until_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let tokens = Tokens::open_if_there(&path).unwrap();
        assert!(!tokens.allow(Some(b"Bearer one")) && !tokens.allow(Some(b"Bearer ")));
        fs::write(&path, "one").unwrap();
        assert!(tokens.allow(Some(b"Bearer one")));
        fs::write(&path, "one two").unwrap();
        assert!(
            Tokens::open_if_there(&path).is_err(),
            "what is there has to be good"
        );
    }

    #[test]
    fn a_file_that_becomes_bad_leaves_the_tokens_as_they_were() {
        let file = file("one");
        let tokens = Tokens::open(file.path()).unwrap();
        for bad in ["", "a\nb\nc\n"] {
            fs::write(file.path(), bad).unwrap();
            assert!(tokens.allow(Some(b"Bearer one")), "{bad:?}");
        }
        file.close().unwrap();
        assert!(tokens.allow(Some(b"Bearer one")));
    }

    #[test]
    fn a_fifo_in_the_place_of_the_file_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        fs::write(&path, "one").unwrap();
        let tokens = Tokens::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(tokens.allow(Some(b"Bearer one")) && !tokens.allow(Some(b"Bearer two")));
    }

    #[test]
    fn a_bad_file_says_what_to_do() {
        for (text, advice) in [
            ("", "write one a line"),
            ("a\nb\nc", "keep the new one"),
            ("ä", "visible ASCII"),
        ] {
            let file = file(text);
            let error = Tokens::open(file.path()).unwrap_err().to_string();
            assert!(
                error.contains(advice) && error.contains(file.path().to_str().unwrap()),
                "{error}"
            );
        }
        assert!(
            Tokens::open("/nonexistent")
                .unwrap_err()
                .to_string()
                .contains("No such file")
        );
        assert!(
            Tokens::open("/dev/zero")
                .unwrap_err()
                .to_string()
                .contains("not a regular file")
        );
    }
}
