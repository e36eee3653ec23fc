//! `halftone probe`: does something answer there? For containers that have no shell and no curl, such as our own:
//! `helm test` runs it. Any answer below 500 will do, since a proxy without a route for a host rightly says 404.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hyper::Uri;

use crate::args::ProbeArguments;
use crate::output::{self, CommandError};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// A status line is a few words.
const LONGEST: u64 = 1024;

pub(crate) fn run(arguments: &ProbeArguments) -> Result<ExitCode, CommandError> {
    let until = Instant::now() + arguments.timeout;
    for url in &arguments.urls {
        let status = answered(url, until).map_err(|why| {
            CommandError::new(format!(
                "{url} gave no answer below 500 within {:?}: {why}",
                arguments.timeout
            ))
        })?;
        writeln!(output::stdout(), "{url} answers {status}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn answered(url: &Uri, until: Instant) -> Result<u16, String> {
    loop {
        let why = match ask(url, until) {
            Ok(status) if status < 500 => return Ok(status),
            Ok(status) => format!("it answers {status}"),
            Err(error) => error.to_string(),
        };
        if Instant::now() + PAUSE >= until {
            return Err(why);
        }
        sleep(PAUSE);
    }
}

/// The address of the host: without the brackets, which may stand around IPv4, too, so that a manifest can write them
/// around an address that it does not know yet.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Host, and port if it is given, for the request; brackets belong to IPv6 alone.
fn host_field(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let host = if bare(host).contains(':') {
        host
    } else {
        bare(host)
    };
    url.port_u16()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn ask(url: &Uri, until: Instant) -> std::io::Result<u16> {
    let host = bare(url.host().unwrap_or_default());
    let port = url.port_u16().unwrap_or(80);
    let mut last = std::io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now()).max(PAUSE);
        match TcpStream::connect_timeout(&address, left)
            .and_then(|stream| status(stream, url, left))
        {
            Ok(status) => return Ok(status),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn status(mut stream: TcpStream, url: &Uri, left: Duration) -> std::io::Result<u16> {
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))?;
    let host = host_field(url);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    // One write: some servers take a head in pieces for an attack.
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: halftone-probe\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok());
    status.ok_or_else(|| std::io::Error::other("what answers does not speak HTTP/1"))
}
