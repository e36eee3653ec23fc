//! What a host of `spec.hosts` may be. One rule for each mistake that people make, so that the API server and `Plan`
//! both say what to write instead; `SHAPE` speaks only where no other rule does.

use super::ValidationRule;

pub(crate) const NO_SCHEME: ValidationRule = ValidationRule {
    cel: "!self.contains('://')",
    what: "a host has no scheme",
    advice: "remove everything up to ://, as in shop.example.com",
};

pub(crate) const NO_PORT: ValidationRule = ValidationRule {
    cel: "!self.matches(r'^([^:/]+|\\[.*\\]):[0-9]*$')",
    what: "a host has no port, since a release takes requests to every port",
    advice: "remove the colon and the number after it",
};

pub(crate) const LOWER_CASE: ValidationRule = ValidationRule {
    cel: "!self.matches('[A-Z]')",
    what: "a host is written in lower case",
    advice: "replace the capital letters; requests match in any case",
};

pub(crate) const PUNYCODE: ValidationRule = ValidationRule {
    cel: "self.matches('^[ -~]*$')",
    what: "a host has ASCII characters only",
    advice: "write an international name in Punycode, as browsers send it: xn--bcher-kva.example",
};

pub(crate) const IPV6: ValidationRule = ValidationRule {
    cel: "!self.startsWith('[') || !self.endsWith(']') || \
          isIP(self.substring(1, self.size() - 1)) && self.contains(':')",
    what: "brackets hold an IPv6 address",
    advice: "write for instance [2001:db8::1]",
};

pub(crate) const SHAPE: ValidationRule = ValidationRule {
    cel: "self.matches(HOST) || self.contains('://') || self.matches(r'^([^:/]+|\\[.*\\]):[0-9]*$') || \
          self.matches('[A-Z]') || !self.matches('^[ -~]*$') || self.startsWith('[') && self.endsWith(']')",
    what: "a host is a name whose labels have 1 to 63 letters, digits, - or _, without a path or a dot at the end",
    advice: "write shop.example.com, *.example.com for every name below it, [2001:db8::1], or * for any host",
};

pub(crate) const ALL: [ValidationRule; 6] = [NO_SCHEME, NO_PORT, LOWER_CASE, PUNYCODE, IPV6, SHAPE];
