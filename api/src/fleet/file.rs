//! From the text of a fleet declaration to types that cannot be wrong. Everything that is wrong is told at once, with
//! file, line, column and field, as for releases. The routing document of a single fleet is taken as well.

use std::collections::BTreeMap;

use halftone_routing::{
    document::{
        arm::Backend,
        names::ObjectName,
        network,
        parse::{self, Format},
    },
    fleet::{EdgePosition as StandsAt, FleetConfig},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FleetDeclaration, FleetDeclarations, HostGrant};
use crate::{
    finding::{Finding, Position, Severity},
    fleet::FleetTimes,
    manifest::{SourceMap, tree},
    plan::{SpecReader, addresses, service},
    problem::{Problem, field, item},
    spec::{
        IntOrString,
        pattern::{DURATION, LABEL, NAMESPACE_OR_ALL},
        rules,
    },
    structural,
};

/// Namespace and name of a Helm release.
const INSTALLATION: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
/// The most networks that proxies take (`FleetConfig::trusted_proxies`).
const MOST_NETWORKS: usize = 64;

pub(super) fn read(file: &str, text: &str) -> Result<FleetDeclarations, Vec<Finding>> {
    let error =
        |code, position, problem| Finding::new(Severity::Error, code, file, position, problem);
    let documents = tree::parse(text)
        .map_err(|(position, problem)| vec![error("Malformed", position, problem)])?;
    let [document] = &documents[..] else {
        return Err(vec![one_is_wanted(&documents, |position, problem| {
            error("Malformed", position, problem)
        })]);
    };
    let (value, places) = (&document.value, &document.places);
    if value.get("fleets").is_none() && value.get("schema").is_some() {
        return routing_document(file, text);
    }
    let fleets = fleets(document).map_err(|mut problems| {
        problems.sort();
        let told = |problem: Problem| {
            let code = if problem.on_key {
                "UnknownField"
            } else {
                "Invalid"
            };
            error(code, places.of(&problem.path, problem.on_key), problem)
        };
        let mut findings: Vec<Finding> = problems.into_iter().map(told).collect();
        findings.sort_by_key(|finding| finding.position);
        findings
    })?;
    let (fleets, watch_namespaces, installation) = fleets;
    let (file, places) = (file.to_owned(), places.clone());
    Ok(FleetDeclarations {
        fleets,
        watch_namespaces,
        installation,
        file,
        places,
    })
}

fn one_is_wanted(
    documents: &[tree::PlacedDocument],
    error: impl Fn(Position, Problem) -> Finding,
) -> Finding {
    let advice = "write one document with fleets: and an item for each class";
    match documents.get(1) {
        None => error(
            Position { line: 1, column: 1 },
            Problem::new("", "declares no fleet", advice),
        ),
        Some(second) => error(
            second.places.of("", false),
            Problem::new("", "a second document begins here", advice),
        ),
    }
}

/// The routing document of one fleet. It says nothing of who may use it.
fn routing_document(file: &str, text: &str) -> Result<FleetDeclarations, Vec<Finding>> {
    let told = |place: Option<(usize, usize)>, path: &str, what: &str, advice: &str| {
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let (line, column) = place.map_or((1, 1), |(line, column)| (number(line), number(column)));
        let problem = Problem::new(path, what, advice);
        vec![Finding::new(
            Severity::Error,
            "Invalid",
            file,
            Position { line, column },
            problem,
        )]
    };
    let parsed = parse::fleet(text.as_bytes(), Format::Yaml).map_err(|error| {
        let (what, advice) = error
            .message
            .split_once("; ")
            .unwrap_or((&error.message, "correct it"));
        told(error.place, &error.field, what, advice)
    })?;
    if let Some(unknown) = parsed.ignored.first() {
        return Err(told(None, unknown, "there is no such field", "remove it"));
    }
    let fleets = vec![FleetDeclaration::open(parsed.config)];
    let watch_namespaces = Vec::new();
    let (file, places) = (file.to_owned(), SourceMap::default());
    Ok(FleetDeclarations {
        fleets,
        watch_namespaces,
        installation: None,
        file,
        places,
    })
}

type Declared = (Vec<FleetDeclaration>, Vec<ObjectName>, Option<String>);

fn fleets(document: &tree::PlacedDocument) -> Result<Declared, Vec<Problem>> {
    let tree::PlacedDocument { value, places } = document;
    if value.get("fleets").is_none() {
        let kind = value.get("kind").and_then(Value::as_str);
        let what = kind.map_or("declares no fleet".to_owned(), |kind| {
            format!("is a {kind}, and no fleets")
        });
        return Err(vec![Problem::new(
            "",
            what,
            "write fleets: with an item for each class",
        )]);
    }
    let mut problems =
        structural::check_written(value, &schema(), "", &|path| places.written(path));
    // What reading stumbles over, the schema has told already.
    let Ok(written) = serde_json::from_value::<FleetFile>(value.clone()) else {
        return Err(problems);
    };
    let mut reader = SpecReader::default();
    let fleets = reader.each("fleets", &written.fleets, fleet);
    let watched = reader.each(
        "watchNamespaces",
        &written.watch_namespaces,
        |reader, path, name| reader.text(path, name),
    );
    for (at, fleet) in written.fleets.iter().enumerate() {
        if written.fleets[..at]
            .iter()
            .any(|other| other.class == fleet.class)
        {
            let what = format!("{} is declared twice", fleet.class);
            reader.refuse(
                &field(&item("fleets", at), "class"),
                what,
                "give each fleet a class of its own",
            );
        }
    }
    // A value that breaks its pattern has been told.
    reader
        .problems
        .retain(|problem| !problems.iter().any(|told| told.path == problem.path));
    problems.extend(reader.problems);
    match (fleets, watched) {
        (Some(fleets), Some(watched)) if problems.is_empty() => {
            Ok((fleets, watched, written.installation))
        }
        _ => Err(problems),
    }
}

fn fleet(
    reader: &mut SpecReader,
    path: &str,
    written: &FleetFileEntry,
) -> Option<FleetDeclaration> {
    let class = reader.text(&field(path, "class"), &written.class);
    let namespace = match &written.namespace {
        Some(namespace) => reader.text(&field(path, "namespace"), namespace).map(Some),
        None => Some(None),
    };
    let allowed = reader.each(
        &field(path, "allowed"),
        &written.allowed,
        |reader, path, allowed| {
            let hosts = reader.each(
                &field(path, "hosts"),
                &allowed.hosts,
                |reader, path, host| reader.text(path, host),
            );
            let paths = reader.each(
                &field(path, "paths"),
                &allowed.paths,
                |reader, path, prefix| reader.text(path, prefix),
            );
            Some(HostGrant {
                namespaces: allowed.namespaces.clone(),
                hosts: hosts?,
                paths: paths?,
            })
        },
    );
    let networks = reader.each(
        &field(path, "trustedProxies"),
        &written.trusted_proxies,
        |reader, path, text| reader.valid(path, network(text)),
    );
    let default_backend = match &written.default_backend {
        Some(backend) => self::backend(reader, &field(path, "defaultBackend"), backend).map(Some),
        None => Some(None),
    };
    let health_path = match &written.health_path {
        Some(path_written) => reader
            .text(&field(path, "healthPath"), path_written)
            .map(Some),
        None => Some(None),
    };
    let times = FleetTimes::default();
    let mut time = |name, text: &Option<String>, default| match text {
        Some(text) => reader.duration(&field(path, name), text),
        None => Some(default),
    };
    let withdraw_after = time(
        "withdrawAfter",
        &written.withdraw_after,
        times.withdraw_after,
    );
    let host_reserve = time("hostReserve", &written.host_reserve, times.host_reserve);
    let straggler_timeout = time(
        "stragglerTimeout",
        &written.straggler_timeout,
        times.straggler_timeout,
    );
    Some(FleetDeclaration {
        config: FleetConfig {
            class: class?,
            position: written.position,
            trusted_proxies: networks?,
            default_backend: default_backend?,
            health_path: health_path?,
            ..FleetConfig::default()
        },
        namespace: namespace?,
        pod_selector: written.pod_selector.clone(),
        allowed: allowed?,
        allow_all: written.allow_all,
        allow_addresses: written.allow_addresses,
        times: FleetTimes {
            withdraw_after: withdraw_after?,
            host_reserve: host_reserve?,
            straggler_timeout: straggler_timeout?,
        },
    })
}

fn backend(reader: &mut SpecReader, path: &str, written: &DefaultBackendEntry) -> Option<Backend> {
    reader.require(
        written.service.is_some() != written.addresses.is_some(),
        path,
        rules::ONE_BACKEND,
    )?;
    if let Some(written) = &written.service {
        let path = field(path, "service");
        let namespace = reader.text(&field(&path, "namespace"), &written.namespace);
        return service(reader, &path, namespace, &written.name, &written.port);
    }
    let path = field(path, "addresses");
    let addresses = addresses(
        reader,
        &path,
        written.addresses.as_deref().unwrap_or_default(),
    )?;
    reader
        .valid(&path, addresses.try_into())
        .map(Backend::Addresses)
}

/// The file as it is written; [`schema`] has the bounds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FleetFile {
    fleets: Vec<FleetFileEntry>,
    #[serde(default)]
    watch_namespaces: Vec<String>,
    installation: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FleetFileEntry {
    class: String,
    namespace: Option<String>,
    #[serde(default)]
    pod_selector: BTreeMap<String, String>,
    #[serde(default)]
    allowed: Vec<HostGrantEntry>,
    #[serde(default)]
    allow_all: bool,
    #[serde(default)]
    allow_addresses: bool,
    #[serde(default)]
    position: StandsAt,
    #[serde(default)]
    trusted_proxies: Vec<String>,
    default_backend: Option<DefaultBackendEntry>,
    health_path: Option<String>,
    withdraw_after: Option<String>,
    host_reserve: Option<String>,
    straggler_timeout: Option<String>,
}

#[derive(Deserialize)]
struct HostGrantEntry {
    namespaces: Vec<String>,
    hosts: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
}

#[derive(Deserialize)]
struct DefaultBackendEntry {
    service: Option<ServiceEntry>,
    addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ServiceEntry {
    namespace: String,
    name: String,
    port: IntOrString,
}

fn schema() -> Value {
    let label = json!({"type": "string", "pattern": LABEL, "maxLength": 63});
    let time = json!({"type": "string", "pattern": DURATION});
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let some = |items: Value| json!({"type": "array", "minItems": 1, "items": items});
    let object = |required: &[&str], properties: Value| json!({"type": "object", "required": required, "properties": properties});
    let service = object(
        &["namespace", "name", "port"],
        json!({"namespace": label, "name": label, "port": {"x-kubernetes-int-or-string": true}}),
    );
    let allowed = object(
        &["namespaces", "hosts"],
        json!({
            "namespaces": some(json!({"type": "string", "pattern": NAMESPACE_OR_ALL})),
            "hosts": some(json!({"type": "string"})),
            "paths": texts,
        }),
    );
    let fleet = object(
        &["class"],
        json!({
            "class": label,
            "namespace": label,
            "podSelector": {"type": "object", "additionalProperties": {"type": "string"}},
            "allowed": {"type": "array", "items": allowed},
            "allowAll": {"type": "boolean"},
            "allowAddresses": {"type": "boolean"},
            "position": {"type": "string", "enum": ["BehindProxy", "Edge"]},
            "trustedProxies": {"type": "array", "maxItems": MOST_NETWORKS, "items": {"type": "string"}},
            "defaultBackend": object(&[], json!({"service": service, "addresses": texts})),
            "healthPath": {"type": "string"},
            "withdrawAfter": time,
            "hostReserve": time,
            "stragglerTimeout": time,
        }),
    );
    let namespaces = json!({"type": "array", "items": label});
    let installation = json!({"type": "string", "pattern": INSTALLATION, "maxLength": 127});
    let properties =
        json!({"fleets": some(fleet), "watchNamespaces": namespaces, "installation": installation});
    object(&["fleets"], properties)
}
