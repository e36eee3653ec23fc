//! Reads the hosts that a release claims. Decides in Rust what `spec/rules/hosts.rs` decides in CEL.

use halftone_routing::document::names::HostPattern;

use serde_json::Value;

use super::reader::SpecReader;
use crate::{
    problem::{Problem, item},
    spec::{pattern::HOST, rules::hosts as rules},
    structural,
};

/// All hosts, or a problem for each mistake in them.
pub(super) fn read(reader: &mut SpecReader, hosts: &[String]) -> Option<Vec<HostPattern>> {
    reader.each("spec.hosts", hosts, |reader, path, text| {
        read_one(reader, path, text)
    })
}

/// What is wrong with the hosts of a spec that may be unreadable as a whole.
pub(crate) fn problems(spec: &Value) -> Vec<Problem> {
    let mut reader = SpecReader::default();
    let texts = spec["hosts"].as_array().into_iter().flatten().enumerate();
    for (at, text) in texts.filter_map(|(at, host)| Some((at, host.as_str()?))) {
        read_one(&mut reader, &item("spec.hosts", at), text);
    }
    reader.problems
}

fn read_one(reader: &mut SpecReader, path: &str, text: &str) -> Option<HostPattern> {
    let broken = [
        (text.contains("://"), rules::NO_SCHEME),
        (has_port(text), rules::NO_PORT),
        (
            text.bytes().any(|byte| byte.is_ascii_uppercase()),
            rules::LOWER_CASE,
        ),
        (
            !text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            rules::PUNYCODE,
        ),
        (
            in_brackets(text).is_some_and(|inner| !is_ipv6(inner)),
            rules::IPV6,
        ),
    ];
    let mut sound = true;
    for (is_broken, rule) in broken {
        sound &= reader.require(!is_broken, path, rule).is_some();
    }
    if !sound {
        return None;
    }
    reader.require(
        in_brackets(text).is_some() || structural::matches(HOST, text),
        path,
        rules::SHAPE,
    )?;
    reader.text(path, text)
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(name, port)| {
        let plain = !name.is_empty() && !name.contains([':', '/']);
        (plain || in_brackets(name).is_some()) && port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>()
        .is_ok_and(|address| address.to_ipv4_mapped().is_none())
}
