//! Features of the proxies: a release keeps to its end what it began with, and needs what its spec asks for.

use halftone_rollout::events::EventReason;
use halftone_routing::document::{COOKIE_ATTRIBUTES, FEATURES, IDENTITY_2};

use crate::world::ModelWorld;

fn with_proxies(changes: &str, features: &[&str]) -> ModelWorld {
    let mut world = ModelWorld::new(changes);
    upgrade(&mut world, features);
    world
}

fn upgrade(world: &mut ModelWorld, features: &[&str]) {
    let features: Vec<String> = features.iter().map(ToString::to_string).collect();
    world
        .proxies
        .iter_mut()
        .for_each(|proxy| proxy.features = features.as_slice().into());
}

fn spells_anew(world: &ModelWorld) -> bool {
    world
        .live()
        .requires
        .iter()
        .any(|feature| feature == IDENTITY_2)
}

const NEXT: &str = "{stable: {service: {name: checkout-v2, port: 80}, version: v2}, \
                    gray: {service: {name: checkout-v3, port: 80}, version: v3}}";

#[test]
fn an_upgrade_of_the_fleet_changes_nothing_for_a_release_that_has_begun() {
    let mut world = with_proxies("", &[]);
    world.run_until_ratio("10%");
    let revision = world.live().revision;
    upgrade(&mut world, FEATURES);
    world.run("10s").restart().run("10s");
    assert_eq!(
        (world.live().revision, spells_anew(&world)),
        (revision, false)
    );
    world.run_until_ratio("100%").restart().run("10s");
    assert!(!spells_anew(&world), "to its end");
    world.run("30m").edit(NEXT).run("10s");
    assert!(
        spells_anew(&world),
        "the next release begins with what the fleet knows"
    );
}

#[test]
fn a_release_keeps_its_form_through_restarts_and_when_its_object_is_created_anew() {
    let mut world = with_proxies("", FEATURES);
    world.run_until_ratio("10%");
    assert!(spells_anew(&world));
    let revision = world.live().revision;
    upgrade(&mut world, &[]);
    world.restart().run("1s");
    assert_eq!(
        (world.live().revision, spells_anew(&world)),
        (revision, true)
    );
    world.recreate("").run("1s");
    assert!(
        spells_anew(&world),
        "its users are those of the document that was live"
    );
}

#[test]
fn a_definition_that_drops_the_features_of_a_status_moves_nobody() {
    let mut world = with_proxies("", FEATURES);
    world.run_until_ratio("10%");
    let document = world.live().clone();
    world.status.release.as_mut().unwrap().features.clear();
    world.restart().run("5s");
    assert_eq!(*world.live(), document);
    assert!(spells_anew(world.run_until_ratio("50%")));
}

#[test]
fn one_old_proxy_is_enough_for_a_new_release_to_begin_in_the_old_form() {
    let mut world = with_proxies("", FEATURES);
    world.proxies[1].features = [].into();
    world.run_until_ratio("10%");
    assert!(!spells_anew(&world));
    assert!(
        world.live().requires.is_empty(),
        "so no proxy has to refuse it"
    );
}

#[test]
fn what_the_spec_asks_for_waits_for_the_last_proxy_that_does_not_know_it() {
    for (from, feature) in [
        ("[{header: X-User, decode: false}]", IDENTITY_2),
        ("[{generated: {domain: example.com}}]", COOKIE_ATTRIBUTES),
        ("[{generated: {secure: true}}]", COOKIE_ATTRIBUTES),
    ] {
        let mut world = with_proxies("", &[]);
        world
            .run_until_ratio("10%")
            .edit(&format!("identity: {{from: {from}}}"))
            .run("1s");
        assert!(world.live().requires.is_empty(), "{from}");
        let told = serde_json::to_string(&world.status.conditions).unwrap();
        assert!(
            told.contains("ProxyTooOld") && told.contains(feature),
            "{told}"
        );
        upgrade(&mut world, FEATURES);
        world.run("10s");
        assert!(
            world
                .live()
                .requires
                .iter()
                .any(|required| required == feature),
            "{from}"
        );
    }
}

#[test]
fn who_gets_the_generated_cookie_back_moves_nobody() {
    let mut world = with_proxies("", FEATURES);
    world
        .run_until_ratio("50%")
        .edit("identity: {from: [{header: X-User}, {generated: {}}]}")
        .run("1s");
    world.run_until_ratio("50%");
    world
        .edit("identity: {from: [{header: X-User}, {generated: {domain: example.com}}]}")
        .run("1s");
    assert_eq!(world.ratio(), "50%");
}

/// Nobody is ready before `come` says what those know who come.
fn installed_at_once() -> ModelWorld {
    let mut world = ModelWorld::new("");
    world
        .proxies
        .iter_mut()
        .for_each(|proxy| proxy.ready = false);
    world.run("20s");
    world
}

fn come(world: &mut ModelWorld, features: &[&str]) {
    upgrade(world, features);
    world
        .proxies
        .iter_mut()
        .for_each(|proxy| proxy.ready = true);
}

#[test]
fn where_no_proxy_is_ready_a_new_release_asks_for_nothing_that_one_may_not_know() {
    let mut world = installed_at_once();
    assert!(world.live().requires.is_empty());
    come(&mut world, &[]);
    world.run_until_ratio("100%");
    assert!(
        world.live().requires.is_empty(),
        "no proxy had to refuse it on the way"
    );
}

#[test]
fn a_release_that_nobody_was_served_by_takes_what_the_first_proxies_know_and_keeps_it() {
    let mut world = installed_at_once();
    come(&mut world, FEATURES);
    world.run("1s");
    assert!(spells_anew(&world));
    world.run_until_ratio("10%").restart().run("5s");
    assert!(spells_anew(&world));

    let mut world = installed_at_once();
    come(&mut world, &[]);
    world.run_until_ratio("10%");
    upgrade(&mut world, FEATURES);
    world.run_until_ratio("50%");
    assert!(
        !spells_anew(&world),
        "once anybody was served it is settled"
    );
}

#[test]
fn what_the_spec_asks_for_is_not_written_while_no_proxy_is_known_to_have_it() {
    const SECURE: &str = "identity: {from: [{generated: {secure: true}}]}";
    let mut world = with_proxies("", FEATURES);
    world.run_until_ratio("10%");
    world
        .proxies
        .iter_mut()
        .for_each(|proxy| proxy.ready = false);
    world.edit(SECURE).run("20s");
    assert!(
        !world
            .live()
            .requires
            .iter()
            .any(|feature| feature == COOKIE_ATTRIBUTES)
    );
    assert_eq!(world.condition("Programmed"), "False/NoReadyProxy");
    assert!(
        world.message("Programmed").contains(COOKIE_ATTRIBUTES),
        "{}",
        world.message("Programmed")
    );
    come(&mut world, FEATURES);
    world.run("5s");
    assert!(
        world
            .live()
            .requires
            .iter()
            .any(|feature| feature == COOKIE_ATTRIBUTES)
    );

    let mut world = with_proxies(SECURE, &[]);
    world.look();
    assert!(world.live.is_none(), "nobody has said yet what it knows");
    assert_eq!(
        (
            world.condition("Programmed").as_str(),
            world.count(EventReason::NotProgrammed)
        ),
        ("False/Programming", 0)
    );
    world.run("1s");
    assert_eq!(world.condition("Programmed"), "False/ProxyTooOld");
}
