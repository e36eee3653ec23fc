//! The judge in words: the sentence and the figures that a person reads in `status.verdict`, in events and in the
//! live view.

use std::{fmt::Display, time::Duration};

use halftone_api::{health_limits::Limit, spec::LimitTotals};

use super::{
    Judge, LimitFigures, VerdictReason,
    event_counts::{EventCounts, ObservedWindow},
    limit_monitor::LimitMonitor,
    totals::LimitCounts,
};

/// The ruling in one sentence.
pub(super) fn message(process: &Judge) -> String {
    let about = process.about.map(|at| {
        (
            &process.limits.limits[at],
            &process.watches[at],
            &process.totals.limits[at],
        )
    });
    let requests = process.totals.gray_requests;
    match (process.ruling.reason, about) {
        (VerdictReason::WithinLimits, _) => {
            format!("every limit is kept over {requests} requests to gray")
        }
        (VerdictReason::Holding, _) => {
            format!("every limit is kept so far, over {requests} requests to gray")
        }
        (VerdictReason::LimitBroken, Some((limit, watch, _))) => {
            broken(process, limit, watch, watch.strength().window)
        }
        (VerdictReason::BothArmsFailed, Some((limit, watch, _))) => format!(
            "{}; stable has broken this limit for a minute as well, and gray may be what broke both",
            broken(process, limit, watch, watch.strength().window)
        ),
        (VerdictReason::BothArmsFailing, Some((limit, watch, _))) => format!(
            "{}; stable breaks this limit as well, so gray is not failed for it yet and the clock stands",
            broken(process, limit, watch, watch.strength().window)
        ),
        (VerdictReason::OverLimit, Some((limit, watch, counted))) => {
            let window = ObservedWindow {
                seconds: 0.0,
                gray: counted.gray(),
                stable: counted.stable(),
            };
            format!(
                "{}; that may still be chance, so it neither fails nor passes",
                broken(process, limit, watch, window)
            )
        }
        (VerdictReason::ReportsMissing, _) => {
            "a proxy has not acknowledged this step or does not report; without it nothing passes"
                .into()
        }
        (VerdictReason::WarmingUp, _) => {
            "the step is warming up; nothing counts for passing yet".into()
        }
        _ => format!(
            "{requests} of the {} requests to gray that a step needs",
            process.limits.min_requests
        ),
    }
}

/// What gray did against a limit, and what stable did meanwhile.
fn broken(process: &Judge, limit: &Limit, watch: &LimitMonitor, seen: ObservedWindow) -> String {
    let lately = if seen.seconds > 0.0 {
        format!(" within {}", seconds(seen.seconds))
    } else {
        String::new()
    };
    let counts = format!("{} of {}", seen.gray.bad, seen.gray.all);
    let kinds = process.recent.tell(seen);
    let gray = percent(seen.gray);
    let stable = if seen.stable.all == 0 {
        "had no requests".into()
    } else {
        percent(seen.stable)
    };
    match *limit {
        Limit::ErrorRate { max } => format!(
            "{gray} of gray's requests failed{lately}, against a limit of {}: {counts}{kinds}; stable {stable}",
            millionths(max)
        ),
        Limit::Latency { quantile, max } => format!(
            "{gray} of gray's requests took longer than {max:?}{lately}, against a limit of {}: {counts}; stable {stable}",
            millionths(1_000_000_u32.saturating_sub(quantile))
        ),
        Limit::RelativeErrorRate { factor, floor } => format!(
            "{gray} of gray's requests failed{lately}: {counts}{kinds}; stable {stable}, of which gray may have {factor} times, or {}",
            millionths(floor)
        ),
        Limit::RelativeClientErrorRate { factor, floor } => format!(
            "{gray} of gray's requests were answered 4xx{lately}: {counts}; stable {stable}, of which gray may have {factor} times, or {}",
            millionths(floor)
        ),
        Limit::RelativeP99 { factor } => {
            let (q, slow) = watch.slow_micros().unwrap_or_default();
            format!(
                "{gray} of gray's requests took {} or longer{lately}: {counts}; gray's p99 may be {factor} times stable's, which is {}",
                micros(slow),
                micros(q)
            )
        }
    }
}

/// One entry per limit.
pub(super) fn figures(process: &Judge) -> Vec<LimitFigures> {
    let limits = process
        .limits
        .limits
        .iter()
        .zip(&process.watches)
        .zip(&process.totals.limits);
    limits
        .map(|((limit, watch), counted)| figure(limit, watch, counted))
        .collect()
}

fn figure(limit: &Limit, watch: &LimitMonitor, counted: &LimitTotals) -> LimitFigures {
    let strength = watch.strength();
    let way = (strength.ln_e / strength.needed * 100.0).clamp(0.0, 100.0);
    let rate = |tally: EventCounts| (tally.all > 0).then(|| percent(tally));
    let (gray, stable) = (counted.gray(), counted.stable());
    let slower = |than: &dyn Display, tally: EventCounts| {
        rate(tally).map(|share| format!("{share} over {than}"))
    };
    let (allowed, gray_did, stable_did) = match *limit {
        Limit::ErrorRate { max } => (millionths(max), rate(gray), rate(stable)),
        Limit::Latency { max, .. } => {
            let max = format!("{max:?}");
            (max.clone(), slower(&max, gray), slower(&max, stable))
        }
        Limit::RelativeErrorRate { factor, floor }
        | Limit::RelativeClientErrorRate { factor, floor } => (
            format!("{factor} times stable, or {}", millionths(floor)),
            rate(gray),
            rate(stable),
        ),
        Limit::RelativeP99 { factor } => {
            let (q, slow) = watch.slow_micros().unwrap_or_default();
            (
                format!("{factor} times stable"),
                slower(&micros(slow), gray),
                slower(&micros(q), stable),
            )
        }
    };
    LimitFigures {
        name: limit.to_string(),
        limit: allowed,
        stable: stable_did,
        gray: gray_did,
        requests: counted.gray,
        evidence: format!("{way:.0}%"),
        ln_e: strength.ln_e,
    }
}

/// A measured share in percent, to three digits: `5%`, `0.123%`.
fn percent(tally: EventCounts) -> String {
    let percent = tally.rate() * 100.0;
    let decimals = if percent == 0.0 {
        0
    } else {
        (2 - percent.log10().floor() as i32).clamp(0, 9)
    };
    let text = format!("{percent:.*}", decimals as usize);
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}%")
}

/// A share as it was written.
fn millionths(share: u32) -> String {
    format!("{}%", f64::from(share) / 1e4)
}

/// A time that is measured.
fn seconds(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}

/// A latency, to three digits.
fn micros(micros: u64) -> String {
    format!("{:.1?}", Duration::from_micros(micros))
}
