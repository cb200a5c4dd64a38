//! `velero backup describe` and `velero backup logs`.

use anyhow::{Result, bail};
use velero_core::api::{Backup, BackupPhase, DeleteBackupRequest, DownloadTargetKind};
use velero_core::names::{labels, valid_label_name};

use super::super::describe::{Colors, backup_json, describe_backup, fetch_backup_files};
use super::super::download::{Downloader, TimeoutArgs, TlsArgs};
use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::select::ListArgs;
use super::super::{Environment, console, output};

/// Form of a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DescribeFormat {
    Plaintext,
    Json,
}

/// Flags of `backup describe`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DescribeBackup {
    #[command(flatten)]
    list: ListArgs,
    /// Show the list of objects as well
    #[arg(long)]
    details: bool,
    /// Form of the output; json is for one backup alone
    #[arg(short, long, value_enum, default_value = "plaintext")]
    output: DescribeFormat,
    #[command(flatten)]
    tls: TlsArgs,
}

impl DescribeBackup {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let client = environment.client().await?;
        let namespace = environment.namespace();
        let backups: Vec<Backup> = self
            .list
            .fetch(&Objects::new(client.clone(), &namespace))
            .await?;
        if self.output == DescribeFormat::Json && backups.len() != 1 {
            bail!(
                "-o json describes one backup, and there are {}; name one",
                backups.len()
            );
        }
        let requests: Objects<DeleteBackupRequest> = Objects::new(client.clone(), &namespace);
        let flag = environment.global.colorized.and_then(|state| state.0);
        let colors = Colors::choose(flag, environment.config.colorized);
        for (at, backup) in backups.iter().enumerate() {
            let downloads = Downloader::new(
                environment,
                client.clone(),
                &self.tls,
                &backup.spec.storage_location,
            )
            .await?;
            let deletions = requests.list(&deletion_selector(backup)).await?;
            let files = fetch_backup_files(&downloads, backup, self.details, deletions).await;
            if self.output == DescribeFormat::Json {
                console::out(output::encode(
                    &backup_json(backup, files),
                    output::Format::Json,
                )?);
                continue;
            }
            if at > 0 {
                console::out("\n\n");
            }
            console::out(describe_backup(backup, files, colors));
        }
        Ok(Exit::Success)
    }
}

fn deletion_selector(backup: &Backup) -> String {
    let name = valid_label_name(backup.metadata.name.as_deref().unwrap_or_default());
    let uid = backup.metadata.uid.as_deref().unwrap_or_default();
    format!(
        "{}={name},{}={uid}",
        labels::BACKUP_NAME,
        labels::BACKUP_UID
    )
}

/// Flags of `backup logs`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct BackupLogs {
    /// Name of the backup
    name: String,
    #[command(flatten)]
    timeout: TimeoutArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

impl BackupLogs {
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let client = environment.client().await?;
        let backups: Objects<Backup> = Objects::new(client.clone(), &environment.namespace());
        let backup = backups.get(&self.name).await?;
        if *backup.phase() == BackupPhase::FailedValidation {
            bail!(
                "backup {:?} was refused and has no log: {}",
                self.name,
                backup.status.validation_errors.join("; ")
            );
        }
        if !has_log(backup.phase()) {
            bail!(
                "logs for backup {:?} are not available until it is finished processing, its phase is {}; please wait until the \
                 backup has a phase of Completed or Failed and try again",
                self.name,
                backup.phase()
            );
        }
        let downloads = Downloader::new(
            environment,
            client,
            &self.tls,
            &backup.spec.storage_location,
        )
        .await?;
        match downloads
            .fetch(
                DownloadTargetKind::BackupLog,
                &self.name,
                self.timeout.timeout.to_std(),
            )
            .await?
        {
            Some(log) => console::out(String::from_utf8_lossy(&log)),
            None => bail!("the store has no log of backup {:?}", self.name),
        }
        Ok(Exit::Success)
    }
}

fn has_log(phase: &BackupPhase) -> bool {
    matches!(
        phase,
        BackupPhase::Completed
            | BackupPhase::PartiallyFailed
            | BackupPhase::Failed
            | BackupPhase::WaitingForPluginOperations
            | BackupPhase::WaitingForPluginOperationsPartiallyFailed
    )
}
