//! From host and path to the release that claims them: a table of exact hosts, one of wildcards, and the claims of
//! `*`.

use std::sync::Arc;

use super::{ReleaseIndex, host_table::HostTable, path_claims::PathClaims};
use crate::document::names::{HostPattern, PathPrefix};

/// Who has which host and path.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    exact: HostTable,
    /// By what follows `*.`.
    wildcard: HostTable,
    any: Arc<PathClaims>,
}

impl Hosts {
    /// Who has exactly this host and path.
    pub(super) fn owner(&self, (host, path): (&HostPattern, &PathPrefix)) -> Option<ReleaseIndex> {
        let paths = if host.is_any() {
            Some(&*self.any)
        } else if let Some(suffix) = host.wildcard_suffix() {
            self.wildcard.get(suffix)
        } else {
            self.exact.get(host.as_str())
        };
        paths?.owner(path.as_str().as_bytes())
    }

    /// Gives a host and path to a release, whoever had it; to none: nobody has it any more.
    pub(super) fn assign(
        &mut self,
        (host, path): (&HostPattern, &PathPrefix),
        release: Option<ReleaseIndex>,
    ) {
        let assign = |paths: &mut PathClaims| paths.assign(path.as_str().as_bytes(), release);
        if host.is_any() {
            assign(Arc::make_mut(&mut self.any));
        } else if let Some(suffix) = host.wildcard_suffix() {
            self.wildcard.change(suffix, assign);
        } else {
            self.exact.change(host.as_str(), assign);
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives each host and path to the first that asks for it.
    fn hosts(claims: &[(&str, &str)]) -> (Hosts, Vec<bool>) {
        let mut hosts = Hosts::default();
        let claimed = (0_u32..)
            .map(ReleaseIndex)
            .zip(claims)
            .map(|(index, (host, path))| {
                let (host, path) = (host.parse().expect("a host"), path.parse().expect("a path"));
                let free = hosts.owner((&host, &path)).is_none();
                if free {
                    hosts.assign((&host, &path), Some(index));
                }
                free
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

    #[test]
    fn a_host_and_path_that_nobody_has_any_more_are_not_found() {
        let place =
            |host: &str, path: &str| (host.parse().expect("a host"), path.parse().expect("a path"));
        let (mut hosts, _) = hosts(&[("a", "/x/y"), ("a", "/x"), ("*.a", "/"), ("*", "/")]);
        let before = hosts.clone();
        let found = |hosts: &Hosts, host| hosts.find(host, b"/x/y/z").map(ReleaseIndex::get);
        for (host, path, then) in [
            ("a", "/x/y", Some(1)),
            ("a", "/x", Some(3)),
            ("*", "/", None),
        ] {
            let (host, path) = place(host, path);
            hosts.assign((&host, &path), None);
            assert_eq!(
                (hosts.owner((&host, &path)), found(&hosts, "a")),
                (None, then),
                "{host}{path}"
            );
        }
        assert_eq!(
            (found(&hosts, "b.a"), found(&before, "a")),
            (Some(2), Some(0))
        );
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
