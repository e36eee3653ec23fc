//! Changes one at a time lead to what a reading of everything leads to, and to what routes made from nothing are.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::routes::ShadowedRoute;

/// What every source holds; a text in YAML is none in JSON.
type SourceTexts = BTreeMap<&'static str, String>;

const SOURCES: [&str; 5] = ["a.json", "b.json", "c.json", "d.json", "e.json"];
const HOSTS: [&str; 4] = ["a.example", "b.example", "*.example", "*"];
const PATHS: [&str; 3] = ["/", "/x", "/x/y"];

/// One of few documents, so that many have one uid, one object, or one host and path.
fn good() -> impl Strategy<Value = String> {
    let release = (0..4_u32, 0..3_u32);
    let state = select(vec!["Active", "Active", "RolledBack", "Withdrawn"]);
    let hosts = prop::sample::subsequence(HOSTS.to_vec(), 1..3);
    let paths = prop::sample::subsequence(PATHS.to_vec(), 1..3);
    let claim = prop::option::of(select(vec!["2025-06-01", "2026-06-01"]));
    let more = (1..4_u32, any::<bool>(), prop::bool::weighted(0.1));
    (release, state, hosts, paths, claim, more).prop_map(
        |((uid, name), state, hosts, paths, claim, (revision, replaces, broken))| {
            let day = |day: &str| format!("{day}T00:00:00Z");
            let since = claim.map(|since| {
                json!([{"host": hosts[0], "path": paths[0], "since": day(since)}])
            });
            // A release replaces none that is younger: three that succeed one another in a circle never come to rest.
            let created = if uid < 2 { "2026-01-02" } else { "2026-02-02" };
            let expression = if broken { "(" } else { "^a[0-9]" };
            let mut changes = json!({
                "release": {"uid": format!("u-{uid}"), "name": format!("name-{name}"), "createdAt": day(created)},
                "state": state, "hosts": hosts, "paths": paths, "claims": since, "revision": revision,
                "rules": [{"name": "r", "to": "Gray", "when": [{"all": [
                    {"source": "Path", "operator": "Regex", "values": [expression]}]}]}],
            });
            if replaces && uid > 0 {
                changes["replaces"] = json!(format!("u-{}", uid - 1));
            }
            document(changes).to_string()
        },
    )
}

/// What a source holds from now on; none: it is gone.
fn held() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        8 => good().prop_map(Some),
        1 => select(vec!["{", r#"{"release": {"uid": "u-1"}}"#]).prop_map(|text| Some(text.to_owned())),
        3 => Just(None),
    ]
}

/// Changes that come together.
fn step() -> impl Strategy<Value = Vec<(&'static str, Option<String>)>> {
    prop::collection::vec((select(SOURCES.to_vec()), held()), 1..4)
}

fn as_found<'a>(source: &'a str, text: &'a str) -> SourceDocument<'a> {
    SourceDocument {
        source,
        content: Content::Text(Format::Json, text.as_bytes()),
    }
}

fn everything(directory: &SourceTexts) -> Vec<SourceDocument<'_>> {
    let found = directory.iter();
    found
        .map(|(source, bytes)| as_found(source, bytes))
        .collect()
}

/// All that a store tells, but for where its routes stand in memory.
fn told(store: &Store) -> impl PartialEq + std::fmt::Debug + use<> {
    let applied: Vec<_> = store.applied().collect();
    let orphaned: Vec<_> = store.orphaned().cloned().collect();
    (
        applied,
        store.rejected().to_vec(),
        orphaned,
        routed(store.routes()),
    )
}

/// Who gets which requests, and who does not get what it claims.
fn routed(routes: &Routes) -> impl PartialEq + std::fmt::Debug + use<> {
    let whose = |index| routes.release(index).config().release.uid.clone();
    let hosts = ["a.example", "b.example", "c.example", "other"];
    let places = hosts
        .iter()
        .flat_map(|host| ["/", "/x", "/x/y", "/x/y/z", "/y"].map(|path| (host, path)));
    let found: Vec<_> = places
        .map(|(host, path)| routes.find(host, path.as_bytes()).map(whose))
        .collect();
    let shadowed = routes.shadowed().into_iter().map(|route| {
        let ShadowedRoute {
            release,
            by,
            host,
            path,
        } = route;
        (host, path, whose(release), whose(by))
    });
    let shadowed: BTreeSet<_> = shadowed.collect();
    (routes.len(), found, shadowed)
}

/// Routes made from nothing.
fn from_nothing(store: &Store) -> Routes {
    let releases = store.lines.values();
    let releases = releases.filter_map(|line| line.release.clone()).collect();
    Routes::new(
        releases,
        Arc::clone(&store.fleet.config),
        &mut Compiler::default(),
    )
}

fn settle_everything_again(store: &mut Store) -> StoreChange {
    let mut uids: BTreeSet<Uid> = store.lines.keys().cloned().collect();
    for source in SOURCES {
        uids.extend(
            store
                .texts
                .document(source)
                .map(|held| held.config.release.uid.clone()),
        );
    }
    let mut change = StoreChange::default();
    let sources = store.texts.sources().cloned().collect();
    store.settle_all(&uids, sources, &TextsAtHand::new(&[]), &mut change);
    change
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn changes_one_by_one_lead_to_what_everything_at_once_leads_to(
        first in step(), restored in any::<bool>(), steps in prop::collection::vec(step(), 1..12),
    ) {
        let mut directory = SourceTexts::new();
        let (mut by_changes, mut by_readings) = (Store::new(), Store::new());
        let mut indices = BTreeMap::new();
        for (at, step) in std::iter::once(first).chain(steps).enumerate() {
            let mut different = BTreeMap::new();
            for (source, held) in step {
                different.insert(source, held.clone());
                match held {
                    Some(bytes) => directory.insert(source, bytes),
                    None => directory.remove(source),
                };
            }
            let found = everything(&directory);
            let changes = match (at, restored) {
                (0, true) => [&mut by_changes, &mut by_readings].map(|store| store.restore(&found, None)),
                // The first reading after that decides what exists.
                (1, true) => [&mut by_changes, &mut by_readings].map(|store| store.apply(&found, None)),
                _ => {
                    let held = different.iter();
                    let held: Vec<_> =
                        held.filter_map(|(source, held)| Some(as_found(source, held.as_ref()?))).collect();
                    let gone = different.iter().filter(|(_, held)| held.is_none()).map(|(source, _)| *source);
                    [by_changes.apply_changes(&held, gone, None), by_readings.apply(&found, None)]
                }
            };
            prop_assert_eq!(&changes[0], &changes[1]);
            prop_assert_eq!(told(&by_changes), told(&by_readings));
            prop_assert_eq!(routed(by_changes.routes()), routed(&from_nothing(&by_changes)));

            // Nothing was left out that a change bears on.
            let before = told(&by_changes);
            prop_assert_eq!(settle_everything_again(&mut by_changes), StoreChange::default());
            prop_assert_eq!(told(&by_changes), before);

            // Whoever follows the changed indices has what the routes have.
            for index in by_changes.take_changed_routes() {
                match by_changes.routes().get(index) {
                    Some(release) => indices.insert(index, Arc::clone(release)),
                    None => indices.remove(&index),
                };
            }
            let present: Vec<_> = by_changes.routes().releases().map(|(i, r)| (i, Arc::as_ptr(r))).collect();
            let followed: Vec<_> = indices.iter().map(|(i, r)| (*i, Arc::as_ptr(r))).collect();
            prop_assert_eq!(present, followed);
        }
    }
}
