//! The last point: an arm without any endpoint is replaced by the other one, if the release allows. The proxy asks
//! after `decide`, since endpoints come and go without a new document.

use super::may_fall_back;
use crate::{document::arm::Arm, overlay::Overlay, routes::CompiledRelease};

/// Which arm serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingArm {
    /// The one that was meant.
    Intended(Arm),
    /// The other one. The request is charged once, to the arm that was meant, as `noEndpoint` and without a limit
    /// event; what the other arm answers appears in `fallbacks` and the access log only.
    Fallback(Arm),
    /// None: 503, charged to the arm that was meant, as `noEndpoint`.
    Unavailable,
}

impl ServingArm {
    /// The arm that gets the request, if one does.
    pub const fn arm(self) -> Option<Arm> {
        match self {
            Self::Intended(arm) | Self::Fallback(arm) => Some(arm),
            Self::Unavailable => None,
        }
    }
}

/// Who answers in the place of the gray arm that serves, should it turn out that none of its endpoints takes a
/// connection; stable is not replaced for that.
pub fn replacement_arm(
    release: &CompiledRelease,
    overlay: Overlay,
    served: &ServingArm,
) -> Option<Arm> {
    match served {
        ServingArm::Intended(Arm::Gray) if may_fall_back(release, overlay, Arm::Gray) => {
            Some(Arm::Stable)
        }
        _ => None,
    }
}

/// Which arm serves a request that was meant for one, by whether each has any endpoint. Where nobody is to reach gray
/// (a rolled-back release, `force: Stable`, a closed split), it does not take over for stable either.
pub fn serve(
    release: &CompiledRelease,
    overlay: Overlay,
    intended: Arm,
    has_endpoint: impl Fn(Arm) -> bool,
) -> ServingArm {
    if has_endpoint(intended) {
        ServingArm::Intended(intended)
    } else if may_fall_back(release, overlay, intended) && has_endpoint(intended.other()) {
        ServingArm::Fallback(intended.other())
    } else {
        ServingArm::Unavailable
    }
}
