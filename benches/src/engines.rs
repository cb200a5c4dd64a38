//! The engines under test: `velero direct backup` and `velero direct restore` as child processes.

use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;

use crate::measure::{self, Usage};

/// Name of the backup; a backup can be taken once in a store.
const BACKUP: &str = "bench";
/// User agent of the engines in the audit log.
pub(crate) const USER_AGENT: &str = "velero/";
const DEADLINE: Duration = Duration::from_secs(1800);

/// A `velero` binary and a folder that is its store.
#[derive(Debug)]
pub(crate) struct Engine {
    velero: PathBuf,
    store: PathBuf,
}

impl Engine {
    /// Checks that the binary can work without an operator.
    pub(crate) fn new(velero: &Path, store: &Path) -> Result<Self> {
        let output = Command::new(velero)
            .args(["direct", "--help"])
            .output()
            .with_context(|| format!("cannot start {}", velero.display()))?;
        ensure!(
            output.status.success(),
            "{} has no command `direct`: {}",
            velero.display(),
            output.status
        );
        Ok(Self {
            velero: velero.to_owned(),
            store: store.to_owned(),
        })
    }

    /// Backs up the whole cluster; returns what it used and how many objects the archive holds.
    pub(crate) fn backup(&self, kubeconfig: &Path) -> Result<(Usage, usize)> {
        self.run("backup", kubeconfig)
    }

    /// Restores that backup; returns what it used and how many objects it had to look at.
    pub(crate) fn restore(&self, kubeconfig: &Path) -> Result<(Usage, usize)> {
        self.run("restore", kubeconfig)
    }

    fn run(&self, verb: &str, kubeconfig: &Path) -> Result<(Usage, usize)> {
        let mut command = Command::new(&self.velero);
        command
            .args(["direct", verb, BACKUP, "--store"])
            .arg(format!("file://{}", self.store.display()))
            .env("KUBECONFIG", kubeconfig);
        let (usage, _) = measure::run(&mut command, DEADLINE)?;
        Ok((usage, self.objects()?))
    }

    /// Objects in the archive; each lies there twice and counts once.
    fn objects(&self) -> Result<usize> {
        let path = self
            .store
            .join("backups")
            .join(BACKUP)
            .join(format!("{BACKUP}.tar.gz"));
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
        let mut seen = HashSet::new();
        for entry in archive.entries()? {
            let path = entry?.path()?.to_string_lossy().into_owned();
            let mut parts = path.split('/');
            if parts.next() != Some("resources") {
                continue;
            }
            let (kind, rest) = (
                parts.next().unwrap_or_default().to_owned(),
                parts.collect::<Vec<_>>(),
            );
            if path.ends_with(".json") && matches!(rest.first(), Some(&"cluster" | &"namespaces")) {
                seen.insert((kind, rest.join("/")));
            }
        }
        if seen.is_empty() {
            bail!("{} holds no object", path.display());
        }
        Ok(seen.len())
    }
}
