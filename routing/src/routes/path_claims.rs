//! The path prefixes claimed below one host, sorted for a search from the longest prefix down.

use super::ReleaseIndex;

/// Who has which path prefix of one host.
#[derive(Debug, Clone, Default)]
pub(super) struct PathClaims {
    /// Sorted by prefix.
    claims: Vec<(Box<[u8]>, ReleaseIndex)>,
    /// The most slashes that a prefix has; `/` counts none.
    deepest: usize,
}

/// How many segments a prefix has.
fn depth(prefix: &[u8]) -> usize {
    match prefix {
        b"/" => 0,
        prefix => memchr::memchr_iter(b'/', prefix).count(),
    }
}

impl PathClaims {
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Who has exactly this prefix.
    pub(super) fn owner(&self, prefix: &[u8]) -> Option<ReleaseIndex> {
        let at = self.search(prefix).ok()?;
        Some(self.claims[at].1)
    }

    /// Gives a prefix to a release, whoever had it; to none: nobody has it any more.
    pub(super) fn assign(&mut self, prefix: &[u8], release: Option<ReleaseIndex>) {
        match (self.search(prefix), release) {
            (Ok(at), Some(release)) => self.claims[at].1 = release,
            (Err(at), Some(release)) => {
                // Most hosts have one prefix or two.
                if self.claims.len() < 2 {
                    self.claims.reserve_exact(1);
                }
                self.claims.insert(at, (prefix.into(), release));
                self.deepest = self.deepest.max(depth(prefix));
            }
            (Ok(at), None) => {
                self.claims.remove(at);
                let depths = self.claims.iter().map(|(prefix, _)| depth(prefix));
                self.deepest = depths.max().unwrap_or(0);
            }
            (Err(_), None) => {}
        }
    }

    fn search(&self, prefix: &[u8]) -> Result<usize, usize> {
        self.claims
            .binary_search_by(|(claimed, _)| (**claimed).cmp(prefix))
    }

    /// Looks for the path cut after as many segments as the deepest claim has, and then for ever shorter ones: a
    /// path of ten thousand segments costs no more than the claims do.
    pub(super) fn find(&self, path: &[u8]) -> Option<ReleaseIndex> {
        let mut end = match self.deepest {
            0 => 0,
            deepest => memchr::memchr_iter(b'/', path)
                .nth(deepest)
                .unwrap_or(path.len()),
        };
        loop {
            let prefix = if end == 0 { b"/" } else { &path[..end] };
            if let Some(owner) = self.owner(prefix) {
                return Some(owner);
            }
            if end == 0 {
                return None;
            }
            end = memchr::memrchr(b'/', &path[..end]).unwrap_or(0);
        }
    }
}
