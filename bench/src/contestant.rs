//! Who is compared: how each proxy is configured, started, and found to be ready.

use crate::Result;
use crate::document;
use crate::process::{Cores, ManagedProcess};
use crate::traffic::BenchTraffic;
use clap::ValueEnum;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const START_PATIENCE: Duration = Duration::from_secs(10);

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
    /// A bare tokio relay: no HTTP at all.
    TcpRelay,
}

impl Contestant {
    pub(crate) const ALL: [Self; 4] = [
        Self::Halftone,
        Self::NginxLua,
        Self::Haproxy,
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
    /// Scratch directory of this run.
    pub(crate) scratch: PathBuf,
    /// Who runs on which core.
    pub(crate) cores: Cores,
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
        places: &BenchPaths,
        traffic: &mut BenchTraffic,
    ) -> Result<Self> {
        Self::start_among(contestant, 0, places, traffic)
    }

    /// The same, where Halftone has so many further releases to keep ready.
    pub(crate) fn start_among(
        contestant: Contestant,
        neighbours: usize,
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
        let (program, arguments) = match contestant {
            Contestant::Halftone => {
                let program = places.binaries.join("halftone-proxy");
                halftone(program, &directory, address, arms, neighbours)?
            }
            Contestant::Base => {
                let program = places
                    .base
                    .clone()
                    .ok_or("name the proxy of the other revision with --base")?;
                halftone(program, &directory, address, arms, neighbours)?
            }
            Contestant::NginxLua => nginx(&directory, address, arms)?,
            Contestant::Haproxy => haproxy(&directory, address, arms)?,
            Contestant::TcpRelay => (
                places.binaries.join("relay"),
                vec![address.to_string(), arms[0].to_string()],
            ),
        };
        let log = directory.join("output.log");
        let process = ManagedProcess::start(places.cores, &program, &arguments, &log)?;
        let mut running = Self {
            contestant,
            process,
            address,
        };
        running.await_answer(traffic).map_err(|error| {
            let output = fs::read_to_string(&log).unwrap_or_default();
            format!("{} does not serve: {error}\n{output}", contestant.name())
        })?;
        Ok(running)
    }

    fn await_answer(&mut self, traffic: &mut BenchTraffic) -> Result<()> {
        let end = Instant::now() + START_PATIENCE;
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
                    "no right answer within {START_PATIENCE:?}: {:?}",
                    traffic.tally.errors
                )
                .into());
            }
            traffic.rest(Duration::from_millis(20))?;
        }
    }
}

type Invocation = (PathBuf, Vec<String>);

fn halftone(
    program: PathBuf,
    directory: &Path,
    listen: SocketAddr,
    arms: [SocketAddr; 2],
    neighbours: usize,
) -> Result<Invocation> {
    if !program.exists() {
        return Err(format!(
            "{} not found: cargo build --release -p halftone-proxy",
            program.display()
        )
        .into());
    }
    let (config, state) = (directory.join("config"), directory.join("state"));
    fs::create_dir(&config)?;
    fs::write(
        config.join("release.json"),
        document::release(arms).to_string(),
    )?;
    for number in 1..=neighbours {
        let text = document::neighbour(number, arms).to_string();
        fs::write(config.join(format!("neighbour-{number}.json")), text)?;
    }
    let (config, state) = (text(&config)?, text(&state)?);
    let (listen, admin) = (listen.to_string(), free_address()?.to_string());
    let arguments = [
        "--listen", &listen, "--config", &config, "--state", &state, "--admin", &admin,
    ];
    // The memory figure needs 10 000 idle connections, which the default (40 % of the descriptors) may not allow.
    let limits = ["--workers", "1", "--max-connections", "12000"];
    Ok((
        program,
        arguments
            .iter()
            .chain(&limits)
            .map(|&argument| argument.to_owned())
            .collect(),
    ))
}

fn nginx(directory: &Path, listen: SocketAddr, arms: [SocketAddr; 2]) -> Result<Invocation> {
    let file = directory.join("nginx.conf");
    fs::write(
        &file,
        filled(include_str!("../peers/nginx.conf"), listen, arms),
    )?;
    let prefix = directory.canonicalize()?;
    let arguments = [
        "-p",
        &text(&prefix)?,
        "-e",
        "stderr",
        "-c",
        &text(&file.canonicalize()?)?,
    ];
    Ok((debian("nginx")?, arguments.map(str::to_owned).to_vec()))
}

fn haproxy(directory: &Path, listen: SocketAddr, arms: [SocketAddr; 2]) -> Result<Invocation> {
    let file = directory.join("haproxy.cfg");
    fs::write(
        &file,
        filled(include_str!("../peers/haproxy.cfg"), listen, arms),
    )?;
    Ok((
        debian("haproxy")?,
        ["-db", "-q", "-f", &text(&file)?]
            .map(str::to_owned)
            .to_vec(),
    ))
}

fn filled(template: &str, listen: SocketAddr, arms: [SocketAddr; 2]) -> String {
    template
        .replace("{{listen}}", &listen.to_string())
        .replace("{{stable}}", &arms[0].to_string())
        .replace("{{gray}}", &arms[1].to_string())
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().ok_or("a path that is not UTF-8")?.to_owned())
}

/// A daemon's binary; Debian keeps them where an ordinary user's PATH does not look.
fn debian(name: &str) -> Result<PathBuf> {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!(
            "{} not found: run `make bench`, which installs it",
            path.display()
        )
        .into())
    }
}

/// An address nobody listens on now. Another process could take it before the contestant does; the start then
/// fails and says so.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
