//! Who is compared: the contestants, started and found to be ready. How each one is configured is `invocation`'s.

mod invocation;

use crate::Result;
use crate::process::{Cores, ManagedProcess};
use crate::traffic::BenchTraffic;
use clap::ValueEnum;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const START_PATIENCE: Duration = Duration::from_secs(10);
/// Under callgrind everything takes some fifty times as long.
const COUNTED_START_PATIENCE: Duration = Duration::from_secs(300);

/// A contestant; the names are those of the result document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Contestant {
    /// Halftone with every default feature on, one worker.
    Halftone,
    /// Halftone of another revision, from `--base`.
    Base,
    /// nginx with Lua: user from header, query or cookie, binding in a shared dictionary, crc32 split.
    NginxLua,
    /// HAProxy: sticky split by the hash of a header.
    Haproxy,
    /// Envoy: weighted clusters, chosen by the hash of a header.
    Envoy,
    /// A bare tokio relay: no HTTP at all.
    TcpRelay,
}

impl Contestant {
    pub(crate) const ALL: [Self; 5] = [
        Self::Halftone,
        Self::NginxLua,
        Self::Haproxy,
        Self::Envoy,
        Self::TcpRelay,
    ];
    /// What is compared with another revision: the two alone, so that more rounds fit into the time.
    pub(crate) const REVISIONS: [Self; 2] = [Self::Halftone, Self::Base];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Halftone => "halftone",
            Self::Base => "base",
            Self::NginxLua => "nginx-lua",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::TcpRelay => "tcp-relay",
        }
    }

    /// Whether it divides users between the arms; the relay knows one backend only.
    pub(crate) fn splits(self) -> bool {
        self != Self::TcpRelay
    }
}

/// Where things are.
pub(crate) struct BenchPaths {
    /// Directory of the built binaries.
    pub(crate) binaries: PathBuf,
    /// The proxy of another revision.
    pub(crate) base: Option<PathBuf>,
    /// Envoy, where the package registry had it.
    pub(crate) envoy: Option<PathBuf>,
    /// Scratch directory of this run.
    pub(crate) scratch: PathBuf,
    /// Who runs on which core.
    pub(crate) cores: Cores,
}

/// How a contestant is started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Launch {
    /// Further releases that Halftone keeps ready.
    pub(crate) neighbours: usize,
    /// Callgrind counts its instructions, into files in its directory.
    pub(crate) counted: bool,
}

impl Launch {
    fn patience(self) -> Duration {
        if self.counted {
            COUNTED_START_PATIENCE
        } else {
            START_PATIENCE
        }
    }
}

/// A contestant that serves.
pub(crate) struct RunningContestant {
    pub(crate) contestant: Contestant,
    pub(crate) process: ManagedProcess,
    pub(crate) address: SocketAddr,
}

impl RunningContestant {
    /// Configures and starts a contestant, and waits until it answers a request.
    pub(crate) fn start(
        contestant: Contestant,
        launch: Launch,
        places: &BenchPaths,
        traffic: &mut BenchTraffic,
    ) -> Result<Self> {
        let address = free_address()?;
        let arms = traffic.arms()?;
        let directory = places.scratch.join(contestant.name());
        // A state directory of an earlier run would hold this release with other addresses.
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let neighbours = launch.neighbours;
        let mut invocation =
            invocation::of(contestant, places, &directory, address, arms, neighbours)?;
        if launch.counted {
            invocation = invocation::under_callgrind(invocation, &directory)?;
        }
        let (program, arguments) = invocation;
        let log = directory.join("output.log");
        let process = ManagedProcess::start(places.cores, &program, &arguments, &log)?;
        let mut running = Self {
            contestant,
            process,
            address,
        };
        running
            .await_answer(launch.patience(), traffic)
            .map_err(|error| {
                let output = fs::read_to_string(&log).unwrap_or_default();
                format!("{} does not serve: {error}\n{output}", contestant.name())
            })?;
        Ok(running)
    }

    fn await_answer(&mut self, patience: Duration, traffic: &mut BenchTraffic) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            self.process.check()?;
            if TcpStream::connect(self.address).is_ok() {
                traffic.connect(self.address, 1)?;
                traffic.ask_once(0)?;
                let answered = traffic.tally.requests == 1 && traffic.tally.errors.is_empty();
                traffic.disconnect();
                if answered {
                    return Ok(());
                }
            }
            if Instant::now() > end {
                return Err(format!(
                    "no right answer within {patience:?}: {:?}",
                    traffic.tally.errors
                )
                .into());
            }
            traffic.rest(Duration::from_millis(20))?;
        }
    }
}

/// An address nobody listens on now. Another process could take it before the contestant does; the start then
/// fails and says so.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
