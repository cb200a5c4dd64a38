//! One process of the control plane: started with a log file, killed and awaited.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How much of a log an error shows, in bytes.
const TAIL: u64 = 2_000;

/// A child process that can be killed and started again with the same arguments.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts `program`; what it writes goes to `<dir>/<name>.log`, its id to `<dir>/pids`.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        args: Vec<String>,
        dir: &Path,
    ) -> Result<Self> {
        let mut process = Self {
            name,
            program: program.to_owned(),
            args: args.into_iter().map(OsString::from).collect(),
            log: dir.join(format!("{name}.log")),
            child: None,
        };
        process.restart()?;
        Ok(process)
    }

    /// Name of the component.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Process id while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process again after [`Process::kill`]; does nothing while it runs.
    pub(super) fn restart(&mut self) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open {}", self.log.display()))?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        super::stale::note_pid(&self.log, child.id())?;
        self.child = Some(child);
        Ok(())
    }

    /// Error text with the tail of the log when the process has ended by itself.
    pub(super) fn failure(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(format!(
            "{} ended ({status}); the end of {}:\n{}",
            self.name,
            self.log.display(),
            self.tail()
        ))
    }

    /// The last lines of the log.
    pub(super) fn tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|err| format!("(no log: {err})"))
    }

    /// Asks the process to end by itself.
    pub(super) fn ask_to_end(&self) -> Result<()> {
        if let Some(id) = self.id() {
            kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGTERM)?;
        }
        Ok(())
    }

    /// Whether it has ended; it can be started again then.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        if let Some(child) = &mut self.child
            && child.try_wait()?.is_none()
        {
            return Ok(false);
        }
        self.child = None;
        Ok(true)
    }

    /// Kills the process and waits until it is gone.
    ///
    /// SIGKILL, because the data is thrown away: a polite stop of kube-apiserver
    /// waits for open watches and takes many seconds.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _already_gone = child.kill();
            let _already_reaped = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
