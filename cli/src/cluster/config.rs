//! `halftone config`: the routing document that is applied for a release, which proxies run it, and how it differs from
//! what the release's spec asks for. Pure but for `run`, which fetches and prints.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use halftone_api::{GrayRelease, Plan};
use halftone_rollout::{clock::Now, progress::Progress, routing_for::routing_for};
use halftone_routing::document::RoutingConfig;
use halftone_routing::document::arm::{ArmConfig, Backend, ServicePort};
use owo_colors::OwoColorize;
use serde::Serialize;
use serde_json::{Value, json};

use super::config_maps::AppliedConfigMap;
use super::operator_status::{LOST, sends_to_stable};
use super::proxies::{DocumentMatch, ProxyStatus};
use super::{ClusterClient, block_on};
use crate::args::{AppliedArguments, CommandTarget, ConfigArguments, ConfigCommand};
use crate::local_run;
use crate::output::{self, CommandError};
use crate::summary::name_of;

/// Runs the command.
pub(crate) fn run(arguments: &ConfigArguments) -> Result<ExitCode, CommandError> {
    match (&arguments.command, &arguments.name) {
        (Some(ConfigCommand::Diff { name, applied }), _) => block_on(diff(name, applied)),
        (None, Some(name)) => block_on(show(name, &arguments.applied)),
        (None, None) => Err(CommandError::new("a release has to be named")),
    }
}

async fn show(name: &str, arguments: &AppliedArguments) -> Result<ExitCode, CommandError> {
    let looked_here = match local_run::place(&arguments.running, false) {
        CommandTarget::Local(state) => return show_here(&state, name, arguments),
        CommandTarget::Cluster { looked_here } => looked_here,
    };
    let cluster = ClusterClient::connect(&arguments.running.cluster, looked_here).await?;
    let release = cluster.release(name).await?;
    let applied = cluster
        .applied(&release, arguments.fleet.fleet_namespace.as_deref())
        .await?;
    let proxies = cluster
        .proxies_of(&release.spec.proxy_class, &applied.namespace)
        .await?;
    let silence = cluster
        .silence(&release.spec.proxy_class, Some(&applied.namespace))
        .await;
    let lost = applied
        .document
        .as_ref()
        .is_ok_and(|document| sends_to_stable(&document.config, silence));
    let mut out = output::stdout();
    match arguments.printed.is_data() {
        true => {
            let mut account = account(&release, &applied, &proxies);
            account["operatorLost"] = json!(lost);
            arguments.printed.write(&mut out, &account)?;
        }
        false => {
            write!(out, "{}", text(&release, &applied, &proxies))?;
            if lost {
                writeln!(out, "  {:<9} {LOST}", "in effect")?;
            }
        }
    }
    out.flush()?;
    Ok(if applied.document.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The document that the proxy of a `halftone run` has.
fn show_here(
    state: &Path,
    name: &str,
    arguments: &AppliedArguments,
) -> Result<ExitCode, CommandError> {
    let (release, document) = applied_here(state, name)?;
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments
            .printed
            .write(&mut out, &json!({"document": document}))?;
    } else {
        writeln!(
            out,
            "{}  the halftone run of {}",
            name_of(&release).bold(),
            state.display()
        )?;
        let mut text = String::new();
        contents(&document, &mut |name, value| {
            // A String takes everything.
            let _ = writeln!(text, "  {name:<9} {value}");
        });
        write!(out, "{text}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn applied_here(
    state: &Path,
    name: &str,
) -> Result<(GrayRelease, Arc<RoutingConfig>), CommandError> {
    let release = local_run::release(state, name)?.release;
    let name = name_of(&release);
    let document = local_run::applied(state)?.of(&name).cloned();
    let none = || {
        CommandError::new(format!("nothing is applied for {name}"))
            .advise(format!("see why with halftone status {name}"))
    };
    Ok((release, document.ok_or_else(none)?))
}

async fn diff(name: &str, arguments: &AppliedArguments) -> Result<ExitCode, CommandError> {
    let looked_here = match local_run::place(&arguments.running, false) {
        CommandTarget::Local(state) => {
            let (release, document) = applied_here(&state, name)?;
            return print_diff(&release, &document, arguments);
        }
        CommandTarget::Cluster { looked_here } => looked_here,
    };
    let cluster = ClusterClient::connect(&arguments.running.cluster, looked_here).await?;
    let release = cluster.release(name).await?;
    let applied = cluster
        .applied(&release, arguments.fleet.fleet_namespace.as_deref())
        .await?;
    let document = applied.document.as_ref().map_err(|why| {
        CommandError::new(format!(
            "ConfigMap {} holds no document that proxies take: {why}",
            applied.place()
        ))
        .advise("the operator writes it again; proxies keep what they have")
    })?;
    print_diff(&release, &document.config, arguments)
}

fn print_diff(
    release: &GrayRelease,
    document: &RoutingConfig,
    arguments: &AppliedArguments,
) -> Result<ExitCode, CommandError> {
    let changes = changes(release, document)?;
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(
            &mut out,
            &json!({"same": changes.is_empty(), "changes": changes, "why": why(release)}),
        )?;
    } else if changes.is_empty() {
        writeln!(
            out,
            "{}: what is applied is what the spec asks for",
            name_of(release)
        )?;
    } else {
        for change in &changes {
            write!(out, "{}", change.text())?;
        }
        if let Some(why) = why(release) {
            writeln!(out, "{why}")?;
        }
    }
    out.flush()?;
    Ok(if changes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn account(release: &GrayRelease, applied: &AppliedConfigMap, proxies: &[ProxyStatus]) -> Value {
    let runs: Vec<Value> = proxies
        .iter()
        .map(|proxy| json!({"name": proxy.name, "ready": proxy.ready, "runs": proxy.runs(release)}))
        .collect();
    json!({
        "configMap": {"namespace": applied.namespace, "name": applied.name, "resourceVersion": applied.version},
        "goneSince": applied.gone_since,
        "problem": applied.document.as_ref().err(),
        "document": applied.document.as_ref().ok().map(|document| &document.config),
        "proxies": runs,
    })
}

/// What people read.
fn text(release: &GrayRelease, applied: &AppliedConfigMap, proxies: &[ProxyStatus]) -> String {
    let mut text = format!(
        "{}  ConfigMap {}, resourceVersion {}\n",
        name_of(release).bold(),
        applied.place(),
        applied.version
    );
    let mut line = |name: &str, value: String| {
        // A String takes everything.
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    match &applied.document {
        Err(why) => line(
            "problem",
            format!("proxies refuse it and keep what they have: {why}"),
        ),
        Ok(document) => contents(&document.config, &mut line),
    }
    if let Some(since) = &applied.gone_since {
        line(
            "gone",
            format!("the GrayRelease has been gone since {since}"),
        );
    }
    match proxies.len() {
        0 => line(
            "proxies",
            format!(
                "none of class {} in namespace {}",
                release.spec.proxy_class, applied.namespace
            ),
        ),
        _ => proxies.iter().for_each(|proxy| {
            let says = match proxy.runs(release) {
                DocumentMatch::Yes => "runs it".to_owned(),
                DocumentMatch::No => "has not taken it".yellow().to_string(),
                DocumentMatch::Unknown => "is not known to have taken it yet".to_owned(),
                DocumentMatch::NotReady => "is not ready, and not counted".dimmed().to_string(),
            };
            line("proxy", format!("{}  {says}", proxy.name));
        }),
    }
    for gone in gone(release, proxies) {
        line(
            "proxy",
            format!(
                "{gone}  is waited for by the status as it was written, and is no pod any more"
            ),
        );
    }
    text
}

/// Those that the status names and that are not there: it was written before they went.
fn gone<'a>(
    release: &'a GrayRelease,
    proxies: &'a [ProxyStatus],
) -> impl Iterator<Item = &'a String> {
    let named = release
        .status
        .iter()
        .filter_map(|status| status.proxies.as_ref());
    named
        .flat_map(|named| &named.waiting_for)
        .filter(|name| proxies.iter().all(|proxy| proxy.name != **name))
}

fn contents(document: &RoutingConfig, line: &mut impl FnMut(&str, String)) {
    let checksum = document
        .checksum
        .as_ref()
        .map_or_else(String::new, |checksum| format!(", {checksum}"));
    line(
        "revision",
        format!("{}, stage {}{checksum}", document.revision, document.stage),
    );
    let moving = if document.moving { ", moving" } else { "" };
    let force = document.force.map_or_else(String::new, |force| {
        format!(", everyone forced to {force:?}")
    });
    let at = document
        .arms
        .gray
        .as_ref()
        .map_or_else(String::new, |_| format!(" at {}", document.ratio));
    line("state", format!("{:?}{at}{moving}{force}", document.state));
    line(
        "hosts",
        document
            .hosts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    );
    line(
        "paths",
        document
            .paths
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    );
    let back = if document.arms.gray.is_some() {
        "; where rollback leads"
    } else {
        ""
    };
    line("stable", format!("{}{back}", arm(&document.arms.stable)));
    if let Some(gray) = &document.arms.gray {
        line("gray", arm(gray));
    }
    for rule in &document.rules {
        line("rule", format!("{} → {:?}", rule.name, rule.to));
    }
}

fn arm(arm: &ArmConfig) -> String {
    let backend = match &arm.backend {
        Backend::Service(service) => {
            let port = match &service.port {
                ServicePort::Number(number) => number.to_string(),
                ServicePort::Name(name) => name.to_string(),
            };
            format!("service {}/{} port {port}", service.namespace, service.name)
        }
        Backend::Addresses(addresses) => addresses
            .as_ref()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    };
    format!("{} at {backend}", arm.version)
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct FieldDiff {
    /// Its path in the document.
    path: String,
    /// What is applied; null where it is absent.
    applied: Option<Value>,
    /// What the spec asks for; null where it leaves it out.
    spec: Option<Value>,
}

impl FieldDiff {
    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(applied) = &self.applied {
            text.push_str(&format!(
                "{}\n",
                format!("- {}: {applied}", self.path).red()
            ));
        }
        if let Some(spec) = &self.spec {
            text.push_str(&format!("{}\n", format!("+ {}: {spec}", self.path).green()));
        }
        text
    }
}

/// What the spec asks for and is not applied. Where the release stands (ratio, state, stage) is no part of a spec.
fn changes(release: &GrayRelease, applied: &RoutingConfig) -> Result<Vec<FieldDiff>, CommandError> {
    let plan = Plan::try_from(release).map_err(|problems| {
        CommandError::new(format!(
            "the spec of {} cannot be taken: {problems}",
            name_of(release)
        ))
        .advise("what is applied stays as it is; correct the manifest and apply it again")
    })?;
    let start = Progress::new(Now::at(jiff::Timestamp::UNIX_EPOCH));
    let mut wanted = routing_for(&plan, &start, applied.revision, applied.replaces.clone());
    wanted.requires.clone_from(&applied.requires);
    wanted.checksum.clone_from(&applied.checksum);
    // Since when it has its hosts is no part of a spec either.
    wanted.claims.clone_from(&applied.claims);
    (wanted.stage, wanted.state, wanted.moving, wanted.ratio) =
        (applied.stage, applied.state, applied.moving, applied.ratio);
    resolved(&mut wanted.arms.stable, &applied.arms.stable);
    if let (Some(wanted), Some(applied)) = (&mut wanted.arms.gray, &applied.arms.gray) {
        resolved(wanted, applied);
    }
    let (wanted, mut applied) = (leaves(&wanted), leaves(applied));
    let mut changes: Vec<FieldDiff> = wanted
        .into_iter()
        .filter_map(|(path, spec)| {
            let applied = applied.remove(&path);
            (applied.as_ref() != Some(&spec)).then_some(FieldDiff {
                path,
                applied,
                spec: Some(spec),
            })
        })
        .collect();
    changes.extend(applied.into_iter().map(|(path, applied)| FieldDiff {
        path,
        applied: Some(applied),
        spec: None,
    }));
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(changes)
}

/// The operator looks up what a numbered port is called; the spec does not say.
fn resolved(wanted: &mut ArmConfig, applied: &ArmConfig) {
    if let (Backend::Service(wanted), Backend::Service(applied)) =
        (&mut wanted.backend, &applied.backend)
        && (&wanted.name, &wanted.port) == (&applied.name, &applied.port)
    {
        wanted.port_name.clone_from(&applied.port_name);
    }
}

/// The fields of a document by their paths.
fn leaves(document: &RoutingConfig) -> BTreeMap<String, Value> {
    fn walk(path: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
        let below = |name: &str| {
            if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            }
        };
        match value {
            Value::Object(fields) => {
                fields
                    .into_iter()
                    .for_each(|(name, value)| walk(below(&name), value, leaves));
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                (0..).zip(items).for_each(|(at, item): (usize, Value)| {
                    walk(format!("{path}[{at}]"), item, leaves);
                });
            }
            value => drop(leaves.insert(path, value)),
        }
    }
    let mut all = BTreeMap::new();
    walk(
        String::new(),
        serde_json::to_value(document).expect("documents are plain data"),
        &mut all,
    );
    all
}

/// Why the spec is not applied, as far as the release says.
fn why(release: &GrayRelease) -> Option<String> {
    let generation = release.metadata.generation.unwrap_or_default();
    let status = release.status.clone().unwrap_or_default();
    if status.observed_generation < generation {
        return Some(format!(
            "the operator has not seen generation {generation} yet (its last is {})",
            status.observed_generation
        ));
    }
    let accepted = status
        .conditions
        .into_iter()
        .find(|condition| condition.type_ == "Accepted");
    let refused = accepted.filter(|condition| condition.status == "False")?;
    Some(format!("{}: {}", refused.reason, refused.message))
}

#[cfg(test)]
mod tests {
    use halftone_routing::document::claim::Claim;

    use super::super::config_maps::tests::{config_map, release};
    use super::*;

    fn document(release: &GrayRelease) -> RoutingConfig {
        AppliedConfigMap::read(&config_map(release))
            .document
            .unwrap()
            .config
            .clone()
    }

    #[test]
    fn a_release_that_only_moves_differs_in_nothing() {
        let release = release();
        assert_eq!(changes(&release, &document(&release)).unwrap(), []);
    }

    #[test]
    fn since_when_a_release_has_its_hosts_is_no_difference() {
        let release = release();
        let mut applied = document(&release);
        applied.claims = vec![Claim {
            host: applied.hosts[0].clone(),
            path: applied.paths[0].clone(),
            since: "2026-11-21T10:00:00Z".parse().unwrap(),
        }];
        assert_eq!(changes(&release, &applied).unwrap(), []);
    }

    #[test]
    fn the_name_of_a_numbered_port_is_no_difference() {
        let release = release();
        let mut applied = document(&release);
        let Backend::Service(service) = &mut applied.arms.stable.backend else {
            panic!()
        };
        service.port_name = Some("web".parse().unwrap());
        assert_eq!(changes(&release, &applied).unwrap(), []);
    }

    #[test]
    fn an_edit_that_is_held_back_is_shown_with_its_reason() {
        let mut edited = release();
        let applied = document(&edited);
        edited.spec.gray.as_mut().unwrap().version = "v3".into();
        let changes = changes(&edited, &applied).unwrap();
        let version = changes
            .iter()
            .find(|change| change.path == "arms.gray.version")
            .unwrap();
        assert_eq!(
            (&version.applied, &version.spec),
            (&Some("v2".into()), &Some("v3".into()))
        );
        edited.metadata.generation = Some(2);
        edited.status = Some(serde_json::from_value(json!({"observedGeneration": 1})).unwrap());
        assert!(why(&edited).unwrap().contains("has not seen generation 2"));
        edited.status = Some(
            serde_json::from_value(json!({"observedGeneration": 2, "conditions": [{
            "type": "Accepted", "status": "False", "reason": "StableNotServing",
            "message": "v2 serves everyone; name it stable", "lastTransitionTime": "2026-11-21T10:00:00Z"}]}))
            .unwrap(),
        );
        assert_eq!(
            why(&edited).unwrap(),
            "StableNotServing: v2 serves everyone; name it stable"
        );
    }

    #[test]
    fn the_account_tells_state_arms_and_the_proxies() {
        let release = release();
        let told = anstream::adapter::strip_str(&text(
            &release,
            &AppliedConfigMap::read(&config_map(&release)),
            &[],
        ))
        .to_string();
        for words in [
            "shop/checkout  ConfigMap halftone/gr-7c1f, resourceVersion 41",
            "Active at 10%",
            "v1 at service shop/checkout-v1 port 80; where rollback leads",
            "none of class default in namespace halftone",
        ] {
            assert!(told.contains(words), "{told}");
        }
        let proxies =
            json!({"proxies": {"ready": 2, "acknowledged": 1, "waitingFor": ["proxy-9"]}});
        let old = GrayRelease {
            status: Some(serde_json::from_value(proxies).unwrap()),
            ..release
        };
        let told = text(&old, &AppliedConfigMap::read(&config_map(&old)), &[]);
        assert!(told.contains("proxy-9  is waited for"), "{told}");
    }
}
