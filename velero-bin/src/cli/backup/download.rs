//! `velero backup download`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::{Builder, NamedTempFile, TempPath};
use velero_core::api::{Backup, DownloadTargetKind};

use super::super::download::{Downloader, TimeoutArgs, TlsArgs};
use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::{Environment, console};
use crate::direct::stop_on_interrupt;

/// Flags of `backup download`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DownloadBackup {
    /// Name of the backup
    name: String,
    /// File to write; ./NAME-data.tar.gz without it
    #[arg(short, long, value_name = "PATH")]
    output: Option<OsString>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    timeout: TimeoutArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl DownloadBackup {
    /// Fetches the archive of a backup into a file. The file is there whole or not at all, and one that is replaced stays
    /// until the new one is whole.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let target = self.target()?;
        let client = environment.client().await?;
        let backups: Objects<Backup> = Objects::new(client.clone(), &environment.namespace());
        let backup = backups.get(&self.name).await?;
        let location = &backup.spec.storage_location;
        let downloads = Downloader::new(environment, client, &self.tls, location).await?;
        let part = beside(&target)?;
        let stopped = stop_on_interrupt();
        let outcome = tokio::select! {
            outcome = self.fetch(&downloads, &part) => outcome,
            () = stopped.cancelled() => Err(anyhow!("stopped; {} is not written", target.display())),
        };
        outcome?;
        keep(part, &target, self.force)?;
        console::line(format_args!(
            "Backup {:?} has been successfully downloaded to {}",
            self.name,
            target.display()
        ));
        Ok(Exit::Success)
    }

    /// The file to write: behind a link, what it leads to.
    fn target(&self) -> Result<PathBuf> {
        let target = match self.output.as_ref().filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(format!("{}-data.tar.gz", self.name)),
        };
        let shown = target.display();
        match target.metadata() {
            Ok(found) if found.is_dir() => bail!("--output {shown} is a folder; a file is needed"),
            // A device or a pipe must not be replaced by a file.
            Ok(found) if !found.is_file() => bail!("--output {shown} is no regular file"),
            _ if self.force || target.symlink_metadata().is_err() => {}
            _ => bail!("the file {shown} exists; --force replaces it"),
        }
        if target.is_symlink() {
            let cannot_follow = || format!("--output {} is a link to nothing", target.display());
            return target.canonicalize().with_context(cannot_follow);
        }
        Ok(target)
    }

    async fn fetch(&self, downloads: &Downloader, part: &Path) -> Result<()> {
        let timeout: Duration = self.timeout.timeout.to_std();
        let kind = DownloadTargetKind::BackupContents;
        if !downloads.save(kind, &self.name, timeout, part).await? {
            bail!("the store has no archive of backup {:?}", self.name);
        }
        Ok(())
    }
}

/// A new file in the folder of the target, which goes again unless it is kept.
fn beside(target: &Path) -> Result<TempPath> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let file = Builder::new()
        .prefix(".velero-download-")
        .tempfile_in(folder)
        .with_context(|| format!("cannot write into the folder {}", folder.display()))?;
    Ok(NamedTempFile::into_temp_path(file))
}

/// Gives a file its name once it is on the disk.
fn keep(part: TempPath, target: &Path, force: bool) -> Result<()> {
    let cannot_write = || format!("cannot write {}", target.display());
    std::fs::File::open(&part)
        .and_then(|file| file.sync_all())
        .with_context(cannot_write)?;
    let kept = if force {
        part.persist(target)
    } else {
        part.persist_noclobber(target)
    };
    kept.map_err(|error| error.error).with_context(cannot_write)
}
