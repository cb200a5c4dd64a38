//! The loop that looks into stores.

use std::collections::BTreeSet;

use serde_json::Value;
use velero_core::api::{Backup, BackupStorageLocation, Document, PodVolumeBackup, Schedule};
use velero_persistence::{BackupFile, BackupStore};

use super::decide::{Import, import, is_due, orphans};
use super::import::{backup_object, pod_volume_object};
use crate::server::context::{Context, stamp};
use crate::server::controller::panic_text;
use crate::server::objects::{ApiError, Lock};
use crate::server::stores;

/// Looks into due locations until the server stops. Errors are logged; the next round tries again.
pub(in crate::server) async fn run(context: Context) {
    let mut tick = tokio::time::interval(context.settings.tick);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.stopping.cancelled() => return,
            () = context.sync_now.notified() => {}
            _ = tick.tick() => {}
        }
        // In a task of its own, so that a panic ends this round only.
        let round = tokio::spawn(round(context.clone()));
        match round.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "locations could not be looked into"),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => {
                    tracing::error!("synchronisation panicked: {}", panic_text(panic.as_ref()))
                }
                Err(_) => return,
            },
        }
    }
}

async fn round(context: Context) -> Result<(), ApiError> {
    let mut locations: Vec<BackupStorageLocation> = context.objects.list().await?;
    locations.sort_by_key(|location| !location.spec.default);
    for location in locations {
        if context.stopping.is_cancelled() {
            return Ok(());
        }
        if is_due(
            &location,
            context.settings.backup_sync_period,
            context.now(),
        ) {
            let name = location.metadata.name.clone().unwrap_or_default();
            if let Err(error) = sync(&context, &location, &name).await {
                tracing::warn!(
                    location = name,
                    error = format!("{error:#}"),
                    "the location could not be looked into"
                );
            }
        }
    }
    Ok(())
}

async fn sync(
    context: &Context,
    location: &BackupStorageLocation,
    name: &str,
) -> anyhow::Result<()> {
    let store = stores::open(&context.objects, location).await?;
    // In this order: see `orphans`.
    let in_cluster: Vec<Backup> = context.objects.list().await?;
    let in_store: BTreeSet<String> = store.list_backups().await?.into_iter().collect();
    let known: BTreeSet<&str> = in_cluster
        .iter()
        .filter_map(|backup| backup.metadata.name.as_deref())
        .collect();
    let unknown: Vec<&String> = in_store
        .iter()
        .filter(|backup| !known.contains(backup.as_str()))
        .collect();
    let schedules: Vec<Schedule> = if unknown.is_empty() {
        Vec::new()
    } else {
        context.objects.list().await?
    };
    let found = !unknown.is_empty();
    for backup in unknown {
        if context.stopping.is_cancelled() {
            return Ok(());
        }
        if let Err(error) = import_one(context, &store, backup, name, &schedules).await {
            tracing::warn!(
                location = name,
                backup,
                error = format!("{error:#}"),
                "the backup could not be imported"
            );
        }
    }
    if found {
        context.gc_now.notify_one();
    }
    for orphan in orphans(&in_cluster, name, &in_store) {
        let backup = orphan.metadata.name.as_deref().unwrap_or_default();
        match context.objects.delete(orphan).await {
            Ok(()) => tracing::info!(
                location = name,
                backup,
                "the store no longer has the backup: removed"
            ),
            Err(error) => {
                tracing::warn!(location = name, backup, %error, "the backup is not in the store any more")
            }
        }
    }
    let mut synced = location.clone();
    synced.status.last_synced_time = stamp(context.now());
    context
        .objects
        .patch(location, &synced, Lock::SameObject)
        .await?;
    Ok(())
}

async fn import_one(
    context: &Context,
    store: &BackupStore,
    name: &str,
    location: &str,
    schedules: &[Schedule],
) -> anyhow::Result<()> {
    let bytes = match store.get_metadata(name).await {
        Ok(bytes) => bytes,
        // A folder without metadata is no backup: one that is being written, or what is left of one.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let metadata = Document::<Backup>::parse(&bytes)?;
    anyhow::ensure!(
        metadata.get().metadata.name.as_deref() == Some(name),
        "its metadata is that of backup {:?}",
        metadata.get().metadata.name.as_deref().unwrap_or_default(),
    );
    let Import::Create { phase } = import(metadata.get(), context.now()) else {
        return Ok(());
    };
    let object = backup_object(
        &metadata,
        phase,
        context.objects.namespace(),
        location,
        schedules,
    );
    let created: Backup = match context.objects.create(&object).await {
        Ok(created) => created,
        Err(error) if error.is_conflict() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    tracing::info!(location, backup = name, "found in the store: imported");
    let volumes: Vec<Value> = store
        .get_list(&BackupFile::PodVolumeBackups.of(name))
        .await?;
    for entry in &volumes {
        let Some(object) =
            pod_volume_object(entry, &created, context.objects.namespace(), location)
        else {
            continue;
        };
        match context.objects.create::<PodVolumeBackup>(&object).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => {}
            Err(error) => {
                tracing::warn!(backup = name, %error, "a pod volume backup could not be imported")
            }
        }
    }
    Ok(())
}
