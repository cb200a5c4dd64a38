//! On what the figures were taken.

use std::{fmt, fs, process::Command, time::Duration};

use serde::Serialize;

/// How long the machine is watched while nothing of ours runs.
const LOOK: Duration = Duration::from_secs(2);
/// Share of its time from which on others use too much of the machine for figures of speed.
const BUSY: f64 = 0.15;

/// What a figure means nothing without.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    load_before: String,
    /// Share of the processors' time that others used just before, from 0 to 1.
    busy_before: f64,
    /// The same just after.
    busy_after: Option<f64>,
    profile: &'static str,
    commit: String,
}

impl Machine {
    /// Describes this machine and this build; watches the machine for two seconds.
    pub(crate) async fn describe() -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory_mib: memory_mib().unwrap_or(0),
            kernel: read("/proc/sys/kernel/osrelease"),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            busy_before: busy().await,
            busy_after: None,
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
            commit: commit(),
        }
    }

    /// Looks again when all of ours has ended.
    pub(crate) async fn look_again(&mut self) {
        self.busy_after = Some(busy().await);
    }

    /// Whether figures of this build count.
    pub(crate) fn is_release(&self) -> bool {
        self.profile == "release"
    }

    /// Whether others used the machine before or after.
    pub(crate) fn was_busy(&self) -> bool {
        self.busy_before > BUSY || self.busy_after.is_some_and(|share| share > BUSY)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {} MiB, {}, profile {}, commit {}; load before {}, busy before {:.0}%",
            self.cpu,
            self.cores,
            self.memory_mib,
            self.kernel,
            self.profile,
            self.commit,
            self.load_before,
            self.busy_before * 100.0
        )?;
        if let Some(after) = self.busy_after {
            write!(f, ", after {:.0}%", after * 100.0)?;
        }
        Ok(())
    }
}

/// Share of the processors' time that was used, while nothing of ours runs.
async fn busy() -> f64 {
    let before = ticks();
    tokio::time::sleep(LOOK).await;
    let (used, all) = ticks();
    let (used, all) = (used.saturating_sub(before.0), all.saturating_sub(before.1));
    (used as f64 / all.max(1) as f64 * 100.0).round() / 100.0
}

/// Ticks used and ticks in all, of all processors since they were started.
fn ticks() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // Idle, and waiting for a disk. The last two fields are part of the first two.
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    let all: u64 = fields.iter().take(8).sum();
    (all.saturating_sub(idle), all)
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_mib() -> Option<u64> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(kib / 1024)
}

fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(velero_e2e::workspace())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
