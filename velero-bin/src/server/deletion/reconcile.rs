//! The shell around the decisions about deletions.

use std::time::Duration;

use kube::runtime::controller::Action;
use velero_core::api::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
    Document, Restore,
};
use velero_core::names::{annotations, labels, valid_label_name};
use velero_core::result::chain;
use velero_persistence::BackupStore;

use super::decide::{Step, is_same_run, is_to_be_cancelled, is_under_way, next, refusal};
use super::volumes::{VolumeData, undeletable};
use crate::server::backup::schedule_of;
use crate::server::cancel::cancelled_by;
use crate::server::context::Context;
use crate::server::controller::{Reconciler, Retry};
use crate::server::gc::foreign_owner;
use crate::server::metrics::Count;
use crate::server::objects::Lock;
use crate::server::stores;
use crate::server::tracker::RunKind;

/// How long to wait for the restores of a backup to go.
const RESTORES_GONE: Duration = Duration::from_secs(60);

/// Who ends the run of a backup that is to be deleted.
const CANCELLER: &str = "a request to delete the backup";

/// Deletes backups on request.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct DeletionReconciler;

impl Reconciler for DeletionReconciler {
    type Kind = DeleteBackupRequest;

    async fn reconcile(&self, context: &Context, name: &str) -> Result<Action, Retry> {
        let Some(request) = context.objects.get::<DeleteBackupRequest>(name).await? else {
            return Ok(Action::await_change());
        };
        match next(&request, context.now()) {
            Step::Rest => Ok(Action::await_change()),
            Step::Wait(pause) => Ok(Action::requeue(pause)),
            Step::Remove => {
                context.objects.delete(&request).await?;
                Ok(Action::await_change())
            }
            Step::Process if cancel_first(context, &request).await? => {
                Ok(Action::requeue(context.settings.tick))
            }
            Step::Process => {
                process(context, &request).await?;
                Ok(Action::requeue(Duration::from_millis(10)))
            }
        }
    }
}

/// Asks for the end of the run of a backup that is to be deleted; whether that is to be waited for.
async fn cancel_first(context: &Context, request: &DeleteBackupRequest) -> Result<bool, Retry> {
    let name = request.spec.backup_name.as_str();
    if name.is_empty() {
        return Ok(false);
    }
    let found: Option<Backup> = context.objects.get(name).await?;
    let Some(backup) = found.filter(|backup| is_to_be_cancelled(backup, request, context.now()))
    else {
        return Ok(false);
    };
    if cancelled_by(&backup.metadata).is_none() {
        let mut asked = backup.clone();
        let own = asked.metadata.annotations.get_or_insert_default();
        own.insert(annotations::CANCEL.to_owned(), CANCELLER.to_owned());
        let objects = &context.objects;
        objects.patch(&backup, &asked, Lock::SameObject).await?;
        tracing::info!(
            backup = name,
            "the backup is to be deleted: its run is ended first"
        );
    }
    Ok(true)
}

async fn process(context: &Context, request: &DeleteBackupRequest) -> Result<(), Retry> {
    let name = request.spec.backup_name.as_str();
    let backup: Option<Backup> = if name.is_empty() {
        None
    } else {
        context.objects.get(name).await?
    };
    let location: Option<BackupStorageLocation> = match &backup {
        Some(backup) if !backup.spec.storage_location.is_empty() => {
            context.objects.get(&backup.spec.storage_location).await?
        }
        _ => None,
    };
    let running = context.tracker.contains(RunKind::Backup, name)
        || context.tracker.contains(RunKind::Operations, name)
        || backup.as_ref().is_some_and(is_under_way);
    let refused = refusal(name, backup.as_ref(), running, location.as_ref());
    let (Some(backup), Some(location), None) = (backup, location, &refused) else {
        return finish(context, request, refused.into_iter().collect()).await;
    };
    let schedule = schedule_of(&backup).to_owned();
    context
        .metrics
        .count(Count::BackupDeletionAttempt, &schedule);
    if let Some(owner) = foreign_owner(&backup, &context.cluster_id) {
        tracing::warn!(
            backup = name,
            owner,
            "the backup is of another cluster, and is deleted as that is asked for"
        );
    }
    let request = begin(context, request, &backup).await?;
    let errors = delete(context, &backup, &location).await?;
    if errors.is_empty() {
        context.objects.delete(&backup).await?;
        context
            .metrics
            .count(Count::BackupDeletionSuccess, &schedule);
        tracing::info!(backup = name, "the backup is deleted");
        return remove_requests(context, &request, &backup).await;
    }
    context
        .metrics
        .count(Count::BackupDeletionFailure, &schedule);
    finish(context, &request, errors).await
}

/// Labels the request and takes other requests for the same backup out of the way.
async fn begin(
    context: &Context,
    request: &DeleteBackupRequest,
    backup: &Backup,
) -> Result<DeleteBackupRequest, Retry> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let uid = backup.metadata.uid.clone().unwrap_or_default();
    let label = valid_label_name(name);
    for other in context
        .objects
        .list_labelled::<DeleteBackupRequest>(&format!("{}={label}", labels::BACKUP_NAME))
        .await?
    {
        if other.metadata.uid != request.metadata.uid {
            context.objects.delete(&other).await?;
        }
    }
    let mut begun = request.clone();
    begun.status.phase = Some(DeleteBackupRequestPhase::InProgress);
    begun.status.errors.clear();
    let own = begun.metadata.labels.get_or_insert_default();
    own.insert(labels::BACKUP_NAME.to_owned(), label);
    own.insert(labels::BACKUP_UID.to_owned(), uid);
    Ok(context
        .objects
        .patch(request, &begun, Lock::SameObject)
        .await?)
}

/// Deletes what belongs to a backup; gives the errors that keep the rest in place.
async fn delete(
    context: &Context,
    backup: &Backup,
    location: &BackupStorageLocation,
) -> Result<Vec<String>, Retry> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let store = match stores::open(&context.objects, location).await {
        Ok(store) => store,
        Err(error) => return Ok(vec![chain(&error)]),
    };
    let ours = match owns_folder(&store, backup, name).await {
        Ok(ours) => ours,
        Err(error) => return Ok(vec![format!("{:#}", error.0)]),
    };
    if ours {
        let data = match VolumeData::read(&context.objects, &store, name).await {
            Ok(data) => data,
            Err(error) => {
                return Ok(vec![format!(
                    "cannot tell whether there is volume data: {:#}",
                    error.0
                )]);
            }
        };
        let left = undeletable(backup, &data);
        if !left.is_empty() {
            return Ok(left);
        }
    }
    let mut deleting = backup.clone();
    deleting.status.phase = Some(BackupPhase::Deleting);
    context
        .objects
        .patch(backup, &deleting, Lock::SameObject)
        .await?;
    if ours && let Err(error) = store.delete_backup(name).await {
        return Ok(vec![chain(&error)]);
    }
    Ok(delete_restores(context, name).await?.into_iter().collect())
}

/// Whether the folder of that name in the store is this backup's. Leftovers without metadata are.
async fn owns_folder(store: &BackupStore, backup: &Backup, name: &str) -> Result<bool, Retry> {
    let bytes = match store.get_metadata(name).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let same = match Document::<Backup>::parse(&bytes) {
        Ok(metadata) => is_same_run(backup, metadata.get()),
        // Nobody can restore it; the user wants it gone.
        Err(error) => {
            tracing::warn!(
                backup = name,
                error = chain(&error),
                "the backup's metadata cannot be read"
            );
            true
        }
    };
    if !same {
        tracing::warn!(
            backup = name,
            "the store holds another backup of that name, which stays"
        );
    }
    Ok(same)
}

/// Deletes the restores of a backup and waits until their finalizers have cleaned up.
async fn delete_restores(context: &Context, backup: &str) -> Result<Option<String>, Retry> {
    let deadline = tokio::time::Instant::now() + RESTORES_GONE;
    let mut asked = false;
    loop {
        let restores: Vec<Restore> = context.objects.list().await?;
        let of_backup: Vec<Restore> = restores
            .into_iter()
            .filter(|restore| restore.spec.backup_name == backup)
            .collect();
        if of_backup.is_empty() {
            return Ok(None);
        }
        if !asked {
            for restore in &of_backup {
                context.objects.delete(restore).await?;
            }
            asked = true;
        }
        if tokio::time::Instant::now() >= deadline {
            let names: Vec<&str> = of_backup
                .iter()
                .filter_map(|restore| restore.metadata.name.as_deref())
                .collect();
            return Ok(Some(format!(
                "restores of the backup are still there after {} s: {}",
                RESTORES_GONE.as_secs(),
                names.join(", ")
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// After success: all requests for the backup go, this one as well.
async fn remove_requests(
    context: &Context,
    request: &DeleteBackupRequest,
    backup: &Backup,
) -> Result<(), Retry> {
    let name = valid_label_name(backup.metadata.name.as_deref().unwrap_or_default());
    let uid = backup.metadata.uid.as_deref().unwrap_or_default();
    let selector = format!(
        "{}={name},{}={uid}",
        labels::BACKUP_NAME,
        labels::BACKUP_UID
    );
    for other in context
        .objects
        .list_labelled::<DeleteBackupRequest>(&selector)
        .await?
    {
        context.objects.delete(&other).await?;
    }
    context.objects.delete(request).await?;
    Ok(())
}

async fn finish(
    context: &Context,
    request: &DeleteBackupRequest,
    errors: Vec<String>,
) -> Result<(), Retry> {
    for error in &errors {
        tracing::warn!(
            backup = request.spec.backup_name,
            error,
            "the backup was not deleted"
        );
    }
    let mut done = request.clone();
    done.status.phase = Some(DeleteBackupRequestPhase::Processed);
    done.status.errors = errors;
    context
        .objects
        .patch(request, &done, Lock::SameObject)
        .await?;
    Ok(())
}
