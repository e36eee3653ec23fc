//! Schemas that several fields share.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::{
    pattern::{COOKIE_DOMAIN, DURATION, FACTOR, PATH, PORT_NAME, RATIO, STATUS, TOKEN},
    rules::{self, ValidationRule, validations},
};

/// A ratio or rate: int-or-string, percent.
pub(super) fn ratio(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": RATIO,
        "maxLength": 8,
        "minimum": 0,
        "maximum": 100,
    })
}

/// A chance of at least 50% and below 100%.
pub(super) fn confidence(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": RATIO,
        "maxLength": 8,
        "minimum": 50,
        "maximum": 99,
        "x-kubernetes-validations": validations(&[rules::CONFIDENCE]),
    })
}

/// A port by number or name.
pub(super) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": PORT_NAME,
        "maxLength": 15,
        "minimum": 1,
        "maximum": 65535,
    })
}

/// A duration, 0s included.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": DURATION, "maxLength": 28})
}

/// A duration of at least a millisecond.
pub(super) fn positive_duration(_: &mut SchemaGenerator) -> Schema {
    ruled_duration(rules::LONGER_THAN_ZERO)
}

/// How long a cookie lives.
pub(super) fn max_age(_: &mut SchemaGenerator) -> Schema {
    ruled_duration(rules::AT_LEAST_A_SECOND)
}

/// From one check to the next.
pub(super) fn check_interval(_: &mut SchemaGenerator) -> Schema {
    ruled_duration(rules::CHECK_INTERVAL)
}

/// How long an operator may be silent.
pub(super) fn operator_lost_after(_: &mut SchemaGenerator) -> Schema {
    ruled_duration(rules::OPERATOR_LOST_AFTER)
}

fn ruled_duration(rule: ValidationRule) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": DURATION,
        "maxLength": 28,
        "x-kubernetes-validations": validations(&[rule]),
    })
}

/// How many times as much: a decimal string from 1.
pub(super) fn factor(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": FACTOR,
        "maxLength": 7,
        "x-kubernetes-validations": validations(&[rules::FACTOR_AT_LEAST_ONE]),
    })
}

/// The name of a header or cookie.
pub(super) fn token(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": TOKEN, "maxLength": 128})
}

/// The name of a cookie that the proxies set.
pub(super) fn own_cookie(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": TOKEN,
        "maxLength": 128,
        "x-kubernetes-validations": validations(&[rules::COOKIE_NOT_SECURE]),
    })
}

/// The domain of a cookie that the proxies set.
pub(super) fn cookie_domain(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": COOKIE_DOMAIN,
        "maxLength": 253,
        "x-kubernetes-validations": validations(&[rules::COOKIE_DOMAIN_OWN]),
    })
}

/// The name of a header that the proxies set.
pub(super) fn own_header(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": TOKEN,
        "maxLength": 128,
        "x-kubernetes-validations": validations(&[rules::FIELD_IS_FREE]),
    })
}

/// Hosts, 1 to 64.
pub(super) fn hosts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 253,
            "x-kubernetes-validations": validations(&rules::hosts::ALL),
        },
    })
}

/// Path prefixes, 1 to 64.
pub(super) fn paths(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": path_schema(),
    })
}

/// One path.
pub(super) fn path(_: &mut SchemaGenerator) -> Schema {
    path_schema()
}

fn path_schema() -> Schema {
    json_schema!({
        "type": "string",
        "pattern": PATH,
        "maxLength": 1024,
        "x-kubernetes-validations": validations(&[rules::PATH_IS_PLAIN]),
    })
}

/// Addresses, 1 to 256.
pub(super) fn addresses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 256,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 64,
            "x-kubernetes-validations": validations(&[rules::ADDRESS]),
        },
    })
}

/// Statuses that are errors.
pub(super) fn statuses(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "pattern": STATUS, "maxLength": 3},
    })
}

/// Values of a condition.
pub(super) fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 256,
        "x-kubernetes-list-type": "atomic",
        "items": {"type": "string", "maxLength": 256},
    })
}

/// A point in time, RFC 3339.
pub(super) fn timestamp(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}
