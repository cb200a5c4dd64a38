//! `velero backup-location delete`.

use anyhow::Result;
use velero_core::api::{Backup, BackupRepository, BackupStorageLocation};
use velero_core::names::{labels, valid_label_name};

use super::super::delete::{Chosen, DeleteArgs, tell};
use super::super::exit::Exit;
use super::super::listed::Listed;
use super::super::objects::Objects;
use super::super::{Environment, console};

/// Flags of `backup-location delete`.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct DeleteBackupLocation {
    #[command(flatten)]
    args: DeleteArgs,
}

impl DeleteBackupLocation {
    /// Deletes locations, and the Backups and BackupRepositories that stand for what lies there; the bucket stays as it is.
    /// A name that does not exist makes the command fail after the others were deleted.
    pub(in crate::cli) async fn run(self, environment: &Environment) -> Result<Exit> {
        let Some(chosen) = self
            .args
            .choose::<BackupStorageLocation>(environment)
            .await?
        else {
            return Ok(Exit::Success);
        };
        let namespace = environment.namespace();
        let Chosen {
            client,
            objects,
            found,
            missing: mut faults,
        } = chosen;
        let backups: Objects<Backup> = Objects::new(client.clone(), &namespace);
        let repositories: Objects<BackupRepository> = Objects::new(client, &namespace);
        for location in &found {
            let name = location.metadata.name.as_deref().unwrap_or_default();
            if let Err(error) = objects.delete(name).await {
                faults.push(format!(
                    "cannot delete backup storage location {name:?}: {error}"
                ));
                continue;
            }
            console::line(format_args!("Deleted backup storage location {name:?}."));
            delete_all_of(name, &backups, &mut faults).await;
            delete_all_of(name, &repositories, &mut faults).await;
        }
        Ok(tell(&faults))
    }
}

/// Deletes the objects of one kind that belong to a location.
async fn delete_all_of<K: Listed>(location: &str, objects: &Objects<K>, faults: &mut Vec<String>) {
    let label = valid_label_name(location);
    let selector = format!("{}={label}", labels::STORAGE_LOCATION);
    let found = match objects.list(&selector).await {
        Ok(found) => found,
        Err(error) => {
            let kind = K::PLURAL;
            faults.push(format!("cannot list the {kind} of {location:?}: {error}"));
            return;
        }
    };
    for object in found {
        let name = object.meta().name.as_deref().unwrap_or_default();
        match objects.delete(name).await {
            Ok(()) => console::line(format_args!(
                "Deleted {} {name:?} of it; what lies in the bucket stays.",
                K::NOUN
            )),
            Err(error) => faults.push(format!("cannot delete {} {name:?}: {error}", K::NOUN)),
        }
    }
}
