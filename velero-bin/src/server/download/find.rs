//! Which file somebody asks for, and where it is.

use std::time::Duration;

use velero_core::api::{
    Backup, BackupStorageLocation, DownloadTarget, DownloadTargetKind, Restore,
};
use velero_persistence::BackupStore;
use velero_persistence::layout::{Artifact, download_target};

use crate::server::context::Context;
use crate::server::controller::Retry;
use crate::server::spare;
use crate::server::stores;
use crate::server::tracker::RunKind;

/// Longest wait for a run to store what it has in memory. The file is read as it is then.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// A file and its store, or why there is none. What a run has in memory of the file is stored first.
pub(super) async fn find(
    context: &Context,
    target: &DownloadTarget,
) -> Result<Result<(BackupStore, Artifact), String>, Retry> {
    let artifact = match download_target(target.kind.as_str(), &target.name) {
        Ok(artifact) => artifact,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let backup_name = if is_of_restore(&target.kind) {
        match context.objects.get::<Restore>(&target.name).await? {
            Some(restore) if spare::is_named(&restore, artifact.file_name()) => {
                flush(context, target).await;
                return Ok(kept(context, artifact).await);
            }
            Some(restore) => restore.spec.backup_name,
            None => return Ok(Err(format!("restore {:?} does not exist", target.name))),
        }
    } else {
        target.name.clone()
    };
    let Some(backup) = context.objects.get::<Backup>(&backup_name).await? else {
        return Ok(Err(format!("backup {backup_name:?} does not exist")));
    };
    let location_name = &backup.spec.storage_location;
    let Some(location) = context
        .objects
        .get::<BackupStorageLocation>(location_name)
        .await?
    else {
        return Ok(Err(format!(
            "backup storage location {location_name:?} does not exist"
        )));
    };
    flush(context, target).await;
    let store: BackupStore = match stores::open(&context.objects, &location).await {
        Ok(store) => store,
        Err(error) => return Ok(Err(velero_core::result::chain(&error))),
    };
    Ok(Ok((store, artifact)))
}

/// A file that a server keeps: this one, unless it was one before it.
async fn kept(context: &Context, artifact: Artifact) -> Result<(BackupStore, Artifact), String> {
    let lost =
        || "the store has not taken the file, and the server that kept it has ended".to_owned();
    let store = context.spares.store().ok_or_else(lost)?;
    match store.store().exists(artifact.key()).await {
        Ok(true) => Ok((store.clone(), artifact)),
        Ok(false) => Err(lost()),
        Err(error) => Err(error.to_string()),
    }
}

/// How operations are that a run still follows is stored before it is read.
async fn flush(context: &Context, target: &DownloadTarget) {
    let kind = match target.kind {
        DownloadTargetKind::BackupItemOperations => RunKind::Operations,
        DownloadTargetKind::RestoreItemOperations => RunKind::RestoreOperations,
        _ => return,
    };
    let tracker = &context.tracker;
    tracker.flush(kind, &target.name, FLUSH_PATIENCE).await;
}

fn is_of_restore(kind: &DownloadTargetKind) -> bool {
    matches!(
        kind,
        DownloadTargetKind::RestoreLog
            | DownloadTargetKind::RestoreResults
            | DownloadTargetKind::RestoreResourceList
            | DownloadTargetKind::RestoreItemOperations
            | DownloadTargetKind::RestoreVolumeInfo
    )
}
