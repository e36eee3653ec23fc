//! The arguments of the commands about releases that run, here or in a cluster.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::{ListOutputArguments, OutputArguments};
use super::parse_duration;
use super::target::{ClusterArguments, FleetArguments, TargetArguments};

/// The versions that can be gone back to.
const VERSIONS: [&str; 1] = ["0.1"];

/// `halftone get`
#[derive(Debug, Args)]
pub(crate) struct GetArguments {
    #[command(flatten)]
    pub(crate) which: ReleaseArguments,
    #[command(flatten)]
    pub(crate) printed: ListOutputArguments,
}

/// `halftone status`
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) which: ReleaseArguments,
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,
    #[command(flatten)]
    pub(crate) printed: ListOutputArguments,
}

/// `halftone watch`
#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    #[command(flatten)]
    pub(crate) which: ReleaseArguments,
    /// Go on when the release is done, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the end of the release of this gray version counts: what a pipeline waits for whose edit may not be applied yet
    #[arg(
        long,
        value_name = "VERSION",
        requires = "name",
        conflicts_with = "follow"
    )]
    pub(crate) gray: Option<String>,
    /// Give up after this long, with exit code 3
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "name", conflicts_with = "follow")]
    pub(crate) timeout: Option<Duration>,
    /// One JSON line for each change
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which releases.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArguments {
    /// One release (NAME or NAMESPACE/NAME); default: all of the namespace
    pub(crate) name: Option<String>,
    /// The releases of all namespaces
    #[arg(short = 'A', long, conflicts_with = "state", help_heading = "Cluster")]
    pub(crate) all_namespaces: bool,
    /// Only releases with these labels, written as for kubectl: team=shop,tier!=test
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with_all = ["state", "name"], help_heading = "Cluster")]
    pub(crate) selector: Option<String>,
    #[command(flatten)]
    pub(crate) running: TargetArguments,
}

impl ReleaseArguments {
    /// Whether a cluster is asked for by what selects.
    pub(crate) fn in_cluster(&self) -> bool {
        self.all_namespaces || self.selector.is_some()
    }
}

/// `halftone history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// The release (NAME or NAMESPACE/NAME)
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) running: TargetArguments,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone events`
#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// The release (NAME or NAMESPACE/NAME)
    pub(crate) name: String,
    /// Go on with new ones until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) running: TargetArguments,
    /// One JSON line for each event
    #[arg(long)]
    pub(crate) json: bool,
}

/// `halftone config`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ConfigArguments {
    #[command(subcommand)]
    pub(crate) command: Option<ConfigCommand>,
    /// The release (NAME or NAMESPACE/NAME)
    #[arg(required = true)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) applied: AppliedArguments,
}

/// What else `halftone config` does.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Compare what the release's spec asks for with what is applied; exit code 1 if they differ
    Diff {
        /// The release (NAME or NAMESPACE/NAME)
        name: String,
        #[command(flatten)]
        applied: AppliedArguments,
    },
}

/// Where what is applied is found, and how it is printed.
#[derive(Debug, Args)]
pub(crate) struct AppliedArguments {
    #[command(flatten)]
    pub(crate) running: TargetArguments,
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone proxies`
#[derive(Debug, Args)]
pub(crate) struct ProxiesArguments {
    /// Only the fleet of this proxy class
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone version`
#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    /// That of this program alone
    #[arg(long)]
    pub(crate) client: bool,
    #[command(flatten)]
    pub(crate) running: TargetArguments,
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone check`
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Before installing: whether this cluster will take Halftone, and you may install it
    #[arg(long)]
    pub(crate) pre: bool,
    /// Before going back: which releases need more than that version knows, and what to do. The one version is 0.1
    #[arg(long, value_name = "VERSION", value_parser = VERSIONS, conflicts_with = "pre")]
    pub(crate) downgrade: Option<String>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone hand-over`
#[derive(Debug, Args)]
pub(crate) struct HandOverArguments {
    /// The proxy class
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: String,
    /// The installation that is to look after it: NAMESPACE/RELEASE of its chart
    #[arg(long, value_name = "NAMESPACE/RELEASE")]
    pub(crate) to: String,
    /// Only where the present owner is gone: let the new one take the releases over at once, unless the owner shows itself
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
}

/// The commands that steer one release.
#[derive(Debug, Args)]
pub(crate) struct RequestArguments {
    /// The release (NAME or NAMESPACE/NAME)
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) running: TargetArguments,
    #[command(flatten)]
    pub(crate) fleet: FleetArguments,
    /// How long the answer of the cluster's operator is waited for, and that every proxy has taken up what it changed; exit
    /// code 3 if only the second is missing then
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Do not wait for proxies: end once the answer is there
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) printed: OutputArguments,
}

/// `halftone approve`
#[derive(Debug, Args)]
pub(crate) struct ApproveArguments {
    #[command(flatten)]
    pub(crate) request: RequestArguments,
    /// The step to approve, counted from 1: also the present one before its hold is over. Default: the step that waits
    /// for its approval
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) step: Option<u32>,
}
