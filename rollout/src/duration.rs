//! Durations as GrayReleases write them: `500ms`, `30s`, `1h30m`. Read by `Plan`, written into statuses.

use std::time::Duration;

use halftone_routing::config::units::Millis;

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
    if text.is_empty() { "0s".to_owned() } else { text }
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
        for text in ["", "5", "m", "5 m", "-5m", "5d", "1.5h", "100000s", "1h1h1h1h1h", "5M", "5mss"] {
            assert_eq!(parse(text), None, "{text}");
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
