//! What version 0.1 wrote, read by this one: documents decide the same for everyone, settings of fleets mean the same,
//! reports add up. The files under `0.1/` were written by that version's code and its proxy; nobody edits them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod documents;
mod reports;

use std::path::{Path, PathBuf};

/// The recorded files of a kind, by name.
pub(crate) fn recorded(kind: &str) -> Vec<(String, String)> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recorded/0.1")
        .join(kind);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let named = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    files
        .iter()
        .map(|path| (named(path), std::fs::read_to_string(path).unwrap()))
        .collect()
}
