//! Cleaning up after a test process that was killed before it could stop its children.
//!
//! A run's folder is called `velero-e2e-<owner pid>-<n>` and lists its processes in
//! `pids`. The next start ends what is left of owners that are gone.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const PREFIX: &str = "velero-e2e-";
const PIDS: &str = "pids";

/// Makes a fresh folder for one control plane under `base`.
pub(super) fn new_folder(base: &Path) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = base.join(format!("{PREFIX}{}-{n}", std::process::id()));
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot clear {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Writes a process id beside the log of that process.
pub(super) fn note_pid(log: &Path, pid: u32) -> Result<()> {
    let path = log.with_file_name(PIDS);
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{pid}"))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Ends the processes and removes the folders of owners that no longer exist.
///
/// Only processes whose command line names the folder are touched: ids are reused.
/// A folder kept for a look (no `pids` file) stays.
pub(super) fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner_of) else {
            continue;
        };
        let dir = entry.path();
        if Path::new("/proc").join(owner.to_string()).exists() {
            continue;
        }
        let Ok(pids) = fs::read_to_string(dir.join(PIDS)) else {
            continue;
        };
        for pid in pids.lines().filter_map(|line| line.parse::<i32>().ok()) {
            if command_line_names(pid, &dir) {
                let _gone_meanwhile = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _somebody_else_was_faster = fs::remove_dir_all(&dir);
    }
}

/// Marks a folder as kept: [`sweep`] leaves it alone.
pub(super) fn keep(dir: &Path) {
    let _never_started = fs::remove_file(dir.join(PIDS));
}

fn owner_of(folder: &str) -> Option<u32> {
    folder.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn command_line_names(pid: i32, dir: &Path) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy()))
}
