//! When a ratio may rise: windows of local time. Reads the schedule and answers for any point in time, daylight
//! saving included.

use std::sync::LazyLock;

use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{Date, DateTime, Time, Weekday},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

use super::reader::SpecReader;
use crate::{
    problem::field,
    spec::{self, ScheduleSpec, WindowSpec, pattern},
    structural,
};

/// The time zones of this build. Not those of the machine, so that every machine decides alike.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// When the ratio may rise.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    windows: Vec<TimeWindow>,
}

#[derive(Clone, Debug, PartialEq)]
struct TimeWindow {
    days: Vec<Weekday>,
    from: Time,
    to: Time,
}

/// What a schedule says of a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowState {
    /// The ratio may rise, until this time at least.
    Open {
        /// When the last of the windows closes that are open now.
        until: Timestamp,
    },
    /// The ratio may not rise.
    Closed {
        /// When the next window opens; none if there is no window.
        opens: Option<Timestamp>,
    },
}

/// Windows come back every week; one that a gap swallows, a week later. Counted from yesterday, whose window may
/// reach over midnight.
const DAYS_AHEAD: i64 = 16;

impl Schedule {
    /// What the schedule says of `at`.
    pub fn at(&self, at: Timestamp) -> WindowState {
        let spans = self.spans_around(at);
        let until = spans
            .iter()
            .filter(|(opens, closes)| *opens <= at && at < *closes)
            .map(|span| span.1)
            .max();
        match until {
            Some(until) => WindowState::Open { until },
            None => WindowState::Closed {
                opens: spans
                    .iter()
                    .map(|span| span.0)
                    .filter(|opens| *opens > at)
                    .min(),
            },
        }
    }

    /// Whether the ratio may rise at `at`.
    pub fn is_open(&self, at: Timestamp) -> bool {
        matches!(self.at(at), WindowState::Open { .. })
    }

    /// The times from which to which windows are open, from yesterday on.
    fn spans_around(&self, at: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let today = self.zone.to_datetime(at).date();
        let days = (-1..DAYS_AHEAD).filter_map(|ahead| today.checked_add(ahead.days()).ok());
        days.flat_map(|day| {
            self.windows
                .iter()
                .filter_map(move |window| self.span(window, day))
        })
        .collect()
    }

    fn span(&self, window: &TimeWindow, day: Date) -> Option<(Timestamp, Timestamp)> {
        if !window.days.contains(&day.weekday()) {
            return None;
        }
        let last = if window.to > window.from {
            day
        } else {
            day.tomorrow().ok()?
        };
        let (opens, closes) = (
            self.instant(day.to_datetime(window.from))?,
            self.instant(last.to_datetime(window.to))?,
        );
        (opens < closes).then_some((opens, closes))
    }

    /// When a local time comes. One that comes twice is taken at its first; one that never comes is the next that
    /// does, which is the end of the gap.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        let within_gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
        let instant = ambiguous.compatible().ok()?;
        if !within_gap {
            return Some(instant);
        }
        let after = instant.checked_add(SignedDuration::from_secs(1)).ok()?;
        self.zone
            .preceding(after)
            .next()
            .map(|transition| transition.timestamp())
    }
}

pub(super) fn read(
    reader: &mut SpecReader,
    path: &str,
    schedule: &ScheduleSpec,
) -> Option<Schedule> {
    let zone = ZONES.get(&schedule.time_zone).ok();
    if zone.is_none() {
        let what = format!("there is no time zone {:?}", schedule.time_zone);
        reader.refuse(
            &field(path, "timeZone"),
            what,
            super::zone::advice(&schedule.time_zone, &ZONES),
        );
    }
    let windows = reader.each(&field(path, "windows"), &schedule.windows, window);
    Some(Schedule {
        zone: zone?,
        windows: windows?,
    })
}

fn window(reader: &mut SpecReader, path: &str, window: &WindowSpec) -> Option<TimeWindow> {
    let mut time = |name: &str, text: &str| {
        let time = time_of_day(text);
        if time.is_none() {
            reader.mismatch(&field(path, name), pattern::TIME_OF_DAY);
        }
        time
    };
    let (from, to) = (time("from", &window.from), time("to", &window.to));
    Some(TimeWindow {
        days: window.days.iter().map(|day| weekday(*day)).collect(),
        from: from?,
        to: to?,
    })
}

fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text
        .split_once(':')
        .filter(|_| structural::matches(pattern::TIME_OF_DAY, text))?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

fn weekday(day: spec::Weekday) -> Weekday {
    match day {
        spec::Weekday::Mon => Weekday::Monday,
        spec::Weekday::Tue => Weekday::Tuesday,
        spec::Weekday::Wed => Weekday::Wednesday,
        spec::Weekday::Thu => Weekday::Thursday,
        spec::Weekday::Fri => Weekday::Friday,
        spec::Weekday::Sat => Weekday::Saturday,
        spec::Weekday::Sun => Weekday::Sunday,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};

    fn schedule(zone: &str, windows: &[(&[spec::Weekday], &str, &str)]) -> Schedule {
        let windows = windows
            .iter()
            .map(|(days, from, to)| WindowSpec {
                days: days.to_vec(),
                from: (*from).into(),
                to: (*to).into(),
            })
            .collect();
        let mut reader = SpecReader::default();
        let spec = ScheduleSpec {
            time_zone: zone.into(),
            windows,
        };
        read(&mut reader, "spec.schedule", &spec).unwrap_or_else(|| panic!("{:?}", reader.problems))
    }

    fn at(local: &str) -> Timestamp {
        local.parse().unwrap()
    }

    fn opens(schedule: &Schedule, now: &str) -> String {
        match schedule.at(at(now)) {
            WindowState::Open { until } => format!("open until {until}"),
            WindowState::Closed { opens } => {
                opens.map_or("never".to_owned(), |opens| format!("opens {opens}"))
            }
        }
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_before_its_last() {
        let weekdays = schedule(
            "Asia/Shanghai",
            &[(&[Mon, Tue, Wed, Thu], "09:00", "18:00")],
        );
        // 2026-11-23 is a Monday; Shanghai is eight hours ahead of UTC.
        assert_eq!(
            opens(&weekdays, "2026-11-23T00:59:59Z"),
            "opens 2026-11-23T01:00:00Z"
        );
        assert_eq!(
            opens(&weekdays, "2026-11-23T01:00:00Z"),
            "open until 2026-11-23T10:00:00Z"
        );
        assert_eq!(
            opens(&weekdays, "2026-11-23T10:00:00Z"),
            "opens 2026-11-24T01:00:00Z"
        );
        assert_eq!(
            opens(&weekdays, "2026-11-26T10:00:00Z"),
            "opens 2026-11-30T01:00:00Z"
        );
    }

    #[test]
    fn a_window_that_ends_before_it_begins_crosses_midnight() {
        let nights = schedule("UTC", &[(&[Fri], "22:00", "04:00")]);
        assert_eq!(
            opens(&nights, "2026-11-28T03:59:00Z"),
            "open until 2026-11-28T04:00:00Z"
        );
        assert_eq!(
            opens(&nights, "2026-11-27T03:00:00Z"),
            "opens 2026-11-27T22:00:00Z"
        );
        let all_day = schedule("UTC", &[(&[Sun], "00:00", "00:00")]);
        assert_eq!(
            opens(&all_day, "2026-11-22T12:00:00Z"),
            "open until 2026-11-23T00:00:00Z"
        );
    }

    #[test]
    fn of_several_open_windows_the_last_to_close_counts() {
        let both = schedule(
            "UTC",
            &[(&[Sat], "09:00", "12:00"), (&[Sat], "10:00", "18:00")],
        );
        assert_eq!(
            opens(&both, "2026-11-28T11:00:00Z"),
            "open until 2026-11-28T18:00:00Z"
        );
    }

    #[test]
    fn without_windows_it_never_opens() {
        assert_eq!(
            opens(&schedule("UTC", &[]), "2026-11-28T11:00:00Z"),
            "never"
        );
    }

    #[test]
    fn a_local_time_that_does_not_exist_becomes_the_next_that_does() {
        // Berlin, 2027-03-28: 02:00 is followed by 03:00, at 01:00 UTC.
        let early = schedule("Europe/Berlin", &[(&[Sun], "02:30", "05:00")]);
        assert_eq!(
            opens(&early, "2027-03-28T00:00:00Z"),
            "opens 2027-03-28T01:00:00Z"
        );
        let swallowed = schedule("Europe/Berlin", &[(&[Sun], "02:00", "02:45")]);
        assert_eq!(
            opens(&swallowed, "2027-03-28T00:00:00Z"),
            "opens 2027-04-04T00:00:00Z"
        );
    }

    #[test]
    fn a_local_time_that_comes_twice_is_taken_at_its_first() {
        // Berlin, 2026-10-25: 03:00 is followed by 02:00, at 01:00 UTC.
        let early = schedule("Europe/Berlin", &[(&[Sun], "02:30", "05:00")]);
        assert_eq!(
            opens(&early, "2026-10-25T00:00:00Z"),
            "opens 2026-10-25T00:30:00Z"
        );
        assert_eq!(
            opens(&early, "2026-10-25T01:45:00Z"),
            "open until 2026-10-25T04:00:00Z"
        );
    }

    #[test]
    fn a_time_zone_that_does_not_exist_is_named() {
        let mut reader = SpecReader::default();
        let spec = ScheduleSpec {
            time_zone: "Europe/Berlni".into(),
            windows: Vec::new(),
        };
        assert!(read(&mut reader, "spec.schedule", &spec).is_none());
        assert_eq!(
            reader.problems[0].to_string(),
            "spec.schedule.timeZone: there is no time zone \"Europe/Berlni\"; did you mean Europe/Berlin?"
        );
    }
}
