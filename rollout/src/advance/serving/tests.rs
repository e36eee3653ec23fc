//! The table, row by row.

use std::hash::{DefaultHasher, Hash, Hasher};

use halftone_routing::document::{arm::Arm, names::PathPrefix};
use proptest::prelude::*;

use super::*;

/// `VERSION@SERVICE[:PORT][/PREFIX]`
fn arm(text: &str) -> ArmConfig {
    let (version, place) = text.split_once('@').expect("a version and a place");
    let (service, prefix) = place
        .split_once('/')
        .map_or((place, None), |(service, prefix)| (service, Some(prefix)));
    let (name, port) = service.split_once(':').unwrap_or((service, "80"));
    let port = match port.parse() {
        Ok(number) => ServicePort::Number(number),
        Err(_) => ServicePort::Name(port.parse().expect("a name")),
    };
    let service = ServiceRef {
        namespace: "shop".parse().expect("a name"),
        name: name.parse().expect("a name"),
        port,
        port_name: None,
    };
    let path_prefix =
        prefix.map(|prefix| format!("/{prefix}").parse::<PathPrefix>().expect("a path"));
    ArmConfig {
        path_prefix,
        ..ArmConfig::new(
            Backend::Service(service),
            version.parse().expect("a version"),
        )
    }
}

fn id_of(text: &str) -> ReleaseId {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    ReleaseId::from_bits(hasher.finish())
}

/// Two arms and more words about them.
struct ArmWords {
    stable: ArmConfig,
    gray: Option<ArmConfig>,
    id: Option<ReleaseId>,
    rest: Vec<String>,
}

impl ArmWords {
    fn of(text: &str) -> Self {
        let mut words = text.split(' ').map(str::to_owned);
        let (stable, gray) = (
            words.next().expect("a stable arm"),
            words.next().expect("a gray arm, or -"),
        );
        let rest: Vec<String> = words.collect();
        let salt = rest
            .iter()
            .find(|word| word.starts_with("salt="))
            .cloned()
            .unwrap_or_default();
        let gray = Some(gray).filter(|gray| gray != "-");
        Self {
            stable: arm(&stable),
            id: gray.as_ref().map(|gray| id_of(&format!("{gray}{salt}"))),
            gray: gray.as_deref().map(arm),
            rest,
        }
    }

    fn has(&self, word: &str) -> bool {
        self.rest.iter().any(|other| other == word)
    }

    fn force(&self) -> Force {
        match (self.has("force=Stable"), self.has("force=Gray")) {
            (true, _) => Force::Stable,
            (_, true) => Force::Gray,
            _ => Force::None,
        }
    }

    /// `STABLE GRAY STATE`, the state being `plain`, `promoted`, `back` or a percentage.
    fn live(&self) -> ServingDocument<'_> {
        let (state, ratio) = match self.rest[0].as_str() {
            "plain" => (document::ReleaseState::Plain, Ratio::ZERO),
            "promoted" => (document::ReleaseState::Promoted, Ratio::FULL),
            "back" => (document::ReleaseState::RolledBack, Ratio::ZERO),
            percent => {
                let percent: u32 = percent.trim_end_matches('%').parse().expect("a state");
                (
                    document::ReleaseState::Active,
                    Ratio::from_millionths(percent * 10_000).expect("a ratio"),
                )
            }
        };
        ServingDocument {
            is_own: true,
            id: self.id,
            stable: &self.stable,
            gray: self.gray.as_ref(),
            state,
            ratio,
            force: self.force(),
        }
    }

    /// `STABLE GRAY [force=…] [salt=…] [identity] [stable-down] [gray-down]`
    fn edit(&self) -> SpecEdit<'_> {
        SpecEdit {
            id: self.id,
            stable: &self.stable,
            gray: self.gray.as_ref(),
            force: self.force(),
            initial: if self.has("initial=Gray") {
                Initial::Gray
            } else {
                Initial::Stable
            },
            moves_identity: self.has("identity"),
            stable_ready: !self.has("stable-down"),
            gray_ready: !self.has("gray-down"),
        }
    }
}

/// The ruling in a word.
fn ruled(before: &str, edit: &str) -> String {
    let (before, edit) = (ArmWords::of(before), ArmWords::of(edit));
    match rule(&CurrentServing::Live(before.live()), &edit.edit()) {
        EditRuling::Waits(arm) => format!("Waits {}", arm.name()),
        EditRuling::Moved { version, from, to } => format!("Moved {version} {from} {to}"),
        EditRuling::StableNotServing(most) => {
            let share = most
                .share
                .map_or("everyone".to_owned(), |share| share.to_string());
            format!(
                "StableNotServing {} {share}{}",
                most.version,
                if most.can_go_back { ", back" } else { "" }
            )
        }
        other => format!("{other:?}"),
    }
}

fn table(rows: &[(&str, &str, &str)]) {
    for (before, edit, expected) in rows {
        assert_eq!(ruled(before, edit), *expected, "{before} → {edit}");
    }
}

#[test]
fn row_1_nobody_is_newly_sent_to_an_arm_without_a_ready_endpoint() {
    table(&[
        ("v1@a v2@b 10%", "v1@a v3@c stable-down", "Waits stable"),
        ("v1@a v2@b 0%", "v1@a v3@c stable-down", "Taken"),
        ("v1@a - plain", "v1.1@a2 - stable-down", "Waits stable"),
        ("v1@a v2@b 10%", "v1.1@a2 v2@b stable-down", "Waits stable"),
        ("v1@a v2@b promoted", "v1.1@a2 v2@b stable-down", "Taken"),
        ("v1@a v2@b promoted", "v2@b v3@c stable-down", "Taken"),
        (
            "v1@a v2@b 10%",
            "v1@a v2@b force=Stable stable-down",
            "Waits stable",
        ),
        (
            "v1@a v2@b 10%",
            "v1@a v2@b force=Gray gray-down",
            "Waits gray",
        ),
        (
            "v1@a v2@b 10% force=Gray",
            "v1@a v2@b stable-down",
            "Waits stable",
        ),
        (
            "v1@a v2@b 10% force=Stable",
            "v1@a v2@b gray-down",
            "Waits gray",
        ),
        ("v1@a v2@b 0% force=Stable", "v1@a v2@b gray-down", "Taken"),
        (
            "v1@a v2@b 10%",
            "v1@a v2@b identity stable-down",
            "Waits stable",
        ),
        ("v1@a v2@b 10%", "v1@a v2@b stable-down gray-down", "Taken"),
        ("v2@b v3@c 10%", "v1@a v2@b gray-down", "Waits gray"),
        ("v2@b v3@c back", "v1@a v2@b gray-down", "Kept"),
        (
            "v1@a v2@b promoted",
            "v2@a v3@b stable-down",
            "Waits stable",
        ),
    ]);
}

#[test]
fn rows_2_to_5_of_the_same_release_are_taken() {
    for state in ["0%", "10%", "50%", "80%", "100%", "promoted", "back"] {
        let before = format!("v1@a v2@b {state}");
        assert_eq!(ruled(&before, "v1@a v2@b"), "Taken", "2 {state}");
        assert_eq!(ruled(&before, "v1.1@a v2@b"), "Taken", "3 and 4 {state}");
        assert_eq!(ruled(&before, "v9@z v2@b"), "Taken", "3 and 4 {state}");
        assert_eq!(
            ruled(&before, "v1@a v2@b force=Stable"),
            "Taken",
            "5 {state}"
        );
        assert_eq!(ruled(&before, "v1@a v2@b force=Gray"), "Taken", "5 {state}");
        assert_eq!(ruled(&before, "v1@a v9@z force=Gray"), "Taken", "5 {state}");
        assert_eq!(
            ruled(&before, "v1@a v9@z force=Stable"),
            "Taken",
            "5 {state}"
        );
    }
    table(&[("v1@a - plain", "v1.1@a2 -", "Taken")]);
}

#[test]
fn row_3a_an_edit_of_identity_waits_for_all_or_half() {
    table(&[
        ("v1@a v2@b 50%", "v1@a v2@b identity", "Taken"),
        ("v1@a v2@b 51%", "v1@a v2@b identity", "IdentityMoves"),
        ("v1@a v2@b 99%", "v1.1@a v2@b identity", "IdentityMoves"),
        ("v1@a v2@b 100%", "v1@a v2@b identity", "Taken"),
        ("v1@a v2@b promoted", "v1@a v2@b identity", "Taken"),
        ("v1@a v2@b back", "v1@a v2@b identity", "Taken"),
    ]);
}

#[test]
fn row_6_a_standing_force_never_applies_to_a_new_release() {
    table(&[
        (
            "v1@a v2@b 10% force=Gray",
            "v1@a v3@c force=Gray",
            "ForceStands",
        ),
        (
            "v1@a v2@b promoted force=Gray",
            "v2@b v3@c force=Gray",
            "ForceStands",
        ),
        ("v1@a v2@b 10%", "v1@a v3@c force=Gray", "Taken"),
        (
            "v1@a v2@b 10% force=Stable",
            "v1@a v3@c force=Stable",
            "Taken",
        ),
        (
            "v1@a v2@b promoted force=Stable",
            "v0@z v1@a force=Stable",
            "ForceStands",
        ),
        (
            "v1@a - plain force=Stable",
            "v0@z v1@a force=Stable",
            "ForceStands",
        ),
    ]);
}

#[test]
fn row_7_a_revert_leaves_everyone_on_the_version_that_serves() {
    table(&[
        ("v2@b v3@c 0%", "v1@a v2@b", "Kept"),
        ("v2@b v3@c 10%", "v1@a v2@b", "Kept"),
        ("v2@b v3@c 50%", "v1@a v2@b", "Kept"),
        ("v2@b v3@c back", "v1@a v2@b", "Kept"),
        ("v2@b - plain", "v1@a v2@b", "Kept"),
        ("v1@a v2@b promoted", "v1@a v2@b salt=x", "Kept"),
        ("v1@a v2@b 100%", "v1@a v2@b salt=x", "Kept"),
        ("v1@a v2@b promoted force=Stable", "v0@z v1@a", "Kept"),
    ]);
}

#[test]
fn row_8_another_gray_beside_the_version_that_serves_is_taken() {
    table(&[
        ("v1@a - plain", "v1@a v2@b", "Taken"),
        ("v1@a v2@b 10%", "v1@a v3@c", "Taken"),
        ("v1@a v2@b 50%", "v1@a -", "Taken"),
        ("v1@a v2@b back", "v1@a v3@c", "Taken"),
        ("v1@a v2@b promoted", "v2@b v3@c", "Taken"),
        ("v1@a v2@b promoted", "v2@b -", "Taken"),
        ("v1@a v2@b 80%", "v2@b v3@c", "Taken"),
        (
            "v1@a v2@b promoted force=Stable",
            "v1@a v3@c force=Stable",
            "Taken",
        ),
    ]);
}

#[test]
fn row_9_the_version_that_serves_may_move_to_another_place() {
    table(&[
        (
            "v1@checkout v2@gray promoted",
            "v2@checkout v3@gray",
            "Moved v2 gray checkout",
        ),
        (
            "v1@checkout v2@gray 80%",
            "v2@checkout -",
            "Moved v2 gray checkout",
        ),
        ("v1@a v2@b promoted", "v2@b:8080 v3@c", "Moved v2 b b"),
        ("v1@a v2@b promoted", "v2@b/app v3@c", "Moved v2 b b"),
        ("v1@a v2@b 10%", "v1@a2 v3@c", "Moved v1 a a2"),
    ]);
}

#[test]
fn row_10_an_edit_that_leaves_out_who_serves_is_refused() {
    table(&[
        (
            "v1@a v2@b promoted",
            "v1@a v3@c",
            "StableNotServing v2 everyone, back",
        ),
        (
            "v1@a v2@b promoted",
            "v1@a -",
            "StableNotServing v2 everyone, back",
        ),
        (
            "v1@a v2@b promoted",
            "v0@z v1@a",
            "StableNotServing v2 everyone, back",
        ),
        (
            "v1@a v2@b 100%",
            "v1@a v3@c",
            "StableNotServing v2 everyone, back",
        ),
        (
            "v1@a v2@b 80%",
            "v1@a v3@c",
            "StableNotServing v2 80%, back",
        ),
        (
            "v1@a v2@b 80%",
            "v1@a v2@b2",
            "StableNotServing v2 80%, back",
        ),
        (
            "v1@a v2@b 80%",
            "v1@a v2@b/app",
            "StableNotServing v2 80%, back",
        ),
        (
            "v1@a v2@b 80%",
            "v1@a v2@b salt=x",
            "StableNotServing v2 80%, back",
        ),
        (
            "v1@a v2@b back",
            "v9@z v3@c",
            "StableNotServing v1 everyone",
        ),
        (
            "v1@a v2@b promoted force=Stable",
            "v2@b v3@c",
            "StableNotServing v1 everyone",
        ),
        (
            "v1@a v2@b 10% force=Gray",
            "v1@a v3@c",
            "StableNotServing v2 everyone",
        ),
    ]);
}

#[test]
fn a_stable_that_an_edit_names_while_stable_serves_is_meant() {
    table(&[
        ("v1@a - plain", "v1.1@a2 v2@b", "Taken"),
        ("v1@a v2@b 10%", "v1.1@a2 v3@c", "Taken"),
    ]);
}

#[test]
fn rows_12_and_13_what_is_not_known_is_as_the_spec_says() {
    let rule = |before, text: &str| rule(&before, &ArmWords::of(text).edit());
    assert_eq!(
        rule(CurrentServing::Nothing, "v1@a v2@b"),
        EditRuling::Taken
    );
    assert_eq!(
        rule(CurrentServing::Nothing, "v1@a v2@b initial=Gray"),
        EditRuling::Kept
    );
    assert_eq!(
        rule(CurrentServing::Nothing, "v1@a - initial=Gray"),
        EditRuling::Taken
    );
    let unknown = |force| CurrentServing::Unknown { force };
    assert_eq!(
        rule(unknown(Force::None), "v1@a v2@b initial=Gray"),
        EditRuling::ServingUnknown
    );
    assert_eq!(
        rule(unknown(Force::None), "v1@a v2@b force=Stable"),
        EditRuling::Taken
    );
    assert_eq!(
        rule(unknown(Force::Gray), "v1@a v2@b"),
        EditRuling::ServingUnknown
    );
    assert_eq!(
        rule(unknown(Force::Gray), "v1@a v2@b force=Stable"),
        EditRuling::Taken
    );
    assert_eq!(
        rule(unknown(Force::Gray), "v1@a v2@b force=Gray"),
        EditRuling::ForceStands,
        "it was set before"
    );
}

#[test]
fn a_port_is_the_same_by_number_and_by_the_name_that_the_service_gives_it() {
    let named = arm("v1@a:http");
    let mut numbered = arm("v1@a:80");
    assert!(!is_same(&numbered, &named));
    if let Backend::Service(service) = &mut numbered.backend {
        service.port_name = Some("http".parse().expect("a name"));
    }
    assert!(is_same(&numbered, &named) && is_same(&named, &numbered));
}

const PLACES: [&str; 5] = ["v1@a", "v2@b", "v3@c", "v2@a", "v1@b"];
const STATES: [&str; 7] = ["0%", "10%", "50%", "80%", "100%", "promoted", "back"];
const FORCES: [&str; 3] = ["", " force=Stable", " force=Gray"];

proptest! {
    /// Whatever is edited in whatever state: a version that serves most users and is another one afterwards was moved
    /// by `force`, by a stable arm that the edit names while stable serves, or by nothing at all.
    #[test]
    fn most_users_move_to_another_version_only_where_the_edit_says_so(
        arms in [0usize..5, 0..5, 0..5, 0..5], state in 0usize..7, forces in [0usize..3, 0..3],
    ) {
        let [s0, g0, s1, g1] = arms.map(|at| PLACES[at]);
        let version = |text: &str| text.split('@').next().map(str::to_owned);
        prop_assume!(version(s0) != version(g0) && version(s1) != version(g1));
        let before = ArmWords::of(&format!("{s0} {g0} {}{}", STATES[state], FORCES[forces[0]]));
        let after = ArmWords::of(&format!("{s1} {g1}{}", FORCES[forces[1]]));
        let (live, edit) = (before.live(), after.edit());
        let (arm, most) = live.most();
        let reached = match rule(&CurrentServing::Live(live), &edit) {
            EditRuling::Kept if edit.force != Force::Stable => edit.gray.expect("gray is kept"),
            EditRuling::Taken | EditRuling::Moved { .. } if edit.force == Force::Gray => edit.gray.expect("gray is forced"),
            EditRuling::Taken if live.id == edit.id && arm == Arm::Gray && edit.force == Force::None => {
                edit.gray.expect("the same release")
            }
            EditRuling::Taken | EditRuling::Moved { .. } | EditRuling::Kept => edit.stable,
            _ => return Ok(()),
        };
        let by_force = live.force != edit.force;
        let by_name = arm == Arm::Stable && !matches!(live.state, document::ReleaseState::RolledBack | document::ReleaseState::Promoted)
            || live.id == edit.id;
        prop_assert!(reached.version == most.version || by_force || by_name, "{most:?} {reached:?}");
    }
}
