//! `halftone explain`: where one request would go, and what each point of the decision said. The same code as the
//! proxies', listened in on; by manifests as they are written, or by what is applied in a cluster.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halftone_api::Plan;
use halftone_rollout::{clock::Now, progress::Progress, routing_for::routing_for};
use halftone_routing::decide::{CLIMBS, Resolution, TraceEntry, decide_traced};
use halftone_routing::document::{
    IDENTITY_2, ReleaseState, RoutingConfig,
    identity::IdentityForm,
    names::HostPattern,
    parse::ParsedDocument,
    units::{Ratio, Revision},
};
use halftone_routing::field::Field;
use halftone_routing::fleet::{FleetConfig, HEALTH};
use halftone_routing::overlay::Overlay;
use halftone_routing::request::Request;
use halftone_routing::routes::{CompiledRelease, Compiler, ReleaseIndex, Routes};
use halftone_routing::{host, path};
use serde::Serialize;

use crate::args::{self, ExplainArguments};
use crate::cluster::operator_status::LOST;
use crate::cluster::{self, ClusterClient};
use crate::output::{self, CommandError};
use crate::summary::name_of;
use crate::{fleet, local_run, manifests, socket};

/// Runs the command.
pub(crate) fn run(arguments: &ExplainArguments) -> Result<(), CommandError> {
    let place = place(arguments, args::is_plugin(), socket::runs);
    let (routes, host, silence) = match &place {
        ExplainSource::Files => planned(arguments)?,
        ExplainSource::Run(state) => applied_here(arguments, state)?,
        ExplainSource::Cluster => applied(arguments)?,
    };
    let asked = ExplainRequest::read(arguments, host)?;
    let mut chance = rand::random::<u128>;
    let answer = asked.with_request(|request| {
        if routes.fleet().answers_itself(request) {
            return ExplainOutput::without_release(200, HEALTH);
        }
        let mut findings = Vec::new();
        // As its proxies do for want of an operator.
        let overlay = |index| Overlay::after_silence(routes.release(index).config(), silence);
        let resolution = decide_traced(&routes, overlay, request, &mut chance, &mut findings);
        ExplainOutput::of(&routes, overlay, &resolution, findings)
    });
    let mut out = output::stdout();
    if arguments.printed.is_data() {
        arguments.printed.write(&mut out, &answer)?
    } else {
        answer.tell(&mut out)?;
        match (answer.ratio, arguments.ratio) {
            (Some(ratio), None) if place != ExplainSource::Files => {
                writeln!(out, "  as it stands now, at {ratio}%")?;
            }
            (Some(target), None) => writeln!(
                out,
                "  as at its target of {target}%; --ratio asks for another"
            )?,
            _ => {}
        }
    }
    Ok(out.flush()?)
}

/// Who knows how requests are decided.
#[derive(Debug, PartialEq, Eq)]
enum ExplainSource {
    /// Manifests, as if they were applied.
    Files,
    /// The `halftone run` that keeps its progress here.
    Run(PathBuf),
    /// A cluster.
    Cluster,
}

/// What asks for a cluster or a run says so. Beyond that a name is a file if there is such a file; else kubectl's users
/// mean a release of a cluster, and others one of the `halftone run` of this directory, if one `runs`.
fn place(
    arguments: &ExplainArguments,
    plugin: bool,
    runs: impl FnOnce(&Path) -> bool,
) -> ExplainSource {
    let file = arguments
        .files
        .iter()
        .any(|file| file == Path::new("-") || file.exists());
    match &arguments.running.state {
        _ if arguments.from_cluster || arguments.running.cluster.any() => ExplainSource::Cluster,
        Some(state) => ExplainSource::Run(state.clone()),
        None if file => ExplainSource::Files,
        None if plugin => ExplainSource::Cluster,
        None if runs(Path::new(args::HERE)) => ExplainSource::Run(args::HERE.into()),
        None => ExplainSource::Files,
    }
}

/// By what the proxy of a run is told, and a host that the release takes.
fn applied_here(
    arguments: &ExplainArguments,
    state: &Path,
) -> Result<(Routes, String, Duration), CommandError> {
    let name = one_name(arguments)?;
    let release = name_of(&local_run::release(state, &name)?.release);
    let applied = local_run::applied(state)?;
    let hosts = applied
        .of(&release)
        .map(|document| document.hosts.clone())
        .unwrap_or_default();
    let routes = compile(applied.parsed(), applied.fleet)?;
    Ok((routes, one_of(&hosts), Duration::ZERO))
}

/// By manifests, and a host that the first of them takes.
fn planned(arguments: &ExplainArguments) -> Result<(Routes, String, Duration), CommandError> {
    let manifests = manifests::all(&arguments.files)?;
    let class = fleet::class(&manifests)?;
    let fleet = fleet::settings(class, arguments.fleet.as_deref())?;
    let plans: Vec<Plan> = manifests
        .into_iter()
        .map(|manifest| manifest.plan)
        .collect();
    let host = plans
        .first()
        .map_or_else(String::new, |plan| one_of(&plan.hosts));
    let routes = routes(&plans, arguments.ratio, fleet)?;
    Ok((routes, host, Duration::ZERO))
}

/// By what is applied for the fleet of a release, and a host that this release takes.
fn applied(arguments: &ExplainArguments) -> Result<(Routes, String, Duration), CommandError> {
    let name = one_name(arguments)?;
    let (hosts, fleet, silence) = cluster::block_on(async {
        let cluster = ClusterClient::connect(&arguments.running.cluster, false).await?;
        let release = cluster.release(&name).await?;
        let applied = cluster
            .applied(&release, arguments.of_fleet.fleet_namespace.as_deref())
            .await?;
        let hosts = applied
            .document
            .map(|document| document.config.hosts.clone())
            .unwrap_or_default();
        let class = &release.spec.proxy_class;
        let silence = cluster.silence(class, Some(&applied.namespace)).await;
        Ok((
            hosts,
            cluster.fleet(class, &applied.namespace).await?,
            silence,
        ))
    })?;
    for refused in &fleet.refused {
        output::note(&format!(
            "left out, since proxies refuse it and keep what they have: {refused}"
        ));
    }
    Ok((
        compile(fleet.documents, fleet.config)?,
        one_of(&hosts),
        silence,
    ))
}

/// The one release whose fleet is asked.
fn one_name(arguments: &ExplainArguments) -> Result<String, CommandError> {
    let [name] = arguments.files.as_slice() else {
        return Err(
            CommandError::new("one release's fleet is explained at a time")
                .advise("name one release, NAME or NAMESPACE/NAME"),
        );
    };
    if arguments.ratio.is_some() || arguments.fleet.is_some() {
        return Err(CommandError::new(
            "--ratio and --fleet are for manifests; of what runs, what is applied counts",
        )
        .advise("leave them out, or name a file"));
    }
    Ok(name.to_string_lossy().into_owned())
}

/// The routes of documents as they are applied.
fn compile(
    documents: Vec<Arc<ParsedDocument<RoutingConfig>>>,
    fleet: FleetConfig,
) -> Result<Routes, CommandError> {
    let mut compiler = Compiler::default();
    let releases = documents
        .into_iter()
        .map(|document| {
            CompiledRelease::compile(document, &mut compiler)
                .map(Arc::new)
                .map_err(CommandError::new)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Routes::new(releases, Arc::new(fleet), &mut compiler))
}

/// The routes as they would be with every release at the ratio asked for, or at its target.
fn routes(
    plans: &[Plan],
    ratio: Option<Ratio>,
    fleet: FleetConfig,
) -> Result<Routes, CommandError> {
    let mut compiler = Compiler::default();
    let start = Progress::new(Now::at(jiff::Timestamp::UNIX_EPOCH));
    let releases = plans.iter().map(|plan| {
        let mut document = routing_for(plan, &start, Revision::FIRST, None);
        // As a release that begins now spells identities.
        if plan.gray.is_some() && document.identity_form() == IdentityForm::One {
            document.requires.push(IDENTITY_2.to_owned());
        }
        document.ratio = ratio.unwrap_or_else(|| plan.target());
        document.state = if plan.gray.is_some() {
            ReleaseState::Active
        } else {
            ReleaseState::Plain
        };
        let parsed = ParsedDocument {
            checksum: document.content_checksum(),
            config: document,
            ignored: Vec::new(),
        };
        CompiledRelease::compile(Arc::new(parsed), &mut compiler)
            .map(Arc::new)
            .map_err(CommandError::new)
    });
    let releases = releases.collect::<Result<Vec<_>, _>>()?;
    Ok(Routes::new(releases, Arc::new(fleet), &mut compiler))
}

/// The request, with everything it borrows from.
struct ExplainRequest {
    method: String,
    host: String,
    path: Vec<u8>,
    query: String,
    fields: Vec<(String, String)>,
    peer: IpAddr,
}

impl ExplainRequest {
    fn read(arguments: &ExplainArguments, default_host: String) -> Result<Self, CommandError> {
        let (target, in_path) = arguments
            .path
            .split_once('?')
            .unwrap_or((&arguments.path, ""));
        let path = path::normalise(target.as_bytes())
            .map_err(|error| CommandError::new(format!("--path {target}: {error}")))?
            .into_owned();
        if !is_token(&arguments.method) {
            return Err(
                CommandError::new(format!("--method {:?} is no method", arguments.method))
                    .advise("write one such as GET"),
            );
        }
        let mut fields = arguments
            .header
            .iter()
            .map(|text| field(text))
            .collect::<Result<Vec<_>, _>>()?;
        let named = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("host"))
            .map(|(_, value)| value.clone());
        let host = arguments.host.clone().or(named).unwrap_or(default_host);
        let host = host::normalise(host.as_bytes())
            .map_err(|error| CommandError::new(format!("--host {host}: {error}")))?
            .into_owned();
        for cookie in &arguments.cookie {
            fields.push(self::cookie(cookie)?);
        }
        let query: Vec<&str> = std::iter::once(in_path)
            .chain(arguments.query.iter().map(String::as_str))
            .filter(|part| !part.is_empty())
            .collect();
        Ok(Self {
            method: arguments.method.clone(),
            host,
            path,
            query: query.join("&"),
            fields,
            peer: arguments.peer,
        })
    }

    fn with_request<T>(&self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let fields: Vec<Field<'_>> = self
            .fields
            .iter()
            .map(|(name, value)| Field {
                name: name.as_bytes(),
                value: value.as_bytes(),
            })
            .collect();
        ask(&Request {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: (!self.query.is_empty()).then_some(self.query.as_bytes()),
            fields: &fields,
            peer: self.peer,
        })
    }
}

/// A host that one of these patterns takes.
fn one_of(hosts: &[HostPattern]) -> String {
    hosts
        .first()
        .map_or("*", HostPattern::as_str)
        .replace("*.", "www.")
        .replace('*', "localhost")
}

fn field(text: &str) -> Result<(String, String), CommandError> {
    let wrong = || {
        CommandError::new(format!("--header {text:?} is no field")).advise("write 'Name: value'")
    };
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    if !is_token(name) || !is_value(value) {
        return Err(wrong());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn cookie(text: &str) -> Result<(String, String), CommandError> {
    let pair = text
        .split_once('=')
        .filter(|(name, value)| is_token(name) && is_value(value));
    let wrong =
        || CommandError::new(format!("--cookie {text:?} is no cookie")).advise("write name=value");
    pair.map(|_| ("Cookie".to_owned(), text.to_owned()))
        .ok_or_else(wrong)
}

/// What names and methods are made of.
fn is_token(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(part)
}

/// No request has line ends and the like in a field.
fn is_value(text: &str) -> bool {
    !text
        .bytes()
        .any(|byte| byte.is_ascii_control() && byte != b'\t')
}

/// What `--json` prints.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExplainOutput {
    /// `NAMESPACE/NAME`; null where no release has the request.
    release: Option<String>,
    /// `stable` or `gray`; null where the request reaches no arm.
    arm: Option<&'static str>,
    version: Option<String>,
    chosen_by: Option<&'static str>,
    reason: String,
    identity: Option<String>,
    bucket: Option<u32>,
    /// Where the release is taken to stand, in percent; null without gray.
    ratio: Option<f64>,
    excluded: bool,
    /// Proxies send everyone to stable, since no operator has been heard for as long as `onOperatorLost` waits.
    operator_lost: bool,
    /// The status, where the request is answered without an arm.
    status: Option<u16>,
    set_cookie: Option<String>,
    points: Vec<TraceEntry>,
}

impl ExplainOutput {
    /// No release is asked.
    fn without_release(status: u16, why: &str) -> Self {
        Self {
            status: Some(status),
            reason: why.to_owned(),
            ..Self::default()
        }
    }

    fn of(
        routes: &Routes,
        overlay: impl Fn(ReleaseIndex) -> Overlay,
        resolution: &Resolution<'_, '_>,
        points: Vec<TraceEntry>,
    ) -> Self {
        let mut answer = Self {
            points,
            ..Self::default()
        };
        let name = |index| {
            let whose = &routes.release(index).config().release;
            format!("{}/{}", whose.namespace, whose.name)
        };
        let percent = |index| {
            let release = routes.release(index);
            let ratio = release.ratio_in_effect(overlay(index)).fraction() * 100.0;
            release.config().arms.gray.as_ref().map(|_| ratio)
        };
        match resolution {
            Resolution::Decided(decision) => {
                let arm = routes
                    .release(decision.release)
                    .config()
                    .arms
                    .get(decision.arm);
                answer.ratio = percent(decision.release);
                answer.release = Some(name(decision.release));
                answer.arm = Some(decision.arm.name());
                answer.version = arm.map(|arm| arm.version.to_string());
                answer.chosen_by = Some(decision.chosen_by.name());
                answer.reason = decision.reason.to_string();
                let release = routes.release(decision.release);
                answer.operator_lost =
                    decision.overlay.is_operator_lost() && release.config().force.is_none();
                answer.identity = decision
                    .identity
                    .as_ref()
                    .map(|text| String::from_utf8_lossy(text).into_owned());
                answer.bucket = decision.bucket.map(|bucket| bucket.get());
                answer.excluded = decision.excluded;
                answer.set_cookie = decision.mint.as_ref().map(ToString::to_string);
            }
            Resolution::Rejected { release, status } => {
                answer.release = Some(name(*release));
                answer.ratio = percent(*release);
                answer.status = Some(*status);
                answer.reason = "no identity, and whenMissing is Reject".to_owned();
            }
            Resolution::Climbs { release } => {
                answer.release = Some(name(*release));
                answer.ratio = percent(*release);
                answer.status = Some(400);
                answer.reason = CLIMBS.to_owned();
            }
            Resolution::DefaultBackend(_) => {
                answer.reason = "no release has it: the fleet's default backend".to_owned()
            }
            Resolution::NoRoute => {
                answer.status = Some(404);
                answer.reason = "no release has this host and path".to_owned();
            }
        }
        answer
    }

    fn tell(&self, out: &mut impl Write) -> Result<(), CommandError> {
        for (number, finding) in (1..).zip(&self.points) {
            let point = format!("{:?}", finding.point).to_lowercase();
            writeln!(out, "{number}. {point:<9} {}", finding.said)?;
        }
        let release = self.release.as_deref().unwrap_or("no release");
        match (self.arm, &self.version, self.status) {
            (Some(arm), Some(version), _) => {
                writeln!(out, "→ {release}: {arm} ({version}), {}", self.reason)?
            }
            (_, _, Some(status)) => {
                writeln!(out, "→ {release}: answered with {status}, {}", self.reason)?
            }
            _ => writeln!(out, "→ {}", self.reason)?,
        }
        if self.operator_lost {
            writeln!(out, "  {LOST}")?;
        }
        if let Some(cookie) = &self.set_cookie {
            writeln!(out, "  Set-Cookie: {cookie}")?;
        }
        Ok(())
    }
}
