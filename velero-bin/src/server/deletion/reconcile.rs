//! The shell around the decisions about deletions.

use std::time::Duration;

use kube::runtime::controller::Action;
use velero_core::api::{
    Backup, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
};
use velero_core::names::{annotations, labels, valid_label_name};

use super::decide::{Step, Target, is_awaited, is_begun, next, refusal};
use super::delete::{Stop, delete};
use crate::server::backup::schedule_of;
use crate::server::cancel::cancelled_by;
use crate::server::context::Context;
use crate::server::controller::{Reconciler, Retry};
use crate::server::gc::foreign_owner;
use crate::server::metrics::Count;
use crate::server::objects::Lock;
use crate::server::tracker::RunKind;

/// Who ends the run of a backup that is to be deleted.
const CANCELLER: &str = "a request to delete the backup";

/// Deletes backups on request.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::server) struct DeletionReconciler;

impl Reconciler for DeletionReconciler {
    type Kind = DeleteBackupRequest;

    fn waits_out_failures(&self) -> bool {
        // What a try writes into the request is no reason for the next one.
        true
    }

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
    let tracked = is_tracked(context, name);
    let Some(backup) = found.filter(|backup| is_awaited(backup, tracked, request, context.now()))
    else {
        return Ok(false);
    };
    if !backup.phase().is_under_way() {
        return Ok(true);
    }
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

/// Whether this process works on a backup.
fn is_tracked(context: &Context, backup: &str) -> bool {
    let tracker = &context.tracker;
    tracker.contains(RunKind::Backup, backup) || tracker.contains(RunKind::Operations, backup)
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
    let is_under_way = |backup: &Backup| backup.phase().is_under_way();
    let running = is_tracked(context, name) || backup.as_ref().is_some_and(is_under_way);
    let target = Target {
        name,
        backup: backup.as_ref(),
        running,
        location: location.as_ref(),
    };
    match refusal(request, &target) {
        Some(refusal) if refusal.passes => return put_off(context, request, refusal.text).await,
        Some(refusal) => return finish(context, request, vec![refusal.text]).await,
        None => {}
    }
    let (Some(backup), Some(location)) = (backup, location) else {
        tracing::info!(backup = name, "the backup is gone, and so is the request");
        context.objects.delete(request).await?;
        return Ok(());
    };
    let schedule = schedule_of(&backup).to_owned();
    if !is_begun(request) {
        context
            .metrics
            .count(Count::BackupDeletionAttempt, &schedule);
    }
    if let Some(owner) = foreign_owner(&backup, &context.cluster_id) {
        tracing::warn!(
            backup = name,
            owner,
            "the backup is of another cluster, and is deleted as that is asked for"
        );
    }
    let request = begin(context, request, &backup).await?;
    match delete(context, &request, &backup, &location).await {
        Ok(()) => {}
        Err(Stop::Refused(errors)) => {
            context
                .metrics
                .count(Count::BackupDeletionFailure, &schedule);
            return finish(context, &request, errors).await;
        }
        Err(Stop::Later(error)) => return put_off(context, &request, error).await,
        Err(Stop::Retry(retry)) => return Err(retry),
    }
    context.objects.delete(&backup).await?;
    context
        .metrics
        .count(Count::BackupDeletionSuccess, &schedule);
    tracing::info!(backup = name, "the backup is deleted");
    remove_requests(context, &request, &backup).await
}

/// Leaves a request that has begun for another try. The first reason is told in its status, until it is processed.
async fn put_off(
    context: &Context,
    request: &DeleteBackupRequest,
    reason: String,
) -> Result<(), Retry> {
    if request.status.errors.is_empty() {
        let mut told = request.clone();
        told.status.errors = vec![format!("{reason}; it is tried again until it succeeds")];
        let objects = &context.objects;
        objects.patch(request, &told, Lock::SameObject).await?;
    }
    Err(anyhow::Error::msg(reason).into())
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
    let own = begun.metadata.labels.get_or_insert_default();
    own.insert(labels::BACKUP_NAME.to_owned(), label);
    own.insert(labels::BACKUP_UID.to_owned(), uid);
    Ok(context
        .objects
        .patch(request, &begun, Lock::SameObject)
        .await?)
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
