//! What a proxy keeps in memory: for each idle keep-alive connection (thousands of them, each used once, then left
//! alone), and for a thousand releases.

use crate::Result;
use crate::contestant::{BenchPaths, Contestant, Launch, RunningContestant};
use crate::scenario::Scenario;
use crate::traffic::BenchTraffic;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

const CONNECTIONS: usize = 10_000;
/// So many are opened and used at a time: memory for more requests at once than that is not idle memory.
const WAVE: usize = 100;
const QUIET: Duration = Duration::from_secs(1);
const RELEASES: usize = 1_000;

/// Resident memory, in bytes.
#[derive(Serialize)]
pub(crate) struct MemoryUsage {
    /// Growth per idle keep-alive connection.
    pub(crate) idle_connection_bytes: BTreeMap<&'static str, f64>,
    /// Halftone with 1 000 releases, after some traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) releases_1000_bytes: Option<u64>,
}

/// Starts each contestant anew and measures it. The relay is left out: it keeps a backend connection and two
/// buffers for each client, which nobody would compare.
pub(crate) fn measure(
    contestants: &[Contestant],
    places: &BenchPaths,
    traffic: &mut BenchTraffic,
) -> Result<MemoryUsage> {
    let mut memory = MemoryUsage {
        idle_connection_bytes: BTreeMap::new(),
        releases_1000_bytes: None,
    };
    for &contestant in contestants
        .iter()
        .filter(|&&contestant| contestant != Contestant::TcpRelay)
    {
        let mut running = RunningContestant::start(contestant, Launch::default(), places, traffic)?;
        let bytes = idle_connection(traffic, &mut running)?;
        memory
            .idle_connection_bytes
            .insert(contestant.name(), bytes);
    }
    if contestants.contains(&Contestant::Halftone) {
        memory.releases_1000_bytes = Some(thousand_releases(places, traffic)?);
    }
    Ok(memory)
}

fn thousand_releases(places: &BenchPaths, traffic: &mut BenchTraffic) -> Result<u64> {
    let launch = Launch {
        neighbours: RELEASES - 1,
        ..Launch::default()
    };
    let mut running = RunningContestant::start(Contestant::Halftone, launch, places, traffic)?;
    let base = Scenario::Base;
    traffic.exchange(base.post(), base.answer());
    traffic.connect(running.address, base.connections())?;
    traffic.drive(QUIET)?;
    traffic.settle()?;
    traffic.rest(QUIET)?;
    running.process.check()?;
    running.process.resident()
}

/// Bytes of resident memory per idle connection, over 10 000 connections.
fn idle_connection(traffic: &mut BenchTraffic, running: &mut RunningContestant) -> Result<f64> {
    let base = Scenario::Base;
    traffic.exchange(base.post(), base.answer());
    traffic.connect(running.address, WAVE)?;
    // Buffers and pools that the first requests leave behind belong to the proxy, not to the idle connections.
    traffic.drive(QUIET)?;
    traffic.settle()?;
    let before = running.process.resident()?;
    for first in (WAVE..WAVE + CONNECTIONS).step_by(WAVE) {
        traffic.connect_more(WAVE)?;
        traffic.ask_once(first)?;
    }
    traffic.rest(QUIET)?;
    running.process.check()?;
    let after = running.process.resident()?;
    if !traffic.tally.errors.is_empty() {
        return Err(format!(
            "{} with idle connections: {:?}",
            running.contestant.name(),
            traffic.tally.errors
        )
        .into());
    }
    traffic.disconnect();
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64)
}
