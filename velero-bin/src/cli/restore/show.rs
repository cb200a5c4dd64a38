//! `velero restore describe` and `velero restore logs`.

use anyhow::{Result, bail};
use velero_core::api::{Backup, DownloadTargetKind, Restore, RestorePhase};

use super::super::describe::{Colors, describe_restore, fetch_restore_files};
use super::super::download::{Downloader, TimeoutArgs, TlsArgs};
use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::select::ListArgs;
use super::super::{Environment, console};

/// Flags of `restore describe`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DescribeRestore {
    #[command(flatten)]
    list: ListArgs,
    /// Show the list of objects as well
    #[arg(long)]
    details: bool,
    #[command(flatten)]
    tls: TlsArgs,
}

impl DescribeRestore {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let client = environment.client().await?;
        let objects = Objects::new(client.clone(), &environment.namespace());
        let restores: Vec<Restore> = self.list.fetch(&objects).await?;
        let flag = environment.global.colorized.and_then(|state| state.0);
        let colors = Colors::choose(flag, environment.config.colorized);
        for (at, restore) in restores.iter().enumerate() {
            let location = location_of(environment, client.clone(), restore).await;
            let downloads =
                Downloader::new(environment, client.clone(), &self.tls, &location).await?;
            let files = fetch_restore_files(&downloads, restore, self.details).await;
            if at > 0 {
                console::out("\n\n");
            }
            console::out(describe_restore(restore, files, colors));
        }
        Ok(Exit::Success)
    }
}

/// The location of the backup that was restored; empty when the backup is gone.
async fn location_of(environment: &Environment, client: kube::Client, restore: &Restore) -> String {
    let backups: Objects<Backup> = Objects::new(client, &environment.namespace());
    if restore.spec.backup_name.is_empty() {
        return String::new();
    }
    match backups.find(&restore.spec.backup_name).await {
        Ok(Some(backup)) => backup.spec.storage_location,
        // Only its certificate would have been of use.
        Ok(None) | Err(_) => String::new(),
    }
}

/// Flags of `restore logs`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct RestoreLogs {
    /// Name of the restore
    name: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl RestoreLogs {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let client = environment.client().await?;
        let restores: Objects<Restore> = Objects::new(client.clone(), &environment.namespace());
        let restore = restores.get(&self.name).await?;
        if *restore.phase() == RestorePhase::FailedValidation {
            bail!(
                "restore {:?} was refused and has no log: {}",
                self.name,
                restore.status.validation_errors.join("; ")
            );
        }
        if !has_log(restore.phase()) {
            bail!(
                "logs for restore {:?} are not available until it is finished processing, its phase is {}; please wait until the \
                 restore has a phase of Completed or Failed and try again",
                self.name,
                restore.phase()
            );
        }
        let location = location_of(environment, client.clone(), &restore).await;
        let downloads = Downloader::new(environment, client, &self.tls, &location).await?;
        match downloads
            .fetch(
                DownloadTargetKind::RestoreLog,
                &self.name,
                self.timeout.timeout.to_std(),
            )
            .await?
        {
            Some(log) => console::out(String::from_utf8_lossy(&log)),
            None => bail!("the store has no log of restore {:?}", self.name),
        }
        Ok(Exit::Success)
    }
}

fn has_log(phase: &RestorePhase) -> bool {
    matches!(
        phase,
        RestorePhase::Completed
            | RestorePhase::PartiallyFailed
            | RestorePhase::Failed
            | RestorePhase::WaitingForPluginOperations
            | RestorePhase::WaitingForPluginOperationsPartiallyFailed
    )
}
