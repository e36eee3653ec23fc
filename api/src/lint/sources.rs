//! Sources of identity under which one user is two: spelled in two ways, known here and not there, or with a cookie for
//! each host.

use super::Notes;
use crate::{
    manifest::Manifest,
    problem::{Problem, field, item},
    spec::IdentitySource,
};

pub(super) fn notes(manifest: &Manifest) -> Notes {
    [
        spellings(manifest),
        addresses(manifest),
        cookie_per_host(manifest),
    ]
    .into_iter()
    .flatten()
    .collect()
}

type Note = (&'static str, Problem);

fn from(manifest: &Manifest) -> &[IdentitySource] {
    &manifest.release.spec.identity.from
}

/// A user who is decoded in one source and not in another has two spellings.
fn spellings(manifest: &Manifest) -> Option<Note> {
    let is_text = |source: &&IdentitySource| {
        source.header.is_some() || source.query.is_some() || source.cookie.is_some()
    };
    let texts: Vec<_> = from(manifest).iter().filter(is_text).collect();
    let decoded = texts.iter().filter(|source| source.decode).count();
    (decoded > 0 && decoded < texts.len()).then(|| {
        let what = "only some sources are decoded, so one user has two spellings and may have two versions";
        let advice = "write decode: false for all of them or for none";
        ("SourcesDisagree", Problem::new("spec.identity.from", what, advice))
    })
}

/// An address is another user than the name that comes with the login, and nothing ties the two together.
fn addresses(manifest: &Manifest) -> Option<Note> {
    let sources = from(manifest);
    let at = sources
        .iter()
        .position(|source| source.client_ip.is_some())?;
    (sources.len() > 1).then(|| {
        let what =
            "whoever logs in is another user than their address was, and may get another version";
        let advice = "use generated instead of clientIp: who has that cookie keeps their version";
        (
            "SourcesDisagree",
            Problem::new(
                field(&item("spec.identity.from", at), "clientIp"),
                what,
                advice,
            ),
        )
    })
}

/// A cookie without a domain goes back to the host that set it and to no other.
fn cookie_per_host(manifest: &Manifest) -> Option<Note> {
    let spec = &manifest.release.spec;
    let at = from(manifest).len().checked_sub(1)?;
    let generated = from(manifest)[at].generated.as_ref()?;
    let several = spec.hosts.len() > 1 || spec.hosts.iter().any(|host| host.starts_with("*."));
    (spec.gray.is_some() && several && generated.domain.is_none()).then(|| {
        let path = field(&field(&item("spec.identity.from", at), "generated"), "domain");
        let what =
            "each host has its own generated cookie, so a user may get another version on another host";
        ("CookiePerHost", Problem::new(path, what, "write the domain that all hosts are in"))
    })
}
