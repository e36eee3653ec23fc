//! Last step: figures, which nobody waits for and which are therefore written seldom. Transitions are in the status
//! already.

use std::time::Duration;

use halftone_api::GrayReleaseStatus;

use super::{LiveRelease, ReconcileContext, apply};
use crate::error::Error;

/// Figures alone are written this seldom.
const FIGURES: Duration = Duration::from_secs(10);

/// Writes `status`, which tells of the present progress, if it is time.
pub(super) async fn report_status(
    context: &ReconcileContext,
    live: &mut LiveRelease,
    status: GrayReleaseStatus,
) -> Result<(), Error> {
    let written = &live.tracked.written;
    let is_news = written.at().elapsed() >= FIGURES && !written.is(&status);
    // At rest, too, somebody has to see that we are there.
    if !is_news && !context.ownership.is_beat_due() {
        return Ok(());
    }
    let status = apply::stamped(context, live, live.tracked.accepted.as_deref(), status);
    live.tracked.sent = Some(Box::new((status.clone(), live.tracked.progress.clone())));
    apply::write_status(context, live, status).await
}
