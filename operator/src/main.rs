//! The binary `halftone-operator`: flags and signals around [`halftone_operator::run`].

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use halftone_daemon::listen;
use halftone_operator::args::OperatorFlags;
use halftone_operator::fleet_file;
use halftone_operator::run::{self, OperatorOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of Rust programs that panic.
const PANICKED: i32 = 101;
/// A connection to the API server that is not there by then is tried anew.
const CONNECT: Duration = Duration::from_secs(3);

/// As for the proxies: a watch is begun anew so often, and one that is silent for longer is on a connection that died.
const SILENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let flags = OperatorFlags::parse();
    flags.log.start(&mut OperatorFlags::command());
    // A leader that lives on without its worker, or with a watch that nobody reads, is worse than none: the Lease would
    // keep everyone else away.
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("ends, since it is not as it should be: {panic}");
        std::process::exit(PANICKED);
    }));
    match serve(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: OperatorFlags) -> Result<(), Box<dyn std::error::Error>> {
    // Without it the first TLS connection panics: two providers could be linked, and none is chosen by itself.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return Err("TLS has a provider already".into());
    }
    let fleets = fleet_file::read(&flags.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        let mut cluster = kube::Config::infer().await?;
        cluster.connect_timeout = Some(CONNECT);
        cluster.read_timeout = Some(SILENCE);
        cluster.reset_reader_on_write = true;
        let client = kube::Client::try_from(cluster)?;
        let listener = listen::bind(listen::available(flags.listen))
            .and_then(TcpListener::from_std)
            .map_err(|error| format!("--listen {}: {error}", flags.listen))?;
        tracing::info!(listen = %listener.local_addr()?, identity = flags.identity, "started");
        let options = OperatorOptions {
            fleets,
            token_dir: flags.token_dir,
            identity: flags.identity,
        };
        let ended = async {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM"),
                _ = interrupt.recv() => tracing::info!("SIGINT"),
            }
        };
        run::run(client, options, listener, ended).await;
        Ok(())
    });
    // Watches are waiting for the API server, which would hold us up.
    runtime.shutdown_background();
    served
}
