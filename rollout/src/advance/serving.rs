//! Who serves users now, and what an edit may make of it: no edit moves users to a version that does not serve them
//! unless it says so. One pure table; `adopt` asks it and does what it says. The rows are numbered as in
//! docs/concepts.md, *What an edit may move*.

use halftone_api::{
    Obstacle,
    plan::backend_name,
    spec::{Force, Initial},
};
use halftone_routing::document::{
    self, RoutingConfig,
    arm::{Arm, ArmConfig, Backend, ServicePort, ServiceRef},
    rule::Target,
    units::{Ratio, ReleaseId},
};

/// With more than this on gray, most users are there; in millionths.
pub(super) const HALF: u32 = 500_000;

/// What is known of who serves users.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CurrentServing<'a> {
    /// Nobody does: there is no document, or it is withdrawn.
    Nothing,
    /// Somebody may, and neither a status nor a document that can be read says who. This `force` stood, as far as is known.
    Unknown { force: Force },
    /// These do, by the live document or by the status.
    Live(ServingDocument<'a>),
}

/// The live document or the status, as far as it decides who serves whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServingDocument<'a> {
    /// The release; none without gray.
    pub id: Option<ReleaseId>,
    pub stable: &'a ArmConfig,
    pub gray: Option<&'a ArmConfig>,
    pub state: document::ReleaseState,
    pub ratio: Ratio,
    pub force: Force,
    /// It is of this object, and takes commands; else of one that was deleted.
    pub is_own: bool,
}

/// What the spec asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpecEdit<'a> {
    /// The release; none without gray.
    pub id: Option<ReleaseId>,
    pub stable: &'a ArmConfig,
    pub gray: Option<&'a ArmConfig>,
    pub force: Force,
    pub initial: Initial,
    /// `identity.from` or `whenMissing` differs, which moves users between the arms.
    pub moves_identity: bool,
    /// The stable arm of the edit has a ready endpoint.
    pub stable_ready: bool,
    /// The same of its gray arm.
    pub gray_ready: bool,
}

/// What becomes of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EditRuling {
    /// It is taken. Whoever moves is moved by what it says.
    Taken,
    /// The same, and the version that serves most users is served from another place: row 9.
    Moved {
        version: String,
        from: String,
        to: String,
    },
    /// It is taken, and its gray arm, which serves most users already, goes on and serves everyone: row 7, and row 12
    /// with `initial: Gray`.
    Kept,
    /// It would send users to an arm that has no ready endpoint; taken once there is one: row 1.
    Waits(Arm),
    /// Row 6.
    ForceStands,
    /// Row 3a.
    IdentityMoves,
    /// Row 10.
    StableNotServing(MajorityVersion),
    /// Row 13.
    ServingUnknown,
}

/// Who serves most users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MajorityVersion {
    pub version: String,
    /// How many of them; none for everyone.
    pub share: Option<Ratio>,
    /// A rollback sends them to the other version.
    pub can_go_back: bool,
}

/// The table. Rows that refuse come before row 1: an edit that is refused sends nobody anywhere.
pub(crate) fn rule(before: &CurrentServing<'_>, edit: &SpecEdit<'_>) -> EditRuling {
    match before {
        CurrentServing::Live(live) => {
            let ruling = if live.id == edit.id {
                live.in_place(edit)
            } else {
                live.by_another_release(edit)
            };
            live.waits(edit, &ruling).map_or(ruling, EditRuling::Waits)
        }
        CurrentServing::Unknown { .. } if edit.force == Force::None => EditRuling::ServingUnknown,
        CurrentServing::Unknown { force } if *force == edit.force => EditRuling::ForceStands,
        CurrentServing::Nothing if edit.initial == Initial::Gray && edit.gray.is_some() => {
            EditRuling::Kept
        }
        CurrentServing::Unknown { .. } | CurrentServing::Nothing => EditRuling::Taken,
    }
}

impl<'a> ServingDocument<'a> {
    /// Who serves by a document, which is of this object.
    pub(super) fn of(document: &'a RoutingConfig) -> Self {
        Self {
            id: document.arms.gray.as_ref().map(|_| document.release.id),
            stable: &document.arms.stable,
            gray: document.arms.gray.as_deref(),
            state: document.state,
            ratio: document.ratio,
            force: match document.force {
                None => Force::None,
                Some(Target::Stable) => Force::Stable,
                Some(Target::Gray) => Force::Gray,
            },
            is_own: true,
        }
    }

    /// Rows 2 to 5: the same release, or a plain route that stays one.
    fn in_place(&self, edit: &SpecEdit<'_>) -> EditRuling {
        if edit.moves_identity && self.splits() && self.is_mostly_gray() {
            return EditRuling::IdentityMoves;
        }
        EditRuling::Taken
    }

    /// Rows 5 to 10: gray is new, or taken out.
    fn by_another_release(&self, edit: &SpecEdit<'_>) -> EditRuling {
        match (self.force, edit.force) {
            (Force::Gray, Force::Gray) => return EditRuling::ForceStands,
            (before, Force::Stable | Force::Gray) if edit.force != before => {
                return EditRuling::Taken;
            }
            _ => {}
        }
        let (arm, most) = self.most();
        let everyone = arm == Arm::Stable
            || self.state == document::ReleaseState::Promoted
            || self.ratio == Ratio::FULL;
        let stays = is_same(edit.stable, most);
        if everyone && edit.gray.is_some_and(|gray| is_same(gray, most)) {
            // That gray serves everyone, and a force that stands would send them to stable.
            return if edit.force == Force::Stable && !stays {
                EditRuling::ForceStands
            } else {
                EditRuling::Kept
            };
        }
        if stays {
            return EditRuling::Taken;
        }
        if edit.stable.version == most.version {
            let (from, to) = (
                backend_name(&most.backend),
                backend_name(&edit.stable.backend),
            );
            return EditRuling::Moved {
                version: most.version.to_string(),
                from,
                to,
            };
        }
        // A plain route and the beginning of a release: stable serves, and the edit names another one.
        let early = matches!(
            self.state,
            document::ReleaseState::Plain | document::ReleaseState::Active
        ) && !self.is_mostly_gray();
        if early && arm == Arm::Stable {
            EditRuling::Taken
        } else {
            EditRuling::StableNotServing(self.described())
        }
    }

    /// The arm where most users are.
    fn most(&self) -> (Arm, &'a ArmConfig) {
        let gray = match self.force {
            Force::None => self.state == document::ReleaseState::Promoted || self.is_mostly_gray(),
            Force::Stable => false,
            Force::Gray => true,
        };
        match self.gray.filter(|_| gray) {
            Some(gray) => (Arm::Gray, gray),
            None => (Arm::Stable, self.stable),
        }
    }

    fn described(&self) -> MajorityVersion {
        let (arm, most) = self.most();
        let splits = self.force == Force::None && self.splits();
        MajorityVersion {
            version: most.version.to_string(),
            share: (splits && arm == Arm::Gray).then_some(self.ratio),
            can_go_back: self.is_own && arm == Arm::Gray && self.force == Force::None,
        }
    }

    fn is_mostly_gray(&self) -> bool {
        self.ratio.millionths() > HALF
    }

    fn splits(&self) -> bool {
        self.state == document::ReleaseState::Active
            && self.ratio > Ratio::ZERO
            && self.ratio < Ratio::FULL
    }

    fn arm(&self, arm: Arm) -> Option<&'a ArmConfig> {
        match arm {
            Arm::Stable => Some(self.stable),
            Arm::Gray => self.gray,
        }
    }

    /// The arm that the edit would newly send users to, and that has no ready endpoint: row 1. Rules are left out:
    /// whom they name is answered by the other arm meanwhile, see `onUnavailable`.
    fn waits(&self, edit: &SpecEdit<'_>, ruling: &EditRuling) -> Option<Arm> {
        let taken = matches!(
            ruling,
            EditRuling::Taken | EditRuling::Moved { .. } | EditRuling::Kept
        );
        let served = populated(self.force, self.state, self.ratio);
        let stays = self.id == edit.id && self.force == edit.force;
        let reached: &[Arm] = match (ruling, edit.force) {
            _ if self.id == edit.id => populated(edit.force, self.state, self.ratio),
            (EditRuling::Kept, _) | (_, Force::Gray) => &[Arm::Gray],
            _ => &[Arm::Stable],
        };
        let gains = |arm: &Arm| {
            let Some(place) = edit.arm(*arm) else {
                return false;
            };
            let comes = |from: &Arm| {
                let other = self.arm(*from).is_some_and(|from| !is_same(from, place));
                other && (!stays || from == arm || edit.moves_identity)
            };
            served.iter().any(comes)
        };
        reached
            .iter()
            .copied()
            .find(|arm| taken && !edit.is_ready(*arm) && gains(arm))
    }
}

impl<'a> SpecEdit<'a> {
    fn arm(&self, arm: Arm) -> Option<&'a ArmConfig> {
        match arm {
            Arm::Stable => Some(self.stable),
            Arm::Gray => self.gray,
        }
    }

    fn is_ready(&self, arm: Arm) -> bool {
        match arm {
            Arm::Stable => self.stable_ready,
            Arm::Gray => self.gray_ready,
        }
    }
}

/// The arms that have users.
fn populated(force: Force, state: document::ReleaseState, ratio: Ratio) -> &'static [Arm] {
    match (force, state) {
        (Force::Stable, _) => &[Arm::Stable],
        (Force::Gray, _) | (Force::None, document::ReleaseState::Promoted) => &[Arm::Gray],
        _ if ratio == Ratio::ZERO => &[Arm::Stable],
        _ if ratio == Ratio::FULL => &[Arm::Gray],
        _ => &Arm::ALL,
    }
}

/// Whether everyone is on `arm` by this document.
pub(super) fn is_on(document: &RoutingConfig, arm: &ArmConfig) -> bool {
    let live = ServingDocument::of(document);
    let populated = populated(live.force, live.state, live.ratio);
    populated
        .iter()
        .all(|at| live.arm(*at).is_some_and(|serving| is_same(serving, arm)))
}

/// Whether two arms are the same version in the same place. Time-outs, limits and checks change nothing of who answers.
pub(crate) fn is_same(one: &ArmConfig, other: &ArmConfig) -> bool {
    one.version == other.version
        && one.path_prefix == other.path_prefix
        && is_same_backend(&one.backend, &other.backend)
}

fn is_same_backend(one: &Backend, other: &Backend) -> bool {
    match (one, other) {
        (Backend::Service(one), Backend::Service(other)) => {
            (&one.namespace, &one.name) == (&other.namespace, &other.name)
                && is_same_port(one, other)
        }
        (Backend::Addresses(one), Backend::Addresses(other)) => {
            let (one, other) = (one.as_ref(), other.as_ref());
            one.len() == other.len() && one.iter().all(|address| other.contains(address))
        }
        _ => false,
    }
}

/// A port may be written by number or by name, and the Service says which belong together.
fn is_same_port(one: &ServiceRef, other: &ServiceRef) -> bool {
    let name = |service: &ServiceRef| match &service.port {
        ServicePort::Name(name) => Some(name.clone()),
        ServicePort::Number(_) => service.port_name.clone(),
    };
    let mixed =
        matches!(one.port, ServicePort::Name(_)) != matches!(other.port, ServicePort::Name(_));
    one.port == other.port || (mixed && name(one).is_some() && name(one) == name(other))
}

impl EditRuling {
    /// Why the edit is not in effect. None if it is.
    pub(crate) fn refusal(&self, edit: &SpecEdit<'_>) -> Option<Obstacle> {
        Some(match self {
            Self::Taken | Self::Moved { .. } | Self::Kept | Self::Waits(_) => return None,
            Self::ForceStands => {
                let (force, to) = match edit.force {
                    Force::Stable => ("Stable", Some(edit.stable)),
                    Force::Gray | Force::None => ("Gray", edit.gray),
                };
                let to = to.map_or("another version", |arm| arm.version.as_str());
                Obstacle::new(
                    "ForceStands",
                    format!(
                        "spec.force: {force} stands and would send everyone to {to} unseen; unset force, or set it \
                         again in an edit of its own"
                    ),
                )
            }
            Self::IdentityMoves => Obstacle::new(
                "IdentityMoves",
                "an edit of spec.identity.from or whenMissing moves users between the versions, and more than half \
                 of them are on gray; make it at 100%, or lower targetRatio to 50% or less first",
            ),
            Self::StableNotServing(most) => Obstacle::new("StableNotServing", most.advice()),
            Self::ServingUnknown => Obstacle::new(
                "ServingUnknown",
                "neither the status nor a routing document of this release tells which version serves users; proxies \
                 go on as they are. Set spec.force to Stable or Gray to say who serves",
            ),
        })
    }
}

impl MajorityVersion {
    fn advice(&self) -> String {
        let Self {
            version,
            share,
            can_go_back,
        } = self;
        let share = share.map_or("everyone".to_owned(), |share| share.to_string());
        let back = if *can_go_back {
            ", or run rollback"
        } else {
            ""
        };
        format!("{version} serves {share}; name it stable{back}; then this edit is taken by itself")
    }
}

#[cfg(test)]
mod tests;
