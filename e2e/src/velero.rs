//! The `velero` binary as a child process: the command line to its end, the operator in the background.

use std::{
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// How much of a log an error shows, in bytes.
const TAIL: usize = 3_000;
/// How long the operator may take until it reconciles.
const START: Duration = Duration::from_secs(60);
/// What the operator logs when it reconciles.
const STARTED: &str = "the server has started";

/// The command line of `velero` against one cluster.
#[derive(Debug, Clone)]
pub struct Velero {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    variables: Vec<(String, String)>,
    deadline: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Velero {
    /// The binary `program` with a kubeconfig. Its home is `home`, so that no configuration of the user's is read.
    pub fn new(program: &Path, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
            variables: Vec::new(),
            deadline: Duration::from_secs(180),
        }
    }

    /// Sets an environment variable for all its commands.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The same with another kubeconfig.
    #[must_use]
    pub fn kubeconfig(mut self, path: &Path) -> Self {
        path.clone_into(&mut self.kubeconfig);
        self
    }

    /// How long a command may take. Default: 3 minutes.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started, or is not done within the deadline (it is killed).
    pub async fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Outcome> {
        let line = self.line(args);
        let child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let output = tokio::time::timeout(self.deadline, child.wait_with_output())
            .await
            .map_err(|_| anyhow!("{line}: not done within {:?}", self.deadline))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Outcome {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }

    /// Runs a command that must succeed, and gives what it printed.
    ///
    /// # Errors
    /// As [`Velero::run`], and when the exit code is not 0; the text has what it printed.
    pub async fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        let outcome = self.run(args).await?;
        ensure!(
            outcome.code == Some(0),
            "{} ended with {:?}\n{}{}",
            self.line(args),
            outcome.code,
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome.stdout)
    }

    /// Runs a command that must refuse, and gives the one line that says why.
    ///
    /// # Errors
    /// When it succeeds, does not exit with 1, or its standard error is not one line.
    pub async fn refused<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        let outcome = self.run(args).await?;
        let line = self.line(args);
        ensure!(
            outcome.code == Some(1),
            "{line}: expected exit code 1, got {outcome:?}"
        );
        let said: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        match said.as_slice() {
            [one] => Ok((*one).to_owned()),
            _ => bail!("{line}: expected one line on standard error, got {outcome:?}"),
        }
    }

    /// Starts a command and leaves it running; it is killed when dropped.
    pub(crate) fn spawn<S: AsRef<OsStr>>(&self, args: &[S], log: &Path) -> Result<Child> {
        let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        self.command(args)
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for variable in [
            "VELERO_NAMESPACE",
            "VELERO_STORE",
            "AWS_PROFILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ] {
            command.env_remove(variable);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn line<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let words = args.iter().map(|arg| arg.as_ref().to_string_lossy());
        std::iter::once("velero".into())
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A command of `velero` that runs on; it is killed when dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    log: PathBuf,
}

impl Background {
    /// Starts the operator and waits until it reconciles; it logs to the file `log`.
    ///
    /// # Errors
    /// As [`Background::start`].
    pub async fn operator(velero: &Velero, log: PathBuf, flags: &[&str]) -> Result<Self> {
        let args = [&["server", "--metrics-address", ""], flags].concat();
        Self::start(velero, log, &args, STARTED).await
    }

    /// Starts a command and waits until it has printed `ready`; what it prints goes to the file `log`.
    ///
    /// # Errors
    /// When it ends, or does not print that within a minute; the text has the end of its log.
    pub async fn start(velero: &Velero, log: PathBuf, args: &[&str], ready: &str) -> Result<Self> {
        let child = velero.spawn(args, &log)?;
        let mut started = Self { child, log };
        let deadline = tokio::time::Instant::now() + START;
        while !started.printed()?.contains(ready) {
            if let Some(status) = started.child.try_wait()? {
                bail!("{args:?} ended ({status}):\n{}", started.tail());
            }
            ensure!(
                tokio::time::Instant::now() < deadline,
                "{args:?} has not started within {START:?}:\n{}",
                started.tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(started)
    }

    /// Process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it has printed until now.
    pub fn printed(&self) -> Result<String> {
        std::fs::read_to_string(&self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// The end of what it has printed.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.floor_char_boundary(log.len().saturating_sub(TAIL));
        log[from..].to_owned()
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Holds it where it is (SIGSTOP), or lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it has ended, or the system refuses.
    pub fn hold(&self, held: bool) -> Result<()> {
        let id = self.child.id().context("it has ended")?;
        let signal = if held {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        Ok(kill(Pid::from_raw(i32::try_from(id)?), signal)?)
    }

    /// Waits until it has ended by itself; whether it calls that a success.
    ///
    /// # Errors
    /// When it has not by then.
    pub async fn ended(&mut self, within: Duration) -> Result<bool> {
        let ended = tokio::time::timeout(within, self.child.wait()).await;
        let status = ended.map_err(|_| anyhow!("it still runs:\n{}", self.tail()))??;
        Ok(status.success())
    }

    /// Asks it to stop, as Ctrl-C does, and waits until it has; a clean stop exits with 0.
    ///
    /// # Errors
    /// When it does not stop within a minute, or fails.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(id) = self.child.id() {
            kill(Pid::from_raw(i32::try_from(id)?), Signal::SIGINT)?;
        }
        let status = tokio::time::timeout(START, self.child.wait())
            .await
            .map_err(|_| anyhow!("it does not stop within {START:?}:\n{}", self.tail()))??;
        ensure!(status.success(), "it ended with {status}:\n{}", self.tail());
        Ok(())
    }
}
