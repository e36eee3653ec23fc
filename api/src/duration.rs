//! Durations as GrayReleases write them: `500ms`, `30s`, `1h30m`. Read by `Plan`, written into statuses.

use std::time::Duration;

use halftone_routing::document::units::Millis;

/// The units, the longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads one to four numbers of at most five digits, each with its unit; they add up, in any order.
pub fn parse(text: &str) -> Option<Millis> {
    let (mut rest, mut millis) = (text, 0);
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if digits > 5 {
            return None;
        }
        millis += number.parse::<u64>().ok()? * factor;
        rest = after;
        if rest.is_empty() {
            return Millis::try_from(millis).ok();
        }
    }
    None
}

/// What people write instead, in lower case, and how many milliseconds each is.
const WORDS: [(&[&str], u64); 6] = [
    (
        &[
            "ms",
            "msec",
            "msecs",
            "millis",
            "millisecond",
            "milliseconds",
        ],
        1,
    ),
    (&["s", "sec", "secs", "second", "seconds"], 1_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000),
    (&["d", "day", "days"], 86_400_000),
    (&["w", "week", "weeks"], 604_800_000),
];

/// What a duration that [`parse`] refuses means, where that is beyond doubt: `1 hour`, `1.5h`, `2d`, `100000s`. For
/// advice only. A capital `M` may be months, so a unit of one letter is taken in lower case alone.
pub fn guess(text: &str) -> Option<Duration> {
    let (mut rest, mut millis) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let digits = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let word = if letters > 1 {
            unit.to_ascii_lowercase()
        } else {
            unit.to_owned()
        };
        let (_, factor) = WORDS
            .iter()
            .find(|(names, _)| names.contains(&word.as_str()))?;
        millis += number.parse::<f64>().ok()? * *factor as f64;
        rest = after.trim_start();
    }
    let written = Duration::from_millis(millis as u64);
    let exact = millis > 0.0 && millis < 9e15 && millis.fract() == 0.0;
    (exact && parse(&format(written)).is_some_and(|millis| millis.duration() == written))
        .then_some(written)
}

/// Writes a duration as a person would: `1h30m`, `4m12s`, `750ms`, `0s`. Parts of a millisecond are dropped.
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let count = rest / u128::from(factor);
        rest %= u128::from(factor);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_with_units_add_up() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1m500ms", 60_500),
            ("5m5m", 600_000),
            ("99999h99999h99999h99999h", 399_996 * 3_600_000),
        ] {
            assert_eq!(parse(text).map(Millis::get), Some(millis), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "5d",
            "1.5h",
            "100000s",
            "1h1h1h1h1h",
            "5M",
            "5mss",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn other_words_for_a_duration_are_understood_where_they_leave_no_doubt() {
        for (text, same) in [
            ("1hour", "1h"),
            ("5 min", "5m"),
            ("1.5h", "1h30m"),
            ("2d", "48h"),
            ("1 hour 30 minutes", "1h30m"),
            ("100000s", "27h46m40s"),
            ("5 MIN", "5m"),
        ] {
            assert_eq!(guess(text).map(format).as_deref(), Some(same), "{text}");
        }
        for text in [
            "", "60", "5M", "1y", "-5m", "1.0001ms", "soon", "5 m s", "1e3s",
        ] {
            assert_eq!(guess(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_the_same(millis in 0_u64..99_999 * 3_600_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)).map(Millis::duration), Some(duration));
        }
    }
}
