//! `velero backup delete`.

use anyhow::Result;
use velero_core::api::{Backup, DeleteBackupRequest, DeleteBackupRequestSpec};
use velero_core::names::{labels, valid_label_name};

use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::select::SelectArgs;
use super::super::{Environment, console};

/// Flags of `backup delete`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DeleteBackup {
    #[command(flatten)]
    select: SelectArgs,
}

impl DeleteBackup {
    /// Asks the operator to delete backups and their data. A name that does not exist makes the command fail after the
    /// others were handled.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        self.select.check()?;
        if !self.select.confirm && !console::confirm("Are you sure you want to continue") {
            return Ok(Exit::Success);
        }
        let client = environment.client().await?;
        let backups: Objects<Backup> = Objects::new(client.clone(), &environment.namespace());
        let selected = self.select.fetch(&backups).await?;
        if selected.objects.is_empty() && selected.missing.is_empty() {
            console::line("No backups found");
            return Ok(Exit::Success);
        }
        let requests: Objects<DeleteBackupRequest> = Objects::new(client, &environment.namespace());
        let mut faults = selected.missing;
        for backup in &selected.objects {
            let name = backup.metadata.name.as_deref().unwrap_or_default();
            match requests.create(&request(backup)).await {
                Ok(_) => console::line(format_args!(
                    "Request to delete backup {name:?} submitted successfully.\nThe backup will be fully deleted after all associated data (disk snapshots, backup files, restores) are removed."
                )),
                Err(error) => faults.push(format!(
                    "cannot ask for the deletion of backup {name:?}: {error}"
                )),
            }
        }
        for fault in &faults {
            console::note(format_args!("An error occurred: {fault}"));
        }
        Ok(if faults.is_empty() {
            Exit::Success
        } else {
            Exit::Failure
        })
    }
}

fn request(backup: &Backup) -> DeleteBackupRequest {
    let name = backup.metadata.name.clone().unwrap_or_default();
    let mut request = DeleteBackupRequest::default();
    request.metadata.generate_name = Some(format!("{name}-"));
    request.metadata.labels = Some(
        [
            (labels::BACKUP_NAME.to_owned(), valid_label_name(&name)),
            (
                labels::BACKUP_UID.to_owned(),
                backup.metadata.uid.clone().unwrap_or_default(),
            ),
        ]
        .into(),
    );
    request.spec = DeleteBackupRequestSpec { backup_name: name };
    request
}
