//! Percent on a command line: `0.01`, `0.01%` and `0.01 %` are all one hundredth of a percent.
//! A number without a sign is percent too, never a fraction; in JSON output it is a number in percent again.

use std::str::FromStr;

use halftone_routing::document::units::Ratio;

/// A rate from 0 to 100 %, as finely as it was written.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Percent(f64);

impl Percent {
    /// The rate as a fraction in [0, 1].
    pub(crate) fn fraction(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        let plain = !number.is_empty()
            && number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.');
        match number.parse::<f64>() {
            Ok(percent) if plain && (0.0..=100.0).contains(&percent) => Ok(Self(percent)),
            _ => Err(format!(
                "expected percent from 0 to 100, such as 12.5 or 0.01%, got '{text}'"
            )),
        }
    }
}

/// Reads a ratio; four decimals of a percent at the most, since the split has a million places.
pub(crate) fn parse_ratio(text: &str) -> Result<Ratio, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let parsed = if number.ends_with('%') {
        None
    } else {
        number.parse().ok()
    };
    parsed.ok_or_else(|| {
        format!(
            "expected percent from 0 to 100 with at most four decimals, such as 12.5 or 0.01%, got '{text}'"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_percent_with_or_without_the_sign() {
        for text in ["0.01", "0.01%", "0.01 %"] {
            assert_eq!(parse_ratio(text).unwrap().millionths(), 100, "{text}");
            assert!(
                (text.parse::<Percent>().unwrap().fraction() - 0.0001).abs() < 1e-12,
                "{text}"
            );
        }
        assert_eq!(parse_ratio("33.3").unwrap().millionths(), 333_000);
        assert_eq!(parse_ratio("100%").unwrap().millionths(), 1_000_000);
        assert_eq!(parse_ratio("0").unwrap().millionths(), 0);
    }

    #[test]
    fn what_is_no_percent_is_refused() {
        for text in [
            "", "%", "-1", "+1", "100.1", "1e1", "inf", "nan", "10%%", "ten", "0.00001",
        ] {
            assert!(parse_ratio(text).is_err(), "{text}");
        }
    }
}
