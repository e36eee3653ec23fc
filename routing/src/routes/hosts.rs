//! From host and path to the release that claims them: a table of exact hosts, one of wildcards, and the claims of
//! `*`; in each, paths sorted for a search from the longest prefix down.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ReleaseIndex;
use crate::config::names::{HostPattern, PathPrefix};

/// Requests choose what is looked up, but never what is stored, so that a hash without a secret is enough.
#[derive(Debug, Default)]
struct HostHasher(u64);

impl Hasher for HostHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    // `str` ends its hash with one such byte, which distinguishes nothing here.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

type ByHost = HashMap<Box<str>, Paths, BuildHasherDefault<HostHasher>>;

/// Who claims which host and path.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: ByHost,
    /// By what follows `*.`.
    wildcard: ByHost,
    any: Paths,
}

impl Hosts {
    /// Claims a host and path for a release; refused with the one that has it already.
    pub(super) fn claim(
        &mut self,
        host: &HostPattern,
        path: &PathPrefix,
        release: ReleaseIndex,
    ) -> Result<(), ReleaseIndex> {
        let paths = if host.is_any() {
            &mut self.any
        } else if let Some(suffix) = host.wildcard_suffix() {
            self.wildcard.entry(suffix.into()).or_default()
        } else {
            self.exact.entry(host.as_str().into()).or_default()
        };
        paths.claim(path.as_str().as_bytes(), release)
    }

    /// The release that has the best claim.
    pub(super) fn find(&self, host: &str, path: &[u8]) -> Option<ReleaseIndex> {
        self.exact
            .get(host)
            .and_then(|paths| paths.find(path))
            .or_else(|| self.find_wildcard(host, path))
            .or_else(|| self.any.find(path))
    }

    fn find_wildcard(&self, host: &str, path: &[u8]) -> Option<ReleaseIndex> {
        if self.wildcard.is_empty() {
            return None;
        }
        let mut dots = memchr::memchr_iter(b'.', host.as_bytes());
        dots.find_map(|dot| self.wildcard.get(&host[dot + 1..])?.find(path))
    }
}

/// The path prefixes of one host.
#[derive(Debug, Default)]
struct Paths {
    /// Sorted by prefix.
    claims: Vec<(Box<[u8]>, ReleaseIndex)>,
    /// The most slashes that a prefix has; `/` counts none.
    deepest: usize,
}

impl Paths {
    fn claim(&mut self, prefix: &[u8], release: ReleaseIndex) -> Result<(), ReleaseIndex> {
        match self.search(prefix) {
            Ok(at) => Err(self.claims[at].1),
            Err(at) => {
                self.claims.insert(at, (prefix.into(), release));
                if prefix != b"/" {
                    self.deepest = self.deepest.max(memchr::memchr_iter(b'/', prefix).count());
                }
                Ok(())
            }
        }
    }

    fn search(&self, prefix: &[u8]) -> Result<usize, usize> {
        self.claims.binary_search_by(|(claimed, _)| (**claimed).cmp(prefix))
    }

    /// Looks for the path cut after as many segments as the deepest claim has, and then for ever shorter ones: a
    /// path of ten thousand segments costs no more than the claims do.
    fn find(&self, path: &[u8]) -> Option<ReleaseIndex> {
        let mut end = match self.deepest {
            0 => 0,
            deepest => memchr::memchr_iter(b'/', path).nth(deepest).unwrap_or(path.len()),
        };
        loop {
            let prefix = if end == 0 { b"/" } else { &path[..end] };
            if let Ok(at) = self.search(prefix) {
                return Some(self.claims[at].1);
            }
            if end == 0 {
                return None;
            }
            end = memchr::memrchr(b'/', &path[..end]).unwrap_or(0);
        }
    }
}
