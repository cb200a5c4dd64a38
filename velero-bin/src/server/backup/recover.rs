//! Backups that a server left behind.

use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, Document};
use velero_persistence::BackupStore;

use crate::server::context::{Context, stamp};
use crate::server::controller::Retry;
use crate::server::objects::Lock;
use crate::server::stores;

/// Ends a backup that nobody works on any more.
///
/// Its metadata is the last thing that a run writes into the store. If it is there, the backup is whole and only the
/// final write to the resource is missing. If not, the backup has failed, and what there is of it in the store goes.
pub(super) async fn recover(context: &Context, backup: &Backup) -> Result<(), Retry> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let mut ended = backup.clone();
    match look(context, backup, name).await {
        Ok(Some(whole)) => ended.status = whole.status,
        Ok(None) => fail(context, &mut ended, String::new()),
        Err(error) => fail(
            context,
            &mut ended,
            format!("; its location could not be looked into: {:#}", error.0),
        ),
    }
    context
        .objects
        .patch(backup, &ended, Lock::SameObject)
        .await?;
    tracing::warn!(backup = name, phase = %ended.phase(), "the backup was left behind by a server that has stopped");
    Ok(())
}

fn fail(context: &Context, ended: &mut Backup, more: String) {
    ended.status.failure_reason = format!(
        "the server stopped while the backup was {}{more}",
        ended.phase()
    );
    ended.status.phase = Some(BackupPhase::Failed);
    ended.status.completion_timestamp = stamp(context.now());
}

/// The backup as its store has it, if it is whole; leftovers of one that is not are removed.
async fn look(context: &Context, backup: &Backup, name: &str) -> Result<Option<Backup>, Retry> {
    let Some(location) = context
        .objects
        .get::<BackupStorageLocation>(&backup.spec.storage_location)
        .await?
    else {
        return Ok(None);
    };
    let store = stores::open(&context.objects, &location).await?;
    match store.get_metadata(name).await {
        Ok(bytes) => {
            let metadata = Document::<Backup>::parse(&bytes)
                .map_err(anyhow::Error::from)?
                .into_parts()
                .1;
            let whole =
                metadata.metadata.uid == backup.metadata.uid && metadata.phase().is_terminal();
            Ok(whole.then_some(metadata))
        }
        Err(error) if error.is_not_found() => {
            remove_leftovers(&store, backup, name).await?;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the files of a run that holds the name in the store; those of any other writer stay.
async fn remove_leftovers(store: &BackupStore, backup: &Backup, name: &str) -> Result<(), Retry> {
    let holder = store.reservation(name).await?;
    if holder.is_some() && holder == backup.metadata.uid {
        store.delete_backup(name).await?;
    }
    Ok(())
}
