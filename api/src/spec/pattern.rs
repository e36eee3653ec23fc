//! What texts of a spec look like, as patterns for the schema and for `Plan`, and what a person is told of a text that looks
//! otherwise.

/// A ratio or rate as a string. An integer 0 to 100 is the other form.
pub(crate) const RATIO: &str = r"^(100|[0-9]{1,2}(\.[0-9]{1,4})?)%$";
/// A decimal number, as `Gt` and `Lt` compare.
pub(crate) const NUMBER: &str = r"^-?\d+(\.\d+)?$";
/// The name of a header or cookie (RFC 9110 token).
pub(crate) const TOKEN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

pub(crate) const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";
pub(crate) const FACTOR: &str = r"^[0-9]{1,3}(\.[0-9]{1,3})?$";
pub(crate) const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A namespace, or all of them.
pub(crate) const NAMESPACE_OR_ALL: &str = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$";
/// A label with a letter in it.
pub(crate) const PORT_NAME: &str = "^([0-9][-0-9]*)?[a-z]([-a-z0-9]*[a-z0-9])?$";
/// A host in normal form; addresses in brackets are checked by a rule.
pub(crate) const HOST: &str = r"^(\*|(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*)$";
/// A name of at least two labels, the last of which begins with a letter.
pub(crate) const COOKIE_DOMAIN: &str =
    "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?[.])+[a-z]([-a-z0-9]{0,61}[a-z0-9])?$";
pub(super) const PATH: &str = r#"^/([!"$&->@-~]|%[0-9A-Fa-f]{2})*$"#;
pub(super) const CHECK_PATH: &str = r#"^/[!"$-~]*$"#;
pub(super) const VISIBLE: &str = "^[!-~]+$";
pub(super) const FIELD_TEXT: &str = "^[!-~]([ -~]*[!-~])?$";
pub(super) const RULE_NAME: &str = "^[A-Za-z0-9._-]+$";
pub(super) const STATUS: &str = "^[1-5](xx|[0-9]{2})$";
pub(crate) const TIME_OF_DAY: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]$";
pub(super) const TIME_ZONE: &str = "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$";

/// What a person is told when a value does not match a pattern: what it is not, and what to write.
pub(crate) fn says(pattern: &str) -> Option<(&'static str, &'static str)> {
    Some(match pattern {
        RATIO => (
            "is no ratio or rate",
            "write 0 to 100 (percent), or a string such as \"12.5%\" with four decimals at most",
        ),
        DURATION => (
            "is no duration",
            "write for instance 500ms, 30s, 5m or 1h30m",
        ),
        FACTOR => (
            "is no factor",
            "write a decimal number in quotes, such as \"2\" or \"1.5\"",
        ),
        LABEL => (
            "is no name",
            "use lower-case letters, digits and -, with a letter or digit at both ends",
        ),
        NAMESPACE_OR_ALL => ("is no namespace", "write its name, or \"*\" for all"),
        PORT_NAME => (
            "is no port",
            "write a number from 1 to 65535 without quotes, or the name of a port of the Service",
        ),
        COOKIE_DOMAIN => (
            "is not a cookie's domain",
            "write it like example.com, in lower case, without a leading dot",
        ),
        PATH => (
            "is no path",
            "begin with / and percent-encode what is not visible ASCII, ? and #",
        ),
        CHECK_PATH => (
            "is no path",
            "begin with / and use visible ASCII characters, without #",
        ),
        VISIBLE => ("has characters other than visible ASCII", "remove them"),
        FIELD_TEXT => (
            "cannot stand in a header",
            "use visible ASCII characters, with spaces inside only",
        ),
        TOKEN => (
            "is no name of a header or cookie",
            "use letters, digits and !#$%&'*+-.^_`|~",
        ),
        RULE_NAME => ("is no name of a rule", "use letters, digits and -_."),
        STATUS => (
            "is no status",
            "write a code such as \"503\" or a class such as \"5xx\"",
        ),
        TIME_OF_DAY => (
            "is no time of day",
            "write HH:MM in quotes, \"00:00\" to \"23:59\"",
        ),
        TIME_ZONE => (
            "is no time zone",
            "write a name of the IANA database, such as Europe/Berlin or UTC",
        ),
        _ => return None,
    })
}
