//! Conditions ready to be asked: which part of the request, which pattern, and whether it must not hold. Of a part
//! with several values (repeated fields, cookies) one suffices, and for a negated operator none may match; a
//! missing value so satisfies every negated one.

use std::{io::Write, net::IpAddr, sync::Arc};

use crate::{
    config::{
        rule::{AllOf, Condition, Source},
        units::Invalid,
    },
    pattern::{Interner, Pattern},
    request::Request,
};

/// A condition ready to be asked.
#[derive(Debug)]
pub(crate) struct Compiled {
    source: Source,
    pattern: Arc<Pattern>,
    negated: bool,
}

/// Any of these, each of which is all of those.
pub(crate) type AnyOf = Box<[Box<[Compiled]>]>;

/// The parts of a request that are worked out at most once, and only when a condition asks.
pub(crate) trait Facts {
    fn identity(&self) -> Option<&[u8]>;
    fn client_ip(&self) -> IpAddr;
}

/// Compiles conditions; the error is told with the place below `any_of`: (alternative, condition).
pub(crate) fn compile(any_of: &[AllOf], interner: &mut Interner) -> Result<AnyOf, (usize, usize, Invalid)> {
    let mut one = |condition: &Condition| {
        Ok(Compiled {
            source: condition.source().clone(),
            pattern: interner.pattern(condition)?,
            negated: condition.operator().is_negated(),
        })
    };
    let all_of = |(outer, all): (usize, &AllOf)| {
        let conditions = all.conditions().iter().enumerate();
        conditions.map(|(inner, condition)| one(condition).map_err(|why| (outer, inner, why))).collect()
    };
    any_of.iter().enumerate().map(all_of).collect()
}

/// Whether one of the alternatives holds as a whole.
pub(crate) fn holds(any_of: &AnyOf, request: &Request<'_>, facts: &impl Facts) -> bool {
    any_of.iter().any(|all| all.iter().all(|condition| condition.holds(request, facts)))
}

impl Compiled {
    fn holds(&self, request: &Request<'_>, facts: &impl Facts) -> bool {
        let matches = |value: &[u8]| self.pattern.matches(value);
        let found = match &self.source {
            Source::Identity => facts.identity().is_some_and(matches),
            Source::Header(name) => request.field_values(name.as_str()).any(matches),
            Source::Cookie(name) => request.cookie_values(name.as_str()).any(matches),
            Source::Query(name) => request.query_values(name.as_str()).any(|value| matches(&value)),
            Source::Path => matches(request.path),
            Source::Method => matches(request.method.as_bytes()),
            Source::Host => matches(request.host.as_bytes()),
            Source::ClientIp => self.matches_address(facts.client_ip()),
        };
        found != self.negated
    }

    fn matches_address(&self, address: IpAddr) -> bool {
        if let Pattern::Networks(networks) = &*self.pattern {
            return networks.contains(address);
        }
        let mut text = [0; 45];
        let mut rest = &mut text[..];
        // 45 characters hold every address, so that nothing is cut.
        let _ = write!(rest, "{address}");
        let unused = rest.len();
        self.pattern.matches(&text[..text.len() - unused])
    }
}
