//! Which servers cannot be reached, by address and error. The proxy counts that connections fail; of what and why a
//! person is told here, each change once. An address is tried while requests to its arm fail to connect, and until one
//! that was dead answers again; those of stable are looked at anyway, since a rollback needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use halftone_routing::document::arm::{Arm, Backend};
use halftone_routing::report::{Counts, Outcome};

use super::prober::Prober;
use super::release::LocalRelease;

/// Tries the addresses of an arm whose requests `counts` failed to connect, and those known dead.
pub(super) fn suspect<'a>(
    probes: &mut Prober,
    release: &LocalRelease,
    counts: impl Iterator<Item = (Arm, &'a Counts)>,
) {
    let failed: BTreeSet<Arm> = counts
        .filter(|(_, counts)| {
            [Outcome::ConnectFailure, Outcome::NoEndpoint]
                .iter()
                .any(|outcome| counts.outcomes.get(outcome).is_some_and(|count| *count > 0))
        })
        .map(|(arm, _)| arm)
        .collect();
    for arm in Arm::ALL {
        for address in addresses(release, arm) {
            if failed.contains(&arm) || probes.is_dead(&address) {
                probes.try_now(address);
            }
        }
    }
}

/// Tries all addresses of a release, as at the start.
pub(super) fn try_all(probes: &mut Prober, release: &LocalRelease) {
    for arm in Arm::ALL {
        addresses(release, arm)
            .into_iter()
            .for_each(|address| probes.try_now(address));
    }
}

/// What has changed since the last time, in the words of a person who looks after these releases. `stable` are all
/// that a rollback may lead to, live or not.
pub(super) fn news(
    probes: &mut Prober,
    releases: &BTreeMap<String, LocalRelease>,
    stable: BTreeSet<SocketAddr>,
) -> Vec<String> {
    let live = releases
        .values()
        .flat_map(|release| Arm::ALL.map(|arm| addresses(release, arm)))
        .flatten();
    let named = stable.into_iter().chain(live).collect();
    let line = |(address, dead): (SocketAddr, Option<String>)| match dead {
        Some(why) => format!(
            "{}{address} cannot be reached: {why}",
            whose(releases, address)
        ),
        None => format!("{}{address} answers again", whose(releases, address)),
    };
    probes.news(&named).into_iter().map(line).collect()
}

/// The addresses of an arm as it is live.
fn addresses(release: &LocalRelease, arm: Arm) -> Vec<SocketAddr> {
    let arm = release
        .document
        .as_ref()
        .and_then(|document| document.arms.get(arm));
    match arm.map(|arm| &arm.backend) {
        Some(Backend::Addresses(addresses)) => addresses.as_ref().to_vec(),
        _ => Vec::new(),
    }
}

/// Which arm of which release has an address.
fn whose(releases: &BTreeMap<String, LocalRelease>, address: SocketAddr) -> String {
    let of = |release: &LocalRelease| {
        let arm = Arm::ALL
            .into_iter()
            .find(|arm| addresses(release, *arm).contains(&address))?;
        let version = &release.document.as_ref()?.arms.get(arm)?.version;
        Some(format!(
            "{}: {} ({version}) at ",
            release.name(),
            arm.name()
        ))
    };
    releases.values().find_map(of).unwrap_or_default()
}
