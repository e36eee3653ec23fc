//! The last point: an arm without any endpoint is replaced by the other one, if the release allows. The proxy asks
//! after `decide`, since endpoints come and go without a new document.

use super::may_fall_back;
use crate::{config::arm::Arm, routes::Release};

/// Which arm serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The one that was meant.
    Intended(Arm),
    /// The other one. The request is charged once, to the arm that was meant, as `noEndpoint` and without a limit
    /// event; what the other arm answers appears in `fallbacks` and the access log only.
    Fallback(Arm),
    /// None: 503, charged to the arm that was meant, as `noEndpoint`.
    Unavailable,
}

impl Served {
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
pub fn stand_in(release: &Release, served: &Served) -> Option<Arm> {
    match served {
        Served::Intended(Arm::Gray) if may_fall_back(release, Arm::Gray) => Some(Arm::Stable),
        _ => None,
    }
}

/// Which arm serves a request that was meant for one, by whether each has any endpoint. Where nobody is to reach gray
/// (a rolled-back release, `force: Stable`), it does not take over for stable either.
pub fn serve(release: &Release, intended: Arm, has_endpoint: impl Fn(Arm) -> bool) -> Served {
    if has_endpoint(intended) {
        Served::Intended(intended)
    } else if may_fall_back(release, intended) && has_endpoint(intended.other()) {
        Served::Fallback(intended.other())
    } else {
        Served::Unavailable
    }
}
