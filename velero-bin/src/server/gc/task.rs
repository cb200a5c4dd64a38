//! The loop that looks for backups that have expired.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use velero_core::api::{Backup, BackupStorageLocation, DeleteBackupRequest};

use super::decide::{Step, asked, has_expired, labelled, next};
use crate::runs::deletion_request;
use crate::server::context::Context;
use crate::server::controller::panic_text;
use crate::server::objects::{ApiError, Lock};

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
    let mut unavailable = BTreeSet::new();
    for backup in expired {
        if context.stopping.is_cancelled() {
            return Ok(());
        }
        let step = next(backup, &locations, &asked);
        if step == Step::Unavailable {
            unavailable.insert(backup.spec.storage_location.as_str());
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
