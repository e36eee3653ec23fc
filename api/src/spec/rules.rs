//! What one GrayRelease alone can get wrong beyond types, patterns and ranges: CEL for the API server, and the
//! sentence that both it and `Plan` answer with. A property test holds the two to the same verdict.
//!
//! Expressions have to stay within the API server's cost budget, hence the bounds on lists and strings in the
//! types. What is too dear there, since conditions are nested three lists deep, only `Plan` checks: the networks of
//! `InCidr`. `isIP` exists since Kubernetes 1.30.

use serde_json::{Value, json};

use super::pattern::{HOST, NUMBER, TOKEN};

pub(crate) mod hosts;

/// One rule of `x-kubernetes-validations`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValidationRule {
    /// The expression. `NUMBER`, `TOKEN` and `HOST` stand for their patterns.
    cel: &'static str,
    /// What is wrong, without the place.
    pub(crate) what: &'static str,
    /// What to do about it.
    pub(crate) advice: &'static str,
}

/// Rules as a schema carries them.
pub(super) fn validations(rules: &[ValidationRule]) -> Value {
    let message = |rule: &ValidationRule| format!("{}; {}", rule.what, rule.advice);
    rules
        .iter()
        .map(|rule| json!({"rule": expand(rule.cel), "message": message(rule)}))
        .collect()
}

fn expand(cel: &str) -> String {
    [("NUMBER", NUMBER), ("TOKEN", TOKEN), ("HOST", HOST)]
        .into_iter()
        .fold(cel.to_owned(), |cel, (name, pattern)| {
            cel.replace(name, &format!("r\"{pattern}\""))
        })
}

pub(crate) const PROXY_CLASS_FIXED: ValidationRule = ValidationRule {
    cel: "self == oldSelf",
    what: "proxyClass cannot be changed",
    advice: "delete the release and create it again in the other class",
};

pub(crate) const TARGET_WITH_GRAY: ValidationRule = ValidationRule {
    cel: "has(self.gray) == has(self.targetRatio)",
    what: "targetRatio is required exactly when gray is present",
    advice: "write both or leave out both",
};

pub(crate) const VERSIONS_DIFFER: ValidationRule = ValidationRule {
    cel: "!has(self.gray) || self.gray.version != self.stable.version",
    what: "gray.version must differ from stable.version",
    advice: "give each arm the version that it runs",
};

pub(crate) const ARMS_DIFFER: ValidationRule = ValidationRule {
    cel: "!has(self.gray) || (has(self.gray.pathPrefix) ? self.gray.pathPrefix : '') != \
          (has(self.stable.pathPrefix) ? self.stable.pathPrefix : '') || \
          (has(self.gray.service) && has(self.stable.service) ? \
          self.gray.service.name != self.stable.service.name || \
          self.gray.service.port != self.stable.service.port : \
          !(has(self.gray.addresses) && has(self.stable.addresses) && \
          self.gray.addresses.exists(a, a in self.stable.addresses)))",
    what: "stable and gray are the same backend",
    advice: "give gray its own service, addresses or pathPrefix",
};

pub(crate) const FORCE_NEEDS_GRAY: ValidationRule = ValidationRule {
    cel: "self.force != 'Gray' || has(self.gray)",
    what: "force: Gray needs a gray arm",
    advice: "add gray and targetRatio, or set force to None or Stable",
};

pub(crate) const PATH_IS_PLAIN: ValidationRule = ValidationRule {
    cel: "!self.contains('%00') && !self.matches(r'/([.]|%2[eE]){1,2}(/|$)')",
    what: "a path has no %00 and no . or .. segments",
    advice: "write the path that they lead to",
};

pub(crate) const ONE_BACKEND: ValidationRule = ValidationRule {
    cel: "has(self.service) != has(self.addresses)",
    what: "exactly one of service and addresses is required",
    advice: "keep the one where this version lives",
};

pub(crate) const ADDRESS: ValidationRule = ValidationRule {
    cel: "self.matches(r'^([0-9.]+|\\[[0-9a-fA-F:.]+\\]):[0-9]{1,5}$') && \
          isIP(self.startsWith('[') ? self.substring(1, self.lastIndexOf(']')) : \
          self.substring(0, self.lastIndexOf(':'))) && \
          self.startsWith('[') == self.substring(0, self.lastIndexOf(':')).contains(':') && \
          int(self.substring(self.lastIndexOf(':') + 1)) >= 1 && \
          int(self.substring(self.lastIndexOf(':') + 1)) <= 65535",
    what: "an address is IP:PORT",
    advice: "write for instance 127.0.0.1:9001 or [::1]:9001",
};

pub(crate) const LONGER_THAN_ZERO: ValidationRule = ValidationRule {
    cel: "duration(self) > duration('0s')",
    what: "must be longer than 0s",
    advice: "write for instance 500ms",
};

pub(crate) const AT_LEAST_A_SECOND: ValidationRule = ValidationRule {
    cel: "duration(self) >= duration('1s')",
    what: "must be at least 1s",
    advice: "write for instance 720h",
};

pub(crate) const CHECK_INTERVAL: ValidationRule = ValidationRule {
    cel: "duration(self) >= duration('100ms')",
    what: "must be at least 100ms, so that checks do not become load",
    advice: "write for instance 2s",
};

pub(crate) const OPERATOR_LOST_AFTER: ValidationRule = ValidationRule {
    cel: "duration(self) >= duration('30s')",
    what: "must be at least 30s, since an operator asks an idle fleet every 10s",
    advice: "write for instance 10m",
};

pub(crate) const ONE_SOURCE: ValidationRule = ValidationRule {
    cel: "[has(self.header), has(self.query), has(self.cookie), has(self.generated), has(self.jwtClaim), \
          has(self.clientIp)].filter(given, given).size() == 1",
    what: "exactly one of header, query, cookie, generated, jwtClaim and clientIp is required",
    advice: "write one list item for each",
};

pub(crate) const DECODE_TEXT: ValidationRule = ValidationRule {
    cel: "!has(self.decode) || self.decode || has(self.header) || has(self.query) || has(self.cookie)",
    what: "decode: false has no meaning here",
    advice: "write it beside header, query or cookie only",
};

pub(crate) const COOKIE_DOMAIN_OWN: ValidationRule = ValidationRule {
    cel: "!self.matches('^(ac|co|com|edu|gov|mil|net|org)[.][a-z]{2}$')",
    what: "this domain belongs to many, so browsers refuse cookies for it",
    advice: "put your own label before it",
};

pub(crate) const COOKIE_DOMAIN_COVERS: ValidationRule = ValidationRule {
    cel: "self.identity.from.size() == 0 || \
          !has(self.identity.from[self.identity.from.size() - 1].generated) || \
          !has(self.identity.from[self.identity.from.size() - 1].generated.domain) || \
          self.hosts.all(host, host == self.identity.from[self.identity.from.size() - 1].generated.domain || \
          host.endsWith('.' + self.identity.from[self.identity.from.size() - 1].generated.domain))",
    what: "the domain of the generated cookie does not cover every host",
    advice: "name a domain that all hosts are in, or split the release by domain",
};

pub(crate) const COOKIE_SECURE: ValidationRule = ValidationRule {
    cel: "has(self.secure) && self.secure || \
          !(has(self.sameSite) && self.sameSite == 'None') && !(has(self.partitioned) && self.partitioned)",
    what: "browsers refuse such a cookie without Secure",
    advice: "set secure: true",
};

pub(crate) const GENERATED_LAST: ValidationRule = ValidationRule {
    cel: "self.filter(source, has(source.generated)).size() == 0 || \
          self.filter(source, has(source.generated)).size() == 1 && has(self[self.size() - 1].generated)",
    what: "generated is always found, so nothing after it is reached",
    advice: "list it once, as the last source",
};

pub(crate) const COOKIE_NOT_SECURE: ValidationRule = ValidationRule {
    cel: "!self.lowerAscii().startsWith('__host-') && !self.lowerAscii().startsWith('__secure-')",
    what: "browsers refuse a cookie called __Host- or __Secure- that plain HTTP may carry",
    advice: "use another name",
};

pub(crate) const CONFIDENCE: ValidationRule = ValidationRule {
    cel: "double(string(self).replace('%', '')) >= 50.0 && double(string(self).replace('%', '')) < 100.0",
    what: "confidence is at least 50% and below 100%",
    advice: "write for instance \"99.9%\"",
};

pub(crate) const FACTOR_AT_LEAST_ONE: ValidationRule = ValidationRule {
    cel: "double(self) >= 1.0",
    what: "a factor is at least \"1\"",
    advice: "a smaller one would refuse a gray that is exactly like stable",
};

pub(crate) const STEPS_RISE: ValidationRule = ValidationRule {
    // The list around the map gives its result a name.
    cel: "[self.map(s, double(string(s.ratio).replace('%', '')))]\
          .all(ratios, ratios.isSorted() && ratios.all(a, ratios.exists_one(b, a == b)))",
    what: "ratios must rise from step to step",
    advice: "sort the steps and remove repetitions",
};

pub(crate) const RULE_NAMES_DIFFER: ValidationRule = ValidationRule {
    cel: "self.all(a, self.exists_one(b, a.name == b.name))",
    what: "two rules have the same name",
    advice: "give each its own",
};

pub(crate) const NAME_BY_SOURCE: ValidationRule = ValidationRule {
    cel: "has(self.name) == (self.source in ['Header', 'Cookie', 'Query'])",
    what: "name is required exactly for the sources Header, Cookie and Query",
    advice: "add it there, remove it elsewhere",
};

pub(crate) const NAME_IS_TOKEN: ValidationRule = ValidationRule {
    cel: "!(self.source in ['Header', 'Cookie']) || !has(self.name) || self.name.matches(TOKEN)",
    what: "is no name of a header or cookie",
    advice: "use letters, digits and !#$%&'*+-.^_`|~",
};

pub(crate) const VALUES_BY_OPERATOR: ValidationRule = ValidationRule {
    cel: "(self.operator in ['Exists', 'DoesNotExist']) == (!has(self.values) || self.values.size() == 0)",
    what: "has values that its operator does not take, or none where it needs them",
    advice: "give Exists and DoesNotExist no values, every other operator at least one",
};

pub(crate) const ONE_NUMBER: ValidationRule = ValidationRule {
    cel: "!(self.operator in ['Gt', 'Lt']) || !has(self.values) || \
          self.values.size() == 1 && self.values[0].matches(NUMBER)",
    what: "Gt and Lt compare with one number",
    advice: "write exactly one decimal number, such as \"42\" or \"0.5\"",
};

pub(crate) const NOT_EMPTY: ValidationRule = ValidationRule {
    cel: "!(self.operator in ['Prefix', 'NotPrefix', 'Suffix', 'NotSuffix', 'Contains', 'NotContains']) || \
          !has(self.values) || !('' in self.values)",
    what: "every text begins and ends with an empty value and contains it",
    advice: "remove the empty value",
};

pub(crate) const FIELD_IS_FREE: ValidationRule = ValidationRule {
    cel: "!(self.lowerAscii() in ['host', 'connection', 'content-length', 'transfer-encoding', 'te', 'trailer', \
          'upgrade', 'keep-alive', 'proxy-connection', 'expect', 'cookie', 'set-cookie', 'authorization'])",
    what: "HTTP itself uses this header",
    advice: "choose another name, such as X-Version",
};
