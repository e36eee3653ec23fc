//! From the files to releases: what is read together, what is refused at the start, and the first turn of what is new.

use std::collections::BTreeMap;

use halftone_api::Obstacle;
use halftone_api::lint;
use halftone_api::manifest::Manifest;
use halftone_proxy::run::StartError;
use halftone_rollout::clock::Now;
use halftone_rollout::events::{Event, EventReason};
use halftone_rollout::observation::Observation;
use halftone_routing::fleet::FleetConfig;

use super::release::LocalRelease;
use super::state_directory::StateDirectory;
use super::watched_files::{WatchedFile, WatchedFiles};
use super::{conflict, keep};
use crate::fleet::LocalFleet;
use crate::output::CommandError;

/// The fleet that all releases name. What it does not allow is refused at once, unless there are users already whom
/// `kept` releases go on serving.
pub(super) fn resolve_fleet(
    files: &WatchedFiles,
    kept: &BTreeMap<String, LocalRelease>,
) -> Result<LocalFleet, CommandError> {
    let served = kept.values().next().map(LocalRelease::class);
    let class = match crate::fleet::class(manifests(files)) {
        Err(failure) if served.is_none() => return Err(failure),
        named => named
            .ok()
            .flatten()
            .or(served)
            .unwrap_or_else(|| FleetConfig::default().class),
    };
    let declarations = match files.fleet() {
        // Whose headers are believed is nothing to guess.
        Some(WatchedFile {
            holds: None,
            problem,
            ..
        }) => {
            return Err(CommandError::new(
                problem
                    .as_deref()
                    .unwrap_or("the fleet declaration cannot be read"),
            ));
        }
        followed => followed.and_then(|file| file.holds.clone()),
    };
    let fleet = LocalFleet::new(&class, declarations).map_err(CommandError::new)?;
    let refused: Vec<String> = manifests(files)
        .filter_map(|manifest| fleet.refusal(manifest))
        .map(|refusal| refusal.message)
        .collect();
    if refused.is_empty() || !kept.is_empty() {
        Ok(fleet)
    } else {
        Err(CommandError::new(refused.join("\n")))
    }
}

fn manifests(files: &WatchedFiles) -> impl Iterator<Item = &Manifest> {
    files
        .manifests()
        .flat_map(|file| file.holds.iter().flatten())
}

/// What is wrong with the files as they are, each with its place. Of releases that are written twice the first counts.
pub(super) fn problems(files: &WatchedFiles) -> Vec<String> {
    let duplicates = lint::duplicates(manifests(files));
    files
        .problems()
        .map(str::to_owned)
        .chain(duplicates.iter().map(ToString::to_string))
        .collect()
}

/// Brings releases in line with their manifests; returns those that the fleet does not allow as they are written.
pub(super) fn follow(
    files: &WatchedFiles,
    fleet: &LocalFleet,
    state: &StateDirectory,
    releases: &mut BTreeMap<String, LocalRelease>,
    now: Now,
) -> BTreeMap<String, Obstacle> {
    let mut named = BTreeMap::new();
    for file in files.manifests() {
        for manifest in file.holds.iter().flatten() {
            named
                .entry(manifest.name())
                .or_insert((manifest, file.problem.as_deref()));
        }
    }
    let unread = files
        .manifests()
        .find(|file| file.holds.is_none())
        .and_then(|file| file.problem.as_deref());
    for release in releases
        .values_mut()
        .filter(|release| !named.contains_key(release.name()))
    {
        match unread {
            // It may well be in there.
            Some(problem) => release.lose(problem),
            None => release.leave(now),
        }
    }
    let mut refused = BTreeMap::new();
    for (name, (manifest, problem)) in named {
        refused.extend(
            fleet
                .refusal(manifest)
                .map(|refusal| (name.clone(), refusal)),
        );
        let release = releases
            .entry(name)
            .or_insert_with(|| LocalRelease::new(&manifest.release, now));
        release.mark_unreadable(state.damage(&manifest.name()));
        release.edit(&manifest.release, problem, now);
    }
    refused
}

/// What came of the first turns: events by release, and what could not be kept.
pub(super) type StartResult = (BTreeMap<String, Vec<Event>>, Vec<String>);

/// The first turn of releases that are not live yet, before there is a proxy: its first user finds them already.
pub(super) fn begin(
    state: &StateDirectory,
    fleet: &LocalFleet,
    releases: &mut BTreeMap<String, LocalRelease>,
    refused: &BTreeMap<String, Obstacle>,
    now: Now,
) -> Result<StartResult, CommandError> {
    let observation = |release: &LocalRelease| Observation {
        generation: release.generation(),
        refusal: refused.get(release.name()).cloned(),
        document: release.document.clone(),
        ..Observation::default()
    };
    let mut seen: Vec<Observation> = releases.values().map(observation).collect();
    conflict::refuse(releases.values(), fleet, &mut seen);
    let (mut early, mut notes) = (BTreeMap::new(), Vec::new());
    let all = releases.values_mut().zip(seen);
    for (release, seen) in all.filter(|(release, _)| release.document.is_none()) {
        let kept = keep(state, release, &seen, now);
        notes.extend(kept.failure.and_then(|error| release.complain(&error)));
        // There is no proxy yet that could have the document; the first look at it tells.
        let events = kept
            .events
            .into_iter()
            .filter(|event| event.reason != EventReason::NotProgrammed);
        early.insert(release.name().to_owned(), events.collect());
    }
    // Of several releases those that can be kept start; a disk that takes none is told before anybody relies on it.
    let none = !releases.is_empty() && notes.len() == releases.len();
    if none {
        Err(CommandError::new(notes.join("\n")).advise("--state DIR says where progress is kept"))
    } else {
        Ok((early, notes))
    }
}

pub(super) fn not_started(error: StartError) -> CommandError {
    let taken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
    let (flag, cause) = match &error {
        StartError::Listen { error, .. } => ("--listen", error),
        StartError::Admin { error, .. } => ("--admin", error),
        _ => return CommandError::new(error),
    };
    let advice = if taken(cause) {
        "another program has this port; choose another one with"
    } else {
        "choose another address with"
    };
    let advice = format!("{advice} {flag} ADDR:PORT; port 0 takes a free one");
    CommandError::new(error).advise(advice)
}
