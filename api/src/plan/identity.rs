//! From identity as written to that of the routing document.

use halftone_routing::document::identity::{
    ClientIpPrefix, CookieDomain, GeneratedCookie, IdentityConfig, IdentitySource, JwtClaim,
    MissingIdentity, RawSource, SameSite, WhenMissing,
};

use halftone_routing::document::names::{QueryName, Token};

use super::reader::{SpecReader, distinct};
use crate::{
    problem::field,
    spec::{self, IdentitySpec, rules},
};

pub(super) fn read(
    reader: &mut SpecReader,
    path: &str,
    identity: &IdentitySpec,
    has_gray: bool,
) -> Option<IdentityConfig> {
    let from_path = field(path, "from");
    let from = reader.each(&from_path, &identity.from, source);
    let generated: Vec<bool> = identity
        .from
        .iter()
        .map(|source| source.generated.is_some())
        .collect();
    let last = generated
        .iter()
        .position(|generated| *generated)
        .is_none_or(|at| at + 1 == generated.len());
    reader.require(last, &from_path, rules::GENERATED_LAST)?;
    let when_missing = match identity.when_missing {
        WhenMissing::Gray if has_gray => MissingIdentity::Gray,
        WhenMissing::Stable | WhenMissing::Gray => MissingIdentity::Stable,
        WhenMissing::Split => MissingIdentity::Split,
        WhenMissing::Reject => MissingIdentity::Reject(u16::try_from(identity.reject_status).ok()?),
    };
    let salt = Some(identity.salt.clone()).filter(|salt| !salt.is_empty());
    Some(IdentityConfig {
        from: distinct(from?),
        when_missing,
        salt,
    })
}

/// A cookie that a host may not set is a cookie that its users never have.
pub(super) fn covers(reader: &mut SpecReader, spec: &spec::GrayReleaseSpec) {
    let Some(generated) = spec
        .identity
        .from
        .last()
        .and_then(|source| source.generated.as_ref())
    else {
        return;
    };
    let Some(domain) = &generated.domain else {
        return;
    };
    let covered = |host: &String| {
        host == domain
            || host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.ends_with('.'))
    };
    reader.require(
        spec.hosts.iter().all(covered),
        "spec",
        rules::COOKIE_DOMAIN_COVERS,
    );
}

fn source(
    reader: &mut SpecReader,
    path: &str,
    source: &spec::IdentitySource,
) -> Option<IdentitySource> {
    let spec::IdentitySource {
        header,
        query,
        cookie,
        generated,
        jwt_claim,
        client_ip,
        decode,
    } = source;
    let given = [
        header.is_some(),
        query.is_some(),
        cookie.is_some(),
        generated.is_some(),
        jwt_claim.is_some(),
        client_ip.is_some(),
    ];
    let one = given.into_iter().filter(|given| *given).count() == 1;
    reader.require(one, path, rules::ONE_SOURCE)?;
    let text = header.is_some() || query.is_some() || cookie.is_some();
    reader.require(*decode || text, path, rules::DECODE_TEXT)?;
    let raw = |raw: RawSource, decoded| {
        if *decode {
            decoded
        } else {
            IdentitySource::Raw(raw)
        }
    };
    if let Some(name) = header {
        let name: Token = reader.text(&field(path, "header"), name)?;
        return Some(raw(
            RawSource::Header(name.clone()),
            IdentitySource::Header(name),
        ));
    }
    if let Some(name) = query {
        let name: QueryName = reader.text(&field(path, "query"), name)?;
        return Some(raw(
            RawSource::Query(name.clone()),
            IdentitySource::Query(name),
        ));
    }
    if let Some(name) = cookie {
        let name: Token = reader.text(&field(path, "cookie"), name)?;
        return Some(raw(
            RawSource::Cookie(name.clone()),
            IdentitySource::Cookie(name),
        ));
    }
    if let Some(cookie) = generated {
        return self::generated(reader, &field(path, "generated"), cookie)
            .map(IdentitySource::Generated);
    }
    if let Some(claim) = jwt_claim {
        let path = field(path, "jwtClaim");
        let header = reader.text(&field(&path, "header"), &claim.header);
        let claim = reader.text(&field(&path, "claim"), &claim.claim);
        return Some(IdentitySource::JwtClaim(JwtClaim {
            header: header?,
            claim: claim?,
        }));
    }
    let prefix = client_ip.as_ref()?;
    Some(IdentitySource::ClientIp(ClientIpPrefix {
        v4_prefix: u8::try_from(prefix.v4_prefix).ok()?,
        v6_prefix: u8::try_from(prefix.v6_prefix).ok()?,
    }))
}

fn generated(
    reader: &mut SpecReader,
    path: &str,
    cookie: &spec::GeneratedCookie,
) -> Option<GeneratedCookie> {
    let name_path = field(path, "cookie");
    let name = reader.text(&name_path, &cookie.cookie);
    let lower = cookie.cookie.to_ascii_lowercase();
    let plain = !lower.starts_with("__host-") && !lower.starts_with("__secure-");
    reader.require(plain, &name_path, rules::COOKIE_NOT_SECURE);
    let max_age = reader.at_least(
        &field(path, "maxAge"),
        &cookie.max_age,
        1000,
        rules::AT_LEAST_A_SECOND,
    );
    let same_site = cookie.same_site;
    let (secure, partitioned) = (cookie.secure, cookie.partitioned);
    reader.require(
        secure || !partitioned && same_site != SameSite::None,
        path,
        rules::COOKIE_SECURE,
    );
    let domain = match &cookie.domain {
        Some(domain) => Some(reader.text::<CookieDomain>(&field(path, "domain"), domain)?),
        None => None,
    };
    Some(GeneratedCookie {
        cookie: name?,
        max_age_ms: max_age?,
        domain,
        same_site,
        secure,
        partitioned,
    })
}
