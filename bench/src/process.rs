//! Processes under measurement: started pinned to one core, read through `/proc`, ended when dropped.

use crate::Result;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end by itself before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// The core of the proxies and the core of everything else.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) proxy: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores this process may use.
    pub(crate) fn find() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        match (cores.next(), cores.next()) {
            (Some(proxy), Some(load)) => Ok(Self { proxy, load }),
            _ => Err(
                "a comparison needs two cores: one for the proxy, one for load and backends".into(),
            ),
        }
    }
}

/// Pins this thread, and what it starts from now on.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// What all threads of a process and its children have had since they started.
#[derive(Clone, Copy, Default)]
pub(crate) struct CpuUsage {
    /// Time on a core, user and system.
    pub(crate) cpu: Duration,
    /// Time in which a thread could have run, but something else had the core.
    pub(crate) waited: Duration,
}

impl CpuUsage {
    /// What was added since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            waited: self.waited.saturating_sub(earlier.waited),
        }
    }

    /// Adds a thread's `schedstat`: nanoseconds on a core, nanoseconds in a run queue. The ticks of `stat` last 10 ms,
    /// too coarse for rounds of seconds.
    fn add(&mut self, schedstat: &str) -> Result<()> {
        let mut fields = schedstat.split_whitespace().map(str::parse);
        let (Some(cpu), Some(waited)) = (fields.next(), fields.next()) else {
            return Err(format!("schedstat has no two figures: {schedstat:?}").into());
        };
        self.cpu += Duration::from_nanos(cpu?);
        self.waited += Duration::from_nanos(waited?);
        Ok(())
    }
}

/// A running process, with its children where it has any (nginx's worker).
pub(crate) struct ManagedProcess {
    child: Child,
}

impl ManagedProcess {
    /// Starts `program` on the proxies' core. It ends with this process, even if this process is killed.
    pub(crate) fn start<S: AsRef<OsStr>>(
        cores: Cores,
        program: &Path,
        arguments: &[S],
        log: &Path,
    ) -> Result<Self> {
        let output = fs::File::create(log)?;
        pin(cores.proxy)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn();
        pin(cores.load)?;
        let child =
            child.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        Ok(Self { child })
    }

    /// The process and its children.
    pub(crate) fn family(&self) -> Result<Vec<u32>> {
        let id = self.id();
        let mut family = vec![id];
        for thread in fs::read_dir(format!("/proc/{id}/task"))? {
            for child in fs::read_to_string(thread?.path().join("children"))?.split_whitespace() {
                family.push(child.parse()?);
            }
        }
        Ok(family)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails once the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the process ended early ({status})").into()),
        }
    }

    /// Of all threads of the process and its children.
    pub(crate) fn usage(&self) -> Result<CpuUsage> {
        let mut usage = CpuUsage::default();
        for id in self.family()? {
            for thread in fs::read_dir(format!("/proc/{id}/task"))? {
                usage.add(&fs::read_to_string(thread?.path().join("schedstat"))?)?;
            }
        }
        Ok(usage)
    }

    /// Resident memory in bytes of the process and its children.
    pub(crate) fn resident(&self) -> Result<u64> {
        let mut total = 0;
        for id in self.family()? {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))
                .ok_or("no VmRSS")?;
            total += line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
        }
        Ok(total)
    }

    /// Ends it, and kills it where it takes longer than `patience`.
    pub(crate) fn stop(&mut self, patience: Duration) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // SIGTERM first: nginx's master takes its worker along only if it may.
        if let Some(id) = i32::try_from(self.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            rustix::process::kill_process(id, rustix::process::Signal::TERM).ok();
        }
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for ManagedProcess {
    fn drop(&mut self) {
        self.stop(STOP_PATIENCE);
    }
}
