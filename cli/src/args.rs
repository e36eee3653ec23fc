//! The arguments of every command, as types that cannot be wrong: clap refuses the rest with usage and exit code 2.
//! What says where releases are found lies in `args/target.rs`, the commands about running ones in `args/release_arguments.rs`.

mod examples;
mod output;
mod release_arguments;
mod target;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use clap_complete::Shell;

pub(crate) use self::output::OutputArguments;
pub(crate) use self::release_arguments::{
    AppliedArguments, ApproveArguments, CheckArguments, ConfigArguments, ConfigCommand,
    EventsArguments, GetArguments, HandOverArguments, HistoryArguments, ProxiesArguments,
    ReleaseArguments, RequestArguments, StatusArguments, VersionArguments, WatchArguments,
};
#[cfg(test)]
pub(crate) use self::target::ConnectionArguments;
pub(crate) use self::target::{
    ClusterArguments, CommandTarget, FleetArguments, HERE, TargetArguments,
};

use crate::output::ColorChoice;
use crate::percent::{Percent, parse_ratio};
use halftone_routing::document::units::Ratio;

/// Gray (canary) releases for HTTP services: exact, sticky splits by user, judged by statistics, rolled back in seconds.
#[derive(Debug, Parser)]
#[command(
    name = "halftone",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = target::RULE
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// When to colour: a terminal is asked by default, and NO_COLOR is respected.
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
}

/// One variant for each command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run releases on this machine: engine and proxy in this process, from GrayRelease files
    Run(RunArguments),
    /// Show three releases of a small built-in service in under a minute: good, failing, slow
    Demo(DemoArguments),
    /// Show how releases are doing, or everything about one of them
    Status(StatusArguments),
    /// List releases with the columns that kubectl shows
    Get(GetArguments),
    /// Follow releases as they move: a live view on a terminal, else a line for each change
    ///
    /// With a name it ends when that release is done: exit code 0 at its target, 1 where it was rolled back, is refused
    /// or stalled, 3 after --timeout. Ctrl-C ends it with 130.
    Watch(WatchArguments),
    /// Let the step that waits for approval go on
    Approve(ApproveArguments),
    /// Go to the target now, skipping steps, holds, approvals and windows; still judged
    Promote(RequestArguments),
    /// Send everyone back to stable now
    Rollback(RequestArguments),
    /// Start a rolled-back release again at step 1
    Retry(RequestArguments),
    /// Stop advancing; the release is still judged and may roll back
    Pause(RequestArguments),
    /// Go on advancing after `pause`, or after a failure with `onFailure: Pause`
    Resume(RequestArguments),
    /// Show how the last releases of one GrayRelease ended
    History(HistoryArguments),
    /// Show what happened to a release: its Kubernetes events
    Events(EventsArguments),
    /// Show the routing document that is applied for a release, and the proxies that run it
    Config(Box<ConfigArguments>),
    /// List the proxy pods, and the releases that wait for each
    Proxies(ProxiesArguments),
    /// Show the versions of this program, the operators and the proxies, and whether they fit together
    Version(VersionArguments),
    /// Look over an installation: what is missing, what does not answer, and what to do about it
    ///
    /// Exit code 1 where something has to be done; what you may not see is told, and changes no exit code. With --pre before
    /// installing: whether the cluster will take it. With --downgrade before going back to an earlier version: what has to
    /// be taken out or ended first; exit code 1 also where a release could not be seen or read.
    Check(CheckArguments),
    /// Have one installation of the cluster leave a proxy class to another one
    ///
    /// Of several installations that declare one class, one looks after its releases. Its operator offers them to the other
    /// one and looks after each until that one has taken it; no request fails. With --to and the present owner nothing
    /// more is handed over.
    HandOver(HandOverArguments),
    /// Run a release in virtual time against a traffic model, thousands of times a minute
    Simulate(SimulateArguments),
    /// Say how one request would be decided, point by point
    Explain(Box<ExplainArguments>),
    /// Say how a list of identities would divide between stable and gray
    Split(SplitArguments),
    /// Find what the API server or the operator would refuse, and what deserves a warning
    Lint(LintArguments),
    /// Ask addresses over HTTP until each answers with less than 500; for containers without a shell
    Probe(ProbeArguments),
    /// Print the CustomResourceDefinition of GrayRelease
    Crd,
    /// Print completions for a shell
    Completions {
        /// The shell to print for
        shell: Shell,
    },
}

/// `halftone run`
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// GrayRelease manifests (YAML or JSON; several documents in one file are fine); watched for edits
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Where users' requests come in
    #[arg(long, value_name = "[ADDR:]PORT", default_value = "127.0.0.1:8080", value_parser = parse_address)]
    pub(crate) listen: SocketAddr,
    /// Where /metrics, /report, /config, /explain, /livez and /readyz are served
    #[arg(long, value_name = "[ADDR:]PORT", default_value = "127.0.0.1:8081", value_parser = parse_address)]
    pub(crate) admin: SocketAddr,
    /// Where progress is kept, so that a new start goes on where this one ended
    #[arg(long, value_name = "DIR", default_value = "./.halftone", value_hint = ValueHint::DirPath)]
    pub(crate) state: PathBuf,
    /// A fleet declaration: whose forwarding headers are believed, the default backend, what may be claimed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) fleet: Option<PathBuf>,
    /// Proxy threads; default: the lesser of the cores this process may use and 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// One JSON line for each change instead of the live view
    #[arg(long)]
    pub(crate) json: bool,
}

/// `halftone demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// One JSON line for each release
    #[arg(long)]
    pub(crate) json: bool,
}

/// `halftone simulate`
#[derive(Debug, Args)]
pub(crate) struct SimulateArguments {
    /// The GrayRelease manifest
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Which release, when the file holds several (NAME or NAMESPACE/NAME)
    #[arg(long, value_name = "NAME")]
    pub(crate) release: Option<String>,
    /// Requests per second, of both arms together
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value_t = 100.0, value_parser = parse_rps)]
    pub(crate) rps: f64,
    /// Share of gray's requests that fail, in percent
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "PERCENT",
        default_value = "0.1"
    )]
    pub(crate) gray_error_rate: Percent,
    /// Share of stable's requests that fail, in percent
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "PERCENT",
        default_value = "0.1"
    )]
    pub(crate) stable_error_rate: Percent,
    /// Gray's median latency (40ms), or a factor of stable's (x2); stable's median is 20 ms
    #[arg(long, value_name = "DURATION|xFACTOR", default_value = "x1")]
    pub(crate) gray_latency: String,
    /// When the fault begins, counted from the first gray request (90s, 10m)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) fault_at: Option<Duration>,
    /// Gray's error rate from the fault on, in percent
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "PERCENT",
        default_value = "50",
        requires = "fault_at"
    )]
    pub(crate) fault_error_rate: Percent,
    /// Share of requests without an identity, in percent
    #[arg(
        long,
        allow_negative_numbers = true,
        value_name = "PERCENT",
        default_value = "0"
    )]
    pub(crate) anonymous: Percent,
    /// How many releases to run
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) runs: u64,
    /// The random seed: the same seed gives the same releases
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// GrayRelease manifests; or one release (NAME or NAMESPACE/NAME) that runs here or in a cluster
    #[arg(required = true, value_name = "FILE|NAME", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Decide by what is applied in the cluster for all releases of the fleet, at the ratios where they stand now
    ///
    /// --kubeconfig, --context and -n ask for the same; so does `kubectl halftone` by a name that is not a file. With
    /// --state, or by a name that is not a file where a `halftone run` is in ./.halftone, that run is asked.
    #[arg(long, conflicts_with_all = ["ratio", "fleet"])]
    pub(crate) from_cluster: bool,
    /// The request's path, with its query if it has one
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(crate) path: String,
    /// The request's host; default: the first host of the first release
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// A header field, 'Name: value'; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// A cookie, 'name=value'; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) cookie: Vec<String>,
    /// A query parameter, 'name=value'; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) query: Vec<String>,
    /// The address the request comes from
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) peer: IpAddr,
    /// Decide as if the release stood at this ratio, in percent; default: its target
    #[arg(long, allow_negative_numbers = true, value_name = "PERCENT", value_parser = parse_ratio)]
    pub(crate) ratio: Option<Ratio>,
    /// A fleet declaration: whose forwarding headers are believed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) fleet: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) running: TargetArguments,
    #[command(flatten)]
    pub(crate) of_fleet: FleetArguments,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone split`
#[derive(Debug, Args)]
pub(crate) struct SplitArguments {
    /// The GrayRelease manifest
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Which release, when the file holds several (NAME or NAMESPACE/NAME)
    #[arg(long, value_name = "NAME")]
    pub(crate) release: Option<String>,
    /// The ratio to split at, in percent; default: the target
    #[arg(long, allow_negative_numbers = true, value_name = "PERCENT", value_parser = parse_ratio)]
    pub(crate) ratio: Option<Ratio>,
    /// A file with one identity per line; `-` for standard input
    #[arg(long, value_name = "FILE|-", value_hint = ValueHint::FilePath)]
    pub(crate) identities: PathBuf,
    /// Print each identity with its arm instead of the sum
    #[arg(long, conflicts_with_all = ["json", "output"])]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone probe`
#[derive(Debug, Args)]
pub(crate) struct ProbeArguments {
    /// What to ask: http://HOST[:PORT][/PATH]
    #[arg(required = true, value_name = "URL", value_parser = parse_http)]
    pub(crate) urls: Vec<hyper::Uri>,
    /// How long to go on asking, for all of them together
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// `halftone lint`
#[derive(Debug, Args)]
pub(crate) struct LintArguments {
    /// GrayRelease manifests; `-` for standard input
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// A fleet declaration, to check what the releases claim against it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) fleet: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// The arguments of this process. As `kubectl halftone` it is known by that name in usage and help.
pub(crate) fn parse() -> Arguments {
    let mut command = examples::with_examples(Arguments::command());
    if is_plugin() {
        command = command
            .bin_name("kubectl halftone")
            .display_name("kubectl halftone");
    }
    let matches = command
        .clone()
        .get_matches_from(target::last(std::env::args_os().collect()));
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// Whether this process was started by kubectl, which finds its plugins by their file's name.
pub(crate) fn is_plugin() -> bool {
    is_called("kubectl-halftone")
}

/// Whether kubectl asks how its user's words go on; it finds who knows by the file's name too.
pub(crate) fn is_completion() -> bool {
    is_called("kubectl_complete-halftone")
}

fn is_called(name: &str) -> bool {
    let called = std::env::args_os().next().map(PathBuf::from);
    called.is_some_and(|path| path.file_stem().is_some_and(|stem| stem == name))
}

/// Every command with its arguments.
pub(crate) fn command() -> clap::Command {
    let mut command = examples::with_examples(Arguments::command());
    command.build();
    command
}

/// The completion script of `shell`.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "halftone", &mut script);
    script
}

fn parse_rps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rps) if rps.is_finite() && rps > 0.0 && rps <= 1e7 => Ok(rps),
        _ => Err("expected a number of requests per second above 0, at most 10000000".to_owned()),
    }
}

/// Reads an address; a port alone is one of this machine, as the defaults are.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => halftone_daemon::listen::address(text),
    }
}

fn parse_http(text: &str) -> Result<hyper::Uri, String> {
    let url: hyper::Uri = text.parse().map_err(|error| format!("{error}"))?;
    let right = url.scheme_str() == Some("http") && url.host().is_some();
    right
        .then_some(url)
        .ok_or_else(|| "expected a URL such as http://10.0.0.1:8080/readyz".to_owned())
}

/// Reads a duration as a manifest writes it: `90s`, `10m`, `1h30m`, `250ms`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let meant = || match halftone_api::duration::guess(text) {
        Some(meant) => format!("write {}", halftone_api::duration::format(meant)),
        None => "expected a duration such as 90s, 10m or 1h30m".to_owned(),
    };
    halftone_api::duration::parse(text)
        .map(|millis| millis.duration())
        .ok_or_else(meant)
}
