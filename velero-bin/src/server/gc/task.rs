//! The loop that looks for backups that have expired.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use velero_core::api::{Backup, BackupStorageLocation, DeleteBackupRequest};
use velero_persistence::ClusterMark;

use super::decide::{Step, asked, foreign_owner, has_expired, is_about, labelled, next};
use crate::runs::deletion_request;
use crate::server::context::Context;
use crate::server::controller::panic_text;
use crate::server::objects::{ApiError, Lock};
use crate::server::stores::{self, StoreError};

/// Looks for expired backups until the server stops: at once, then each period, and when backups come out of a store.
/// After a look that failed the next one is soon.
pub(in crate::server) async fn run(context: Context) {
    let mut due = Instant::now();
    loop {
        tokio::select! {
            () = context.stopping.cancelled() => return,
            () = context.gc_now.notified() => {}
            () = sleep_until(due) => {}
        }
        // In a task of its own, so that a panic ends this round only.
        let done = match tokio::spawn(round(context.clone())).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "expired backups could not be looked for");
                false
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => {
                    tracing::error!(
                        "garbage collection panicked: {}",
                        panic_text(panic.as_ref())
                    );
                    true
                }
                Err(_) => return,
            },
        };
        let settings = &context.settings;
        due = Instant::now()
            + match done {
                true => settings.garbage_collection_period,
                false => settings.tick.min(settings.garbage_collection_period),
            };
    }
}

/// One look: three lists, however many backups have expired, and a write for each that something is to be done about.
async fn round(context: Context) -> Result<(), ApiError> {
    let backups: Vec<Backup> = context.objects.list().await?;
    let now = context.now();
    let mut expired: Vec<&Backup> = backups.iter().filter(|b| has_expired(b, now)).collect();
    if expired.is_empty() {
        return Ok(());
    }
    expired.sort_by_key(|backup| backup.status.expiration.as_ref().map(|time| time.0));
    let locations: Vec<BackupStorageLocation> = context.objects.list().await?;
    let locations: BTreeMap<&str, &BackupStorageLocation> = locations
        .iter()
        .filter_map(|location| Some((location.metadata.name.as_deref()?, location)))
        .collect();
    let requests: Vec<DeleteBackupRequest> = context.objects.list().await?;
    let asked = asked(&requests);
    let marks = marks(&context, &expired, &locations).await;
    let mut unavailable = BTreeSet::new();
    for backup in expired {
        if context.stopping.is_cancelled() {
            return Ok(());
        }
        let location = backup.spec.storage_location.as_str();
        let owner = foreign_owner(backup, &context.cluster_id);
        let left_to_owner = match owner.map(|owner| (owner, marks.get(location))) {
            Some((owner, Some(Ok(marks)))) => is_about(owner, marks, now),
            // Who may still be about is not known now.
            Some((_, Some(Err(())))) => continue,
            _ => false,
        };
        let step = next(backup, &locations, &asked, left_to_owner);
        if step == Step::Unavailable {
            unavailable.insert(location);
        } else if let Err(error) = collect(&context, backup, step).await {
            let name = backup.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(backup = name, %error, "the backup has expired, and that could not be dealt with");
        }
    }
    for location in unavailable {
        tracing::warn!(
            location,
            "backups have expired, and wait until their location is available"
        );
    }
    Ok(())
}

/// The marks of clusters in those locations that have backups of another one; an error where they cannot be read.
async fn marks<'a>(
    context: &Context,
    expired: &[&'a Backup],
    locations: &BTreeMap<&str, &BackupStorageLocation>,
) -> BTreeMap<&'a str, Result<Vec<ClusterMark>, ()>> {
    let mut marks = BTreeMap::new();
    for backup in expired {
        let name = backup.spec.storage_location.as_str();
        let location = locations.get(name).filter(|l| l.is_available());
        let Some(location) = location else { continue };
        if marks.contains_key(name) || foreign_owner(backup, &context.cluster_id).is_none() {
            continue;
        }
        let read = async {
            let store = stores::open(&context.objects, location).await?;
            Ok::<_, StoreError>(store.clusters().await?)
        };
        let read = read.await.map_err(|error| {
            let error = velero_core::result::chain(&error);
            tracing::warn!(
                location = name,
                error,
                "the marks of clusters cannot be read: backups of others wait"
            );
        });
        marks.insert(name, read);
    }
    marks
}

/// Does what is to be done about one backup. One that has gone meanwhile is nobody's fault.
async fn collect(context: &Context, backup: &Backup, step: Step) -> Result<(), ApiError> {
    let failure = match step {
        Step::Label(failure) => Some(failure),
        _ => None,
    };
    let wanted = labelled(backup, failure);
    match context
        .objects
        .patch(backup, &wanted, Lock::SameObject)
        .await
    {
        Err(error) if error.is_not_found() => return Ok(()),
        outcome => drop(outcome?),
    }
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    match step {
        Step::Label(failure) if wanted != *backup => {
            tracing::warn!(
                backup = name,
                location = backup.spec.storage_location,
                failure,
                "the backup has expired, and cannot be deleted"
            );
        }
        Step::Delete => {
            let request = serde_json::to_value(deletion_request(backup)).unwrap_or(Value::Null);
            let created: DeleteBackupRequest = context.objects.create(&request).await?;
            let request = created.metadata.name.unwrap_or_default();
            tracing::info!(
                backup = name,
                request,
                "the backup has expired: its deletion is asked for"
            );
        }
        _ => {}
    }
    Ok(())
}
