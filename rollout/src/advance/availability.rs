//! Whether requests are served: which arms users are sent to, and whether each of them has an endpoint that takes them.

use halftone_api::spec::Force;
use halftone_routing::document::{
    arm::{Arm, ArmConfig},
    units::Ratio,
};

use super::context::AdvanceContext;
use crate::{condition_input::UnservedArm, progress::RolloutState};

impl AdvanceContext<'_> {
    /// The arm that ought to serve users now and cannot, stable before gray.
    pub(crate) fn unserved(&self) -> Option<UnservedArm> {
        let gray = self.plan.gray.as_ref().map(|gray| (Arm::Gray, &gray.arm));
        let mut arms = std::iter::once((Arm::Stable, &self.plan.stable)).chain(gray);
        let (arm, config) = arms.find(|(arm, config)| {
            self.sends_users_to(*arm) && self.seen.ready_endpoints(&config.backend) == 0
        })?;
        Some(UnservedArm {
            arm,
            message: self.unready(arm, config),
        })
    }

    /// That an arm has no ready endpoint, and why, where that is known.
    fn unready(&self, arm: Arm, config: &ArmConfig) -> String {
        let why = self
            .seen
            .why_unready(&config.backend)
            .map_or_else(String::new, |why| format!(": {why}"));
        format!(
            "{} ({}) has no ready endpoint{why}",
            config.version,
            arm.name()
        )
    }

    /// Whether some users are sent to this arm now, by ratio, force, rules or for want of an identity.
    fn sends_users_to(&self, arm: Arm) -> bool {
        let (plan, state) = (&self.plan, &self.progress.state);
        match (plan.force, arm) {
            (Force::Stable, arm) => arm == Arm::Stable,
            (Force::Gray, arm) => arm == Arm::Gray,
            (Force::None, Arm::Gray) => {
                self.progress.may_be_on_gray(plan)
                    || matches!(state, RolloutState::RolledBack(_)) && plan.keeps_gray_on_rollback()
            }
            (Force::None, Arm::Stable) => {
                state.ratio() < Ratio::FULL
                    || matches!(state, RolloutState::Moving(_))
                        && plan.reaches_stable_beside_the_split()
            }
        }
    }
}
