//! Snapshots that follow one another have what one made from nothing has, and say all that is different.

use std::collections::{BTreeMap, BTreeSet};

use halftone_routing::document::parse::Format;
use halftone_routing::report::Epoch;
use halftone_routing::store::{Content, SourceDocument, Store};
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A release's document: which port its gray listens on, if it has gray.
fn document(release: u8, revision: u64, gray: Option<u16>) -> String {
    let mut document = json!({
        "schema": 1,
        "bucketing": "xxh3-1",
        "release": {"uid": format!("u-{release}"), "namespace": "shop", "name": format!("r-{release}"),
            "id": "0123456789abcdef", "createdAt": "2026-01-02T03:04:05Z"},
        "revision": revision,
        "stage": 1,
        "state": "Plain",
        "moving": false,
        "ratio": 0,
        "hosts": [format!("{release}.example.com")],
        "arms": {"stable": {"addresses": ["127.0.0.1:9001"], "version": "v1"}},
        "identity": {"from": [{"header": "X-User-Name"}]},
    });
    if let Some(port) = gray {
        document["state"] = json!("Active");
        document["arms"]["gray"] =
            json!({"addresses": [format!("127.0.0.1:{port}")], "version": "v2"});
    }
    document.to_string()
}

fn withdrawn(release: u8, revision: u64) -> String {
    document(release, revision, None).replace("\"Plain\"", "\"Withdrawn\"")
}

fn fleet(revision: u64, backend: Option<u16>) -> String {
    let backend = backend.map(|port| json!({"addresses": [format!("127.0.0.1:{port}")]}));
    json!({"schema": 1, "revision": revision, "defaultBackend": backend}).to_string()
}

/// Each destination's number, key, table and counters, by what the routes say.
fn destinations(snapshot: &Snapshot) -> BTreeMap<DestinationId, (String, u32, usize)> {
    let routes = snapshot.routes.releases();
    let arms = routes.flat_map(|(_, release)| {
        let uid = &release.config().release.uid;
        let named = release.destinations();
        named.map(move |(arm, id)| (id, format!("{uid} {}", arm.name())))
    });
    let default = snapshot.routes.default_destination();
    let all = arms.chain(default.map(|id| (id, "default".to_owned())));
    let mut found = BTreeMap::new();
    for (id, key) in all {
        let destination = snapshot.destination(id).expect("every one is there");
        let counters = Arc::as_ptr(&destination.counters).addr();
        let before = found.insert(id, (key, destination.table.id, counters));
        assert_eq!(before, None, "no two have one number");
    }
    found
}

/// What a snapshot is made of.
#[derive(Debug)]
struct SnapshotParts {
    store: Store,
    tables: Tables,
    overlays: Overlays,
    reporter: Reporter,
}

impl SnapshotParts {
    fn new() -> Self {
        Self {
            store: Store::new(),
            tables: Tables::new(1),
            overlays: Overlays::default(),
            reporter: Reporter::new("p".to_owned(), Epoch(1), 1),
        }
    }

    /// Takes everything that there is now.
    fn apply(&mut self, texts: &BTreeMap<u8, String>, fleet: &str) {
        let names: Vec<_> = texts
            .keys()
            .map(|release| format!("{release}.json"))
            .collect();
        let json = |text| Content::Text(Format::Json, str::as_bytes(text));
        let documents: Vec<_> = names
            .iter()
            .zip(texts.values())
            .map(|(source, text)| SourceDocument {
                source,
                content: json(text),
            })
            .collect();
        let fleet = SourceDocument {
            source: "fleet.json",
            content: json(fleet),
        };
        self.store.apply(&documents, Some(fleet));
        assert_eq!(self.store.rejected(), [], "the documents are in order");
    }

    fn compiled_anew(&mut self) -> Snapshot {
        let routes = self.store.routes();
        Snapshot::new(
            0,
            routes,
            &self.tables,
            &mut self.overlays,
            &mut self.reporter,
        )
    }

    fn after(&mut self, before: &Snapshot) -> Snapshot {
        let changed = self.store.take_changed_routes();
        let routes = self.store.routes();
        before.next(
            routes,
            &changed,
            &self.tables,
            &mut self.overlays,
            &mut self.reporter,
        )
    }
}

/// What is put in the place of each release, a gray of its own port or none, or nothing; and the default backend.
type SnapshotStep = (BTreeMap<u8, Option<Option<u16>>>, Option<u16>);

fn step() -> impl Strategy<Value = SnapshotStep> {
    let gray = prop::option::of(9002_u16..9005);
    let releases = prop::collection::btree_map(0_u8..6, prop::option::of(gray), 0..4);
    (releases, prop::option::of(9001_u16..9003))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_follows_has_what_one_from_nothing_has_and_tells_every_difference(
        steps in prop::collection::vec(step(), 1..10),
    ) {
        let mut parts = SnapshotParts::new();
        let mut texts = BTreeMap::new();
        let mut snapshot = parts.compiled_anew();
        for (revision, (releases, backend)) in (1..).zip(steps) {
            for (release, held) in releases {
                match held {
                    Some(gray) => texts.insert(release, document(release, revision, gray)),
                    // It is withdrawn, and its destinations are gone.
                    None => texts.insert(release, withdrawn(release, revision)),
                };
            }
            parts.apply(&texts, &fleet(revision, backend));
            let next = parts.after(&snapshot);
            let (before, now) = (destinations(&snapshot), destinations(&next));
            prop_assert_eq!(&now, &destinations(&parts.compiled_anew()));
            let limit = next.routes.destination_limit();
            prop_assert!(now.keys().all(|id| id.get() < limit));

            let told: BTreeSet<_> = next
                .changes_since(snapshot.generation)
                .expect("it is known")
                .flat_map(|change| change.destinations.to_vec())
                .collect();
            let ids: BTreeSet<_> = before.keys().chain(now.keys()).copied().collect();
            let differs = ids.iter().filter(|id| before.get(id) != now.get(id));
            prop_assert!(differs.clone().all(|id| told.contains(id)), "{:?} {:?}", told, before);
            let gone = ids.iter().filter(|id| !now.contains_key(id));
            prop_assert!(gone.clone().all(|id| next.destination(*id).is_none()));

            let tables: BTreeSet<_> = now.values().map(|(_, table, _)| *table).collect();
            let known = before.values().map(|(_, table, _)| *table);
            for table in known.chain(tables.iter().copied()) {
                prop_assert_eq!(next.names_table(table), tables.contains(&table));
            }
            snapshot = next;
        }
    }

    #[test]
    fn a_number_that_is_free_again_is_told_when_another_destination_gets_it(first in 0_u8..3, second in 3_u8..6) {
        let mut parts = SnapshotParts::new();
        let nothing = parts.compiled_anew();
        let texts = BTreeMap::from([(first, document(first, 1, Some(9002)))]);
        parts.apply(&texts, &fleet(1, None));
        let one = parts.after(&nothing);
        let texts = BTreeMap::from([
            (first, withdrawn(first, 2)),
            (second, document(second, 1, Some(9003))),
        ]);
        parts.apply(&texts, &fleet(1, None));
        let two = parts.after(&one);
        let texts = BTreeMap::from([(second, document(second, 1, Some(9003))), (7, document(7, 1, Some(9004)))]);
        parts.apply(&texts, &fleet(1, None));
        let three = parts.after(&two);
        let (old, new) = (destinations(&one), destinations(&three));
        let reused: Vec<_> = old.keys().filter(|id| new.contains_key(id)).copied().collect();
        prop_assert_eq!(reused.len(), 2, "the third gets the numbers of the first");
        let told: BTreeSet<_> = three
            .changes_since(one.generation)
            .expect("it is known")
            .flat_map(|change| change.destinations.to_vec())
            .collect();
        prop_assert!(reused.iter().all(|id| told.contains(id)));
        prop_assert_eq!(destinations(&one), old, "the first snapshot has what it had");
    }
}
