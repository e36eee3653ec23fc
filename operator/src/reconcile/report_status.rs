//! Last step: figures, which nobody waits for and which are therefore written seldom. Transitions are in the status
//! already.

use std::time::Duration;

use halftone_api::GrayReleaseStatus;
use jiff::Timestamp;

use super::live_release::LiveRelease;
use super::release_writer::ReleaseWriter;
use crate::error::Error;

/// Figures alone are written this seldom.
const FIGURES: Duration = Duration::from_secs(10);

/// Writes `status`, which tells of the present progress, if it is time.
pub(super) async fn report_status(
    writer: ReleaseWriter<'_>,
    live: &mut LiveRelease,
    status: GrayReleaseStatus,
    now: Timestamp,
) -> Result<(), Error> {
    let written = &live.tracked.written;
    let is_news = written.at().elapsed() >= FIGURES && !written.is(&status);
    // At rest, too, somebody has to see that we are there.
    if !is_news && !writer.ownership.is_beat_due() {
        return Ok(());
    }
    let status = writer.stamped(live, live.tracked.accepted.as_deref(), status, now);
    live.tracked.sent = Some(Box::new((status.clone(), live.tracked.progress.clone())));
    writer.write_status(live, status).await
}
