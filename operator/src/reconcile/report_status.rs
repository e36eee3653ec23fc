//! Last step: figures, which nobody waits for and which are therefore written seldom: while the release is judged, and once
//! when it comes to rest. Live values come from the proxies. Transitions are in the status already.

use std::time::Duration;

use halftone_api::GrayReleaseStatus;
use halftone_rollout::advance::AdvanceResult;
use halftone_rollout::clock::Now;
use tokio::time::Instant;

use super::live_release::LiveRelease;
use super::release_writer::ReleaseWriter;
use crate::error::Error;

/// Writes `status`, which tells of the present progress, if it is time, and if `take`, asked once for each write, lets it.
/// Says after how long to try again where there is something to write and it is not time.
pub(super) async fn report_status(
    writer: ReleaseWriter<'_>,
    live: &mut LiveRelease,
    turn: &AdvanceResult,
    status: GrayReleaseStatus,
    take: impl FnOnce(Instant) -> Result<(), Duration>,
    now: Now,
) -> Result<Option<Duration>, Error> {
    let judged = turn.progress.is_judged(now);
    let at_rest = turn.rests_for.is_some() && !judged;
    let tracked = &mut live.tracked;
    let comes_to_rest = at_rest && !tracked.figures_settled;
    let at = Instant::now();
    let due = tracked
        .written
        .figures_due(&status, judged, comes_to_rest, at);
    // At rest, too, somebody has to see that we are there.
    if !writer.ownership.is_beat_due() {
        let wait = match due {
            Some(wait) if wait.is_zero() => take(at).err(),
            other => other,
        };
        if due.is_none() || wait.is_some() {
            tracked.figures_settled = at_rest && (tracked.figures_settled || wait.is_none());
            return Ok(wait);
        }
    }
    tracked.figures_settled = false;
    let status = writer.stamped(live, live.tracked.accepted.as_ref(), status, now.wall);
    live.tracked.sent = Some(Box::new((status.clone(), live.tracked.progress.clone())));
    writer.write_status(live, status).await?;
    live.tracked.figures_settled = at_rest;
    Ok(None)
}
