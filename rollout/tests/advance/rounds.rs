//! What the reports of one poll add, sorted into what counts and what does not.

use std::{collections::BTreeMap, time::Duration};

use halftone_rollout::{judge, observation::Round};
use halftone_routing::{
    document::{arm::Arm, limits::Quantile, units::Stage},
    report::{Charge, ChosenBy, Cohort, CounterKey, Counts, LimitEvents, Outcome, Stratum},
    sketch::UserHash,
};

use crate::world::ModelWorld;

fn world(health: &str) -> ModelWorld {
    let mut world = ModelWorld::new(health);
    world.run_until_ratio("10%");
    world
}

fn key(world: &ModelWorld, arm: Arm, chosen_by: ChosenBy) -> CounterKey {
    let release = &world.live().release;
    let (uid, release) = (release.uid.clone(), release.id);
    CounterKey {
        uid,
        release,
        stage: world.progress.stage(),
        charge: Charge::new(arm, chosen_by).into(),
    }
}

fn counts(ok: u64, errors: u64, not_found: u64, aborted: u64) -> Counts {
    let outcomes = [
        (Outcome::Status2xx, ok),
        (Outcome::ErrorStatus, errors),
        (Outcome::Status4xx, not_found),
        (Outcome::ClientAbort, aborted),
    ];
    Counts {
        outcomes: BTreeMap::from(outcomes),
        ..Counts::default()
    }
}

fn charged(requests: u64, errors: u64, client_errors: u64) -> judge::RequestCounts {
    judge::RequestCounts {
        requests,
        errors,
        client_errors,
    }
}

#[test]
fn split_requests_are_judged_and_what_is_nobodys_fault_is_left_out() {
    let world = world("");
    let added = [
        (
            key(&world, Arm::Gray, ChosenBy::Split),
            counts(80, 5, 10, 5),
        ),
        (
            key(&world, Arm::Stable, ChosenBy::Split),
            counts(900, 1, 2, 3),
        ),
    ];
    let round = Round::of(&world.progress, 0.5, &added).unwrap();
    assert_eq!(
        (round.gray.split, round.gray.judged),
        (charged(95, 5, 10), charged(95, 5, 10))
    );
    assert_eq!(round.stable.split, charged(903, 1, 2));
    assert_eq!(round.reached_stable, 906);
}

#[test]
fn strata_and_cohorts_of_an_arm_are_judged_as_one() {
    let world = world("");
    let split = Charge::new(Arm::Gray, ChosenBy::Split);
    let charges = [
        split,
        Charge {
            stratum: Stratum::Began(Stage::FIRST),
            ..split
        },
        Charge {
            cohort: Cohort::Next,
            ..split
        },
    ];
    let added = charges.map(|charge| {
        let key = CounterKey {
            charge: charge.into(),
            ..key(&world, Arm::Gray, ChosenBy::Split)
        };
        (key, counts(10, 1, 0, 0))
    });
    let round = Round::of(&world.progress, 0.5, &added).unwrap();
    assert_eq!(
        (round.gray.split, round.gray.judged),
        (charged(33, 3, 0), charged(33, 3, 0))
    );
}

#[test]
fn other_traffic_is_judged_only_if_the_spec_includes_it_and_forced_traffic_never() {
    let added = |world: &ModelWorld| {
        ChosenBy::ALL.map(|chosen_by| (key(world, Arm::Gray, chosen_by), counts(10, 1, 0, 0)))
    };
    for (health, judged) in [
        ("", 11),
        ("health: {include: [Rule]}", 22),
        ("health: {include: [Rule, Missing]}", 33),
    ] {
        let world = world(health);
        let round = Round::of(&world.progress, 0.5, &added(&world)).unwrap();
        assert_eq!(
            (round.gray.judged.requests, round.gray.split.requests),
            (judged, 11),
            "{health}"
        );
    }
}

#[test]
fn counts_of_another_object_release_or_stage_and_excluded_ones_are_passed_over() {
    let world = world("");
    let right = key(&world, Arm::Stable, ChosenBy::Split);
    let other = CounterKey {
        uid: "uid-9".parse().unwrap(),
        ..right.clone()
    };
    let earlier = CounterKey {
        stage: Stage::FIRST,
        ..right.clone()
    };
    let another = CounterKey {
        release: halftone_routing::document::units::ReleaseId::from_bits(7),
        ..right.clone()
    };
    let excluded = Charge {
        excluded: true,
        ..Charge::new(Arm::Stable, ChosenBy::Split)
    };
    let excluded = CounterKey {
        charge: excluded.into(),
        ..right
    };
    let added = [other, earlier, another, excluded].map(|key| (key, counts(10, 0, 0, 0)));
    let round = Round::of(&world.progress, 0.5, &added).unwrap();
    assert_eq!(round.stable.judged, charged(0, 0, 0));
    assert_eq!(
        round.reached_stable, 30,
        "whatever sent them, they reached stable"
    );
}

#[test]
fn a_fallback_reached_the_other_arm() {
    let world = world("");
    let fallen = Counts {
        fallbacks: 4,
        ..counts(0, 4, 0, 0)
    };
    let added = [
        (key(&world, Arm::Gray, ChosenBy::Split), fallen.clone()),
        (key(&world, Arm::Stable, ChosenBy::Split), fallen),
    ];
    assert_eq!(
        Round::of(&world.progress, 0.5, &added[..1])
            .unwrap()
            .reached_stable,
        4
    );
    assert_eq!(
        Round::of(&world.progress, 0.5, &added[1..])
            .unwrap()
            .reached_stable,
        0
    );
}

#[test]
fn latency_events_stand_in_the_order_of_the_limits() {
    let world = world("health: {maxLatency: {p50: 100ms, p99: 500ms}, versusStable: {p99: '1.5'}}");
    let mut slow = counts(10, 0, 0, 0);
    slow.limits
        .insert(Quantile::P99, LimitEvents { within: 9, over: 1 });
    slow.limits
        .insert(Quantile::P50, LimitEvents { within: 4, over: 6 });
    slow.latency.record(Duration::from_millis(80));
    let added = [(key(&world, Arm::Gray, ChosenBy::Split), slow)];
    let round = Round::of(&world.progress, 0.5, &added).unwrap();
    let events: Vec<_> = round
        .gray
        .latency
        .iter()
        .map(|events| (events.within, events.over))
        .collect();
    assert_eq!(events, [(4, 6), (9, 1)]);
    assert_eq!(round.gray.latencies.count(), 1);
    let world = self::world("");
    let round = Round::of(&world.progress, 0.5, &added).unwrap();
    assert_eq!(
        round.gray.latencies.count(),
        0,
        "kept only where a limit asks for them"
    );
}

#[test]
fn the_order_of_answers_within_a_poll_does_not_matter() {
    let world = world("health: {include: [Missing]}");
    let mut added: Vec<_> = Arm::ALL
        .into_iter()
        .flat_map(|arm| {
            ChosenBy::ALL.map(|chosen_by| (key(&world, arm, chosen_by), counts(3, 2, 1, 0)))
        })
        .collect();
    let one = Round::of(&world.progress, 0.5, &added);
    added.reverse();
    assert_eq!(Round::of(&world.progress, 0.5, &added), one);
}

#[test]
fn users_whom_gray_has_failed_are_collected_under_any_stage_and_those_of_stable_never() {
    let world = world("");
    let failed = |users: std::ops::Range<u64>| {
        let mut counts = counts(0, 1, 0, 0);
        users.for_each(|user| {
            counts.failed_users.add(UserHash::from_hash(
                user.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            ))
        });
        counts
    };
    let earlier = CounterKey {
        stage: Stage::FIRST,
        ..key(&world, Arm::Gray, ChosenBy::Split)
    };
    let added = [
        (key(&world, Arm::Gray, ChosenBy::Split), failed(1..4)),
        (earlier, failed(3..6)),
        (key(&world, Arm::Stable, ChosenBy::Split), failed(10..20)),
    ];
    assert_eq!(
        Round::of(&world.progress, 0.5, &added)
            .unwrap()
            .failed_users
            .estimate(),
        5
    );
}
