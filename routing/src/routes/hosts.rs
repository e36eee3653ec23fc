//! From host and path to the release that claims them: a table of exact hosts, one of wildcards, and the claims of
//! `*`; in each, paths sorted for a search from the longest prefix down.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ReleaseIndex;
use crate::document::names::{HostPattern, PathPrefix};

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
        self.claims
            .binary_search_by(|(claimed, _)| (**claimed).cmp(prefix))
    }

    /// Looks for the path cut after as many segments as the deepest claim has, and then for ever shorter ones: a
    /// path of ten thousand segments costs no more than the claims do.
    fn find(&self, path: &[u8]) -> Option<ReleaseIndex> {
        let mut end = match self.deepest {
            0 => 0,
            deepest => memchr::memchr_iter(b'/', path)
                .nth(deepest)
                .unwrap_or(path.len()),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(claims: &[(&str, &str)]) -> (Hosts, Vec<bool>) {
        let mut hosts = Hosts::default();
        let claimed = (0_u32..)
            .map(ReleaseIndex)
            .zip(claims)
            .map(|(index, (host, path))| {
                hosts
                    .claim(
                        &host.parse().expect("a host"),
                        &path.parse().expect("a path"),
                        index,
                    )
                    .is_ok()
            });
        let claimed = claimed.collect();
        (hosts, claimed)
    }

    #[test]
    fn the_closest_host_and_in_it_the_longest_path_wins() {
        let claims = [
            ("shop.example.com", "/checkout"),
            ("*.example.com", "/"),
            ("*.example.com", "/checkout/pay"),
            ("*.shop.example.com", "/"),
            ("*", "/static"),
            ("shop.example.com", "/checkout/pay/now"),
            ("[::1]", "/"),
        ];
        let (hosts, _) = hosts(&claims);
        for (host, path, expected) in [
            ("shop.example.com", "/checkout", Some(0)),
            ("shop.example.com", "/checkout/pay", Some(0)),
            ("shop.example.com", "/checkout/pay/now/x", Some(5)),
            ("shop.example.com", "/checkouts", Some(1)),
            ("shop.example.com", "/", Some(1)),
            ("a.shop.example.com", "/checkout/pay", Some(3)),
            ("a.b.shop.example.com", "/", Some(3)),
            ("other.example.com", "/checkout/pay/x", Some(2)),
            ("other.example.com", "/checkout//pay", Some(1)),
            ("example.com", "/", None),
            ("example.com", "/static/x", Some(4)),
            ("xexample.com", "/", None),
            ("[::1]", "/", Some(6)),
            ("", "/", None),
        ] {
            assert_eq!(
                hosts.find(host, path.as_bytes()).map(|index| index.0),
                expected,
                "{host}{path}"
            );
        }
    }

    #[test]
    fn a_host_and_path_belong_to_whom_claims_them_first() {
        let (_, claimed) = hosts(&[
            ("a", "/x"),
            ("a", "/"),
            ("a", "/x/"),
            ("A.", "/"),
            ("*.a", "/"),
            ("*.a", "/"),
            ("*", "/"),
            ("*", "/"),
        ]);
        assert_eq!(
            claimed,
            [true, true, false, false, true, false, true, false]
        );
    }

    /// The order of the candidates, written out: every claim that covers the request, the best one last.
    fn naive(claims: &[(String, String)], host: &str, path: &str) -> Option<usize> {
        let rank = |(index, (claimed, prefix)): (usize, &(String, String))| {
            let covers_host = match claimed.strip_prefix("*.") {
                Some(suffix) => host
                    .strip_suffix(suffix)
                    .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
                None => claimed == "*" || claimed == host,
            };
            let covers_path = prefix == "/"
                || path
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let level = if claimed == host {
                2
            } else {
                u8::from(claimed != "*")
            };
            (covers_host && covers_path).then_some((
                (level, claimed.len(), prefix.len()),
                std::cmp::Reverse(index),
            ))
        };
        claims
            .iter()
            .enumerate()
            .filter_map(rank)
            .max()
            .map(|(_, index)| index.0)
    }

    proptest! {
        #[test]
        fn the_tables_find_what_a_plain_search_finds(
            claims in prop::collection::vec((r"(\*|(\*\.)?[ab](\.[ab]){0,2})", "(/|(/[xy]{1,2}){1,3})"), 0..12),
            host in r"[ab](\.[ab]){0,3}", path in "(/|(/[xy]{0,2}){1,4})",
        ) {
            let texts: Vec<_> = claims.iter().map(|(host, path)| (host.as_str(), path.as_str())).collect();
            let (hosts, _) = hosts(&texts);
            let found = hosts.find(&host, path.as_bytes()).map(ReleaseIndex::get);
            prop_assert_eq!(found, naive(&claims, &host, &path));
        }
    }
}
