//! The binary `halftone-e2e-peer`: one image for the backends and the clients of the tests on a cluster.

use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use halftone_e2e::peer::{backend, load};

/// Backends and clients for tests on a cluster.
#[derive(Parser)]
#[command(version)]
struct PeerArguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Answers every request with its version; can be told to fail, to be slow or to hang.
    Serve {
        /// Version it answers with.
        #[arg(long, env = "VERSION")]
        version: String,
        /// Address of the service.
        #[arg(long, default_value = "0.0.0.0:8080")]
        listen: SocketAddr,
        /// Address of the controls and of /readyz.
        #[arg(long, default_value = "0.0.0.0:9090")]
        control: SocketAddr,
        /// Seconds for which it goes on serving after SIGTERM, while it is already not ready.
        #[arg(long, default_value_t = 10)]
        drain: u64,
    },
    /// Sends requests as told, and counts what comes back.
    Load {
        /// Address of the controls and of /readyz.
        #[arg(long, default_value = "0.0.0.0:9090")]
        control: SocketAddr,
    },
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    match PeerArguments::parse().program {
        Program::Serve {
            version,
            listen,
            control,
            drain,
        } => backend::run(version, listen, control, drain).await,
        Program::Load { control } => load::run(control).await,
    }
}
