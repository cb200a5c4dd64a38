//! Backups that a server left behind.

use velero_core::api::{Backup, BackupPhase, BackupStorageLocation, Document};
use velero_persistence::{BackupStore, Claimant, ErrorKind};

use crate::logfile::LogFile;
use crate::runs::{Failure, store_failure};
use crate::server::context::{Context, stamp};
use crate::server::controller::Retry;
use crate::server::objects::Lock;
use crate::server::stores;

/// Ends a backup that nobody works on any more.
///
/// Its metadata is the last thing that a run writes into the store. If it is there, the backup is whole and only the
/// write to the resource is missing. If not, the backup has failed: what there is of it in the store makes room for the
/// metadata and the results of a failed one.
pub(super) async fn recover(context: &Context, backup: &Backup) -> Result<(), Retry> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let reason = format!("the server stopped while the backup was {}", backup.phase());
    let mut ended = backup.clone();
    match look(context, backup, name, &reason).await {
        Ok(Some(found)) => ended.status = found.status,
        Ok(None) => fail(context, &mut ended, reason),
        Err(error) => fail(
            context,
            &mut ended,
            format!(
                "{reason}; its location could not be looked into: {:#}",
                error.0
            ),
        ),
    }
    context
        .objects
        .patch(backup, &ended, Lock::SameObject)
        .await?;
    tracing::warn!(backup = name, phase = %ended.phase(), "the backup was left behind by a server that has stopped");
    Ok(())
}

fn fail(context: &Context, ended: &mut Backup, reason: String) {
    ended.status.failure_reason = reason;
    ended.status.phase = Some(BackupPhase::Failed);
    ended.status.completion_timestamp = stamp(context.now());
}

/// The backup as its store has it, whole or failed; `None` when it has no place there.
async fn look(
    context: &Context,
    backup: &Backup,
    name: &str,
    reason: &str,
) -> Result<Option<Backup>, Retry> {
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
            let known = metadata.phase().is_terminal()
                || matches!(
                    metadata.phase(),
                    BackupPhase::WaitingForPluginOperations
                        | BackupPhase::WaitingForPluginOperationsPartiallyFailed
                );
            let whole = metadata.metadata.uid == backup.metadata.uid && known;
            Ok(whole.then_some(metadata))
        }
        Err(error) if error.is_not_found() => {
            leave_failure(context, &store, backup, name, reason).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts a failed backup in the place of the files of a run that held the name; those of any other writer stay.
async fn leave_failure(
    context: &Context,
    store: &BackupStore,
    backup: &Backup,
    name: &str,
    reason: &str,
) -> Result<Option<Backup>, Retry> {
    let Some(uid) = backup.metadata.uid.as_deref() else {
        return Ok(None);
    };
    let claimant = Claimant::new(uid);
    let claim = match store.reserve(name, &claimant, context.now()).await {
        Ok(claim) => claim,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let key = format!("{}/{name}", context.objects.namespace());
    let log = context.logs.begin("backup", &key);
    log.span()
        .in_scope(|| tracing::error!("the backup has failed: {reason}"));
    let log = log
        .finish()
        .and_then(LogFile::into_bytes)
        .map_err(anyhow::Error::from)?;
    let failed = store_failure(
        store,
        backup,
        name,
        Failure {
            reason: reason.to_owned(),
            records: Vec::new(),
            time: context.now(),
        },
        log.into(),
    )
    .await?;
    claim.release(context.now()).await?;
    Ok(Some(failed))
}
