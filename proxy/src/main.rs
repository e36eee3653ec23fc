//! The binary `halftone-proxy`: flags and signals around [`halftone_proxy::run::Proxy`].

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use halftone_proxy::run::{DocumentSource, Proxy, descriptors};
use halftone_proxy::settings::{ProxyFlags, Settings};
use halftone_proxy::source::kubernetes::{KubernetesConfig, KubernetesConfigError};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let flags = ProxyFlags::parse();
    flags.log.start(&mut ProxyFlags::command());
    if let Err(error) = descriptors::raise() {
        tracing::warn!(%error, "the descriptor limit stays as it is");
    }
    match serve(&flags) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(flags: &ProxyFlags) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before the first client: a signal that comes while we start must drain, too.
    let (mut terminate, mut interrupt) = runtime.block_on(async {
        Ok::<_, std::io::Error>((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ))
    })?;
    let source = match &flags.config {
        Some(dir) => DocumentSource::Directory(dir.clone()),
        None => runtime.block_on(cluster(flags))?,
    };
    let proxy = Proxy::start(&Settings::from(flags), source)?;
    let listen: Vec<_> = proxy.addresses().iter().map(ToString::to_string).collect();
    let admin = proxy.admin_address().map(|address| address.to_string());
    tracing::info!(listen = listen.join(","), admin, "started");
    Ok(runtime.block_on(async {
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => proxy.begin_drain(),
            // Nobody asked it to.
            _ = proxy.ended() => return ExitCode::FAILURE,
        }
        tokio::select! {
            () = either(&mut terminate, &mut interrupt) => {
                tracing::warn!("second signal: ending at once");
                ExitCode::FAILURE
            }
            drained = proxy.ended() => match drained {
                Some(drained) => {
                    tracing::info!(cut = drained.cut, "drained");
                    ExitCode::SUCCESS
                }
                None => ExitCode::FAILURE,
            }
        }
    }))
}

async fn cluster(flags: &ProxyFlags) -> Result<DocumentSource, KubernetesConfigError> {
    // Two crates may bring one each; which of them is used is for the program to say.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cluster = KubernetesConfig::find(flags.namespace.clone(), flags.pod_uid.clone()).await?;
    tracing::info!(api = %cluster.api.cluster_url, namespace = %cluster.namespace, "taking documents from Kubernetes");
    Ok(DocumentSource::Kubernetes(Box::new(cluster)))
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
}
