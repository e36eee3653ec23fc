//! Where releases are found: in a `halftone run` on this machine, or in a cluster. One rule, said in `--help`, decides.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};

/// The rule, as `--help` says it.
pub(super) const RULE: &str = "\
Where releases are found: with --state DIR in the `halftone run` that keeps its progress there; with --kubeconfig, \
--context, -n, -A or -l in the cluster of the kubeconfig; with none of them in the `halftone run` of ./.halftone if one \
runs there, else in the cluster. `kubectl halftone` means the cluster unless --state is given.

Commands that ask a cluster also take kubectl's --server, --token, --cluster, --user, --certificate-authority, \
--client-certificate, --client-key, --insecure-skip-tls-verify, --tls-server-name, --request-timeout and --as-uid.";

/// Options of kubectl's users that come before the command, as in `kubectl halftone -n shop status`, go to its end, where
/// they are understood.
pub(super) fn last(mut words: Vec<OsString>) -> Vec<OsString> {
    const WITH_VALUE: [&str; 18] = [
        "-n",
        "--namespace",
        "--context",
        "--kubeconfig",
        "--cluster",
        "--user",
        "-s",
        "--server",
        "--token",
        "--certificate-authority",
        "--client-certificate",
        "--client-key",
        "--tls-server-name",
        "--request-timeout",
        "--as",
        "--as-group",
        "--as-uid",
        "--color",
    ];
    let mut moved = Vec::new();
    while let Some(word) = words.get(1).and_then(|word| word.to_str()) {
        let alone = matches!(
            word,
            "-A" | "--all-namespaces" | "--insecure-skip-tls-verify"
        ) || WITH_VALUE
            .iter()
            .any(|name| word.starts_with(&format!("{name}=")));
        let length = if alone { 1 } else { 2 };
        if !(alone || WITH_VALUE.contains(&word)) || words.len() <= length {
            break;
        }
        moved.extend(words.drain(1..=length));
    }
    words.extend(moved);
    words
}

/// Where `halftone run` keeps its progress unless it is told otherwise.
pub(crate) const HERE: &str = "./.halftone";

/// Which cluster, and where in it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArguments {
    /// The kubeconfig file; default: as kubectl finds it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; default: its current one
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) context: Option<String>,
    /// The namespace of the release; default: that of the context
    #[arg(short, long, help_heading = "Cluster")]
    pub(crate) namespace: Option<String>,
    /// Ask as this user, which the API server must allow
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    pub(crate) as_user: Option<String>,
    /// Ask as a member of this group; may be repeated
    #[arg(
        long,
        value_name = "GROUP",
        requires = "as_user",
        help_heading = "Cluster"
    )]
    pub(crate) as_group: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArguments,
}

/// What kubectl takes on its command line instead of the kubeconfig's. Each command's help would be twice as long with
/// them, so the help of the program names them once.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConnectionArguments {
    /// The cluster of the kubeconfig; default: that of the context
    #[arg(long, value_name = "NAME", help_heading = "Cluster", hide = true)]
    pub(crate) cluster: Option<String>,
    /// The user of the kubeconfig; default: that of the context
    #[arg(long, value_name = "NAME", help_heading = "Cluster", hide = true)]
    pub(crate) user: Option<String>,
    /// The URL of the API server
    #[arg(short, long, value_name = "URL", help_heading = "Cluster", hide = true)]
    pub(crate) server: Option<String>,
    /// A bearer token to log in with
    #[arg(long, help_heading = "Cluster", hide = true)]
    pub(crate) token: Option<String>,
    /// A file with the certificates of those who may sign the API server's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Cluster", hide = true)]
    pub(crate) certificate_authority: Option<PathBuf>,
    /// A file with a certificate to log in with
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "client_key", help_heading = "Cluster", hide = true)]
    pub(crate) client_certificate: Option<PathBuf>,
    /// The file with its key
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "client_certificate", help_heading = "Cluster", hide = true)]
    pub(crate) client_key: Option<PathBuf>,
    /// Do not check the API server's certificate; whoever is in between can then read and change everything
    #[arg(
        long,
        conflicts_with = "certificate_authority",
        help_heading = "Cluster",
        hide = true
    )]
    pub(crate) insecure_skip_tls_verify: bool,
    /// The name that the API server's certificate has
    #[arg(long, value_name = "NAME", help_heading = "Cluster", hide = true)]
    pub(crate) tls_server_name: Option<String>,
    /// How long one request to the API server may take: 30s, or a number of seconds; 0 is as long as it takes
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout, help_heading = "Cluster", hide = true)]
    pub(crate) request_timeout: Option<Duration>,
    /// Ask as the user of this uid
    #[arg(
        long,
        value_name = "UID",
        requires = "as_user",
        help_heading = "Cluster",
        hide = true
    )]
    pub(crate) as_uid: Option<String>,
}

impl ConnectionArguments {
    /// Whether the API server is another than the kubeconfig's, or is reached in another way.
    pub(crate) fn changes_cluster(&self) -> bool {
        self.server.is_some()
            || self.certificate_authority.is_some()
            || self.insecure_skip_tls_verify
            || self.tls_server_name.is_some()
    }

    /// Whether the login is another one.
    pub(crate) fn changes_user(&self) -> bool {
        self.token.is_some() || self.client_certificate.is_some()
    }
}

/// As kubectl reads `--request-timeout`. Zero is longer than anybody waits.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs);
    let length = seconds.or_else(|_| super::parse_duration(text))?;
    Ok(if length.is_zero() {
        Duration::from_secs(86_400)
    } else {
        length
    })
}

impl ClusterArguments {
    /// Whether a cluster was asked for by any of them.
    pub(crate) fn any(&self) -> bool {
        self.kubeconfig.is_some()
            || self.context.is_some()
            || self.namespace.is_some()
            || self.as_user.is_some()
            || self.connection.cluster.is_some()
            || self.connection.user.is_some()
            || self.connection.changes_cluster()
            || self.connection.changes_user()
    }
}

/// Where the proxies of a cluster are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FleetArguments {
    /// The namespace of the proxies; default: it is searched for, which needs to list in all namespaces
    #[arg(
        long,
        value_name = "NAMESPACE",
        env = "HALFTONE_FLEET_NAMESPACE",
        help_heading = "Cluster"
    )]
    pub(crate) fleet_namespace: Option<String>,
}

/// Where releases are found.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArguments {
    /// The --state directory of the `halftone run` to speak to
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["kubeconfig", "context", "namespace", "as_user", "cluster", "user", "server", "token"])]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
}

/// What a command speaks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandTarget {
    /// The `halftone run` that keeps its progress in this directory.
    Local(PathBuf),
    /// A cluster. `looked_here` says that no `halftone run` was found in the default directory first.
    Cluster {
        /// Nothing runs here.
        looked_here: bool,
    },
}

impl TargetArguments {
    /// Decides by the rule. `cluster_asked` is what else asks for a cluster, `runs` whether a `halftone run` answers in a
    /// directory.
    pub(crate) fn place(
        &self,
        cluster_asked: bool,
        runs: impl FnOnce(&Path) -> bool,
    ) -> CommandTarget {
        match &self.state {
            Some(state) => CommandTarget::Local(state.clone()),
            None if cluster_asked || self.cluster.any() => {
                CommandTarget::Cluster { looked_here: false }
            }
            None if runs(Path::new(HERE)) => CommandTarget::Local(HERE.into()),
            None => CommandTarget::Cluster { looked_here: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(state: Option<&str>, context: Option<&str>) -> TargetArguments {
        let cluster = ClusterArguments {
            context: context.map(str::to_owned),
            ..ClusterArguments::default()
        };
        TargetArguments {
            state: state.map(PathBuf::from),
            cluster,
        }
    }

    #[test]
    fn what_is_asked_for_counts_over_what_runs_here() {
        let cluster = CommandTarget::Cluster { looked_here: false };
        assert_eq!(
            running(Some("x"), None).place(true, |_| true),
            CommandTarget::Local("x".into())
        );
        assert_eq!(running(None, Some("prod")).place(false, |_| true), cluster);
        assert_eq!(running(None, None).place(true, |_| true), cluster);
    }

    #[test]
    fn options_of_a_cluster_may_come_before_the_command() {
        for (typed, understood) in [
            (
                "kubectl-halftone -n shop -A status site",
                "kubectl-halftone status site -n shop -A",
            ),
            (
                "halftone --context=prod config diff site",
                "halftone config diff site --context=prod",
            ),
            ("halftone status -n shop", "halftone status -n shop"),
            (
                "kubectl-halftone --server http://a --insecure-skip-tls-verify get",
                "kubectl-halftone get --server http://a --insecure-skip-tls-verify",
            ),
            ("halftone -n", "halftone -n"),
            ("halftone", "halftone"),
        ] {
            let words = last(typed.split(' ').map(OsString::from).collect());
            assert_eq!(words.join(" ".as_ref()), understood);
        }
    }

    #[test]
    fn what_runs_here_counts_over_the_kubeconfig() {
        let nothing = running(None, None);
        assert_eq!(
            nothing.place(false, |_| true),
            CommandTarget::Local(HERE.into())
        );
        assert_eq!(
            nothing.place(false, |_| false),
            CommandTarget::Cluster { looked_here: true }
        );
    }
}
