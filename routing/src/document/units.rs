//! The small values of a routing document: ratios, numbers that only rise, durations, names. Each is checked
//! once, when it is made; whoever holds one need not look again. They are read and written as plain JSON
//! numbers and strings.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// Why a value was refused: what is wrong with it and what to write instead, without its place, which only the
/// reader of the whole document knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(Box<str>);

impl InvalidValue {
    /// An error with this message.
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self(message.into())
    }
}

/// The largest integer that every JSON reader keeps exactly (2^53 − 1, RFC 8259 section 6).
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// A share of identities in millionths, 0..=1 000 000: 10 000 is 1 %.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u64", into = "u32")]
pub struct Ratio(u32);

impl Ratio {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody.
    pub const FULL: Self = Self(1_000_000);

    /// A ratio of so many millionths; none above 1 000 000.
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= 1_000_000 {
            Some(Self(millionths))
        } else {
            None
        }
    }

    /// The share in millionths, 0..=1 000 000.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// The share as a fraction, 0.0..=1.0.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl TryFrom<u64> for Ratio {
    type Error = InvalidValue;

    fn try_from(value: u64) -> Result<Self, InvalidValue> {
        u32::try_from(value)
            .ok()
            .and_then(Self::from_millionths)
            .ok_or_else(|| {
                InvalidValue::new(format!(
                    "{value} is more than everybody; a ratio is in millionths, 0 to 1000000"
                ))
            })
    }
}

impl From<Ratio> for u32 {
    fn from(ratio: Ratio) -> Self {
        ratio.0
    }
}

/// Percent with as many decimals as needed: `12.5%`, `0.01%`, `100%`.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        let digits = format!("{rest:04}");
        write!(f, "{whole}.{}%", digits.trim_end_matches('0'))
    }
}

/// Percent, the sign optional: `12.5%`, `0.01`; at most four decimals, 0 to 100.
impl FromStr for Ratio {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong = || {
            InvalidValue::new(format!(
                "\"{}\" is no percentage; write 0 to 100 with at most four decimals, as 12.5%",
                text.escape_debug()
            ))
        };
        let number = text.strip_suffix('%').unwrap_or(text);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 3) || !digits(decimals, 4) {
            return Err(wrong());
        }
        let whole: u32 = whole.parse().map_err(|_| wrong())?;
        let decimals: u32 = format!("{decimals:0<4}").parse().map_err(|_| wrong())?;
        Self::from_millionths(whole * 10_000 + decimals).ok_or_else(wrong)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $least:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(u64);

        impl $name {
            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The next higher one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = InvalidValue;

            fn try_from(value: u64) -> Result<Self, InvalidValue> {
                if ($least..=MAX_SAFE_INTEGER).contains(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidValue::new(format!(
                        concat!("{} is no ", $what, "; write {} to {}"),
                        value, $least, MAX_SAFE_INTEGER
                    )))
                }
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Number of a routing document, from 1, rising by one with every change of its meaning.
    Revision, 1, "revision"
);
number!(
    /// Rises by one whenever earlier counts stop being evidence (a new step, a rollback, a retry …). From 0.
    Stage, 0, "stage"
);

impl Revision {
    /// The first revision of a document.
    pub const FIRST: Self = Self(1);
}

impl Stage {
    /// The first stage of a release.
    pub const FIRST: Self = Self(0);
}

/// A duration in whole milliseconds, as documents carry them. At most 400 000 hours, the longest that a
/// GrayRelease can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Millis(u64);

impl Millis {
    /// The longest: 400 000 hours.
    pub const MAX: Self = Self(400_000 * 3_600_000);

    /// So many milliseconds. For constants; values from outside go through `try_from`.
    pub const fn new(millis: u32) -> Self {
        Self(millis as u64)
    }

    /// In milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// As the standard library's duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl TryFrom<u64> for Millis {
    type Error = InvalidValue;

    fn try_from(millis: u64) -> Result<Self, InvalidValue> {
        if millis <= Self::MAX.0 {
            Ok(Self(millis))
        } else {
            Err(InvalidValue::new(format!(
                "{millis} ms is too long; at most {} ms",
                Self::MAX.0
            )))
        }
    }
}

/// Refused above [`Millis::MAX`]; parts of a millisecond are dropped.
impl TryFrom<Duration> for Millis {
    type Error = InvalidValue;

    fn try_from(duration: Duration) -> Result<Self, InvalidValue> {
        Self::try_from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Millis> for u64 {
    fn from(millis: Millis) -> Self {
        millis.0
    }
}

/// Names one release of one object: 64 bits, written as 16 lower-case hex digits. How it is computed is the
/// rollout's business; here it is the default salt of the split and part of every counter's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(u64);

impl ReleaseId {
    /// From the first eight bytes of a digest, big-endian.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ReleaseId {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(lower_hex) {
            u64::from_str_radix(text, 16)
                .map(Self)
                .map_err(|error| InvalidValue::new(error.to_string()))
        } else {
            Err(InvalidValue::new(format!(
                "\"{}\" is no release id; it has exactly 16 lower-case hex digits",
                text.escape_debug()
            )))
        }
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.to_string()
    }
}

/// Defines a checked, cheaply cloned string: its doc, its name, and the function that checks a candidate and
/// says what is wrong with it.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::document::units::InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let check: fn(&str) -> Result<std::borrow::Cow<'_, str>, String> = $check;
                match check(text) {
                    Ok(text) => Ok(Self(std::sync::Arc::from(&*text))),
                    Err(why) => Err($crate::document::units::InvalidValue::new(format!("\"{}\" {why}", text.escape_debug()))),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::document::units::InvalidValue;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text;
