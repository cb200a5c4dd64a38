//! `velero backup delete`.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};
use velero_core::api::{Backup, DeleteBackupRequest, DeleteBackupRequestPhase};

use super::super::delete::{DeleteArgs, tell};
use super::super::exit::Exit;
use super::super::objects::Objects;
use super::super::{Environment, console};
use crate::runs::deletion_request;

/// How long the operator has to refuse a request. It takes up requests at once; what it has taken up is not waited for.
const REFUSAL_TIME: Duration = Duration::from_secs(3);
/// Pause between two looks at a request.
const PAUSE: Duration = Duration::from_millis(100);

/// Flags of `backup delete`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DeleteBackup {
    #[command(flatten)]
    args: DeleteArgs,
}

impl DeleteBackup {
    /// Asks the operator to delete backups and their data. A name that does not exist, and a request that the operator
    /// refuses at once, makes the command fail after the others were handled.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let Some(chosen) = self.args.choose::<Backup>(environment).await? else {
            return Ok(Exit::Success);
        };
        let requests: Objects<DeleteBackupRequest> =
            Objects::new(chosen.client, &environment.namespace());
        let mut faults = chosen.missing;
        let mut submitted = Vec::new();
        for backup in &chosen.found {
            let name = backup.metadata.name.as_deref().unwrap_or_default();
            match requests.create(&deletion_request(backup)).await {
                Ok(request) => {
                    console::line(format_args!(
                        "Request to delete backup {name:?} submitted successfully.\nThe backup will be fully deleted after all associated data (disk snapshots, backup files, restores) are removed."
                    ));
                    submitted.push(request);
                }
                Err(error) => faults.push(format!(
                    "cannot ask for the deletion of backup {name:?}: {error}"
                )),
            }
        }
        faults.extend(refusals(&requests, submitted).await);
        Ok(tell(&faults))
    }
}

/// Looks at requests until the operator has taken up or refused each, or the time is over; one message for each refusal.
async fn refusals(
    requests: &Objects<DeleteBackupRequest>,
    mut open: Vec<DeleteBackupRequest>,
) -> Vec<String> {
    let deadline = Instant::now() + REFUSAL_TIME;
    let mut refused = Vec::new();
    while !open.is_empty() && Instant::now() < deadline {
        let mut still_open = Vec::new();
        for request in open {
            let name = request.metadata.name.as_deref().unwrap_or_default();
            match requests.find(name).await {
                // It has done its work.
                Ok(None) => {}
                Ok(Some(seen)) => match seen.phase() {
                    DeleteBackupRequestPhase::New => still_open.push(request),
                    DeleteBackupRequestPhase::Processed if !seen.status.errors.is_empty() => {
                        refused.push(format!(
                            "backup {:?} was not deleted: {}",
                            seen.spec.backup_name,
                            seen.status.errors.join("; ")
                        ))
                    }
                    _ => {}
                },
                // The request was made; that it cannot be followed is no failure of it.
                Err(_) => return refused,
            }
        }
        open = still_open;
        if !open.is_empty() {
            sleep(PAUSE).await;
        }
    }
    refused
}
