//! The flags of `halftone-operator`; each can be given as `HALFTONE_*` in the environment, too.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use halftone_daemon::log::LogFlags;

/// Halftone's operator: watches GrayReleases, tells the proxies of each fleet how to divide users, judges by what they
/// report, and takes the next step or goes back.
#[derive(Clone, Debug, Parser)]
#[command(name = "halftone-operator", version, max_term_width = 100)]
pub struct OperatorFlags {
    /// File with the fleets (fleets:) and the namespaces that are watched (watchNamespaces:, all by default)
    ///
    /// It is read once, at the start.
    #[arg(
        long,
        value_name = "FILE",
        env = "HALFTONE_CONFIG",
        default_value = "/etc/halftone/operator.yaml"
    )]
    pub config: PathBuf,

    /// Directory with bearer tokens for proxies of version 0.1, one file for each class, named like it
    ///
    /// Newer proxies need none: the operator signs what it asks them for. The files are read again for each round of
    /// reports; those that do not exist are left out.
    #[arg(
        long,
        value_name = "DIR",
        env = "HALFTONE_TOKEN_DIR",
        default_value = "/etc/halftone/tokens"
    )]
    pub token_dir: PathBuf,

    /// Address of /livez, /readyz and /metrics; [::] is every address, of IPv4 as well
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "HALFTONE_LISTEN",
        default_value = "[::]:8082",
        value_parser = halftone_daemon::listen::address
    )]
    pub listen: SocketAddr,

    /// Name of this process in Leases and events; no two that run may have the same. In a pod its name
    #[arg(long, value_name = "NAME", env = "POD_NAME", value_parser = NonEmptyStringValueParser::new())]
    pub identity: String,

    /// The log.
    #[command(flatten)]
    pub log: LogFlags,
}
