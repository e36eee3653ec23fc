//! What to write instead of a value that does not fit its field. Advice never changes what its author meant, and what
//! it quotes is accepted: `1.10` becomes "1.10" and not "1.1"; where 0.05 may be 5 % or 0.05 %, both are named.

use serde_json::Value;

use crate::{
    duration,
    spec::pattern::{DURATION, FACTOR, RATIO, says},
};

use super::matches;

pub(super) const INTEGER: &str = "an integer";
pub(super) const STRING: &str = "a string";
pub(super) const INTEGER_OR_STRING: &str = "an integer or a string";
pub(super) const BOOLEAN: &str = "true or false";
pub(super) const LIST: &str = "a list";
pub(super) const MAPPING: &str = "a mapping";

/// What to do about a value of the wrong type. `spelling` is the value as its file has it.
pub(super) fn on_type(value: &Value, spelling: &str, wanted: &str, schema: &Value) -> String {
    match (value, wanted) {
        (Value::Number(number), INTEGER_OR_STRING | INTEGER) => {
            on_fraction(number.as_f64().unwrap_or(f64::NAN), spelling, schema)
        }
        (Value::Number(_) | Value::Bool(_), STRING) => in_quotes(spelling, schema),
        (Value::String(text), INTEGER) => match text.parse::<i64>() {
            Ok(number) if is_within(number as f64, schema) => {
                format!("write {number} without quotes")
            }
            _ => bounds(schema).unwrap_or_else(|| "write an integer".to_owned()),
        },
        (Value::String(text), BOOLEAN) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => "write true without quotes".to_owned(),
            "false" | "no" | "off" | "n" => "write false without quotes".to_owned(),
            _ => "write true or false".to_owned(),
        },
        (_, LIST) => "begin each item with - or write [item, item]".to_owned(),
        (_, MAPPING) => "write its fields as name: value".to_owned(),
        _ => format!("write {wanted}"),
    }
}

/// What to do about a text that does not match the pattern of its field.
pub(super) fn on_text(text: &str, schema: &Value) -> String {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    let near = match pattern {
        RATIO => on_ratio(text, schema),
        DURATION => on_duration(text),
        _ => None,
    };
    near.or_else(|| says(pattern).map(|(_, advice)| advice.to_owned()))
        .unwrap_or_else(|| "see the documentation".to_owned())
}

/// A number with a fraction, or one written as if it had one, where an integer is wanted.
fn on_fraction(number: f64, spelling: &str, schema: &Value) -> String {
    if number.fract() == 0.0 {
        let fits = number.abs() < 1e15 && is_within(number, schema);
        return match bounds(schema) {
            Some(bounds) if !fits => bounds,
            _ => format!("write {number}"),
        };
    }
    if schema["pattern"] == RATIO {
        return on_text(spelling, schema);
    }
    bounds(schema).unwrap_or_else(|| "write an integer".to_owned())
}

/// A number or boolean where a text is wanted: in quotes it is one, if the field takes it so.
fn in_quotes(spelling: &str, schema: &Value) -> String {
    let pattern = schema["pattern"].as_str();
    if pattern.is_none_or(|pattern| matches(pattern, spelling)) {
        // What has a rule instead of a pattern says in its message what fits.
        let rule = schema["x-kubernetes-validations"][0]["message"]
            .as_str()
            .filter(|_| pattern.is_none());
        return match rule.and_then(|message| message.split_once("; ")) {
            Some((_, advice)) => advice.to_owned(),
            None => format!("put it in quotes: \"{spelling}\""),
        };
    }
    let plain = spelling
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite());
    match plain.map(|number| number.to_string()) {
        Some(plain) if pattern == Some(FACTOR) && matches(FACTOR, &plain) => {
            format!("write \"{plain}\"")
        }
        _ => on_text(spelling, schema),
    }
}

/// A duration in other words or units, as this project writes it. A number without a unit may be any.
fn on_duration(text: &str) -> Option<String> {
    if let Some(meant) = duration::guess(text) {
        return Some(format!("write \"{}\"", duration::format(meant)));
    }
    let bare = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    bare.then(|| {
        format!(
            "add its unit: \"{text}s\" for seconds, \"{text}m\" for minutes, \"{text}ms\" for milliseconds"
        )
    })
}

/// A ratio that lacks its sign, or has too many decimals.
fn on_ratio(text: &str, schema: &Value) -> Option<String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let decimal = Decimal::read(number)?;
    let signed = text.trim().len() > number.len();
    let percent = decimal
        .in_percent(0)
        .filter(|percent| fits(percent, schema));
    let share = decimal
        .in_percent(2)
        .filter(|share| !signed && decimal.is_share() && fits(share, schema));
    match (percent, share) {
        (Some(percent), Some(share)) => Some(format!(
            "write \"{percent}\" for percent, or \"{share}\" for a share of 1"
        )),
        (Some(one), None) | (None, Some(one)) => Some(format!("write \"{one}\"")),
        (None, None) => {
            let [low, high] = decimal
                .between()
                .filter(|pair| pair.iter().all(|one| fits(one, schema)))?;
            Some(format!(
                "four decimals are the most: write \"{low}\" or \"{high}\""
            ))
        }
    }
}

/// Whether a field takes this percentage.
fn fits(percent: &str, schema: &Value) -> bool {
    let number = percent
        .trim_end_matches('%')
        .parse::<f64>()
        .unwrap_or(f64::NAN);
    let least = schema["minimum"].as_f64().unwrap_or(0.0);
    let most = schema["maximum"].as_f64().unwrap_or(100.0);
    // The bounds are those of the integer form: 99.9% is below the next integer after 99.
    let below = if most < 100.0 {
        number < most + 1.0
    } else {
        number <= most
    };
    matches(RATIO, percent) && number >= least && below
}

fn is_within(number: f64, schema: &Value) -> bool {
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most)
}

/// The bounds of a number, as advice.
pub(super) fn bounds(schema: &Value) -> Option<String> {
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => Some(format!("write {least} to {most}")),
        (Some(least), None) => Some(format!("write {least} or more")),
        (None, Some(most)) => Some(format!("write {most} or less")),
        (None, None) => None,
    }
}

/// A decimal number in its digits, so that nothing is rounded.
struct Decimal<'a> {
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let some =
            !(whole.is_empty() && fraction.is_empty()) && whole.len() <= 6 && fraction.len() <= 12;
        (some && digits(whole) && digits(fraction)).then(|| Self {
            whole: whole.trim_start_matches('0'),
            fraction: fraction.trim_end_matches('0'),
        })
    }

    /// Whether it can be meant as a share of 1.
    fn is_share(&self) -> bool {
        self.whole.is_empty() || self.whole == "1" && self.fraction.is_empty()
    }

    /// The number with its point moved to the right, as percent.
    fn in_percent(&self, places: usize) -> Option<String> {
        let moved = format!("{:0<places$}", self.fraction);
        let (more, fraction) = moved.split_at(places);
        let percent = Self::percent(&format!("{}{more}", self.whole), fraction);
        matches(RATIO, &percent).then_some(percent)
    }

    fn percent(whole: &str, fraction: &str) -> String {
        let whole = Some(whole.trim_start_matches('0'))
            .filter(|whole| !whole.is_empty())
            .unwrap_or("0");
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{whole}{point}{fraction}%")
    }

    /// The two percentages of four decimals around a finer one.
    fn between(&self) -> Option<[String; 2]> {
        let kept = self.fraction.get(..4).filter(|_| self.fraction.len() > 4)?;
        let low: u64 = format!("{}{kept}", self.whole).parse().ok()?;
        let write = |number: u64| {
            let fraction = format!("{:04}", number % 10_000);
            Self::percent(
                &(number / 10_000).to_string(),
                fraction.trim_end_matches('0'),
            )
        };
        Some([write(low), write(low + 1)])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RATE: fn() -> Value = || json!({"pattern": RATIO, "minimum": 0, "maximum": 100});

    #[test]
    fn a_number_that_may_be_percent_or_a_share_is_told_both_ways() {
        let confidence = json!({"pattern": RATIO, "minimum": 50, "maximum": 99});
        for (text, schema, advice) in [
            (
                "0.05",
                RATE(),
                r#"write "0.05%" for percent, or "5%" for a share of 1"#,
            ),
            (
                "1.0",
                RATE(),
                r#"write "1%" for percent, or "100%" for a share of 1"#,
            ),
            ("12.50", RATE(), r#"write "12.5%""#),
            (".5%", RATE(), r#"write "0.5%""#),
            ("5 %", RATE(), r#"write "5%""#),
            ("007", RATE(), r#"write "7%""#),
            (
                "12.55555",
                RATE(),
                r#"four decimals are the most: write "12.5555%" or "12.5556%""#,
            ),
            (
                "99.99999%",
                RATE(),
                r#"four decimals are the most: write "99.9999%" or "100%""#,
            ),
            ("0.999", confidence.clone(), r#"write "99.9%""#),
            ("99.95", confidence, r#"write "99.95%""#),
        ] {
            assert_eq!(on_text(text, &schema), advice, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_at_all_is_told_the_form() {
        for text in ["", "ten", "101", "1e1", "-5", "1.2.3", "150%"] {
            assert!(
                on_text(text, &RATE()).starts_with("write 0 to 100 (percent)"),
                "{text}"
            );
        }
    }

    #[test]
    fn quotes_keep_the_spelling_and_only_where_they_help() {
        let version = json!({"pattern": "^[!-~]+$"});
        for (spelling, schema, advice) in [
            ("1.10", version.clone(), r#"put it in quotes: "1.10""#),
            ("72225e2", version, r#"put it in quotes: "72225e2""#),
            (
                "60",
                json!({"pattern": DURATION}),
                r#"add its unit: "60s" for seconds"#,
            ),
            (
                "1.50",
                json!({"pattern": FACTOR}),
                r#"put it in quotes: "1.50""#,
            ),
            ("1e1", json!({"pattern": FACTOR}), r#"write "10""#),
            (
                "9001",
                json!({"x-kubernetes-validations": [{"message": "an address is IP:PORT; write 127.0.0.1:9001"}]}),
                "write 127.0.0.1:9001",
            ),
        ] {
            assert!(
                in_quotes(spelling, &schema).starts_with(advice),
                "{spelling}: {}",
                in_quotes(spelling, &schema)
            );
        }
    }

    #[test]
    fn integers_are_told_their_bounds_where_the_number_does_not_fit() {
        let port = json!({"pattern": "^[a-z]+$", "minimum": 1, "maximum": 65535});
        for (number, spelling, advice) in [
            (8080.0, "8080.0", "write 8080"),
            (80.5, "80.5", "write 1 to 65535"),
            (1e300, "1e300", "write 1 to 65535"),
        ] {
            assert_eq!(on_fraction(number, spelling, &port), advice);
        }
    }
}
