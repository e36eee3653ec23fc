//! How each contestant is configured, and what starts it. The peers' configuration is in `bench/peers`.

use super::{BenchPaths, Contestant, free_address};
use crate::{Result, document};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A program and its arguments.
pub(super) type Invocation = (PathBuf, Vec<String>);

/// Writes what `contestant` reads into `directory`, and says how to start it.
pub(super) fn of(
    contestant: Contestant,
    paths: &BenchPaths,
    directory: &Path,
    listen: SocketAddr,
    arms: [SocketAddr; 2],
    neighbours: usize,
) -> Result<Invocation> {
    match contestant {
        Contestant::Halftone => {
            let program = paths.binaries.join("halftone-proxy");
            halftone(program, directory, listen, arms, neighbours)
        }
        Contestant::Base => {
            let missing = "name the proxy of the other revision with --base";
            let program = paths.base.clone().ok_or(missing)?;
            halftone(program, directory, listen, arms, neighbours)
        }
        Contestant::NginxLua => nginx(directory, listen, arms),
        Contestant::Haproxy => haproxy(directory, listen, arms),
        Contestant::Envoy => {
            let program = paths
                .envoy
                .clone()
                .ok_or("name Envoy's binary with --envoy")?;
            envoy(program, directory, listen, arms)
        }
        Contestant::TcpRelay => {
            let arguments = vec![listen.to_string(), arms[0].to_string()];
            Ok((paths.binaries.join("relay"), arguments))
        }
    }
}

/// The same with callgrind, which writes a file for each process into `directory`.
pub(super) fn under_callgrind(
    (program, arguments): Invocation,
    directory: &Path,
) -> Result<Invocation> {
    let valgrind = PathBuf::from("/usr/bin/valgrind");
    if !valgrind.exists() {
        return Err("valgrind not found: run `make bench-instructions`, which installs it".into());
    }
    let out = text(&directory.canonicalize()?)?;
    let mut all = vec![
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={out}/callgrind.%p"),
        // LuaJIT writes over code that it has run, which callgrind would not notice in memory of its own.
        "--smc-check=all-non-file".to_owned(),
        text(&program)?,
    ];
    all.extend(arguments);
    if program.ends_with("nginx") {
        // Its worker would become a user who may not write there.
        all.extend(["-g", "user root;"].map(str::to_owned));
    }
    Ok((valgrind, all))
}

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
        filled(include_str!("../../peers/nginx.conf"), listen, arms),
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
        filled(include_str!("../../peers/haproxy.cfg"), listen, arms),
    )?;
    Ok((
        debian("haproxy")?,
        ["-db", "-q", "-f", &text(&file)?]
            .map(str::to_owned)
            .to_vec(),
    ))
}

fn envoy(
    program: PathBuf,
    directory: &Path,
    listen: SocketAddr,
    arms: [SocketAddr; 2],
) -> Result<Invocation> {
    let file = directory.join("envoy.yaml");
    let config = include_str!("../../peers/envoy.yaml");
    fs::write(&file, filled(config, listen, arms))?;
    let arguments = ["-c", &text(&file)?, "--concurrency", "1"];
    let quiet = ["--log-level", "error", "--disable-hot-restart"];
    let arguments = arguments.iter().chain(&quiet);
    Ok((
        program,
        arguments.map(|&argument| argument.to_owned()).collect(),
    ))
}

/// Envoy wants addresses and ports apart.
fn filled(template: &str, listen: SocketAddr, arms: [SocketAddr; 2]) -> String {
    let places = [("listen", listen), ("stable", arms[0]), ("gray", arms[1])];
    let fill = |text: String, (name, address): (&str, SocketAddr)| {
        text.replace(&format!("{{{{{name}}}}}"), &address.to_string())
            .replace(&format!("{{{{{name}.ip}}}}"), &address.ip().to_string())
            .replace(&format!("{{{{{name}.port}}}}"), &address.port().to_string())
    };
    places.into_iter().fold(template.to_owned(), fill)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_in_the_configuration_of_a_peer_is_filled() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for template in [
            include_str!("../../peers/nginx.conf"),
            include_str!("../../peers/haproxy.cfg"),
            include_str!("../../peers/envoy.yaml"),
        ] {
            let text = filled(template, address(7001), [address(7002), address(7003)]);
            assert!(!text.contains("{{"), "{text}");
            for port in ["7001", "7002", "7003"] {
                assert!(text.contains(port), "{port} is not in {text}");
            }
        }
    }
}
