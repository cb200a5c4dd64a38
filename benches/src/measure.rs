//! Wall time, CPU time and peak memory of other processes.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// How often the peak memory of a child is read; what grows in its last moment is missed.
const POLL: Duration = Duration::from_millis(5);
/// Kernel ticks in a second: USER_HZ is 100 on every Linux architecture in use.
const MS_PER_TICK: u64 = 10;

/// What a process used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// From start to end.
    pub(crate) wall: Duration,
    /// User and system time, with that of children it waited for.
    pub(crate) cpu: Duration,
    /// `VmHWM` in KiB.
    pub(crate) peak_kib: u64,
}

/// Runs a command to its end; returns what it used and what it printed.
///
/// Only one measured command may run at a time: CPU time is the growth of the time of all
/// children that ended.
///
/// # Errors
/// When it cannot start, fails, or is not done within `deadline` (it is killed then).
pub(crate) fn run(command: &mut Command, deadline: Duration) -> Result<(Usage, String)> {
    let program = command.get_program().to_string_lossy().into_owned();
    let before = children_cpu()?;
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let stdout = child.stdout.take().context("no standard output")?;
    let reader = thread::spawn(move || std::io::read_to_string(stdout));
    let mut peak_kib = 0;
    let status = loop {
        if let Some(kib) = peak_of(child.id()) {
            peak_kib = kib;
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("{program} not done within {deadline:?}");
        }
        thread::sleep(POLL);
    };
    let wall = start.elapsed();
    let cpu = children_cpu()?.saturating_sub(before);
    let text = match reader.join() {
        Ok(text) => text?,
        Err(_) => bail!("reading what {program} printed failed"),
    };
    if !status.success() {
        bail!("{command:?} failed ({status})\n{text}");
    }
    Ok((
        Usage {
            wall,
            cpu,
            peak_kib,
        },
        text,
    ))
}

/// Watches a process that goes on: a server, over one run.
#[derive(Debug)]
pub(crate) struct Watch {
    pid: u32,
    start: Instant,
    cpu: Duration,
}

impl Watch {
    /// Begins now; peak memory is reset where the kernel allows it.
    pub(crate) fn begin(pid: u32) -> Result<Self> {
        let _needs_ownership = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        Ok(Self {
            pid,
            start: Instant::now(),
            cpu: cpu_of(pid)?,
        })
    }

    /// What the process used since the beginning.
    pub(crate) fn end(&self) -> Result<Usage> {
        Ok(Usage {
            wall: self.start.elapsed(),
            cpu: cpu_of(self.pid)?.saturating_sub(self.cpu),
            peak_kib: peak_of(self.pid).unwrap_or(0),
        })
    }
}

fn children_cpu() -> Result<Duration> {
    let usage =
        getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read the CPU time of children")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

fn peak_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu_of(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field, the name, may hold spaces; utime and stime are fields 14 and 15.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .skip(11);
    let ticks: u64 = fields
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * MS_PER_TICK))
}
