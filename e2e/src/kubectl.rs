//! `kubectl` of the control plane as a child process.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{ControlPlane, velero::Outcome};

const DEADLINE: Duration = Duration::from_secs(120);

/// `kubectl` against one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// `kubectl` of the same version as the control plane, against it.
    pub fn new(plane: &ControlPlane) -> Result<Self> {
        Ok(Self::with(&plane.kubectl()?, plane.kubeconfig()))
    }

    /// The binary `program` with a kubeconfig.
    #[must_use]
    pub fn with(program: &Path, kubeconfig: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// How a shell calls it.
    #[must_use]
    pub(crate) fn command(&self) -> String {
        format!(
            "{} --kubeconfig {} --cache-dir {}",
            self.program.display(),
            self.kubeconfig.display(),
            self.kubeconfig.with_extension("cache").display()
        )
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub async fn ok(&self, args: &[&str]) -> Result<String> {
        self.ok_with(args, "").await
    }

    /// Runs a command with something to read that must succeed, and gives what it printed.
    pub async fn ok_with(&self, args: &[&str], input: &str) -> Result<String> {
        let outcome = self.run(args, input).await?;
        ensure!(
            outcome.code == Some(0),
            "kubectl {} ended with {:?}\n{}{}",
            args.join(" "),
            outcome.code,
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome.stdout)
    }

    /// `kubectl apply` of objects, with further arguments.
    pub async fn apply(&self, objects: &[Value], args: &[&str]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let args = [&["apply", "-f", "-"], args].concat();
        self.ok_with(&args, &list).await.map(drop)
    }

    /// Runs a command to its end, whatever that is.
    pub async fn run(&self, args: &[&str], input: &str) -> Result<Outcome> {
        let mut child = Command::new(&self.program)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            // Where it caches discovery; that of another cluster must not be found there.
            .env("KUBECACHEDIR", self.kubeconfig.with_extension("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let work = async {
            let feed = async {
                // A command that reads nothing closes its end.
                let _not_read = stdin.write_all(input.as_bytes()).await;
                drop(stdin);
            };
            tokio::join!(feed, child.wait_with_output()).1
        };
        let output = tokio::time::timeout(DEADLINE, work)
            .await
            .map_err(|_| anyhow!("kubectl {}: not done within {DEADLINE:?}", args.join(" ")))??;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Outcome {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }
}
