//! Who has which place, as examples and for any edits.

use halftone_api::{Plan, claims::*, manifest};
use halftone_rollout::{clock::Now, progress::Progress, routing_for::routing_for};
use halftone_routing::document::{ReleaseState, RoutingConfig, units::Revision};
use jiff::Timestamp;
use proptest::prelude::*;

mod sequences;

/// `[NAMESPACE/]NAME@SECOND HOSTS PATHS`
pub(crate) fn plan(text: &str) -> Plan {
    let parts: Vec<&str> = text.split(' ').collect();
    let (name, second) = parts[0].split_once('@').expect("a time");
    let (namespace, name) = name.split_once('/').unwrap_or(("shop", name));
    let text = format!(
        "{{apiVersion: halftone.dev/v1alpha1, kind: GrayRelease, metadata: {{name: {name}, namespace: {namespace}}},\n\
         spec: {{hosts: [{}], paths: [{}], stable: {{addresses: ['127.0.0.1:1'], version: v1}}}}}}",
        parts[1]
            .split(',')
            .map(|host| format!("'{host}'"))
            .collect::<Vec<_>>()
            .join(","),
        parts[2]
    );
    let reading = manifest::read("f.yaml", &text);
    assert!(reading.is_sound(), "{:?}", reading.findings);
    let mut plan = reading.manifests[0].plan.clone();
    plan.object.created_at = at_second(second.parse().expect("a number"));
    plan
}

pub(crate) fn at_second(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn live(text: &str) -> RoutingConfig {
    let progress = Progress::new(Now::at(Timestamp::UNIX_EPOCH));
    routing_for(&plan(text), &progress, Revision::FIRST, None)
}

/// What one release wants and serves.
struct ModelRelease {
    wanted: Option<Plan>,
    live: Option<RoutingConfig>,
    standing: ObjectPresence,
    reserved: Option<Timestamp>,
}

impl ModelRelease {
    fn claimant(&self) -> Claimant<'_> {
        let Self {
            wanted,
            live,
            standing,
            reserved,
        } = self;
        Claimant {
            wanted: wanted.as_ref(),
            live: live.as_ref(),
            standing: *standing,
            reserved: *reserved,
        }
    }
}

fn release(wanted: Option<&str>, alive: Option<&str>) -> ModelRelease {
    ModelRelease {
        wanted: wanted.map(plan),
        live: alive.map(live),
        standing: ObjectPresence::Here,
        reserved: None,
    }
}

/// Of each of the releases who has it instead, and what.
fn settled(releases: &[ModelRelease]) -> Vec<Option<String>> {
    let claimants: Vec<_> = releases.iter().map(ModelRelease::claimant).collect();
    let told = |found: Conflict<'_>| format!("{} {}{}", found.name.1, found.host, found.path);
    settle(&claimants)
        .into_iter()
        .map(|conflict| conflict.map(told))
        .collect()
}

fn conflicts(releases: &[(Option<&str>, Option<&str>)]) -> Vec<Option<String>> {
    settled(
        &releases
            .iter()
            .map(|(wanted, live)| release(*wanted, *live))
            .collect::<Vec<_>>(),
    )
}

fn by(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn of_two_new_ones_the_younger_is_refused_as_a_whole_and_takes_nothing() {
    let young = (Some("young@2 x,w /"), None);
    let old = (Some("old@1 w /"), None);
    let third = (Some("third@3 x /"), None);
    assert_eq!(conflicts(&[young, old, third]), [by("old w/"), None, None]);
}

#[test]
fn of_the_same_age_the_name_decides() {
    let two = [(Some("b@1 x /"), None), (Some("a@1 x /"), None)];
    assert_eq!(conflicts(&two), [by("a x/"), None]);
}

#[test]
fn other_paths_of_a_host_are_no_conflict() {
    assert_eq!(
        conflicts(&[(Some("a@1 x /a"), None), (Some("b@2 x /,/b"), None)]),
        [None, None]
    );
}

#[test]
fn an_edit_of_an_older_release_takes_no_host_from_the_one_that_serves_it() {
    let serving = (Some("younger@2 a /"), Some("younger@2 a /"));
    let edited = (Some("older@1 z,a /"), Some("older@1 z /"));
    assert_eq!(conflicts(&[serving, edited]), [None, by("younger a/")]);
}

#[test]
fn what_is_refused_or_invalid_takes_nothing_and_keeps_what_it_serves() {
    let running = (Some("running@2 x /"), Some("running@2 x /"));
    assert_eq!(conflicts(&[(None, None), running]), [None, None]);
    assert_eq!(
        conflicts(&[(None, Some("held@1 w /")), running]),
        [None, None]
    );
    assert_eq!(
        conflicts(&[(None, Some("held@3 w /")), (Some("old@1 w /"), None)]),
        [None, by("held w/")]
    );
}

#[test]
fn who_is_refused_for_a_conflict_keeps_what_it_serves_from_others() {
    let first = (Some("first@1 x /"), Some("first@1 x /"));
    let second = (Some("second@2 x,z /"), Some("second@2 w /"));
    let third = (Some("third@3 w /"), None);
    assert_eq!(
        conflicts(&[first, second, third]),
        [None, by("first x/"), by("second w/")]
    );
}

#[test]
fn what_an_edit_gives_up_is_taken_in_the_same_turn_the_oldest_first() {
    let giver = (Some("giver@5 w /"), Some("giver@5 x /"));
    let (old, young) = ((Some("old@1 x /"), None), (Some("young@2 x /"), None));
    assert_eq!(conflicts(&[young, giver, old]), [by("old x/"), None, None]);
}

#[test]
fn two_and_three_may_exchange_their_hosts_at_once() {
    let one = (Some("one@1 w /"), Some("one@1 x /"));
    let other = (Some("other@2 x /"), Some("other@2 w /"));
    assert_eq!(conflicts(&[one, other]), [None, None]);
    let three = [
        (Some("a@1 v /"), Some("a@1 x /")),
        (Some("b@2 z /"), Some("b@2 v /")),
        (Some("c@3 x /"), Some("c@3 z /")),
    ];
    assert_eq!(conflicts(&three), [None, None, None]);
}

#[test]
fn an_exchange_in_which_one_keeps_what_the_other_wants_is_none() {
    let one = (Some("one@1 w,x /"), Some("one@1 x /"));
    let other = (Some("other@2 x /"), Some("other@2 w /"));
    assert_eq!(conflicts(&[one, other]), [by("other w/"), by("one x/")]);
}

#[test]
fn what_both_serve_is_of_the_one_that_has_served_it_longer() {
    let mut taker = live("older@1 x /");
    let since = |second| halftone_routing::document::claim::Claim {
        host: "x".parse().unwrap(),
        path: "/".parse().unwrap(),
        since: at_second(second),
    };
    taker.claims = vec![since(9)];
    let taker = ModelRelease {
        live: Some(taker),
        ..release(Some("older@1 x /"), None)
    };
    let serving = release(Some("younger@2 x /"), Some("younger@2 x /"));
    assert_eq!(settled(&[taker, serving]), [by("younger x/"), None]);
}

#[test]
fn what_is_withdrawn_is_free() {
    assert_eq!(
        settled(&[
            withdrawn("gone@1 x /", None),
            release(Some("next@2 x /"), None)
        ]),
        [None, None]
    );
}

/// A deleted release whose document is withdrawn.
fn withdrawn(text: &str, reserved: Option<Timestamp>) -> ModelRelease {
    let document = RoutingConfig {
        state: ReleaseState::Withdrawn,
        ..live(text)
    };
    ModelRelease {
        wanted: None,
        live: Some(document),
        standing: ObjectPresence::Gone,
        reserved,
    }
}

#[test]
fn what_is_withdrawn_is_kept_for_its_namespace_for_a_while() {
    let left = |reserved| withdrawn("gone@1 x /", reserved);
    let (kin, stranger) = (
        || release(Some("renamed@3 x /"), None),
        || release(Some("other/taker@2 x /"), None),
    );
    assert_eq!(
        settled(&[left(Some(at_second(9))), stranger()]),
        [None, by("gone x/")]
    );
    assert_eq!(
        settled(&[left(Some(at_second(9))), stranger(), kin()]),
        [None, by("renamed x/"), None]
    );
    assert_eq!(settled(&[left(None), stranger()]), [None, None]);
    let successor = ModelRelease {
        standing: ObjectPresence::Here,
        ..left(Some(at_second(9)))
    };
    let successor = ModelRelease {
        wanted: Some(plan("gone@8 x /")),
        ..successor
    };
    assert_eq!(
        settled(&[successor, stranger(), kin()]),
        [None, by("gone x/"), by("gone x/")]
    );

    let told = [left(Some(at_second(9))), stranger()];
    let claimants: Vec<_> = told.iter().map(ModelRelease::claimant).collect();
    assert_eq!(
        settle(&claimants)[1].unwrap().obstacle(None, None).message,
        "shop/gone served x/ until it was deleted, and its namespace keeps it until 1970-01-01T00:00:09Z; claim \
         another host or path"
    );
}

#[test]
fn what_one_has_taken_from_a_deleted_release_no_other_of_the_namespace_takes() {
    let gone = || ModelRelease {
        standing: ObjectPresence::Gone,
        ..release(None, Some("gone@1 x /"))
    };
    let mut serving = release(Some("second@5 x /"), Some("second@5 x /"));
    serving.live.as_mut().unwrap().release.created_at = at_second(6);
    assert_eq!(
        settled(&[gone(), release(Some("first@2 x /"), None), serving]),
        [None, by("second x/"), None]
    );
}

#[test]
fn a_release_is_told_whose_place_it_takes_over() {
    let (left, own) = (live("shop/gone@1 w,x /"), live("other/taker@2 w /"));
    let told = |text: &str| taken_from(&plan(text), Some(&own), &[&left]);
    let expected = "x/ was served by shop/gone, which is deleted; this release takes it over";
    assert_eq!(told("other/taker@2 w,x /").as_deref(), Some(expected));
    assert_eq!(told("other/taker@2 w /"), None, "it has that one");
    assert_eq!(told("other/taker@2 y /"), None, "nobody had that one");
    assert_eq!(told("shop/kin@2 x /"), None, "the same namespace");
}

#[test]
fn what_a_deleted_release_serves_is_open_to_its_namespace_at_once_and_to_no_other() {
    let gone = || ModelRelease {
        standing: ObjectPresence::Gone,
        ..release(None, Some("gone@1 x /"))
    };
    assert_eq!(
        settled(&[gone(), release(Some("renamed@2 x /"), None)]),
        [None, None]
    );
    assert_eq!(
        settled(&[gone(), release(Some("other/taker@2 x /"), None)]),
        [None, by("gone x/")]
    );
}

#[test]
fn the_message_names_the_owner_since_when_and_what_else_the_edit_held() {
    let serving = release(Some("younger@2 a /"), Some("younger@2 a /"));
    let mut edited = release(Some("older@1 z,a /"), Some("older@1 z /"));
    let wanted = edited.wanted.as_mut().unwrap();
    wanted.stable.version = "v2".parse().unwrap();
    let claimants = [serving.claimant(), edited.claimant()];
    let obstacle = settle(&claimants)[1]
        .unwrap()
        .obstacle(edited.wanted.as_ref(), edited.live.as_ref());
    assert_eq!(
        obstacle.message,
        "shop/younger has served a/ since 1970-01-01T00:00:02Z; claim another host or path; stable v2 of the same \
         edit is not taken either"
    );
    let (a, b) = (
        release(Some("a@1 x /"), None),
        release(Some("b@1 x /"), None),
    );
    let tie = settle(&[a.claimant(), b.claimant()])[1]
        .unwrap()
        .obstacle(b.wanted.as_ref(), None);
    assert_eq!(
        tie.message,
        "shop/a claims x/, too; both are equally old, and its name comes first; claim another host or path"
    );
}

#[test]
fn a_place_is_handed_over_once_its_next_release_serves_it() {
    let giver = release(Some("giver@1 w /"), Some("giver@1 w,x /"));
    let taker = release(Some("taker@2 x /"), None);
    let places = |one: &ModelRelease, other: &ModelRelease| {
        one.claimant().hands_over(other.claimant()).count()
    };
    assert_eq!((places(&giver, &taker), places(&taker, &giver)), (1, 0));
    let (one, other) = (
        release(Some("a@1 x /"), Some("a@1 w /")),
        release(Some("b@2 w /"), Some("b@2 x /")),
    );
    assert_eq!(
        (places(&one, &other), places(&other, &one)),
        (1, 1),
        "an exchange"
    );
    let wry = release(Some("a@1 x /pay"), Some("a@1 w /"));
    let other = release(Some("b@2 w /"), Some("b@2 x /pay"));
    assert_eq!(
        (places(&wry, &other), places(&other, &wry)),
        (0, 0),
        "no document can have both"
    );
}

#[test]
fn places_of_two_are_named_together_where_they_differ_in_hosts_or_in_paths_alone() {
    let joined = |one: &str, other: &str| {
        let (one, other) = (plan(one), plan(other));
        let (hosts, paths) = union((&one.hosts, &one.paths), (&other.hosts, &other.paths))?;
        Some(format!("{hosts:?} {paths:?}").replace(['"', '[', ']'], ""))
    };
    let told = |one: &str, other: &str| joined(one, other).map(|text| text.matches(',').count());
    assert_eq!(told("a@1 x /", "b@1 w,x /"), Some(1));
    assert_eq!(told("a@1 x /a,/b", "b@1 x /b,/c"), Some(2));
    assert_eq!(told("a@1 x /a", "b@1 w /b"), None);
}

#[test]
fn a_place_inside_another_namespaces_is_taken_only_where_the_fleet_names_it() {
    let other = live("shop/wide@1 *.x /");
    let shadowed = |text: &str, live: Option<&RoutingConfig>, named: bool| {
        let (plan, others) = (
            plan(text),
            Vec::from_iter(shadow::ClaimedPlaces::serving(&other)),
        );
        let found = shadow::shadowed(&plan, live, &others, |_| named).map(|found| found.obstacle());
        found.map(|obstacle| (obstacle.reason, obstacle.message))
    };
    let (reason, message) = shadowed("evil/narrow@2 a.x /", None, false).unwrap();
    assert_eq!(reason, "HostShadowed");
    assert!(
        message.starts_with("a.x/ lies inside what shop/wide"),
        "{message}"
    );
    assert!(shadowed("evil/narrow@2 a.x /pay", None, false).is_some());
    assert_eq!(shadowed("evil/narrow@2 a.x /", None, true), None, "named");
    assert_eq!(
        shadowed("shop/narrow@2 a.x /", None, false),
        None,
        "the same namespace"
    );
    assert_eq!(
        shadowed("evil/wider@2 * /", None, false),
        None,
        "a wider one takes nothing"
    );
    let serving = live("evil/narrow@2 a.x /");
    assert_eq!(
        shadowed("evil/narrow@2 a.x /", Some(&serving), false),
        None,
        "it serves it already"
    );
}

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];

fn hosts() -> impl Strategy<Value = String> {
    prop::collection::btree_set(0usize..4, 1..3).prop_map(|set| {
        set.into_iter()
            .map(|at| HOSTS[at])
            .collect::<Vec<_>>()
            .join(",")
    })
}

/// What is accepted is live from now on.
fn accepted(releases: &mut [ModelRelease]) {
    let conflicts = settled(releases);
    for (release, conflict) in releases.iter_mut().zip(conflicts) {
        if let (None, Some(wanted)) = (conflict, &release.wanted) {
            let progress = Progress::new(Now::at(Timestamp::UNIX_EPOCH));
            release.live = Some(routing_for(wanted, &progress, Revision::FIRST, None));
        }
    }
}

proptest! {
    /// However releases are edited: no two ever serve one place, nobody loses a place that it does not give up, and what
    /// was settled once stays settled.
    #[test]
    fn no_edit_takes_a_place_from_the_release_that_serves_it(
        edits in prop::collection::vec((0usize..4, hosts()), 1..16),
    ) {
        let mut releases: Vec<ModelRelease> = (0..4).map(|_| release(None, None)).collect();
        for (at, hosts) in edits {
            releases[at].wanted = Some(plan(&format!("r{at}@{} {hosts} /", at % 2)));
            let before: Vec<Vec<String>> = releases.iter().map(served).collect();
            accepted(&mut releases);
            let after: Vec<Vec<String>> = releases.iter().map(served).collect();
            for (at, lost) in before.iter().enumerate() {
                let given_up = |host: &&String| !after[at].contains(host);
                for host in lost.iter().filter(given_up) {
                    let wanted = releases[at].wanted.as_ref().unwrap();
                    prop_assert!(!wanted.hosts.iter().any(|wanted| wanted.as_str() == host), "r{} lost {}", at, host);
                }
            }
            let mut all: Vec<&String> = after.iter().flatten().collect();
            let count = all.len();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), count, "two serve one place: {:?}", after);
            let settled_before = settled(&releases);
            accepted(&mut releases);
            prop_assert_eq!(settled(&releases), settled_before);
        }
    }

    /// Nobody is refused for a place that no other release serves or is given.
    #[test]
    fn every_conflict_names_a_release_that_has_the_place(
        wants in prop::collection::vec(hosts(), 4), serves in prop::collection::vec(prop::option::of(0usize..4), 4),
    ) {
        let mut taken = Vec::new();
        let mut releases = Vec::new();
        for (at, (wants, serves)) in wants.iter().zip(&serves).enumerate() {
            let alive = serves.filter(|host| !taken.contains(host));
            taken.extend(alive);
            let alive = alive.map(|host| format!("r{at}@{at} {} /", HOSTS[host]));
            releases.push(release(Some(&format!("r{at}@{at} {wants} /")), alive.as_deref()));
        }
        let claimants: Vec<_> = releases.iter().map(ModelRelease::claimant).collect();
        let conflicts = settle(&claimants);
        for (at, conflict) in conflicts.iter().enumerate() {
            let Some(conflict) = conflict else { continue };
            prop_assert!(conflict.owner != at);
            let owner = &releases[conflict.owner];
            let has = if conflicts[conflict.owner].is_some() {
                served(owner).iter().any(|host| host == conflict.host.as_str())
            } else {
                owner.wanted.as_ref().unwrap().hosts.contains(conflict.host)
            };
            prop_assert!(has);
        }
    }
}

fn served(release: &ModelRelease) -> Vec<String> {
    release
        .live
        .iter()
        .flat_map(|live| &live.hosts)
        .map(ToString::to_string)
        .collect()
}
